//! Callers → socket → daemon → a server that counts → ack: throughput, cost and latency, case by
//! case.
//!
//! `cargo bench --bench end_to_end`; see docs/performance.md. The daemon, the server and the plain
//! alternatives are processes of their own, so that CPU time and memory are theirs alone; the
//! callers are this process. It judges nothing: it prints what it measured.

mod app;
mod inputs;
mod load;
mod outputs;
mod plain;
mod process;
mod resources;
mod server;
mod sink;
mod source;
mod transport;

use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::load::{Callers, Load, Pace, Shape, Window};
use crate::plain::Plain;
use crate::process::{DISPATCHD, Process, Server, Usage, memory_mib, usage};

const WARM_UP: Duration = Duration::from_secs(1);
/// Events unanswered on all connections together, where the daemon is to be busy.
const BUSY: usize = 16_384;
/// The same where it can only send one event at a time: more would only wait.
const ONE_AT_A_TIME: usize = 64;

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    role: Option<Role>,
    /// Words of a case's name: only cases that have all of them are run
    words: Vec<String>,
    /// For how long each case is measured, after a warm-up of one second
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Count the daemon's system calls too, by perf: needs root
    #[arg(long)]
    syscalls: bool,
    /// Print the cases and run none
    #[arg(long)]
    list: bool,
    /// What cargo adds
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

