// The events of an application, each with a sample.
package io.github.dispatchd.recipes.samples;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What the application publishes. */
public final class Events {
  private Events() {}

  /** What {@code order.placed} says. */
  public static Map<String, ?> orderPlaced(String orderId, double total, List<?> lines) {
    // In the order in which they are put: Map.of has another at each run.
    Map<String, Object> data = new LinkedHashMap<>();
    data.put("orderId", orderId);
    data.put("total", total);
    data.put("lines", lines);
    return data;
  }

  /** What {@code order.cancelled} says. The reason is null where nobody gave one. */
  public static Map<String, ?> orderCancelled(String orderId, String reason) {
    Map<String, Object> data = new LinkedHashMap<>();
    data.put("orderId", orderId);
    data.put("reason", reason);
    return data;
  }

  /**
   * Samples of all events, by type. What may be null has two samples, one with a value: the schema
   * has both.
   */
  public static Map<String, List<Map<String, ?>>> samples() {
    List<?> lines = List.of(Map.of("sku", "s-7"));
    return Map.of(
        "order.placed", List.of(orderPlaced("o-1", 12.5, lines)),
        "order.cancelled", List.of(orderCancelled("o-1", "sold out"), orderCancelled("o-2", null)));
  }
}
