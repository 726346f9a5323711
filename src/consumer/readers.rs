//! Owns the tasks that read a stream, one a shard: lists the shards, starts what the plan says, and
//! takes in how each task ends.
//!
//! It lists at the start, every ten seconds, and as soon as a shard ends, since that is when the
//! shard has children. It never holds records: the readers hand them on directly.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use dispatchd_aws::Kinesis;
use dispatchd_consumer::plan::{Resume, ShardPlan, ShardStart, StartFrom};
use dispatchd_consumer::recovery::{ListCalls, ReadError};
use dispatchd_consumer::window::Window;
use dispatchd_core::model::CallError;
use dispatchd_core::model::read::{ListedShard, StartingPosition};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::backlog::{Backlog, Behind};
use super::shard_reader::{Chunk, End, Failures, ShardReader};

/// Between two lists without a reason to ask sooner.
const LIST_EVERY: Duration = Duration::from_secs(10);
/// The least time between two lists: shards that end together share one.
const LISTS_APART: Duration = Duration::from_millis(200);
/// How often it is looked whether a minute's failures are to be told.
const LOOK_FOR_NEWS_EVERY: Duration = Duration::from_secs(1);

/// How a stream is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub from: StartFrom,
    /// How far its shards were read before.
    pub resume: HashMap<String, Resume>,
    /// The time between two calls on a shard that has nothing new.
    pub poll: Duration,
}

/// What every reader of a stream shares.
#[derive(Debug, Clone)]
pub(crate) struct ReaderShared {
    kinesis: Kinesis,
    poll: Duration,
    window: Window,
    failures: Failures,
    /// Whether somebody has read from the stream since the start.
    has_read: bool,
    /// Held by the readers of the first list until each has its place; then `None`.
    unplaced: Option<mpsc::Sender<Infallible>>,
    /// What is not read to its tip.
    backlog: Backlog,
}

impl ReaderShared {
    /// What the first readers share. Nothing is ever sent on the channel: it closes when the last
    /// of them has its place.
    fn new(
        kinesis: Kinesis,
        poll: Duration,
        backlog: Backlog,
    ) -> (Self, mpsc::Receiver<Infallible>) {
        let (unplaced, places) = mpsc::channel(1);
        let (window, failures) = (Window::default(), Failures::default());
        let unplaced = Some(unplaced);
        (Self { kinesis, poll, window, failures, has_read: false, unplaced, backlog }, places)
    }

    /// A reader of this shard from here.
    pub(super) fn reader(self, shard: Arc<str>, start: StartingPosition) -> ShardReader {
        let Self { kinesis, poll, window, failures, has_read, unplaced, backlog } = self;
        let (window, behind) = (window.shard(), Some(backlog.behind()));
        ShardReader {
            kinesis,
            shard,
            start,
            poll,
            window,
            failures,
            has_read,
            unplaced,
            backlog,
            behind,
        }
    }

    /// The same for a reader that begins later: it has read, and nobody waits for its place.
    pub(super) fn later(&self) -> Self {
        Self { has_read: true, unplaced: None, ..self.clone() }
    }
}

/// Reads every shard into `out` until nobody takes from it. One reader a shard: each holds at most
/// one page that is not taken yet, and all of them together hold no more than a [`Window`].
/// `backlog` counts what is not read to its tip. The rest is as with [`run`].
///
/// # Errors
/// Those of [`run`].
pub(crate) async fn read_all(
    kinesis: Kinesis,
    options: Options,
    backlog: Backlog,
    out: mpsc::Sender<Chunk>,
    on_ready: impl FnOnce(),
) -> Result<(), ReadError> {
    let to = out.clone();
    let read = move |ShardStart { shard, position }: ShardStart, shared: ReaderShared| {
        shared.reader(shard.into(), position).run(to.clone())
    };
    tokio::select! {
        biased;
        () = out.closed() => Ok(()),
        error = run_counted(kinesis, options, backlog, read, on_ready) => Err(error),
    }
}

/// Reads one shard into `out`, to its end, or until nobody takes from it.
///
/// `on_ready` is called once the reader has its place.
///
/// # Errors
/// Those of [`run`]; that there is no such shard is one of them.
pub(crate) async fn read_one(
    kinesis: Kinesis,
    start: ShardStart,
    poll: Duration,
    backlog: Backlog,
    out: mpsc::Sender<Chunk>,
    on_ready: impl FnOnce(),
) -> Result<(), ReadError> {
    let (shared, mut places) = ReaderShared::new(kinesis, poll, backlog);
    let failures = shared.failures.clone();
    let reading = shared.reader(start.shard.into(), start.position).run(out.clone());
    let mut reading = pin!(reading);
    let mut on_ready = Some(on_ready);
    let mut news = interval(LOOK_FOR_NEWS_EVERY);
    news.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            ended = &mut reading => return match ended? {
                End::Finished | End::Unheard => Ok(()),
                End::NotFound(call) => Err(ReadError { call }),
            },
            () = out.closed() => return Ok(()),
            _ = places.recv(), if on_ready.is_some() => {
                if let Some(ready) = on_ready.take() {
                    ready();
                }
            }
            _ = news.tick() => failures.look(),
        }
    }
}

