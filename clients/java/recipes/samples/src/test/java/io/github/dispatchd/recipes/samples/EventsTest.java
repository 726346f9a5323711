// Every event has a complete sample: copy this test. The folder is for `dispatchd schema generate`.
package io.github.dispatchd.recipes.samples;

import io.github.dispatchd.client.testing.Samples;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

final class EventsTest {
  static Stream<String> types() {
    return Events.samples().keySet().stream();
  }

  @ParameterizedTest
  @MethodSource("types")
  void everyEventHasACompleteSample(String type) {
    Samples.keep(Path.of("schemas"), type, Events.samples().get(type));
  }
}
