// What docs/clients.md promises, without transactions.
package io.github.dispatchd.client;

import static io.github.dispatchd.client.ScriptedDaemon.await;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.dispatchd.client.DispatchdException.Outcome;
import io.github.dispatchd.client.ScriptedDaemon.Connection;
import io.github.dispatchd.client.testing.FakeDaemon;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
final class ClientTest extends WithDaemon {
  private static final Duration LONG = Duration.ofSeconds(ScriptedDaemon.WAIT_SECONDS);

  /** Closes without waiting, where a test leaves events open. */
  private static void end(DispatchdClient client) {
    client.close(Duration.ZERO);
  }

  @Test
  void publishEndsWithThePublishedEvent() throws Exception {
    try (DispatchdClient client = builder().build()) {
      CompletableFuture<Published> call =
          client.publish(event(1).partitionKey("k").sourceUserId("u-1"));
      Connection connection = daemon.accept();
      Map<?, ?> line = connection.next();
      String id = (String) ((Map<?, ?>) line.get("options")).get("id");
      assertEquals(36, id.length());
      assertEquals("order.placed", line.get("type"));
      assertEquals(Map.of("n", 1L), line.get("data"));
      assertEquals(
          Map.of("id", id, "partitionKey", "k", "sourceUserId", "u-1"), line.get("options"));
      connection.ack(line);
      assertEquals(
          new Published(
              id,
              "order.placed",
              "2026-01-01T00:00:00.000Z",
              new Published.Source("u-1", "p@host", "k"),
              "shard-1",
              "4" + line.get("ref"),
              null,
              false),
          get(call));
    }
  }

  @Test
  void aPathThatNoSocketCanHaveIsRefusedAtOnce() {
    DispatchdClient.builder().socket(Path.of("/" + "s".repeat(106))).build().close();
    DispatchdClient.Builder tooLong =
        DispatchdClient.builder().socket(Path.of("/" + "s".repeat(107)));
    String message = assertThrows(IllegalArgumentException.class, tooLong::build).getMessage();
    assertTrue(message.contains("at most 107 bytes, not 108: /s"), message);
  }

  @Test
  void theContextIsSaidFirstAndNoEventGoesBeforeItIsAccepted() throws Exception {
    try (DispatchdClient client = builder().producerId("me").envelope("lk").build()) {
      CompletableFuture<Published> call = client.publish(event(1));
      Connection connection = daemon.acceptSilently();
      Map<?, ?> hello = connection.next();
      assertEquals(
          Map.of("op", "hello", "context", Map.of("producerId", "me", "envelope", "lk")), hello);
      // By the time of this timeout the client has written all that it would write.
      assertEquals(Outcome.NOT_STORED, failure(client.publish(event(2), SOON)).outcome());
      assertTrue(connection.silent());
      connection.send("{\"op\":\"hello\",\"ok\":true,\"producerId\":\"me\"}");
      connection.ack(connection.next());
      assertEquals("me", get(call).source().producerId());
    }
  }

  @Test
  void withoutAContextNoEventWaitsForTheAnswerToHello() throws Exception {
    try (DispatchdClient client = builder().build()) {
      CompletableFuture<Published> call = client.publish(event(1));
      Connection connection = daemon.acceptSilently();
      assertEquals(Map.of("op", "hello"), connection.next());
      Map<?, ?> line = connection.next();
      connection.send("{\"op\":\"hello\",\"ok\":true}");
      connection.ack(line);
      get(call);
    }
  }

  @Test
  void whatHelloIsRefusedWithEndsAllCallsAndTheNextCallAsksAgain() throws Exception {
    try (DispatchdClient client = builder().envelope("nonsense").build()) {
      for (int attempt = 0; attempt < 2; attempt++) {
        CompletableFuture<Published> call = client.publish(event(1));
        Connection connection = daemon.acceptSilently();
        connection.line();
        connection.send(
            "{\"op\":\"hello\",\"ok\":false,\"error\":{\"code\":\"InvalidRequest\","
                + "\"message\":\"envelope\",\"retryable\":false}}");
        DispatchdException error = failure(call);
        assertEquals("InvalidRequest", error.code());
        assertFalse(error.retryable());
        assertEquals(Outcome.NOT_STORED, error.outcome());
        connection.awaitEnd();
      }
      CompletableFuture<Published> last = client.publish(event(2));
      Connection connection = daemon.accept();
      connection.ack(connection.next());
      get(last);
    }
  }

