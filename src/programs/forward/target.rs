//! One target while it runs: what the tasks of its shards share, and how each of them sends, keeps
//! and counts.

use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use dispatchd_consumer::delivery::{
    Batch, Checkpoint, DeadLetters, Delivered, GiveUp, Read, Response, Rules, Wedge, WedgeNews,
};
use dispatchd_consumer::filter::{Filter, Wanted};
use dispatchd_consumer::format::{Aggregates, Format};
use tokio::time::Instant;
use uuid::Uuid;

use super::seldom::{Failing, Seldom};
use crate::progress::Book;
use crate::targets::board::{Board, TargetBoard};
use crate::targets::dead_letters::{Handle, Origin, Unkept, lines};
use crate::targets::exec::{self, ExecMetrics};
use crate::targets::http::HttpTarget;
use crate::targets::metrics::TargetMetrics;
use crate::targets::settings::{OnFailure, Sequence, Target as Settings};

/// The id of the first shard of a stream that has one. No later shard has it again.
const FIRST_SHARD: &str = "shardId-000000000000";

/// A target, built: what the tasks of its shards share.
#[derive(Debug)]
pub(super) struct Target {
    pub settings: Settings,
    pub aggregates: Aggregates,
    pub rules: Rules,
    pub metrics: Arc<TargetMetrics>,
    pub board: Arc<TargetBoard>,
    pub book: Book,
    pub way: Way,
    filter: Filter,
    /// Locks, held for a count.
    wedge: Mutex<Wedge>,
    unfit: Mutex<Seldom>,
    /// Writing checkpoints, by shard.
    keeping: Mutex<Failing<Arc<str>>>,
    /// Keeping dead letters, by shard and strand.
    letters: Mutex<Failing<(Arc<str>, usize)>>,
    given_up: Mutex<Seldom>,
}

/// How a target is delivered to.
#[derive(Debug)]
pub(super) enum Way {
    Http { http: Box<HttpTarget>, dead_letters: Option<(Handle, Origin)> },
    Exec { settings: Arc<exec::Settings>, metrics: Arc<ExecMetrics> },
}

/// What a target is built from besides its settings.
pub(super) struct Parts<'a> {
    pub board: &'a Board,
    pub metrics: TargetMetrics,
    pub book: Book,
    pub way: Way,
    pub filter: Filter,
}

impl Target {
    pub(super) fn new(settings: Settings, parts: Parts<'_>) -> Self {
        let Parts { board, metrics, book, way, filter } = parts;
        let format = settings.format;
        Self {
            aggregates: settings.aggregates.unwrap_or(format.aggregates_default()),
            rules: rules(&settings),
            metrics: Arc::new(metrics),
            board: board.target(&settings.name),
            book,
            way,
            filter,
            wedge: Mutex::default(),
            unfit: Mutex::default(),
            keeping: Mutex::default(),
            letters: Mutex::default(),
            given_up: Mutex::default(),
            settings,
        }
    }

    /// Notes that a shard is read. Numbers of different shards have no common order, so a target
    /// that goes by them gets increasing ones as soon as there is, or was, more than the one.
    pub(super) fn note_shard(&self, shard: &str) {
        let is_one_of_more = self.settings.sequence == Sequence::Auto && shard != FIRST_SHARD;
        if is_one_of_more
            && self.settings.format == Format::Record
            && let Way::Http { http, .. } = &self.way
            && http.number_increasingly()
        {
            tracing::info!(
                target_name = self.settings.name,
                "the stream has, or had, more than one shard: records are sent with increasing \
                 numbers instead of their own, which a client that drops lower ones would drop \
                 (sequence)"
            );
        }
    }

    /// Whether the target is to have this record. One that its filters leave out is done; so is one
    /// that its format cannot carry, unless such records are kept aside.
    pub(super) fn read(&self, mut record: Delivered) -> Read {
        match self.filter.wants(record.partition_key.as_deref(), &record.data) {
            Wanted::Yes => {}
            Wanted::No | Wanted::NotJson => {
                self.metrics.filtered.increment(1);
                return Read::Skipped(record.place);
            }
        }
        record.misfit = self.settings.format.misfit(&record);
        let Some(misfit) = record.misfit else { return Read::Wanted(record) };
        self.metrics.unfit.increment(1);
        let is_kept = self.settings.on_failure == OnFailure::DeadLetter;
        if !is_kept && let Some(records) = note(&self.unfit, 1) {
            tracing::warn!(
                target_name = self.settings.name,
                records,
                shard = &*record.shard,
                sequence_number = record.place.sequence_number,
                misfit = misfit.as_str(),
                "records are passed over that the target's format cannot carry, this one the last"
            );
        }
        if is_kept { Read::Wanted(record) } else { Read::Skipped(record.place) }
    }

