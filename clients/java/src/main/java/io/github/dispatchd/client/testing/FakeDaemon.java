// A daemon in memory, for an application's unit tests: it speaks the socket to the real client, and
// remembers what was published. Never checks more than it must, and never delivers anything.
package io.github.dispatchd.client.testing;

import io.github.dispatchd.client.internal.Json;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.Channels;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * A daemon in memory to test an application against.
 *
 * <pre>{@code
 * try (FakeDaemon daemon = FakeDaemon.start();
 *     DispatchdClient client = DispatchdClient.builder().socket(daemon.socket()).build()) {
 *   client.publish(Event.json("order.placed", "{}")).join();
 *   assertEquals("order.placed", daemon.published().get(0).type());
 * }
 * }</pre>
 */
public final class FakeDaemon implements AutoCloseable {
  private static final Set<String> RETRYABLE =
      Set.of("DeliveryTimeout", "ShuttingDown", "Overloaded", "TransactionEnded");

  private final Path folder;
  private final ServerSocketChannel listener;
  private final List<SocketChannel> connections = new ArrayList<>();
  private final Map<String, Recorded> published = new LinkedHashMap<>();
  private final ArrayDeque<Map<String, Object>> refusals = new ArrayDeque<>();
  private long sequence;

  /**
   * An event that was published.
   *
   * @param id its id
   * @param type its type
   * @param data its data, as maps, lists, strings, {@code Long}, {@code BigDecimal}, {@code
   *     Boolean} and {@code null}
   * @param partitionKey its partition key: its own, or its id
   * @param options all its options, by their names on the wire
   * @param sequenceNumber where it stands: 1 for the daemon's first event
   */
  public record Recorded(
      String id,
      String type,
      Map<String, Object> data,
      String partitionKey,
      Map<String, Object> options,
      long sequenceNumber) {}

  private FakeDaemon() throws IOException {
    folder = Files.createTempDirectory("dispatchd");
    listener = ServerSocketChannel.open(StandardProtocolFamily.UNIX);
    listener.bind(UnixDomainSocketAddress.of(socket()));
    inBackground(this::accept);
  }

  /**
   * Starts a daemon, on a socket in a temporary folder.
   *
   * @return the daemon
   * @throws UncheckedIOException if there is no room for it
   */
  public static FakeDaemon start() {
    try {
      return new FakeDaemon();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /**
   * Where it listens.
   *
   * @return what {@code DispatchdClient.Builder.socket} takes
   */
  public Path socket() {
    return folder.resolve("dispatchd.sock");
  }

  /**
   * What was published, each id once. What is staged is not among it.
   *
   * @return the events, in the order in which they were published
   */
  public synchronized List<Recorded> published() {
    return List.copyOf(published.values());
  }

  /**
   * Refuses the next event that is published or staged. Called again, it refuses the one after it.
   *
   * @param code one of the daemon's codes: the client sends an event again that may be retried
   * @param message for people
   */
  public synchronized void refuseNext(String code, String message) {
    Map<String, Object> error = new LinkedHashMap<>();
    error.put("code", code);
    error.put("message", message);
    error.put("retryable", RETRYABLE.contains(code));
    if (RETRYABLE.contains(code)) error.put("outcome", "not_stored");
    refusals.add(error);
  }

  /** Forgets what was published, and what was to be refused. */
  public synchronized void clear() {
    published.clear();
    refusals.clear();
  }

  /** Ends all connections and removes the socket. */
  @Override
  public void close() {
    try {
      listener.close();
      synchronized (this) {
        for (SocketChannel connection : connections) connection.close();
      }
      Files.deleteIfExists(socket());
      Files.deleteIfExists(folder);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private interface Job {
    void run() throws IOException;
  }

  private static void inBackground(Job job) {
    Runnable untilClosed =
        () -> {
          try {
            job.run();
          } catch (IOException e) {
            // A side has closed the connection, or the daemon: there is nobody to tell.
          }
        };
    Thread thread = new Thread(untilClosed, "fake dispatchd");
    thread.setDaemon(true);
    thread.start();
  }

  private void accept() throws IOException {
    while (true) {
      SocketChannel connection = listener.accept();
      synchronized (this) {
        connections.add(connection);
      }
      inBackground(() -> serve(connection));
    }
  }

  private void serve(SocketChannel connection) throws IOException {
    Map<Object, List<Map<?, ?>>> transactions = new HashMap<>();
    InputStreamReader bytes =
        new InputStreamReader(Channels.newInputStream(connection), StandardCharsets.UTF_8);
    BufferedReader lines = new BufferedReader(bytes);
    OutputStream out = Channels.newOutputStream(connection);
    for (String line; (line = lines.readLine()) != null; ) {
      byte[] text = line.getBytes(StandardCharsets.UTF_8);
      Map<?, ?> request = (Map<?, ?>) Json.read(text, 0, text.length);
      out.write(new Json.Out(512).value(answer(request, transactions)).raw("\n").toBytes());
    }
  }

  private synchronized Map<String, Object> answer(
      Map<?, ?> request, Map<Object, List<Map<?, ?>>> transactions) {
    Map<String, Object> answer = new LinkedHashMap<>();
    Object op = request.get("op");
    Object tx = request.get("tx");
    for (String name : List.of("op", "tx", "ref")) {
      if (request.get(name) != null && (op != null || name.equals("ref"))) {
        answer.put(name, request.get(name));
      }
    }
    answer.put("ok", true);
    if (op == null) {
      event(request, tx == null ? null : transactions.get(tx), answer);
    } else if (op.equals("hello")) {
      answer.put("version", 1L);
      answer.put("producerId", producerId(request));
    } else if (op.equals("begin")) {
      transactions.put(tx, new ArrayList<>());
    } else if (op.equals("rollback")) {
      transactions.remove(tx);
    } else if (op.equals("commit")) {
      List<Map<String, Object>> results = new ArrayList<>();
      for (Map<?, ?> event : transactions.remove(tx)) {
        Map<String, Object> result = new LinkedHashMap<>(Map.of("ref", event.get("ref")));
        results.add(result);
        store(event, result);
      }
      answer.put("results", results);
    }
    return answer;
  }

  private static Object producerId(Map<?, ?> hello) {
    Object given = hello.get("context") instanceof Map<?, ?> map ? map.get("producerId") : null;
    return given == null ? "fake@localhost" : given;
  }

  private void event(Map<?, ?> event, List<Map<?, ?>> staged, Map<String, Object> answer) {
    Map<String, Object> refusal = refusals.poll();
    if (refusal != null) {
      answer.put("ok", false);
      answer.put("error", refusal);
    } else if (event.get("tx") == null) {
      store(event, answer);
    } else {
      staged.add(event);
      answer.put("staged", true);
    }
  }

  @SuppressWarnings("unchecked")
  private void store(Map<?, ?> event, Map<String, Object> answer) {
    Map<String, Object> options = (Map<String, Object>) event.get("options");
    String id = (String) options.get("id");
    String key = (String) options.getOrDefault("partitionKey", id);
    Map<String, Object> data = (Map<String, Object>) event.get("data");
    Recorded known = published.get(id);
    if (known == null) {
      known = new Recorded(id, (String) event.get("type"), data, key, options, ++sequence);
      published.put(id, known);
    } else {
      answer.put("deduplicated", true);
    }
    answer.put("ok", true);
    answer.put("id", id);
    answer.put("timestamp", Instant.now().truncatedTo(ChronoUnit.MILLIS).toString());
    answer.put("partitionKey", key);
    answer.put("shardId", "shardId-000000000000");
    answer.put("sequenceNumber", "" + known.sequenceNumber());
  }
}