/// Has every shard read by a task of its own, which `work` makes, parents before children, until
/// this is dropped. A task that ends has its shard done: then its children begin.
///
/// `on_ready` is called once every shard that exists at the start has its place. With
/// [`StartFrom::Latest`], whatever is stored after that is read.
///
/// # Errors
/// What will not pass by waiting: there is no such stream, or reading is not permitted at the
/// start. Outages are waited out.
pub(crate) async fn run<W, F>(
    kinesis: Kinesis,
    options: Options,
    work: W,
    on_ready: impl FnOnce(),
) -> ReadError
where
    W: FnMut(ShardStart, ReaderShared) -> F,
    F: Future<Output = Result<End, ReadError>> + Send + 'static,
{
    run_counted(kinesis, options, Backlog::default(), work, on_ready).await
}

async fn run_counted<W, F>(
    kinesis: Kinesis,
    options: Options,
    backlog: Backlog,
    work: W,
    on_ready: impl FnOnce(),
) -> ReadError
where
    W: FnMut(ShardStart, ReaderShared) -> F,
    F: Future<Output = Result<End, ReadError>> + Send + 'static,
{
    let (shared, places) = ReaderShared::new(kinesis, options.poll, backlog);
    let plan = ShardPlan::resumed(options.from, options.resume);
    match Readers::new(shared, plan, work).run(places, on_ready).await {
        Err(error) => error,
        Ok(never) => match never {},
    }
}

type Ended = (Arc<str>, Result<End, ReadError>);

struct Readers<W> {
    shared: ReaderShared,
    work: W,
    plan: ShardPlan,
    running: JoinSet<Ended>,
    /// Shards whose readers were told that there is no such shard. The next list says what that
    /// means.
    not_found: Vec<(Arc<str>, CallError)>,
    /// That shards may be there which are not known: at the start, and from the end of a shard to
    /// the next list.
    unlisted: Option<Behind>,
    listed_at: Instant,
    list_at: Instant,
    list_calls: ListCalls,
}