/// What else is asked of it; and what it is when it starts itself.
#[derive(Subcommand)]
enum Role {
    /// CPU and memory by the rate of events, at default settings
    Resources,
    /// Memory when the budget is full, and after that
    Memory,
    /// CPU by the request at 100, 1,000 and 5,000 events/s, plain and over TLS
    Transport {
        /// Programs that take turns, such as a release of before; without any the one that was
        /// built with this bench
        programs: Vec<PathBuf>,
        /// How often each has its turn: medians are printed
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// What each way in costs, beside the socket's lines: batches, HTTP, the Kinesis API
    Inputs {
        /// Words of a case's name: only cases that have all of them are run
        words: Vec<String>,
        /// How often each has its turn: medians are printed
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// What each way out costs: forward in each format, tail; how late events are; idle CPU
    Outputs {
        /// Words of a case's name: only cases that have all of them are run
        words: Vec<String>,
        /// How often each has its turn: medians are printed
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Another program, such as a release of before, than the one that was built with this
        /// bench
        #[arg(long, default_value = DISPATCHD)]
        program: PathBuf,
    },
    /// An application with AWS's SDK for Go, alone and led through the daemon: latency and CPU
    App {
        /// How often each has its turn: medians are printed
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// 5,000 events a second for so many minutes: fails if memory grows
    Soak {
        #[arg(default_value_t = 10)]
        minutes: u32,
    },
    #[command(name = "as-server", hide = true)]
    Server { shards: usize, delay_ms: u64, certificate: PathBuf },
    #[command(name = "as-source", hide = true)]
    Source { shards: usize, data_bytes: usize, members: usize, rate: Option<u32> },
    #[command(name = "as-plain", hide = true)]
    Plain {
        plain: Plain,
        data_bytes: usize,
        keys: usize,
        measured_s: u64,
        /// Records of a PutRecords request.
        #[arg(default_value_t = 500)]
        many: usize,
    },
}

/// One line of the table.
#[derive(Debug, Clone)]
struct Case {
    who: Who,
    load: Load,
    shards: usize,
    delay_ms: u64,
    /// The stream is behind TLS, as AWS is.
    tls: bool,
    /// One that is not the default, as `--set` takes it; its value is a word of the name.
    setting: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Plain(Plain),
    /// With this `delivery.aggregation`.
    Daemon(&'static str),
}

/// What a case came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Reading {
    events: u64,
    seconds: f64,
    user_us: f64,
    system_us: f64,
    /// p50, p99, p99.9; milliseconds.
    latency: [f64; 3],
    peak_mib: f64,
    records_a_request: f64,
    syscalls: Option<f64>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    match args.role {
        Some(Role::Server { shards, delay_ms, certificate }) => {
            server::serve(shards, Duration::from_millis(delay_ms), &certificate)
        }
        Some(Role::Plain { plain, data_bytes, keys, measured_s, many }) => {
            plain::run(plain, data_bytes, keys, many, WARM_UP, Duration::from_secs(measured_s))
        }
        Some(Role::Source { shards, data_bytes, members, rate }) => {
            source::serve(source::Contents { shards, data_bytes, members, rate })
        }
        Some(Role::Resources) => resources::table(Duration::from_secs(args.seconds.max(10))),
        Some(Role::Memory) => resources::memory(),
        Some(Role::Transport { mut programs, rounds }) => {
            if programs.is_empty() {
                programs.push(DISPATCHD.into());
            }
            transport::table(&programs, rounds.max(1), Duration::from_secs(args.seconds.max(10)))
        }
        Some(Role::Inputs { words, rounds }) => {
            inputs::table(&words, rounds.max(1), Duration::from_secs(args.seconds))
        }
        Some(Role::Outputs { words, rounds, program }) => {
            let measured = Duration::from_secs(args.seconds.max(10));
            outputs::table(&program, &words, rounds.max(1), measured)
        }
        Some(Role::App { rounds }) => {
            app::table(rounds.max(1), Duration::from_secs(args.seconds.max(10)))
        }
        Some(Role::Soak { minutes }) => resources::soak(minutes),
        None => table(&args),
    }
}

fn table(args: &Args) -> Result<()> {
    let chosen = |case: &Case| {
        let name = case.name();
        args.words.iter().all(|word| name.split(' ').any(|own| own == word))
    };
    let cases: Vec<_> = cases().into_iter().filter(chosen).collect();
    if args.list {
        cases.iter().for_each(|case| println!("{}", case.name()));
        return Ok(());
    }
    if cases.is_empty() {
        return Err(Error::other("no case has all of these words: --list names the cases"));
    }
    let mut done: Vec<(Case, Reading)> = Vec::new();
    println!("{}", Reading::HEADER);
    for case in cases {
        let reading = case.run(Duration::from_secs(args.seconds), args.syscalls)?;
        let batcher =
            done.iter().find(|(other, _)| other.is_batcher_for(&case)).map(|(_, reading)| reading);
        println!("{}", reading.line(&case.name(), batcher));
        done.push((case, reading));
    }
    let fastest = done.iter().map(|(_, reading)| reading.rate()).fold(0.0, f64::max);
    let ceiling = server::ceiling(Server::start(Case::SHARDS, 0)?.port, 460)?;
    println!(
        "\nThe server alone takes {ceiling:.0} records/s of 460 B: {:.1} times the fastest case.",
        ceiling / fastest
    );
    Ok(())
}

/// Every combination of what is asked most, then the odd ones.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for data_bytes in [200, 1024] {
        for delay_ms in [0, 15] {
            for plain in [Plain::Batcher, Plain::One] {
                cases.push(Case::new(Who::Plain(plain), data_bytes, 10_000, 1, delay_ms));
            }
            for keys in [10_000, 1] {
                for aggregation in ["off", "key", "shard"] {
                    for connections in [64, 4, 1] {
                        cases.push(Case::new(
                            Who::Daemon(aggregation),
                            data_bytes,
                            keys,
                            connections,
                            delay_ms,
                        ));
                    }
                }
            }
            let mut relaxed = Case::new(Who::Daemon("off"), data_bytes, 1, 4, delay_ms);
            (relaxed.setting, relaxed.load.pace) =
                (Some("delivery.ordering=relaxed"), Pace::InFlight(BUSY));
            cases.push(relaxed);
        }
    }
    for delay_ms in [0, 15] {
        let mut paced = Case::new(Who::Daemon("off"), 200, 10_000, 1, delay_ms);
        paced.load.pace = Pace::PerSecond(2_000);
        cases.push(paced);
    }
    for data_bytes in [200, 1024] {
        for setting in ["kinesis.wire=cbor", "runtime.threads=2"] {
            let mut other = Case::new(Who::Daemon("off"), data_bytes, 10_000, 4, 0);
            other.setting = Some(setting);
            cases.push(other);
        }
        let mut text = Case::new(Who::Daemon("off"), data_bytes, 10_000, 4, 0);
        text.load.shape = Shape::Text;
        cases.push(text);
        for who in [Who::Plain(Plain::Batcher), Who::Daemon("off")] {
            let mut tls = Case::new(who, data_bytes, 10_000, 4, 0);
            tls.tls = true;
            cases.push(tls);
        }
    }
    let mut scale = Case::new(Who::Daemon("off"), 200, 100_000, 500, 0);
    scale.shards = 64;
    cases.push(scale);
    cases
}

impl Case {
    const SHARDS: usize = 4;

