//! Does what a running program is told: by the admin socket, by SIGHUP, or by a time that is up.
//! The daemon and the forwarder have one each.
//!
//! Owned by the program's own task. It changes the log's level, has the credentials asked for
//! again, and hands what a reload brings to the program's [`Taker`]. To drain and to stop is the
//! program's to do: it never does either, and returns what was asked. A configuration is read on a
//! thread of its own, within a deadline, so that a disk that hangs holds up no other command.

use std::convert::Infallible;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::manager::ServiceManager;
use super::metrics::ProgramMetrics;
use crate::admin::Operators;
use crate::admin::api::Command;
use crate::admin::status::LiveSettings;
use crate::config::{
    Changes, Config, Inputs, Origin, ReloadedBy, Resolved, after_reload, changes, read_again,
    resolve_to_serve,
};
use crate::http_server::probes::{SharedState, State};
use crate::telemetry::log::Log;
use dispatchd_aws::CredentialsCache;
use dispatchd_core::model::envelope::Timestamp;
use dispatchd_core::wire::admin::Reload;

/// How long reading the configuration again may take: less than the answer to an operator's command
/// may.
const READ_MAX: Duration = Duration::from_secs(3);

/// Who takes over what a reload changes.
pub(super) trait Taker {
    /// What it needs of the files that a configuration names.
    type Files: std::fmt::Debug + Send + 'static;

    /// Reads that. It blocks, on the thread that has read the configuration.
    ///
    /// # Errors
    /// What is wrong with them, in words for the operator: then the old configuration holds.
    fn read(read: &Config) -> Result<Self::Files, String>;

    /// Whether what was read can be taken over. Nothing changes by that.
    ///
    /// # Errors
    /// What is in the way, in words for the operator: then the old configuration holds.
    fn check(&mut self, read: &Config) -> Result<(), String>;

    /// Takes over what [`Self::check`] let pass. It is told even if nothing changed: what waits
    /// after a failure is tried then.
    fn take_over(&mut self, running: &Config, files: Self::Files);
}

/// What operators may change, and how to change it.
#[derive(Debug)]
pub(super) struct Control<T: Taker> {
    /// What the configuration was made from; the file is read again.
    inputs: Inputs,
    /// The configuration that runs.
    pub running: Resolved,
    log: Log,
    pub manager: ServiceManager,
    /// The source of credentials, which a reload has asked again.
    credentials: CredentialsCache,
    commands: mpsc::Receiver<Command>,
    state: SharedState,
    live: watch::Sender<LiveSettings>,
    metrics: ProgramMetrics,
    pub taker: T,
    reloading: Reloading<T::Files>,
}

/// What a program was started with, as its command made it.
#[derive(Debug)]
pub(super) struct Started {
    pub inputs: Inputs,
    pub resolved: Resolved,
    pub log: Log,
    pub manager: ServiceManager,
}

/// A configuration that is being read again. One thread reads, at most.
#[derive(Debug)]
struct Reloading<F> {
    read: Option<JoinHandle<Result<Read<F>, String>>>,
    /// When it is given up; `None` once it was, while the thread still hangs.
    until: Option<Instant>,
    /// To those who wait for this reading: at most one for each connection of the admin socket.
    replies: Vec<oneshot::Sender<Reload>>,
    /// To those who asked for another reading meanwhile, since the file may have changed again;
    /// `None` while nobody did.
    again: Option<Vec<oneshot::Sender<Reload>>>,
}

/// A configuration that was read again, with what its taker needs of the files that it names.
#[derive(Debug)]
struct Read<F> {
    resolved: Resolved,
    files: F,
}

/// What came of the reading.
enum Progress<F> {
    Read(Result<Box<Read<F>>, String>),
    /// It takes longer than [`READ_MAX`].
    TooLate,
    /// A reading that was given up has ended at last.
    Freed,
}

/// What an operator asked for that is the program's to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Drain,
    Quit,
}

