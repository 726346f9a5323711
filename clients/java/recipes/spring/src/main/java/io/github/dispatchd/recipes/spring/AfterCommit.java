// What an application copies: it ties dispatchd's transaction to Spring's. Never publishes what the
// database has not committed.
package io.github.dispatchd.recipes.spring;

import io.github.dispatchd.client.DispatchdClient;
import io.github.dispatchd.client.DispatchdException;
import io.github.dispatchd.client.Event;
import io.github.dispatchd.client.Transaction;
import java.util.concurrent.CompletionException;
import java.util.function.Consumer;
import org.springframework.transaction.support.TransactionSynchronization;
import org.springframework.transaction.support.TransactionSynchronizationManager;

/** Publishes events once the database transaction that they were published in has committed. */
public final class AfterCommit {
  private final DispatchdClient client;
  private final Consumer<DispatchdException> onFailure;

  /**
   * Makes one, for all transactions.
   *
   * @param client the client, which must outlive them
   * @param onFailure is told of events that failed although the database has committed: a {@code
   *     BatchException} says which
   */
  public AfterCommit(DispatchdClient client, Consumer<DispatchdException> onFailure) {
    this.client = client;
    this.onFailure = onFailure;
  }

  /**
   * Stages an event in the transaction that the calling thread is in.
   *
   * @param event what will be true when the transaction has committed
   * @return the event's id, which may be stored with it
   * @throws IllegalStateException if the thread is in no transaction
   */
  public String publish(Event event) {
    Staged staged = (Staged) TransactionSynchronizationManager.getResource(this);
    if (staged == null) {
      if (!TransactionSynchronizationManager.isActualTransactionActive()) {
        throw new IllegalStateException("there is no transaction to publish after");
      }
      staged = new Staged(client.begin());
      TransactionSynchronizationManager.registerSynchronization(staged);
      TransactionSynchronizationManager.bindResource(this, staged);
    }
    return staged.events.publish(event);
  }

  private final class Staged implements TransactionSynchronization {
    private final Transaction events;

    private Staged(Transaction events) {
      this.events = events;
    }

    /** An event that the daemon refuses rolls the database back. */
    @Override
    public void beforeCommit(boolean readOnly) {
      try {
        events.staged().join();
      } catch (CompletionException e) {
        throw e.getCause() instanceof DispatchdException refusal ? refusal : e;
      }
    }

    /** Nobody waits for Kinesis: what fails, `onFailure` is told. */
    @Override
    public void afterCommit() {
      events
          .commit()
          .whenComplete(
              (published, error) -> {
                if (error instanceof DispatchdException failure) onFailure.accept(failure);
              });
    }

    /**
     * After anything but a commit the events are forgotten, even where the outcome is not known.
     */
    @Override
    public void afterCompletion(int status) {
      TransactionSynchronizationManager.unbindResourceIfPossible(AfterCommit.this);
      events.close();
    }

    /** A transaction within this one, as with REQUIRES_NEW, has events of its own. */
    @Override
    public void suspend() {
      TransactionSynchronizationManager.unbindResourceIfPossible(AfterCommit.this);
    }

    @Override
    public void resume() {
      TransactionSynchronizationManager.bindResource(AfterCommit.this, this);
    }
  }
}
