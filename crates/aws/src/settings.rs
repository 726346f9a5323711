//! What the configuration says of the calls to Kinesis: the section `kinesis`. Ranges stand in the
//! configuration's table.

use std::time::Duration;

use dispatchd_core::choice;
use serde::Deserialize;

/// How requests are made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// How long one request may take, from its start to the last byte of the reply, connecting
    /// included.
    pub attempt_timeout: Duration,
    pub wire: Wire,
}

choice! {
    /// The format that PutRecords requests and their replies are written in.
    pub enum Wire {
        /// What Kinesis documents.
        Json = "json",
        /// What AWS's SDK for Java speaks: a quarter fewer bytes, and no base64.
        Cbor = "cbor",
    }
}
