// How long the client waits before it tries again.
package io.github.dispatchd.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.List;
import java.util.random.RandomGenerator;
import org.junit.jupiter.api.Test;

final class WaitsTest {
  /** Says how much it was asked for, less one: the longest wait. */
  private static final RandomGenerator LONGEST =
      new RandomGenerator() {
        @Override
        public long nextLong() {
          throw new UnsupportedOperationException();
        }

        @Override
        public long nextLong(long bound) {
          return bound - 1;
        }
      };

  @Test
  void waitsBeginAt50MsAndDoubleUpTo5S() {
    List<Long> waits =
        List.of(0, 1, 2, 6, 7, 8, 1_000_000).stream()
            .map(failures -> Waits.backoff(failures, LONGEST) / 1_000_000)
            .toList();
    assertEquals(List.of(50L, 100L, 200L, 3200L, 5000L, 5000L, 5000L), waits);
  }

  @Test
  void waitsAreRandomFromNothingOn() {
    RandomGenerator random = RandomGenerator.of("L64X128MixRandom");
    long shortest = Long.MAX_VALUE;
    for (int i = 0; i < 1_000; i++) shortest = Math.min(shortest, Waits.backoff(7, random));
    assertTrue(shortest < Duration.ofMillis(250).toNanos(), "" + shortest);
  }

  @Test
  void aDurationOfAnyLengthIsADeadline() {
    assertEquals(1_000_000, Waits.nanos(Duration.ofMillis(1)));
    assertEquals(Duration.ofDays(365).toNanos(), Waits.nanos(Duration.ofSeconds(Long.MAX_VALUE)));
  }
}
