//! What sending costs the daemon, at the rates that applications have: CPU by the event and by the
//! request, plain and over TLS. Several programs take turns, so that before and after are measured
//! on the same machine at the same time.
//!
//! Default settings, four shards, a stream that answers in 15 ms, one connection.

use std::io::Result;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::load::{Pace, Window};
use crate::process::usage;
use crate::resources::Run;
use crate::server;

const RATES: [u32; 3] = [100, 1_000, 5_000];
const DATA_BYTES: usize = 200;

/// What one run came to.
#[derive(Debug, Clone, Copy)]
struct Cost {
    /// Microseconds of CPU.
    event_us: f64,
    request_us: f64,
    requests_a_second: f64,
    /// Connections that took HTTP/2 where it was on offer.
    http2: u64,
}

/// Prints a line for each rate, plain or TLS, and program: the medians of so many rounds.
pub(crate) fn table(programs: &[PathBuf], rounds: usize, measured: Duration) -> Result<()> {
    println!(
        "events/s | stream | program | CPU µs/event | CPU µs/request | requests/s | HTTP/2 connections"
    );
    println!("---|---|---|---|---|---|---");
    for rate in RATES {
        for tls in [false, true] {
            let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); programs.len()];
            for _ in 0..rounds {
                for (program, costs) in programs.iter().zip(&mut costs) {
                    costs.push(one(program, rate, tls, measured)?);
                }
            }
            for (program, costs) in programs.iter().zip(&costs) {
                let stream = if tls { "TLS" } else { "plain" };
                let [event, request, requests] = [
                    |c: &Cost| c.event_us,
                    |c: &Cost| c.request_us,
                    |c: &Cost| c.requests_a_second,
                ]
                .map(|of| median(costs.iter().map(of)));
                let http2: u64 = costs.iter().map(|cost| cost.http2).sum();
                let program = program.display();
                println!(
                    "{rate} | {stream} | {program} | {event:.0} | {request:.0} | {requests:.1} | {http2}"
                );
            }
        }
    }
    Ok(())
}

fn one(program: &std::path::Path, rate: u32, tls: bool, measured: Duration) -> Result<Cost> {
    let run = Run::build(program, tls)?;
    let window = Window::new(Duration::from_secs(2), measured);
    let callers = run.load(DATA_BYTES, 1, Pace::PerSecond(rate), window)?;
    let look = |at: Instant| {
        sleep(at.saturating_duration_since(Instant::now()));
        Ok::<_, std::io::Error>((
            callers.acked(),
            usage(run.daemon.id())?,
            server::counts(run.server.port)?,
        ))
    };
    let (before, after) = (look(window.from)?, look(window.to)?);
    let used_us = after.1.since(&before.1).as_secs_f64() * 1e6;
    let requests = (after.2.requests - before.2.requests) as f64;
    Ok(Cost {
        event_us: used_us / (after.0 - before.0) as f64,
        request_us: used_us / requests,
        requests_a_second: requests / measured.as_secs_f64(),
        http2: after.2.http2,
    })
}

/// Of an even number the upper one.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
