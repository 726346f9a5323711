//! Sends the events of an index and counts what is confirmed.
//!
//! A thread reads ahead, one task sends and settles. The lanes never give an event up on their own:
//! one that failed may not be overtaken by a later one of its key. So it is this program that gives
//! up, all of it at once, when nothing was confirmed for as long as `delivery.timeout` says.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::index::Index;
use super::pace::Pace;
use super::selection::{WithoutKey, key_of};
use super::source::{EventSource, ReadError};
use super::state::{Confirmed, State, StateError};
use crate::producer::direct::{self, Answers, Running, Settings, WayIn};
use dispatchd_aws::Kinesis;
use dispatchd_core::limits::MIB;
use dispatchd_core::model::{EventAnswer, Record, Refusal};
use dispatchd_core::wire::archive::event::said;

/// How long the lanes keep an event: longer than any replay lasts.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Bytes that are read ahead before they are handed on, and how often that many may wait. One more
/// event, and what the reader holds of lines, come on top.
const CHUNK_BYTES: usize = MIB;
const CHUNKS_MAX: usize = 2;

/// Bytes that an event takes besides its data and key: a record may be as empty as anyone likes.
const EVENT_BYTES: usize = size_of::<(u64, Record)>();

/// The time between two lines in the state file: what a crash makes come twice.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// The time between two reports of the progress.
const REPORT_EVERY: Duration = Duration::from_millis(500);

/// Events that Kinesis refuses for good before the replay ends: then it is not about single ones.
const REFUSED_MAX: u64 = 1_000;

/// How many of them are told one by one.
const REFUSED_TOLD_MAX: u64 = 20;

/// How a replay sends.
#[derive(Debug)]
pub(crate) struct Options {
    pub lanes: Settings,
    pub without_key: WithoutKey,
    /// Events a second; `None`: as many as the stream takes.
    pub rate: Option<NonZeroU32>,
    /// How long what is in flight may take once it is stopped.
    pub stop_timeout: Duration,
}

/// How far it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Events to be sent, those of earlier runs among them.
    pub events: u64,
    /// Confirmed by earlier runs.
    pub before: u64,
    /// Confirmed by this one.
    pub confirmed: u64,
    /// Refused for good.
    pub refused: u64,
    pub took: Duration,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub progress: Progress,
    /// Why it ended before its end.
    pub early: Option<Early>,
}

/// Why a replay ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Early {
    #[error("stopped")]
    Stopped,
    #[error("nothing was confirmed for {} s (delivery.timeout)", .0.as_secs())]
    Stalled(Duration),
    #[error("{REFUSED_MAX} events were refused for good, so it is not about single ones")]
    Refused,
    #[error("a task died: a defect")]
    Died,
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    State(#[from] StateError),
}

impl Progress {
    /// Events that are not confirmed.
    pub(crate) fn missing(&self) -> u64 {
        self.events - self.before - self.confirmed
    }
}

/// Sends every event that the state does not have as confirmed. `report` is called twice a second.
pub(crate) async fn run(
    kinesis: Kinesis,
    options: Options,
    index: Index,
    mut state: Option<State>,
    stop: CancellationToken,
    report: impl FnMut(&Progress),
) -> Outcome {
    let lane = dispatchd_producer::lane::Settings { timeout: FOR_EVER, ..options.lanes.lane };
    let patience = options.lanes.lane.timeout;
    let confirmed =
        state.as_mut().map(|state| std::mem::take(&mut state.confirmed)).unwrap_or_default();
    let before = confirmed.count();
    let index = Arc::new(index);
    let (way_in, answers, running) =
        direct::start(kinesis, &Settings { lane, ..options.lanes.clone() });
    let enough = CancellationToken::new();
    let chunks = read_ahead(&index, confirmed.clone(), options.without_key, enough.clone());
    let in_flight = InFlight { count: Cell::new(0), since: Cell::new(Instant::now()) };
    let send = send(way_in, chunks, options.rate, &in_flight, enough.clone());
    let settling = Settling {
        progress: Progress { events: index.len() as u64, before, ..Progress::default() },
        index,
        confirmed,
        state,
        began: Instant::now(),
        in_flight: &in_flight,
        saved: 0,
        patience,
        stop_timeout: options.stop_timeout,
        enough,
        early: None,
        report,
    };
    let (sent, mut outcome) = tokio::join!(send, settling.run(answers, &running, stop));
    running.end().await;
    if let Err(error) = sent {
        // Nothing is read once the replay has ended, so this came first: it takes the place of what
        // followed from it.
        outcome.early = Some(error.into());
    }
    outcome
}

/// Events that were read ahead, with their numbers.
type Chunk = Vec<(u64, Record)>;

