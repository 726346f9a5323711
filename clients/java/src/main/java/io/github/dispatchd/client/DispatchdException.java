// The one error that the client's calls end with.
package io.github.dispatchd.client;

/** Why an event is not known to be durable. */
public class DispatchdException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  /** What is known of an event that was not acknowledged. */
  public enum Outcome {
    /** No attempt can have stored the event. */
    NOT_STORED,
    /** An attempt may have stored the event. Send it again with the same id. */
    UNKNOWN
  }

  /** The call's timeout ended. */
  public static final String TIMEOUT = "Timeout";

  /** The client was closed before the event had its answer. */
  public static final String CLOSED = "Closed";

  /** {@code tryPublish} found the client's buffer full. */
  public static final String BUFFER_FULL = "BufferFull";

  /** The event is too large for the stream, or for the client's buffer. */
  public static final String EVENT_TOO_LARGE = "EventTooLarge";

  /** The code. */
  private final String code;

  /** Whether the same may succeed later. */
  private final boolean retryable;

  /** What is known. */
  private final Outcome outcome;

  /**
   * Makes one.
   *
   * @param code one of the daemon's codes, or of this class's
   * @param message what went wrong, for people
   * @param retryable whether the same event may be published later
   * @param outcome what is known of the event
   */
  public DispatchdException(String code, String message, boolean retryable, Outcome outcome) {
    super(message);
    this.code = code;
    this.retryable = retryable;
    this.outcome = outcome;
  }

  /**
   * The code: one of the daemon's, or of this class's.
   *
   * @return the code
   */
  public String code() {
    return code;
  }

  /**
   * Whether the same event may be published later, with the same id.
   *
   * @return false if it was refused for good
   */
  public boolean retryable() {
    return retryable;
  }

  /**
   * What is known of the event.
   *
   * @return whether it may be stored
   */
  public Outcome outcome() {
    return outcome;
  }

  /** The same refusal of an event that an earlier attempt may have stored. */
  DispatchdException inDoubt() {
    return new DispatchdException(code, getMessage(), retryable, Outcome.UNKNOWN);
  }

  /** The code and the message, on one line. */
  String reason() {
    return code + ": " + getMessage();
  }

  @Override
  public String toString() {
    return getClass().getName() + ": " + reason();
  }
}
