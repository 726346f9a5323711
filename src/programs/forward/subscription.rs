//! One target's way through the stream: the readers that it has for itself, with a task for each
//! shard.
//!
//! A target reads the stream by itself, so that one that is not there holds up no other. It ends
//! when it is told to stop and each of its shards has, or when the stream cannot be read.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dispatchd_aws::Kinesis;
use dispatchd_consumer::plan::ShardStart;
use dispatchd_consumer::recovery::{ListCalls, ReadError};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::shard::ShardTask;
use super::target::{Target, Way};
use crate::consumer::{self, Failures, ReaderShared};
use crate::progress::{Book, OtherStream};

/// Shards of a book from which on it is looked which of them the stream has forgotten.
const FORGET_FROM: usize = 1_000;

/// How long it is asked when the stream was made, once it cannot be read any more.
const MADE_WAIT: Duration = Duration::from_secs(3);

/// How targets are read for, all alike.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub kinesis: Kinesis,
    pub poll: Duration,
}

/// Why a target ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error(transparent)]
    Stream(#[from] ReadError),
    #[error(transparent)]
    Checkpoints(#[from] OtherStream),
}

/// Delivers every shard until it is told to stop and each has stopped.
///
/// # Errors
/// The stream cannot be read, and waiting will not help; or it is not the one of the checkpoints.
pub(super) async fn run(
    target: Arc<Target>,
    reading: Reading,
    stop: CancellationToken,
    retries: watch::Receiver<()>,
) -> Result<(), Unread> {
    let made = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(()),
        made = made(&reading.kinesis) => made,
    };
    match made {
        Some(made) => target.book.is_of_stream(made)?,
        None if target.book.shards().is_empty() => {}
        None => tracing::warn!(
            target_name = target.settings.name,
            "nobody says when the stream was made: if it was deleted and made again, its checkpoints \
             are of the old one. Allow kinesis:DescribeStreamSummary, or move the checkpoints away \
             whenever the stream is made again"
        ),
    }
    forget_shards(&target, &reading.kinesis).await;
    let shards = target.book.shards();
    let resume = shards.iter().map(|(shard, at)| (shard.clone(), at.resume())).collect();
    let (from, poll) = (target.settings.from.clone(), reading.poll);
    let options = consumer::Options { from, resume, poll };
    // Nothing is ever sent: the channel closes when the last shard's task has ended.
    let (running, mut all_stopped) = mpsc::channel::<Infallible>(1);
    let alive = running.downgrade();
    let work = {
        let (target, stop) = (Arc::clone(&target), stop.clone());
        move |ShardStart { shard, position }: ShardStart, shared: ReaderShared| {
            target.note_shard(&shard);
            let shard: Arc<str> = shard.into();
            let checkpoint = shards.get(&*shard).cloned();
            let (stop, retries) = (stop.clone(), retries.clone());
            let place = target.board.shard(&shard);
            let target = Arc::clone(&target);
            let running = alive.upgrade();
            let task =
                ShardTask { target, shard, position, checkpoint, shared, place, stop, retries };
            async move {
                let ended = match &task.target.way {
                    Way::Http { .. } => task.run().await,
                    Way::Exec { settings, metrics } => {
                        let (settings, metrics) = (Arc::clone(settings), Arc::clone(metrics));
                        task.run_by(settings, metrics).await
                    }
                };
                drop(running);
                ended
            }
        }
    };
    let name = target.settings.name.clone();
    let ready = || tracing::info!(target_name = name, "every shard has its place");
    let kinesis = reading.kinesis.clone();
    let mut reads = std::pin::pin!(consumer::run(reading.kinesis, options, work, ready));
    tokio::select! {
        biased;
        () = stop.cancelled() => drop(running),
        error = &mut reads => return Err(unread(&target.book, &kinesis, error).await),
    }
    tokio::select! {
        biased;
        _ = all_stopped.recv() => Ok(()),
        error = &mut reads => Err(error.into()),
    }
}

/// Why the stream cannot be read any more: where another one has its name by now, that says more
/// than the call that failed, which does not find a shard that is there.
async fn unread(book: &Book, kinesis: &Kinesis, error: ReadError) -> Unread {
    let summary = timeout(MADE_WAIT, kinesis.summary()).await.ok().and_then(Result::ok);
    match summary.and_then(|summary| summary.created).map(|made| book.is_of_no_other(made)) {
        Some(Err(other)) => other.into(),
        _ => error.into(),
    }
}

/// When the stream was made, as soon as somebody says so; `None` where that is not permitted or the
/// server does not say. Calls that fail are told, since nothing is delivered until one succeeds.
/// What is wrong with the stream itself is left to the readers to tell.
async fn made(kinesis: &Kinesis) -> Option<SystemTime> {
    let (mut calls, failures) = (ListCalls::default(), Failures::default());
    loop {
        match kinesis.summary().await {
            Ok(summary) => return summary.created,
            Err(call) => {
                let wait = calls.failed(&call, &mut rand::rng())?;
                failures.note(&call);
                failures.look();
                sleep(wait).await;
            }
        }
    }
}

/// Takes shards out of a large book that are past the stream's retention. One whose child is
/// listed stays: it says that the child is to be read from its beginning.
async fn forget_shards(target: &Target, kinesis: &Kinesis) {
    if target.book.shards().len() < FORGET_FROM {
        return;
    }
    if let Ok(listed) = kinesis.all_shards().await {
        let known: HashSet<&str> = listed
            .iter()
            .flat_map(|shard| shard.parents.iter().chain([&shard.id]))
            .map(|id| &**id)
            .collect();
        target.book.retain(|shard| known.contains(shard));
    }
}
