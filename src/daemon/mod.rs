//! The producer: builds every part, owns every task, and ends them in order.
//!
//! Build can fail, spawn cannot: `Daemon::build` binds and connects, `Daemon::run` starts and
//! stops. It moves no event itself.
//!
//! The drain, by what ends what: the signal → readiness falls, nothing lingers, what cools wakes →
//! no caller is connected, or the reserve is reached: the listener closes and readers stop →
//! inboxes close → lanes empty → outboxes close → writers flush and half-close. At the deadline
//! what is left is answered `ShuttingDown`. An operator may ask for the beginning alone (`admin
//! drain`): readiness falls and nothing lingers, and the daemon serves on.

mod control;
mod manager;
mod stop;

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use crate::admin::desk::{COMMANDS_MAX, Desk, Settings};
use crate::admin::{Admin, AdminError};
use crate::config::{self, Carried, Config, Inputs, Resolved, files_kept_back};
#[cfg(feature = "local")]
use crate::local::{Limits, Local, LocalError};
use crate::producer::lane::{INBOX_GROUPS, Lane, QUESTIONS_MAX};
use crate::producer::refresher::{Calls, Refresher};
use crate::socket::barred::{Barred, barred_from};
use crate::socket::bind::{BindError, Bound, LOOK_EVERY, Look};
use crate::socket::listener::{Caps, Listener, Presence};
use crate::socket::{Callers, Door, LongLines};
use crate::telemetry::log::Log;
use crate::telemetry::metrics::{self, Oldest, Sources, State};
use crate::telemetry::outage::Outage;
use crate::telemetry::recent::Recent;
use control::{Asked, Control, Reloading};
use dispatchd_aws::{ConnectError, Kinesis};
use dispatchd_core::limits::long_lines_bytes;
use dispatchd_core::model::StreamFacts;
use dispatchd_core::model::StreamId;
use dispatchd_core::model::{Code, Fingerprints};
use dispatchd_producer::ack::Books;
use dispatchd_producer::budget::Budget;
use dispatchd_producer::lane::Lanes;
use dispatchd_producer::lane::dedupe::{Dedupe, Window};
pub use manager::ServiceManager;
use stop::{Sight, Stop, tell_died};

/// Lanes of a daemon. One keeps up with two cores; more would split batches.
const LANES: usize = 1;
/// For the daemon's own user alone: who may ask may also stop it.
const ADMIN_SOCKET_MODE: u32 = 0o600;
/// How long `ready` is held back, at most, until it can say whose requests they will be: the daemon
/// serves meanwhile.
const IDENTITY_WAIT: Duration = Duration::from_secs(1);

/// The daemon, built and not yet running.
#[derive(Debug)]
pub struct Daemon {
    listener: Listener,
    lanes: Vec<Lane<Kinesis>>,
    refresher: Refresher,
    admin: Admin,
    /// Unless it is off.
    admin_socket: Option<AdminSocket>,
    control: Control,
    presence: watch::Receiver<Presence>,
    stop: Stop,
    #[cfg(feature = "local")]
    local: Option<Local>,
}

/// What a daemon is made from.
#[derive(Debug)]
pub struct Plan {
    /// Read again by a reload.
    pub inputs: Inputs,
    pub resolved: Resolved,
    pub log: Log,
    /// Told how it stands.
    pub manager: ServiceManager,
}

/// What tells a running daemon what to do, besides its admin socket.
#[derive(Debug)]
pub struct Signals {
    /// The first begins the stop; one that comes more than a second after it gives up what is left.
    pub stop: mpsc::Receiver<()>,
    /// Read the configuration again.
    pub reload: mpsc::Receiver<()>,
}

/// Why there is no daemon.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("socket.path (--socket): {0}")]
    Bind(BindError),
    #[error("admin.socket: {0}. Or turn it off: --set admin.socket=off")]
    AdminSocket(BindError),
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[cfg(feature = "local")]
    #[error(transparent)]
    Local(#[from] LocalError),
    #[error(
        "this dispatchd was built without the embedded stream (cargo feature `local`): run it against Kinesis with --stream"
    )]
    WithoutLocal,
    #[error("cannot start the admin thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Events that were accepted and not confirmed, and lines that were not read of callers that
    /// had gone.
    pub unconfirmed: u64,
    /// A task died on the way: a defect.
    pub task_died: bool,
}

