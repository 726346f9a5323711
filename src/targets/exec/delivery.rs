//! The loop of one shard: a child, the dialogue with it, and the next child where it fails.
//!
//! It decides nothing that `dispatchd_consumer::dialogue` can decide; here are the clock, the
//! pipes, the stream and the store.

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dispatchd_consumer::delivery::{self, Checkpoint, FailureKind, Response, Standing};
use dispatchd_consumer::dialogue::{Dialogue, Heard, Page, PageMessage, Restart, Restarts};
use dispatchd_consumer::recovery::ReadError;
use dispatchd_consumer::window::PageBytes;
use dispatchd_core::model::CallError;
use dispatchd_core::model::read::StartingPosition;
use dispatchd_core::wire::multilang::{Action, RecordsMessage, Refusal, Skipped};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::child::{Child, Event};
use super::failure::{Cause, Failure};
use super::{ExecMetrics, Settings};
use crate::consumer::{Chunk, End, ShardSource};
use crate::targets::board::ShardPlace;
use crate::targets::metrics::TargetMetrics;

/// How long a child may take to end once it has done everything: it has nothing left to say.
const END_AFTER_LAST: Duration = Duration::from_secs(10);

/// Characters of a line that is shown where it is no message.
const SHOWN_CHARS_MAX: usize = 200;

/// A shard to be delivered, and what its delivery needs.
pub(crate) struct Shard<S> {
    pub shard: Arc<str>,
    /// Where its source begins to read.
    pub start: StartingPosition,
    /// What was stored before.
    pub checkpoint: Option<Checkpoint>,
    /// Stores a checkpoint. Where it cannot, it has told why.
    pub store: S,
    /// Where it is shown how the shard stands.
    pub place: ShardPlace,
    /// What every target counts.
    pub counted: Arc<TargetMetrics>,
    /// Cancelled when everything is to stop.
    pub stop: CancellationToken,
    /// Changes when what failed is to be tried at once.
    pub retries: watch::Receiver<()>,
}

/// Delivers a shard to one child after the other, until a child has set its end or all is to stop.
/// Dropped, it ends the child at once.
///
/// # Errors
/// The stream cannot be read, and waiting will not help.
pub(crate) async fn deliver<S, F>(
    settings: Arc<Settings>,
    metrics: Arc<ExecMetrics>,
    source: ShardSource,
    shard: Shard<S>,
) -> Result<End, ReadError>
where
    S: Fn(Checkpoint) -> F,
    F: Future<Output = Result<(), Refusal>>,
{
    let begins_by_time = matches!(shard.start, StartingPosition::Latest);
    Delivery {
        settings,
        metrics,
        source,
        keeps_start: begins_by_time && shard.checkpoint.is_none(),
        shard,
        unread: Unread::default(),
        restarts: Restarts::default(),
    }
    .run()
    .await
}

struct Delivery<S> {
    settings: Arc<Settings>,
    metrics: Arc<ExecMetrics>,
    source: ShardSource,
    shard: Shard<S>,
    unread: Unread,
    /// Whether it is still to be stored from when on records are wanted.
    keeps_start: bool,
    restarts: Restarts<Cause>,
}

/// What was taken from the source and not told yet.
#[derive(Default)]
struct Unread {
    page: Option<Page<PageBytes>>,
    /// How far behind a page was that had no records, if children are told of such pages.
    empty: Option<u64>,
    /// Whether the shard was read to its end.
    is_end: bool,
    /// Whether anything was taken since the source began: then another child needs it to begin
    /// again.
    took: bool,
}

/// How a child is no longer needed, or how it failed.
enum Over {
    /// It has set the end of the shard.
    ShardEnded,
    /// It was told to leave, and has left or its time is up.
    Left(Leaving),
    Failed(Failure),
}

/// Why no more records are told.
enum Leaving {
    Stop,
    /// The stream has forgotten the shard.
    Gone(CallError),
}

/// One child's time.
struct Life {
    child: Child,
    dialogue: Dialogue,
    answer_by: Instant,
    /// The message that it has in hand: how many records, and since when.
    in_hand: Option<(usize, Instant)>,
    leaving: Option<Leaving>,
    /// When a child that is to leave is killed.
    leave_by: Instant,
    was_asked_to_shut_down: bool,
    /// Whether a line of it that is no message was told.
    told_skipped: bool,
}

/// What is left of a child.
struct Remains {
    pid: i32,
    status: Option<ExitStatus>,
}

