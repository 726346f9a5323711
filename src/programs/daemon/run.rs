//! The daemon while it runs: it starts the tasks, waits for a reason to stop, and has them drained.
//!
//! Nothing here can fail but the start of the admin thread, and nothing here looks at an event.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::drain::Seen;
use super::{Daemon, Ended, StartError};
use crate::http_server::probes::State;
use crate::inputs::presence::Presence;
use crate::programs::control::Asked;
use crate::programs::signals::{Signals, tell_died};
use crate::schema::watch_folder;
use dispatchd_aws::Kinesis;
use dispatchd_core::model::Code;

/// How long the log's line `ready` is held back, at most, until it can say whose requests they will
/// be. The daemon serves meanwhile.
const IDENTITY_WAIT: Duration = Duration::from_secs(1);

impl Daemon {
    /// Serves until it is told to stop, then drains. A second signal gives up at once what is left.
    ///
    /// # Errors
    /// If the admin thread cannot be started.
    pub(crate) async fn run(self, mut signals: Signals) -> Result<Ended, StartError> {
        let Self { kinesis, counters, listener, callers, presence, lanes, refresher, .. } = self;
        let Self { http_listener, kinesis_api, admin, admin_socket, admin_address, .. } = self;
        let Self { mut control, stop, .. } = self;
        let config = &control.running.config;
        let (path, shutdown) = (config.socket.path.clone(), config.shutdown.clone());
        control.show(State::Starting);
        admin.spawn()?;

        let mut tasks = JoinSet::new();
        tasks.spawn(listener.run());
        let http = http_listener.as_ref().and_then(|(listener, _)| listener.address());
        if let Some((listener, server)) = http_listener {
            tasks.spawn(listener.run(server));
        }
        let aws = kinesis_api.as_ref().and_then(|(listener, _)| listener.address());
        if let Some((listener, server)) = kinesis_api {
            tasks.spawn(listener.run(server));
        }
        for lane in lanes {
            tasks.spawn(lane.run());
        }
        let mut background = JoinSet::new();
        background.spawn(refresher.run()); // ends with the daemon: it holds nothing of a caller's
        background.spawn(watch_folder(Arc::clone(&control.taker.gate)));
        if let Some(socket) = admin_socket {
            background.spawn(socket.run());
        }
        control.show(State::Running);
        control.manager.ready();
        let identity = who(&kinesis).await;
        tracing::info!(
            socket = %path.display(),
            http = http.map(|address| address.to_string()),
            kinesis_api = aws.map(|address| address.to_string()),
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
                () = &mut left_alone => break "no client is connected any more \
                                               (shutdown.after_last_client)",
                asked = control.next(&mut signals.reload) => match asked {
                    Asked::Quit => break "an operator",
                    Asked::Drain => {
                        control.show(State::Draining);
                        control.taker.stop_lingering(&control.running.config);
                        tracing::info!(
                            "an operator asked to drain: not ready any more, nothing lingers. It \
                             serves on until it is stopped"
                        );
                    }
                },
            }
        };
        control.show(State::Draining);
        control.manager.stopping();
        let began = Instant::now();
        tracing::info!(in_flight = counters.snapshot().in_flight(), why, "draining");
        let connected = presence.borrow().connected;
        let seen =
            Seen { signals: &mut signals.stop, counters: &counters, callers: &callers, connected };
        task_died |= tokio::select! {
            died = stop.drain(&mut tasks, seen, shutdown.timeout, task_died) => died,
            never = control.until_the_end(&mut signals.reload) => match never {},
        };
        background.shutdown().await; // before the runtime goes, or its last call fails aloud
        let (events, unread) = (counters.snapshot(), callers.unread_lines());
        let unconfirmed = events.refused(Code::ShuttingDown) + events.in_flight() + unread;
        let ended = Ended { unconfirmed, task_died };
        tell_ended(ended, unread, events.acked, began.elapsed());
        Ok(ended)
    }
}

/// Says whose requests they will be, for the log. The daemon does not wait for the answer for
/// longer than [`IDENTITY_WAIT`].
async fn who(kinesis: &Kinesis) -> String {
    match tokio::time::timeout(IDENTITY_WAIT, kinesis.credentials_info()).await {
        Ok(Ok(info)) => info.to_string(),
        Ok(Err(error)) => format!("none: {}", error.message),
        Err(_) => "not known yet: the source of credentials has not answered".to_owned(),
    }
}

/// Ends once there was a client and none has been connected for `after`; never, if `after` is
/// `None`.
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
            "stopped with events unconfirmed: their callers were told to send them again, but for \
             those that had closed, whose lines were left unread. Raise shutdown.timeout, or see \
             why Kinesis took nothing"
        );
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

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
