// Time and chance. Never waits itself.
package io.github.dispatchd.client;

import java.time.Duration;
import java.util.random.RandomGenerator;

final class Waits {
  /** Later than any moment. */
  static final long FAR = Long.MAX_VALUE;

  private static final long FIRST_NANOS = Duration.ofMillis(50).toNanos();
  private static final long LONGEST_NANOS = Duration.ofSeconds(5).toNanos();
  private static final Duration YEAR = Duration.ofDays(365);
  private static final long ORIGIN = System.nanoTime();

  private Waits() {}

  /** Nanoseconds since this class was loaded. */
  static long now() {
    return System.nanoTime() - ORIGIN;
  }

  /** The nanoseconds of a duration; more than a year counts as a year. */
  static long nanos(Duration duration) {
    return duration.compareTo(YEAR) > 0 ? YEAR.toNanos() : duration.toNanos();
  }

  /**
   * A random wait before the attempt after `failures` others: at most 50 ms, doubling up to 5 s.
   */
  static long backoff(int failures, RandomGenerator random) {
    long longest = Math.min(LONGEST_NANOS, FIRST_NANOS << Math.min(failures, 20));
    return random.nextLong(longest + 1);
  }
}
