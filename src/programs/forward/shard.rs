//! One shard on its way to one target: reads, sends, keeps checkpoints, as the delivery says.
//!
//! What is done next is `dispatchd_consumer::delivery`'s to decide; this is the task around it. It
//! ends when the shard is delivered to its end, or when it is told to stop and nothing is out.

use std::pin::pin;
use std::sync::Arc;
use std::time::SystemTime;

use dispatchd_consumer::delivery::{
    BatchId, Checkpoint, End, Failure, FailureKind, Now, Response, ShardDelivery, Standing, Step,
};
use dispatchd_consumer::recovery::ReadError;
use dispatchd_consumer::window::PageBytes;
use dispatchd_core::model::CallError;
use dispatchd_core::model::read::StartingPosition;
use dispatchd_core::wire::multilang::Refusal;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::target::Target;
use super::unpack::Unpacking;
use crate::consumer::{self, Chunk, ReaderShared, ShardSource};
use crate::targets::board::ShardPlace;
use crate::targets::exec::{self, ExecMetrics};

/// A shard and its target.
pub(super) struct ShardTask {
    pub target: Arc<Target>,
    pub shard: Arc<str>,
    pub position: StartingPosition,
    pub checkpoint: Option<Checkpoint>,
    pub shared: ReaderShared,
    pub place: ShardPlace,
    pub stop: CancellationToken,
    /// Changes when what failed is to be tried at once.
    pub retries: watch::Receiver<()>,
}

/// The task while it runs.
struct Running {
    target: Arc<Target>,
    shard: Arc<str>,
    place: ShardPlace,
    delivery: ShardDelivery<Arc<PageBytes>>,
    /// The page that is not all taken in, for want of room.
    page: Option<Unpacking>,
    under_way: JoinSet<Outcome>,
    /// Of what is under way: requests to the target.
    in_flight: usize,
    reading: Reading,
    /// What the log says of the target, until it takes what it is sent.
    logged: Logged,
}

/// What the log says of a target that does not take what it is sent. The later is the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Logged {
    Nothing,
    Fails,
    /// Only an operator can end it.
    Refuses,
}

/// How far the reading is.
enum Reading {
    GoesOn,
    Ended,
    /// The service does not know the shard any more.
    Gone(CallError),
}

/// What was out, and what came of it.
enum Outcome {
    Response(BatchId, Response),
    /// Those at these places could not be kept.
    LettersKept(BatchId, Vec<usize>),
    Kept(Checkpoint, bool),
}

impl ShardTask {
    /// # Errors
    /// The stream cannot be read, and waiting will not help.
    pub(super) async fn run(self) -> Result<consumer::End, ReadError> {
        let Self { target, shard, position, checkpoint, shared, place, stop, mut retries } = self;
        let begins_at_tip = position == StartingPosition::Latest;
        let mut source = ShardSource::begin(shared, Arc::clone(&shard), position);
        place.show(|shown| {
            shown.kept_at = checkpoint.is_some().then(|| Instant::now().into_std());
            shown.checkpoint.clone_from(&checkpoint);
        });
        let mut is_stopping = false;
        let token_of = Arc::clone(&target);
        let mut renewed = pin!(token_of.token_changed());
        let mut running = Running {
            delivery: ShardDelivery::new(target.rules, checkpoint),
            page: None,
            under_way: JoinSet::new(),
            in_flight: 0,
            reading: Reading::GoesOn,
            logged: Logged::Nothing,
            target,
            shard,
            place,
        };
        loop {
            running.take_in();
            let wake = match running.turn() {
                Turn::Wait(until) => until,
                Turn::End(ended) => return Ok(ended),
            };
            let reads = matches!(running.reading, Reading::GoesOn)
                && running.page.is_none()
                && running.delivery.has_room()
                && !is_stopping;
            let refused = Standing::Blocked(FailureKind::Unauthorized);
            let waits_for_token = running.delivery.standing() == refused;
            if !waits_for_token {
                renewed.set(token_of.token_changed());
            }
            tokio::select! {
                // What was out is settled first, so that there is room for what comes.
                biased;
                Some(outcome) = running.under_way.join_next() => {
                    running.settle(outcome.expect("nothing is aborted, and nothing panics"));
                }
                () = stop.cancelled(), if !is_stopping => {
                    is_stopping = true;
                    running.delivery.stop();
                }
                Ok(()) = retries.changed() => running.delivery.retry_now(),
                // One wait for all turns of the loop: pages may come more often than it lasts.
                () = &mut renewed, if waits_for_token => {
                    renewed.set(token_of.token_changed());
                    running.delivery.retry_now();
                }
                read = source.next(), if reads => match read? {
                    Ok(chunk) => running.take(chunk, begins_at_tip),
                    Err(consumer::End::NotFound(call)) => running.reading = Reading::Gone(call),
                    Err(_) => {
                        running.reading = Reading::Ended;
                        running.delivery.read_to_end();
                    }
                },
                () = sleep_until_some(wake) => {}
            }
        }
    }
}

