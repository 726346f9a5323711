//! The stream service in our words. No SDK type leaves this folder.
//!
//! One verdict per entry: no type here can say that a request succeeded when a record in it did
//! not. What an error means is decided in one table, `fault`; where a record goes, in `shards`.

pub mod aws;
mod bounded_clock;
mod cause;
mod clock;
pub mod credentials;
pub mod fault;
pub mod identity;
pub mod list;
pub mod metrics;
pub mod policy;
pub mod probe;
mod put;
pub mod refresher;
mod sign;
pub mod stream;
pub mod transport;
pub mod wire;
