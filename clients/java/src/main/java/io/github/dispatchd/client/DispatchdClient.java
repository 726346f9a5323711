// The client, as an application sees it. It turns calls into entries, and gives them to the buffer
// and the courier. Never writes to the socket, and never drops an event.
package io.github.dispatchd.client;

import io.github.dispatchd.client.Event.Option;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Consumer;
import java.util.function.Supplier;

/**
 * Publishes events through the dispatchd daemon beside the application. An event is published, or
 * its caller is told why not: nothing is dropped. The client connects by itself, again and again,
 * and sends what was not answered again, with the same id.
 *
 * <p>Thread-safe. One client for an application is enough. It has one thread, a daemon thread,
 * which also ends the futures that the client returns: what you chain to them without {@code Async}
 * runs there and holds up the client while it runs. There, {@code publish} does not wait at a bound
 * but fails with {@code BufferFull}, and {@code flush} and {@code close} are refused.
 */
public final class DispatchdClient implements AutoCloseable {
  private static final Duration CLOSE_TIMEOUT = Duration.ofSeconds(5);

  /** How long `close` waits, after all is flushed or given up, for the thread to be done. */
  private static final Duration END_TIMEOUT = Duration.ofSeconds(1);

  private final Settings settings;
  private final Courier courier;
  private final Buffer buffer;

  private DispatchdClient(Settings settings) {
    this.settings = settings;
    courier = new Courier(settings);
    buffer = courier.buffer();
    courier.start();
  }

  /**
   * A client with the default settings.
   *
   * @return a client, which connects in the background
   */
  public static DispatchdClient create() {
    return builder().build();
  }

  /**
   * Begins the settings of a client.
   *
   * @return settings with their defaults
   */
  public static Builder builder() {
    return new Builder();
  }

  /**
   * Publishes an event, within the client's timeout. Waits for room if the buffer is full.
   *
   * @param event the event
   * @return ends with the published event, or with a {@link DispatchdException}
   */
  public CompletableFuture<Published> publish(Event event) {
    return publish(event, settings.timeout());
  }

  /**
   * Publishes an event. Waits for room if the buffer is full.
   *
   * @param event the event
   * @param timeout the call's, with the wait for room and all attempts
   * @return ends with the published event, or with a {@link DispatchdException}
   */
  public CompletableFuture<Published> publish(Event event, Duration timeout) {
    return takeOn(event, timeout, mayWait());
  }

  /**
   * Publishes an event, within the client's timeout, and never waits.
   *
   * @param event the event
   * @return as {@link #publish(Event)}; fails with {@code BufferFull} if the buffer is full
   */
  public CompletableFuture<Published> tryPublish(Event event) {
    return takeOn(event, settings.timeout(), false);
  }

  private CompletableFuture<Published> takeOn(Event event, Duration timeout, boolean wait) {
    Entry entry = entry(event, null, deadline(timeout));
    buffer.takeOn(List.of(entry), wait, courier::publish);
    return entry.future;
  }

  /**
   * Publishes many events, within the client's timeout.
   *
   * @param events the events
   * @return as {@link #publishBatch(List, Duration)}
   */
  public CompletableFuture<List<Published>> publishBatch(List<Event> events) {
    return publishBatch(events, settings.timeout());
  }

  /**
   * Publishes many events. An event that fails does not hold up the others.
   *
   * @param events the events
   * @param timeout the call's, with the wait for room and all attempts
   * @return ends when all events have ended: with them in their order, or with a {@link
   *     BatchException} that has a result for each, if any of them failed
   */
  public CompletableFuture<List<Published>> publishBatch(List<Event> events, Duration timeout) {
    long deadline = deadline(timeout);
    List<Entry> entries = events.stream().map(event -> entry(event, null, deadline)).toList();
    buffer.takeOn(entries, mayWait(), courier::publish);
    CompletableFuture<List<Published>> all = new CompletableFuture<>();
    Entry.gather(entries, all);
    return all;
  }

  /**
   * Begins a transaction, whose events are held back until it is committed.
   *
   * @return the transaction; closing it rolls it back if it is not committed
   */
  public Transaction begin() {
    Transaction transaction = new Transaction(this);
    buffer.submit(() -> courier.begin(transaction));
    return transaction;
  }

