//! What a daemon takes beside its application: CPU and memory by the rate of events, and whether memory grows with time.
//!
//! Default settings, four shards, a stream that answers in 15 ms, one connection.

use std::io::{Error, Result};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::load::{Callers, Load, Pace, Window};
use crate::process::{Process, Server, memory_mib, usage};

const SHARDS: usize = 4;
const DELAY_MS: u64 = 15;
const KEYS: usize = 10_000;
const RATES: [u32; 4] = [100, 1_000, 5_000, 20_000];
const SOAK_RATE: u32 = 5_000;
/// What an allocator may come to hold after the first minute without being taken for a leak, in MiB.
const SLACK_MIB: f64 = 3.0;

/// The parts of a run; they end together.
struct House {
    _server: Server,
    daemon: Process,
    dir: TempDir,
}

impl House {
    fn build() -> Result<Self> {
        let server = Server::start(SHARDS, DELAY_MS)?;
        let dir = tempfile::tempdir()?;
        let daemon = Process::daemon(&server.environment(false), &dir.path().join("d.sock"), &[])?;
        Ok(Self { _server: server, daemon, dir })
    }

    fn load(&self, data_bytes: usize, rate: u32, window: Window) -> Result<Callers> {
        let load = Load { data_bytes, keys: KEYS, connections: 1, pace: Pace::PerSecond(rate) };
        Callers::start(&self.dir.path().join("d.sock"), load, window)
    }

    fn resident_mib(&self) -> Result<f64> {
        memory_mib(self.daemon.id(), "VmRSS")
    }
}

/// Prints the table: a line a rate.
pub fn table(measured: Duration) -> Result<()> {
    println!("events/s | CPU, 200 B | CPU, 1 KiB | memory, 200 B | memory, 1 KiB\n---|---|---|---|---");
    let idle = House::build()?;
    sleep(Duration::from_secs(2));
    let before = usage(idle.daemon.id())?;
    sleep(measured);
    let used = usage(idle.daemon.id())?.since(&before);
    println!("idle | {} | | {:.1} MiB |", share(used, measured), idle.resident_mib()?);
    for rate in RATES {
        let [(small_cpu, small_mib), (large_cpu, large_mib)] = [one(200, rate, measured)?, one(1024, rate, measured)?];
        println!("{rate} | {small_cpu} | {large_cpu} | {small_mib:.1} MiB | {large_mib:.1} MiB");
    }
    Ok(())
}

/// CPU of one core, and the memory in the end.
fn one(data_bytes: usize, rate: u32, measured: Duration) -> Result<(String, f64)> {
    let house = House::build()?;
    let window = Window::new(Duration::from_secs(2), measured);
    let _callers = house.load(data_bytes, rate, window)?;
    sleep(window.from.saturating_duration_since(Instant::now()));
    let before = usage(house.daemon.id())?;
    sleep(window.to.saturating_duration_since(Instant::now()));
    let used = usage(house.daemon.id())?.since(&before);
    Ok((share(used, measured), house.resident_mib()?))
}

fn share(used: Duration, of: Duration) -> String {
    format!("{:.1} %", 100.0 * used.as_secs_f64() / of.as_secs_f64())
}

/// Sends 5,000 events a second for so long and prints the memory each minute.
///
/// # Errors
/// If the daemon holds more at the end than after the second minute, the allocator's slack aside.
pub fn soak(minutes: u32) -> Result<()> {
    const MINUTE: Duration = Duration::from_secs(60);
    let house = House::build()?;
    println!("idle: {:.1} MiB", house.resident_mib()?);
    let window = Window::new(Duration::ZERO, MINUTE * minutes);
    let callers = house.load(200, SOAK_RATE, window)?;
    let mut after = Vec::new();
    for minute in 1..=minutes {
        sleep((window.began + MINUTE * minute).saturating_duration_since(Instant::now()));
        after.push(house.resident_mib()?);
        println!("minute {minute}: {:.1} MiB, {} events acked", after[after.len() - 1], callers.acked());
    }
    match (after.get(1), after.last()) {
        (Some(early), Some(late)) if late - early > SLACK_MIB => {
            Err(Error::other(format!("it grew from {early:.1} to {late:.1} MiB")))
        }
        _ => Ok(()),
    }
}