/// Starts the thread that reads. It ends when everything was read, at an error, or when nobody
/// takes what it reads.
fn read_ahead(
    index: &Arc<Index>,
    confirmed: Confirmed,
    without_key: WithoutKey,
    enough: CancellationToken,
) -> mpsc::Receiver<Result<Chunk, ReadError>> {
    let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
    let index = Arc::clone(index);
    // Of tokio's own threads: it may wait for a disk, and no lane waits with it.
    tokio::task::spawn_blocking(move || {
        let mut source = EventSource::new(&index);
        let (mut chunk, mut bytes) = (Chunk::new(), 0);
        for number in (0..index.len() as u64).filter(|number| !confirmed.contains(*number)) {
            let event = match source.event(number) {
                Ok(event) => event,
                Err(error) => return drop(sender.blocking_send(Err(error))),
            };
            let key = key_of(&event, &said(&event.data), without_key);
            let record = Record::new(key, None, event.data);
            bytes += EVENT_BYTES + record.size();
            chunk.push((number, record));
            if bytes >= CHUNK_BYTES {
                let full = std::mem::take(&mut chunk);
                bytes = 0;
                if enough.is_cancelled() || sender.blocking_send(Ok(full)).is_err() {
                    return;
                }
            }
        }
        let _ = sender.blocking_send(Ok(chunk)); // nobody may be left
    });
    chunks
}

/// Sends what was read until there is no more, or enough was sent. The way in is gone then.
async fn send(
    mut way_in: WayIn,
    mut chunks: mpsc::Receiver<Result<Chunk, ReadError>>,
    rate: Option<NonZeroU32>,
    in_flight: &InFlight,
    enough: CancellationToken,
) -> Result<(), ReadError> {
    let mut pace = rate.map(|rate| Pace::new(rate, Instant::now().into_std()));
    let sending = async {
        while let Some(chunk) = chunks.recv().await {
            let chunk = chunk.inspect_err(|_| enough.cancel())?;
            for (number, record) in chunk {
                if let Some(pace) = &mut pace {
                    wait_for(pace, &mut way_in).await;
                }
                in_flight.begins();
                way_in.send(number, record).await;
            }
            way_in.hand_over().await;
        }
        Ok(())
    };
    tokio::select! {
        biased;
        () = enough.cancelled() => {}
        sent = sending => return sent,
    }
    way_in.hand_over().await; // what was accepted and is in nobody's hands
    Ok(())
}

async fn wait_for(pace: &mut Pace, way_in: &mut WayIn) {
    while let Err(due) = pace.due(Instant::now().into_std()) {
        way_in.hand_over().await;
        sleep_until(due.into()).await;
    }
    pace.sent(Instant::now().into_std());
}

/// Events that were sent, or wait for room, and are not answered; in the hands of both halves.
#[derive(Debug)]
struct InFlight {
    count: Cell<u64>,
    /// When there last was none, or one was answered.
    since: Cell<Instant>,
}

impl InFlight {
    fn begins(&self) {
        if self.count.replace(self.count.get() + 1) == 0 {
            self.since.set(Instant::now());
        }
    }

    fn ends(&self) {
        self.count.set(self.count.get() - 1);
        self.since.set(Instant::now());
    }

    /// When waiting for an answer is over; `None` while none is waited for.
    fn stalled_at(&self, patience: Duration) -> Option<Instant> {
        (self.count.get() > 0).then(|| self.since.get() + patience)
    }
}

/// What is confirmed, and whether it is time to end.
struct Settling<'a, R> {
    index: Arc<Index>,
    confirmed: Confirmed,
    state: Option<State>,
    progress: Progress,
    began: Instant,
    in_flight: &'a InFlight,
    /// How many are confirmed in the state file.
    saved: u64,
    patience: Duration,
    stop_timeout: Duration,
    /// Cancelled when nothing more is to be sent.
    enough: CancellationToken,
    early: Option<Early>,
    report: R,
}

