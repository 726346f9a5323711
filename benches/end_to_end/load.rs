//! The callers: connections that write lines and read acks, by blocking threads.
//!
//! Closed loop: each connection has so many events unanswered and writes one for each ack. Open
//! loop: events are due at a rate whatever the daemon does, and an ack's latency counts from when
//! its event was due, not from when it was written: a daemon that stalls cannot hide it
//! (coordinated omission).

use std::io::{ErrorKind, Read, Result, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use testkit::orders;

/// Callers are many and shallow.
const STACK_BYTES: usize = 256 * 1024;

/// What the callers do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub data_bytes: usize,
    pub shape: Shape,
    pub keys: usize,
    pub connections: usize,
    pub pace: Pace,
}

/// What is in an event's `data`. JSON is checked token by token, so it makes a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Many small members, like an order.
    Members,
    /// One long string, like a line of a log.
    Text,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As fast as it goes, with so many events unanswered on all connections together.
    InFlight(usize),
    /// Events a second, on all connections together.
    PerSecond(u32),
}

/// When the callers begin, when what they see begins to count, and when it ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub began: Instant,
    pub from: Instant,
    pub to: Instant,
}

/// The callers at work.
pub(crate) struct Callers {
    threads: Vec<JoinHandle<Histogram<u64>>>,
    acked: Arc<AtomicU64>,
}

/// One line a key, ready to be written; all of one length.
struct Lines {
    text: Vec<u8>,
    line_bytes: usize,
}

/// One connection's reading side: finds the acks in what it reads.
struct Acks {
    socket: UnixStream,
    buf: Vec<u8>,
    filled: usize,
}

/// One connection.
struct Caller {
    socket: UnixStream,
    lines: Arc<Lines>,
    /// The line that it writes first, so that connections do not write of one key at once.
    first: usize,
    window: Window,
    acked: Arc<AtomicU64>,
}

impl Window {
    pub(crate) fn new(warm_up: Duration, measured: Duration) -> Self {
        let began = Instant::now();
        Self { began, from: began + warm_up, to: began + warm_up + measured }
    }
}

/// Latencies up to a minute, in microseconds, to three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are right")
}

pub(crate) fn micros(time: Duration) -> u64 {
    (time.as_micros() as u64).clamp(1, 60_000_000)
}

impl Callers {
    pub(crate) fn start(socket: &Path, load: Load, window: Window) -> Result<Self> {
        let (lines, acked) = (Arc::new(Lines::new(&load)), Arc::<AtomicU64>::default());
        let mut threads = Vec::new();
        for number in 0..load.connections {
            let caller = Caller {
                socket: UnixStream::connect(socket)?,
                lines: Arc::clone(&lines),
                first: number * load.keys / load.connections,
                window,
                acked: Arc::clone(&acked),
            };
            let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
            threads.push(thread.spawn(move || match load.pace {
                Pace::InFlight(events) => caller.closed_loop(events.div_ceil(load.connections)),
                Pace::PerSecond(rate) => {
                    caller.open_loop(Duration::from_secs(1) * load.connections as u32 / rate)
                }
            })?);
        }
        Ok(Self { threads, acked })
    }

    /// Events acked so far.
    pub(crate) fn acked(&self) -> u64 {
        self.acked.load(Ordering::Relaxed)
    }

    /// The latencies that were seen in the window. The daemon is gone by now, so that nobody waits
    /// for it.
    pub(crate) fn latencies(self) -> Histogram<u64> {
        let mut all = histogram();
        for thread in self.threads {
            all.add(thread.join().expect("a caller does not panic"))
                .expect("all have the same bounds");
        }
        all
    }
}

