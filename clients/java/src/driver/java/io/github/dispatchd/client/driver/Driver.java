// The program around the client that `dispatchd conformance` runs: clients/conformance/README.md
// says what it reads and prints. Its standard output carries nothing else.
package io.github.dispatchd.client.driver;

import io.github.dispatchd.client.BatchException;
import io.github.dispatchd.client.Counters;
import io.github.dispatchd.client.DispatchdClient;
import io.github.dispatchd.client.DispatchdException;
import io.github.dispatchd.client.Event;
import io.github.dispatchd.client.Published;
import io.github.dispatchd.client.Result;
import io.github.dispatchd.client.Transaction;
import io.github.dispatchd.client.internal.Json;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.function.BiFunction;
import java.util.function.Function;
import java.util.function.ToIntFunction;

final class Driver {
  private enum Option {
    partitionKey(Event::partitionKey),
    explicitHashKey(Event::explicitHashKey),
    sourceUserId(Event::sourceUserId),
    id(Event::id),
    envelope(Event::envelope),
    traceparent(Event::traceparent),
    tracestate(Event::tracestate);

    private final BiFunction<Event, String, Event> set;

    Option(BiFunction<Event, String, Event> set) {
      this.set = set;
    }
  }

  private final Map<String, Transaction> transactions = new HashMap<>();
  private final List<Thread> waits = new ArrayList<>();
  private final DispatchdClient client;

  private Driver(Map<?, ?> open) {
    DispatchdClient.Builder builder = DispatchdClient.builder();
    with(open, "timeoutMs", (Long ms) -> builder.timeout(Duration.ofMillis(ms)));
    with(open, "maxBufferedEvents", (Long n) -> builder.maxBufferedEvents(Math.toIntExact(n)));
    with(open, "maxBufferedBytes", (Long n) -> builder.maxBufferedBytes(n));
    with(open, "strictOrder", (Boolean strict) -> builder.strictOrder(strict));
    with(open, "disabled", (Boolean disabled) -> builder.disabled(disabled));
    with(open, "producerId", (String id) -> builder.producerId(id));
    with(open, "sourceUserId", (String id) -> builder.sourceUserId(id));
    with(open, "correlationId", (String id) -> builder.correlationId(id));
    with(open, "organisationId", (String id) -> builder.organisationId(id));
    with(open, "envelope", (String form) -> builder.envelope(form));
    client = builder.build();
  }

  public static void main(String[] args) throws IOException, InterruptedException {
    print(Map.of("driver", "java", "version", "0.1.0", "can", List.of()));
    BufferedReader commands =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    Driver driver = null;
    for (String line; (line = commands.readLine()) != null; ) {
      byte[] text = line.getBytes(StandardCharsets.UTF_8);
      Map<?, ?> command = (Map<?, ?>) Json.read(text, 0, text.length);
      boolean open = command.get("do").equals("open");
      if (driver == null) driver = new Driver(open ? command : Map.of());
      if (!open) driver.start(command);
    }
    if (driver == null) return;
    driver.client.close();
    for (Thread wait : driver.waits) wait.join();
  }

  private void start(Map<?, ?> command) throws InterruptedException {
    String as = (String) command.get("as");
    String tx = (String) command.get("tx");
    Duration timeout = command.get("timeoutMs") instanceof Long ms ? Duration.ofMillis(ms) : null;
    switch ((String) command.get("do")) {
      case "publish" -> {
        Event event = event(command.get("event"));
        one(as, timeout == null ? client.publish(event) : client.publish(event, timeout));
      }
      case "tryPublish" -> one(as, client.tryPublish(event(command.get("event"))));
      case "publishBatch" -> {
        List<Event> events = ((List<?>) command.get("events")).stream().map(Driver::event).toList();
        many(
            as,
            timeout == null ? client.publishBatch(events) : client.publishBatch(events, timeout));
      }
      case "begin" -> {
        transactions.put(as, client.begin());
        print(outcome(as, Map.of("ok", true)));
      }
      case "stage" -> stage(as, transactions.get(tx), event(command.get("event")));
      case "staged" -> {
        Transaction transaction = transactions.get(tx);
        CompletableFuture<Void> staged =
            timeout == null ? transaction.staged() : transaction.staged(timeout);
        staged.whenComplete((done, error) -> print(outcome(as, ended(Map.of(), error))));
      }
      case "commit" -> {
        Transaction transaction = transactions.get(tx);
        many(as, timeout == null ? transaction.commit() : transaction.commit(timeout));
      }
      case "rollback" -> {
        transactions.get(tx).rollback();
        print(outcome(as, Map.of("ok", true)));
      }
      case "flush" -> unconfirmed(as, timeout, client::flush);
      case "close" -> unconfirmed(as, timeout, client::close);
      case "counters" -> print(outcome(as, Map.of("counters", counters(client.counters()))));
      default -> throw new IllegalArgumentException("unknown command: " + command);
    }
  }

