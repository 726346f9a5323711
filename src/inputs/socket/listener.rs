//! The listener lets connections in, up to a cap, and owns them until their last answer is written.
//!
//! When the drain begins it goes on while callers are connected, since an application writes its
//! last lines after its own SIGTERM. It closes when no caller is connected, or when it is told to
//! stop reading. It never looks into a connection.

use std::os::fd::AsRawFd;
use std::sync::Arc;

use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::connection;
use super::error::BindError;
use super::settings::Settings;
use super::shared::ConnectionShared;
use super::socket_file::{LOOK_EVERY, Look, Reach, SocketFile};
use crate::inputs::accepting::{AcceptFailures, LAST_KNOCK, is_kept_back};
use crate::inputs::http::HttpShared;
use crate::inputs::metrics::{ConnectionMetrics, Full, OpenConnection};
use crate::inputs::presence::{Presence, Visit};
use crate::inputs::shared::InputsShared;
use dispatchd_core::model::Input;
use dispatchd_core::wire::ndjson::answer;

/// How many connections are let in.
#[derive(Debug, Clone, Copy)]
struct Caps {
    max_connections: usize,
    /// Descriptors that no connection may take, so that Kinesis can be reached whoever is
    /// connected.
    files_kept_back: usize,
}

/// The task's parts: the socket, bound, and nobody let in yet.
#[derive(Debug)]
pub struct Listener {
    socket: SocketFile,
    shared: Arc<ConnectionShared>,
    caps: Caps,
    presence: watch::Sender<Presence>,
    drain: CancellationToken,
}

impl Listener {
    /// Binds the socket. Callers may connect from now on, and are let in once it runs. Beside it:
    /// whether callers who connect come to this daemon.
    ///
    /// # Errors
    /// The path cannot be had.
    pub async fn bind(
        settings: &Settings,
        inputs: InputsShared,
        http: Arc<HttpShared>,
        metrics: Arc<ConnectionMetrics>,
    ) -> Result<(Self, Reach), BindError> {
        let socket = SocketFile::bind(&settings.path, settings.mode).await?;
        let reach = socket.reach();
        let InputsShared { presence, drain, files_kept_back, .. } = inputs.clone();
        let shared = ConnectionShared::new(settings.window, inputs, http, metrics);
        let caps = Caps { max_connections: settings.max_connections, files_kept_back };
        Ok((Self { socket, shared, caps, presence, drain }, reach))
    }

    /// Runs until the drain is over and every connection has ended.
    pub async fn run(self) {
        let Self { mut socket, shared, caps, presence, drain } = self;
        let mut looks = tokio::time::interval(LOOK_EVERY);
        let mut connections = JoinSet::new();
        let mut failures = AcceptFailures::default();
        loop {
            if drain.is_cancelled() && connections.is_empty() {
                match tokio::time::timeout(LAST_KNOCK, socket.listener().accept()).await {
                    Ok(Ok((stream, _))) => {
                        admit(stream, &shared, &mut connections, caps, &presence)
                    }
                    _ => break,
                }
            }
            tokio::select! {
                biased;
                () = shared.stop_reading.cancelled() => break,
                () = drain.cancelled(), if !drain.is_cancelled() => {}
                Some(ended) = connections.join_next() => close(ended, &presence),
                _ = looks.tick() => if let Look::BoundAgain(old) = socket.look().await {
                    let knocks = || tokio::time::timeout(LAST_KNOCK, old.accept());
                    while let Ok(Ok((stream, _))) = knocks().await {
                        admit(stream, &shared, &mut connections, caps, &presence);
                    }
                },
                accepted = socket.listener().accept() => match accepted {
                    Ok((stream, _)) => {
                        failures.end();
                        admit(stream, &shared, &mut connections, caps, &presence);
                    }
                    Err(error) => failures.wait(&error).await,
                },
            }
        }
        drop(socket); // nobody new from here on
        while let Some(ended) = connections.join_next().await {
            close(ended, &presence);
        }
    }
}

impl Caps {
    /// What is full, if one more connection is not let in.
    fn full(self, connected: usize, descriptor: i32) -> Option<Full> {
        if connected >= self.max_connections {
            return Some(Full::Connections);
        }
        is_kept_back(descriptor, self.files_kept_back).then_some(Full::Files)
    }
}

fn admit(
    stream: UnixStream,
    shared: &Arc<ConnectionShared>,
    connections: &mut JoinSet<()>,
    caps: Caps,
    presence: &watch::Sender<Presence>,
) {
    if let Some(full) = caps.full(connections.len(), stream.as_raw_fd()) {
        shared.metrics.refuse(full);
        let why = match full {
            Full::Connections => "too many connections are open: socket.max_connections is reached",
            Full::Files => {
                "the daemon has too many files open: raise its limit of open files (ulimit -n, \
                 LimitNOFILE)"
            }
        };
        // Into an empty socket buffer it fits at once; a peer that is gone does not miss it.
        let _ = stream.try_write(&answer::turned_away(why));
        return;
    }
    let open = OpenConnection::unheard(Arc::clone(&shared.metrics), Input::Ndjson);
    let visit = Visit::new(presence.clone());
    connections.spawn(connection::serve(stream, Arc::clone(shared), visit, open));
    presence.send_modify(|presence| presence.connected += 1);
}

fn close(ended: Result<(), tokio::task::JoinError>, presence: &watch::Sender<Presence>) {
    presence.send_modify(|presence| presence.connected -= 1);
    if let Err(error) = ended {
        // Its tickets answered for themselves; the other connections go on.
        tracing::error!(
            %error,
            "a connection's task died: this is a defect of dispatchd, please report it"
        );
    }
}
