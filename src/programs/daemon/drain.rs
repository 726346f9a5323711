//! The drain: which stage of the stop begins when. It ends tasks by cancelling their tokens, and
//! moves no event.

use std::pin::pin;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::inputs::callers::Callers;
use crate::programs::signals::{another_wish, tell_died};
use dispatchd_core::model::envelope::Timestamp;
use dispatchd_producer::counters::InputCounters;

/// How much of `shutdown.timeout` is kept for delivery once readers have stopped: a third of it,
/// but at most this.
const RESERVE_MAX: Duration = Duration::from_secs(5);
/// How much of that reserve is kept for writing answers once everything is answered: half of it,
/// but at most this.
const FLUSH_MAX: Duration = Duration::from_secs(1);
/// Callers that sent nothing for this long have nothing more to say: an application writes its last
/// lines right after its own signal.
const LAST_LINES: Duration = Duration::from_secs(2);
/// The time between two looks at what is in flight. Two looks in a row must find nothing: an answer
/// may just be bringing the next line.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The stages of the stop, each of them a token that its tasks wait for.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop {
    pub drain: CancellationToken,
    pub stop_reading: CancellationToken,
    pub abandon: CancellationToken,
}

/// What a stop takes into account.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    pub signals: &'a mut mpsc::Receiver<()>,
    pub counters: &'a InputCounters,
    pub callers: &'a Callers,
    /// How many callers are connected when the stop begins.
    pub connected: usize,
}

impl Stop {
    /// Ends the tasks in order, stage by stage as the deadline nears; in a hurry, all stages at
    /// once. Returns whether a task died.
    pub(super) async fn drain(
        &self,
        tasks: &mut JoinSet<()>,
        seen: Seen<'_>,
        timeout: Duration,
        mut hurry: bool,
    ) -> bool {
        let began = Instant::now();
        let reserve = (timeout / 3).min(RESERVE_MAX);
        let flush = (reserve / 2).min(FLUSH_MAX);
        let Seen { signals, counters, callers, connected } = seen;
        self.drain.cancel();
        if connected > 0 && !hurry {
            tell_waiting(connected, timeout - reserve);
        }
        // Outside of the wait: a task that died counts, whether or not the others end in time.
        let mut task_died = false;
        'stages: {
            let mut all_ended = pin!(async {
                while let Some(ended) = tasks.join_next().await {
                    task_died |= tell_died(ended);
                }
            });
            let mut another_wish = pin!(another_wish(signals, began));
            let mut idle = pin!(idle(counters, callers, began));
            let mut are_waited_for = true;
            for (wait, stage) in
                [(timeout - reserve, &self.stop_reading), (reserve - flush, &self.abandon)]
            {
                if !hurry {
                    tokio::select! {
                        biased;
                        () = &mut all_ended => break 'stages,
                        () = &mut another_wish => hurry = true,
                        () = &mut idle, if are_waited_for => {}
                        () = sleep(wait) => {}
                    }
                }
                are_waited_for = false;
                stage.cancel();
            }
            // Answers are being written. A peer that takes none is not waited for any longer.
            let _ = tokio::time::timeout(flush, all_ended).await;
        }
        task_died
    }
}

fn tell_waiting(connected: usize, at_most: Duration) {
    let until = SystemTime::now() + at_most;
    let until = Timestamp::from(until);
    tracing::info!(
        connected,
        until = until.as_str(),
        "callers are connected and may send their last lines: waiting for them to close, until \
         nothing is in flight and no line has come for 2 s, or until then"
    );
}

/// Ends once nothing is in flight and no line has come for [`LAST_LINES`], from the later of the
/// signal and the last line.
async fn idle(counters: &InputCounters, callers: &Callers, began: Instant) {
    let mut looks = 0;
    loop {
        let last = callers.last_heard().map(|last| began.max(last.into()));
        let is_quiet = last.is_some_and(|last| last.elapsed() >= LAST_LINES);
        looks = if is_quiet && counters.snapshot().in_flight() == 0 { looks + 1 } else { 0 };
        if looks == 2 {
            tracing::info!(
                "nothing is in flight and no line has come for 2 s: callers that are still \
                 connected are not waited for"
            );
            return;
        }
        let next_look = Instant::now() + LOOK_EVERY;
        sleep_until(last.map_or(next_look, |last| next_look.max(last + LAST_LINES))).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test(start_paused = true)]
    async fn a_caller_is_waited_for_from_the_later_of_the_signal_and_its_last_line() {
        let (counters, callers) =
            (InputCounters::default(), Arc::new(Callers::new(Instant::now().into_std())));
        sleep(10 * LAST_LINES).await;
        let began = Instant::now();
        let waiting = {
            let (counters, callers) = (counters.clone(), Arc::clone(&callers));
            tokio::spawn(async move { idle(&counters, &callers, began).await })
        };
        for _ in 0..4 {
            sleep(LAST_LINES / 2).await;
            callers.heard(Instant::now().into_std());
        }
        waiting.await.expect("it does not panic");
        let (took, least) = (began.elapsed(), 3 * LAST_LINES);
        assert!(took >= least && took <= least + 3 * LOOK_EVERY, "{took:?}");
    }

    /// What could go wrong: a peer that takes no answers makes the last wait end too early to hear
    /// of a task that died long before, and the daemon ends as if nothing had happened.
    #[tokio::test(start_paused = true)]
    async fn a_task_that_died_is_told_of_even_where_another_does_not_end_in_time() {
        let (counters, callers) =
            (InputCounters::default(), Callers::new(Instant::now().into_std()));
        let (_signal, mut signals) = mpsc::channel(1);
        let mut tasks = JoinSet::new();
        tasks.spawn(async { panic!("a defect") });
        tasks.spawn(std::future::pending());
        let seen =
            Seen { signals: &mut signals, counters: &counters, callers: &callers, connected: 1 };
        let timeout = Duration::from_secs(25);
        assert!(Stop::default().drain(&mut tasks, seen, timeout, false).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_whose_lines_have_no_room_is_not_idle() {
        let (counters, callers) =
            (InputCounters::default(), Callers::new(Instant::now().into_std()));
        let held_up = callers.hold_up();
        let waits = async |time| {
            tokio::time::timeout(time, idle(&counters, &callers, Instant::now())).await
        };
        assert!(waits(100 * LAST_LINES).await.is_err());
        drop(held_up);
        assert!(waits(2 * LAST_LINES).await.is_ok());
    }
}