impl<T: Taker> Control<T> {
    /// The control of a program that is built, and was told nothing yet.
    pub(super) fn new(
        started: Started,
        credentials: CredentialsCache,
        operators: Operators,
        metrics: ProgramMetrics,
        taker: T,
    ) -> Self {
        let Started { inputs, resolved: running, log, manager } = started;
        let Operators { commands, state, live } = operators;
        let reloading = Reloading::default();
        Self {
            inputs,
            running,
            log,
            manager,
            credentials,
            commands,
            state,
            live,
            metrics,
            taker,
            reloading,
        }
    }

    /// Does what operators say until one asks for what is the program's to do. Dropped in between,
    /// it forgets at most one command, whose sender hears of it.
    pub(super) async fn next(&mut self, reloads: &mut mpsc::Receiver<()>) -> Asked {
        loop {
            let reverts_at = self.live.borrow().reverts_at;
            tokio::select! {
                biased;
                () = sleep_until(reverts_at) => self.revert_log_level(),
                progress = self.reloading.progress() => self.go_on_reloading(progress),
                Some(()) = reloads.recv() => self.reload(None),
                Some(command) = self.commands.recv() => match command {
                    // Who asked may have given up waiting for any of these.
                    Command::LogLevel { level, lasts, reply } => {
                        let until = lasts.map(|lasts| Instant::now() + lasts);
                        let _ = reply.send(self.set_log_level(level, until));
                    }
                    Command::Reload { reply } => self.reload(Some(reply)),
                    Command::Drain { reply } => {
                        let _ = reply.send(());
                        return Asked::Drain;
                    }
                    Command::Quit { reply } => {
                        let _ = reply.send(());
                        return Asked::Quit;
                    }
                },
            }
        }
    }

    /// Does what operators say while the program stops, of which nothing more can be asked.
    pub(super) async fn until_the_end(&mut self, reloads: &mut mpsc::Receiver<()>) -> Infallible {
        loop {
            self.next(reloads).await;
        }
    }

    /// Shows the program's state to probes and scrapes.
    pub(super) fn show(&self, state: State) {
        self.metrics.set_state(state);
        self.state.set(state);
    }

    fn set_log_level(&mut self, level: String, until: Option<Instant>) -> Result<(), String> {
        self.log.set(&level).map_err(|error| error.to_string())?;
        tracing::info!(
            level,
            for_a_time = until.is_some(),
            "the log's level was set by an operator"
        );
        self.live
            .send_modify(|settings| (settings.log_level, settings.reverts_at) = (level, until));
        Ok(())
    }

    fn revert_log_level(&mut self) {
        let level = self.running.config.log.level.clone();
        tracing::info!(level, "the log's level is the configured one again");
        if let Err(error) = self.log.set(&level) {
            tracing::error!(
                %error,
                level,
                "the configured level is refused: this is a defect of dispatchd, please report it"
            );
        }
        self.live.send_modify(|settings| (settings.log_level, settings.reverts_at) = (level, None));
    }

    fn reload(&mut self, reply: Option<oneshot::Sender<Reload>>) {
        self.credentials.forget(); // before others hear of it and try the stream
        self.manager.reloading();
        let reloading = &mut self.reloading;
        match (&reloading.read, reloading.until) {
            (None, _) => self.read_again(reply.into_iter().collect()),
            (Some(_), Some(_)) => reloading.again.get_or_insert_default().extend(reply),
            (Some(_), None) => {
                let hangs = "an earlier reload still hangs at reading it: whatever the file lies \
                             on does not answer";
                self.conclude(Err(hangs.to_owned()), reply);
            }
        }
    }

    fn read_again(&mut self, replies: Vec<oneshot::Sender<Reload>>) {
        let inputs = self.inputs.clone();
        let read = tokio::task::spawn_blocking(move || {
            let resolved = read_again(inputs).and_then(|inputs| resolve_to_serve(&inputs));
            let resolved = resolved.map_err(|problems| problems.to_string())?;
            let files = T::read(&resolved.config)?;
            Ok(Read { resolved, files })
        });
        let until = Some(Instant::now() + READ_MAX);
        self.reloading = Reloading { read: Some(read), until, replies, again: None };
    }

