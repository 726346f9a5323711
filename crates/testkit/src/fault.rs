//! A proxy that speaks the Kinesis API in front of an emulator and does to PutRecords what AWS does
//! on a bad day.
//!
//! - [`plan`]: what goes wrong: ratios from a seed, standing limits, one-shot faults. Pure.
//! - [`ledger`]: what was really stored, and what was done to each request.
//! - `proxy`: one request's way through, and everything with an effect.
//! - `shards`: which shard a record will land in and whether it has room. Pure.
//! - `wire`: PutRecords as bytes. Pure.
//!
//! Every operation passes through; faults are for PutRecords alone (but see [`Plan::denied`]). It
//! never invents a record that the upstream does not have, and never hides from the ledger one that
//! it has. A client that leaves does not call back what is on its way: like AWS, the proxy stores
//! what it has received, unless the plan says otherwise. Over TLS it offers HTTP/2 first, as AWS's
//! endpoints do, and serves it with the flow-control window that HTTP/2 begins with;
//! [`FaultServer::connections`] tells who took it. It reads AWS JSON only and refuses a PutRecords
//! in CBOR aloud: passed through, its faults would silently not happen.

pub mod ledger;
pub mod plan;
mod proxy;
mod shards;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::tls::{Certificate, HTTP2_FIRST};
use ledger::Ledger;
use plan::{Fault, Plan};
pub use proxy::Connection;
use proxy::Proxy;

/// What HTTP/2 gives a connection and each of its streams until a server says otherwise.
const HTTP2_WINDOW_BYTES: u32 = 65_535;

/// The handle. Dropped, it ends every task and connection of the proxy.
pub struct FaultServer {
    endpoint: String,
    proxy: Arc<Proxy>,
}

impl FaultServer {
    /// A proxy that lets everything pass until it is told otherwise. `upstream` is an emulator's
    /// endpoint.
    pub async fn start(upstream: &str, seed: u64) -> FaultServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port is free");
        FaultServer::on(listener, upstream, seed, None)
    }

    /// The same over TLS.
    pub async fn start_tls(upstream: &str, seed: u64, certificate: &Certificate) -> FaultServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port is free");
        FaultServer::on(listener, upstream, seed, Some(certificate))
    }

    /// The same, over TLS or not, where the caller listens already.
    pub fn on(
        listener: TcpListener,
        upstream: &str,
        seed: u64,
        certificate: Option<&Certificate>,
    ) -> FaultServer {
        let address = listener.local_addr().expect("a bound listener has an address");
        let scheme = if certificate.is_some() { "https" } else { "http" };
        let proxy = Arc::new(Proxy::new(upstream, seed));
        let tls = certificate.map(|certificate| certificate.acceptor(HTTP2_FIRST));
        proxy.tasks.spawn(accept(listener, tls, proxy.clone()));
        FaultServer { endpoint: format!("{scheme}://{address}"), proxy }
    }

    pub fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    /// Every connection so far, open or closed; over TLS those whose handshake is done.
    pub fn connections(&self) -> Vec<Connection> {
        self.proxy.connections().clone()
    }

    /// Panics if a client took HTTP/2, which was on offer.
    pub fn assert_http1(&self) {
        let connections = self.connections();
        let http2 = connections.iter().filter(|connection| connection.is_http2).count();
        assert_eq!(http2, 0, "of {} connections so many speak HTTP/2", connections.len());
    }

    /// From the next request on.
    pub fn set(&self, plan: Plan) {
        plan.check();
        self.proxy.steering().plan = plan;
    }

    pub fn plan(&self) -> Plan {
        self.proxy.steering().plan.clone()
    }

    /// What happens to the next PutRecords that no earlier call has spoken for.
    pub fn next(&self, fault: Fault) {
        self.proxy.steering().script.push_back(fault);
    }

    /// How many one-shot faults still wait for their request.
    pub fn scripted(&self) -> usize {
        self.proxy.steering().script.len()
    }

    /// Lets every request that hangs now go on: to the upstream, or back to its client.
    pub fn release(&self) {
        self.proxy.releases.send_replace(());
    }

    pub fn ledger(&self) -> Ledger {
        self.proxy.ledger.clone()
    }
}

impl Drop for FaultServer {
    fn drop(&mut self) {
        self.proxy.tasks.abort();
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, proxy: Arc<Proxy>) {
    loop {
        let (stream, peer) = listener.accept().await.expect("a loopback listener accepts");
        stream.set_nodelay(true).expect("a fresh connection takes options");
        proxy.tasks.spawn(welcome(stream, peer, tls.clone(), proxy.clone()));
    }
}

async fn welcome(stream: TcpStream, peer: SocketAddr, tls: Option<TlsAcceptor>, proxy: Arc<Proxy>) {
    let Some(tls) = tls else {
        return serve(TokioIo::new(stream), Connection { peer, is_http2: false }, proxy).await;
    };
    // A client that takes offence at the certificate goes away; its test will tell.
    let Ok(stream) = tls.accept(stream).await else { return };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    serve(TokioIo::new(stream), Connection { peer, is_http2 }, proxy).await;
}

async fn serve(
    io: impl Read + Write + Send + Unpin + 'static,
    connection: Connection,
    proxy: Arc<Proxy>,
) {
    proxy.connections().push(connection);
    let service = service_fn(move |request| proxy.clone().serve(request));
    // Ends in an error when the plan or the client breaks the connection; neither is news.
    let _ = match connection.is_http2 {
        false => http1::Builder::new().serve_connection(io, service).await,
        true => {
            let mut server = http2::Builder::new(TokioExecutor::new());
            server
                .initial_stream_window_size(HTTP2_WINDOW_BYTES)
                .initial_connection_window_size(HTTP2_WINDOW_BYTES);
            server.serve_connection(io, service).await
        }
    };
}
