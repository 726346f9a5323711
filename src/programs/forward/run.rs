//! The forwarder while it runs: it starts the targets, waits for a reason to stop, and has them
//! stop. Nothing here looks at a record.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::supervisor::{Failed, Supervisor};
use super::{Ended, Forwarder, StartError};
use crate::http_server::probes::State;
use crate::programs::control::Asked;
use crate::programs::signals::{Signals, another_wish, tell_died};

impl Forwarder {
    /// Delivers until it is told to stop, then drains. A second signal gives up at once what is
    /// left.
    ///
    /// # Errors
    /// If the admin thread cannot be started.
    pub(crate) async fn run(self, mut signals: Signals) -> Result<Ended, StartError> {
        let Self { kinesis, mut supervisor, admin, admin_socket, admin_address, mut control } =
            self;
        let timeout = control.running.config.shutdown.timeout;
        control.show(State::Starting);
        admin.spawn()?;
        let mut background = JoinSet::new();
        if let Some(socket) = admin_socket {
            background.spawn(socket.run());
        }
        control.show(State::Running);
        control.manager.ready();
        let names = control.running.config.forward.targets.iter().map(|target| &*target.name);
        tracing::info!(
            stream = control.running.config.stream.id.as_str(),
            targets = names.collect::<Vec<_>>().join(", "),
            admin = admin_address,
            version = env!("CARGO_PKG_VERSION"),
            endpoint = kinesis.endpoint(),
            region = kinesis.region(),
            "ready"
        );

        let mut ended = Ended::default();
        let why = loop {
            tokio::select! {
                biased;
                _ = signals.stop.recv() => break "a signal",
                failed = supervisor.run() => {
                    note(failed, &mut ended);
                    break "a target ended";
                }
                asked = control.next(&mut signals.reload) => match asked {
                    Asked::Quit => break "an operator",
                    Asked::Drain => {
                        control.show(State::Draining);
                        tracing::info!(
                            "an operator asked to drain: not ready any more. It delivers on until \
                             it is stopped"
                        );
                    }
                },
            }
        };
        control.show(State::Draining);
        control.manager.stopping();
        let began = Instant::now();
        tracing::info!(in_flight = supervisor.unanswered(), why, "draining");
        tokio::select! {
            () = drain(&mut supervisor, &mut signals.stop, timeout, &mut ended) => {}
            never = control.until_the_end(&mut signals.reload) => match never {},
        }
        background.shutdown().await;
        tell_ended(ended, began.elapsed());
        Ok(ended)
    }
}

/// Has the targets stop, until the time is up or somebody has had enough.
async fn drain(
    supervisor: &mut Supervisor,
    signals: &mut mpsc::Receiver<()>,
    timeout: Duration,
    ended: &mut Ended,
) {
    let began = Instant::now();
    tokio::select! {
        biased;
        stopped = supervisor.stop() => {
            if let Err(failed) = stopped {
                note(failed, ended);
            }
            return;
        }
        () = another_wish(signals, began) => {}
        () = sleep(timeout) => {}
    }
    (ended.cut_short, ended.unanswered) = (true, supervisor.unanswered());
}

fn note(failed: Failed, ended: &mut Ended) {
    match failed {
        Failed::Read { target, error } => {
            ended.failed = true;
            tracing::error!(target_name = target, %error, "the stream cannot be read");
        }
        Failed::Died(error) => {
            ended.task_died = true;
            tell_died(Err(error));
        }
    }
}

fn tell_ended(ended: Ended, took: Duration) {
    let took_ms = took.as_millis() as u64;
    if !ended.cut_short {
        tracing::info!(took_ms, "stopped: nothing was under way, and what is done is kept");
    } else if ended.unanswered == 0 {
        tracing::error!(
            took_ms,
            "stopped before every target had: the next start sends again what came after the last \
             checkpoints. Raise shutdown.timeout above exec_grace, or see whether checkpoints can \
             be written"
        );
    } else {
        tracing::error!(
            took_ms,
            unanswered = ended.unanswered,
            "stopped with requests that were not answered: the next start sends their records \
             again. Raise shutdown.timeout above the targets' timeout, or see why they take so long"
        );
    }
}
