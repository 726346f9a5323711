// What callers and the courier's thread share: the bounded memory of events, the counters, and the
// queue of what the courier is to do. One lock guards all of it; nothing under it blocks, and
// callers that wait for room give it up.
package io.github.dispatchd.client;

import io.github.dispatchd.client.DispatchdException.Outcome;
import java.util.ArrayDeque;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;
import java.util.function.Supplier;

final class Buffer {
  private static final int REF_BYTES = "{\"ref\":".length();

  private final ReentrantLock lock = new ReentrantLock();
  private final int eventsMax;
  private final long bytesMax;
  private final Runnable wakeUp;

  /** Why the daemon takes nothing, for the message of a timeout. */
  private final Supplier<String> trouble;

  /** Callers that wait for room, first come first served. */
  private final ArrayDeque<Condition> waiting = new ArrayDeque<>();

  private final Map<String, Long> refused = new TreeMap<>();

  /**
   * What the courier is to do, in order. Bounded by the events, and by a command of each caller.
   */
  private ArrayDeque<Runnable> incoming = new ArrayDeque<>();

  private ArrayDeque<Runnable> drained = new ArrayDeque<>();
  private boolean courierSleeps;
  private boolean closed;
  private boolean ended;
  private long refs;
  private long sent;
  private long acked;
  private long rolledBack;
  private long events;
  private long bytes;
  private long resent;
  private long reconnects;

  Buffer(int eventsMax, long bytesMax, Runnable wakeUp, Supplier<String> trouble) {
    this.eventsMax = eventsMax;
    this.bytesMax = bytesMax;
    this.wakeUp = wakeUp;
    this.trouble = trouble;
  }

  /**
   * Takes events on and gives them to the courier, or ends their futures with the reason why not.
   * With `wait` it waits for room, until the deadline of each.
   */
  void takeOn(List<Entry> entries, boolean wait, Consumer<Entry> courier) {
    lock.lock();
    try {
      for (Entry entry : entries) {
        entry.error = makeRoom(entry, wait);
        if (entry.error != null) {
          entry.future.completeExceptionally(entry.error);
          continue;
        }
        entry.ref = ++refs;
        entry.takenAt = Waits.now();
        sent++;
        events++;
        bytes += entry.bytes;
        enqueue(() -> courier.accept(entry));
      }
    } finally {
      lock.unlock();
    }
  }

  private DispatchdException makeRoom(Entry entry, boolean wait) {
    entry.bytes = entry.body.length + REF_BYTES + Long.toString(refs + 1).length();
    if (closed) return closedBefore();
    if (entry.bytes > bytesMax) {
      String message = "the line is " + entry.bytes + " bytes, the buffer takes " + bytesMax;
      return new DispatchdException(
          DispatchdException.EVENT_TOO_LARGE, message, false, Outcome.NOT_STORED);
    }
    if (waiting.isEmpty() && fits(entry)) return null;
    if (!wait) return unsent(DispatchdException.BUFFER_FULL, full());
    Condition turn = lock.newCondition();
    waiting.add(turn);
    try {
      while (!closed && (waiting.peek() != turn || !fits(entry))) {
        long left = entry.deadlineGiven - Waits.now();
        if (left <= 0) return unsent(DispatchdException.TIMEOUT, full() + "; " + trouble.get());
        turn.await(left, TimeUnit.NANOSECONDS);
      }
      return closed ? closedBefore() : null;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return unsent(DispatchdException.TIMEOUT, "interrupted while " + full());
    } finally {
      waiting.remove(turn);
      callNext();
    }
  }

  private boolean fits(Entry entry) {
    return events < eventsMax && bytes + entry.bytes <= bytesMax;
  }

  private void callNext() {
    if (!waiting.isEmpty()) waiting.peek().signal();
  }

  private String full() {
    return "the buffer is full: " + events + " events, " + bytes + " bytes";
  }

  private static DispatchdException unsent(String code, String message) {
    return new DispatchdException(code, message, true, Outcome.NOT_STORED);
  }

  static DispatchdException closedBefore() {
    return unsent(DispatchdException.CLOSED, "the client is closed");
  }

  /** Gives the courier something to do. False if it has ended: then it never will. */
  boolean submit(Runnable command) {
    lock.lock();
    try {
      if (!ended) enqueue(command);
      return !ended;
    } finally {
      lock.unlock();
    }
  }

  private void enqueue(Runnable command) {
    incoming.add(command);
    if (courierSleeps) {
      courierSleeps = false;
      wakeUp.run();
    }
  }

  /** A reference for a line that is no event. */
  long ref() {
    lock.lock();
    try {
      return ++refs;
    } finally {
      lock.unlock();
    }
  }

  /** Takes on no more events; callers that wait for room are told. */
  void close() {
    lock.lock();
    try {
      closed = true;
      waiting.forEach(Condition::signal);
    } finally {
      lock.unlock();
    }
  }

  boolean closed() {
    lock.lock();
    try {
      return closed;
    } finally {
      lock.unlock();
    }
  }

  // What follows is called by the courier alone.

  /** All that there is to do. What is returned stands until the next call. */
  ArrayDeque<Runnable> drain() {
    lock.lock();
    try {
      ArrayDeque<Runnable> filled = incoming;
      incoming = drained;
      drained = filled;
      return filled;
    } finally {
      lock.unlock();
    }
  }

  /** Whether there is nothing to do. Then the courier may sleep, and is woken when there is. */
  boolean idle() {
    lock.lock();
    try {
      courierSleeps = incoming.isEmpty();
      return courierSleeps;
    } finally {
      lock.unlock();
    }
  }

  /** The courier ends: nothing is taken on or enqueued any more. */
  void end() {
    close();
    lock.lock();
    try {
      ended = true;
    } finally {
      lock.unlock();
    }
  }

  /** Counts events that have ended, and gives their room to those who wait for it. */
  void settle(List<Entry> entries) {
    lock.lock();
    try {
      for (Entry entry : entries) {
        events--;
        bytes -= entry.bytes;
        if (entry.published != null) acked++;
        else if (entry.error == null) rolledBack++;
        else refused.merge(entry.error.code(), 1L, Long::sum);
      }
      callNext();
    } finally {
      lock.unlock();
    }
  }

  void countSendings(long resent, boolean reconnected) {
    lock.lock();
    try {
      this.resent += resent;
      if (reconnected) reconnects++;
    } finally {
      lock.unlock();
    }
  }

  Counters counters() {
    lock.lock();
    try {
      return new Counters(
          sent, acked, Map.copyOf(refused), rolledBack, events, bytes, resent, reconnects);
    } finally {
      lock.unlock();
    }
  }
}