impl ShardTask {
    /// Has a program told of the shard, by a loop of its own.
    ///
    /// # Errors
    /// The stream cannot be read, and waiting will not help.
    pub(super) async fn run_by(
        self,
        settings: Arc<exec::Settings>,
        metrics: Arc<ExecMetrics>,
    ) -> Result<consumer::End, ReadError> {
        let Self { target, shard, position, checkpoint, shared, place, stop, retries } = self;
        place.show(|shown| {
            shown.kept_at = checkpoint.is_some().then(|| Instant::now().into_std());
            shown.checkpoint.clone_from(&checkpoint);
        });
        let source = ShardSource::begin(shared, Arc::clone(&shard), position.clone());
        let (counted, of) = (Arc::clone(&target.metrics), Arc::clone(&shard));
        let store = move |at: Checkpoint| {
            let (target, shard) = (Arc::clone(&target), Arc::clone(&of));
            async move {
                let is_kept = target.keep(&shard, at).await;
                is_kept.then_some(()).ok_or(Refusal::Dependency)
            }
        };
        let start = position;
        let shard = exec::Shard { shard, start, checkpoint, store, place, counted, stop, retries };
        exec::deliver(settings, metrics, source, shard).await
    }
}

/// What a turn comes to.
enum Turn {
    Wait(Option<std::time::Instant>),
    End(consumer::End),
}

impl Running {
    /// Begins what is due. Returns when to look again at the latest.
    fn turn(&mut self) -> Turn {
        let turn = loop {
            match self.delivery.turn(now()) {
                Step::Send(batch) => {
                    self.in_flight += 1;
                    let target = Arc::clone(&self.target);
                    self.under_way.spawn(async move {
                        let response = target.send(&batch).await;
                        Outcome::Response(batch.id, response)
                    });
                }
                Step::KeepLetters(letters) => {
                    let target = Arc::clone(&self.target);
                    self.under_way.spawn(async move {
                        let unkept = target.keep_letters(&letters).await;
                        Outcome::LettersKept(letters.id, unkept)
                    });
                }
                Step::Persist(checkpoint) => {
                    let (target, shard) = (Arc::clone(&self.target), Arc::clone(&self.shard));
                    self.under_way.spawn(async move {
                        let kept = target.keep(&shard, checkpoint.clone()).await;
                        Outcome::Kept(checkpoint, kept)
                    });
                }
                Step::Wait(until) => break Turn::Wait(until),
                Step::End(End::ShardRead) => return Turn::End(consumer::End::Finished),
                Step::End(End::Stopped) => return Turn::End(consumer::End::Unheard),
            }
        };
        let holding = self.delivery.holding();
        match &self.reading {
            Reading::Gone(call) if holding.records == 0 && self.under_way.is_empty() => {
                return Turn::End(consumer::End::NotFound(call.clone()));
            }
            _ => {}
        }
        self.place.show(|shown| {
            shown.oldest = holding.oldest;
            shown.in_flight = self.in_flight;
        });
        turn
    }

    fn take(&mut self, chunk: Chunk, begins_at_tip: bool) {
        let Chunk { records, millis_behind_latest, began, held, .. } = chunk;
        if begins_at_tip {
            self.delivery.began(began);
        }
        self.place.show(|shown| shown.millis_behind_latest = millis_behind_latest);
        self.page = Some(Unpacking::new(records, held));
    }

    /// Hands on of the page that was read as much as there is room for.
    fn take_in(&mut self) {
        while let Some(page) = &mut self.page
            && self.delivery.has_room()
        {
            match page.next(&self.target, &self.shard) {
                Some((reads, held)) => {
                    self.delivery.take_in(reads, held, Instant::now().into_std());
                }
                None => self.page = None,
            }
        }
    }

    /// Takes in what came of something that was out.
    fn settle(&mut self, outcome: Outcome) {
        let (now, rng) = (Instant::now().into_std(), &mut rand::rng());
        match outcome {
            Outcome::Response(id, response) => {
                self.in_flight -= 1;
                let settled = self.delivery.responded(id, response, now, rng);
                self.target.metrics.delivered.increment(settled.delivered as u64);
                self.tell();
            }
            Outcome::LettersKept(id, unkept) => self.delivery.letters_kept(id, &unkept, now, rng),
            Outcome::Kept(checkpoint, kept) => {
                self.delivery.persisted(kept, now, rng);
                if kept {
                    self.place.show(|shown| {
                        (shown.checkpoint, shown.kept_at) = (Some(checkpoint), Some(now));
                    });
                }
            }
        }
    }

    /// Shows how the delivery stands, and logs when it begins to fail, when that is for an operator
    /// to end, and when it is over.
    fn tell(&mut self) {
        let (standing, failing) = (self.delivery.standing(), self.delivery.failing().cloned());
        let (target_name, shard) = (&*self.target.settings.name, &*self.shard);
        // Before it is logged: who reads the log may look at once.
        self.place.show(|shown| (shown.standing, shown.failing) = (standing, failing.clone()));
        let Some((_, Failure { status, reason, .. })) = failing else {
            if self.logged != Logged::Nothing {
                self.logged = Logged::Nothing;
                tracing::info!(target_name, shard, "the target takes records again");
            }
            return;
        };
        match standing {
            Standing::Blocked(_) if self.logged < Logged::Refuses => {
                self.logged = Logged::Refuses;
                tracing::error!(
                    target_name,
                    shard,
                    status,
                    reason,
                    "the target refuses: nothing of this shard is delivered until that is mended, \
                     and it is tried again and again"
                );
            }
            Standing::Retrying(_) if self.logged < Logged::Fails => {
                self.logged = Logged::Fails;
                tracing::warn!(
                    target_name,
                    shard,
                    status,
                    reason,
                    "the target does not take records: they are sent again"
                );
            }
            _ => {}
        }
    }
}

fn now() -> Now {
    Now { instant: Instant::now().into_std(), time: SystemTime::now() }
}

async fn sleep_until_some(until: Option<std::time::Instant>) {
    match until {
        Some(until) => sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}
