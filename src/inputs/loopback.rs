//! A listener on loopback TCP, for an input whose callers cannot open a Unix socket. It lets
//! connections in, up to a cap, and owns them until their last answer is written.
//!
//! Where all places are taken, the caller that we have waited for the longest makes room for the
//! newcomer: with keep-alive most connections are idle, and whoever opens many would keep everybody
//! else out. Only where every caller waits for its answer is the newcomer turned away.
//!
//! When the drain begins it goes on while callers are connected, as the socket's listener does, and
//! ends as that one ends. It never looks into a connection.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::accepting::{AcceptFailures, LAST_KNOCK, is_kept_back};
use super::metrics::{ConnectionMetrics, Full, OpenConnection};
use super::presence::{Presence, Visit};
use super::shared::InputsShared;
use crate::http_server::listen::{listen, try_address};
use crate::http_server::place::{Place, Places};
use dispatchd_aws::leads_to;
use dispatchd_core::limits::LOOPBACK_LEAVING_MAX;
use dispatchd_core::model::Input;

/// What serves the connections of a listener, each in a task of its own.
pub(crate) trait Serve {
    /// The answer to a connection that is not let in, as bytes.
    const TURNED_AWAY: &'static [u8];

    /// Serves a connection until its last answer is written, and ends it when its place says so.
    fn serve(
        &self,
        stream: TcpStream,
        place: Arc<Place>,
        visit: Visit,
    ) -> impl Future<Output = ()> + Send + 'static;
}

/// A listener, bound, with nobody let in yet.
#[derive(Debug)]
pub(crate) struct Loopback {
    listener: TcpListener,
    max_connections: usize,
    surroundings: Surroundings,
}

/// What a listener's connections have in common.
#[derive(Debug)]
struct Surroundings {
    input: Input,
    metrics: Arc<ConnectionMetrics>,
    presence: watch::Sender<Presence>,
    files_kept_back: usize,
    drain: CancellationToken,
    stop_reading: CancellationToken,
}

/// The port of an input is taken, or not ours.
#[derive(Debug, thiserror::Error)]
#[error("{key}: cannot listen on {address}: {source}. Choose another loopback address, or \"off\"")]
pub(crate) struct LoopbackError {
    /// The key of the configuration that names the address.
    pub key: &'static str,
    pub address: SocketAddr,
    pub source: io::Error,
}

/// The variable that leads an application to this daemon leads the daemon to itself: each record
/// would come back until the budget is full.
#[derive(Debug, thiserror::Error)]
#[error(
    "the stream's endpoint {endpoint} is this daemon's own {key}: it would send to itself. Give \
     AWS_ENDPOINT_URL_KINESIS to the application alone, or set stream.endpoint_url"
)]
pub(crate) struct OwnEndpoint {
    endpoint: String,
    key: &'static str,
}

impl OwnEndpoint {
    /// Looks whether requests to the stream's endpoint would come to one of our own inputs.
    ///
    /// # Errors
    /// If they would.
    pub(crate) fn refuse(
        endpoint: &str,
        inputs: impl IntoIterator<Item = (&'static str, SocketAddr)>,
    ) -> Result<(), Self> {
        match inputs.into_iter().find(|(_, address)| leads_to(endpoint, *address)) {
            Some((key, _)) => Err(Self { endpoint: endpoint.to_owned(), key }),
            None => Ok(()),
        }
    }
}

/// Lets connections in, and holds those that are.
struct Admission<'s, S> {
    serve: &'s S,
    places: Places,
    /// With those that make room and have not ended yet.
    open_max: usize,
    connections: JoinSet<()>,
    surroundings: &'s Surroundings,
}

