//! What the configuration says of both servers: the section `admin`.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

/// Where both servers listen.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Where metrics and probes are served. `None`: they are not.
    pub listen: Option<SocketAddr>,
    /// Where an operator asks. `None`: nowhere.
    pub socket: Option<PathBuf>,
}
