//! Makes new connections: looks up the name each time, tries its addresses in turn, and adds a
//! proxy's tunnel and TLS.
//!
//! It remembers nothing but which of a name's addresses comes first next time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::header::{HOST, PROXY_AUTHORIZATION};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustix::net::sockopt;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::task::AbortOnDropHandle;

use super::origin::Origin;
use super::pool::Connection;
use super::proxy::{Proxies, Proxy};
use super::trust::Roots;

/// How long the kernel waits for a peer to acknowledge what was sent before it closes the
/// connection (TCP_USER_TIMEOUT). A living peer acknowledges within a round trip, whatever it is
/// doing.
const USER_TIMEOUT: Duration = Duration::from_secs(3);

/// When the kernel first asks the peer of an idle connection whether it is alive, and how often
/// after that.
const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(15);
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(5);

/// How long one address is waited for before the next one is tried beside it (RFC 8305, "Happy
/// Eyeballs", recommends 250 ms).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// The most addresses of a name that are tried. AWS's endpoints have up to eight.
const ADDRESSES_MAX: usize = 16;

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
pub enum NotConnected {
    #[error("looking up {host}")]
    Lookup { host: Arc<str>, source: io::Error },
    #[error("connecting to {to}")]
    Connect { to: String, source: io::Error },
    #[error("TLS with {to}")]
    Tls { to: String, source: io::Error },
    #[error("the proxy {proxy} makes no tunnel to {to}: {what}")]
    Tunnel { proxy: String, to: String, what: String },
    #[error("HTTP with {to}")]
    Http { to: String, source: hyper::Error },
    #[error("connecting to {to} took longer than {within:?}")]
    TimedOut { to: String, within: Duration },
}

#[derive(Debug)]
pub(super) struct Connector {
    proxies: Proxies,
    tls: Arc<ClientConfig>,
    /// Counts connections: which of a name's addresses is tried first.
    turn: AtomicUsize,
}

impl Connector {
    pub(super) fn new(proxies: Proxies, roots: Roots) -> Self {
        Self { proxies, tls: roots.tls(), turn: AtomicUsize::new(0) }
    }

    pub(super) fn proxy_of(&self, origin: &Origin) -> Option<Proxy> {
        self.proxies.proxy_of(origin)
    }

    pub(super) async fn connect(
        &self,
        origin: &Origin,
        proxy: Option<&Proxy>,
        within: Duration,
    ) -> Result<Connection, NotConnected> {
        let deadline = Instant::now() + within;
        let connected = timeout_at(deadline, self.connect_by(origin, proxy, deadline)).await;
        connected.unwrap_or_else(|_| Err(NotConnected::TimedOut { to: origin.to_string(), within }))
    }

    async fn connect_by(
        &self,
        origin: &Origin,
        proxy: Option<&Proxy>,
        deadline: Instant,
    ) -> Result<Connection, NotConnected> {
        if let Some(path) = &origin.socket {
            let failed = |source| NotConnected::Connect { to: origin.to_string(), source };
            return http(origin, UnixStream::connect(path).await.map_err(failed)?).await;
        }
        let next = proxy.map_or(origin, |proxy| &proxy.at);
        let stream = self.tcp(next, deadline).await?;
        match proxy {
            None if origin.is_secure => http(origin, self.tls(origin, stream).await?).await,
            None => http(origin, stream).await,
            Some(proxy) if proxy.at.is_secure => {
                let stream = self.tls(&proxy.at, stream).await?;
                self.through(proxy, origin, stream).await
            }
            Some(proxy) => self.through(proxy, origin, stream).await,
        }
    }

    /// Goes on through a connection to a proxy: it forwards plain HTTP itself, and makes tunnels
    /// for TLS.
    async fn through<S>(
        &self,
        proxy: &Proxy,
        origin: &Origin,
        stream: S,
    ) -> Result<Connection, NotConnected>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        if origin.is_secure {
            let tunnel = tunnel(proxy, origin, stream).await?;
            http(origin, self.tls(origin, TokioIo::new(tunnel)).await?).await
        } else {
            http(origin, stream).await
        }
    }

    async fn tcp(&self, to: &Origin, deadline: Instant) -> Result<TcpStream, NotConnected> {
        // With a timeout of its own, a little ahead of the caller's, so that a silent name server
        // is told from a silent host.
        let found = timeout_at(deadline, lookup_host((&*to.host, to.port))).await;
        let found = found
            .unwrap_or_else(|late| Err(late.into()))
            .map_err(|source| NotConnected::Lookup { host: Arc::clone(&to.host), source })?;
        let addresses = in_turn(found.collect(), self.turn.fetch_add(1, Ordering::Relaxed));
        let stream =
            first_of(&addresses).await.and_then(|stream| set_options(&stream).map(|()| stream));
        stream.map_err(|source| NotConnected::Connect { to: to.to_string(), source })
    }

    async fn tls<S>(&self, to: &Origin, stream: S) -> Result<TlsStream<S>, NotConnected>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let failed = |source| NotConnected::Tls { to: to.to_string(), source };
        let name = ServerName::try_from(to.host.to_string());
        let name =
            name.map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await.map_err(failed)
    }
}