impl Loopback {
    /// Listens on `address`, which the configuration has from `key`. Callers may connect from now
    /// on, and are let in once it runs.
    ///
    /// # Errors
    /// The address is taken, or not ours to have.
    pub(crate) fn bind(
        key: &'static str,
        address: SocketAddr,
        input: Input,
        max_connections: usize,
        inputs: &InputsShared,
        metrics: Arc<ConnectionMetrics>,
    ) -> Result<Self, LoopbackError> {
        let failed = |source| LoopbackError { key, address, source };
        let surroundings = Surroundings {
            input,
            metrics,
            presence: inputs.presence.clone(),
            files_kept_back: inputs.files_kept_back,
            drain: inputs.drain.clone(),
            stop_reading: inputs.stop_reading.clone(),
        };
        Ok(Self { listener: listen(address).map_err(failed)?, max_connections, surroundings })
    }

    /// Whether [`Self::bind`] could have this address now. It listens to nobody.
    ///
    /// # Errors
    /// Those of [`Self::bind`].
    pub(crate) fn try_address(key: &'static str, address: SocketAddr) -> Result<(), LoopbackError> {
        try_address(address).map_err(|source| LoopbackError { key, address, source })
    }

    /// Where it listens; the port is the real one where 0 was asked for.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Runs until the drain is over and every connection has ended.
    pub(crate) async fn run(self, serve: impl Serve) {
        let Self { listener, max_connections, surroundings } = self;
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "an input on loopback is not served"),
        };
        let places = Places::at_most(max_connections);
        let open_max = max_connections + LOOPBACK_LEAVING_MAX;
        let (serve, connections) = (&serve, JoinSet::new());
        let surroundings = &surroundings;
        let mut admission = Admission { serve, places, open_max, connections, surroundings };
        let mut failures = AcceptFailures::default();
        loop {
            if surroundings.drain.is_cancelled() && admission.connections.is_empty() {
                match tokio::time::timeout(LAST_KNOCK, listener.accept()).await {
                    Ok(Ok((stream, _))) => admission.admit(stream),
                    _ => break,
                }
            }
            tokio::select! {
                biased;
                () = surroundings.stop_reading.cancelled() => break,
                () = surroundings.drain.cancelled(), if !surroundings.drain.is_cancelled() => {}
                Some(ended) = admission.connections.join_next() => admission.close(ended),
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        failures.end();
                        admission.admit(stream);
                    }
                    Err(error) => failures.wait(&error).await,
                },
            }
        }
        drop(listener); // nobody new from here on
        while let Some(ended) = admission.connections.join_next().await {
            admission.close(ended);
        }
    }
}

impl<S: Serve> Admission<'_, S> {
    fn admit(&mut self, stream: TcpStream) {
        let Surroundings { input, metrics, presence, .. } = self.surroundings;
        let place = match self.take_place(stream.as_raw_fd()) {
            Ok(place) => place,
            Err(full) => {
                metrics.refuse(full);
                // Into an empty socket buffer it fits at once; a peer that is gone does not miss
                // it.
                let _ = stream.try_write(S::TURNED_AWAY);
                return;
            }
        };
        let open = OpenConnection::of(Arc::clone(metrics), *input);
        let _ = stream.set_nodelay(true); // an answer is one write, and waits for no other
        let visit = Visit::new(presence.clone());
        let served = self.serve.serve(stream, place, visit);
        self.connections.spawn(async move {
            served.await;
            drop(open);
        });
        presence.send_modify(|presence| presence.connected += 1);
    }

    /// A place for one more connection, or what is full.
    fn take_place(&mut self, descriptor: i32) -> Result<Arc<Place>, Full> {
        if self.connections.len() >= self.open_max {
            return Err(Full::Connections);
        }
        if is_kept_back(descriptor, self.surroundings.files_kept_back) {
            return Err(Full::Files);
        }
        self.places.take(self.surroundings.stop_reading.child_token()).ok_or(Full::Connections)
    }

    fn close(&self, ended: Result<(), tokio::task::JoinError>) {
        self.surroundings.presence.send_modify(|presence| presence.connected -= 1);
        if let Err(error) = ended {
            // Its tickets answered for themselves; the other connections go on.
            tracing::error!(
                %error,
                "a connection's task died: this is a defect of dispatchd, please report it"
            );
        }
    }
}
