// What the files of samples promise.
package io.github.dispatchd.client.testing;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

final class SamplesTest {
  @TempDir private Path folder;

  private void keep(String type, String... samples) {
    Samples.keep(folder, type, List.of(samples), false);
  }

  private String text(String name) throws IOException {
    return Files.readString(folder.resolve(name));
  }

  private List<String> names() throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      return files.map(file -> file.getFileName().toString()).sorted().toList();
    }
  }

  @Test
  void oneSampleIsAValueSeveralAreAnArrayAndNothingInThemChanges() throws IOException {
    String whole = "{\"c\":[1],\"d\":{\"x\":1},\"e\":[1,{\"f\":1}]}";
    keep(
        "one",
        "{\"b\":1.50,\"a\": \"é{,\\\"\\\\\" ,\n\"c\":[ ],\"d\":{},\"e\":[1,{\"f\":null}]}",
        whole);
    keep("two", "{\"b\":1}");
    String one =
        String.join(
            "\n",
            "[",
            "  {",
            "    \"b\": 1.50,",
            "    \"a\": \"é{,\\\"\\\\\",",
            "    \"c\": [],",
            "    \"d\": {},",
            "    \"e\": [",
            "      1,",
            "      {",
            "        \"f\": null",
            "      }",
            "    ]",
            "  },",
            "  {",
            "    \"c\": [",
            "      1",
            "    ],",
            "    \"d\": {",
            "      \"x\": 1",
            "    },",
            "    \"e\": [",
            "      1,",
            "      {",
            "        \"f\": 1",
            "      }",
            "    ]",
            "  }",
            "]",
            "");
    assertEquals(one, text("one.sample.json"));
    assertEquals("{\n  \"b\": 1\n}\n", text("two.sample.json"));
  }

  @Test
  void aTypeThatNoFileCouldBeNamedAfterHasItsName() throws IOException {
    for (String type : List.of("inserted in a/b", ".hidden", "é%")) keep(type, "{\"a\":1}");
    assertEquals(
        List.of("%2Ehidden.sample.json", "%C3%A9%25.sample.json", "inserted in a%2Fb.sample.json"),
        names());
  }

  @Test
  void aFileThatSaysTheSameIsLeftAlone() throws IOException {
    keep("t", "{\"a\":1}");
    Path file = folder.resolve("t.sample.json");
    Files.setLastModifiedTime(file, FileTime.fromMillis(1000));
    keep("t", "{\"a\":1}");
    assertEquals(1000, Files.getLastModifiedTime(file).toMillis());
  }

  @Test
  void inCiNothingIsWrittenAndWhatDiffersFails() throws IOException {
    keep("t", "{\"a\":1}");
    Samples.keep(folder, "t", List.of("{\"a\":1}"), true);
    for (String type : List.of("t", "new")) {
      AssertionError error =
          assertThrows(
              AssertionError.class, () -> Samples.keep(folder, type, List.of("{\"a\":2}"), true));
      assertTrue(error.getMessage().contains(type + ".sample.json is not the sample of " + type));
    }
    assertEquals(List.of("t.sample.json"), names());
    assertEquals("{\n  \"a\": 1\n}\n", text("t.sample.json"));
  }

  @Test
  void aMemberWithoutAValueInAnySampleIsNamed() {
    String sample =
        "{\"items\":[{\"price\":null},{\"price\":7,\"a/b~\":[]}],\"buyer\":{\"name\":\"\"},"
            + "\"note\":null,\"no\":false,\"zero\":0}";
    AssertionError error = assertThrows(AssertionError.class, () -> keep("t", sample));
    assertEquals(
        "t: no sample has a value for /items/*/a~1b~0, /buyer/name, /note", error.getMessage());
    keep("t", sample, "{\"items\":[{\"a/b~\":[1]}],\"buyer\":{\"name\":\"A\"},\"note\":\"x\"}");
    keep("empty", "{}");
  }

  @Test
  void whatIsNoSampleIsRefused() {
    assertThrows(IllegalArgumentException.class, () -> keep("t"));
    for (String sample : List.of("", "7", "null", "[]", "{", "{} {}")) {
      assertThrows(IllegalArgumentException.class, () -> keep("t", sample));
    }
  }
}