  @Test
  void answersAreMatchedByReferenceAndUnknownOnesIgnored() throws Exception {
    try (DispatchdClient client = builder().build()) {
      List<CompletableFuture<Published>> calls = new ArrayList<>();
      for (int n = 0; n < 3; n++) calls.add(client.publish(event(n)));
      Connection connection = daemon.accept();
      List<Map<?, ?>> lines = List.of(connection.next(), connection.next(), connection.next());
      connection.send("{\"ref\":999,\"ok\":true,\"more\":[{\"a\":null}]}");
      connection.send("{\"ref\":\"x\",\"ok\":false,\"error\":{\"code\":\"InvalidRequest\"}}");
      connection.send("{\"op\":\"news\",\"ok\":true}");
      for (int n = 2; n >= 0; n--) connection.ack(lines.get(n));
      for (int n = 0; n < 3; n++) {
        assertEquals("4" + lines.get(n).get("ref"), get(calls.get(n)).sequenceNumber());
      }
    }
  }

  @Test
  void anAnswerInPiecesAndALongOneArePutTogether() throws Exception {
    try (DispatchdClient client = builder().build()) {
      CompletableFuture<Published> call = client.publish(event(1));
      Connection connection = daemon.accept();
      String answer = Connection.acked(connection.next());
      connection.send("{\"op\":\"news\",\"text\":\"" + "é".repeat(300_000) + "\"}");
      connection.sendPart(answer.substring(0, 20));
      await(() -> client.counters().buffered() == 1);
      connection.sendPart(answer.substring(20) + "\n");
      get(call);
    }
  }

  @Test
  void whatIsNotAnsweredIsSentAgainInItsOrderWithTheSameBytes() throws Exception {
    try (DispatchdClient client = builder().build()) {
      List<CompletableFuture<Published>> calls = new ArrayList<>();
      for (int n = 0; n < 5; n++) calls.add(client.publish(event(n)));
      Connection first = daemon.accept();
      List<String> lines = new ArrayList<>();
      for (int n = 0; n < 5; n++) lines.add(first.line());
      first.send(Connection.acked(Map.of("ref", 2, "options", Map.of("id", "x"))));
      get(calls.get(1));
      first.cut();
      Connection second = daemon.accept();
      for (int n : List.of(0, 2, 3, 4)) assertEquals(lines.get(n), second.line());
      for (int ref : List.of(1, 3, 4, 5)) {
        second.ack(Map.of("ref", ref, "options", Map.of("id", "x")));
      }
      for (CompletableFuture<Published> call : calls) get(call);
      assertEquals(4, client.counters().resent());
      assertEquals(1, client.counters().reconnects());
    }
  }

  @Test
  void whatTheDaemonSaidBeforeItHungUpIsHeard() throws Exception {
    try (DispatchdClient client = builder().build()) {
      CompletableFuture<Published> first = client.publish(event(1));
      CompletableFuture<Published> second = client.publish(event(2));
      CountDownLatch hungUp = new CountDownLatch(1);
      CompletableFuture<Void> holdsUp =
          second.thenRun(
              () -> {
                try {
                  hungUp.await();
                } catch (InterruptedException e) {
                  throw new IllegalStateException(e);
                }
              });
      Connection connection = daemon.accept();
      Map<?, ?> line = connection.next();
      connection.ack(connection.next());
      await(() -> client.counters().acked() == 1);
      // More than the client reads at once: it finds out by writing that nobody is there.
      for (int n = 0; n < 10; n++) connection.send("{\"op\":\"" + "x".repeat(10_000) + "\"}");
      connection.ack(line);
      connection.cut();
      CompletableFuture<Published> third = client.publish(event(3));
      hungUp.countDown();
      get(first);
      get(holdsUp);
      Connection next = daemon.accept();
      Map<?, ?> last = next.next();
      assertEquals(Map.of("n", 3L), last.get("data"));
      next.ack(last);
      get(third);
    }
  }