/// A JSON object of exactly so many bytes with one member.
fn message(bytes: usize) -> String {
    const FRAME: &str = r#"{"message":""}"#;
    let words = "the order was placed and is paid for ".chars().cycle();
    format!(r#"{{"message":"{}"}}"#, words.take(bytes - FRAME.len()).collect::<String>())
}

impl Lines {
    fn new(load: &Load) -> Self {
        let data = match load.shape {
            Shape::Members => orders::data(load.data_bytes),
            Shape::Text => message(load.data_bytes),
        };
        let text: String = (0..load.keys).map(|key| orders::line(&data, key)).collect();
        Self { line_bytes: text.len() / load.keys, text: text.into_bytes() }
    }

    /// Writes `count` lines from the `first` on, round and round.
    fn write(&self, mut socket: &UnixStream, first: usize, mut count: usize) -> Result<()> {
        let lines = self.text.len() / self.line_bytes;
        let mut at = first % lines;
        while count > 0 {
            let some = count.min(lines - at);
            socket.write_all(&self.text[at * self.line_bytes..][..some * self.line_bytes])?;
            count -= some;
            at = (at + some) % lines;
        }
        Ok(())
    }
}

impl Caller {
    fn closed_loop(self, in_flight: usize) -> Histogram<u64> {
        let (mut acks, mut latencies, mut numbers) =
            (Acks::new(&self.socket), histogram(), Vec::new());
        // By the line's number; microseconds since the beginning.
        let mut written = Vec::<u32>::new();
        let mut wanted = in_flight;
        while Instant::now() < self.window.to {
            let now = self.window.began.elapsed().as_micros() as u32;
            let sent = self.lines.write(&self.socket, self.first + written.len(), wanted);
            written.extend(std::iter::repeat_n(now, wanted));
            numbers.clear();
            if sent.and_then(|()| acks.read(&mut numbers)).is_err() {
                assert!(Instant::now() >= self.window.to, "the daemon ended");
                break;
            }
            self.count(&numbers, &mut latencies, |number| {
                self.window.began + Duration::from_micros(written[number].into())
            });
            wanted = numbers.len();
        }
        latencies
    }

    fn open_loop(self, every: Duration) -> Histogram<u64> {
        let due = |number: usize| self.window.began + every * number as u32;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0.. {
                    std::thread::sleep(due(number).saturating_duration_since(Instant::now()));
                    let over = due(number) >= self.window.to;
                    if over || self.lines.write(&self.socket, self.first + number, 1).is_err() {
                        return;
                    }
                }
            });
            let (mut acks, mut latencies, mut numbers) =
                (Acks::new(&self.socket), histogram(), Vec::new());
            while Instant::now() < self.window.to && acks.read(&mut numbers).is_ok() {
                self.count(&numbers, &mut latencies, due);
                numbers.clear();
            }
            latencies
        })
    }

    /// Books the acks of these lines, which were due then.
    fn count(
        &self,
        numbers: &[usize],
        latencies: &mut Histogram<u64>,
        due: impl Fn(usize) -> Instant,
    ) {
        let now = Instant::now();
        self.acked.fetch_add(numbers.len() as u64, Ordering::Relaxed);
        if now >= self.window.from && now < self.window.to {
            for &number in numbers {
                latencies.saturating_record(micros(now - due(number)));
            }
        }
    }
}

impl Acks {
    fn new(socket: &UnixStream) -> Self {
        Self {
            socket: socket.try_clone().expect("a descriptor is left"),
            buf: vec![0; 64 * 1024],
            filled: 0,
        }
    }

    /// Waits for acks and appends the numbers of their lines, counted from 0.
    ///
    /// # Errors
    /// If the daemon is gone.
    ///
    /// # Panics
    /// If an event is refused: what is measured is what is acked.
    fn read(&mut self, numbers: &mut Vec<usize>) -> Result<()> {
        let read = (&self.socket).read(&mut self.buf[self.filled..])?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.filled += read;
        let mut begin = 0;
        while let Some(length) = memchr::memchr(b'\n', &self.buf[begin..self.filled]) {
            let line = &self.buf[begin..begin + length];
            begin += length + 1;
            numbers.push(
                ack(line).unwrap_or_else(|| panic!("not acked: {}", String::from_utf8_lossy(line)))
                    - 1,
            );
        }
        self.buf.copy_within(begin..self.filled, 0);
        self.filled -= begin;
        Ok(())
    }
}

/// The number of the line that is acked.
fn ack(line: &[u8]) -> Option<usize> {
    let rest = line.strip_prefix(br#"{"ref":"#)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let acked = rest[digits..].starts_with(br#","ok":true"#);
    let number =
        rest[..digits].iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0'));
    acked.then_some(number)
}
