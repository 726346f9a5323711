//! `tail`: prints what is in the stream, event after event.
//!
//! Within a shard, records come in order, and children come after their parents: so the events of a
//! key come in order. Between shards they come as they come. It keeps no place between two runs;
//! how a record is printed is decided in `printer`, and what schemas it adds to in `discoverer`.

mod colours;
mod discoverer;
mod lumigo;
mod print;
mod printer;

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use dispatchd_aws::Kinesis;
use dispatchd_consumer::filter::Filter;
use dispatchd_consumer::plan::{ShardStart, StartFrom};
use dispatchd_consumer::polling::CALLS_APART;
use dispatchd_consumer::recovery::ReadError;
use dispatchd_core::model::read::{StartingPosition, StoredRecord};
use dispatchd_core::wire::decode::{self, StoredEvent};
use dispatchd_core::wire::forward::Outgoing;
use dispatchd_core::wire::forward::lambda::Mapping;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

pub use self::discoverer::Discover;
pub use self::printer::{Format, Screen, Tally};

use self::discoverer::Discoverer;
use self::printer::Printer;
use crate::consumer::{self, Chunk};

/// The time between two calls for a shard that has nothing new. A shard takes five GetRecords a
/// second from all its readers together: this leaves four to the others.
pub const POLL: Duration = Duration::from_secs(1);

/// The same time for the embedded stream, which nobody shares.
pub const POLL_LOCAL: Duration = CALLS_APART;

/// Pages that wait between the readers and the printer. Each reader holds one more, so two keep the
/// printer busy.
const CHUNKS_MAX: usize = 2;

/// Bytes that are written at once.
const WRITE_BYTES: usize = 64 * 1024;

/// What is read, and how it is printed.
#[derive(Debug, Clone)]
pub struct Options {
    pub from: StartFrom,
    /// The one shard that is read, to its end; `None`: all of them, and those that follow.
    pub shard: Option<String>,
    pub filter: Filter,
    pub format: Format,
    /// Whether [`Format::Envelope`] is printed on many lines, below a line with shard, sequence
    /// number and partition key.
    pub pretty: bool,
    /// Schemas are made of the events, and shown instead of them.
    pub discover: Option<Discover>,
    pub screen: Screen,
    /// What [`Format::Lambda`] says of the stream.
    pub mapping: Mapping,
    /// It ends after so many events.
    pub count: Option<u64>,
    /// It ends when nothing has come for so long.
    pub until_idle: Option<Duration>,
    /// [`POLL`] or [`POLL_LOCAL`].
    pub poll: Duration,
}