  @Test
  void aClientThatStartsBeforeTheDaemonWaitsForIt() throws Exception {
    daemon.stopListening();
    try (DispatchdClient client = builder().build()) {
      CompletableFuture<Published> call = client.publish(event(1));
      DispatchdException late = failure(client.publish(event(2), SOON));
      assertEquals("Timeout", late.code());
      assertEquals(Outcome.NOT_STORED, late.outcome());
      assertTrue(late.retryable());
      assertTrue(late.getMessage().contains(daemon.socket.toString()), late.getMessage());
      daemon.listen();
      Connection connection = daemon.accept();
      connection.ack(connection.next());
      get(call);
      assertEquals(0, client.counters().reconnects());
    }
  }

  @Test
  void aConnectionThatIsTurnedAwayIsTriedAgainAndItsReasonIsKept() throws Exception {
    attempt(this::aConnectionThatIsTurnedAwayIsTriedAgainAndItsReasonIsKept);
  }

  private void aConnectionThatIsTurnedAwayIsTriedAgainAndItsReasonIsKept(Duration timeout)
      throws Exception {
    try (DispatchdClient client = builder().build()) {
      CompletableFuture<Published> call = client.publish(event(1), timeout);
      CompletableFuture<Published> patient = client.publish(event(2));
      String away =
          "{\"ok\":false,\"error\":{\"code\":\"Overloaded\",\"message\":\"64 are open\",\"retryable\":true}}";
      while (!call.isDone()) {
        Connection connection = daemon.acceptSilently();
        connection.send(away);
        connection.awaitEnd();
      }
      assertTrue(failure(call).getMessage().contains("64 are open"), failure(call).getMessage());
      Connection connection = daemon.accept();
      connection.ack(connection.next());
      get(patient);
    }
  }

  @Test
  void aLineThatIsNotJsonEndsTheConnection() throws Exception {
    try (DispatchdClient client = builder().build()) {
      CompletableFuture<Published> call = client.publish(event(1));
      Connection connection = daemon.accept();
      String line = connection.line();
      connection.send("{\"ref\":1,\"ok\":true,}");
      connection.awaitEnd();
      Connection next = daemon.accept();
      assertEquals(line, next.line());
      next.ack(Map.of("ref", 1, "options", Map.of("id", "x")));
      get(call);
    }
  }

  @Test
  void aRefusalThatMayBeRetriedIsSentAgainWithTheSameBytes() throws Exception {
    try (DispatchdClient client = builder().build()) {
      CompletableFuture<Published> call = client.publish(event(1));
      Connection connection = daemon.accept();
      String line = connection.line();
      Map<?, ?> parsed = Map.of("ref", 1, "options", Map.of("id", "x"));
      for (int attempt = 0; attempt < 3; attempt++) {
        connection.refuse(parsed, "DeliveryTimeout", true, "not_stored");
        assertEquals(line, connection.line());
      }
      connection.ack(parsed);
      get(call);
      assertEquals(3, client.counters().resent());
    }
  }

  @Test
  void aRefusalForGoodEndsTheCallAtOnce() throws Exception {
    try (DispatchdClient client = builder().build()) {
      CompletableFuture<Published> call = client.publish(event(1));
      Connection connection = daemon.accept();
      connection.refuse(connection.next(), "InvalidRequest", false, null);
      DispatchdException error = failure(call);
      assertEquals("InvalidRequest", error.code());
      assertEquals("why", error.getMessage());
      assertTrue(error.toString().endsWith("DispatchdException: InvalidRequest: why"));
      assertFalse(error.retryable());
      assertEquals(Outcome.NOT_STORED, error.outcome());
      assertEquals(Map.of("InvalidRequest", 1L), client.counters().refused());
    }
  }

  @Test
  void aTimeoutSaysWhatIsKnownOfTheEvent() throws Exception {
    attempt(this::aTimeoutSaysWhatIsKnownOfTheEvent);
  }

  private void aTimeoutSaysWhatIsKnownOfTheEvent(Duration timeout) throws Exception {
    DispatchdClient client = builder().build();
    CompletableFuture<Published> silent = client.publish(event(1), timeout);
    CompletableFuture<Published> notStored = client.publish(event(2), timeout);
    CompletableFuture<Published> maybe = client.publish(event(3), timeout);
    Connection connection = daemon.accept();
    connection.next();
    Map<?, ?> second = connection.next();
    Map<?, ?> third = connection.next();
    connection.refuse(third, "ShuttingDown", true, "unknown");
    // Whatever comes again of these two is refused, and certainly not stored.
    while (!notStored.isDone() || !maybe.isDone()) {
      connection.refuse(second, "DeliveryTimeout", true, "not_stored");
      connection.refuse(third, "DeliveryTimeout", true, "not_stored");
      Thread.sleep(2);
    }
    assertEquals(Outcome.UNKNOWN, failure(silent).outcome());
    assertEquals(Outcome.NOT_STORED, failure(notStored).outcome());
    assertTrue(failure(notStored).getMessage().contains("DeliveryTimeout: why"));
    assertEquals(Outcome.UNKNOWN, failure(maybe).outcome());
    assertEquals(Map.of("Timeout", 3L), client.counters().refused());
    end(client);
  }

