//! What a record becomes on its way to a target, a format a file, and what a function says of it.
//!
//! | file | format |
//! |---|---|
//! | `kinesis` | the object `kinesis` of Lambda's events, alone: what Rabble Rouser's forwarder posts |
//! | `lambda` | `{"Records":[…]}`, as Lambda's event source mapping invokes with |
//! | `event` | the record's own JSON |
//! | `cloudevents` | CloudEvents in binary mode |
//! | `batch` | a JSON array of events, each with where it stood |
//! | `content` | the type and the data of an event, whatever is around them |
//!
//! `misfit` says why a record cannot go out in a format, `members` reads the few members of an
//! event that its way depends on, `trace` what of a trace may stand in a header, and
//! `function_answer` what a function answered.
//!
//! The bytes of an event are never rewritten. Nothing here knows of HTTP but that headers have
//! names and values, or decides what follows.

pub mod batch;
pub mod cloudevents;
pub mod content;
pub mod event;
pub mod function_answer;
pub mod kinesis;
pub mod lambda;
mod members;
mod misfit;
pub mod trace;

use std::fmt;
use std::time::SystemTime;

pub use misfit::Misfit;

/// A record that goes out: one that is in the stream, or one event of a packed record.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    pub shard: &'a str,
    pub sequence_number: &'a str,
    /// The event's index in its packed record.
    pub sub_sequence_number: Option<u64>,
    /// `None` where the stream distributes records itself.
    pub partition_key: Option<&'a str>,
    pub data: &'a [u8],
    /// When the service took it; `None` if it does not say.
    pub arrived: Option<SystemTime>,
}

impl<'a> Outgoing<'a> {
    /// The name of this record and no other: `shard:number`, and `:index` where it was packed.
    fn id(&self) -> Id<'a> {
        Id { shard: self.shard, number: self.sequence_number, index: self.sub_sequence_number }
    }
}

/// Lambda's `eventID`. Lambda hands packed records over whole, so it has no index; two events of
/// one record would have one name without it, and who drops what has come before would drop them.
#[derive(Debug, Clone, Copy)]
struct Id<'a> {
    shard: &'a str,
    number: &'a str,
    index: Option<u64>,
}

impl fmt::Display for Id<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.shard, self.number)?;
        self.index.map_or(Ok(()), |index| write!(f, ":{index}"))
    }
}

#[cfg(test)]
mod tests;
