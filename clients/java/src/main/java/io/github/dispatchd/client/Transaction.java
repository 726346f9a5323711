// Events that are held back until the application knows that they are true.
package io.github.dispatchd.client;

import io.github.dispatchd.client.DispatchdException.Outcome;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Publish after commit: stage events while a database transaction runs, call {@link #staged} before
 * it is committed, and {@link #commit} afterwards. The client keeps the events until the commit is
 * answered, and publishes them even if the daemon forgets the transaction. Nothing is published if
 * the application dies between the two commits.
 *
 * <p>Made by {@link DispatchdClient#begin}. One thread at a time may use it.
 */
public final class Transaction implements AutoCloseable {
  private final DispatchdClient client;
  private final AtomicBoolean ended = new AtomicBoolean();

  // The rest belongs to the courier's thread.
  final List<Entry> entries = new ArrayList<>();

  /** What the daemon calls it, as long as the daemon holds it. */
  String name;

  /** How many of the events the daemon has still to check. */
  int unchecked;

  /** It was committed or rolled back. */
  boolean over;

  /** The first refusal of what was staged. */
  DispatchdException refusal;

  Transaction(DispatchdClient client) {
    this.client = client;
  }

  /**
   * Stages an event. Waits for room in the client's buffer, at most for the client's timeout.
   *
   * @param event the event
   * @return its id, at once: whether the daemon would take it, {@link #staged} says
   * @throws DispatchdException with the code {@code Timeout}, {@code Closed} or {@code
   *     EventTooLarge}, if the client could not take the event on; it is no part of the transaction
   *     then
   * @throws IllegalStateException if the transaction has been committed or rolled back
   */
  public String publish(Event event) {
    if (ended.get()) throw new IllegalStateException("the transaction is over");
    return client.stage(event, this);
  }

  /**
   * Waits until all that is staged is checked, at most for the client's timeout.
   *
   * @return ends when the daemon has checked all events, or has left them to the client (there is
   *     no connection, or the transaction is over one of the daemon's bounds); fails with the first
   *     refusal, or with {@code Timeout}
   */
  public CompletableFuture<Void> staged() {
    return staged(client.timeout());
  }

  /**
   * Waits until all that is staged is checked.
   *
   * @param timeout the longest wait
   * @return as {@link #staged()}
   */
  public CompletableFuture<Void> staged(Duration timeout) {
    return client.staged(this, timeout);
  }

  /**
   * Publishes what is staged, within the client's timeout.
   *
   * @return ends when all events have ended, as {@link DispatchdClient#publishBatch} does
   * @throws IllegalStateException if the transaction has been committed or rolled back
   */
  public CompletableFuture<List<Published>> commit() {
    return commit(client.timeout());
  }

  /**
   * Publishes what is staged.
   *
   * @param timeout after which events that have no answer fail with {@code Timeout}
   * @return as {@link #commit()}
   * @throws IllegalStateException if the transaction has been committed or rolled back
   */
  public CompletableFuture<List<Published>> commit(Duration timeout) {
    Objects.requireNonNull(timeout, "timeout");
    if (ended.getAndSet(true)) throw new IllegalStateException("the transaction is over");
    return client.commit(this, timeout);
  }

  /** Forgets what is staged. Does nothing if the transaction has been committed or rolled back. */
  public void rollback() {
    if (!ended.getAndSet(true)) client.rollback(this);
  }

  /** As {@link #rollback}. */
  @Override
  public void close() {
    rollback();
  }

  void refused(DispatchdException why) {
    if (refusal == null) refusal = why;
  }

  /** Why an event cannot be staged that another thread published while the transaction ended. */
  static DispatchdException over() {
    String message = "the transaction was committed or rolled back before the event was staged";
    return new DispatchdException("TransactionEnded", message, true, Outcome.NOT_STORED);
  }
}