  @Test
  void anEventWhoseConnectionEndedBeforeItsAnswerStaysUnknown() throws Exception {
    attempt(this::anEventWhoseConnectionEndedBeforeItsAnswerStaysUnknown);
  }

  private void anEventWhoseConnectionEndedBeforeItsAnswerStaysUnknown(Duration timeout)
      throws Exception {
    DispatchdClient client = builder().build();
    CompletableFuture<Published> call = client.publish(event(1), timeout);
    Connection first = daemon.accept();
    first.next();
    first.cut();
    Connection second = daemon.accept();
    second.refuse(second.next(), "Overloaded", true, null);
    daemon.stopListening();
    second.cut();
    assertEquals(Outcome.UNKNOWN, failure(call).outcome());
    end(client);
  }

  @Test
  void publishWaitsAtTheBoundOfEventsAndTryPublishDoesNot() throws Exception {
    try (DispatchdClient client = builder().maxBufferedEvents(2).build()) {
      client.publish(event(1));
      client.publish(event(2));
      DispatchdException full = failure(client.tryPublish(event(3)));
      assertEquals("BufferFull", full.code());
      assertEquals(Outcome.NOT_STORED, full.outcome());
      DispatchdException late = failure(client.publish(event(4), SOON));
      assertEquals("Timeout", late.code());
      assertEquals(Outcome.NOT_STORED, late.outcome());
      CompletableFuture<Published> waits =
          CompletableFuture.supplyAsync(() -> client.publish(event(5)).join());
      Connection connection = daemon.accept();
      Map<?, ?> first = connection.next();
      connection.next();
      assertTrue(connection.silent());
      connection.ack(first);
      Map<?, ?> third = connection.next();
      assertEquals(Map.of("n", 5L), third.get("data"));
      connection.ack(third);
      get(waits);
      assertEquals(3, client.counters().sent());
      end(client);
    }
  }

  @Test
  void theBufferIsBoundedByBytesToo() throws Exception {
    Event event = Event.json("t", "{\"s\":\"" + "x".repeat(400) + "\"}");
    DispatchdClient client = builder().maxBufferedBytes(1000).build();
    client.publish(event);
    assertEquals(
        "BufferFull",
        failure(client.tryPublish(event.with(Event.Option.envelope, "x".repeat(200)))).code());
    Event huge = Event.json("t", "{\"s\":\"" + "x".repeat(1000) + "\"}");
    DispatchdException error = failure(client.publish(huge));
    assertEquals("EventTooLarge", error.code());
    assertFalse(error.retryable());
    Connection connection = daemon.accept();
    assertEquals(connection.line().length() + 1, client.counters().bufferedBytes());
    end(client);
  }

  @Test
  void aCallerThatIsInterruptedAtTheBoundIsToldAndStaysInterrupted() throws Exception {
    DispatchdClient client = builder().maxBufferedEvents(1).build();
    client.publish(event(1));
    AtomicReference<CompletableFuture<Published>> call = new AtomicReference<>();
    CompletableFuture<Boolean> interrupted = new CompletableFuture<>();
    Thread caller =
        new Thread(
            () -> {
              call.set(client.publish(event(2)));
              interrupted.complete(Thread.currentThread().isInterrupted());
            });
    caller.start();
    await(() -> caller.getState() == Thread.State.TIMED_WAITING);
    caller.interrupt();
    assertTrue(get(interrupted));
    assertEquals(Outcome.NOT_STORED, failure(call.get()).outcome());
    end(client);
  }