impl<W, F> Readers<W>
where
    W: FnMut(ShardStart, ReaderShared) -> F,
    F: Future<Output = Result<End, ReadError>> + Send + 'static,
{
    fn new(shared: ReaderShared, plan: ShardPlan, work: W) -> Self {
        let now = Instant::now();
        Self {
            unlisted: Some(shared.backlog.behind()),
            shared,
            work,
            plan,
            running: JoinSet::new(),
            not_found: Vec::new(),
            listed_at: now,
            list_at: now,
            list_calls: ListCalls::default(),
        }
    }

    async fn run(
        mut self,
        mut places: mpsc::Receiver<Infallible>,
        on_ready: impl FnOnce(),
    ) -> Result<Infallible, ReadError> {
        let mut on_ready = Some(on_ready);
        let mut news = interval(LOOK_FOR_NEWS_EVERY);
        news.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // What has ended is dealt with before anything new is asked for.
                biased;
                Some(ended) = self.running.join_next() => self.reap(ended)?,
                // Nothing is ever sent here: the channel closes when the last reader of the first
                // list has its place.
                _ = places.recv(), if on_ready.is_some() => {
                    if let Some(ready) = on_ready.take() {
                        ready();
                    }
                }
                _ = news.tick() => self.shared.failures.look(),
                () = sleep_until(self.list_at) => self.list().await?,
            }
        }
    }

    fn reap(&mut self, ended: Result<Ended, JoinError>) -> Result<(), ReadError> {
        let (shard, end) = ended.expect("no reader is cancelled while this runs, and none panics");
        match end? {
            End::Unheard => return Ok(()),
            End::Finished => {
                tracing::debug!(shard = &*shard, "shard read to its end");
                let children = self.plan.ended(&shard);
                self.start(children);
            }
            End::NotFound(call) => self.not_found.push((shard, call)),
        }
        self.unlisted = Some(self.shared.backlog.behind());
        self.list_at = self.list_at.min(self.listed_at + LISTS_APART);
        Ok(())
    }

    async fn list(&mut self) -> Result<(), ReadError> {
        self.listed_at = Instant::now();
        match self.shared.kinesis.all_shards().await {
            Ok(shards) => {
                self.list_calls.succeeded();
                let starts = self.plan.listed(&shards);
                self.start(starts);
                (self.shared.unplaced, self.shared.has_read) = (None, true);
                self.settle_not_found(&shards)?;
                self.unlisted = None;
                self.list_at = self.listed_at + LIST_EVERY;
            }
            Err(call) => {
                let Some(wait) = self.list_calls.failed(&call, &mut rand::rng()) else {
                    return Err(ReadError { call });
                };
                self.shared.failures.note(&call);
                self.list_at = self.listed_at + wait;
            }
        }
        Ok(())
    }

    /// A shard that is not listed either is past retention, and its children need not wait. One
    /// that is listed and cannot be found all the same will not be found by waiting.
    fn settle_not_found(&mut self, listed: &[ListedShard]) -> Result<(), ReadError> {
        for (shard, call) in std::mem::take(&mut self.not_found) {
            if listed.iter().any(|known| *known.id == *shard) {
                return Err(ReadError { call });
            }
            tracing::warn!(
                shard = &*shard,
                "the shard is gone, with what was not read yet: past retention"
            );
            let children = self.plan.ended(&shard);
            self.start(children);
        }
        Ok(())
    }

    fn start(&mut self, starts: Vec<ShardStart>) {
        for start in starts {
            let shard: Arc<str> = start.shard.as_str().into();
            let work = (self.work)(start, self.shared.clone());
            self.running.spawn(async move { (shard, work.await) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dispatchd_aws::{Connection, Settings, Wire};
    use dispatchd_core::model::{Cause, Class, StreamId};

    fn listed(id: &str, parents: &[&str]) -> ListedShard {
        let parents = parents.iter().map(|&parent| parent.to_owned()).collect();
        ListedShard { id: id.to_owned(), parents, open: true }
    }

    /// What nothing is asked with: nobody listens there.
    async fn shared() -> ReaderShared {
        let within = Duration::from_secs(1);
        let settings =
            Settings { connect_timeout: within, attempt_timeout: within, wire: Wire::Json };
        let stream = StreamId::Name("orders".to_owned());
        let connection = Connection::to_emulator(stream, "http://127.0.0.1:9", settings);
        let kinesis = Kinesis::connect(connection).await.expect("a region and a URL");
        ReaderShared::new(kinesis, within, Backlog::default()).0.later()
    }

    #[tokio::test]
    async fn a_shard_that_is_not_found_is_past_retention_unless_it_is_listed() {
        let plan = ShardPlan::new(StartFrom::TrimHorizon);
        let mut readers = Readers::new(shared().await, plan, |_, _| std::future::pending());
        let call = CallError {
            operation: "GetShardIterator",
            class: Class::Poison,
            cause: Cause::Service,
            code: "ResourceNotFoundException".to_owned(),
            message: String::new(),
        };
        let list = [listed("parent", &[]), listed("child", &["parent"])];
        assert_eq!(readers.plan.listed(&list).len(), 1, "the child waits for its parent");
        readers.not_found.push(("parent".into(), call.clone()));
        assert!(readers.settle_not_found(&list).is_err(), "waiting would not help");
        readers.not_found.push(("parent".into(), call));
        assert!(readers.settle_not_found(&list[1..]).is_ok());
        assert_eq!(readers.running.len(), 1, "the child is read");
    }

    #[tokio::test]
    async fn a_stream_is_behind_until_it_is_listed_and_from_the_end_of_a_shard_to_the_next_list() {
        // What could go wrong: between a shard and the ones that follow it everything seems read.
        let plan = ShardPlan::new(StartFrom::TrimHorizon);
        let mut readers = Readers::new(shared().await, plan, |_, _| std::future::pending());
        let backlog = readers.shared.backlog.clone();
        assert!(!backlog.is_empty(), "nobody knows what shards there are");
        readers.unlisted = None; // as a list does
        assert!(backlog.is_empty());
        assert_eq!(readers.plan.listed(&[listed("shard", &[])]).len(), 1);
        readers.reap(Ok(("shard".into(), Ok(End::Finished)))).expect("it has ended well");
        assert!(!backlog.is_empty(), "others may follow it");
        readers.unlisted = None;
        let reader = readers.shared.clone().reader("shard".into(), StartingPosition::Latest);
        assert!(!backlog.is_empty(), "nobody knows what is in it");
        drop(reader);
        assert!(backlog.is_empty());
    }
}
