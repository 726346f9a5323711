// The client's thread. It owns the connection and every event that was taken on: it writes, reads,
// retries, connects again, and ends each event once. Other threads only give it things to do. It
// never waits for anything but the daemon and the next moment at which something is due.
package io.github.dispatchd.client;

import io.github.dispatchd.client.DispatchdException.Outcome;
import io.github.dispatchd.client.Entry.State;
import io.github.dispatchd.client.Event.Option;
import io.github.dispatchd.client.internal.Json;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.channels.Selector;
import java.time.Duration;
import java.time.Instant;
import java.time.format.DateTimeFormatter;
import java.time.format.DateTimeFormatterBuilder;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ThreadLocalRandom;

final class Courier implements Runnable {
  /** Deadlines and retries are looked for at most this often: each look visits all events. */
  private static final long LOOK_NANOS = Duration.ofMillis(10).toNanos();

  /** The daemon takes 64 transactions of a connection. Those over this bound stay in the client. */
  private static final int DAEMON_TRANSACTIONS_MAX = 60;

  /** Refusals that may be retried, and say without an `outcome` that nothing is stored. */
  private static final Set<String> STORE_NOTHING = Set.of("Overloaded", "TransactionEnded");

  /** Refusals of a transaction as a whole. Its events go as plain events when it is committed. */
  private static final Set<String> END_STAGING = Set.of("TransactionEnded", "TransactionTooLarge");

  private static final DateTimeFormatter MILLIS =
      new DateTimeFormatterBuilder().appendInstant(3).toFormatter();

  /** A call that waits until the events before it have ended. */
  static final class Flush {
    private final CompletableFuture<Void> done = new CompletableFuture<>();
    private long lastNumber;

    /** How many have not ended. */
    private volatile long left;

    Flush(long left) {
      this.left = left;
    }

    CompletableFuture<Void> done() {
      return done;
    }

    long left() {
      return left;
    }
  }

  /** A call that waits until the daemon has checked what is staged. */
  private record Staged(Transaction transaction, long deadline, CompletableFuture<Void> future) {}

  private final Settings settings;
  private final byte[] hello;
  private final Selector selector;
  private final Thread thread;
  private final Buffer buffer;

  /** Events to be published, by reference, in the order of the calls. */
  private final Map<Long, Entry> pending = new LinkedHashMap<>();

  /** Events of open transactions, by reference. */
  private final Map<Long, Entry> staged = new HashMap<>();

  /** With `strictOrder`: the events of each key. Only the first of them is sent. */
  private final Map<String, ArrayDeque<Entry>> byKey = new HashMap<>();

  /** What is to be written: an `Entry`, or the bytes of another line. */
  private final ArrayDeque<Object> lines = new ArrayDeque<>();

  /** Transactions that are open on this connection. */
  private final Set<Transaction> onDaemon = new LinkedHashSet<>();

  /** Transactions whose commit is not answered, by its reference. */
  private final Map<Long, Transaction> commits = new HashMap<>();

  private final List<Staged> stagedCalls = new ArrayList<>();
  private final List<Flush> flushes = new ArrayList<>();

  /** Events that have ended, and whose callers are not yet told. */
  private List<Entry> ended = new ArrayList<>();

  private Wire wire;
  private boolean helloOpen;
  private String producerId;
  private int failures;
  private long connectAt;
  private boolean connectedBefore;

  /** Why the last connection, or the attempt at one, has failed; null before that. */
  private String failure;

  /** What is missing before the daemon can answer an event; null once it has answered hello. */
  private volatile String trouble;

  private long lookAt = Waits.FAR;
  private long lookedAt = -LOOK_NANOS;
  private long numbers;
  private long names;
  private long resent;
  private boolean stopping;