impl<R: FnMut(&Progress)> Settling<'_, R> {
    async fn run(
        mut self,
        mut answers: Answers,
        running: &Running,
        stop: CancellationToken,
    ) -> Outcome {
        let (mut save_at, mut report_at) = (self.began + SAVE_EVERY, self.began);
        // Until when what is in flight is waited for, once it was stopped.
        let mut give_up_at = None;
        let mut is_over = pin!(self.enough.clone().cancelled_owned());
        loop {
            // Once a look: the sending half may have begun meanwhile.
            let stalled_at = give_up_at
                .or(self.in_flight.stalled_at(self.patience))
                .unwrap_or(Instant::now() + self.patience);
            tokio::select! {
                biased;
                settled = answers.next() => match settled {
                    None => break,
                    Some(settled) => {
                        for (number, answer) in settled {
                            self.settle(number, answer);
                        }
                    }
                },
                () = stop.cancelled(), if self.early.is_none() => self.end(Early::Stopped),
                () = &mut is_over, if give_up_at.is_none() => {
                    running.drain();
                    give_up_at = Some(Instant::now() + self.stop_timeout);
                }
                () = sleep_until(stalled_at) => {
                    self.end(Early::Stalled(self.patience));
                    running.abandon();
                    give_up_at = Some(Instant::now() + FOR_EVER); // the lanes answer now
                }
                () = sleep_until(report_at) => {
                    self.report();
                    report_at = Instant::now() + REPORT_EVERY;
                }
                () = sleep_until(save_at) => {
                    self.save();
                    save_at = Instant::now() + SAVE_EVERY;
                }
            }
        }
        self.save();
        self.report();
        Outcome { progress: self.progress, early: self.early }
    }

    fn settle(&mut self, number: u64, answer: EventAnswer) {
        self.in_flight.ends();
        match answer {
            EventAnswer::Durable(_) => {
                self.confirmed.insert(number);
                self.progress.confirmed += 1;
            }
            // The lanes were told to give up; or nobody told them, and they are gone.
            EventAnswer::Refused(refusal) if refusal.code.retryable() => self.end(Early::Died),
            EventAnswer::Refused(refusal) => self.refused(number, &refusal),
        }
    }

    fn refused(&mut self, number: u64, refusal: &Refusal) {
        self.progress.refused += 1;
        let (code, message) = (refusal.code.as_str(), &*refusal.message);
        if self.progress.refused <= REFUSED_TOLD_MAX {
            let event = self.index.name(number);
            tracing::error!(event, code, "an event is refused for good: {message}");
        }
        if self.progress.refused == REFUSED_MAX {
            self.end(Early::Refused);
        }
    }

    /// Nothing more is sent. The first reason is the one that is told.
    fn end(&mut self, why: Early) {
        self.early.get_or_insert(why);
        self.enough.cancel();
    }

    fn report(&mut self) {
        self.progress.took = self.began.elapsed();
        (self.report)(&self.progress);
    }

    /// Writes down what is confirmed. A state that cannot be kept ends the replay: what is sent
    /// from then on would come again.
    fn save(&mut self) {
        let Some(state) = &mut self.state else { return };
        if self.saved == self.progress.confirmed {
            return;
        }
        self.saved = self.progress.confirmed;
        if let Err(error) = state.save(&self.confirmed) {
            self.state = None;
            self.end(error.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Selection;
    use super::*;
    use crate::config::{Inputs, resolve};
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use dispatchd_consumer::filter::Filter;
    use dispatchd_core::model::PartitionKey;
    use dispatchd_core::wire::packed;

    #[tokio::test]
    async fn a_file_that_changed_is_told_though_nothing_is_confirmed_meanwhile() {
        // What could go wrong: what was sent before is waited for in vain, and the operator is told
        // that Kinesis is slow, with the exit code of that.
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("archive");
        let event = format!("{{\"type\":\"{}\"}}\n", "x".repeat(MIB));
        std::fs::write(&path, event.repeat(2)).expect("it is written");
        let all = Selection { from: None, to: None, filter: Filter::default(), wanted: Vec::new() };
        let index = Index::read(std::slice::from_ref(&path), &all, None).expect("it is read");
        let cut = std::fs::File::options().write(true).open(&path).expect("it is there");
        cut.set_len(event.len() as u64).expect("it is ours");
        let config = resolve(&Inputs::set(&[])).expect("it holds").config;
        // Nobody listens there.
        let connection = config.connection(Some("http://127.0.0.1:9".to_owned()));
        let kinesis = Kinesis::connect(connection).await.expect("a region and a URL");
        let options = Options {
            lanes: Settings::of(&config),
            without_key: WithoutKey::Constant,
            rate: None,
            stop_timeout: Duration::from_millis(1),
        };
        let stop = CancellationToken::new();
        let Outcome { progress, early } = run(kinesis, options, index, None, stop, |_| ()).await;
        assert_eq!(progress.missing(), 2);
        assert!(matches!(early, Some(Early::Read(_))), "{early:?}");
    }

    #[tokio::test]
    async fn what_is_read_ahead_is_bounded_however_empty_the_events_are() {
        // What could go wrong: of a packed record a million events come that have no data, each
        // with a long key, and nothing that is counted grows.
        const COUNT: usize = 50_000;
        let key = PartitionKey::new("k".repeat(200)).expect("it is short enough");
        let record = Record::new(key, None, bytes::Bytes::new());
        let data = STANDARD.encode(packed::encode(&vec![&record; COUNT]));
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("archive");
        let line = format!(r#"{{"sequenceNumber":"1","data":"{data}"}}"#);
        std::fs::write(&path, line).expect("it is written");
        let all = Selection { from: None, to: None, filter: Filter::default(), wanted: Vec::new() };
        let index = Arc::new(Index::read(&[path], &all, None).expect("it is read"));
        let confirmed = Confirmed::default();
        let enough = CancellationToken::new();
        let mut chunks = read_ahead(&index, confirmed, WithoutKey::Constant, enough);
        let mut count = 0;
        while let Some(chunk) = chunks.recv().await {
            let chunk = chunk.expect("it is still there");
            assert!(chunk.len() * (EVENT_BYTES + 200) < 2 * CHUNK_BYTES, "{} events", chunk.len());
            count += chunk.len();
        }
        assert_eq!(count, COUNT);
    }
}
