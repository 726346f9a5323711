// What a caller learns of an event that is durable.
package io.github.dispatchd.client;

/**
 * An event that is durable, and where it stands.
 *
 * @param id the event's id
 * @param type the event's type
 * @param timestamp when the daemon accepted the event, such as {@code 2026-01-01T00:00:00.000Z}
 * @param source where the event comes from
 * @param shardId the shard; {@code null} from a client that is disabled
 * @param sequenceNumber the record's; {@code null} from a client that is disabled
 * @param subSequenceNumber the event's index in a record that several events share, from 0; else
 *     {@code null}
 * @param deduplicated whether the daemon had stored the event already when this line came
 */
public record Published(
    String id,
    String type,
    String timestamp,
    Source source,
    String shardId,
    String sequenceNumber,
    Long subSequenceNumber,
    boolean deduplicated) {
  /**
   * Where an event comes from.
   *
   * @param userId the user who caused it, or {@code null}
   * @param producerId the application, as the daemon knows it
   * @param kinesisPartitionKey the record's partition key
   */
  public record Source(String userId, String producerId, String kinesisPartitionKey) {}
}
