// The reader takes what RFC 8259 allows and nothing else; what the writer writes, the reader reads.
package io.github.dispatchd.client.internal;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

final class JsonTest {
  private static Object read(String text) {
    byte[] bytes = text.getBytes(UTF_8);
    return Json.read(bytes, 0, bytes.length);
  }

  private static String write(Object value) {
    return new String(new Json.Out(1).value(value).toBytes(), UTF_8);
  }

  private static String line(String json) {
    return new String(Json.line(json), UTF_8);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "",
        " ",
        "{",
        "}",
        "[",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{a:1}",
        "{\"a\" 1}",
        "{\"a\":1 \"b\":2}",
        "{1:2}",
        "'a'",
        "\"a",
        "\"\\",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\u+123\"",
        "\"a\nb\"",
        "\"a\tb\"",
        "\"\0\"",
        "01",
        "-",
        "-a",
        "+1",
        "1.",
        ".5",
        "1.e3",
        "1e",
        "1e+",
        "0x10",
        "1_0",
        "--1",
        "1-",
        "tru",
        "truex",
        "True",
        "nul",
        "NaN",
        "Infinity",
        "-Infinity",
        "undefined",
        "1 2",
        "{} {}",
        "[]]",
        "/**/1",
        "\u00a01",
        "\ufeff1",
        "1e99999999999"
      })
  void whatIsNotJsonIsRefused(String text) {
    assertThrows(IllegalArgumentException.class, () -> read(text));
    // What the reader cannot hold may still be JSON.
    if (!text.equals("1e99999999999")) {
      assertThrows(IllegalArgumentException.class, () -> Json.line(text));
    }
  }

  @Test
  void valuesAreReadAsTheyAre() {
    assertEquals(
        Map.of("a", List.of(1L, true, false, "x", Map.of(), List.of())),
        read(" { \"a\" : [ 1 , true,false,\r\n\t\"x\" , { } , [ ] ] } "));
    assertNull(read("null"));
    assertEquals(List.of("b", "a"), List.copyOf(((Map<?, ?>) read("{\"b\":1,\"a\":2}")).keySet()));
  }

  @Test
  void numbersKeepTheirPrecision() {
    assertEquals(0L, read("0"));
    assertEquals(0L, read("-0"));
    assertEquals(-17L, read("-17"));
    assertEquals(999_999_999_999_999_999L, read("999999999999999999"));
    assertEquals(new BigDecimal("9223372036854775808"), read("9223372036854775808"));
    assertEquals(new BigDecimal("12.50"), read("12.50"));
    assertEquals(new BigDecimal("1e400"), read("1E+400"));
    assertEquals(new BigDecimal("-0.0"), read("-0.0"));
  }

  @Test
  void stringsAreReadWithTheirEscapes() {
    assertEquals("\"\\/\b\f\n\r\t", read("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""));
    assertEquals("aé€😀z", read("\"aé€😀z\""));
    assertEquals("aé€😀z", read("\"a\\u00e9\\u20AC\\ud83d\\ude00z\""));
    assertEquals("é\né", read("\"é\\né\""));
    assertEquals("\ud800", read("\"\\ud800\""));
    assertEquals("\udc00\ud800", read("\"\\udc00\\ud800\""));
    assertEquals("\u007f\u0000", read("\"\u007f\\u0000\""));
  }

  @Test
  void bytesThatAreNotUtf8AreRefused() {
    for (byte[] text :
        new byte[][] {
          {'"', (byte) 0xff, '"'},
          {'"', (byte) 0xc3, '"'},
          {'"', (byte) 0xc0, (byte) 0x80, '"'},
          {'"', (byte) 0xed, (byte) 0xa0, (byte) 0x80, '"'},
          {'"', '\\', 'n', (byte) 0xff, '"'},
        }) {
      assertThrows(IllegalArgumentException.class, () -> Json.read(text, 0, text.length));
    }
  }

  @Test
  void aNameIsReadAsItIsWhateverWasReadBefore() {
    // The first three have the same ends and the same length.
    for (String name : List.of("abc", "axc", "abc", "a\u00e9c", "", "a", "aa", "n".repeat(40))) {
      assertEquals(Map.of(name, 1L), read("{\"" + name + "\":1}"), name);
    }
    assertEquals(Map.of("a\nc", 1L), read("{\"a\\nc\":1}"));
    assertThrows(IllegalArgumentException.class, () -> read("{\"a\nc\":1}"));
    assertThrows(IllegalArgumentException.class, () -> read("{\"abc"));
  }

  @Test
  void nestingIsBounded() {
    String deepest = "[".repeat(Json.DEPTH_MAX) + "]".repeat(Json.DEPTH_MAX);
    read(deepest);
    read("{\"a\":".repeat(Json.DEPTH_MAX) + "1" + "}".repeat(Json.DEPTH_MAX));
    assertThrows(IllegalArgumentException.class, () -> read("[[" + deepest + "]]"));
    assertThrows(IllegalArgumentException.class, () -> read("[".repeat(1_000_000)));
    Object value = List.of();
    for (int i = 0; i < Json.DEPTH_MAX - 1; i++) value = List.of(value);
    assertEquals(deepest, write(value));
    Object deeper = List.of(List.of(value));
    assertThrows(IllegalArgumentException.class, () -> write(deeper));
    List<Object> endless = Arrays.asList((Object) null);
    endless.set(0, endless);
    assertThrows(IllegalArgumentException.class, () -> write(endless));
  }

  @Test
  void theReaderStaysWithinItsBounds() {
    byte[] bytes = "x{\"a\":1}y".getBytes(UTF_8);
    assertEquals(Map.of("a", 1L), Json.read(bytes, 1, bytes.length - 1));
    byte[] cut = "true1".getBytes(UTF_8);
    assertThrows(IllegalArgumentException.class, () -> Json.read(cut, 0, 3));
    assertEquals(1L, Json.read("123".getBytes(UTF_8), 0, 1));
  }

  @Test
  void valuesAreWrittenAsJson() {
    Map<String, Object> map = new LinkedHashMap<>();
    map.put("s", "q\" b\\ \b\f\n\r\t\u0001\u007f é€😀 \ud800 \udc00x");
    map.put("n", Arrays.asList(1, 2L, (short) 3, (byte) 4, 1.5, 2.5f, 1e300, null, true));
    map.put("big", List.of(new BigInteger("123456789012345678901"), new BigDecimal("12.50")));
    map.put("c", new StringBuilder("chars"));
    String written = write(map);
    assertEquals(
        "{\"s\":\"q\\\" b\\\\ \\b\\f\\n\\r\\t\\u0001\u007f é€😀 \\ud800 \\udc00x\","
            + "\"n\":[1,2,3,4,1.5,2.5,1.0E300,null,true],"
            + "\"big\":[123456789012345678901,12.50],\"c\":\"chars\"}",
        written);
    assertEquals(map.get("s"), ((Map<?, ?>) read(written)).get("s"));
  }

  @Test
  void whatJsonCannotHoldIsRefused() {
    for (Object value : Arrays.asList(Double.NaN, Float.POSITIVE_INFINITY, new Object(), 'c')) {
      assertThrows(IllegalArgumentException.class, () -> write(value), "" + value);
    }
    assertThrows(IllegalArgumentException.class, () -> write(Map.of(1, 2)));
  }

  @Test
  void aTextKeepsItsBytesAndBecomesOneLine() {
    assertEquals(
        "{ \"b\" :  1.50e+2,\"a\":\"\\u00e9\\n/\\/\"  ,\"big\":1e99999999999}",
        line(
            "{ \"b\" :\r\n1.50e+2,\"a\":\"\\u00e9\\n/\\/\" \n,\"big\":1e99999999999}"
                .replace("\r\n", "\n ")));
    assertEquals("[\"é€😀\"]", line("[\"é€😀\"]"));
    assertEquals("[\"\\ud800\"]", line("[\"\ud800\"]"));
    assertThrows(IllegalArgumentException.class, () -> Json.line("[\ud800]"));
    assertThrows(IllegalArgumentException.class, () -> Json.line("{},\"tx\":\"t1\""));
  }
}
