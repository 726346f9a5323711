// The error of calls that publish many events. Always has a result for each of them.
package io.github.dispatchd.client;

import java.util.List;

/** At least one event of a batch or a transaction failed. Its code is that of the first. */
public final class BatchException extends DispatchdException {
  private static final long serialVersionUID = 1L;

  /** Not serialised. */
  private final transient List<Result> results;

  BatchException(List<Result> results) {
    this(results, results.stream().filter(result -> !result.ok()).map(Result::error).toList());
  }

  private BatchException(List<Result> results, List<DispatchdException> errors) {
    super(
        errors.get(0).code(),
        errors.size()
            + " of "
            + results.size()
            + " events failed; the first: "
            + errors.get(0).reason(),
        errors.stream().allMatch(DispatchdException::retryable),
        errors.stream().anyMatch(error -> error.outcome() == Outcome.UNKNOWN)
            ? Outcome.UNKNOWN
            : Outcome.NOT_STORED);
    this.results = results;
  }

  /**
   * What became of each event.
   *
   * @return a result for each, in the order of the events
   */
  public List<Result> results() {
    return results;
  }
}
