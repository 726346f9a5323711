//! Where an event is in the stream. Plain data, as Kinesis said it.

use std::sync::Arc;

/// The place that Kinesis gave to an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    pub shard_id: Arc<str>,
    /// The sequence number of the record that holds the event.
    pub sequence_number: Arc<str>,
    /// The event's index in that record; `None` where the record holds this event alone.
    pub sub_sequence_number: Option<usize>,
}
