// What the hook is told of each event that ends.
package io.github.dispatchd.client;

import java.time.Duration;

/**
 * How an event ended.
 *
 * @param type the event's type
 * @param ok whether the event is durable
 * @param code why not; {@code null} if it is durable, or was rolled back
 * @param duration since the client took the event on
 * @param resent how many times its line was written again
 */
public record Settled(String type, boolean ok, String code, Duration duration, int resent) {}
