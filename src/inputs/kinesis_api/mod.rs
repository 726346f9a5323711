//! The Kinesis API on loopback TCP, for applications that write with one of AWS's SDKs and are not
//! to be changed: HTTP/1.1 and HTTP/2 with prior knowledge on one port, JSON and CBOR.
//!
//! A reply is held until its records are durable, and then carries their real positions. It is held
//! for [`Settings::timeout`] at the most, since SDKs send a call again when its reply is late; what
//! was not sent by then is taken out of the buffer.
//!
//! `server` is what the listener runs, `connection` serves one connection, `calls` finds what a
//! call asks for, `put` takes its records through the intake, `questions` asks the service what
//! callers ask of the stream, `answer` makes responses. Signatures are not looked at: whoever
//! reaches the port may write, as with the socket.

mod answer;
mod calls;
mod connection;
mod metrics;
mod put;
mod questions;
mod server;
mod settings;
mod shared;

pub(crate) use metrics::CallMetrics;
pub(crate) use server::KinesisApiServer;
pub(crate) use settings::KEY;
pub(crate) use shared::KinesisApiShared;

pub(crate) use settings::Settings;
