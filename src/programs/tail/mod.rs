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
use crate::consumer::{self, Backlog, Chunk};

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

/// The least time between two looks whether a shard is still behind, where none has a page.
const LOOK_EVERY: Duration = Duration::from_millis(200);

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
    /// It ends when nothing has come for so long, and every shard is read to its tip.
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
    let backlog = Backlog::default();
    let read = read(kinesis, from, shard, poll, backlog.clone(), sender, on_ready);
    let print = print_all(Incoming::new(chunks, backlog, until_idle), &mut printer, out);
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
    backlog: Backlog,
    out: mpsc::Sender<Chunk>,
    on_ready: impl FnOnce(),
) -> Result<(), ReadError> {
    let Some(shard) = shard else {
        let reading = consumer::Options { from, resume: HashMap::new(), poll };
        return consumer::read_all(kinesis, reading, backlog, out, on_ready).await;
    };
    let position = match from {
        StartFrom::Latest => StartingPosition::Latest,
        StartFrom::TrimHorizon => StartingPosition::TrimHorizon,
        StartFrom::At(time) => StartingPosition::At(time),
        StartFrom::After(number) => StartingPosition::After(number),
    };
    let start = ShardStart { shard, position };
    consumer::read_one(kinesis, start, poll, backlog, out, on_ready).await
}

/// Prints what comes until no more comes, or all is printed that was asked for.
async fn print_all(
    mut incoming: Incoming,
    printer: &mut Printer,
    mut out: impl AsyncWrite + Unpin,
) -> Result<(), TailError> {
    let mut text = Vec::with_capacity(WRITE_BYTES);
    while let Some(chunk) = incoming.next().await {
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

/// The pages on their way to the printer.
struct Incoming {
    chunks: mpsc::Receiver<Chunk>,
    backlog: Backlog,
    until_idle: Option<Duration>,
    /// When nothing will have come for that long.
    idle_at: Instant,
    /// Whether a shard was behind when the last page came: the time counts from when all are read.
    was_behind: bool,
}

impl Incoming {
    fn new(chunks: mpsc::Receiver<Chunk>, backlog: Backlog, until_idle: Option<Duration>) -> Self {
        let idle_at = Instant::now() + until_idle.unwrap_or_default();
        Self { chunks, backlog, until_idle, idle_at, was_behind: true }
    }

    /// The next page; `None` if there are no more, or nothing has come for as long as was said and
    /// every shard is read to its tip.
    async fn next(&mut self) -> Option<Chunk> {
        let Some(time) = self.until_idle else { return self.chunks.recv().await };
        let chunk = loop {
            if let Ok(chunk) = timeout_at(self.idle_at, self.chunks.recv()).await {
                break chunk?;
            }
            // In this order: a shard hands its page on before it counts as read.
            self.was_behind = !self.backlog.is_empty();
            match self.chunks.try_recv() {
                Ok(chunk) => break chunk,
                Err(_) if !self.was_behind => return None,
                Err(_) => self.idle_at = Instant::now() + time.max(LOOK_EVERY),
            }
        };
        if self.was_behind || !chunk.records.is_empty() {
            self.idle_at = Instant::now() + time;
        }
        self.was_behind = !self.backlog.is_empty();
        Some(chunk)
    }
}

async fn write(text: &mut Vec<u8>, out: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    out.write_all(text).await?;
    text.clear();
    text.shrink_to(WRITE_BYTES); // a large event is seldom followed by another
    Ok(())
}

#[cfg(test)]
mod tests {
    use dispatchd_consumer::window::Window;
    use std::time::SystemTime;

    use super::*;

    const IDLE: Duration = Duration::from_secs(5);

    async fn chunk(texts: &[&str]) -> Chunk {
        let record = |text: &&str| StoredRecord {
            sequence_number: "49".to_owned(),
            partition_key: None,
            data: text.as_bytes().to_vec(),
            arrived: None,
        };
        Chunk {
            shard: "shardId-0".into(),
            records: texts.iter().map(record).collect(),
            millis_behind_latest: 0,
            began: SystemTime::UNIX_EPOCH,
            held: Window::default().shard().reserve(0).await,
        }
    }

    /// What is printed of these pages, and after how many seconds it ends.
    async fn printed(
        backlog: Backlog,
        pages: impl AsyncFnOnce(mpsc::Sender<Chunk>),
    ) -> (String, u64) {
        let began = Instant::now();
        let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
        let options = Options::default();
        let mut printer = Printer {
            filter: options.filter,
            format: options.format,
            is_pretty: false,
            mapping: options.mapping,
            discoverer: None,
            screen: options.screen,
            count_max: u64::MAX,
            tally: Tally::default(),
        };
        let mut out = Vec::new();
        let incoming = Incoming::new(chunks, backlog, Some(IDLE));
        let (_, printed) = tokio::join!(pages(sender), print_all(incoming, &mut printer, &mut out));
        printed.expect("memory takes it");
        let text = String::from_utf8(out).expect("it is text");
        (text, began.elapsed().as_secs())
    }

    /// What could go wrong: of many shards one is throttled, and what is in it is never printed
    /// since the others have nothing.
    #[tokio::test(start_paused = true)]
    async fn a_shard_that_is_slow_is_waited_for_however_long_the_others_are_idle() {
        let backlog = Backlog::default();
        let slow = backlog.behind();
        let pages = async |sender: mpsc::Sender<Chunk>| {
            for _ in 0..60 {
                sender.send(chunk(&[]).await).await.expect("it is waited for");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            tokio::time::sleep(Duration::from_secs(60)).await;
            sender.send(chunk(&["late"]).await).await.expect("it is waited for");
            drop(slow);
            sender.closed().await;
        };
        assert_eq!(printed(backlog, pages).await, ("late\n".to_owned(), 125));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_begins_when_the_last_shard_is_read_to_its_tip() {
        let backlog = Backlog::default();
        let last = backlog.behind();
        let pages = async |sender: mpsc::Sender<Chunk>| {
            sender.send(chunk(&["first"]).await).await.expect("it is there");
            tokio::time::sleep(Duration::from_secs(4)).await;
            sender.send(chunk(&[]).await).await.expect("it is there");
            drop(last);
            while !sender.is_closed() {
                let _ = sender.send(chunk(&[]).await).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        assert_eq!(printed(backlog, pages).await, ("first\n".to_owned(), 9));
    }
}
