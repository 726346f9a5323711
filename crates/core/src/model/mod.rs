//! The vocabulary: an event's key, its sealed bytes, and our word on what became of it; the stream
//! service as the lanes see it.
//!
//! Everything here is plain data. Nothing here waits, allocates behind the caller's back or knows
//! of a socket or a service.

/// An enum without data, with all of its values and their names: made of one list, so that none can
/// be left out.
macro_rules! closed_set {
    (
        $(#[$of_set:meta])*
        pub enum $set:ident { $($(#[$of_value:meta])* $value:ident = $name:literal),+ $(,)? }
    ) => {
        $(#[$of_set])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $set { $($(#[$of_value])* $value),+ }

        impl $set {
            /// Every value, in order: a value is its place here.
            pub const ALL: [$set; [$($set::$value),+].len()] = [$($set::$value),+];

            /// The name of the value on the wire and in metrics.
            pub fn as_str(self) -> &'static str {
                match self { $($set::$value => $name),+ }
            }
        }
    };
}

pub mod backoff;
pub mod call_error;
pub mod cause;
pub mod class;
pub mod code;
pub mod context;
pub mod derived_id;
pub mod envelope;
pub mod event;
pub mod fingerprint;
pub mod input;
pub mod key;
pub mod outcome;
pub mod position;
pub mod profile;
pub mod raw_record;
pub mod read;
pub mod reason;
pub mod record;
pub mod reference;
pub mod shard_map;
pub mod stream;
pub mod stream_id;

pub use backoff::Backoff;
pub use call_error::CallError;
pub use cause::Cause;
pub use class::Class;
pub use code::Code;
pub use context::Context;
pub use derived_id::derived_id;
pub use event::{Event, Extras};
pub use fingerprint::{Fingerprint, Fingerprints};
pub use input::Input;
pub use key::{HashKey, PartitionKey};
pub use outcome::{Durable, EventAnswer, Outcome, Refusal, Shows};
pub use position::Position;
pub use profile::Profile;
pub use raw_record::{Base64, RawData, RawRecord};
pub use reason::Reason;
pub use record::Record;
pub use reference::Reference;
pub use shard_map::{Shard, ShardMap};
pub use stream::{Distribution, Entries, PutError, PutRecords, StreamFacts, Verdict};
pub use stream_id::{NotAStreamArn, StreamArn, StreamId};
