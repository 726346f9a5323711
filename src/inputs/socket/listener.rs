//! The listener lets connections in, up to a cap, and owns them until their last answer is written.
//!
//! When the drain begins it goes on while callers are connected, since an application writes its
//! last lines after its own SIGTERM. It closes when no caller is connected, or when it is told to
//! stop reading. It never looks into a connection.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::callers::Callers;
use super::connection;
use super::error::BindError;
use super::long_lines::LongLines;
use super::metrics::ConnectionMetrics;
use super::presence::{Presence, Visit};
use super::settings::Settings;
use super::shared::ConnectionShared;
use super::socket_file::{LOOK_EVERY, Look, Reach, SocketFile};
use crate::inputs::backpressure::Backpressure;
use dispatchd_core::limits::{ANSWERS_BYTES_MAX, long_lines_bytes};
use dispatchd_core::model::backoff::Backoff;
use dispatchd_core::model::{Fingerprints, Input, StreamFacts};
use dispatchd_core::wire::ndjson::reply;
use dispatchd_producer::budget::Budget;
use dispatchd_producer::counters::InputCounters;
use dispatchd_producer::intake::IntakeShared;
use dispatchd_producer::lane::Lanes;

/// The waits after an accept that failed, mostly for want of file descriptors (EMFILE). One that is
/// tried again at once fails 46,820 times in 200 ms (measured).
const ACCEPT_AGAIN: Backoff =
    Backoff { min: Duration::from_millis(10), max: Duration::from_secs(1) };

/// How often the log tells that an accept failed. While files are short, every connection that ends
/// lets one in, and the next one fails again.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// How long a last caller is waited for: one that connected before the drain began may not have
/// been seen yet, and one turn of the event loop shows it.
const LAST_KNOCK: Duration = Duration::from_millis(1);

/// How many connections are let in.
#[derive(Debug, Clone, Copy)]
struct Caps {
    max_connections: usize,
    /// Descriptors that no connection may take, so that Kinesis can be reached whoever is
    /// connected.
    files_kept_back: usize,
}

/// What connections share with the rest of the daemon.
#[derive(Debug)]
pub struct Shared {
    pub producer_id: String,
    pub lanes: Lanes,
    pub budget: Arc<Budget>,
    pub counters: InputCounters,
    /// The key of what callers say of events, the same in every input.
    pub fingerprints: Fingerprints,
    /// How long readers wait for bytes of the budget.
    pub backpressure: Arc<Backpressure>,
    pub metrics: ConnectionMetrics,
    pub facts: watch::Receiver<StreamFacts>,
    /// The largest record that our memory carries, whatever the stream takes.
    pub record_bytes_carried: usize,
    /// Descriptors that no connection may take: Kinesis is reached, whoever is connected.
    pub files_kept_back: usize,
    /// Where ids come from that callers leave to us.
    pub fresh_id: fn() -> Uuid,
    /// The stop began.
    pub drain: CancellationToken,
    /// Readers take no more.
    pub stop_reading: CancellationToken,
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

/// The daemon's side of the listener.
#[derive(Debug)]
pub struct ListenerHandle {
    pub presence: watch::Receiver<Presence>,
    pub callers: Arc<Callers>,
    /// Whether callers who connect come to this daemon.
    pub reach: Reach,
}

impl Listener {
    /// Binds the socket. Callers may connect from now on, and are let in once it runs.
    ///
    /// # Errors
    /// The path cannot be had.
    pub async fn bind(
        settings: &Settings,
        shared: Shared,
    ) -> Result<(Self, ListenerHandle), BindError> {
        let socket = SocketFile::bind(&settings.path, settings.mode).await?;
        let Shared { drain, stop_reading, files_kept_back, .. } = shared;
        let (presence_in, presence) = watch::channel(Presence::default());
        let callers = Arc::new(Callers::new(tokio::time::Instant::now().into_std()));
        let handle =
            ListenerHandle { presence, callers: Arc::clone(&callers), reach: socket.reach() };
        let long_lines = LongLines::new(long_lines_bytes(shared.budget.limit_bytes()));
        let intake = IntakeShared {
            producer_id: shared.producer_id,
            answers_max: settings.window,
            answer_bytes_max: ANSWERS_BYTES_MAX,
            record_bytes_carried: shared.record_bytes_carried,
            budget: shared.budget,
            counters: Arc::clone(shared.counters.of(Input::Ndjson)),
            fingerprints: shared.fingerprints,
        };
        let shared = Arc::new(ConnectionShared {
            intake: Arc::new(intake),
            lanes: shared.lanes,
            metrics: shared.metrics,
            backpressure: shared.backpressure,
            facts: shared.facts,
            long_lines,
            callers,
            fresh_id: shared.fresh_id,
            stop_reading,
        });
        let caps = Caps { max_connections: settings.max_connections, files_kept_back };
        Ok((Self { socket, shared, caps, presence: presence_in, drain }, handle))
    }