impl<S, F> Delivery<S>
where
    S: Fn(Checkpoint) -> F,
    F: Future<Output = Result<(), Refusal>>,
{
    async fn run(mut self) -> Result<End, ReadError> {
        loop {
            let began = Instant::now();
            let (over, remains) = match Child::start(&self.settings.command, &self.shard.shard) {
                Err(error) => (Over::Failed(Failure::NotStarted(error)), None),
                Ok(child) => {
                    let _running = self.metrics.running();
                    let mut life = self.begin(child);
                    let over = self.live(&mut life).await?;
                    self.count_lost(&life, &over);
                    let remains = self.end(life, &over).await;
                    (over, Some(remains))
                }
            };
            match over {
                Over::ShardEnded => return Ok(End::Finished),
                // The end is stored: nothing is left for another child.
                Over::Failed(failure) if self.shard.checkpoint == Some(Checkpoint::End) => {
                    self.metrics.failed(failure.cause());
                    return Ok(End::Finished);
                }
                Over::Left(Leaving::Stop) => return Ok(End::Unheard),
                Over::Left(Leaving::Gone(call)) => return Ok(End::NotFound(call)),
                Over::Failed(failure) => {
                    let wait = self.failed(&failure, remains, began.elapsed());
                    self.shard.retries.mark_unchanged(); // what was asked before is past
                    tokio::select! {
                        biased;
                        () = self.shard.stop.cancelled() => return Ok(End::Unheard),
                        Ok(()) = self.shard.retries.changed() => self.begin_again(),
                        () = sleep(wait) => self.begin_again(),
                    }
                }
            }
        }
    }

    fn begin(&self, mut child: Child) -> Life {
        let (shard, pid) = (&*self.shard.shard, child.pid());
        let Settings { target_name, command, .. } = &*self.settings;
        tracing::info!(target_name, shard, pid, %command, "a child began");
        let mut dialogue = Dialogue::new(self.shard.checkpoint.clone());
        child.write(dialogue.initialize(shard));
        let now = Instant::now();
        Life {
            child,
            dialogue,
            answer_by: now + self.settings.answer_timeout,
            in_hand: None,
            leaving: None,
            leave_by: now,
            was_asked_to_shut_down: false,
            told_skipped: false,
        }
    }

    /// Has what was taken from the source read again, behind what is done.
    fn begin_again(&mut self) {
        if self.unread.took {
            self.unread = Unread::default();
            self.source.begin_again(match &self.shard.checkpoint {
                None => self.shard.start.clone(),
                Some(Checkpoint::From(time)) => StartingPosition::At(*time),
                // The rest of a packed record is wanted, so it is read again as a whole.
                Some(Checkpoint::After(place)) => {
                    StartingPosition::AtRecord(place.sequence_number.clone())
                }
                Some(Checkpoint::End) => unreachable!("a shard that has ended has no next child"),
            });
        }
    }

    /// # Errors
    /// The stream cannot be read, and waiting will not help.
    async fn live(&mut self, life: &mut Life) -> Result<Over, ReadError> {
        loop {
            if life.dialogue.awaited().is_none()
                && let Some(line) = self.next_line(life)
            {
                life.write(line, &self.settings);
            }
            let wants_page = self.unread.is_told() && life.leaving.is_none();
            tokio::select! {
                // A child that never stops printing stops neither clock.
                biased;
                () = sleep_until(life.leave_by), if life.leaving.is_some() => {
                    return Ok(life.left());
                }
                () = sleep_until(life.answer_by), if life.dialogue.awaited().is_some() => {
                    let action = life.dialogue.awaited().expect("it was just looked at");
                    let within = self.settings.answer_timeout;
                    return Ok(Over::Failed(Failure::Unanswered { action, within }));
                }
                () = self.shard.stop.cancelled(), if life.leaving.is_none() => {
                    life.leave(Leaving::Stop, &self.settings);
                }
                event = life.child.event() => {
                    if let Some(over) = self.event(life, event).await {
                        return Ok(over);
                    }
                }
                read = self.source.next(), if wants_page => self.take(life, read?).await,
            }
        }
    }

    /// What a child whose turn it is not is told next.
    fn next_line(&mut self, life: &mut Life) -> Option<Vec<u8>> {
        let dialogue = &mut life.dialogue;
        if life.leaving.is_some() {
            let was_asked = std::mem::replace(&mut life.was_asked_to_shut_down, true);
            let action = if was_asked { Action::LeaseLost } else { Action::ShutdownRequested };
            return Some(dialogue.tell(action));
        }
        if let Some(page) = &mut self.unread.page {
            let after = match &self.shard.checkpoint {
                Some(Checkpoint::After(place)) => Some(place),
                _ => None,
            };
            if let Some(PageMessage { message, last, behind_ms }) =
                page.next(after, self.settings.records_max)
            {
                life.in_hand = Some((message.records_count(), Instant::now()));
                self.shard.place.show(|shown| shown.in_flight = 1);
                return Some(dialogue.records(message, Some(&last), behind_ms));
            }
            self.unread.page = None;
        }
        if let Some(behind_ms) = self.unread.empty.take() {
            return Some(dialogue.records(RecordsMessage::default(), None, behind_ms));
        }
        self.unread.is_end.then(|| dialogue.tell(Action::ShardEnded))
    }

    async fn take(&mut self, life: &mut Life, read: Result<Chunk, End>) {
        self.unread.took = true;
        match read {
            Ok(chunk) => {
                if self.keeps_start {
                    self.keep_start(chunk.began).await;
                }
                let (records, behind) = (chunk.records, chunk.millis_behind_latest);
                let oldest = records.first().and_then(|record| record.arrived);
                self.shard.place.show(|shown| {
                    (shown.millis_behind_latest, shown.oldest) = (behind, oldest);
                });
                if !records.is_empty() {
                    self.unread.page = Some(Page::new(records, behind, chunk.held));
                } else if self.settings.tells_empty {
                    self.unread.empty = Some(u64::try_from(behind).unwrap_or(0));
                }
            }
            Err(End::Finished) => self.unread.is_end = true,
            Err(End::NotFound(call)) => life.leave(Leaving::Gone(call), &self.settings),
            Err(End::Unheard) => unreachable!("the source is heard as long as it is here"),
        }
    }

    /// So that a start after this one skips nothing, though no child has set a checkpoint. Where it
    /// cannot be stored, it is tried with the next page.
    async fn keep_start(&mut self, began: SystemTime) {
        let from = Checkpoint::From(began);
        self.shard.checkpoint.get_or_insert(from.clone());
        self.keeps_start = self.keep(from).await.is_err();
    }

    async fn keep(&mut self, at: Checkpoint) -> Result<(), Refusal> {
        (self.shard.store)(at.clone()).await?;
        self.keeps_start = false;
        self.shard.checkpoint = Some(at.clone());
        let now = Instant::now().into_std();
        self.shard.place.show(|shown| (shown.checkpoint, shown.kept_at) = (Some(at), Some(now)));
        Ok(())
    }

    async fn event(&mut self, life: &mut Life, event: Event) -> Option<Over> {
        match event {
            Event::Line(line) => self.heard(life, &line).await,
            Event::LongLine => {
                self.skipped(life, "is longer than any message", b"");
                None
            }
            // That is what it was asked to do.
            Event::Ended(_) if life.leaving.is_some() => Some(life.left()),
            Event::Ended(status) => Some(Over::Failed(Failure::Exited(status))),
            Event::OutputClosed => Some(Over::Failed(Failure::OutputClosed)),
        }
    }

    async fn heard(&mut self, life: &mut Life, line: &[u8]) -> Option<Over> {
        match life.dialogue.heard(line) {
            Heard::Skipped(Skipped::Blank) => {}
            Heard::Skipped(Skipped::NotJson) => self.skipped(life, "is no JSON object", line),
            Heard::Skipped(Skipped::OtherAction) => {
                self.skipped(life, "is no message of a processor", line);
            }
            Heard::Skipped(Skipped::UnknownMember) => {
                self.skipped(life, "has a member that the protocol does not know", line);
            }
            Heard::Unasked => {
                self.skipped(life, "says again that something is done", line);
            }
            Heard::Done(Action::ShardEnded) => return Some(Over::ShardEnded),
            Heard::Done(Action::LeaseLost) => return Some(life.left()),
            Heard::Done(Action::ProcessRecords) => self.processed(life),
            Heard::Done(Action::Initialize | Action::ShutdownRequested) => {}
            Heard::Store(checkpoint) => {
                let stored = self.keep(checkpoint).await;
                if stored.is_ok() {
                    self.came_further();
                }
                let answer = life.dialogue.stored(stored);
                life.write(answer, &self.settings);
            }
            Heard::Answer(answer) => life.write(answer, &self.settings),
            Heard::Broken(breach) => return Some(Over::Failed(breach.into())),
        }
        None
    }

    /// The child has done what it had in hand.
    fn processed(&mut self, life: &mut Life) {
        if let Some((records, since)) = life.in_hand.take() {
            self.shard.counted.delivered.increment(records as u64);
            self.shard.counted.attempt(&Response::Delivered, records, since.elapsed());
        }
        let oldest = self.unread.page.as_ref().and_then(Page::oldest);
        self.shard.place.show(|shown| {
            (shown.in_flight, shown.oldest) = (0, oldest);
            (shown.standing, shown.failing) = (Standing::Delivering, None);
        });
    }

    fn came_further(&mut self) {
        if self.restarts.came_further() {
            let (target_name, shard) = (&self.settings.target_name, &*self.shard.shard);
            tracing::info!(target_name, shard, "the shard goes on: its child has set a checkpoint");
        }
    }

    /// Counts a line that is no message, and shows a child's first one.
    fn skipped(&self, life: &mut Life, why: &str, line: &[u8]) {
        self.metrics.lines_skipped.increment(1);
        if !std::mem::replace(&mut life.told_skipped, true) {
            let shown: String =
                String::from_utf8_lossy(line).chars().take(SHOWN_CHARS_MAX).collect();
            tracing::warn!(
                target_name = self.settings.target_name,
                shard = &*self.shard.shard,
                pid = life.child.pid(),
                line = shown,
                "a line on the child's standard output {why}: it is skipped, as the next ones are, \
                 which are counted and not shown; what a processor prints belongs on standard error"
            );
        }
    }

    /// Has the child end, as what became of it permits.
    async fn end(&self, life: Life, over: &Over) -> Remains {
        let Life { mut child, leave_by, .. } = life;
        let (shard, pid) = (&*self.shard.shard, child.pid());
        let target_name = &self.settings.target_name;
        let until = match over {
            Over::Failed(_) => return Remains { pid, status: child.kill().await },
            Over::ShardEnded => Instant::now() + END_AFTER_LAST,
            Over::Left(_) => leave_by,
        };
        let status = child.finish(until).await;
        match status {
            Some(status) => tracing::info!(target_name, shard, pid, %status, "the child has ended"),
            None => tracing::warn!(
                target_name,
                shard,
                pid,
                "the child did not end in time and was killed: what came after its last checkpoint \
                 comes again; where it needs longer, raise exec_grace"
            ),
        }
        Remains { pid, status }
    }

    /// Counts the message that a child which failed had in hand.
    fn count_lost(&self, life: &Life, over: &Over) {
        if let (Over::Failed(failure), Some((records, since))) = (over, life.in_hand) {
            let failed = Response::Failed(said(failure));
            self.shard.counted.attempt(&failed, records, since.elapsed());
        }
    }

    /// Tells of a failure, if it is time to. Returns the wait before the next child.
    fn failed(&mut self, failure: &Failure, remains: Option<Remains>, lived: Duration) -> Duration {
        self.metrics.failed(failure.cause());
        self.show_failure(failure);
        let now = Instant::now().into_std();
        let Restart { wait, tell } =
            self.restarts.failed(failure.cause(), lived, now, &mut rand::rng());
        if let Some(times) = tell {
            let status = remains.as_ref().and_then(|remains| remains.status);
            tracing::warn!(
                target_name = self.settings.target_name,
                shard = &*self.shard.shard,
                pid = remains.map(|remains| remains.pid),
                status = status.map(|status| status.to_string()),
                times,
                next_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                "{failure}; another goes on behind the last checkpoint, and nothing is lost: {}",
                failure.advice()
            );
        }
        wait
    }

    /// So that an operator who asks sees it until a child has done something.
    fn show_failure(&self, failure: &Failure) {
        let said = said(failure);
        self.shard.place.show(|shown| {
            let since = shown.failing.as_ref().map(|(since, _)| *since);
            (shown.standing, shown.in_flight) = (Standing::Retrying(said.kind), 0);
            shown.failing = Some((since.unwrap_or_else(|| Instant::now().into_std()), said));
        });
    }
}

/// A failure as those of other targets are shown and counted.
fn said(failure: &Failure) -> delivery::Failure {
    delivery::Failure {
        kind: FailureKind::Failed,
        status: None,
        reason: failure.to_string(),
        body: None,
        retry_after: None,
    }
}

impl Unread {
    /// Whether all of it was told: then the next page is wanted.
    fn is_told(&self) -> bool {
        self.page.is_none() && self.empty.is_none() && !self.is_end
    }
}

impl Life {
    /// Writes a line; the child's time to answer begins.
    fn write(&mut self, line: Vec<u8>, settings: &Settings) {
        self.child.write(line);
        self.answer_by = Instant::now() + settings.answer_timeout;
    }

    fn leave(&mut self, why: Leaving, settings: &Settings) {
        self.leaving = Some(why);
        self.leave_by = Instant::now() + settings.stop_grace;
    }

    fn left(&mut self) -> Over {
        Over::Left(self.leaving.take().unwrap_or(Leaving::Stop))
    }
}
