// What became of one event of many.
package io.github.dispatchd.client;

/**
 * What became of one event of a batch or a transaction.
 *
 * @param id the event's id
 * @param published the event, or {@code null} if it failed
 * @param error why it failed, or {@code null}
 */
public record Result(String id, Published published, DispatchdException error) {
  /**
   * Whether the event is durable.
   *
   * @return true if it is
   */
  public boolean ok() {
    return error == null;
  }
}
