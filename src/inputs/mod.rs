//! The inputs: each moves a caller's bytes to the intake and the answers back, and decides
//! nothing.
//!
//! What more than one input needs stands here: `exchange` is one request's way through the intake
//! where an input has requests, `body` how such a request is read, `loopback` a listener on
//! loopback TCP, `accepting` what every listener does when it cannot accept; `callers`, `presence`,
//! `backpressure` and `clock` are what is known of callers and of the time; `long_lines` is room
//! for what is long. `shared` is what the daemon gives all of them.

mod accepting;
pub(crate) mod backpressure;
mod body;
pub mod callers;
mod clock;
mod exchange;
pub mod http;
pub(crate) mod kinesis_api;
pub mod long_lines;
pub(crate) mod loopback;
pub mod metrics;
pub mod presence;
pub mod shared;
pub mod socket;
