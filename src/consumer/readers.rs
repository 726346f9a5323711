//! Owns the readers of a stream: lists its shards, starts what the plan says, and takes in how each
//! reader ends.
//!
//! It lists at the start, every ten seconds, and as soon as a shard ends, since that is when the
//! shard has children. It never holds records: the readers hand them on directly.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use dispatchd_aws::Kinesis;
use dispatchd_consumer::plan::{ShardPlan, ShardStart, StartFrom};
use dispatchd_consumer::recovery::{ListCalls, ReadError};
use dispatchd_consumer::window::Window;
use dispatchd_core::model::CallError;
use dispatchd_core::model::read::ListedShard;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::shard_reader::{Chunk, End, Failures, ShardReader};

/// Between two lists without a reason to ask sooner.
const LIST_EVERY: Duration = Duration::from_secs(10);
/// The least time between two lists: shards that end together share one.
const LISTS_APART: Duration = Duration::from_millis(200);
/// How often it is looked whether a minute's failures are to be told.
const LOOK_FOR_NEWS_EVERY: Duration = Duration::from_secs(1);

/// How a stream is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Options {
    pub from: StartFrom,
    /// The time between two calls on a shard that has nothing new.
    pub poll: Duration,
}

/// Reads every shard into `out` until nobody takes from it. One reader a shard: each holds at most
/// one page that is not taken yet, and all of them together hold no more than a [`Window`].
///
/// `on_ready` is called once every shard that exists at the start has its place. With
/// [`StartFrom::Latest`], whatever is stored after that is read.
///
/// # Errors
/// What will not pass by waiting: there is no such stream, or reading is not permitted at the
/// start. Outages are waited out.
pub(crate) async fn run(
    kinesis: Kinesis,
    options: Options,
    out: mpsc::Sender<Chunk>,
    on_ready: impl FnOnce(),
) -> Result<(), ReadError> {
    let (unplaced, mut places) = mpsc::channel(1);
    let mut on_ready = Some(on_ready);
    let mut readers = Readers {
        kinesis,
        poll: options.poll,
        plan: ShardPlan::new(options.from),
        out: out.clone(),
        running: JoinSet::new(),
        not_found: Vec::new(),
        unplaced: Some(unplaced),
        listed_at: Instant::now(),
        list_at: Instant::now(),
        list_calls: ListCalls::default(),
        window: Window::default(),
        failures: Failures::default(),
    };
    let mut news = interval(LOOK_FOR_NEWS_EVERY);
    news.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // What has ended is dealt with before anything new is asked for.
            biased;
            () = out.closed() => return Ok(()),
            Some(ended) = readers.running.join_next() => readers.reap(ended)?,
            // Nothing is ever sent here: the channel closes when the last reader of the first list
            // has its place.
            _ = places.recv(), if on_ready.is_some() => {
                if let Some(ready) = on_ready.take() {
                    ready();
                }
            }
            _ = news.tick() => readers.failures.look(),
            () = sleep_until(readers.list_at) => readers.list().await?,
        }
    }
}

type Ended = (Arc<str>, Result<End, ReadError>);

struct Readers {
    kinesis: Kinesis,
    poll: Duration,
    plan: ShardPlan,
    out: mpsc::Sender<Chunk>,
    running: JoinSet<Ended>,
    /// Shards whose readers were told that there is no such shard. The next list says what that
    /// means.
    not_found: Vec<(Arc<str>, CallError)>,
    /// Handed to the readers of the first list, then `None`.
    unplaced: Option<mpsc::Sender<Infallible>>,
    listed_at: Instant,
    list_at: Instant,
    list_calls: ListCalls,
    window: Window,
    failures: Failures,
}

impl Readers {
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
        self.list_at = self.list_at.min(self.listed_at + LISTS_APART);
        Ok(())
    }

    async fn list(&mut self) -> Result<(), ReadError> {
        self.listed_at = Instant::now();
        match self.kinesis.all_shards().await {
            Ok(shards) => {
                self.list_calls.succeeded();
                let starts = self.plan.listed(&shards);
                self.start(starts);
                self.unplaced = None;
                self.settle_not_found(&shards)?;
                self.list_at = self.listed_at + LIST_EVERY;
            }
            Err(call) => {
                let Some(wait) = self.list_calls.failed(&call, &mut rand::rng()) else {
                    return Err(ReadError { call });
                };
                self.failures.note(&call);
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
        for ShardStart { shard, position } in starts {
            let shard: Arc<str> = shard.into();
            let reader = ShardReader {
                kinesis: self.kinesis.clone(),
                shard: Arc::clone(&shard),
                start: position,
                poll: self.poll,
                out: self.out.clone(),
                window: self.window.clone(),
                failures: self.failures.clone(),
                has_read: self.unplaced.is_none(),
                unplaced: self.unplaced.clone(),
            };
            self.running.spawn(async move { (shard, reader.run().await) });
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

    #[tokio::test]
    async fn a_shard_that_is_not_found_is_past_retention_unless_it_is_listed() {
        let within = Duration::from_secs(1);
        let settings =
            Settings { connect_timeout: within, attempt_timeout: within, wire: Wire::Json };
        let stream = StreamId::Name("orders".to_owned());
        // Nobody listens there, and nothing is asked.
        let connection = Connection::to_emulator(stream, "http://127.0.0.1:9", settings);
        let (now, (out, _taken)) = (Instant::now(), mpsc::channel(1));
        let mut readers = Readers {
            kinesis: Kinesis::connect(connection).await.expect("a region and a URL"),
            poll: within,
            plan: ShardPlan::new(StartFrom::TrimHorizon),
            out,
            running: JoinSet::new(),
            not_found: Vec::new(),
            unplaced: None,
            listed_at: now,
            list_at: now,
            list_calls: ListCalls::default(),
            window: Window::default(),
            failures: Failures::default(),
        };
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
}