  @Test
  void aLargeEventPassesASlowReaderWhole() throws Exception {
    try (DispatchdClient client = builder().build()) {
      String text = "ü".repeat(1 << 20);
      CompletableFuture<Published> large = client.publish(Event.of("t", Map.of("s", text)));
      CompletableFuture<Published> small = client.publish(event(2));
      Connection connection = daemon.acceptSilently();
      connection.send("{\"op\":\"hello\",\"ok\":true}");
      // Nothing is read yet: the socket is full, and the client still answers.
      assertEquals("Timeout", failure(client.publish(event(3), SOON)).code());
      connection.next();
      Map<?, ?> line = connection.next();
      assertEquals(Map.of("s", text), line.get("data"));
      connection.ack(line);
      Map<?, ?> next = connection.next();
      assertEquals(Map.of("n", 2L), next.get("data"));
      connection.ack(next);
      get(large);
      get(small);
    }
  }

  @Test
  void anEventWhoseTimeoutEndedUnwrittenIsNeverWritten() throws Exception {
    try (DispatchdClient client = builder().build()) {
      CompletableFuture<Published> large =
          client.publish(Event.of("t", Map.of("s", "x".repeat(4 << 20))));
      Connection connection = daemon.acceptSilently();
      DispatchdException late = failure(client.publish(event(1), SOON));
      assertEquals(Outcome.NOT_STORED, late.outcome());
      CompletableFuture<Published> after = client.publish(event(2));
      connection.next();
      connection.ack(connection.next());
      Map<?, ?> next = connection.next();
      assertEquals(Map.of("n", 2L), next.get("data"));
      connection.ack(next);
      get(large);
      get(after);
    }
  }

  @Test
  void flushWaitsForWhatIsUnderWayAndSaysHowMuchIsLeft() throws Exception {
    DispatchdClient client = builder().build();
    CompletableFuture<Published> first = client.publish(event(1));
    client.publish(event(2));
    Connection connection = daemon.accept();
    Map<?, ?> line = connection.next();
    Map<?, ?> second = connection.next();
    assertEquals(2, client.flush(SOON));
    connection.ack(line);
    get(first);
    assertEquals(1, client.flush(SOON));
    CompletableFuture<Integer> flush = CompletableFuture.supplyAsync(() -> client.flush(LONG));
    connection.ack(second);
    assertEquals(0, get(flush));
    assertEquals(0, client.flush(Duration.ZERO));
    end(client);
  }

  @Test
  void flushDoesNotWaitForLaterEvents() throws Exception {
    DispatchdClient client = builder().build();
    client.publish(event(1));
    Connection connection = daemon.accept();
    Map<?, ?> first = connection.next();
    AtomicReference<Integer> left = new AtomicReference<>();
    Thread flush = new Thread(() -> left.set(client.flush(LONG)));
    flush.start();
    await(() -> flush.getState() == Thread.State.TIMED_WAITING);
    client.publish(event(2));
    connection.next();
    connection.ack(first);
    flush.join();
    assertEquals(0, left.get());
    end(client);
  }

  @Test
  void closeEndsOpenCallsAndSaysHowMany() throws Exception {
    DispatchdClient client = builder().maxBufferedEvents(2).build();
    CompletableFuture<Published> written = client.publish(event(1));
    CompletableFuture<Published> refused = client.publish(event(2));
    Connection connection = daemon.accept();
    connection.next();
    AtomicReference<CompletableFuture<Published>> waits = new AtomicReference<>();
    Thread caller = new Thread(() -> waits.set(client.publish(event(3))));
    caller.start();
    await(() -> caller.getState() == Thread.State.TIMED_WAITING);
    connection.refuse(connection.next(), "InvalidRequest", false, null);
    failure(refused);
    caller.join();
    assertEquals(2, client.close(SOON));
    assertEquals("Closed", failure(written).code());
    assertEquals(Outcome.UNKNOWN, failure(written).outcome());
    assertEquals("Closed", failure(client.publish(event(4))).code());
    assertEquals(Outcome.NOT_STORED, failure(client.publish(event(4))).outcome());
    connection.awaitEnd();
    assertEquals(0, client.flush(LONG));
    assertEquals(0, client.close(LONG));
    assertEquals(Map.of("Closed", 2L, "InvalidRequest", 1L), client.counters().refused());
  }

