//! What the configuration says of the Kinesis API: the section `kinesis_api`, whose fields are
//! named as its keys are.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

/// The key of the configuration that names the address.
pub(crate) const KEY: &str = "kinesis_api.listen";

/// Where the Kinesis API is served, and for how long a reply is held.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// A loopback address. `None`: nowhere.
    pub listen: Option<SocketAddr>,
    pub max_connections: usize,
    /// From the head of a call to its reply, at most.
    pub timeout: Duration,
}