  /**
   * Waits until all events that were taken on before this call have ended, those under way too.
   * What is staged in open transactions does not count.
   *
   * @param timeout the longest wait
   * @return how many of them have not ended: 0 if all have
   * @throws IllegalStateException if it is called on the client's own thread
   */
  public int flush(Duration timeout) {
    if (!mayWait()) throw new IllegalStateException("the client's own thread cannot wait for it");
    Courier.Flush flush = new Courier.Flush(buffer.counters().buffered());
    if (!buffer.submit(() -> courier.flush(flush))) return 0;
    try {
      flush.done().get(Waits.nanos(timeout), TimeUnit.NANOSECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    } catch (TimeoutException | ExecutionException e) {
      // What is left says it.
    }
    buffer.submit(() -> courier.forget(flush));
    return (int) flush.left();
  }

  /** As {@link #close(Duration)}, with 5 s. */
  @Override
  public void close() {
    close(CLOSE_TIMEOUT);
  }

  /**
   * Takes on no more events, waits as {@link #flush} does, and closes the connection. What has no
   * answer then fails with {@code Closed}.
   *
   * @param timeout the longest wait
   * @return how many events are not confirmed: 0 if all are, or if the client was closed before
   * @throws IllegalStateException if it is called on the client's own thread
   */
  public int close(Duration timeout) {
    if (!mayWait()) throw new IllegalStateException("the client's own thread cannot wait for it");
    buffer.close();
    int left = flush(timeout);
    buffer.submit(courier::stop);
    try {
      courier.thread().join(END_TIMEOUT.toMillis());
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    return left;
  }

  /**
   * What the client has done so far.
   *
   * @return counts of one moment
   */
  public Counters counters() {
    return buffer.counters();
  }

  // ---- For transactions.

  String stage(Event event, Transaction transaction) {
    Entry entry = entry(event, transaction, deadline(settings.timeout()));
    buffer.takeOn(List.of(entry), mayWait(), courier::stage);
    if (entry.error != null) throw entry.error;
    return entry.id();
  }

  CompletableFuture<Void> staged(Transaction transaction, Duration timeout) {
    CompletableFuture<Void> future = new CompletableFuture<>();
    long deadline = deadline(timeout);
    boolean given = buffer.submit(() -> courier.staged(transaction, deadline, future));
    if (!given) future.completeExceptionally(Buffer.closedBefore());
    return future;
  }

  CompletableFuture<List<Published>> commit(Transaction transaction, Duration timeout) {
    CompletableFuture<List<Published>> future = new CompletableFuture<>();
    long deadline = deadline(timeout);
    boolean closed = buffer.closed();
    boolean given = buffer.submit(() -> courier.commit(transaction, deadline, closed, future));
    // Its events ended with the client.
    if (!given) Entry.gather(transaction.entries, future);
    return future;
  }

  void rollback(Transaction transaction) {
    buffer.submit(() -> courier.rollback(transaction));
  }

  Duration timeout() {
    return settings.timeout();
  }

  private Entry entry(Event event, Transaction transaction, long deadline) {
    Event whole = event;
    if (event.option(Option.id) == null) whole = whole.id(UUID.randomUUID().toString());
    TraceContext trace = null;
    if (settings.trace() != null && event.option(Option.traceparent) == null) {
      trace = settings.trace().get();
    }
    if (trace != null)
      whole = whole.traceparent(trace.traceparent()).tracestate(trace.tracestate());
    return new Entry(whole, transaction, deadline);
  }

  private static long deadline(Duration timeout) {
    return Waits.now() + Waits.nanos(timeout);
  }

  private boolean mayWait() {
    return Thread.currentThread() != courier.thread();
  }

  /** The settings of a client. Those that are not set have their defaults. */
  public static final class Builder {
    private static final String DEFAULT_SOCKET = "/run/dispatchd/dispatchd.sock";

    /** The longest path that a socket can have. */
    private static final int SOCKET_BYTES_MAX = 107;

    private Path socket;
    private final Map<String, String> context = new TreeMap<>();
    private Duration timeout = Duration.ofSeconds(150);
    private int maxBufferedEvents = 10_000;
    private long maxBufferedBytes = 32 << 20;
    private boolean strictOrder;
    private boolean disabled;
    private Supplier<TraceContext> trace;
    private Consumer<Settled> onSettled;

    private Builder() {}

    /**
     * Where the daemon listens. The default is the environment's {@code DISPATCHD_SOCKET}, else
     * {@code /run/dispatchd/dispatchd.sock}.
     *
     * @param socket the path of its socket, 107 bytes at most
     * @return this
     */
    public Builder socket(Path socket) {
      this.socket = socket;
      return this;
    }

    /**
     * The producer of all events of this client, in place of the daemon's.
     *
     * @param producerId at most 256 bytes
     * @return this
     */
    public Builder producerId(String producerId) {
      return context("producerId", producerId);
    }

    /**
     * The user of events that name none.
     *
     * @param userId at most 256 bytes
     * @return this
     */
    public Builder sourceUserId(String userId) {
      return context("sourceUserId", userId);
    }

    /**
     * The correlation id of all events of this client.
     *
     * @param id at most 256 bytes
     * @return this
     */
    public Builder correlationId(String id) {
      return context("correlationId", id);
    }

    /**
     * The organisation of all events of this client.
     *
     * @param id at most 256 bytes
     * @return this
     */
    public Builder organisationId(String id) {
      return context("organisationId", id);
    }

    /**
     * The form of events that name none.
     *
     * @param form {@code lk}, {@code type-data}, {@code eventbridge} or {@code cloudevents}
     * @return this
     */
    public Builder envelope(String form) {
      return context("envelope", form);
    }

    private Builder context(String name, String value) {
      context.put(name, Objects.requireNonNull(value, name));
      return this;
    }

    /**
     * How long a call may take that names no timeout, with all its attempts.
     *
     * @param timeout the default is 150 s, which is longer than the daemon's own 2 minutes
     * @return this
     */
    public Builder timeout(Duration timeout) {
      this.timeout = Objects.requireNonNull(timeout, "timeout");
      return this;
    }

    /**
     * How many events may be taken on and not yet settled.
     *
     * @param events at least 1; the default is 10,000
     * @return this
     */
    public Builder maxBufferedEvents(int events) {
      if (events < 1) throw new IllegalArgumentException("maxBufferedEvents: " + events + " < 1");
      maxBufferedEvents = events;
      return this;
    }

    /**
     * How many bytes the lines of those events may have.
     *
     * @param bytes at least 1; the default is 32 MiB
     * @return this
     */
    public Builder maxBufferedBytes(long bytes) {
      if (bytes < 1) throw new IllegalArgumentException("maxBufferedBytes: " + bytes + " < 1");
      maxBufferedBytes = bytes;
      return this;
    }

    /**
     * Whether an event waits in the client until the earlier event of its partition key has its
     * answer. Then the order of the calls is the order in the stream.
     *
     * @param strictOrder the default is false
     * @return this
     */
    public Builder strictOrder(boolean strictOrder) {
      this.strictOrder = strictOrder;
      return this;
    }

    /**
     * Whether the client does nothing: each event ends at once, published nowhere.
     *
     * @param disabled the default is false
     * @return this
     */
    public Builder disabled(boolean disabled) {
      this.disabled = disabled;
      return this;
    }

    /**
     * Finds the trace of events that name none.
     *
     * @param trace is called on the publishing thread; may return {@code null}; what it throws,
     *     {@code publish} throws
     * @return this
     */
    public Builder trace(Supplier<TraceContext> trace) {
      this.trace = trace;
      return this;
    }

    /**
     * Is told of each event that ends.
     *
     * @param onSettled is called on the client's thread, so it must be quick; what it throws goes
     *     to the thread's handler of uncaught exceptions
     * @return this
     */
    public Builder onSettled(Consumer<Settled> onSettled) {
      this.onSettled = onSettled;
      return this;
    }

    /**
     * Makes the client.
     *
     * @return a client, which connects in the background
     * @throws IllegalArgumentException if the path of the socket is longer than a socket's can be
     */
    public DispatchdClient build() {
      Path path = socket;
      if (path == null) {
        String named = System.getenv("DISPATCHD_SOCKET");
        path = Path.of(named == null || named.isEmpty() ? DEFAULT_SOCKET : named);
      }
      int bytes = path.toString().getBytes(StandardCharsets.UTF_8).length;
      if (bytes > SOCKET_BYTES_MAX) {
        throw new IllegalArgumentException(
            "the socket's path has at most %d bytes, not %d: %s"
                .formatted(SOCKET_BYTES_MAX, bytes, path));
      }
      return new DispatchdClient(
          new Settings(
              path,
              Map.copyOf(context),
              timeout,
              maxBufferedEvents,
              maxBufferedBytes,
              strictOrder,
              disabled,
              trace,
              onSettled));
    }
  }
}
