//! Kinesis, in the words of `dispatchd_core::model`. The only crate that names an SDK of AWS's, and
//! no type of an SDK's leaves it.
//!
//! `client` holds what every call needs; the calls stand beside it, a file each: `put_records` (the
//! one on an event's path, over a transport of our own), `get_records`, `list_shards`,
//! `list_streams`, `manage_stream`, `check`, `describe`. `connection` has the settings and makes
//! the SDK's configuration of them, `credentials` keeps and renews credentials, `endpoint` finds
//! where requests go. `transport` lends the SDK the connections, which are those of the crate
//! `dispatchd_transport`. What an error means is decided in one table, `classify`.
//!
//! Nothing here retries a call, or decides what a failure leads to: the lanes and the readers do.

mod bounded_clock;
mod check;
mod classify;
mod client;
mod clock;
mod connection;
mod credentials;
mod describe;
mod endpoint;
mod error;
mod get_records;
pub mod iam_policy;
mod list_shards;
mod list_streams;
mod manage_stream;
pub mod put_records;
mod sdk_env;
mod settings;
mod transport;

pub use check::{DryRun, WireCheck};
pub use classify::CODES;
pub use client::{ConnectError, Kinesis};
pub use connection::Connection;
pub use credentials::{CredentialsCache, CredentialsExpiry, CredentialsInfo};
pub use dispatchd_transport::BadVariable;
pub use endpoint::{is_loopback_url, is_on_aws, is_plain_off_host, leads_to};
pub use list_shards::LIST_SHARDS;
pub use manage_stream::{Capacity, DESCRIBE_STREAM_SUMMARY, Summary, Until, WaitError};
pub use sdk_env::{SdkEnv, names_a_proxy, unfit_for_a_header};
pub use settings::{Settings, Wire};