impl Daemon {
    /// Binds and connects. Kinesis need not be there: what it says shows later.
    ///
    /// # Errors
    /// A path, a port or a region that cannot be had, in words for the operator.
    pub async fn build(plan: Plan) -> Result<Self, StartError> {
        let Plan { inputs, resolved, log, manager } = plan;
        let config = &resolved.config;
        #[cfg(feature = "local")]
        let local = start_local(config).await?;
        #[cfg(feature = "local")]
        let local_url = local.as_ref().map(|local| local.endpoint().to_owned());
        #[cfg(not(feature = "local"))]
        let local_url = without_local(config)?;

        let stop = Stop::default();
        let (books, budget) = (Arc::<Books>::default(), Budget::new(config.memory.budget_bytes));
        let oldest: Vec<_> = (0..LANES).map(|_| Oldest::new(Instant::now())).collect();
        let sources = Sources {
            books: Arc::clone(&books),
            budget: Arc::clone(&budget),
            oldest: oldest.clone(),
            log: Arc::clone(log.stderr()),
        };
        let (metrics, exposition) = metrics::build(sources.clone());
        let connection = config.connection(local_url);
        let kinesis = Kinesis::connect(connection, metrics.aws.clone()).await?;
        let (recent, outage) = (Arc::<Recent>::default(), Arc::<Outage>::default());
        let (record_bytes_max, carried) = (config.stream.max_record_bytes, Carried::of(config));
        let (facts_in, facts) = watch::channel(StreamFacts::unknown(record_bytes_max));
        let (calls_in, calls) = watch::channel(Calls::default());
        let (reloads_in, reloads) = watch::channel(());
        let bell = Arc::<Notify>::default();

        let (inboxes, outlets): (Vec<_>, Vec<_>) =
            (0..LANES).map(|_| mpsc::channel(INBOX_GROUPS)).unzip();
        let (questions_in, questions): (Vec<_>, Vec<_>) =
            (0..LANES).map(|_| mpsc::channel(QUESTIONS_MAX)).unzip();
        let (rules_in, rules) = watch::channel(config.lane_rules());
        let service = Arc::new(kinesis.clone());
        let window =
            Window { ids_max: config.delivery.dedupe_ids, keep_for: config.delivery.dedupe_for };
        let dedupe = Arc::new(Mutex::new(Dedupe::new(window)));
        let lanes =
            outlets.into_iter().zip(questions).zip(oldest).map(|((inbox, questions), oldest)| {
                Lane {
                    rules: rules.clone(),
                    dedupe: Arc::clone(&dedupe),
                    service: Arc::clone(&service),
                    inbox,
                    facts: facts.clone(),
                    questions,
                    bell: Arc::clone(&bell),
                    metrics: Arc::clone(&metrics),
                    budget: Arc::clone(&budget),
                    oldest,
                    recent: Arc::clone(&recent),
                    outage: Arc::clone(&outage),
                    drain: stop.drain.clone(),
                    abandon: stop.abandon.clone(),
                }
            });
        let lanes = lanes.collect();
        let admin = Admin::bind(config.admin.listen, exposition)?;
        let (presence_in, presence) = watch::channel(Presence::default());
        let door = Arc::new(Door {
            producer_id: config.producer_id.clone(),
            window: config.socket.window,
            lanes: Lanes::new(inboxes),
            fingerprints: Fingerprints::default(),
            budget,
            books,
            metrics: Arc::clone(&metrics),
            facts: facts.clone(),
            record_bytes_carried: carried.record_bytes,
            long_lines: LongLines::new(long_lines_bytes(config.memory.budget_bytes)),
            callers: Arc::new(Callers::new(Instant::now())),
            stop_reading: stop.stop_reading.clone(),
        });
        let bound =
            Bound::new(&config.socket.path, config.socket.mode).await.map_err(StartError::Bind)?;
        tell_barred(&config.socket);
        let caps = Caps {
            max_connections: config.socket.max_connections,
            files_kept_back: files_kept_back(config),
        };
        let log_level = config.log.level.clone();
        let (settings_in, settings) =
            watch::channel(Settings { log_level, reverts_at: None, last_reload: None });
        let (commands_in, commands) = mpsc::channel(COMMANDS_MAX);
        let desk = Desk {
            started: SystemTime::now(),
            began: Instant::now(),
            stream: config.stream.id.as_str().to_owned(),
            endpoint: kinesis.endpoint().to_owned(),
            region: kinesis.region().to_owned(),
            credentials: kinesis.credentials().clone(),
            socket: config.socket.path.clone(),
            sources,
            probe: admin.probe(),
            presence: presence.clone(),
            facts,
            calls,
            record_bytes_carried: carried.record_bytes,
            lanes: questions_in,
            recent: Arc::clone(&recent),
            outage,
            settings,
            commands: commands_in,
        };
        let credentials = kinesis.credentials().clone();
        let (admin, admin_socket) =
            open_desk(admin.with_reach(bound.reach()), desk, config.admin.socket.as_deref())
                .await?;
        Ok(Self {
            listener: Listener {
                bound,
                door,
                caps,
                presence: presence_in,
                drain: stop.drain.clone(),
            },
            lanes,
            refresher: Refresher {
                kinesis,
                facts: facts_in,
                calls: calls_in,
                bell,
                reloads,
                record_bytes_max,
                carried,
                metrics: Arc::clone(&metrics),
                recent,
            },
            admin,
            admin_socket,
            control: Control {
                inputs,
                credentials,
                running: resolved,
                log,
                commands,
                rules: rules_in,
                reloads: reloads_in,
                settings: settings_in,
                lingers: true,
                reloading: Reloading::default(),
                metrics,
                manager,
            },
            presence,
            stop,
            #[cfg(feature = "local")]
            local,
        })
    }

