// What an application's tests may rely on.
package io.github.dispatchd.client.testing;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.dispatchd.client.BatchException;
import io.github.dispatchd.client.DispatchdClient;
import io.github.dispatchd.client.Event;
import io.github.dispatchd.client.Published;
import io.github.dispatchd.client.Transaction;
import java.nio.file.Files;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletionException;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
final class FakeDaemonTest {
  private final FakeDaemon daemon = FakeDaemon.start();
  private final DispatchdClient client =
      DispatchdClient.builder().socket(daemon.socket()).producerId("me").build();

  @AfterEach
  void close() {
    client.close();
    daemon.close();
    assertFalse(Files.exists(daemon.socket().getParent()));
  }

  private List<String> types() {
    return daemon.published().stream().map(FakeDaemon.Recorded::type).toList();
  }

  @Test
  void itRemembersWhatWasPublished() {
    Event event = Event.of("order.placed", Map.of("total", 7)).partitionKey("k");
    Published published = client.publish(event).join();
    FakeDaemon.Recorded recorded = daemon.published().get(0);
    assertEquals(published.id(), recorded.id());
    assertEquals("order.placed", recorded.type());
    assertEquals(Map.of("total", 7L), recorded.data());
    assertEquals("k", recorded.partitionKey());
    assertEquals("me", published.source().producerId());
    assertEquals("" + recorded.sequenceNumber(), published.sequenceNumber());
    daemon.clear();
    assertEquals(List.of(), daemon.published());
  }

  @Test
  void itRefusesTheNextEventAsItIsTold() {
    daemon.refuseNext("EventTooLarge", "it is");
    CompletionException failed =
        assertThrows(
            CompletionException.class,
            () ->
                client.publishBatch(List.of(Event.json("a", "{}"), Event.json("b", "{}"))).join());
    BatchException error = assertInstanceOf(BatchException.class, failed.getCause());
    assertEquals("EventTooLarge", error.results().get(0).error().code());
    assertEquals(List.of("b"), types());
  }

  @Test
  void whatMayBeRetriedIsPublishedInTheEnd() {
    daemon.refuseNext("DeliveryTimeout", "late");
    client.publish(Event.json("a", "{}")).join();
    assertEquals(List.of("a"), types());
    assertEquals(1, client.counters().resent());
  }

  @Test
  void itPublishesATransactionWhenItIsCommitted() {
    try (Transaction rolledBack = client.begin();
        Transaction committed = client.begin()) {
      rolledBack.publish(Event.json("never", "{}"));
      String id = committed.publish(Event.json("a", "{}"));
      committed.publish(Event.json("b", "{}"));
      committed.staged().join();
      assertEquals(List.of(), daemon.published());
      committed.commit().join();
      assertEquals(id, daemon.published().get(0).id());
    }
    client.publish(Event.json("last", "{}")).join();
    assertEquals(List.of("a", "b", "last"), types());
  }
}
