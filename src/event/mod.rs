//! The vocabulary of one event: its key, its sealed bytes, and our word on what became of it.
//!
//! Everything here is plain data. Nothing here waits, allocates behind the caller's back or knows
//! of a socket or a service.

pub mod cause;
pub mod class;
pub mod envelope;
pub mod fingerprint;
pub mod key;
pub mod outcome;
pub mod record;

pub use cause::Cause;
pub use class::{Class, Reason};
pub use fingerprint::{Fingerprint, Fingerprints};
pub use key::{HashKey, PartitionKey};
pub use outcome::{Code, Outcome, Place, Refusal};
pub use record::Record;
