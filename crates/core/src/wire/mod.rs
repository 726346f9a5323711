//! Bytes ↔ words: the formats that the daemon reads and writes. Pure: no I/O, no clock, no tokio.

pub mod admin;
pub mod archive;
pub mod cbor;
pub mod cloudevents;
pub mod dead_letter;
pub mod decode;
pub mod forward;
pub mod gzip;
pub mod http;
pub mod kinesis_api;
pub mod multilang;
pub mod ndjson;
pub mod packed;
pub mod properties;
