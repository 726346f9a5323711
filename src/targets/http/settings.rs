//! What a target of HTTP's is made of. [`Settings::check`] is all of what can be wrong with it
//! before anything is opened.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use dispatchd_consumer::format::Format;
use dispatchd_core::choice;
use dispatchd_core::wire::forward::lambda::Mapping;
use dispatchd_transport::{BadBundle, BadVariable, Origin};
use hyper::Uri;
use hyper::header::HeaderValue;

use super::token::{BadToken, TokenFrom};

choice! {
    /// Which numbers records are sent with in the format `record`.
    pub enum Sequence {
        /// Their own.
        Record = "record",
        /// Numbers that only grow, across shards and restarts: for consumers that drop what has a
        /// lower number than the last, as Rabble Rouser's stream client does.
        Monotonic = "monotonic",
    }
}

/// A target's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `http://` or `https://`, with the path that is posted to; or `unix:/SOCKET:/PATH`.
    pub url: String,
    pub format: Format,
    pub sequence: Sequence,
    /// The time up to which numbers that grow may have been sent in an earlier run; `None`: in
    /// none.
    pub numbered_until: Option<SystemTime>,
    /// What is sent as `Authorization`, verbatim.
    pub token: Option<TokenFrom>,
    /// The certificates of the only authorities that are believed; `None`: those that this host
    /// knows.
    pub ca_file: Option<PathBuf>,
    /// For a new connection: looking up the name, TCP, a proxy's tunnel and TLS together.
    pub connect_timeout: Duration,
    /// From a request's turn to the last byte of its answer.
    pub timeout: Duration,
    /// Requests to the target at once; the others wait for their turn.
    pub in_flight_max: usize,
    /// What the format `lambda` says of the stream in each record.
    pub mapping: Mapping,
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadSetting {
    #[error("url: {0}")]
    Url(&'static str),
    #[error("{0}")]
    Token(#[from] BadToken),
    #[error("ca_file: {0}")]
    Bundle(#[from] BadBundle),
    #[error("{0}")]
    Proxy(#[from] BadVariable),
    #[error("sequence: monotonic is for the format record, with one request at a time")]
    Sequence,
}

impl Settings {
    /// # Errors
    /// Names the setting that is wrong, or does not fit another one.
    pub fn check(&self) -> Result<(), BadSetting> {
        self.destination()?;
        let is_in_order = self.format == Format::Record && self.in_flight_max == 1;
        if self.sequence == Sequence::Monotonic && !is_in_order {
            return Err(BadSetting::Sequence);
        }
        Ok(())
    }

    /// The URL in the forms in which a request needs it.
    pub(super) fn destination(&self) -> Result<(Uri, Origin, HeaderValue), BadSetting> {
        let bad = BadSetting::Url;
        if let Some((socket, path)) = socket_and_path(&self.url) {
            let uri = format!("http://localhost{path}");
            let uri = uri.parse().map_err(|_| bad("what follows the socket is no path"))?;
            return Ok((uri, Origin::at_socket(socket), HeaderValue::from_static("localhost")));
        }
        let uri: Uri = self.url.parse().map_err(|_| bad("it is no URL"))?;
        let origin = Origin::of(&uri).ok_or(bad(
            "expected http:// or https:// with a host, e.g. http://127.0.0.1:3000/events, or \
             unix:/SOCKET:/PATH",
        ))?;
        let authority = uri.authority().expect("it has a host").as_str();
        if authority.contains('@') {
            return Err(bad("it holds a user or a password: name a token instead"));
        }
        let host = HeaderValue::from_str(authority).map_err(|_| bad("its host is no name"))?;
        Ok((uri, origin, host))
    }
}

/// The socket and the path of `unix:/SOCKET:/PATH`, where the path may be left out, as in
/// `unix:/run/app.sock`; `None` for any other text.
pub(crate) fn socket_and_path(url: &str) -> Option<(&Path, &str)> {
    let text = url.strip_prefix("unix:").filter(|text| text.starts_with('/'))?;
    let (socket, path) = text.find(":/").map_or((text, "/"), |at| (&text[..at], &text[at + 1..]));
    Some((Path::new(socket), path))
}
