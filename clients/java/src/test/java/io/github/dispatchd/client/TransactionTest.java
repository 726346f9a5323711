// What docs/clients.md promises of publishing after commit.
package io.github.dispatchd.client;

import static io.github.dispatchd.client.ScriptedDaemon.await;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.dispatchd.client.DispatchdException.Outcome;
import io.github.dispatchd.client.ScriptedDaemon.Connection;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
final class TransactionTest extends WithDaemon {
  private static String staged(Map<?, ?> line) {
    return "{\"ref\":" + line.get("ref") + ",\"ok\":true,\"staged\":true}";
  }

  private static String committed(Map<?, ?> commit, String... results) {
    return "{\"op\":\"commit\",\"tx\":\"%s\",\"ref\":%s,\"ok\":true,\"results\":[%s]}"
        .formatted(commit.get("tx"), commit.get("ref"), String.join(",", results));
  }

  /** The bytes of a line without what only a staged line has. */
  private static String plain(String stagedLine) {
    return stagedLine.replaceFirst(",\"tx\":\"t[0-9]+\"", "");
  }

  private static Map<?, ?> parsed(int ref) {
    return Map.of("ref", (long) ref, "options", Map.of("id", "x"));
  }

  @Test
  void whatIsStagedIsPublishedByTheCommit() throws Exception {
    try (DispatchdClient client = builder().build()) {
      Transaction transaction = client.begin();
      Connection connection = daemon.accept();
      connection.expect("begin", "t1");
      List<String> ids = List.of(transaction.publish(event(0)), transaction.publish(event(1)));
      CompletableFuture<Void> staged = transaction.staged();
      List<Map<?, ?>> lines = List.of(connection.next(), connection.next());
      for (int n = 0; n < 2; n++) {
        assertEquals("t1", lines.get(n).get("tx"));
        assertEquals(Map.of("id", ids.get(n)), lines.get(n).get("options"));
        assertThrows(
            TimeoutException.class, () -> staged.get(SOON.toMillis(), TimeUnit.MILLISECONDS));
        connection.send(staged(lines.get(n)));
      }
      get(staged);
      assertEquals(2, client.counters().buffered());
      assertEquals(0, client.flush(Duration.ofSeconds(20)));
      CompletableFuture<List<Published>> commit = transaction.commit();
      Map<?, ?> line = connection.next();
      assertEquals("commit", line.get("op"));
      connection.send(
          committed(line, Connection.acked(lines.get(0)), Connection.acked(lines.get(1))));
      assertEquals(ids, get(commit).stream().map(Published::id).toList());
      assertEquals(2, client.counters().acked());
      assertThrows(IllegalStateException.class, transaction::commit);
      assertThrows(IllegalStateException.class, () -> transaction.publish(event(2)));
      transaction.close();
      assertTrue(connection.silent());
    }
  }

  @Test
  void whatIsRolledBackIsForgotten() throws Exception {
    try (DispatchdClient client = builder().build()) {
      Connection connection;
      try (Transaction transaction = client.begin()) {
        connection = daemon.accept();
        connection.expect("begin", "t1");
        transaction.publish(event(0));
        connection.send(staged(connection.next()));
        get(transaction.staged());
      }
      connection.expect("rollback", "t1");
      await(() -> client.counters().rolledBack() == 1);
      assertEquals(0, client.counters().buffered());
      CompletableFuture<Published> later = client.publish(event(1));
      Map<?, ?> line = connection.next();
      assertEquals(Map.of("n", 1L), line.get("data"));
      assertNull(line.get("tx"));
      connection.ack(line);
      get(later);
    }
  }

  @Test
  void stagedFailsWithTheFirstRefusalAndTheOthersCanStillBeCommitted() throws Exception {
    try (DispatchdClient client = builder().build()) {
      Transaction transaction = client.begin();
      Connection connection = daemon.accept();
      connection.expect("begin", "t1");
      for (int n = 0; n < 3; n++) transaction.publish(event(n));
      CompletableFuture<Void> staged = transaction.staged();
      List<Map<?, ?>> lines = List.of(connection.next(), connection.next(), connection.next());
      connection.refuse(lines.get(0), "SchemaViolation", false, null);
      connection.refuse(lines.get(1), "EventTooLarge", false, null);
      connection.send(staged(lines.get(2)));
      assertEquals("SchemaViolation", failure(staged).code());
      assertEquals("SchemaViolation", failure(transaction.staged()).code());
      CompletableFuture<List<Published>> commit = transaction.commit();
      connection.send(committed(connection.next(), Connection.acked(lines.get(2))));
      List<Result> results = ((BatchException) failure(commit)).results();
      assertEquals("SchemaViolation", results.get(0).error().code());
      assertEquals("EventTooLarge", results.get(1).error().code());
      assertTrue(results.get(2).ok());
    }
  }