  @Test
  void closeTellsCallersThatWaitForRoomAtOnce() throws Exception {
    DispatchdClient client = builder().maxBufferedEvents(1).build();
    client.publish(event(1));
    Connection connection = daemon.accept();
    AtomicReference<CompletableFuture<Published>> waits = new AtomicReference<>();
    Thread caller = new Thread(() -> waits.set(client.publish(event(2))));
    caller.start();
    await(() -> caller.getState() == Thread.State.TIMED_WAITING);
    CompletableFuture<Integer> close = CompletableFuture.supplyAsync(() -> client.close(LONG));
    caller.join();
    assertEquals("Closed", failure(waits.get()).code());
    assertFalse(close.isDone());
    connection.ack(connection.next());
    assertEquals(0, get(close));
  }

  @Test
  void aCallerThatGivesUpLetsTheNextPass() throws Exception {
    DispatchdClient client = builder().maxBufferedBytes(1000).build();
    client.publish(Event.json("t", "{\"s\":\"" + "x".repeat(500) + "\"}"));
    Event large = Event.json("t", "{\"s\":\"" + "x".repeat(800) + "\"}");
    Thread givesUp = new Thread(() -> client.publish(large));
    givesUp.start();
    await(() -> givesUp.getState() == Thread.State.TIMED_WAITING);
    // There is room for this one, but it is not its turn.
    assertEquals("BufferFull", failure(client.tryPublish(event(2))).code());
    Thread next = new Thread(() -> client.publish(event(2)));
    next.start();
    await(() -> next.getState() == Thread.State.TIMED_WAITING);
    givesUp.interrupt();
    next.join();
    assertEquals(2, client.counters().buffered());
    end(client);
  }

  @Test
  void withStrictOrderAnEventWaitsForTheAnswerOfTheEarlierOneOfItsKey() throws Exception {
    try (DispatchdClient client = builder().strictOrder(true).build()) {
      List<CompletableFuture<Published>> calls = new ArrayList<>();
      for (int n = 0; n < 3; n++) calls.add(client.publish(event(n).partitionKey("a")));
      calls.add(client.publish(event(3).partitionKey("b")));
      calls.add(client.publish(event(4)));
      Connection connection = daemon.accept();
      Map<?, ?> first = connection.next();
      assertEquals(Map.of("n", 0L), first.get("data"));
      for (long n : List.of(3L, 4L)) {
        Map<?, ?> line = connection.next();
        assertEquals(Map.of("n", n), line.get("data"));
        connection.ack(line);
      }
      connection.refuse(first, "DeliveryTimeout", true, "not_stored");
      assertEquals(first, connection.next());
      connection.refuse(first, "InvalidRequest", false, null);
      Map<?, ?> second = connection.next();
      assertEquals(Map.of("n", 1L), second.get("data"));
      assertTrue(connection.silent());
      connection.cut();
      connection = daemon.accept();
      assertEquals(second, connection.next());
      connection.ack(second);
      Map<?, ?> third = connection.next();
      assertEquals(Map.of("n", 2L), third.get("data"));
      connection.ack(third);
      for (int n = 1; n < 5; n++) get(calls.get(n));
    }
  }

  @Test
  void aBatchEndsWithAResultForEachEventInItsOrder() throws Exception {
    try (DispatchdClient client = builder().build()) {
      CompletableFuture<List<Published>> call =
          client.publishBatch(List.of(event(0), event(1), event(2)));
      Connection connection = daemon.accept();
      List<Map<?, ?>> lines = List.of(connection.next(), connection.next(), connection.next());
      connection.ack(lines.get(2));
      connection.refuse(lines.get(1), "EventTooLarge", false, null);
      connection.ack(lines.get(0));
      BatchException error = assertInstanceOf(BatchException.class, failure(call));
      assertEquals("EventTooLarge", error.code());
      assertEquals(3, error.results().size());
      for (int n : List.of(0, 2)) {
        assertTrue(error.results().get(n).ok());
        assertEquals(
            "4" + lines.get(n).get("ref"), error.results().get(n).published().sequenceNumber());
      }
      assertEquals("EventTooLarge", error.results().get(1).error().code());
      assertEquals(
          ((Map<?, ?>) lines.get(1).get("options")).get("id"), error.results().get(1).id());
      assertEquals(List.of(), get(client.publishBatch(List.of())));
    }
  }

