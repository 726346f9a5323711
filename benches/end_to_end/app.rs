//! An application with AWS's SDK for Go that puts one record a call, 500 calls a second: against
//! the stream itself, and led through the daemon by AWS_ENDPOINT_URL_KINESIS alone. Both take
//! turns; medians of the rounds are printed.
//!
//! CPU is that of all processes but this one: application, daemon, and the server, which is what a
//! machine pays. The stream answers in 15 ms, over TLS; settings are the defaults.

use std::io::{Error, Read, Result};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use testkit::packages::go_app;

use crate::process::{DISPATCHD, Process, Server, Usage, usage};
use crate::transport::median;

const RATE: u32 = 500;
const SHARDS: usize = 4;
const DELAY_MS: u64 = 15;

/// What one run came to: milliseconds from when a call was due, microseconds of CPU a call.
struct Cost {
    p50_ms: f64,
    p99_ms: f64,
    cpu_us: f64,
}

pub(crate) fn table(rounds: usize, measured: Duration) -> Result<()> {
    let app = go_app().ok_or_else(|| Error::other("this bench needs Go"))?;
    let mut costs = [const { Vec::new() }; 2];
    for _ in 0..rounds {
        for (through, costs) in [false, true].into_iter().zip(&mut costs) {
            costs.push(one(&app, through, measured)?);
        }
    }
    println!("{RATE} PutRecord a second | p50 ms | p99 ms | CPU µs/event, all processes");
    println!("---|---|---|---");
    for (name, costs) in ["the SDK alone", "through dispatchd"].iter().zip(&costs) {
        let [p50, p99, cpu] = [|c: &Cost| c.p50_ms, |c: &Cost| c.p99_ms, |c: &Cost| c.cpu_us]
            .map(|of| median(costs.iter().map(of)));
        println!("{name} | {p50:.1} | {p99:.1} | {cpu:.0}");
    }
    Ok(())
}

fn one(app: &Path, through: bool, measured: Duration) -> Result<Cost> {
    let server = Server::start(SHARDS, DELAY_MS)?;
    let environment = server.environment(true);
    let dir = tempfile::tempdir()?;
    let mut app = Command::new(app);
    app.args(["paced", "bench", &RATE.to_string(), &measured.as_secs().to_string()]);
    app.env_clear().envs(environment.iter().cloned());
    let daemon = match through {
        false => None,
        true => {
            let api = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
            let setting = format!("kinesis_api.listen={api}");
            let socket = dir.path().join("d.sock");
            let program = Path::new(DISPATCHD);
            let daemon = Process::daemon(program, &environment, &socket, &[&setting])?;
            app.env("AWS_ENDPOINT_URL_KINESIS", format!("http://{api}"));
            Some(daemon)
        }
    };
    let others = || {
        let daemon = daemon.as_ref().map(|daemon| usage(daemon.id())).transpose()?;
        Ok::<_, Error>([Some(usage(server.id())?), daemon])
    };
    let before = others()?;
    let mut app = app.stdout(Stdio::piped()).spawn()?;
    let mut told = String::new();
    app.stdout.take().expect("it is piped").read_to_string(&mut told)?;
    // It has ended, and its figures stay readable until it is waited for.
    let own = usage(app.id())?;
    if !app.wait()?.success() {
        return Err(Error::other("the application failed"));
    }
    let mut cpu = own.user + own.system;
    for (after, before) in others()?.into_iter().zip(before) {
        let since = |(after, before): (Usage, Usage)| after.since(&before);
        cpu += after.zip(before).map(since).unwrap_or_default();
    }
    let told: Vec<f64> = told.split_whitespace().filter_map(|text| text.parse().ok()).collect();
    let &[count, p50_us, p99_us] = &told[..] else {
        return Err(Error::other("the application did not print its figures"));
    };
    Ok(Cost { p50_ms: p50_us / 1e3, p99_ms: p99_us / 1e3, cpu_us: cpu.as_secs_f64() * 1e6 / count })
}
