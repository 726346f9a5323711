//! `tail`: prints what is in the stream, event after event.
//!
//! Within a shard, records come in order, and children come after their parents: so the events of a
//! key come in order. Between shards they come as they come. It keeps no place between two runs;
//! how a record is printed is decided in `print`.

mod print;

use std::io;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::consumer::{self, Chunk};
use crate::terminal::escaped;
use dispatchd_aws::Kinesis;
use dispatchd_consumer::plan::StartFrom;
use dispatchd_consumer::polling::CALLS_APART;
use dispatchd_consumer::recovery::ReadError;
use dispatchd_core::wire::decode;

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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    pub from: StartFrom,
    /// Whether JSON is printed on many lines, below a line with shard, sequence number and
    /// partition key.
    pub pretty: bool,
    /// [`POLL`] or [`POLL_LOCAL`].
    pub poll: Duration,
    /// Whether a terminal is written to: then characters that are not seen are written out (see
    /// `terminal`).
    pub to_terminal: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum TailError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("cannot write what was read: {0}")]
    Write(#[source] io::Error),
}

/// Prints until `stop` is cancelled, or until nobody reads what is printed (`tail | head`): both
/// are a good end. The caller may notice the second earlier than the next write does.
///
/// A record is printed as it is, on one line, if its data is one line of text: our envelopes are,
/// and so is most of what others write. One line break at its end counts as ours. Any other data
/// (binary, many lines, controls that JSON does not have) becomes one line of JSON:
/// `{"shardId":…,"sequenceNumber":…,"partitionKey":…,"data":"<base64>"}`. A record that packs
/// several events in the KPL's format is printed event by event; `subSequenceNumber` is an event's
/// place in it.
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
) -> Result<(), TailError> {
    let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
    let reading = consumer::Options { from: options.from, poll: options.poll };
    let read = consumer::run(kinesis, reading, sender, on_ready);
    let print = print_all(chunks, options, out);
    tokio::select! {
        // Looked at first: a stream may never end.
        biased;
        () = stop.cancelled() => Ok(()),
        // An error of the readers ends the printer as well, once it has printed what came before.
        (read, printed) = async { tokio::join!(read, print) } => match printed {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(TailError::Write(error)),
            _ => read.map_err(TailError::Read),
        },
    }
}

async fn print_all(
    mut chunks: mpsc::Receiver<Chunk>,
    options: Options,
    mut out: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let print = if options.pretty { print::pretty } else { print::line };
    let mut text = String::with_capacity(WRITE_BYTES);
    while let Some(Chunk { shard, records, held }) = chunks.recv().await {
        for event in records.iter().flat_map(decode::events) {
            print(&shard, &event, &mut text);
            if text.len() >= WRITE_BYTES {
                write(&mut text, options.to_terminal, &mut out).await?;
            }
        }
        write(&mut text, options.to_terminal, &mut out).await?;
        out.flush().await?;
        drop((records, held)); // until now they were held
    }
    Ok(())
}

async fn write(
    text: &mut String,
    to_terminal: bool,
    out: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let shown = if to_terminal { escaped(text) } else { text.as_str().into() };
    out.write_all(shown.as_bytes()).await?;
    text.clear();
    text.shrink_to(WRITE_BYTES); // a large event is seldom followed by another
    Ok(())
}
