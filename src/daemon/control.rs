//! What a running daemon is told: by the admin socket, by SIGHUP, by a time that is up.
//!
//! Owned by the daemon's own task. It changes the log's level and the lanes' rules; to make ready and to stop is the
//! daemon's to do, so it gives that back.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, watch};

use super::ServiceManager;
use crate::admin::desk::{Command, LastReload, Settings};
use crate::config::{Changes, Inputs, Resolved, after_reload, changes, resolve};
use crate::kinesis::identity::Identity;
use crate::lane::Rules;
use crate::telemetry::log::{self, Log};
use crate::telemetry::metrics::Metrics;

/// The control's parts.
#[derive(Debug)]
pub struct Control {
    /// What the configuration was made from; the file is read again.
    pub inputs: Inputs,
    /// Asked for anew by a reload.
    pub identity: Identity,
    /// The configuration that runs.
    pub running: Resolved,
    pub log: Log,
    pub commands: mpsc::Receiver<Command>,
    pub rules: watch::Sender<Rules>,
    /// What is known of the stream is asked again.
    pub reloads: watch::Sender<()>,
    pub settings: watch::Sender<Settings>,
    pub metrics: Arc<Metrics>,
    /// Events do not wait for company any more, whatever is configured.
    pub lingers: bool,
    pub manager: ServiceManager,
}

/// What is the daemon's to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Drain,
    Quit,
}

impl Control {
    /// Does what is told until something is asked of the daemon. Dropped in between, it forgets one command at most,
    /// whose sender hears of it.
    pub async fn next(&mut self, reloads: &mut mpsc::Receiver<()>) -> Asked {
        loop {
            let reverts_at = self.settings.borrow().reverts_at;
            tokio::select! {
                biased;
                () = sleep_until(reverts_at) => self.revert_log_level(),
                Some(()) = reloads.recv() => {
                    self.reload().await;
                }
                Some(command) = self.commands.recv() => match command {
                    // Who asked may have given up waiting for any of these.
                    Command::LogLevel { level, lasts, reply } => {
                        let until = lasts.map(|lasts| Instant::now() + lasts);
                        let _ = reply.send(self.set_log_level(level, until));
                    }
                    Command::Reload { reply } => {
                        let _ = reply.send(self.reload().await);
                    }
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

    /// The same while the daemon stops: there is nothing more to ask of it.
    pub async fn until_the_end(&mut self, reloads: &mut mpsc::Receiver<()>) -> Infallible {
        loop {
            self.next(reloads).await;
        }
    }

    /// From now on events do not wait for company.
    pub fn stop_lingering(&mut self) {
        self.lingers = false;
        self.rules.send_replace(self.rules());
    }

    fn rules(&self) -> Rules {
        let rules = Rules::of(&self.running.config);
        Rules { linger: if self.lingers { rules.linger } else { Duration::ZERO }, ..rules }
    }

    fn set_log_level(&mut self, level: String, until: Option<Instant>) -> Result<(), String> {
        self.log.set(&level).map_err(|error| error.to_string())?;
        tracing::info!(level, for_a_time = until.is_some(), "the log's level was set by an operator");
        self.settings.send_modify(|settings| (settings.log_level, settings.reverts_at) = (level, until));
        Ok(())
    }

    fn revert_log_level(&mut self) {
        let level = self.running.config.log.level.clone();
        tracing::info!(level, "the log's level is the configured one again");
        if let Err(error) = self.log.set(&level) {
            tracing::error!(%error, level, "the configured level is refused: this is a defect of dispatchd, please report it");
        }
        self.settings.send_modify(|settings| (settings.log_level, settings.reverts_at) = (level, None));
    }

    async fn reload(&mut self) -> LastReload {
        self.identity.forget(); // before the lanes hear of it and try the stream
        self.manager.reloading();
        let outcome = self.take_over().await;
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
                "the configuration was read again and is refused, the old one holds: mend it and reload once more"
            ),
        }
        self.metrics.config_last_reload_successful.set(f64::from(u8::from(outcome.is_ok())));
        let done = LastReload { at: SystemTime::now(), outcome };
        self.settings.send_modify(|settings| settings.last_reload = Some(done.clone()));
        self.manager.ready(); // whichever configuration it is that holds now
        done
    }

    /// Reads the configuration again and lets the safe part of it hold; nothing of one with a problem.
    async fn take_over(&mut self) -> Result<Changes, String> {
        let inputs = self.inputs.clone();
        // A file may lie on a disk that hangs.
        let read = tokio::task::spawn_blocking(move || resolve(&inputs)).await.map_err(|error| error.to_string())?;
        let read = read.map_err(|problems| problems.to_string())?;
        let level = read.config.log.level.clone();
        log::check(&level).map_err(|error| error.to_string())?;
        let changes = changes(&self.running, &read);
        let level_changed = level != self.running.config.log.level;
        self.running = after_reload(&self.running, read);
        // Even the same rules are sent: lanes that are blocked try the stream then.
        self.rules.send_replace(self.rules());
        self.reloads.send_replace(());
        if level_changed && self.settings.borrow().reverts_at.is_none() {
            self.log.set(&level).map_err(|error| error.to_string())?;
            self.settings.send_modify(|settings| settings.log_level = level);
        }
        Ok(changes)
    }
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}
