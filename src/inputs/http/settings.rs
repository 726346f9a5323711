//! What the configuration says of HTTP: the section `http`, whose fields are named as its keys are.

use std::net::SocketAddr;

use serde::Deserialize;

/// Where HTTP is served besides the socket.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// A loopback address. `None`: on the socket alone.
    pub listen: Option<SocketAddr>,
}
