// What the hook for traces finds.
package io.github.dispatchd.client;

/**
 * The trace that an event belongs to, in the forms of W3C's Trace Context.
 *
 * @param traceparent the trace and the span
 * @param tracestate what vendors add, or {@code null}
 */
public record TraceContext(String traceparent, String tracestate) {}
