//! Lanes: the owners of keys, from acceptance to verdict.
//!
//! Invariants:
//! - A key lives in one lane for ever, chosen by the top bits of MD5(partition key). Resharding
//!   never moves a key between lanes.
//! - A key is ready, in flight or cooling; only ready keys are sent, so nothing overtakes a retry.
//! - `strict` order: one record per key in a request, one request per key in flight. `relaxed`:
//!   many records of a key in a request, still one request per key in flight.
//! - Events of one aggregate are stored or not together, in their order: so it may hold many of a
//!   key, strictly too.
//! - An item leaves by a verdict, by `delivery.timeout` or by the drain's deadline. It is never
//!   dropped, and never sent once it is overdue.
//!
//! `buffer` holds, `fill` chooses, `queue` is a key's events, `line` a shard's ready keys, `pace`
//! says how fast a throttled shard is sent to, `batch` is what goes into one request and what
//! shares a record there, `settle` turns verdicts into outcomes and retries, `doubt` says whether a
//! refusal is the stream's, `dedupe` knows the ids that callers chose and `remembered` keeps them,
//! `report` is what an operator who asks is told, `slack` says when memory is given back; all are
//! pure. The shell with the clock and the service is the daemon's.

mod ages;
mod apply_verdicts;
mod batch;
mod batch_builder;
mod bisect_batch;
pub mod buffer;
pub mod cooling;
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

pub use apply_verdicts::{Answered, Settled};
pub use batch::Batch;
pub use flight::Reply;
pub use idle_trim::IdleTrim;
pub use inbox::{INBOX_GROUPS, Inlet, Lanes};
pub use item::{BoxedItem, Group, Item};
pub use settings::{Aggregation, KeyOrder, Settings};