impl Default for Options {
    /// Everything from now on, for a program.
    fn default() -> Self {
        Self {
            from: StartFrom::Latest,
            shard: None,
            filter: Filter::default(),
            format: Format::Envelope,
            pretty: false,
            discover: None,
            screen: Screen::None,
            mapping: Mapping::default(),
            count: None,
            until_idle: None,
            poll: POLL,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum TailError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("cannot write what was read: {0}")]
    Write(#[source] io::Error),
    #[error("{0}")]
    Discover(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<io::Error> for TailError {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

/// Prints until `stop` is cancelled, until everything is printed that was asked for, or until
/// nobody reads what is printed (`tail | head`): all are a good end. The caller may notice the last
/// earlier than the next write does.
///
/// With [`Format::Envelope`] an event is printed as it is, on one line, if its data is one line of
/// text: our envelopes are, and so is most of what others write. One line break at its end counts
/// as ours. Any other data (binary, many lines, controls that JSON does not have) becomes one line
/// of JSON: `{"shardId":…,"sequenceNumber":…,"partitionKey":…,"data":"<base64>"}`. A record that
/// packs several events in the KPL's format is printed event by event; `subSequenceNumber` is an
/// event's place in it.
///
/// `on_ready` is called when everything that is stored from then on will be printed.
///
/// # Errors
/// If the stream cannot be read and waiting will not help, or the output cannot be written.
pub async fn run(
    kinesis: Kinesis,
    options: Options,
    out: impl AsyncWrite + Unpin,
    stop: CancellationToken,
    on_ready: impl FnOnce(),
) -> Result<Tally, TailError> {
    let Options { from, shard, poll, until_idle, .. } = options;
    let discoverer = options.discover.map(Discoverer::new).transpose();
    let mut printer = Printer {
        filter: options.filter,
        format: options.format,
        is_pretty: options.pretty,
        mapping: options.mapping,
        discoverer: discoverer.map_err(|error| TailError::Discover(error.into()))?,
        screen: options.screen,
        count_max: options.count.unwrap_or(u64::MAX),
        tally: Tally::default(),
    };
    let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
    let read = read(kinesis, from, shard, poll, sender, on_ready);
    let print = print_all(chunks, &mut printer, until_idle, out);
    let ended = tokio::select! {
        // Looked at first: a stream may never end.
        biased;
        () = stop.cancelled() => Ok(()),
        // An error of the readers ends the printer as well, once it has printed what came before.
        (read, printed) = async { tokio::join!(read, print) } => match printed {
            Err(TailError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                read.map_err(TailError::Read)
            }
            Err(error) => Err(error),
            Ok(()) => read.map_err(TailError::Read),
        },
    };
    ended.map(|()| printer.tally())
}

async fn read(
    kinesis: Kinesis,
    from: StartFrom,
    shard: Option<String>,
    poll: Duration,
    out: mpsc::Sender<Chunk>,
    on_ready: impl FnOnce(),
) -> Result<(), ReadError> {
    let Some(shard) = shard else {
        let reading = consumer::Options { from, resume: HashMap::new(), poll };
        return consumer::read_all(kinesis, reading, out, on_ready).await;
    };
    let position = match from {
        StartFrom::Latest => StartingPosition::Latest,
        StartFrom::TrimHorizon => StartingPosition::TrimHorizon,
        StartFrom::At(time) => StartingPosition::At(time),
        StartFrom::After(number) => StartingPosition::After(number),
    };
    consumer::read_one(kinesis, ShardStart { shard, position }, poll, out, on_ready).await
}

/// Prints what comes until no more comes, or all is printed that was asked for.
async fn print_all(
    mut chunks: mpsc::Receiver<Chunk>,
    printer: &mut Printer,
    until_idle: Option<Duration>,
    mut out: impl AsyncWrite + Unpin,
) -> Result<(), TailError> {
    let mut text = Vec::with_capacity(WRITE_BYTES);
    // It counts from the first page: until then nobody knows whether there is something to read.
    let mut idle_at = None;
    while let Some(chunk) = next(&mut chunks, idle_at).await {
        let is_behind = chunk.millis_behind_latest > 0;
        if !chunk.records.is_empty() || is_behind || idle_at.is_none() {
            idle_at = until_idle.map(|time| Instant::now() + time);
        }
        if chunk.records.is_empty() {
            continue;
        }
        for record in &chunk.records {
            for event in decode::events(record) {
                printer.event(&outgoing(&chunk.shard, record, event), &mut text);
                if text.len() >= WRITE_BYTES {
                    write(&mut text, &mut out).await?;
                }
            }
        }
        printer.page(&mut text).map_err(|error| TailError::Discover(error.into()))?;
        write(&mut text, &mut out).await?;
        out.flush().await?;
        if printer.is_done() {
            break;
        }
        // Until here the chunk holds its share of the readers' window.
    }
    Ok(())
}

fn outgoing<'a>(shard: &'a str, record: &'a StoredRecord, event: StoredEvent<'a>) -> Outgoing<'a> {
    Outgoing {
        shard,
        sequence_number: event.sequence_number,
        sub_sequence_number: event.sub_sequence_number.map(|index| index as u64),
        partition_key: event.partition_key,
        data: event.data,
        arrived: record.arrived,
    }
}

/// The next chunk; `None` if there is none, or none until then.
async fn next(chunks: &mut mpsc::Receiver<Chunk>, until: Option<Instant>) -> Option<Chunk> {
    match until {
        Some(until) => timeout_at(until, chunks.recv()).await.ok().flatten(),
        None => chunks.recv().await,
    }
}

async fn write(text: &mut Vec<u8>, out: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    out.write_all(text).await?;
    text.clear();
    text.shrink_to(WRITE_BYTES); // a large event is seldom followed by another
    Ok(())
}
