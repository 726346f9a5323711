// What the client counts. Never reset.
package io.github.dispatchd.client;

import java.util.Map;

/**
 * What a client has done so far. At every moment {@code sent} is the sum of {@code acked}, all of
 * {@code refused}, {@code rolledBack} and {@code buffered}.
 *
 * @param sent events taken on
 * @param acked events that are durable
 * @param refused events that failed, by code
 * @param rolledBack events of transactions that were rolled back
 * @param buffered events taken on and not yet settled
 * @param bufferedBytes the bytes of their lines
 * @param resent lines that were written again
 * @param reconnects connections after the first
 */
public record Counters(
    long sent,
    long acked,
    Map<String, Long> refused,
    long rolledBack,
    long buffered,
    long bufferedBytes,
    long resent,
    long reconnects) {}