  @Test
  void aBatchLargerThanTheBufferGoesAsThereIsRoom() throws Exception {
    try (FakeDaemon fake = FakeDaemon.start();
        DispatchdClient client =
            DispatchdClient.builder().socket(fake.socket()).maxBufferedEvents(4).build()) {
      List<Event> events = new ArrayList<>();
      for (int n = 0; n < 50; n++) events.add(event(n));
      List<Published> published = get(client.publishBatch(events));
      for (int n = 0; n < 50; n++) {
        assertEquals(Map.of("n", (long) n), fake.published().get(n).data());
        assertEquals(fake.published().get(n).id(), published.get(n).id());
      }
    }
  }

  @Test
  void aDisabledClientEndsEachEventAtOnceAndConnectsNowhere() throws Exception {
    try (DispatchdClient client = builder().disabled(true).producerId("me").build();
        Transaction transaction = client.begin()) {
      Published published = get(client.publish(event(1).partitionKey("k")));
      assertEquals(new Published.Source(null, "me", "k"), published.source());
      assertNull(published.shardId());
      assertNull(published.sequenceNumber());
      assertEquals(24, published.timestamp().length());
      String id = transaction.publish(event(2));
      get(transaction.staged());
      assertEquals(id, get(transaction.commit()).get(0).id());
      assertEquals(2, client.counters().acked());
    }
  }

  @Test
  void anEventIsCountedOnceAtEveryMoment() throws Exception {
    try (FakeDaemon fake = FakeDaemon.start();
        DispatchdClient client =
            DispatchdClient.builder().socket(fake.socket()).maxBufferedEvents(64).build()) {
      int threads = 4;
      int each = 2_000;
      CountDownLatch done = new CountDownLatch(threads);
      for (int t = 0; t < threads; t++) {
        new Thread(
                () -> {
                  for (int n = 0; n < each; n++) client.publish(event(n));
                  done.countDown();
                })
            .start();
      }
      while (!done.await(1, TimeUnit.MILLISECONDS)) {
        Counters counters = client.counters();
        assertEquals(counters.sent(), counters.acked() + counters.buffered());
        assertTrue(counters.buffered() <= 64);
      }
      assertEquals(0, client.flush(LONG));
      assertEquals(threads * each, client.counters().acked());
      assertEquals(0, client.counters().bufferedBytes());
      assertEquals(threads * each, fake.published().size());
    }
  }

  @Test
  void theEventsOfAThreadAreSentInTheOrderOfItsCalls() throws Exception {
    try (FakeDaemon fake = FakeDaemon.start();
        DispatchdClient client = DispatchdClient.builder().socket(fake.socket()).build()) {
      for (int n = 0; n < 3_000; n++) client.publish(event(n));
      client.flush(LONG);
      for (int n = 0; n < 3_000; n++) {
        assertEquals(Map.of("n", (long) n), fake.published().get(n).data());
      }
    }
  }

  @Test
  void theHookIsToldOfEachEventAndItsErrorsGoToTheThreadsHandler() throws Exception {
    BlockingQueue<Settled> told = new LinkedBlockingQueue<>();
    BlockingQueue<Throwable> thrown = new LinkedBlockingQueue<>();
    Thread.UncaughtExceptionHandler before = Thread.getDefaultUncaughtExceptionHandler();
    Thread.setDefaultUncaughtExceptionHandler((thread, error) -> thrown.add(error));
    IllegalStateException mistake = new IllegalStateException("the hook's");
    try (DispatchdClient client =
        builder()
            .onSettled(
                settled -> {
                  told.add(settled);
                  throw mistake;
                })
            .build()) {
      client.publish(event(1));
      client.publish(event(2));
      Connection connection = daemon.accept();
      connection.ack(connection.next());
      Map<?, ?> second = connection.next();
      connection.refuse(second, "Overloaded", true, null);
      connection.next();
      connection.refuse(second, "InvalidRequest", false, null);
      Settled acked = told.poll(ScriptedDaemon.WAIT_SECONDS, TimeUnit.SECONDS);
      assertEquals("order.placed", acked.type());
      assertTrue(acked.ok());
      assertNull(acked.code());
      assertEquals(0, acked.resent());
      assertFalse(acked.duration().isNegative());
      Settled refused = told.poll(ScriptedDaemon.WAIT_SECONDS, TimeUnit.SECONDS);
      assertFalse(refused.ok());
      assertEquals("InvalidRequest", refused.code());
      assertEquals(1, refused.resent());
      for (int n = 0; n < 2; n++) {
        assertSame(mistake, thrown.poll(ScriptedDaemon.WAIT_SECONDS, TimeUnit.SECONDS));
      }
    } finally {
      Thread.setDefaultUncaughtExceptionHandler(before);
    }
  }