  @Test
  void stagedSaysWhenTheDaemonDoesNotAnswer() throws Exception {
    DispatchdClient client = builder().build();
    Transaction transaction = client.begin();
    Connection connection = daemon.accept();
    connection.expect("begin", "t1");
    transaction.publish(event(0));
    assertEquals("Timeout", failure(transaction.staged(SOON)).code());
    client.close(Duration.ZERO);
  }

  @Test
  void aCommitDoesNotWaitForWhatIsStaged() throws Exception {
    try (DispatchdClient client = builder().build()) {
      Transaction transaction = client.begin();
      transaction.publish(event(0));
      transaction.publish(event(1));
      CompletableFuture<List<Published>> commit = transaction.commit();
      Connection connection = daemon.accept();
      connection.expect("begin", "t1");
      List<Map<?, ?>> lines = List.of(connection.next(), connection.next());
      Map<?, ?> last = connection.next();
      connection.send(staged(lines.get(0)));
      connection.refuse(lines.get(1), "SchemaViolation", false, null);
      connection.send(committed(last, Connection.acked(lines.get(0))));
      List<Result> results = ((BatchException) failure(commit)).results();
      // The answer to staging says no place: it is not taken for the commit's.
      assertEquals("4" + lines.get(0).get("ref"), results.get(0).published().sequenceNumber());
      assertEquals("SchemaViolation", results.get(1).error().code());
    }
  }

  @Test
  void whatTheDaemonEndedIsPublishedAsPlainEventsWithTheSameBytes() throws Exception {
    for (String code : List.of("TransactionEnded", "TransactionTooLarge", "Overloaded")) {
      try (DispatchdClient client = builder().build()) {
        Transaction transaction = client.begin();
        Connection connection = daemon.accept();
        connection.expect("begin", "t1");
        for (int n = 0; n < 3; n++) transaction.publish(event(n));
        List<String> lines = List.of(connection.line(), connection.line(), connection.line());
        connection.send(staged(parsed(1)));
        connection.refuse(parsed(2), code, !code.equals("TransactionTooLarge"), null);
        get(transaction.staged());
        if (!code.equals("TransactionEnded")) connection.expect("rollback", "t1");
        transaction.publish(event(3));
        get(transaction.staged());
        CompletableFuture<List<Published>> commit = transaction.commit();
        for (String line : lines) assertEquals(plain(line), connection.line());
        assertEquals(Map.of("n", 3L), connection.next().get("data"));
        // The answer to the third staged line comes late, and is not taken for the plain line's.
        connection.refuse(parsed(3), "TransactionEnded", true, null);
        for (int ref = 1; ref <= 4; ref++) connection.ack(parsed(ref));
        assertEquals(4, get(commit).size());
        assertTrue(connection.silent());
      }
    }
  }

  @Test
  void aCommitThatIsRefusedIsPublishedAsPlainEvents() throws Exception {
    try (DispatchdClient client = builder().build()) {
      Transaction transaction = client.begin();
      transaction.publish(event(0));
      Connection connection = daemon.accept();
      connection.expect("begin", "t1");
      String line = connection.line();
      connection.send(staged(parsed(1)));
      CompletableFuture<List<Published>> commit = transaction.commit();
      Object ref = connection.next().get("ref");
      connection.send(
          "{\"op\":\"commit\",\"tx\":\"t1\",\"ref\":"
              + ref
              + ",\"ok\":false,\"error\":{\"code\":\"TransactionEnded\",\"message\":\"old\","
              + "\"retryable\":true}}");
      assertEquals(plain(line), connection.line());
      connection.ack(parsed(1));
      get(commit);
    }
  }

