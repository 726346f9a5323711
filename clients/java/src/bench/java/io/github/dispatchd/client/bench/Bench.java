// What an event costs: events a second and CPU with a full buffer, and latency at 1,000 events a
// second. `clients/java/bench` runs it against a daemon that is there already. The other clients'
// benches publish the same events.
package io.github.dispatchd.client.bench;

import io.github.dispatchd.client.DispatchdClient;
import io.github.dispatchd.client.Event;
import io.github.dispatchd.client.Published;
import io.github.dispatchd.client.internal.Json;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Supplier;

final class Bench {
  private static final int KEYS = 10_000;
  private static final int UNACKED = 4_096;
  private static final int RATE = 1_000;
  private static final int RATE_SECONDS = 5;
  private static final Duration PATIENCE = Duration.ofMinutes(10);
  private static final double TICKS_A_SECOND = 100;

  private final Map<String, String> given;
  private final Supplier<Event> data;
  private final String[] keys = new String[KEYS];
  private final DispatchdClient client =
      DispatchdClient.builder().maxBufferedEvents(UNACKED).build();
  private long events;

  private Bench(Map<String, String> given) {
    this.given = given;
    data = data(given.getOrDefault("--data", "members"));
    for (int key = 0; key < KEYS; key++) keys[key] = "customer-" + key;
  }

  public static void main(String[] args) throws IOException {
    Map<String, String> given = new HashMap<>();
    for (int at = 0; at + 1 < args.length; at += 2) given.put(args[at], args[at + 1]);
    Bench bench = new Bench(given);
    // More than the other benches: the compiler's work is this process's.
    bench.flood(Integer.parseInt(given.getOrDefault("--warm-up", "500000")));
    bench.saturate(Integer.parseInt(given.getOrDefault("--events", "300000")));
    // As the other benches have it, this is a word without a value: the last one.
    if (args.length % 2 == 0) bench.latency();
    bench.client.close();
    if (bench.client.counters().acked() != bench.events)
      throw new IllegalStateException("" + bench.client.counters());
  }

  /** 200 B of data: many small members, one text, or the members as JSON that was made before. */
  private static Supplier<Event> data(String form) {
    Map<String, Object> members = new LinkedHashMap<>();
    members.put("order", 1234567);
    members.put("customer", "customer-9");
    members.put("total", 12.5);
    members.put("currency", "EUR");
    members.put("items", 3);
    members.put("paid", true);
    members.put("channel", "web");
    members.put("region", "eu-central-1");
    members.put("coupon", null);
    members.put("weight", 1200);
    members.put("carrier", "post");
    members.put("note", "at the door!");
    Map<String, Object> text = Map.of("text", "x".repeat(189));
    String json = new String(new Json.Out(256).value(members).toBytes(), StandardCharsets.UTF_8);
    return switch (form) {
      case "members" -> () -> Event.of("order.placed", members);
      case "text" -> () -> Event.of("order.placed", text);
      case "json" -> () -> Event.json("order.placed", json);
      default -> throw new IllegalArgumentException("there is no data of the form " + form);
    };
  }

  private Event next() {
    return data.get().partitionKey(keys[(int) (events++ % KEYS)]);
  }

  private void flood(int count) {
    for (int n = 0; n < count; n++) client.publish(next());
    if (client.flush(PATIENCE) > 0) throw new IllegalStateException("not flushed");
  }

  private void saturate(int count) throws IOException {
    double ownBefore = ownCpuSeconds();
    double daemonBefore = daemonCpuSeconds();
    long start = System.nanoTime();
    flood(count);
    double wall = (System.nanoTime() - start) / 1e9;
    double own = (ownCpuSeconds() - ownBefore) * 1e6 / count;
    double daemon = (daemonCpuSeconds() - daemonBefore) * 1e6 / count;
    System.out.printf(
        "saturated: %d events, %.0f events/s, client %.2f µs CPU/event", count, count / wall, own);
    if (given.containsKey("--daemon")) System.out.printf(", daemon %.2f µs CPU/event", daemon);
    System.out.println();
  }

  private void latency() {
    int count = RATE * RATE_SECONDS;
    long[] nanos = new long[count];
    AtomicInteger left = new AtomicInteger(count);
    long start = System.nanoTime();
    for (int n = 0; n < count; n++) {
      long due = start + n * 1_000_000_000L / RATE;
      for (long now; (now = System.nanoTime()) < due; ) LockSupport.parkNanos(due - now);
      int index = n;
      long sent = System.nanoTime();
      CompletableFuture<Published> call = client.publish(next());
      call.thenRun(
          () -> {
            nanos[index] = System.nanoTime() - sent;
            left.decrementAndGet();
          });
    }
    client.flush(PATIENCE);
    if (left.get() > 0) throw new IllegalStateException(left + " events failed");
    Arrays.sort(nanos);
    System.out.printf(
        "at %d events/s: p50 %.2f ms, p99 %.2f ms%n",
        RATE, nanos[count / 2] / 1e6, nanos[count * 99 / 100] / 1e6);
  }

  /** With what compiles and what collects garbage. */
  private static double ownCpuSeconds() {
    return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean())
            .getProcessCpuTime()
        / 1e9;
  }

  private double daemonCpuSeconds() throws IOException {
    if (!given.containsKey("--daemon")) return 0;
    String stat = Files.readString(Path.of("/proc/" + given.get("--daemon") + "/stat"));
    String[] fields = stat.substring(stat.lastIndexOf(')') + 2).split(" ");
    return (Long.parseLong(fields[11]) + Long.parseLong(fields[12])) / TICKS_A_SECOND;
  }
}