  @Test
  void aTraceIsPassedOnOrFoundByTheHookAndNeverMadeUp() throws Exception {
    TraceContext[] found = {null};
    try (DispatchdClient client = builder().trace(() -> found[0]).build()) {
      client.publish(event(1));
      found[0] = new TraceContext("00-hook", null);
      client.publish(event(2));
      client.publish(event(3).traceparent("00-event").tracestate("s=1"));
      Connection connection = daemon.accept();
      List<Object> traces = new ArrayList<>();
      for (int n = 0; n < 3; n++) {
        Map<?, ?> line = connection.next();
        Map<?, ?> options = (Map<?, ?>) line.get("options");
        traces.add(options.get("traceparent") + " " + options.get("tracestate"));
        connection.ack(line);
      }
      assertEquals(List.of("null null", "00-hook null", "00-event s=1"), traces);
    }
  }

  @Test
  void whatIsChainedToAFutureMayPublishButNotWait() throws Exception {
    DispatchdClient client = builder().maxBufferedEvents(2).build();
    CompletableFuture<Object> inside = new CompletableFuture<>();
    CompletableFuture<Published> first = client.publish(event(1));
    CompletableFuture<Published> within =
        first.thenCompose(
            published -> {
              CompletableFuture<Published> fits = client.publish(event(3));
              inside.complete(
                  List.of(
                      failure(client.publish(event(4))).code(),
                      assertThrows(IllegalStateException.class, () -> client.flush(LONG)),
                      assertThrows(IllegalStateException.class, client::close)));
              return fits;
            });
    client.publish(event(2));
    Connection connection = daemon.accept();
    connection.ack(connection.next());
    connection.next();
    assertEquals("BufferFull", ((List<?>) get(inside)).get(0));
    connection.ack(connection.next());
    get(within);
    end(client);
  }

  @Test
  void theClientDoesNotHoldTheProcess() throws Exception {
    try (DispatchdClient client = builder().disabled(true).build()) {
      AtomicReference<Thread> thread = new AtomicReference<>();
      CompletableFuture<Published> call = client.publish(event(1));
      await(call::isDone);
      for (Thread each : Thread.getAllStackTraces().keySet()) {
        if (each.getName().equals("dispatchd")) thread.set(each);
      }
      assertTrue(thread.get().isDaemon());
    }
  }

  @Test
  void manyThreadsAtTheBoundAllComeToTheirTurn() throws Exception {
    try (FakeDaemon fake = FakeDaemon.start();
        DispatchdClient client =
            DispatchdClient.builder().socket(fake.socket()).maxBufferedEvents(3).build()) {
      var pool = Executors.newFixedThreadPool(16);
      for (int n = 0; n < 500; n++) {
        int number = n;
        pool.submit(() -> client.publish(event(number)));
      }
      pool.shutdown();
      assertTrue(pool.awaitTermination(ScriptedDaemon.WAIT_SECONDS, TimeUnit.SECONDS));
      assertEquals(0, client.flush(LONG));
      assertEquals(500, fake.published().size());
    }
  }

  @Test
  void eachEventWithoutAnIdGetsOneOfItsOwn() throws Exception {
    try (FakeDaemon fake = FakeDaemon.start();
        DispatchdClient client = DispatchdClient.builder().socket(fake.socket()).build()) {
      Event event = event(1);
      assertNotEquals(get(client.publish(event)).id(), get(client.publish(event)).id());
      String id = "9c0c1d52-5c2b-4d9c-9f5c-0a4c3a5a7d11";
      assertEquals(id, get(client.publish(event.id(id))).id());
      assertTrue(get(client.publish(event.id(id))).deduplicated());
    }
  }

  @Test
  void aSocketThatIsReplacedIsFound() throws Exception {
    try (DispatchdClient client = builder().build()) {
      Connection old = daemon.accept();
      daemon.stopListening();
      assertFalse(Files.exists(Path.of(daemon.socket.toString())));
      daemon.listen();
      old.cut();
      CompletableFuture<Published> call = client.publish(event(1));
      Connection connection = daemon.accept();
      connection.ack(connection.next());
      get(call);
    }
  }
}
