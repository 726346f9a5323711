//! Bytes ↔ words: the formats that the daemon reads and writes. Pure: no I/O, no clock, no tokio.

pub mod admin;
pub mod cbor;
pub mod cloudevents;
pub mod decode;
pub mod http;
pub mod kinesis_api;
pub mod ndjson;
pub mod packed;
