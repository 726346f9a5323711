//! The choices that the configuration leaves to its reader and that concern the calls to Kinesis.

use std::str::FromStr;
use std::time::Duration;

/// How requests are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// For a new connection, 100 ms to 60 s.
    pub connect_timeout: Duration,
    /// From the start of a request, connecting included, to the last byte of its reply, 100 ms to
    /// 5 min.
    pub attempt_timeout: Duration,
    pub wire: Wire,
}

/// The format that PutRecords requests are written in, and their replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// What Kinesis documents.
    Json,
    /// What AWS's SDK for Java speaks: a quarter fewer bytes, and no base64.
    Cbor,
}

/// The error of a text that names no wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected json or cbor")]
pub struct NotAWire;

impl FromStr for Wire {
    type Err = NotAWire;

    fn from_str(text: &str) -> Result<Self, NotAWire> {
        match text {
            "json" => Ok(Self::Json),
            "cbor" => Ok(Self::Cbor),
            _ => Err(NotAWire),
        }
    }
}
