// What an application asks to have published. Never checks what the daemon checks: names, lengths
// and forms are its matter.
package io.github.dispatchd.client;

import io.github.dispatchd.client.internal.Json;
import java.util.Map;
import java.util.Objects;

/** An event to publish. Immutable: each method that sets something returns another event. */
public final class Event {
  /** By the names that they have on the wire. */
  enum Option {
    id,
    partitionKey,
    explicitHashKey,
    sourceUserId,
    envelope,
    traceparent,
    tracestate;

    static final Option[] ALL = values();
  }

  private final String type;
  private final byte[] data;
  private final String[] options;

  private Event(String type, byte[] data, String[] options) {
    this.type = Objects.requireNonNull(type, "type");
    this.data = data;
    this.options = options;
  }

  /**
   * An event whose data is JSON text, as Jackson or Gson write it.
   *
   * @param type what happened, such as {@code order.placed}
   * @param json a JSON object; its bytes are published unchanged, but for line breaks between its
   *     tokens, which become spaces
   * @return the event
   * @throws IllegalArgumentException if the text is not JSON
   */
  public static Event json(String type, String json) {
    return new Event(type, Json.line(json), new String[Option.ALL.length]);
  }

  /**
   * An event whose data is a map.
   *
   * @param type what happened, such as {@code order.placed}
   * @param data the data's members: maps with strings as keys, lists, strings, numbers, booleans
   *     and {@code null}
   * @return the event
   * @throws IllegalArgumentException if JSON has no such value
   */
  public static Event of(String type, Map<String, ?> data) {
    byte[] json = new Json.Out(256).value(data).toBytes();
    return new Event(type, json, new String[Option.ALL.length]);
  }

  /**
   * Sets the key that decides which shard the event goes to, and within which events keep their
   * order.
   *
   * @param key 1 to 256 code points; without it the event has a key of its own
   * @return another event
   */
  public Event partitionKey(String key) {
    return with(Option.partitionKey, key);
  }

  /**
   * Sets the hash that decides which shard the event goes to, in place of the key's.
   *
   * @param hash a decimal number from 0 to 2^128 - 1
   * @return another event
   */
  public Event explicitHashKey(String hash) {
    return with(Option.explicitHashKey, hash);
  }

  /**
   * Sets the user who caused the event.
   *
   * @param userId becomes {@code source.userId} of what is published
   * @return another event
   */
  public Event sourceUserId(String userId) {
    return with(Option.sourceUserId, userId);
  }

  /**
   * Sets the event's id, which otherwise the client makes.
   *
   * @param uuid a hyphenated UUID, one for each event
   * @return another event
   */
  public Event id(String uuid) {
    return with(Option.id, uuid);
  }

  /**
   * Sets the form in which the event is published.
   *
   * @param form {@code lk}, {@code type-data}, {@code eventbridge} or {@code cloudevents}
   * @return another event
   */
  public Event envelope(String form) {
    return with(Option.envelope, form);
  }

  /**
   * Sets the trace that the event belongs to, in W3C's form.
   *
   * @param traceparent is published as it comes
   * @return another event
   */
  public Event traceparent(String traceparent) {
    return with(Option.traceparent, traceparent);
  }

  /**
   * Sets what belongs to the trace, in W3C's form.
   *
   * @param tracestate is published as it comes
   * @return another event
   */
  public Event tracestate(String tracestate) {
    return with(Option.tracestate, tracestate);
  }

  /**
   * What happened.
   *
   * @return the type
   */
  public String type() {
    return type;
  }

  Event with(Option option, String value) {
    String[] changed = options.clone();
    changed[option.ordinal()] = value;
    return new Event(type, data, changed);
  }

  String option(Option option) {
    return options[option.ordinal()];
  }

  /**
   * The event's line without its first member, the reference: it is written before each sending.
   */
  byte[] body() {
    Json.Out line = new Json.Out(data.length + 192);
    line.raw(",\"type\":").string(type).raw(",\"data\":").raw(data).raw(",\"options\":");
    String before = "{\"";
    for (Option option : Option.ALL) {
      String value = options[option.ordinal()];
      if (value == null) continue;
      line.raw(before).raw(option.name()).raw("\":").string(value);
      before = ",\"";
    }
    return line.raw("}}\n").toBytes();
  }
}
