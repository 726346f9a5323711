//! The stream service in our words. No SDK type leaves this folder.
//!
//! One verdict per entry: no type here can say that a request succeeded when a record in it did
//! not. What an error means is decided in one table, `classify`; where a record goes, in `shards`.

mod bounded_clock;
pub mod classify;
pub mod client;
mod clock;
pub mod connection;
pub mod credentials;
pub mod endpoint;
pub mod error;
pub mod get_records;
pub mod iam_policy;
pub mod list_shards;
pub mod manage_stream;
pub mod probe;
pub mod put_records;
pub mod read;
pub mod refresher;
pub mod transport;