    /// The embedded stream's address, with `--local`.
    #[cfg(feature = "local")]
    pub fn local_endpoint(&self) -> Option<&str> {
        self.local.as_ref().map(|local| local.endpoint())
    }

    /// Serves until it is told to stop, then drains; a second signal gives up what is left at once.
    ///
    /// # Errors
    /// If the admin thread cannot be started.
    pub async fn run(self, mut signals: Signals) -> Result<Ended, StartError> {
        let Self {
            listener,
            lanes,
            refresher,
            admin,
            admin_socket,
            mut control,
            presence,
            stop,
            ..
        } = self;
        let kinesis = refresher.kinesis.clone();
        let (books, metrics, probe) =
            (Arc::clone(&listener.door.books), Arc::clone(&refresher.metrics), admin.probe());
        let callers = Arc::clone(&listener.door.callers);
        let path = listener.bound.path().to_owned();
        let admin_address = admin.address().map(|address| address.to_string());
        let shutdown = control.running.config.shutdown.clone();
        metrics.set_state(State::Starting);
        admin.spawn()?;

        let mut tasks = JoinSet::new();
        tasks.spawn(listener.run());
        for lane in lanes {
            tasks.spawn(lane.run());
        }
        let mut background = JoinSet::new();
        background.spawn(refresher.run()); // ends with the daemon: it holds nothing of a caller's
        if let Some(socket) = admin_socket {
            background.spawn(socket.run());
        }
        metrics.set_state(State::Running);
        probe.set(State::Running);
        control.manager.ready();
        let identity = who(&kinesis).await;
        tracing::info!(
            socket = %path.display(),
            admin = admin_address,
            version = env!("CARGO_PKG_VERSION"),
            endpoint = kinesis.endpoint(),
            region = kinesis.region(),
            identity,
            "ready"
        );

        let mut task_died = false;
        let mut left_alone =
            std::pin::pin!(left_alone(presence.clone(), shutdown.after_last_client));
        let why = loop {
            tokio::select! {
                biased;
                _ = signals.stop.recv() => break "a signal",
                // No task ends before the drain, so one that ends has died.
                Some(ended) = tasks.join_next() => {
                    task_died = true;
                    tell_died(ended);
                    break "a task died";
                }
                () = &mut left_alone => break "no client is connected any more (shutdown.after_last_client)",
                asked = control.next(&mut signals.reload) => match asked {
                    Asked::Quit => break "an operator",
                    Asked::Drain => {
                        metrics.set_state(State::Draining);
                        probe.set(State::Draining);
                        control.stop_lingering();
                        tracing::info!("an operator asked to drain: not ready any more, nothing lingers. It serves on until it is stopped");
                    }
                },
            }
        };
        metrics.set_state(State::Draining);
        probe.set(State::Draining);
        control.manager.stopping();
        let began = Instant::now();
        tracing::info!(in_flight = books.balance().in_flight(), why, "draining");
        let connected = presence.borrow().connected;
        let sight =
            Sight { signals: &mut signals.stop, books: &books, callers: &callers, connected };
        task_died |= tokio::select! {
            died = stop.drain(&mut tasks, sight, shutdown.timeout, task_died) => died,
            never = control.until_the_end(&mut signals.reload) => match never {},
        };
        background.shutdown().await; // before the runtime goes, or its last call fails aloud
        let (balance, unread) = (books.balance(), callers.unread_lines());
        let unconfirmed = balance.refused(Code::ShuttingDown) + balance.in_flight() + unread;
        let ended = Ended { unconfirmed, task_died };
        tell_ended(ended, unread, balance.acked, began.elapsed());
        Ok(ended)
    }
}

/// Whose requests they will be, for the log; the daemon does not wait for it any longer than it
/// must.
async fn who(kinesis: &Kinesis) -> String {
    match tokio::time::timeout(IDENTITY_WAIT, kinesis.credentials_info()).await {
        Ok(Ok(info)) => info.to_string(),
        Ok(Err(error)) => format!("none: {}", error.message),
        Err(_) => "not known yet: the source of credentials has not answered".to_owned(),
    }
}

