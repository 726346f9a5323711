//! Lanes: the owners of keys, from the moment an event is accepted to its outcome.
//!
//! Everything here is pure: time and chance are arguments, work and news are returned values. The
//! task around a lane, with the clock, the service and the log, is the daemon's.
//!
//! # Invariants
//! - A key lives in one lane for ever, chosen by the top bits of MD5(partition key). Resharding
//!   never moves a key between lanes.
//! - A key is ready, in flight or cooling. Only ready keys are sent, so nothing overtakes a retry,
//!   and no key waits for another.
//! - Under `strict` order a PutRecords request holds one record of a key, and one request per key
//!   is in flight. Under `relaxed` order it may hold many records of a key; still one request per
//!   key is in flight.
//! - The events of one packed record are stored together or not at all, in their order: so it may
//!   hold many events of a key, under strict order too.
//! - An item leaves by a verdict, by `delivery.timeout`, by its own deadline or by the drain's. It
//!   is never dropped, and never sent once it is overdue.
//! - A shard that cools holds back its own keys and no other's.
//!
//! # Rooms
//! A file imports only from files that stand below it in this list.
//!
//! | room | what it is about |
//! |---|---|
//! | `turn` | [`Lane`]: what a lane does between two waits; answers, counts, news |
//! | `unconfirmed` | what an event is told that was not confirmed in time |
//! | `buffer` | one lane's memory: asks its parts in order; `poll(now)` says send or wait |
//! | [`report`] | how a lane stands, for an operator who asks |
//! | `apply_verdicts` | batch + reply → outcomes, and retries for the rest |
//! | `bisect_batch` | a refused request taken apart: its parts, and keys that were cut |
//! | `batch_builder` | which events come next into a request, and how many of one key |
//! | `packing` | whether an event fits by number and bytes, and whether it shares a packed record |
//! | `stream_health` | whether the stream takes anything, and when a blocked one is probed |
//! | `doubt` | whether a refusal is about the stream or about a record |
//! | `queues` | the keys of a lane and their states; when a request is due; what is overdue |
//! | `shard_queue` | a shard's ready keys, and all shard queues by the shard map |
//! | `cooling` | until when a key or a shard cools, and the least that a paced shard does |
//! | `pacing` | how fast a shard that was throttled is sent to |
//! | `throttle_counts` | how much a shard took and refused of late |
//! | `deadlines` | when events are given up whose callers wait no longer |
//! | `key_queue` | one key's items, what the key may do now, and what a request could take of it |
//! | `ages` | when the oldest event was accepted |
//! | `flight` | batches that are being sent, and what a reply says of its request as a whole |
//! | `batch` | what goes into one PutRecords request |
//! | [`dedupe`], `remembered` | what became of ids that callers chose |
//! | [`outage`] | how the stream fares, and what of that the log tells |
//! | `idle_trim` | when the memory of a burst is given back |
//! | [`metrics`] | the handles of what the lanes count |
//! | `inbox` | which lane owns a key; the groups that readers hand over |
//! | `item`, `settings` | one event on its way; how a lane decides |
//!
//! # Procedures
//! - **Send** (`queues::due`) when a request is full, when the oldest ready event has waited
//!   `linger`, or at once while the daemon drains; never more than `max_in_flight` requests at a
//!   time. While they are out the next one fills by itself.
//! - **Throttled**: the shard cools and is paced afterwards; without a shard map the key cools.
//!   Any other failure that passes: the key cools. The waits are drawn by `core::model::backoff`
//!   within the settings' bounds; `cooling` shortens those of a paced shard, `settings` those of a
//!   drain, and `stream_health` has its own between two probes.
//! - **Blocked**: nothing is refused. One record at a time probes the stream until it takes one.
//! - **Refused as a whole**: the request is taken apart until the record at fault is alone, unless
//!   two records that have nothing in common are refused alone in the same words; then it is the
//!   stream.
//! - **Overdue**, by `delivery.timeout` or by its own deadline: what is not in flight is answered
//!   `DeliveryTimeout`; what is in flight, when it lands.
//! - **Drain**: nothing lingers, what cools wakes, waits are short. At the deadline everything is
//!   answered `ShuttingDown`.

mod ages;
mod apply_verdicts;
mod batch;
mod batch_builder;
mod bisect_batch;
mod buffer;
pub mod cooling;
mod deadlines;
pub mod dedupe;
mod doubt;
mod flight;
mod idle_trim;
mod inbox;
mod item;
mod key_queue;
pub mod metrics;
pub mod outage;
mod pacing;
mod packing;
mod queues;
mod remembered;
pub mod report;
mod settings;
mod shard_queue;
mod stream_health;
#[cfg(test)]
mod test_support;
mod throttle_counts;
mod turn;
mod unconfirmed;

pub use batch::Batch;
pub use flight::{Landed, Reply};
pub use inbox::{INBOX_GROUPS, Inlet, Lanes};
pub use item::{BoxedItem, Group, Item};
pub use settings::{Aggregation, KeyOrder, Settings};
pub use turn::{FailedRequest, KeptError, Lane, LaneShared, News, Wait};
