//! Whom requests are for: connections, proxies and certificates go by it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use hyper::Uri;
use hyper::http::uri::{Authority, Scheme};

/// What stands for the host of a Unix socket, in `Host`.
const LOCALHOST: &str = "localhost";

/// A host and a port, with or without TLS; or a Unix socket, without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub(super) is_secure: bool,
    /// The host as it stands in the URL; an IPv6 address without its brackets.
    pub(super) host: Arc<str>,
    pub(super) port: u16,
    /// The path of the Unix socket, where that stands for the host and the port.
    pub(super) socket: Option<Arc<Path>>,
}

impl Origin {
    /// The origin of a URL; `None` if it names no host, or its scheme is not one of HTTP's.
    pub fn of(uri: &Uri) -> Option<Self> {
        let is_secure = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        (!host.is_empty()).then(|| Self { is_secure, host: host.into(), port, socket: None })
    }

    /// Whoever listens at this Unix socket. No proxy leads there.
    pub fn at_socket(path: &Path) -> Self {
        Self { is_secure: false, host: LOCALHOST.into(), port: 80, socket: Some(path.into()) }
    }

    /// The URL of its root.
    pub(super) fn uri(&self) -> Uri {
        let scheme = if self.is_secure { Scheme::HTTPS } else { Scheme::HTTP };
        let root =
            Uri::builder().scheme(scheme).authority(self.authority()).path_and_query("/").build();
        root.expect("a scheme, an authority and a path make a URL")
    }

    pub(super) fn authority(&self) -> Authority {
        self.to_string().parse().expect("it came out of a URL")
    }
}

/// Host and port, as an authority has them; or the socket.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, socket, .. } = self;
        if let Some(path) = socket {
            return write!(f, "unix:{}", path.display());
        }
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}
