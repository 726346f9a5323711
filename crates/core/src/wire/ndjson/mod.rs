//! The ingest protocol, version 1, as bytes: lines in, requests; outcomes, lines out.
//!
//! Normative text: `docs/protocol.md`. Pure: no I/O, no clock, no tokio.

mod fields;
pub mod lines;
pub mod reply;
pub mod request;

/// The version that `hello` answers.
pub const VERSION: u32 = 1;
