// Reads and writes JSON, as far as the wire needs it. Strict: what RFC 8259 does not allow is
// refused. Never coerces a value, and never changes text that it is given.
package io.github.dispatchd.client.internal;

import static java.nio.charset.StandardCharsets.ISO_8859_1;
import static java.nio.charset.StandardCharsets.UTF_8;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** A small JSON reader and writer. */
public final class Json {
  /** The deepest nesting that is read or written. */
  public static final int DEPTH_MAX = 512;

  /** What the longest character or escape takes. */
  private static final int LONGEST_BYTES = 6;

  /** Names that were read, by a hash. A race only loses a name: each of them is right anywhere. */
  private static final String[] NAMES = new String[64];

  private static final int NAME_LENGTH_MAX = 32;

  private static final byte[] HEX = "0123456789abcdef".getBytes(ISO_8859_1);

  // Reading.
  private final byte[] text;
  private final int end;
  private final boolean build;
  private int at;

  /** There is a line break between two tokens. */
  private boolean broken;

  private Json(byte[] text, int from, int end, boolean build) {
    this.text = text;
    this.at = from;
    this.end = end;
    this.build = build;
  }

  /**
   * Reads one value: a {@code Map} in the text's order, {@code List}, {@code String}, {@code Long}
   * (integers of at most 18 digits), {@code BigDecimal}, {@code Boolean} or {@code null}.
   *
   * @param text the bytes, in UTF-8
   * @param from where the value begins
   * @param end where the text ends
   * @return the value
   * @throws IllegalArgumentException if the text is not exactly one JSON value
   */
  public static Object read(byte[] text, int from, int end) {
    return new Json(text, from, end, true).document();
  }

  /**
   * Checks that text is one JSON value, and makes it fit into one line.
   *
   * @param json the text
   * @return its bytes, unchanged but for line breaks between tokens, which become spaces
   * @throws IllegalArgumentException if the text is not exactly one JSON value
   */
  public static byte[] line(String json) {
    byte[] line = new Out(json.length()).text(json).toBytes();
    Json reader = new Json(line, 0, line.length, false);
    reader.document();
    // A line break inside a string was refused above, so that those that are left mean nothing.
    for (int i = 0; reader.broken && i < line.length; i++) {
      if (line[i] == '\n' || line[i] == '\r') line[i] = ' ';
    }
    return line;
  }

  private Object document() {
    Object value = value(0);
    space();
    if (at != end) throw malformed("more text after the value");
    return value;
  }

  private Object value(int depth) {
    if (depth > DEPTH_MAX) throw malformed("nested deeper than " + DEPTH_MAX);
    space();
    switch (peek()) {
      case '{':
        return object(depth);
      case '[':
        return array(depth);
      case '"':
        return string();
      case 't':
        return word("true", Boolean.TRUE);
      case 'f':
        return word("false", Boolean.FALSE);
      case 'n':
        return word("null", null);
      default:
        return number();
    }
  }

  private Map<String, Object> object(int depth) {
    Map<String, Object> map = build ? new LinkedHashMap<>() : null;
    at++;
    space();
    if (peek() == '}') {
      at++;
      return map;
    }
    for (; ; at++) {
      space();
      if (peek() != '"') throw malformed("a name is expected");
      String name = name();
      space();
      if (peek() != ':') throw malformed("a colon is expected");
      at++;
      Object value = value(depth + 1);
      if (build) map.put(name, value);
      if (last('}')) return map;
    }
  }

  private List<Object> array(int depth) {
    List<Object> list = build ? new ArrayList<>() : null;
    at++;
    space();
    if (peek() == ']') {
      at++;
      return list;
    }
    for (; ; at++) {
      Object value = value(depth + 1);
      if (build) list.add(value);
      if (last(']')) return list;
    }
  }

  /** Whether the list or object ends here; if not, a comma stands here. */
  private boolean last(char close) {
    space();
    int c = peek();
    if (c == close) {
      at++;
      return true;
    }
    if (c != ',') throw malformed("a comma or " + close + " is expected");
    return false;
  }

  private String string() {
    int from = ++at;
    int i = from;
    boolean ascii = true;
    for (; i < end; i++) {
      byte c = text[i];
      if (c == '"' || c == '\\' || c >= 0 && c < 0x20) break;
      ascii &= c >= 0;
    }
    at = i;
    if (peek() == '\\') return escaped(from);
    if (peek() != '"') throw malformed("a control character in a string");
    String value = ascii ? ascii(from, at) : utf8(from, at);
    at++;
    return value;
  }