    fn go_on_reloading(&mut self, progress: Progress<T::Files>) {
        let reloading = &mut self.reloading;
        let (replies, again) = (std::mem::take(&mut reloading.replies), reloading.again.take());
        match progress {
            Progress::Read(read) => {
                *reloading = Reloading::default();
                let outcome = read.and_then(|read| self.take_over(*read));
                self.conclude(outcome, replies);
                if let Some(replies) = again {
                    self.manager.reloading();
                    self.read_again(replies);
                }
            }
            Progress::TooLate => {
                reloading.until = None;
                let late = format!("it could not be read within {} s", READ_MAX.as_secs());
                self.conclude(Err(late), replies.into_iter().chain(again.into_iter().flatten()));
            }
            Progress::Freed => *reloading = Reloading::default(),
        }
    }

    /// Tells how a reload went: in the log, and to those who asked for it.
    fn conclude(
        &mut self,
        outcome: Result<Changes, String>,
        replies: impl IntoIterator<Item = oneshot::Sender<Reload>>,
    ) {
        match &outcome {
            Ok(Changes { applied, needs_restart }) => {
                tracing::info!(changed = applied.join(", "), "configuration reloaded");
                if !needs_restart.is_empty() {
                    tracing::warn!(
                        keys = needs_restart.join(", "),
                        "these keys changed and need a restart: the old values hold until then"
                    );
                }
            }
            Err(problems) => tracing::error!(
                problems,
                "the configuration was read again and is refused, the old one holds: mend it and \
                 reload once more"
            ),
        }
        self.metrics.config_last_reload_successful.set(f64::from(u8::from(outcome.is_ok())));
        let done = concluded(outcome, SystemTime::now());
        self.live.send_modify(|live| live.last_reload = Some(done.clone()));
        self.manager.ready(); // whichever configuration it is that holds now
        for reply in replies {
            let _ = reply.send(done.clone()); // who asked may have given up waiting
        }
    }

    /// Lets the part of a configuration hold that can change while the daemon runs.
    fn take_over(&mut self, read: Read<T::Files>) -> Result<Changes, String> {
        let Read { resolved: read, files } = read;
        self.taker.check(&read.config)?;
        let level = read.config.log.level.clone();
        if sets_something(&self.running) && !sets_something(&read) {
            tracing::warn!(
                "the configuration file sets nothing any more, and defaults take the place of what \
                 it set: is it empty, or being written? Reload once more when it is whole"
            );
        }
        let changes = changes(&self.running, &read);
        let level_changed = level != self.running.config.log.level;
        self.running = after_reload(&self.running, read);
        self.taker.take_over(&self.running.config, files);
        for taker in ReloadedBy::ALL {
            match taker {
                ReloadedBy::Lanes | ReloadedBy::Schemas => {} // the program's own taker was told
                ReloadedBy::Log if level_changed && self.live.borrow().reverts_at.is_none() => {
                    self.log.set(&level).map_err(|error| error.to_string())?;
                    self.live.send_modify(|settings| settings.log_level.clone_from(&level));
                }
                ReloadedBy::Log => {}
            }
        }
        Ok(changes)
    }
}

impl<F> Default for Reloading<F> {
    fn default() -> Self {
        Self { read: None, until: None, replies: Vec::new(), again: None }
    }
}

impl<F> Reloading<F> {
    /// Waits until there is progress. Dropped, it forgets nothing.
    async fn progress(&mut self) -> Progress<F> {
        let Some(read) = &mut self.read else { return std::future::pending().await };
        tokio::select! {
            biased;
            ended = read => match (ended, self.until) {
                (_, None) => Progress::Freed,
                (Ok(read), Some(_)) => Progress::Read(read.map(Box::new)),
                (Err(died), Some(_)) => Progress::Read(Err(died.to_string())),
            },
            () = sleep_until(self.until) => Progress::TooLate,
        }
    }
}

/// Whether any value comes from a file.
fn sets_something(resolved: &Resolved) -> bool {
    resolved.values.iter().any(|setting| matches!(setting.origin, Origin::File(_)))
}

/// A reload as an operator is told of it.
fn concluded(outcome: Result<Changes, String>, at: SystemTime) -> Reload {
    let (changes, error) = match outcome {
        Ok(changes) => (changes, None),
        Err(problems) => (Changes::default(), Some(problems)),
    };
    let Changes { applied, needs_restart } = changes;
    Reload { at: Timestamp::from(at).as_str().to_owned(), error, applied, needs_restart }
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}