    fn new(who: Who, data_bytes: usize, keys: usize, connections: usize, delay_ms: u64) -> Self {
        let one_at_a_time = keys == 1 && who == Who::Daemon("off");
        let pace = Pace::InFlight(match who {
            _ if one_at_a_time => ONE_AT_A_TIME,
            _ if connections == 1 => 4096, // what a connection may have by default
            _ => BUSY,
        });
        let load = Load { data_bytes, shape: Shape::Members, keys, connections, pace };
        Self { who, load, shards: Self::SHARDS, delay_ms, tls: false, setting: None }
    }

    fn name(&self) -> String {
        let Load { data_bytes, shape, keys, connections, pace } = self.load;
        let who = match self.who {
            Who::Plain(Plain::One) => "PutRecord",
            Who::Plain(Plain::Batcher) => "batcher",
            Who::Daemon(aggregation) => aggregation,
        };
        let mut name = format!("{data_bytes}B {keys}keys {}ms {who}", self.delay_ms);
        if matches!(self.who, Who::Daemon(_)) {
            name += &format!(" {connections}conn");
        }
        if shape == Shape::Text {
            name += " text";
        }
        if let Pace::PerSecond(rate) = pace {
            name += &format!(" {rate}/s");
        }
        match self.setting.and_then(|setting| setting.split_once('=')) {
            Some(("runtime.threads", threads)) => name += &format!(" {threads}threads"),
            Some((_, value)) => name += &format!(" {value}"),
            None => {}
        }
        if self.tls {
            name += " tls";
        }
        if self.shards != Self::SHARDS {
            name += &format!(" {}shards", self.shards);
        }
        name
    }

    /// Whether this is what the other is to be compared with.
    fn is_batcher_for(&self, other: &Self) -> bool {
        self.who == Who::Plain(Plain::Batcher)
            && self.load.data_bytes == other.load.data_bytes
            && self.delay_ms == other.delay_ms
            && self.tls == other.tls
    }

    fn run(&self, measured: Duration, syscalls: bool) -> Result<Reading> {
        let server = Server::start(self.shards, self.delay_ms)?;
        let environment = server.environment(self.tls);
        let mut reading = match self.who {
            Who::Plain(plain) => self.run_plain(plain, &environment, measured)?,
            Who::Daemon(aggregation) => {
                self.run_daemon(aggregation, &environment, measured, syscalls)?
            }
        };
        let counts = server::counts(server.port)?;
        reading.records_a_request = counts.records as f64 / counts.requests.max(1) as f64;
        Ok(reading)
    }

    fn run_plain(
        &self,
        plain: Plain,
        environment: &[(&str, String)],
        measured: Duration,
    ) -> Result<Reading> {
        let plain = if plain == Plain::Batcher { "batcher" } else { "one" };
        let (data_bytes, keys) = (self.load.data_bytes.to_string(), self.load.keys.to_string());
        let seconds = measured.as_secs().to_string();
        let args = ["as-plain", plain, &data_bytes, &keys, &seconds];
        let (_process, reading) = Process::role(&args, environment)?;
        Ok(serde_json::from_str(&reading)?)
    }