pub(super) async fn http<S>(to: &Origin, stream: S) -> Result<Connection, NotConnected>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let made = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) =
        made.map_err(|source| NotConnected::Http { to: to.to_string(), source })?;
    let driver = tokio::spawn(async move {
        let _ = connection.await; // a caller that waits for a reply learns of its end
    });
    Ok(Connection::new(sender, AbortOnDropHandle::new(driver)))
}

/// Asks a proxy for a tunnel to a host (RFC 9110, CONNECT).
async fn tunnel<S>(proxy: &Proxy, to: &Origin, stream: S) -> Result<Upgraded, NotConnected>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let refused = |what: String| NotConnected::Tunnel {
        proxy: proxy.at.to_string(),
        to: to.to_string(),
        what,
    };
    let made = http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await;
    let (mut sender, connection) = made.map_err(|error| refused(error.to_string()))?;
    // The driver hands its stream over with the answer and ends.
    let driver = AbortOnDropHandle::new(tokio::spawn(connection.with_upgrades()));
    let authority = to.authority();
    let mut request = Request::builder().method(Method::CONNECT).header(HOST, authority.as_str());
    if let Some(authorization) = &proxy.authorization {
        request = request.header(PROXY_AUTHORIZATION, authorization);
    }
    let request = request
        .uri(hyper::Uri::from(authority))
        .body(Empty::new())
        .expect("it is made of a host and a port");
    let reply = sender.send_request(request).await.map_err(|error| refused(error.to_string()))?;
    if !reply.status().is_success() {
        return Err(refused(format!("it answers {}", reply.status())));
    }
    let tunnel = hyper::upgrade::on(reply).await.map_err(|error| refused(error.to_string()))?;
    drop(driver);
    Ok(tunnel)
}

/// The addresses in the order to try them. Each address comes first in its turn, but the family
/// that the host prefers always goes first, and the two families alternate after that.
fn in_turn(addresses: Vec<SocketAddr>, turn: usize) -> Vec<SocketAddr> {
    let prefers_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut first, mut second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == prefers_v6);
    for family in [&mut first, &mut second] {
        if !family.is_empty() {
            let by = turn % family.len();
            family.rotate_left(by);
        }
    }
    let longest = first.len().max(second.len());
    let pairs = (0..longest).flat_map(|index| [first.get(index), second.get(index)]);
    pairs.flatten().copied().take(ADDRESSES_MAX).collect()
}

/// A connection to the first address that accepts it. The next address is tried when one fails, or
/// has not answered for a while.
async fn first_of(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut attempts = JoinSet::new();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut rest = addresses.iter();
    loop {
        match rest.next() {
            Some(&address) => drop(attempts.spawn(TcpStream::connect(address))),
            None if attempts.is_empty() => return Err(failure),
            None => {}
        }
        tokio::select! {
            Some(ended) = attempts.join_next() => match ended.map_err(io::Error::other).flatten() {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            },
            () = tokio::time::sleep(NEXT_ADDRESS_AFTER), if rest.len() > 0 => {}
        }
    }
}

fn set_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_tcp_user_timeout(stream, USER_TIMEOUT.as_millis() as u32)?; // some seconds fit
    sockopt::set_tcp_keepidle(stream, KEEP_ALIVE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, KEEP_ALIVE_EVERY)?;
    sockopt::set_socket_keepalive(stream, true)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_turn_and_the_preferred_family_goes_first() {
        let parse = |texts: &[&str]| {
            texts.iter().map(|text| text.parse().expect("an address")).collect::<Vec<_>>()
        };
        let all = parse(&["[::1]:1", "[::2]:1", "1.1.1.1:1", "2.2.2.2:1", "3.3.3.3:1"]);
        assert_eq!(
            in_turn(all.clone(), 0),
            parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "3.3.3.3:1"])
        );
        assert_eq!(
            in_turn(all, 4),
            parse(&["[::1]:1", "2.2.2.2:1", "[::2]:1", "3.3.3.3:1", "1.1.1.1:1"])
        );
        assert!(in_turn(Vec::new(), 7).is_empty());
    }

    #[tokio::test]
    async fn an_address_where_nobody_listens_costs_a_try_and_a_name_without_any_says_so() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let alive = listener.local_addr().expect("it is bound");
        // A port that is kept, where nobody listens.
        let closed = tokio::net::TcpSocket::new_v4().expect("the system gives a socket");
        closed.bind(([127, 0, 0, 1], 0).into()).expect("a port is free");
        let dead = closed.local_addr().expect("it is bound");
        let stream = first_of(&[dead, alive]).await.expect("the second listens");
        assert_eq!(stream.peer_addr().expect("it is connected"), alive);
        assert_eq!(
            first_of(&[dead]).await.expect_err("nobody listens").kind(),
            io::ErrorKind::ConnectionRefused
        );
        assert!(first_of(&[]).await.is_err());
    }
}
