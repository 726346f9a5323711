// A scripted daemon for each test, and the words that tests use of a client and its futures.
package io.github.dispatchd.client;

import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.IOException;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;

abstract class WithDaemon {
  static final Duration SOON = Duration.ofMillis(150);
  private static final Duration LONGEST_ATTEMPT = Duration.ofSeconds(15);

  ScriptedDaemon daemon;

  @BeforeEach
  void start() throws IOException {
    daemon = new ScriptedDaemon();
  }

  @AfterEach
  void stop() throws IOException {
    daemon.close();
  }

  DispatchdClient.Builder builder() {
    return DispatchdClient.builder().socket(daemon.socket);
  }

  /** Part of a test that needs other things to happen before a call's timeout. */
  interface Attempt {
    void within(Duration timeout) throws Exception;
  }

  /** Gives an attempt more time, and another daemon, where the machine was too slow for it. */
  void attempt(Attempt attempt) throws Exception {
    for (Duration timeout = SOON; ; timeout = timeout.multipliedBy(10)) {
      try {
        attempt.within(timeout);
        return;
      } catch (Exception | AssertionError e) {
        if (timeout.compareTo(LONGEST_ATTEMPT) >= 0) throw e;
        stop();
        start();
      }
    }
  }

  static Event event(int n) {
    return Event.json("order.placed", "{\"n\":" + n + "}");
  }

  static <T> T get(CompletableFuture<T> future) throws Exception {
    return future.get(ScriptedDaemon.WAIT_SECONDS, TimeUnit.SECONDS);
  }

  static DispatchdException failure(CompletableFuture<?> future) {
    ExecutionException failed = assertThrows(ExecutionException.class, () -> get(future));
    return assertInstanceOf(DispatchdException.class, failed.getCause());
  }
}
