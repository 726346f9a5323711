//! What the configuration says of HTTP: the section `http`, whose fields are named as its keys are.

use std::net::SocketAddr;

use serde::Deserialize;

use dispatchd_core::choice;

/// The key of the configuration that names the address on loopback.
pub(crate) const KEY: &str = "http.listen";

/// Where HTTP is served besides the socket, and what is made of CloudEvents.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// A loopback address. `None`: on the socket alone.
    pub listen: Option<SocketAddr>,
    /// At `listen`. On the socket those of HTTP count as the socket's.
    pub max_connections: usize,
    pub cloudevents: CloudEventsAs,
}

choice! {
    /// What a CloudEvent is published as.
    pub enum CloudEventsAs {
        /// A CloudEvent, in structured JSON.
        TheyAre = "cloudevents",
        /// The envelope of every other event: its type, data, id and key, and nothing else of it.
        Lk = "lk",
    }
}
