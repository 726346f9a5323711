//! The protocol of the socket for events, version 1: bytes are read into requests, and answers are
//! printed as bytes.
//!
//! `docs/protocol.md` is the normative text. Nothing here does I/O, reads a clock or decides what
//! becomes of an event.

pub mod answer;
mod fields;
pub mod lines;
pub mod members;
pub mod request;
mod split;

/// The version that `hello` answers.
pub const VERSION: u32 = 1;