  @Test
  void aResultOfACommitThatMayBeRetriedIsSentAgainAsAPlainEvent() throws Exception {
    try (DispatchdClient client = builder().build()) {
      Transaction transaction = client.begin();
      for (int n = 0; n < 3; n++) transaction.publish(event(n));
      Connection connection = daemon.accept();
      connection.expect("begin", "t1");
      List<String> lines = List.of(connection.line(), connection.line(), connection.line());
      for (int ref = 1; ref <= 3; ref++) connection.send(staged(parsed(ref)));
      CompletableFuture<List<Published>> commit = transaction.commit();
      connection.send(
          committed(
              connection.next(),
              Connection.acked(parsed(1)),
              Connection.refused(parsed(2), "DeliveryTimeout", true, "unknown"),
              Connection.refused(parsed(3), "Rejected", false, null)));
      assertEquals(plain(lines.get(1)), connection.line());
      connection.ack(parsed(2));
      List<Result> results = ((BatchException) failure(commit)).results();
      assertEquals(List.of(true, true, false), results.stream().map(Result::ok).toList());
      assertEquals("Rejected", results.get(2).error().code());
    }
  }

  @Test
  void aCutBeforeTheCommitLosesNothing() throws Exception {
    try (DispatchdClient client = builder().build()) {
      Transaction transaction = client.begin();
      transaction.publish(event(0));
      Connection first = daemon.accept();
      first.expect("begin", "t1");
      String line = first.line();
      CompletableFuture<Void> staged = transaction.staged();
      first.cut();
      get(staged);
      transaction.publish(event(1));
      Connection second = daemon.accept();
      CompletableFuture<List<Published>> commit = transaction.commit();
      assertEquals(plain(line), second.line());
      assertEquals(Map.of("n", 1L), second.next().get("data"));
      second.ack(parsed(1));
      second.ack(parsed(2));
      assertEquals(2, get(commit).size());
    }
  }

  @Test
  void aCutAfterTheCommitWasWrittenLosesNothing() throws Exception {
    try (DispatchdClient client = builder().build()) {
      Transaction transaction = client.begin();
      transaction.publish(event(0));
      transaction.publish(event(1));
      CompletableFuture<List<Published>> commit = transaction.commit();
      CompletableFuture<Published> behind = client.publish(event(2));
      Connection first = daemon.accept();
      first.expect("begin", "t1");
      List<String> lines = List.of(first.line(), first.line());
      first.expect("commit", "t1");
      String last = first.line();
      first.cut();
      Connection second = daemon.accept();
      for (String line : lines) assertEquals(plain(line), second.line());
      assertEquals(last, second.line());
      second.ack(parsed(1));
      second.ack(parsed(2));
      // The commit has a reference too: which of the two came first is not said.
      second.ack(parsed(last.startsWith("{\"ref\":3,") ? 3 : 4));
      get(commit);
      get(behind);
    }
  }

  @Test
  void aCommitWithoutAnAnswerIsUnknownAfterItsTimeout() throws Exception {
    attempt(this::aCommitWithoutAnAnswerIsUnknownAfterItsTimeout);
  }

  private void aCommitWithoutAnAnswerIsUnknownAfterItsTimeout(Duration timeout) throws Exception {
    DispatchdClient client = builder().build();
    Transaction transaction = client.begin();
    transaction.publish(event(0));
    Connection connection = daemon.accept();
    connection.expect("begin", "t1");
    connection.send(staged(connection.next()));
    get(transaction.staged());
    DispatchdException error = failure(transaction.commit(timeout));
    assertEquals("Timeout", error.code());
    assertEquals(Outcome.UNKNOWN, error.outcome());
    client.close(Duration.ZERO);
  }

  @Test
  void withoutADaemonATransactionIsKeptByTheClient() throws Exception {
    daemon.stopListening();
    try (DispatchdClient client = builder().build()) {
      Transaction transaction = client.begin();
      transaction.publish(event(0));
      get(transaction.staged());
      DispatchdException late =
          failure(
              client
                  .begin()
                  .commit()
                  .thenCompose(
                      none -> {
                        Transaction other = client.begin();
                        other.publish(event(9));
                        return other.commit(SOON);
                      }));
      assertEquals(Outcome.NOT_STORED, late.outcome());
      daemon.listen();
      Connection connection = daemon.accept();
      CompletableFuture<List<Published>> commit = transaction.commit();
      connection.ack(connection.next());
      assertEquals(1, get(commit).size());
    }
  }