  /** The rest of a string, from its first escape on. */
  private String escaped(int from) {
    StringBuilder value = new StringBuilder();
    int run = from;
    while (true) {
      int c = peek();
      if (c == '"' || c == '\\') {
        String plain = utf8(run, at++);
        if (build) value.append(plain);
        if (c == '"') return value.toString();
        value.append(escape());
        run = at;
      } else if (c >= 0 && c < 0x20) {
        throw malformed("a control character in a string");
      } else {
        at++;
      }
    }
  }

  private char escape() {
    int c = peek();
    at++;
    int known = "\"\\/bfnrt".indexOf(c);
    if (known >= 0) return "\"\\/\b\f\n\r\t".charAt(known);
    if (c != 'u') throw malformed("an unknown escape");
    int unit = 0;
    for (int i = 0; i < 4; i++, at++) {
      int digit = Character.digit(peek(), 16);
      if (digit < 0) throw malformed("four hexadecimal digits are expected");
      unit = unit << 4 | digit;
    }
    return (char) unit;
  }

  private String ascii(int from, int to) {
    return build ? new String(text, from, to - from, ISO_8859_1) : null;
  }

  /** A member's name. Those that come again and again are made once. */
  private String name() {
    int from = at + 1;
    int to = from;
    while (to < end && text[to] != '"' && text[to] != '\\') to++;
    if (!build || to == from || to >= end) return string();
    int slot = (text[from] * 31 + text[to - 1] * 7 + to - from) & NAMES.length - 1;
    String known = NAMES[slot];
    if (known != null && text[to] == '"' && known.length() == to - from) {
      int same = 0;
      while (same < known.length() && known.charAt(same) == text[from + same]) same++;
      if (same == known.length()) {
        at = to + 1;
        return known;
      }
    }
    String name = string();
    if (name.length() <= NAME_LENGTH_MAX) NAMES[slot] = name;
    return name;
  }

  private String utf8(int from, int to) {
    try {
      return UTF_8.newDecoder().decode(ByteBuffer.wrap(text, from, to - from)).toString();
    } catch (CharacterCodingException e) {
      throw malformed("a string that is not UTF-8");
    }
  }

  private Object word(String word, Boolean value) {
    for (int i = 0; i < word.length(); i++, at++) {
      if (at == end || text[at] != word.charAt(i)) throw malformed(word + " is expected");
    }
    return value;
  }

  private Number number() {
    int from = at;
    if (peek() == '-') at++;
    int digits = at;
    digits();
    if (text[digits] == '0' && at > digits + 1) throw malformed("a number that begins with 0");
    int integer = at;
    if (at < end && text[at] == '.') {
      at++;
      digits();
    }
    if (at < end && (text[at] == 'e' || text[at] == 'E')) {
      at++;
      if (peek() == '+' || peek() == '-') at++;
      digits();
    }
    if (!build) return null;
    String number = ascii(from, at);
    // An exponent that Java cannot hold is a NumberFormatException, an IllegalArgumentException.
    return at == integer && at - digits <= 18 ? Long.valueOf(number) : new BigDecimal(number);
  }

  private void digits() {
    if (peek() < '0' || peek() > '9') throw malformed("a value is expected");
    while (at < end && text[at] >= '0' && text[at] <= '9') at++;
  }

  private void space() {
    for (; at < end; at++) {
      byte c = text[at];
      if (c == '\n' || c == '\r') broken = true;
      else if (c != ' ' && c != '\t') return;
    }
  }

  private int peek() {
    if (at >= end) throw malformed("the text ends too early");
    return text[at];
  }

  private IllegalArgumentException malformed(String what) {
    return new IllegalArgumentException("not JSON, at byte " + at + ": " + what);
  }

  /** Bytes that grow, and how values are written to them. */
  public static final class Out {
    private byte[] bytes;
    private int length;

    /**
     * Makes an empty one.
     *
     * @param room the bytes that fit before it has to grow
     */
    public Out(int room) {
      bytes = new byte[room];
    }

    /**
     * What was written. Nothing may be written afterwards.
     *
     * @return the bytes
     */
    public byte[] toBytes() {
      return bytes.length == length ? bytes : Arrays.copyOf(bytes, length);
    }

    /**
     * Writes bytes as they are.
     *
     * @param raw the bytes
     * @return this
     */
    public Out raw(byte[] raw) {
      room(raw.length);
      System.arraycopy(raw, 0, bytes, length, raw.length);
      length += raw.length;
      return this;
    }

    /**
     * Writes text of ASCII as it is.
     *
     * @param ascii the text
     * @return this
     */
    public Out raw(String ascii) {
      room(ascii.length());
      for (int i = 0; i < ascii.length(); i++) bytes[length++] = (byte) ascii.charAt(i);
      return this;
    }