  @SuppressWarnings("unchecked")
  private static <T> void with(Map<?, ?> map, String name, Function<T, ?> use) {
    if (map.get(name) != null) use.apply((T) map.get(name));
  }

  private static Event event(Object command) {
    Map<?, ?> map = (Map<?, ?>) command;
    byte[] data = new Json.Out(256).value(map.get("data")).toBytes();
    Event event = Event.json((String) map.get("type"), new String(data, StandardCharsets.UTF_8));
    for (Option option : Option.values()) {
      if (map.get(option.name()) instanceof String value) event = option.set.apply(event, value);
    }
    return event;
  }

  private void stage(String as, Transaction transaction, Event event) {
    try {
      print(outcome(as, Map.of("ok", true, "id", transaction.publish(event))));
    } catch (DispatchdException e) {
      print(outcome(as, ended(Map.of(), e)));
    }
  }

  private static void one(String as, CompletableFuture<Published> future) {
    future.whenComplete((published, error) -> print(outcome(as, ended(place(published), error))));
  }

  private static void many(String as, CompletableFuture<List<Published>> future) {
    future.whenComplete(
        (published, error) -> {
          List<Object> results = new ArrayList<>();
          if (error == null) {
            for (Published event : published) results.add(ended(place(event), null));
          } else {
            for (Result result : ((BatchException) error).results()) {
              results.add(ended(place(result.published()), result.error()));
            }
          }
          print(outcome(as, Map.of("ok", error == null, "results", results)));
        });
  }

  private static Map<String, Object> place(Published published) {
    Map<String, Object> place = new LinkedHashMap<>();
    if (published == null) return place;
    place.put("id", published.id());
    place.put("timestamp", published.timestamp());
    place.put("partitionKey", published.source().kinesisPartitionKey());
    place.put("producerId", published.source().producerId());
    place.put("shardId", published.shardId());
    place.put("sequenceNumber", published.sequenceNumber());
    place.put("deduplicated", published.deduplicated() ? true : null);
    return place;
  }

  private static Map<String, Object> ended(Map<String, Object> place, Throwable failure) {
    Map<String, Object> outcome = new LinkedHashMap<>();
    outcome.put("ok", failure == null);
    if (failure instanceof DispatchdException error) {
      outcome.put("code", error.code());
      outcome.put("message", error.getMessage());
      outcome.put("retryable", error.retryable());
      outcome.put("outcome", error.outcome().name().toLowerCase(Locale.ROOT));
    }
    outcome.putAll(place);
    return outcome;
  }

  /** Starts a call that waits, and returns once it does: then the next command may start. */
  private void unconfirmed(String as, Duration timeout, ToIntFunction<Duration> call)
      throws InterruptedException {
    Duration given = timeout == null ? Duration.ofSeconds(5) : timeout;
    Thread wait =
        new Thread(() -> print(outcome(as, Map.of("unconfirmed", call.applyAsInt(given)))));
    waits.add(wait);
    wait.start();
    while (wait.isAlive() && wait.getState() != Thread.State.TIMED_WAITING) Thread.sleep(1);
  }

  private static Map<String, Object> counters(Counters counters) {
    Map<String, Object> map = new LinkedHashMap<>();
    map.put("sent", counters.sent());
    map.put("acked", counters.acked());
    map.put("refused", counters.refused());
    map.put("rolledBack", counters.rolledBack());
    map.put("buffered", counters.buffered());
    map.put("bufferedBytes", counters.bufferedBytes());
    map.put("resent", counters.resent());
    map.put("reconnects", counters.reconnects());
    return map;
  }

  private static Map<String, Object> outcome(String as, Map<String, Object> rest) {
    Map<String, Object> outcome = new LinkedHashMap<>();
    outcome.put("as", as);
    outcome.putAll(rest);
    return outcome;
  }

  private static synchronized void print(Map<String, Object> outcome) {
    System.out.writeBytes(new Json.Out(512).value(outcome).raw("\n").toBytes());
    System.out.flush();
  }
}
