// One event on its way, from the call to its answer. Only the courier's thread changes what is not
// final, once the buffer has taken the event on.
package io.github.dispatchd.client;

import io.github.dispatchd.client.DispatchdException.Outcome;
import io.github.dispatchd.client.Event.Option;
import java.util.List;
import java.util.concurrent.CompletableFuture;

final class Entry {
  enum State {
    /** Waits in the client: for the earlier event of its key, or for its transaction's end. */
    HELD,
    /** Its line is to be written. */
    READY,
    /** Its line is written, at least in part; its answer is awaited. */
    WRITTEN,
    /** It was refused, and is sent again at `retryAt`. */
    RETRY,
    /** The daemon holds it, and was asked to commit. */
    COMMITTING,
    DONE
  }

  final Event event;

  /** The transaction that it belongs to, or null. */
  final Transaction transaction;

  /** All of its line after the reference. Made once, so that each sending has the same bytes. */
  final byte[] body;

  final long deadlineGiven;
  final CompletableFuture<Published> future = new CompletableFuture<>();

  // Set by the buffer.
  long ref;
  int bytes;
  long takenAt;

  State state = State.HELD;

  /** Its place among the events that were given to the courier to be published. */
  long number = Long.MAX_VALUE;

  long deadline;

  /** It stands in the courier's queue of lines. */
  boolean queued;

  /** Its line is to be written for its transaction. */
  boolean toStage;

  /** Its line was written for its transaction, and is not answered. */
  boolean stageOpen;

  /** The daemon refused for good to stage it. */
  DispatchdException stageRefusal;

  /** An attempt ended without it being known whether it stored the event. */
  boolean unknown;

  int sendings;
  int refusals;
  long retryAt;
  String lastRefusal;
  Published published;
  DispatchdException error;

  Entry(Event event, Transaction transaction, long deadline) {
    this.event = event;
    this.transaction = transaction;
    this.body = event.body();
    this.deadlineGiven = deadline;
  }

  String id() {
    return event.option(Option.id);
  }

  /** The key within which events keep their order, or null. */
  String key() {
    String key = event.option(Option.partitionKey);
    return key == null || key.isEmpty() ? null : key;
  }

  /** What is known now, if no answer comes any more. */
  Outcome outcome() {
    boolean mayBeStored = unknown || state == State.WRITTEN || state == State.COMMITTING;
    return mayBeStored ? Outcome.UNKNOWN : Outcome.NOT_STORED;
  }

  /** Ends when all entries have ended. */
  static void gather(List<Entry> entries, CompletableFuture<List<Published>> into) {
    CompletableFuture<?>[] all =
        entries.stream().map(e -> e.future).toArray(CompletableFuture[]::new);
    CompletableFuture.allOf(all)
        .whenComplete(
            (done, failed) -> {
              if (failed == null) into.complete(entries.stream().map(e -> e.published).toList());
              else into.completeExceptionally(new BatchException(results(entries)));
            });
  }

  private static List<Result> results(List<Entry> entries) {
    return entries.stream().map(e -> new Result(e.id(), e.published, e.error)).toList();
  }
}