  Courier(Settings settings) {
    this.settings = settings;
    Json.Out line = new Json.Out(256).raw("{\"op\":\"hello\"");
    if (!settings.context().isEmpty()) line.raw(",\"context\":").value(settings.context());
    hello = line.raw("}\n").toBytes();
    try {
      selector = Selector.open();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    buffer =
        new Buffer(
            settings.maxBufferedEvents(),
            settings.maxBufferedBytes(),
            selector::wakeup,
            this::trouble);
    producerId = settings.context().get("producerId");
    connectAt = settings.disabled() ? Waits.FAR : 0;
    trouble = "no connection to " + settings.socket() + ": not yet connected";
    thread = new Thread(this, "dispatchd");
    thread.setDaemon(true);
  }

  void start() {
    thread.start();
  }

  Buffer buffer() {
    return buffer;
  }

  Thread thread() {
    return thread;
  }

  private String trouble() {
    String missing = trouble;
    return missing == null ? "the daemon at " + settings.socket() + " has not answered" : missing;
  }

  @Override
  public void run() {
    try {
      while (!stopping) turn();
    } finally {
      end();
    }
  }

  private void turn() {
    for (ArrayDeque<Runnable> commands = buffer.drain(); !commands.isEmpty(); ) {
      commands.poll().run();
    }
    long now = Waits.now();
    if (wire == null && connectAt <= now) connect();
    if (lookAt <= now) look(now);
    try {
      if (wire != null) wire.write(this::nextLine);
    } catch (IOException e) {
      cut(lastWords(e));
    }
    tellCallers();
    try {
      sleep();
      if (wire != null && wire.readable()) wire.read(this::line);
    } catch (IOException e) {
      cut(e);
    }
  }

  /** Reads what the daemon said before it hung up: answers, or why it takes no connection. */
  private IOException lastWords(IOException hungUp) {
    try {
      boolean more = true;
      while (more && wire != null) more = wire.read(this::line);
      return hungUp;
    } catch (IOException e) {
      return e;
    }
  }

  private void sleep() throws IOException {
    long nanos = Math.min(lookAt, wire == null ? connectAt : Waits.FAR) - Waits.now();
    if (!buffer.idle() || stopping || nanos <= 0) selector.selectNow(key -> {});
    else selector.select(key -> {}, nanos > Waits.FAR / 2 ? 0 : nanos / 1_000_000 + 1);
  }

  // ---- The connection.

  private void connect() {
    try {
      wire = new Wire(settings.socket(), selector);
    } catch (IOException e) {
      connectLater(e);
      return;
    }
    buffer.countSendings(0, connectedBefore);
    connectedBefore = true;
    // Being turned away is a connection as well: its reason must not be lost with the next.
    String before = failures == 0 ? "" : "; the connection before: " + failure;
    trouble = "connected to " + settings.socket() + ", which has not answered hello" + before;
    helloOpen = true;
    wire.put("", hello);
  }

  private void connectLater(IOException why) {
    failure = why.getMessage() == null ? why.toString() : why.getMessage();
    trouble = "no connection to " + settings.socket() + ": " + failure;
    connectAt = Waits.now() + Waits.backoff(failures++, ThreadLocalRandom.current());
  }

  /** The connection has ended: what it did not answer is sent again on the next, in its order. */
  private void cut(IOException why) {
    if (wire == null) return;
    wire.close();
    wire = null;
    lines.clear();
    commits.clear();
    for (Transaction transaction : List.copyOf(onDaemon)) keepInClient(transaction);
    for (Entry entry : staged.values()) {
      entry.queued = false;
      entry.stageOpen = false;
    }
    for (Entry entry : pending.values()) {
      entry.unknown = entry.outcome() == Outcome.UNKNOWN;
      entry.queued = false;
      entry.stageOpen = false;
      boolean again = entry.state == State.WRITTEN || entry.state == State.COMMITTING;
      if (again || entry.state == State.READY) ready(entry);
    }
    connectLater(why);
  }

  private boolean nextLine(Wire wire) {
    // The daemon goes on after a refused hello: what comes behind it would be published without
    // the context that its caller has asked for. Without a context there is nothing to refuse.
    if (helloOpen && !settings.context().isEmpty()) return false;
    for (Object line; (line = lines.poll()) != null; ) {
      if (line instanceof byte[] control) {
        wire.put("", control);
        return true;
      }
      Entry entry = (Entry) line;
      entry.queued = false;
      String head = "{\"ref\":" + entry.ref;
      if (entry.toStage) {
        entry.toStage = false;
        entry.stageOpen = true;
        head += ",\"tx\":\"" + entry.transaction.name + '"';
      } else if (entry.state == State.READY) {
        entry.state = State.WRITTEN;
      } else {
        continue;
      }
      if (entry.sendings++ > 0) resent++;
      wire.put(head, entry.body);
      return true;
    }
    return false;
  }

  private void control(String op, String name, String more) {
    lines.add(("{\"op\":\"" + op + "\",\"tx\":\"" + name + '"' + more + "}\n").getBytes());
  }

  // ---- Answers.

  private void line(byte[] bytes, int from, int to) throws IOException {
    Object value;
    try {
      value = Json.read(bytes, from, to);
    } catch (IllegalArgumentException e) {
      throw new IOException("the daemon sent a line that is " + e.getMessage(), e);
    }
    if (!(value instanceof Map<?, ?> answer)) throw new IOException("the daemon sent " + value);
    Object op = answer.get("op");
    if ("hello".equals(op)) {
      hello(answer);
    } else if ("commit".equals(op)) {
      Transaction transaction = commits.remove(answer.get("ref"));
      if (transaction != null) committed(transaction, answer);
    } else if (op == null) {
      answered(answer);
    }
  }

  private void hello(Map<?, ?> answer) throws IOException {
    helloOpen = false;
    if (ok(answer)) {
      failures = 0;
      trouble = null;
      if (text(answer, "producerId") != null) producerId = text(answer, "producerId");
      return;
    }
    DispatchdException refusal = refusal(answer);
    if (refusal.retryable()) throw new IOException(refusal.reason());
    // It is for good: all calls end with it. The next call asks again, on a new connection.
    for (Transaction transaction : onDaemon) transaction.refused(refusal);
    cut(new IOException(refusal.reason()));
    connectAt = Waits.FAR;
    // An earlier connection may have stored some of them.
    for (Entry entry : List.copyOf(pending.values())) {
      fail(
          entry,
          new DispatchdException(refusal.code(), refusal.getMessage(), false, entry.outcome()));
    }
  }

  private void answered(Map<?, ?> answer) throws IOException {
    Object ref = answer.get("ref");
    Entry entry = pending.get(ref);
    if (entry == null) entry = staged.get(ref);
    if (entry != null && entry.stageOpen) {
      stageAnswered(entry, answer);
    } else if (entry != null && entry.state != State.HELD) {
      concluded(entry, answer);
    } else if (ref == null && !ok(answer) && refusal(answer).code().equals("Overloaded")) {
      throw new IOException(refusal(answer).reason());
    }
  }

  private void concluded(Entry entry, Map<?, ?> answer) {
    if (ok(answer)) {
      succeed(entry, answer);
      return;
    }
    DispatchdException refusal = refusal(answer);
    if (!refusal.retryable()) {
      fail(entry, entry.unknown ? refusal.inDoubt() : refusal);
      return;
    }
    entry.unknown |= refusal.outcome() == Outcome.UNKNOWN;
    entry.lastRefusal = refusal.reason();
    entry.state = State.RETRY;
    entry.retryAt = Waits.now() + Waits.backoff(entry.refusals++, ThreadLocalRandom.current());
    lookAt(entry.retryAt);
  }

  private static boolean ok(Map<?, ?> answer) {
    return Boolean.TRUE.equals(answer.get("ok"));
  }

  private static String text(Map<?, ?> map, String name) {
    return map.get(name) instanceof String text ? text : null;
  }

  private static DispatchdException refusal(Map<?, ?> answer) {
    Map<?, ?> error = answer.get("error") instanceof Map<?, ?> map ? map : Map.of();
    String code = text(error, "code") == null ? "Unknown" : text(error, "code");
    boolean retryable = Boolean.TRUE.equals(error.get("retryable"));
    String outcome = text(error, "outcome");
    boolean unknown =
        outcome == null ? retryable && !STORE_NOTHING.contains(code) : outcome.equals("unknown");
    return new DispatchdException(
        code, text(error, "message"), retryable, unknown ? Outcome.UNKNOWN : Outcome.NOT_STORED);
  }

  // ---- Plain events.

  /** Takes an event to be published. */
  void publish(Entry entry) {
    pend(entry, entry.deadlineGiven);
    dispatch(entry);
  }

  private void pend(Entry entry, long deadline) {
    entry.deadline = deadline;
    entry.number = ++numbers;
    pending.put(entry.ref, entry);
    lookAt(deadline);
    connectIfRefused();
  }

  private void dispatch(Entry entry) {
    if (settings.disabled()) {
      succeed(entry, Map.of("timestamp", MILLIS.format(Instant.now())));
    } else if (settings.strictOrder() && entry.key() != null) {
      ArrayDeque<Entry> ofKey = byKey.computeIfAbsent(entry.key(), key -> new ArrayDeque<>());
      ofKey.add(entry);
      if (ofKey.size() == 1) ready(entry);
    } else {
      ready(entry);
    }
  }

  private void ready(Entry entry) {
    entry.state = State.READY;
    queue(entry);
  }

  private void queue(Entry entry) {
    if (!entry.queued) lines.add(entry);
    entry.queued = true;
  }

  /** After a refusal of hello there is no connection until a call asks for one. */
  private void connectIfRefused() {
    if (wire == null && connectAt == Waits.FAR && !settings.disabled()) connectAt = Waits.now();
  }

  private void succeed(Entry entry, Map<?, ?> answer) {
    String key = text(answer, "partitionKey");
    if (key == null) key = entry.key() == null ? entry.id() : entry.key();
    String user = entry.event.option(Option.sourceUserId);
    if (user == null || user.isEmpty()) user = settings.context().get("sourceUserId");
    entry.published =
        new Published(
            entry.id(),
            entry.event.type(),
            text(answer, "timestamp"),
            new Published.Source(user, producerId, key),
            text(answer, "shardId"),
            text(answer, "sequenceNumber"),
            answer.get("subSequenceNumber") instanceof Long index ? index : null,
            Boolean.TRUE.equals(answer.get("deduplicated")));
    settle(entry);
  }

  private void fail(Entry entry, DispatchdException error) {
    entry.error = error;
    settle(entry);
  }

  /**
   * The event has ended. Its caller is told at the end of the turn, without a lock or a loop open.
   */
  private void settle(Entry entry) {
    entry.state = State.DONE;
    pending.remove(entry.ref);
    staged.remove(entry.ref);
    ended.add(entry);
    ArrayDeque<Entry> ofKey = byKey.isEmpty() ? null : byKey.get(entry.key());
    if (ofKey == null) return;
    while (!ofKey.isEmpty() && ofKey.peek().state == State.DONE) ofKey.poll();
    if (ofKey.isEmpty()) byKey.remove(entry.key());
    else if (ofKey.peek().state == State.HELD) ready(ofKey.peek());
  }

  // ---- Transactions.

  void begin(Transaction transaction) {
    connectIfRefused();
    if (wire == null && connectAt <= Waits.now()) connect();
    // A daemon that reads nothing is told of no more transactions.
    boolean stuck = lines.size() >= settings.maxBufferedEvents();
    if (wire == null || stuck || onDaemon.size() >= DAEMON_TRANSACTIONS_MAX) return;
    transaction.name = "t" + ++names;
    onDaemon.add(transaction);
    control("begin", transaction.name, "");
  }

  void stage(Entry entry) {
    Transaction transaction = entry.transaction;
    if (transaction.over) {
      fail(entry, Transaction.over());
      return;
    }
    transaction.entries.add(entry);
    staged.put(entry.ref, entry);
    if (transaction.name == null) return;
    transaction.unchecked++;
    entry.toStage = true;
    queue(entry);
  }

  private void stageAnswered(Entry entry, Map<?, ?> answer) {
    entry.stageOpen = false;
    Transaction transaction = entry.transaction;
    if (transaction.name != null) transaction.unchecked--;
    if (!ok(answer)) stageRefused(entry, refusal(answer));
    answerStagedCalls(transaction);
  }

  private void stageRefused(Entry entry, DispatchdException refusal) {
    Transaction transaction = entry.transaction;
    boolean open = !transaction.over;
    if (refusal.retryable() || END_STAGING.contains(refusal.code())) {
      // A transaction that is being committed goes on: its answer will lack this event.
      if (open && !refusal.code().equals("TransactionEnded")) rollBackOnDaemon(transaction);
      if (open) keepInClient(transaction);
    } else if (open) {
      entry.stageRefusal = refusal;
      transaction.refused(refusal);
    } else {
      fail(entry, refusal);
    }
  }

  private void rollBackOnDaemon(Transaction transaction) {
    if (onDaemon.contains(transaction)) control("rollback", transaction.name, "");
  }

  /** The daemon holds the transaction no more: its events go as plain events if it is committed. */
  private void keepInClient(Transaction transaction) {
    if (!onDaemon.remove(transaction)) return;
    transaction.name = null;
    transaction.unchecked = 0;
    for (Entry entry : transaction.entries) entry.toStage = false;
    answerStagedCalls(transaction);
  }

  void staged(Transaction transaction, long deadline, CompletableFuture<Void> future) {
    stagedCalls.add(new Staged(transaction, deadline, future));
    lookAt(deadline);
    answerStagedCalls(transaction);
  }

  private void answerStagedCalls(Transaction transaction) {
    if (stagedCalls.isEmpty() || transaction.unchecked > 0) return;
    for (Staged call : List.copyOf(stagedCalls)) {
      if (call.transaction != transaction) continue;
      stagedCalls.remove(call);
      if (transaction.refusal == null) call.future.complete(null);
      else call.future.completeExceptionally(transaction.refusal);
    }
  }

  /** Publishes what is staged; with `closed` it fails, since the client was closed before. */
  void commit(
      Transaction transaction,
      long deadline,
      boolean closed,
      CompletableFuture<List<Published>> future) {
    transaction.over = true;
    Entry.gather(transaction.entries, future);
    // The daemon would send them all at once: where order is strict, they go one by one.
    if (settings.strictOrder() || closed) {
      rollBackOnDaemon(transaction);
      keepInClient(transaction);
    }
    boolean byDaemon = transaction.name != null;
    for (Entry entry : transaction.entries) {
      staged.remove(entry.ref);
      if (closed) {
        fail(entry, Buffer.closedBefore());
      } else if (entry.stageRefusal != null) {
        fail(entry, entry.stageRefusal);
      } else {
        pend(entry, deadline);
        if (byDaemon) entry.state = State.COMMITTING;
        else dispatch(entry);
      }
    }
    if (!byDaemon) return;
    long ref = buffer.ref();
    commits.put(ref, transaction);
    control("commit", transaction.name, ",\"ref\":" + ref);
  }

  private void committed(Transaction transaction, Map<?, ?> answer) {
    onDaemon.remove(transaction);
    if (answer.get("results") instanceof List<?> results) {
      for (Object result : results) {
        if (!(result instanceof Map<?, ?> one)) continue;
        Entry entry = pending.get(one.get("ref"));
        if (entry != null && entry.state == State.COMMITTING) concluded(entry, one);
      }
    }
    // What has no result was not committed.
    for (Entry entry : transaction.entries) if (entry.state == State.COMMITTING) ready(entry);
  }

  void rollback(Transaction transaction) {
    transaction.over = true;
    rollBackOnDaemon(transaction);
    keepInClient(transaction);
    for (Entry entry : transaction.entries) settle(entry);
  }

  // ---- Time.

  private void lookAt(long moment) {
    lookAt = Math.min(lookAt, Math.max(moment, lookedAt + LOOK_NANOS));
  }

  /** Looks at all events for those whose time has come. */
  private void look(long now) {
    lookedAt = now;
    lookAt = Waits.FAR;
    List<Entry> late = new ArrayList<>();
    for (Entry entry : pending.values()) {
      if (entry.deadline <= now) {
        late.add(entry);
        continue;
      }
      if (entry.state == State.RETRY && entry.retryAt <= now) ready(entry);
      lookAt(entry.state == State.RETRY ? Math.min(entry.retryAt, entry.deadline) : entry.deadline);
    }
    for (Entry entry : late) fail(entry, timeout(entry.lastRefusal, entry.outcome()));
    // Else they would pile up before a daemon that reads nothing, or is not there.
    if (!late.isEmpty()) lines.removeIf(line -> line instanceof Entry e && e.state == State.DONE);
    for (Staged call : List.copyOf(stagedCalls)) {
      if (call.deadline > now) {
        lookAt(call.deadline);
      } else {
        stagedCalls.remove(call);
        call.future.completeExceptionally(timeout(null, Outcome.NOT_STORED));
      }
    }
  }

  private DispatchdException timeout(String lastRefusal, Outcome outcome) {
    String message = lastRefusal == null ? trouble() : "last refusal: " + lastRefusal;
    if (lastRefusal != null && trouble != null) message += "; " + trouble();
    return new DispatchdException(DispatchdException.TIMEOUT, message, true, outcome);
  }

  // ---- Ends.

  void flush(Flush flush) {
    flush.lastNumber = numbers;
    flush.left = pending.size() + ended.stream().filter(e -> e.number <= numbers).count();
    flushes.add(flush);
  }

  void forget(Flush flush) {
    flushes.remove(flush);
  }

  void stop() {
    stopping = true;
  }

  /** Tells callers what has ended. Their code runs here: it may call the client, but not wait. */
  private void tellCallers() {
    if (resent > 0) buffer.countSendings(resent, false);
    resent = 0;
    List<Entry> told = ended;
    if (!told.isEmpty()) {
      ended = new ArrayList<>();
      buffer.settle(told);
      for (Entry entry : told) tell(entry);
    }
    flushes.removeIf(flush -> flush.left == 0 && flush.done.complete(null));
  }

  private void tell(Entry entry) {
    if (entry.published != null) entry.future.complete(entry.published);
    else if (entry.error != null) entry.future.completeExceptionally(entry.error);
    for (Flush flush : flushes) if (entry.number <= flush.lastNumber) flush.left--;
    if (settings.onSettled() == null) return;
    String code = entry.error == null ? null : entry.error.code();
    Duration duration = Duration.ofNanos(Waits.now() - entry.takenAt);
    int again = Math.max(0, entry.sendings - 1);
    try {
      settings
          .onSettled()
          .accept(new Settled(entry.event.type(), entry.published != null, code, duration, again));
    } catch (RuntimeException | Error e) {
      thread.getUncaughtExceptionHandler().uncaughtException(thread, e);
    }
  }

  private void end() {
    buffer.end();
    for (Runnable command : buffer.drain()) command.run();
    if (wire != null) wire.close();
    List<Entry> open = new ArrayList<>(pending.values());
    open.addAll(staged.values());
    String message = "the client was closed before the event had its answer; " + trouble();
    for (Entry entry : open) {
      fail(
          entry, new DispatchdException(DispatchdException.CLOSED, message, true, entry.outcome()));
    }
    for (Staged call : stagedCalls) call.future.completeExceptionally(Buffer.closedBefore());
    tellCallers();
    for (Flush flush : flushes) flush.done.complete(null);
    try {
      selector.close();
    } catch (IOException e) {
      // Its descriptors are released all the same.
    }
  }
}
