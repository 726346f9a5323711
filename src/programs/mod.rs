//! Whole programs: each is built from the configuration, owns its tasks and ends them in order.
//!
//! Nothing here reads arguments or prints for a person: that is `cli`. Nothing here decides about
//! an event: that is `lane`.

pub(crate) mod check;
#[cfg(feature = "local")]
pub(crate) mod conformance;
mod control;
pub(crate) mod daemon;
pub(crate) mod exec;
pub(crate) mod forward;
pub(crate) mod manager;
mod metrics;
pub(crate) mod private_directory;
pub(crate) mod replay;
pub(crate) mod schema;
pub(crate) mod signals;
pub mod tail;
