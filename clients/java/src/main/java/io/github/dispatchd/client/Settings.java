// What a client was built with.
package io.github.dispatchd.client;

import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.function.Consumer;
import java.util.function.Supplier;

record Settings(
    Path socket,
    Map<String, String> context,
    Duration timeout,
    int maxBufferedEvents,
    long maxBufferedBytes,
    boolean strictOrder,
    boolean disabled,
    Supplier<TraceContext> trace,
    Consumer<Settled> onSettled) {}
