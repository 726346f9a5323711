//! Socket → daemon → embedded stream → ack, as a caller sees it: a first reading of latency, throughput and cost.
//!
//! `cargo bench --bench end_to_end`. The daemon is a process of its own with its embedded stream inside, so its CPU time
//! counts the stream's work too. It compares nothing and judges nothing: it prints what it measured.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const LINGER: Duration = Duration::from_millis(10);
const PACED_EVENTS: usize = 1_000;
const PACED_EVERY: Duration = Duration::from_millis(10);
const FLOOD_EVENTS: usize = 400_000;
const FLOOD_CONNECTIONS: usize = 4;
const KEYS: usize = 10_000;

fn main() -> std::io::Result<()> {
    let dir = std::env::temp_dir().join(format!("dispatchd-bench-{}", std::process::id()));
    std::fs::create_dir(&dir)?;
    let socket = dir.join("d.sock");
    let daemon = Daemon::start(&socket)?;
    println!("idle: {:.1} MiB resident, embedded stream included", daemon.resident_mib()?);

    let mut latencies = paced(&socket)?;
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "100 events/s, linger {} ms: write to ack p50 {:.2} ms, p99 {:.2} ms, worst {:.2} ms",
        LINGER.as_millis(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    for data_bytes in [200, 1024] {
        let (before, began) = (daemon.cpu()?, Instant::now());
        flood(&socket, data_bytes)?;
        let (took, cpu) = (began.elapsed(), daemon.cpu()? - before);
        println!(
            "{data_bytes} B of data, {KEYS} keys, {FLOOD_CONNECTIONS} connections: {:.0} events/s, {:.2} µs of CPU an event (daemon and embedded stream), {:.1} MiB resident",
            FLOOD_EVENTS as f64 / took.as_secs_f64(),
            cpu.as_secs_f64() * 1e6 / FLOOD_EVENTS as f64,
            daemon.resident_mib()?
        );
    }
    drop(daemon);
    std::fs::remove_dir_all(&dir)
}

/// The daemon under test; killed when dropped.
struct Daemon(Child);

impl Daemon {
    fn start(socket: &Path) -> std::io::Result<Self> {
        let mut daemon = Command::new(env!("CARGO_BIN_EXE_dispatchd"));
        let linger = format!("batch.linger={}ms", LINGER.as_millis());
        daemon.args(["run", "--local", "--admin-listen", "off", "--set", &linger, "--socket"]).arg(socket);
        let daemon = Self(daemon.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        let began = Instant::now();
        while UnixStream::connect(socket).is_err() {
            assert!(began.elapsed() < Duration::from_secs(30), "the daemon does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(daemon)
    }

    /// User and system time so far: fields 14 and 15 of /proc/PID/stat, in hundredths of a second (proc(5)).
    fn cpu(&self) -> std::io::Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let ticks = |field: usize| after_name.split(' ').nth(field - 3).and_then(|ticks| ticks.parse::<u64>().ok());
        Ok(Duration::from_millis(10 * (ticks(14).unwrap_or(0) + ticks(15).unwrap_or(0))))
    }

    fn resident_mib(&self) -> std::io::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        Ok(kib.and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn event(n: usize, data_bytes: usize) -> String {
    let filler = "x".repeat(data_bytes - 8);
    format!(
        "{{\"ref\":{n},\"type\":\"bench.event\",\"data\":{{\"a\":\"{filler}\"}},\"options\":{{\"partitionKey\":\"customer-{}\"}}}}\n",
        n % KEYS
    )
}

/// One event every 10 ms, whenever the last one was answered: what a caller waits, from its write to its ack.
fn paced(socket: &Path) -> std::io::Result<Vec<Duration>> {
    let mut socket = UnixStream::connect(socket)?;
    let answers = BufReader::new(socket.try_clone()?);
    let began = Instant::now() + PACED_EVERY;
    let reading = std::thread::spawn(move || -> Vec<Instant> {
        answers.lines().take(PACED_EVENTS).map(|_| Instant::now()).collect()
    });
    let mut sent = Vec::with_capacity(PACED_EVENTS);
    for n in 0..PACED_EVENTS {
        let due = began + PACED_EVERY * n as u32;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        sent.push(Instant::now());
        socket.write_all(event(n, 200).as_bytes())?;
    }
    let answered = reading.join().expect("the reader does not panic");
    Ok(sent.into_iter().zip(answered).map(|(sent, answered)| answered - sent).collect())
}

/// As many events as the daemon takes, pipelined on several connections; returns when all are answered.
fn flood(socket: &Path, data_bytes: usize) -> std::io::Result<()> {
    let callers: Vec<_> = (0..FLOOD_CONNECTIONS)
        .map(|caller| {
            let socket = UnixStream::connect(socket)?;
            Ok(std::thread::spawn(move || call(socket, caller, data_bytes)))
        })
        .collect::<std::io::Result<_>>()?;
    callers.into_iter().try_for_each(|caller| caller.join().expect("a caller does not panic"))
}

fn call(mut socket: UnixStream, caller: usize, data_bytes: usize) -> std::io::Result<()> {
    let answers = BufReader::with_capacity(1 << 16, socket.try_clone()?);
    let reading = std::thread::spawn(move || {
        answers.lines().map_while(Result::ok).filter(|line| line.contains("\"ok\":true")).count()
    });
    let mut chunk = String::new();
    for n in (caller..FLOOD_EVENTS).step_by(FLOOD_CONNECTIONS) {
        chunk += &event(n, data_bytes);
        if chunk.len() > 1 << 16 {
            socket.write_all(chunk.as_bytes())?;
            chunk.clear();
        }
    }
    socket.write_all(chunk.as_bytes())?;
    socket.shutdown(std::net::Shutdown::Write)?;
    let acked = reading.join().expect("the reader does not panic");
    assert_eq!(acked, FLOOD_EVENTS / FLOOD_CONNECTIONS, "every event is acked");
    Ok(())
}