    /// Sends a batch, once.
    pub(super) async fn send(&self, batch: &Batch) -> Response {
        let began = Instant::now();
        let Way::Http { http, .. } = &self.way else {
            unreachable!("a program is told of its shards by a loop of its own")
        };
        let response = http.deliver(&batch.records).await;
        self.metrics.attempt(&response, batch.records.len(), began.elapsed());
        self.tell_wedge(&response);
        response
    }

    /// Waits until the token's file holds another token than the last one that was sent.
    pub(super) async fn token_changed(&self) {
        match &self.way {
            Way::Http { http, .. } => http.token_changed().await,
            Way::Exec { .. } => std::future::pending().await,
        }
    }

    fn tell_wedge(&self, response: &Response) {
        let mut wedge = locked(&self.wedge);
        let target_name = &self.settings.name;
        match wedge.note(response, now()) {
            None => return,
            Some(WedgeNews::Wedged(lasts)) => tracing::error!(
                target_name,
                seconds = lasts.as_secs(),
                "the target is there and handles nothing: every request hangs or is answered 503. \
                 Look at its process, it may have to be restarted"
            ),
            Some(WedgeNews::Over) => {
                tracing::info!(target_name, "the target handles requests again");
            }
        }
        self.metrics.wedged.set(f64::from(u8::from(wedge.is_wedged())));
    }

    /// Counts records that were given up and are kept aside, and logs it now and then.
    fn tell_given_up(&self, records: usize) {
        self.metrics.dead_lettered.increment(records as u64);
        if records > 0
            && let Some(records) = note(&self.given_up, records as u64)
        {
            tracing::warn!(
                target_name = self.settings.name,
                records,
                dead_letter = self.settings.dead_letter.as_ref().map(ToString::to_string),
                "records were given up and are kept as dead letters; `dispatchd replay` sends them \
                 again"
            );
        }
    }

    /// Keeps a checkpoint. Says whether it is kept.
    pub(super) async fn keep(&self, shard: &Arc<str>, at: Checkpoint) -> bool {
        let kept = self.book.keep(shard, at).await;
        let target_name = &self.settings.name;
        match &kept {
            Ok(()) if locked(&self.keeping).succeeds(shard) => {
                tracing::info!(target_name, "checkpoints are written again");
            }
            Ok(()) => {}
            Err(error) => {
                if let Some(times) = locked(&self.keeping).fails(Arc::clone(shard), now()) {
                    tracing::error!(
                        target_name,
                        shard = &**shard,
                        %error,
                        times,
                        "a checkpoint cannot be written: delivery goes on, and a restart would \
                         deliver again what came since the last one"
                    );
                }
            }
        }
        kept.is_ok()
    }

    /// Keeps dead letters. Returns those that could not be kept, by where they stand.
    pub(super) async fn keep_letters(&self, letters: &DeadLetters) -> Vec<usize> {
        let (records, target_name) = (&letters.records, &self.settings.name);
        let Way::Http { dead_letters: Some((handle, origin)), .. } = &self.way else {
            return (0..records.len()).collect();
        };
        let lines = lines(letters, origin, Uuid::new_v4(), SystemTime::now());
        let shard = &records[0].shard;
        let strand = (Arc::clone(shard), letters.id.strand());
        match handle.write(lines).await {
            Ok(()) => {
                self.tell_given_up(records.len());
                if locked(&self.letters).succeeds(&strand) {
                    tracing::info!(target_name, "records that are given up are kept aside again");
                }
                Vec::new()
            }
            Err(Unkept { places, error }) => {
                self.tell_given_up(records.len() - places.len());
                if let Some(times) = locked(&self.letters).fails(strand, now()) {
                    tracing::error!(
                        target_name,
                        shard = &**shard,
                        sequence_number = records[places[0]].place.sequence_number,
                        %error,
                        times,
                        "records that are given up cannot be kept aside, this one the first: their \
                         shard waits"
                    );
                }
                places
            }
        }
    }
}

fn note(seldom: &Mutex<Seldom>, records: u64) -> Option<u64> {
    locked(seldom).note(records, now())
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

fn rules(settings: &Settings) -> Rules {
    let gives_up = settings.on_failure == OnFailure::DeadLetter;
    let (retries_max, age_max) = (settings.max_retries, settings.max_age);
    Rules {
        batch_records: settings.batch_records(),
        batch_bytes: settings.batch_bytes,
        batch_window: settings.batch_window,
        strands: settings.parallelization,
        bisect: settings.bisect,
        give_up: gives_up.then_some(GiveUp { retries_max, age_max }),
        ..Rules::new(settings.format.bytes_of())
    }
}
