//! Owns the readers of a stream: lists its shards, starts what the plan says, reaps what ends.
//!
//! Lists at the start, every ten seconds, and as soon as a shard ends, since that is when it has
//! children. Never holds records itself: the readers hand them on directly.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::pages::Pages;
use super::plan::{From, Plan, Start};
use super::reader::{End, Reader};
use super::trouble::{News, Trouble};
use super::{Chunk, ReadError};
use crate::kinesis::client::Kinesis;
use crate::kinesis::error::CallError;
use crate::kinesis::read::ShardInfo;
use dispatchd_core::model::Backoff;
use dispatchd_core::model::{Class, Reason};

/// Between two lists without a reason to ask sooner.
const LIST_EVERY: Duration = Duration::from_secs(10);
/// However many shards end at once: they share one list.
const LISTS_APART: Duration = Duration::from_millis(200);
/// How often it is looked whether there is news of calls that failed, which comes once a minute.
const LOOK_FOR_NEWS_EVERY: Duration = Duration::from_secs(1);
/// After a list that failed.
const AGAIN: Backoff = Backoff { min: Duration::from_millis(500), max: Duration::from_secs(10) };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    pub from: From,
    /// Between two calls on a shard that has nothing new.
    pub poll: Duration,
}

/// Reads every shard into `out` until nobody takes from it. One reader a shard; each holds at most
/// one page that is not taken yet, and all of them together hold no more than `pages` says.
///
/// `on_ready` is called once every shard that exists at the start has its place: with
/// [`From::Latest`], whatever is stored after that is read.
///
/// # Errors
/// What will not pass by waiting: no such stream, not permitted at the start. Outages are waited
/// out.
pub async fn run(
    kinesis: Kinesis,
    options: Options,
    out: mpsc::Sender<Chunk>,
    on_ready: impl FnOnce(),
) -> Result<(), ReadError> {
    let (unplaced, mut places) = mpsc::channel(1);
    let mut on_ready = Some(on_ready);
    let mut task = Task {
        kinesis,
        poll: options.poll,
        plan: Plan::new(options.from),
        out: out.clone(),
        readers: JoinSet::new(),
        not_found: Vec::new(),
        unplaced: Some(unplaced),
        listed_at: Instant::now(),
        list_at: Instant::now(),
        failures: 0,
        pages: Pages::new(),
        trouble: Arc::default(),
    };
    let mut news = interval(LOOK_FOR_NEWS_EVERY);
    news.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // What has ended is dealt with before anything new is asked for.
            biased;
            () = out.closed() => return Ok(()),
            Some(ended) = task.readers.join_next() => task.reap(ended)?,
            // Nothing is ever sent: it closes when the last reader of the first list has its place.
            _ = places.recv(), if on_ready.is_some() => {
                if let Some(ready) = on_ready.take() {
                    ready();
                }
            }
            _ = news.tick() => task.tell(|trouble, now| trouble.due(now)),
            () = sleep_until(task.list_at) => task.list().await?,
        }
    }
}

type Ended = (Arc<str>, Result<End, ReadError>);

struct Task {
    kinesis: Kinesis,
    poll: Duration,
    plan: Plan,
    out: mpsc::Sender<Chunk>,
    readers: JoinSet<Ended>,
    /// Shards whose readers were told that there is no such shard; the next list says what that
    /// means.
    not_found: Vec<(Arc<str>, CallError)>,
    /// Handed to the readers of the first list, then gone.
    unplaced: Option<mpsc::Sender<Infallible>>,
    listed_at: Instant,
    list_at: Instant,
    /// Lists in a row that failed.
    failures: u32,
    pages: Pages,
    trouble: Arc<Mutex<Trouble>>,
}

impl Task {
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
                self.failures = 0;
                let starts = self.plan.listed(&shards);
                self.start(starts);
                self.unplaced = None;
                self.settle_not_found(&shards)?;
                self.list_at = self.listed_at + LIST_EVERY;
            }
            Err(call) if self.is_final(&call) => return Err(ReadError { call }),
            Err(call) => {
                self.failures = self.failures.saturating_add(1);
                self.tell(|trouble, now| trouble.note(&call, now));
                self.list_at = self.listed_at + AGAIN.delay(self.failures, &mut rand::rng());
            }
        }
        Ok(())
    }

    /// A shard that is not listed either is past retention, and its children need not wait. One
    /// that is listed and still cannot be found is nothing that waiting mends.
    fn settle_not_found(&mut self, listed: &[ShardInfo]) -> Result<(), ReadError> {
        for (shard, call) in std::mem::take(&mut self.not_found) {
            if listed.iter().any(|info| *info.id == *shard) {
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

    fn start(&mut self, starts: Vec<Start>) {
        for Start { shard, position } in starts {
            let shard: Arc<str> = shard.into();
            let reader = Reader {
                kinesis: self.kinesis.clone(),
                shard: Arc::clone(&shard),
                start: position,
                poll: self.poll,
                out: self.out.clone(),
                pages: self.pages.clone(),
                trouble: Arc::clone(&self.trouble),
                is_first: self.unplaced.is_some(),
                unplaced: self.unplaced.clone(),
            };
            self.readers.spawn(async move { (shard, reader.run().await) });
        }
    }

    fn tell(&self, look: impl FnOnce(&mut Trouble, Instant) -> Option<News>) {
        let news =
            look(&mut self.trouble.lock().expect("nobody panics while counting"), Instant::now());
        if let Some(news) = news {
            news.log();
        }
    }

    /// A stream that is not there is an error at any time: one that comes back has other records.
    /// Permissions and credentials may come back, but were there before.
    fn is_final(&self, call: &CallError) -> bool {
        match call.class {
            Class::Poison | Class::Blocked(Reason::StreamNotFound) => true,
            Class::Blocked(_) => self.unplaced.is_some(),
            Class::Throttled | Class::Transient => false,
        }
    }
}
