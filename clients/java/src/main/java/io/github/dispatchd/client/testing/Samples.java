// Keeps the files of sample events that `dispatchd schema generate` makes schemas of, for an
// application's tests. The client itself reads and writes no such file.
package io.github.dispatchd.client.testing;

import static java.nio.charset.StandardCharsets.UTF_8;

import io.github.dispatchd.client.internal.Json;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** Files of sample events. A test keeps a complete sample of each of its application's events. */
public final class Samples {
  private static final String PLAIN =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._- ";

  private Samples() {}

  /**
   * Writes {@code FOLDER/TYPE.sample.json}, unless it says the same already: then nothing is
   * written. Where the environment has {@code CI}, it never writes, and fails if the file differs:
   * what was generated is to be committed.
   *
   * <p>The samples have to be complete: each member has a value, in at least one of them, from
   * which its schema can be told. {@code null}, {@code ""}, {@code []} and {@code {}} are none.
   *
   * @param folder where the file stands
   * @param type the event's type
   * @param samples the data of one event or of several: JSON objects, as Jackson or Gson write them
   * @throws AssertionError if a member has a value in no sample, or the file differs in CI
   * @throws IllegalArgumentException if there is no sample, or one is not a JSON object
   */
  public static void keep(Path folder, String type, String... samples) {
    keep(folder, type, List.of(samples), inCi());
  }

  /**
   * The same with maps, as {@link io.github.dispatchd.client.Event#of} takes them. Members stand in
   * the file in the map's order: take {@code LinkedHashMap}, for {@code Map.of} has another one at
   * each run.
   *
   * @param folder where the file stands
   * @param type the event's type
   * @param samples the data of one event or of several
   * @throws AssertionError if a member has a value in no sample, or the file differs in CI
   * @throws IllegalArgumentException if there is no sample, or JSON has no such value
   */
  public static void keep(Path folder, String type, List<? extends Map<String, ?>> samples) {
    keep(folder, type, samples.stream().map(Samples::json).toList(), inCi());
  }

  static void keep(Path folder, String type, List<String> samples, boolean readOnly) {
    Map<String, Boolean> hasValue = new LinkedHashMap<>();
    for (String sample : samples) {
      byte[] text = sample.getBytes(UTF_8);
      if (!(Json.read(text, 0, text.length) instanceof Map<?, ?> members)) {
        throw new IllegalArgumentException(type + ": a sample is a JSON object");
      }
      look(hasValue, "", members);
    }
    if (samples.isEmpty()) throw new IllegalArgumentException(type + ": there is no sample");
    hasValue.remove(""); // An event may have no members.
    hasValue.values().removeIf(has -> has);
    if (!hasValue.isEmpty()) {
      throw new AssertionError(
          type + ": no sample has a value for " + String.join(", ", hasValue.keySet()));
    }

    String all = samples.size() == 1 ? samples.get(0) : "[" + String.join(",", samples) + "]";
    Path file = folder.resolve(fileName(type) + ".sample.json");
    String text = indented(all) + "\n";
    try {
      if (Files.exists(file) && Files.readString(file).equals(text)) return;
      if (readOnly) {
        throw new AssertionError(
            file + " is not the sample of " + type + ": run the tests without CI, and commit it");
      }
      Files.createDirectories(folder);
      Files.writeString(file, text);
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  private static boolean inCi() {
    String ci = System.getenv("CI");
    return ci != null && !ci.isEmpty();
  }

  private static String json(Map<String, ?> sample) {
    return new String(new Json.Out(256).value(sample).toBytes(), UTF_8);
  }

  /**
   * Notes for a value and all its members whether they have one, by JSON pointers; {@code *} is any
   * element of an array.
   */
  private static void look(Map<String, Boolean> hasValue, String path, Object value) {
    boolean has = value != null && !value.equals("") && !value.equals(List.of());
    hasValue.merge(path, has && !value.equals(Map.of()), Boolean::logicalOr);
    if (value instanceof Map<?, ?> members) {
      members.forEach(
          (name, member) -> {
            String escaped = name.toString().replace("~", "~0").replace("/", "~1");
            look(hasValue, path + "/" + escaped, member);
          });
    } else if (value instanceof List<?> elements) {
      elements.forEach(element -> look(hasValue, path + "/*", element));
    }
  }

  /** JSON with a member a line. Texts and numbers stay as they are. */
  private static String indented(String json) {
    StringBuilder out = new StringBuilder();
    String line = "\n";
    boolean inText = false;
    for (int i = 0; i < json.length(); i++) {
      char c = json.charAt(i);
      if (inText) {
        out.append(c);
        if (c == '\\') out.append(json.charAt(++i));
        inText = c != '"';
      } else if (c == '{' || c == '[') {
        int next = next(json, i);
        out.append(c);
        if (json.charAt(next) == c + 2) { // In ASCII a bracket's other half is the next but one.
          out.append(json.charAt(next));
          i = next;
        } else {
          line += "  ";
          out.append(line);
        }
      } else if (c == '}' || c == ']') {
        line = line.substring(0, line.length() - 2);
        out.append(line).append(c);
      } else if (c == ',') {
        out.append(c).append(line);
      } else if (c == ':') {
        out.append(": ");
      } else if (c > ' ') {
        inText = c == '"';
        out.append(c);
      }
    }
    return out.toString();
  }

  /** Where the next token begins. */
  private static int next(String json, int at) {
    do at++;
    while (json.charAt(at) <= ' ');
    return at;
  }

  /** A type as a file's name: each byte that might not stand in one is written as {@code %XX}. */
  private static String fileName(String type) {
    byte[] bytes = type.getBytes(UTF_8);
    String name =
        Stream.iterate(0, i -> i < bytes.length, i -> i + 1)
            .map(i -> PLAIN.indexOf(bytes[i]) >= 0 ? "" + (char) bytes[i] : escaped(bytes[i]))
            .collect(Collectors.joining());
    return name.startsWith(".") ? escaped((byte) '.') + name.substring(1) : name;
  }

  private static String escaped(byte b) {
    return String.format("%%%02X", b);
  }
}