    /**
     * Writes a JSON string. A surrogate that stands alone is written as an escape.
     *
     * @param string the characters
     * @return this
     */
    public Out string(String string) {
      raw("\"");
      int count = string.length();
      room(count);
      for (int i = 0; i < count; i++) {
        char c = string.charAt(i);
        if (c < 0x80 && c >= 0x20 && c != '"' && c != '\\') {
          bytes[length++] = (byte) c;
          continue;
        }
        // Longer than the one byte that there is room for.
        room(count - i + LONGEST_BYTES);
        int known = "\"\\\b\f\n\r\t".indexOf(c);
        if (known >= 0) raw("\\").raw("\"\\bfnrt".substring(known, known + 1));
        else if (c < 0x20) unit(c);
        else i = character(string, i);
      }
      return raw("\"");
    }

    /** Writes text as it is. A surrogate that stands alone is written as an escape. */
    private Out text(String text) {
      int count = text.length();
      room(count);
      for (int i = 0; i < count; i++) {
        char c = text.charAt(i);
        if (c < 0x80) {
          bytes[length++] = (byte) c;
          continue;
        }
        room(count - i + LONGEST_BYTES);
        i = character(text, i);
      }
      return this;
    }

    /**
     * Writes a value: a {@code Map} with strings as keys, an {@code Iterable}, a {@code
     * CharSequence}, a {@code Boolean}, {@code null}, or a number of the JDK's, finite.
     *
     * @param value the value
     * @return this
     * @throws IllegalArgumentException if JSON has no such value, or it is nested too deep
     */
    public Out value(Object value) {
      return value(value, 0);
    }

    private Out value(Object value, int depth) {
      if (depth > DEPTH_MAX) throw new IllegalArgumentException("nested deeper than " + DEPTH_MAX);
      if (value instanceof CharSequence) return string(value.toString());
      if (value == null || value instanceof Boolean || exact(value)) return raw("" + value);
      String before = "";
      if (value instanceof Map<?, ?> map) {
        raw("{");
        for (Map.Entry<?, ?> entry : map.entrySet()) {
          if (!(entry.getKey() instanceof String name)) {
            throw new IllegalArgumentException("a key that is no string: " + entry.getKey());
          }
          raw(before).string(name).raw(":").value(entry.getValue(), depth + 1);
          before = ",";
        }
        return raw("}");
      }
      if (value instanceof Iterable<?> list) {
        raw("[");
        for (Object member : list) {
          raw(before).value(member, depth + 1);
          before = ",";
        }
        return raw("]");
      }
      throw new IllegalArgumentException(
          "JSON has no " + value.getClass().getName() + ": " + value);
    }

    private static boolean exact(Object value) {
      if (value instanceof Double || value instanceof Float) {
        return Double.isFinite(((Number) value).doubleValue());
      }
      return value instanceof Integer
          || value instanceof Long
          || value instanceof Short
          || value instanceof Byte
          || value instanceof BigInteger
          || value instanceof BigDecimal;
    }

    /** Writes a character beyond ASCII, which may take two units; returns the last of them. */
    private int character(String string, int i) {
      char c = string.charAt(i);
      if (c < 0x800) {
        bytes[length++] = (byte) (0xc0 | c >> 6);
        bytes[length++] = (byte) (0x80 | c & 0x3f);
      } else if (!Character.isSurrogate(c)) {
        bytes[length++] = (byte) (0xe0 | c >> 12);
        bytes[length++] = (byte) (0x80 | c >> 6 & 0x3f);
        bytes[length++] = (byte) (0x80 | c & 0x3f);
      } else if (i + 1 < string.length() && Character.isSurrogatePair(c, string.charAt(i + 1))) {
        int point = Character.toCodePoint(c, string.charAt(++i));
        bytes[length++] = (byte) (0xf0 | point >> 18);
        bytes[length++] = (byte) (0x80 | point >> 12 & 0x3f);
        bytes[length++] = (byte) (0x80 | point >> 6 & 0x3f);
        bytes[length++] = (byte) (0x80 | point & 0x3f);
      } else {
        unit(c);
      }
      return i;
    }

    private void unit(char c) {
      bytes[length++] = '\\';
      bytes[length++] = 'u';
      for (int shift = 12; shift >= 0; shift -= 4) bytes[length++] = HEX[c >> shift & 15];
    }

    private void room(int more) {
      if (bytes.length - length < more) {
        bytes = Arrays.copyOf(bytes, Math.max(bytes.length * 2, length + more));
      }
    }
  }
}
