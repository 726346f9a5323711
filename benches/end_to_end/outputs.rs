//! What each way out costs: `forward` in each of its formats, and `tail`. The cases take turns, so
//! that all of them meet the same machine; medians of the rounds are printed.
//!
//! Default settings, four shards, a stream that answers at once from memory, a target that answers
//! at once. A shard gives its readers 2 MiB/s and five pages a second, which they keep to: events a
//! second of a whole run are bounded by that, and what counts is events for a second of CPU.

use std::io::{Error, Read, Result};
use std::path::Path;
use std::process::{ChildStdout, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::process::{Process, Source, cpu_time, memory_mib};
use crate::sink::{Arrived, Sink};
use crate::source::{self, Contents};
use crate::transport::median;

const SHARDS: usize = 4;
const DATA_BYTES: usize = 200;
/// Until the pages are as large as they become, and connections are there.
const WARM_UP: Duration = Duration::from_secs(3);
/// Events of a packed record, where records are packed.
const PACKED: usize = 25;

/// One line of the table.
struct Case {
    name: &'static str,
    way: Way,
    members: usize,
    rate: Option<u32>,
    bar: Bar,
}

#[derive(Clone, Copy)]
enum Way {
    /// `forward` in this format, and what every event of a body has once.
    Forward(&'static str, Option<&'static str>),
    /// `tail` into a pipe, in this format.
    Tail(&'static str),
}

/// What a case should come to.
#[derive(Clone, Copy)]
enum Bar {
    None,
    /// Events for a second of CPU, at least.
    Rate(f64),
    /// Milliseconds from stored to delivered at p50, at most.
    Late(f64),
}

const META: Option<&str> = Some("\"meta\":");
const EVENT_ID: Option<&str> = Some("\"eventID\":");

const CASES: [Case; 10] = [
    Case::backlog("forward event", Way::Forward("event", None), 1, Bar::Rate(20_000.0)),
    Case::backlog("forward record", Way::Forward("record", None), 1, Bar::None),
    Case::backlog("forward cloudevents", Way::Forward("cloudevents", None), 1, Bar::None),
    Case::backlog("forward batch", Way::Forward("batch", META), 1, Bar::Rate(300_000.0)),
    Case::backlog(
        "forward batch, packed",
        Way::Forward("batch", META),
        PACKED,
        Bar::Rate(300_000.0),
    ),
    Case::backlog("forward lambda", Way::Forward("lambda", EVENT_ID), 1, Bar::None),
    Case::backlog("tail", Way::Tail("envelope"), 1, Bar::Rate(300_000.0)),
    Case::backlog("tail, packed", Way::Tail("envelope"), PACKED, Bar::Rate(300_000.0)),
    // The poll is 1 s, and on its way a record is to lose no more than 10 ms.
    Case::at("forward event at 100/s", 100, Bar::Late(510.0)),
    Case::at("forward event, idle", 0, Bar::None),
];

impl Case {
    const fn backlog(name: &'static str, way: Way, members: usize, bar: Bar) -> Self {
        Self { name, way, members, rate: None, bar }
    }

    const fn at(name: &'static str, rate: u32, bar: Bar) -> Self {
        Self { name, way: Way::Forward("event", None), members: 1, rate: Some(rate), bar }
    }
}

/// What one run came to.
struct Reading {
    events: u64,
    posts: u64,
    pages: u64,
    cpu_us: f64,
    seconds: f64,
    /// From stored to delivered at p50 and p99, where events say when they were stored.
    late_ms: Option<[f64; 2]>,
    peak_mib: f64,
}

/// Prints a line for each case, or for those whose name has all of the words.
pub(crate) fn table(
    program: &Path,
    words: &[String],
    rounds: usize,
    measured: Duration,
) -> Result<()> {
    let is_chosen = |case: &&Case| words.iter().all(|word| case.name.contains(word.as_str()));
    let chosen: Vec<&Case> = CASES.iter().filter(is_chosen).collect();
    let mut readings: Vec<Vec<Reading>> = chosen.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (case, readings) in chosen.iter().zip(&mut readings) {
            readings.push(case.run(program, measured)?);
        }
    }
    println!(
        "way out | events/s | requests/s | CPU µs/event | events/CPU-s | CPU µs/page | late p50, p99 ms | peak MiB | bar"
    );
    println!("---|---|---|---|---|---|---|---|---");
    for (case, readings) in chosen.iter().zip(&readings) {
        println!("{}", case.line(readings));
    }
    Ok(())
}

impl Case {
    fn run(&self, program: &Path, measured: Duration) -> Result<Reading> {
        let Self { members, rate, .. } = *self;
        let contents = Contents { shards: SHARDS, data_bytes: DATA_BYTES, members, rate };
        let source = Source::start(contents)?;
        let out = Out::start(program, self.way, &source)?;
        sleep(WARM_UP);
        out.take_late();
        let look = || {
            let pages = source::calls(source.port)?;
            Ok::<_, Error>((Instant::now(), out.arrived(), pages, cpu_time(out.id())?))
        };
        let before = look()?;
        sleep(measured);
        let after = look()?;
        let late = out.take_late();
        let late_ms = |share| late.value_at_quantile(share) as f64 / 1e3;
        Ok(Reading {
            events: after.1.events - before.1.events,
            posts: after.1.posts - before.1.posts,
            pages: after.2 - before.2,
            // A thread that has ended takes its time along.
            cpu_us: after.3.saturating_sub(before.3).as_secs_f64() * 1e6,
            seconds: (after.0 - before.0).as_secs_f64(),
            late_ms: (!late.is_empty()).then(|| [late_ms(0.5), late_ms(0.99)]),
            peak_mib: memory_mib(out.id(), "VmHWM")?,
        })
    }

    fn line(&self, readings: &[Reading]) -> String {
        let of = |what: fn(&Reading) -> f64| median(readings.iter().map(what));
        let per_event = of(|reading| reading.cpu_us / reading.events as f64);
        let late = |at: usize| {
            let all: Option<Vec<f64>> =
                readings.iter().map(|reading| Some(reading.late_ms?[at])).collect();
            all.map(|all| median(all.into_iter()))
        };
        let rate = 1e6 / per_event;
        let shown = late(0).zip(late(1)).map(|(p50, p99)| format!("{p50:.0}, {p99:.0}"));
        let bar = match self.bar {
            Bar::None => "-".to_owned(),
            Bar::Rate(least) => format!("{least}/CPU-s: {}", met(rate >= least)),
            Bar::Late(most) => {
                format!("{most} ms: {}", met(late(0).is_some_and(|p50| p50 <= most)))
            }
        };
        let is_idle = readings.iter().all(|reading| reading.events == 0);
        let events = if is_idle { "- | -".into() } else { format!("{per_event:.2} | {rate:.0}") };
        format!(
            "{} | {:.0} | {:.0} | {events} | {:.0} | {} | {:.1} | {bar}",
            self.name,
            of(|reading| reading.events as f64 / reading.seconds),
            of(|reading| reading.posts as f64 / reading.seconds),
            of(|reading| reading.cpu_us / reading.pages as f64),
            shown.unwrap_or_else(|| "-".into()),
            of(|reading| reading.peak_mib),
        )
    }
}

fn met(is_met: bool) -> &'static str {
    if is_met { "met" } else { "missed" }
}