  @Test
  void atMostSixtyTransactionsAreOpenOnTheDaemon() throws Exception {
    try (DispatchdClient client = builder().build()) {
      List<Transaction> transactions = new ArrayList<>();
      for (int n = 0; n < 61; n++) transactions.add(client.begin());
      transactions.get(60).publish(event(60));
      Connection connection = daemon.accept();
      for (int n = 1; n <= 60; n++) connection.expect("begin", "t" + n);
      get(transactions.get(60).staged());
      transactions.get(0).rollback();
      connection.expect("rollback", "t1");
      client.begin();
      connection.expect("begin", "t61");
      CompletableFuture<List<Published>> commit = transactions.get(60).commit();
      connection.ack(connection.next());
      get(commit);
    }
  }

  @Test
  void withStrictOrderACommitWaitsForTheEarlierEventsOfItsKeys() throws Exception {
    try (DispatchdClient client = builder().strictOrder(true).build()) {
      CompletableFuture<Published> earlier = client.publish(event(0).partitionKey("k"));
      Transaction transaction = client.begin();
      transaction.publish(event(1).partitionKey("k"));
      transaction.publish(event(2).partitionKey("k"));
      Connection connection = daemon.accept();
      Map<?, ?> first = connection.next();
      connection.expect("begin", "t1");
      connection.send(staged(connection.next()));
      connection.send(staged(connection.next()));
      get(transaction.staged());
      CompletableFuture<List<Published>> commit = transaction.commit();
      connection.expect("rollback", "t1");
      assertTrue(connection.silent());
      connection.ack(first);
      for (long n : List.of(1L, 2L)) {
        Map<?, ?> line = connection.next();
        assertEquals(Map.of("n", n), line.get("data"));
        assertNull(line.get("tx"));
        connection.ack(line);
      }
      get(earlier);
      get(commit);
    }
  }

  @Test
  void whatIsStagedCountsForTheBuffer() throws Exception {
    try (DispatchdClient client = builder().maxBufferedEvents(1).timeout(SOON).build()) {
      Transaction transaction = client.begin();
      transaction.publish(event(0));
      DispatchdException error =
          assertThrows(DispatchdException.class, () -> transaction.publish(event(1)));
      assertEquals("Timeout", error.code());
      assertEquals(Outcome.NOT_STORED, error.outcome());
      transaction.rollback();
      await(() -> client.counters().buffered() == 0);
      assertEquals(1, client.counters().rolledBack());
    }
  }

  @Test
  void whileTheClientIsBeingClosedACommitFailsAtOnce() throws Exception {
    DispatchdClient client = builder().build();
    CompletableFuture<Published> open = client.publish(event(0));
    Transaction transaction = client.begin();
    transaction.publish(event(1));
    Connection connection = daemon.accept();
    Map<?, ?> line = connection.next();
    connection.expect("begin", "t1");
    connection.send(staged(connection.next()));
    get(transaction.staged());
    Thread close = new Thread(() -> client.close(Duration.ofSeconds(20)));
    close.start();
    await(() -> close.getState() == Thread.State.TIMED_WAITING);
    assertEquals("Closed", failure(transaction.commit()).code());
    connection.expect("rollback", "t1");
    connection.ack(line);
    get(open);
    close.join();
  }

  @Test
  void afterTheClientIsClosedACommitFailsAndNothingIsCountedTwice() throws Exception {
    DispatchdClient client = builder().build();
    Transaction transaction = client.begin();
    transaction.publish(event(0));
    Connection connection = daemon.accept();
    connection.expect("begin", "t1");
    connection.send(staged(connection.next()));
    get(transaction.staged());
    Transaction other = client.begin();
    other.publish(event(1));
    assertEquals(0, client.close(Duration.ofSeconds(20)));
    DispatchdException error = failure(transaction.commit());
    assertEquals("Closed", error.code());
    assertEquals(Outcome.NOT_STORED, error.outcome());
    other.rollback();
    assertEquals("Closed", failure(other.staged()).code());
    assertEquals(
        "Closed",
        assertThrows(DispatchdException.class, () -> client.begin().publish(event(2))).code());
    Counters counters = client.counters();
    assertEquals(2, counters.sent());
    assertEquals(Map.of("Closed", 2L), counters.refused());
    assertEquals(0, counters.buffered());
  }
}