    fn run_daemon(
        &self,
        aggregation: &str,
        environment: &[(&str, String)],
        measured: Duration,
        syscalls: bool,
    ) -> Result<Reading> {
        let dir = tempfile::tempdir()?;
        let socket = dir.path().join("d.sock");
        let aggregation = format!("delivery.aggregation={aggregation}");
        let settings: Vec<&str> = [aggregation.as_str()].into_iter().chain(self.setting).collect();
        let daemon = Process::daemon(Path::new(DISPATCHD), environment, &socket, &settings)?;
        let window = Window::new(WARM_UP, measured);
        let callers = Callers::start(&socket, self.load, window)?;
        let look = |at: Instant| {
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            Ok::<_, Error>((Instant::now(), callers.acked(), usage(daemon.id())?))
        };
        let before = look(window.from)?;
        let counted_s = measured.as_secs_f64() * 0.8; // perf takes a moment to begin
        let counting = syscalls.then(|| start_counting(daemon.id(), counted_s)).transpose()?;
        let after = look(window.to)?;
        let calls = counting.map(counted).transpose()?;
        let peak_mib = memory_mib(daemon.id(), "VmHWM")?;
        drop(daemon); // so that no caller waits for an answer
        let mut reading = Reading::between(before, after, &callers.latencies(), peak_mib);
        reading.syscalls = calls.map(|calls| calls / counted_s / reading.rate());
        Ok(reading)
    }
}

impl Reading {
    const HEADER: &str = "case | events/s | CPU µs/event (user + system) | events/CPU-s | p50 ms | p99 ms | p99.9 ms | peak MiB | records/request | system calls/event | × batcher's events/s | × batcher's CPU/event\n---|---|---|---|---|---|---|---|---|---|---|---";

    /// From what was seen when the window opened and when it closed: when, how many events were
    /// done, CPU time.
    fn between(
        before: (Instant, u64, Usage),
        after: (Instant, u64, Usage),
        latencies: &Histogram<u64>,
        peak_mib: f64,
    ) -> Self {
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        Self {
            events: after.1 - before.1,
            seconds: (after.0 - before.0).as_secs_f64(),
            user_us: micros(after.2.user - before.2.user),
            system_us: micros(after.2.system - before.2.system),
            latency: [0.5, 0.99, 0.999]
                .map(|share| latencies.value_at_quantile(share) as f64 / 1e3),
            peak_mib,
            records_a_request: 0.0,
            syscalls: None,
        }
    }

    fn rate(&self) -> f64 {
        self.events as f64 / self.seconds
    }

    /// Microseconds an event.
    fn cpu(&self) -> f64 {
        (self.user_us + self.system_us) / self.events as f64
    }

    fn line(&self, name: &str, batcher: Option<&Self>) -> String {
        let events = self.events as f64;
        let ratio = |of: fn(&Self) -> f64| {
            batcher.map_or("-".into(), |batcher| format!("{:.2}", of(self) / of(batcher)))
        };
        let [p50, p99, p999] = self.latency;
        format!(
            "{name} | {:.0} | {:.2} ({:.2} + {:.2}) | {:.0} | {p50:.2} | {p99:.2} | {p999:.2} | {:.1} | {:.0} | {} | {} | {}",
            self.rate(),
            self.cpu(),
            self.user_us / events,
            self.system_us / events,
            1e6 / self.cpu(),
            self.peak_mib,
            self.records_a_request,
            self.syscalls.map_or("-".into(), |calls| format!("{calls:.3}")),
            ratio(Self::rate),
            ratio(Self::cpu),
        )
    }
}

/// Counts the system calls that a process enters within so many seconds.
fn start_counting(pid: u32, seconds: f64) -> Result<Child> {
    let mut perf = Command::new("perf");
    perf.args([
        "stat",
        "-x,",
        "-e",
        "raw_syscalls:sys_enter",
        "-p",
        &pid.to_string(),
        "sleep",
        &seconds.to_string(),
    ]);
    perf.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()
}

fn counted(perf: Child) -> Result<f64> {
    let output = perf.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let count = text.lines().find_map(|line| line.split_once(',')?.0.parse().ok());
    Ok(count.unwrap_or_else(|| panic!("perf counted nothing, it needs root: {text}")))
}