/// A way out that runs, and where it leads.
enum Out {
    /// The directory holds its checkpoints.
    Forward { process: Process, sink: Sink, _dir: tempfile::TempDir },
    /// `lines` were read of what it prints.
    Tail { process: Process, lines: Arc<AtomicU64> },
}

impl Out {
    fn start(program: &Path, way: Way, source: &Source) -> Result<Self> {
        let mut command = Command::new(program);
        command.env_clear().envs(source.environment());
        let stream = ["--stream", "bench", "--log-level", "error", "--from", "trim-horizon"];
        match way {
            Way::Forward(format, mark) => {
                let (sink, dir) = (Sink::start(mark)?, tempfile::tempdir()?);
                command.arg("forward").args(stream);
                command.args(["--to", &format!("http://127.0.0.1:{}/events", sink.port)]);
                command.args([
                    "--format",
                    format,
                    "--admin-listen",
                    "off",
                    "--admin-socket",
                    "off",
                ]);
                command.args(["--checkpoint", &format!("file:{}", dir.path().display())]);
                Ok(Self::Forward { process: Process::start(&mut command)?, sink, _dir: dir })
            }
            Way::Tail(format) => {
                command.arg("tail").args(stream).args(["--format", format]);
                let (process, stdout) = Process::piped(&mut command)?;
                let lines = Arc::new(AtomicU64::new(0));
                let counted = Arc::clone(&lines);
                std::thread::spawn(move || count_lines(stdout, &counted));
                Ok(Self::Tail { process, lines })
            }
        }
    }

    fn id(&self) -> u32 {
        match self {
            Self::Forward { process, .. } | Self::Tail { process, .. } => process.id(),
        }
    }

    fn arrived(&self) -> Arrived {
        match self {
            Self::Forward { sink, .. } => sink.arrived(),
            Self::Tail { lines, .. } => Arrived { posts: 0, events: lines.load(Ordering::Relaxed) },
        }
    }

    fn take_late(&self) -> Histogram<u64> {
        match self {
            Self::Forward { sink, .. } => sink.take_late(),
            Self::Tail { .. } => Histogram::new(3).expect("three digits are few"),
        }
    }
}

/// Reads until the other end is closed.
fn count_lines(mut from: ChildStdout, lines: &AtomicU64) {
    let mut buf = vec![0; 256 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buf) {
        let count = memchr::memchr_iter(b'\n', &buf[..read]).count();
        lines.fetch_add(count as u64, Ordering::Relaxed);
    }
}
