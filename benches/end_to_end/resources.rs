//! What a daemon takes beside its application: CPU and memory by the rate of events, memory when
//! its budget is full and after that, and whether memory grows with time.
//!
//! Default settings, four shards, a stream that answers in 15 ms, one connection unless said
//! otherwise.

use std::io::{Error, Result};
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::load::{Callers, Load, Pace, Shape, Window};
use crate::process::{DISPATCHD, Process, Server, memory_mib, usage};

const SHARDS: usize = 4;
const DELAY_MS: u64 = 15;
const KEYS: usize = 10_000;
const RATES: [u32; 4] = [100, 1_000, 5_000, 20_000];
const SOAK_RATE: u32 = 5_000;
/// What an allocator may come to hold after the first minute without being taken for a leak, in
/// MiB.
const SLACK_MIB: f64 = 3.0;

/// The parts of a run; they end together.
pub(crate) struct Run {
    pub server: Server,
    pub daemon: Process,
    dir: TempDir,
}

impl Run {
    /// With this program, and the stream behind TLS or not.
    pub(crate) fn build(program: &Path, tls: bool) -> Result<Self> {
        let server = Server::start(SHARDS, DELAY_MS)?;
        let dir = tempfile::tempdir()?;
        let daemon =
            Process::daemon(program, &server.environment(tls), &dir.path().join("d.sock"), &[])?;
        Ok(Self { server, daemon, dir })
    }

    fn ours() -> Result<Self> {
        Self::build(Path::new(DISPATCHD), false)
    }

    pub(crate) fn load(
        &self,
        data_bytes: usize,
        connections: usize,
        pace: Pace,
        window: Window,
    ) -> Result<Callers> {
        let load = Load { data_bytes, shape: Shape::Members, keys: KEYS, connections, pace };
        Callers::start(&self.dir.path().join("d.sock"), load, window)
    }

    /// Events that the daemon holds, as it tells an operator.
    fn in_flight(&self) -> Result<u64> {
        let mut admin = Command::new(DISPATCHD);
        let told = admin
            .args(["admin", "status", "--json", "--socket"])
            .arg(self.dir.path().join("d.sock"))
            .output()?;
        let status: serde_json::Value = serde_json::from_slice(&told.stdout)?;
        status["events"]["in_flight"]
            .as_u64()
            .ok_or_else(|| Error::other(format!("it is not in {status}")))
    }

    fn resident_mib(&self) -> Result<f64> {
        memory_mib(self.daemon.id(), "VmRSS")
    }
}

/// Prints the table: a line a rate.
pub(crate) fn table(measured: Duration) -> Result<()> {
    println!(
        "events/s | CPU, 200 B | CPU, 1 KiB | memory, 200 B | memory, 1 KiB\n---|---|---|---|---"
    );
    let idle = Run::ours()?;
    sleep(Duration::from_secs(2));
    let before = usage(idle.daemon.id())?;
    sleep(measured);
    let used = usage(idle.daemon.id())?.since(&before);
    println!("idle | {} | | {:.1} MiB |", share(used, measured), idle.resident_mib()?);
    for rate in RATES {
        let [(small_cpu, small_mib), (large_cpu, large_mib)] =
            [one(200, rate, measured)?, one(1024, rate, measured)?];
        println!("{rate} | {small_cpu} | {large_cpu} | {small_mib:.1} MiB | {large_mib:.1} MiB");
    }
    Ok(())
}

/// CPU of one core, and the memory in the end.
fn one(data_bytes: usize, rate: u32, measured: Duration) -> Result<(String, f64)> {
    let run = Run::ours()?;
    let window = Window::new(Duration::from_secs(2), measured);
    let _callers = run.load(data_bytes, 1, Pace::PerSecond(rate), window)?;
    sleep(window.from.saturating_duration_since(Instant::now()));
    let before = usage(run.daemon.id())?;
    sleep(window.to.saturating_duration_since(Instant::now()));
    let used = usage(run.daemon.id())?.since(&before);
    Ok((share(used, measured), run.resident_mib()?))
}

fn share(used: Duration, of: Duration) -> String {
    format!("{:.1} %", 100.0 * used.as_secs_f64() / of.as_secs_f64())
}

/// Prints what is held while the stream takes nothing and the budget is full, what stays of it when
/// all is delivered, and what of that when a little traffic goes on.
pub(crate) fn memory() -> Result<()> {
    const FULL: Duration = Duration::from_secs(4);
    println!(
        "data | idle | budget full | events held | bytes an event | a second after | 10 s of 100/s later"
    );
    println!("---|---|---|---|---|---|---");
    for data_bytes in [200, 1024] {
        let run = Run::ours()?;
        sleep(Duration::from_secs(2));
        let idle = run.resident_mib()?;
        run.server.signal(Signal::STOP)?;
        let window = Window::new(Duration::ZERO, FULL);
        // Of windows of 4,096 events, 32 are more than the budget.
        let callers = run.load(data_bytes, 32, Pace::InFlight(32 * 4096), window)?;
        sleep(FULL);
        let (full, events) = (run.resident_mib()?, run.in_flight()?);
        run.server.signal(Signal::CONT)?;
        callers.latencies(); // they end with their first ack after the window
        while run.in_flight()? > 0 {
            sleep(Duration::from_millis(100));
        }
        sleep(Duration::from_secs(1));
        let soon = run.resident_mib()?;
        let trickle = Window::new(Duration::ZERO, Duration::from_secs(10));
        let _callers = run.load(data_bytes, 1, Pace::PerSecond(100), trickle)?;
        sleep(Duration::from_secs(9));
        let each = (full - idle) * 1024.0 * 1024.0 / events as f64;
        let late = run.resident_mib()?;
        println!(
            "{data_bytes} B | {idle:.1} MiB | {full:.1} MiB | {events} | {each:.0} | {soon:.1} MiB | {late:.1} MiB"
        );
    }
    Ok(())
}

/// Sends 5,000 events a second for so long and prints the memory each minute.
///
/// # Errors
/// If the daemon holds more at the end than after the second minute, the allocator's slack aside.
pub(crate) fn soak(minutes: u32) -> Result<()> {
    const MINUTE: Duration = Duration::from_secs(60);
    let run = Run::ours()?;
    println!("idle: {:.1} MiB", run.resident_mib()?);
    let window = Window::new(Duration::ZERO, MINUTE * minutes);
    let callers = run.load(200, 1, Pace::PerSecond(SOAK_RATE), window)?;
    let mut after = Vec::new();
    for minute in 1..=minutes {
        sleep((window.began + MINUTE * minute).saturating_duration_since(Instant::now()));
        after.push(run.resident_mib()?);
        println!(
            "minute {minute}: {:.1} MiB, {} events acked",
            after[after.len() - 1],
            callers.acked()
        );
    }
    match (after.get(1), after.last()) {
        (Some(early), Some(late)) if late - early > SLACK_MIB => {
            Err(Error::other(format!("it grew from {early:.1} to {late:.1} MiB")))
        }
        _ => Ok(()),
    }
}