    /// Runs until the drain is over and every connection has ended.
    pub async fn run(self) {
        let Self { mut socket, shared, caps, presence, drain } = self;
        let mut looks = tokio::time::interval(LOOK_EVERY);
        let mut connections = JoinSet::new();
        let mut failures = 0u32;
        let mut told = None;
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
                Some(ended) = connections.join_next() => close(&shared, ended, &presence),
                _ = looks.tick() => if let Look::BoundAgain(old) = socket.look().await {
                    let knocks = || tokio::time::timeout(LAST_KNOCK, old.accept());
                    while let Ok(Ok((stream, _))) = knocks().await {
                        admit(stream, &shared, &mut connections, caps, &presence);
                    }
                },
                accepted = socket.listener().accept() => match accepted {
                    Ok((stream, _)) => {
                        failures = 0;
                        admit(stream, &shared, &mut connections, caps, &presence);
                    }
                    Err(error) => {
                        failures = failures.saturating_add(1);
                        tell_refused(&error, &mut told);
                        let wait = ACCEPT_AGAIN.delay(failures, &mut rand::rng());
                        tokio::time::sleep(wait).await;
                    }
                },
            }
        }
        drop(socket); // nobody new from here on
        while let Some(ended) = connections.join_next().await {
            close(&shared, ended, &presence);
        }
    }
}

impl Caps {
    /// Why one more connection is not let in; `None` if it is. The system gives the lowest free
    /// descriptor, so a high one tells that all below it are taken, by whomever. The limit is asked
    /// for anew, since it may have been lowered.
    fn refuse(self, connected: usize, descriptor: i32) -> Option<&'static str> {
        if connected >= self.max_connections {
            return Some("too many connections are open: socket.max_connections is reached");
        }
        let limit = getrlimit(Resource::Nofile).current?;
        let (descriptor, kept_back) =
            (descriptor.cast_unsigned() as u64, self.files_kept_back as u64);
        let refused = "the daemon has too many files open: raise its limit of open files \
                       (ulimit -n, LimitNOFILE)";
        (descriptor + kept_back >= limit).then_some(refused)
    }
}

fn admit(
    stream: UnixStream,
    shared: &Arc<ConnectionShared>,
    connections: &mut JoinSet<()>,
    caps: Caps,
    presence: &watch::Sender<Presence>,
) {
    if let Some(why) = caps.refuse(connections.len(), stream.as_raw_fd()) {
        shared.metrics.refused.increment(1);
        // Into an empty socket buffer it fits at once; a peer that is gone does not miss it.
        let _ = stream.try_write(&reply::turned_away(why));
        return;
    }
    shared.metrics.accepted.increment(1);
    shared.metrics.open.increment(1.0);
    let visit = Visit::new(presence.clone());
    connections.spawn(connection::serve(stream, Arc::clone(shared), visit));
    presence.send_modify(|presence| presence.connected += 1);
}

fn close(
    shared: &ConnectionShared,
    ended: Result<(), tokio::task::JoinError>,
    presence: &watch::Sender<Presence>,
) {
    shared.metrics.open.decrement(1.0);
    presence.send_modify(|presence| presence.connected -= 1);
    if let Err(error) = ended {
        // Its tickets answered for themselves; the other connections go on.
        tracing::error!(
            %error,
            "a connection's task died: this is a defect of dispatchd, please report it"
        );
    }
}

fn tell_refused(error: &io::Error, told: &mut Option<Instant>) {
    let now = Instant::now();
    if told.is_none_or(|told| now - told >= TELL_EVERY) {
        *told = Some(now);
        tracing::warn!(
            %error,
            "cannot accept connections, trying again: raise the limit of open files or lower \
             socket.max_connections"
        );
    }
}