/// The admin socket's file, which goes with the daemon, though those who are served on it are
/// another thread's.
#[derive(Debug)]
struct AdminSocket {
    bound: Bound,
    /// To whoever serves it.
    listeners: mpsc::Sender<UnixListener>,
}

impl AdminSocket {
    /// Keeps the file where it is looked for.
    async fn run(mut self) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        loop {
            looks.tick().await;
            if let Look::BoundAgain(_) = self.bound.look().await {
                match self.bound.share() {
                    // Its reader ends with the process.
                    Ok(listener) => drop(self.listeners.send(listener).await),
                    Err(error) => {
                        tracing::error!(%error, "the admin socket is not served any more")
                    }
                }
            }
        }
    }
}

/// Binds the admin socket, unless it is off.
async fn open_desk(
    admin: Admin,
    desk: Desk,
    path: Option<&Path>,
) -> Result<(Admin, Option<AdminSocket>), StartError> {
    let Some(path) = path else { return Ok((admin, None)) };
    let bound = Bound::new(path, ADMIN_SOCKET_MODE).await.map_err(StartError::AdminSocket)?;
    let (listeners, served) = mpsc::channel(1);
    listeners.try_send(bound.share()?).expect("there is room for one");
    Ok((admin.with_desk(served, desk), Some(AdminSocket { bound, listeners })))
}

/// Ends once there was a client and none has been connected for `after`; never, without such a
/// time.
async fn left_alone(mut presence: watch::Receiver<Presence>, after: Option<Duration>) {
    let Some(after) = after else { return std::future::pending().await };
    loop {
        let alone =
            presence.wait_for(|presence| presence.ever && presence.clients == 0).await.is_ok();
        if !alone {
            return std::future::pending().await; // the listener died: the daemon hears of it
        }
        if tokio::time::timeout(after, presence.changed()).await.is_err() {
            return;
        }
    }
}

/// Logs that the socket's mode promises more than its directory keeps. It may be meant: others may
/// have it mounted.
fn tell_barred(socket: &config::Socket) {
    if let Ok(Some(Barred { who, wanted })) = barred_from(&socket.path, socket.mode) {
        tracing::warn!(
            path = %socket.path.display(),
            "socket.mode {:04o} lets {who} connect, the socket's directory does not let them pass: chmod {wanted} it, choose another path, or mount the directory where they are",
            socket.mode
        );
    }
}

fn tell_ended(ended: Ended, unread: u64, acked: u64, took: Duration) {
    let took_ms = took.as_millis() as u64;
    if ended.unconfirmed == 0 {
        tracing::info!(acked, took_ms, "stopped: every event was answered, none abandoned");
    } else {
        tracing::error!(
            acked,
            took_ms,
            unconfirmed = ended.unconfirmed,
            unread,
            "stopped with events unconfirmed: their callers were told to send them again, but for those that had closed, whose lines were left unread. Raise shutdown.timeout, or see why Kinesis took nothing"
        );
    }
}

#[cfg(feature = "local")]
async fn start_local(config: &Config) -> Result<Option<Local>, StartError> {
    let (Some(wanted), StreamId::Name(stream)) = (&config.local, &config.stream.id) else {
        return Ok(None);
    };
    Ok(Some(Local::start(wanted.port, wanted.shards, stream, Limits::default()).await?))
}

#[cfg(not(feature = "local"))]
fn without_local(config: &Config) -> Result<Option<String>, StartError> {
    if config.local.is_some() { Err(StartError::WithoutLocal) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    const AFTER: Duration = Duration::from_secs(10);

    fn present(clients: usize) -> Presence {
        Presence { connected: clients + 1, clients, ever: true }
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_is_left_alone_when_nobody_was_there_for_the_whole_time_after_somebody_was() {
        let (presence, seen) = watch::channel(Presence::default());
        let began = Instant::now();
        let left = tokio::spawn(left_alone(seen, Some(AFTER)));
        presence.send_replace(Presence { connected: 1, ..Presence::default() });
        presence.send_replace(Presence::default());
        tokio::time::sleep(10 * AFTER).await; // nobody ever came but one who only connected
        presence.send_replace(present(1));
        tokio::time::sleep(10 * AFTER).await; // somebody is there
        presence.send_replace(present(0));
        tokio::time::sleep(AFTER / 2).await;
        presence.send_replace(present(1));
        presence.send_replace(present(0)); // and again, for a moment
        left.await.expect("it does not panic");
        assert_eq!(began.elapsed().as_secs(), (20 * AFTER + AFTER / 2 + AFTER).as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn without_such_a_time_a_daemon_is_never_left_alone() {
        let (presence, seen) = watch::channel(Presence::default());
        presence.send_replace(present(0));
        assert!(tokio::time::timeout(1000 * AFTER, left_alone(seen, None)).await.is_err());
    }
}
