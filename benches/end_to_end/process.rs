//! The processes of a run: started, asked by /proc what they used, killed when dropped.

use std::io::{BufRead, BufReader, Error, Result};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tempfile::NamedTempFile;

use crate::source::Contents;

/// The daemon that was built with this bench.
pub(crate) const DISPATCHD: &str = env!("CARGO_BIN_EXE_dispatchd");

/// A child of this run.
pub(crate) struct Process(Child);

/// What a process has used since it began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub user: Duration,
    pub system: Duration,
}

impl Process {
    /// This binary again, in another role, and the first line that it prints.
    pub(crate) fn role(args: &[&str], environment: &[(&str, String)]) -> Result<(Self, String)> {
        let mut child = Command::new(std::env::current_exe()?);
        let mut child =
            child.args(args).envs(environment.iter().cloned()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().expect("it is piped");
        let process = Self(child);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        Ok((process, line.trim_end().to_owned()))
    }

    /// The daemon as it would run against AWS, with these variables alone; returns when it listens.
    pub(crate) fn daemon(
        program: &Path,
        environment: &[(&str, String)],
        socket: &Path,
        settings: &[&str],
    ) -> Result<Self> {
        let mut daemon = Command::new(program);
        daemon
            .args([
                "run",
                "--stream",
                "bench",
                "--admin-listen",
                "off",
                "--log-level",
                "error",
                "--socket",
            ])
            .arg(socket);
        daemon.args(settings.iter().flat_map(|setting| ["--set", *setting]));
        daemon.env_clear().envs(environment.iter().cloned());
        let daemon = Self(daemon.spawn()?);
        let began = Instant::now();
        while UnixStream::connect(socket).is_err() {
            assert!(began.elapsed() < Duration::from_secs(30), "the daemon does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(daemon)
    }

    /// Any command, which ends with this.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        command.spawn().map(Self)
    }

    /// The same, and what it prints.
    pub(crate) fn piped(command: &mut Command) -> Result<(Self, ChildStdout)> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().expect("it is piped");
        Ok((Self(child), stdout))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The counting server.
pub(crate) struct Server {
    process: Process,
    /// Where it speaks plain HTTP, and where TLS.
    pub port: u16,
    tls_port: u16,
    /// Of the TLS port, for those who are to trust it.
    certificate: NamedTempFile,
}

impl Server {
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Stops it, so that it answers nothing, or lets it go on.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        Ok(rustix::process::kill_process(id.ok_or_else(|| Error::other("it has no id"))?, signal)?)
    }

    pub(crate) fn start(shards: usize, delay_ms: u64) -> Result<Self> {
        let certificate = NamedTempFile::new()?;
        let path = certificate
            .path()
            .to_str()
            .ok_or_else(|| Error::other("the temporary directory is not UTF-8"))?;
        let args = ["as-server", &shards.to_string(), &delay_ms.to_string(), path];
        let (process, ports) = Process::role(&args, &[])?;
        let port = |text: &str| text.parse().map_err(Error::other);
        let (plain, tls) =
            ports.split_once(' ').ok_or_else(|| Error::other("the server did not start"))?;
        Ok(Self { process, port: port(plain)?, tls_port: port(tls)?, certificate })
    }

    /// What the SDK's chain needs to reach it and nothing else.
    pub(crate) fn environment(&self, tls: bool) -> [(&'static str, String); 6] {
        let endpoint = match tls {
            false => format!("http://127.0.0.1:{}", self.port),
            true => format!("https://127.0.0.1:{}", self.tls_port),
        };
        let certificate = self.certificate.path().display().to_string();
        let [region, id, secret, endpoint] = sdk_chain(endpoint);
        // For the daemon, and for the SDK by itself.
        let certificates = [("AWS_CA_BUNDLE", certificate.clone()), ("SSL_CERT_FILE", certificate)];
        let [bundle, file] = certificates;
        [region, id, secret, endpoint, bundle, file]
    }
}

/// The stream to read from.
pub(crate) struct Source {
    _process: Process,
    pub port: u16,
}

impl Source {
    pub(crate) fn start(contents: Contents) -> Result<Self> {
        let Contents { shards, data_bytes, members, rate } = contents;
        let numbers = [shards, data_bytes, members].map(|number| number.to_string());
        let rate = rate.map(|rate| rate.to_string());
        let mut args = vec!["as-source"];
        args.extend(numbers.iter().chain(&rate).map(String::as_str));
        let (process, port) = Process::role(&args, &[])?;
        Ok(Self { _process: process, port: port.parse().map_err(Error::other)? })
    }

    pub(crate) fn environment(&self) -> [(&'static str, String); 4] {
        sdk_chain(format!("http://127.0.0.1:{}", self.port))
    }
}

/// What the SDK's chain needs to reach an endpoint.
fn sdk_chain(endpoint: String) -> [(&'static str, String); 4] {
    [
        ("AWS_REGION", "us-east-1".into()),
        ("AWS_ACCESS_KEY_ID", "bench".into()),
        ("AWS_SECRET_ACCESS_KEY", "bench".into()),
        ("AWS_ENDPOINT_URL_KINESIS", endpoint),
    ]
}

/// The first field of every thread's /proc/PID/task/ID/schedstat: nanoseconds on a processor, where
/// hundredths of a second are too coarse. Of the threads that are there.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let mut nanos = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end meanwhile.
        let stat = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        nanos += stat.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanos))
}

/// Fields 14 and 15 of /proc/PID/stat, in hundredths of a second (proc(5)).
pub(crate) fn usage(pid: u32) -> Result<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<_> =
        stat.rsplit_once(") ").map_or(vec![], |(_, rest)| rest.split(' ').collect());
    let ticks = |field: usize| {
        fields.get(field - 3).and_then(|text| text.parse().ok()).map(|n: u64| 10 * n)
    };
    match (ticks(14), ticks(15)) {
        (Some(user), Some(system)) => {
            Ok(Usage { user: Duration::from_millis(user), system: Duration::from_millis(system) })
        }
        _ => Err(Error::other(format!("not as in proc(5): {stat}"))),
    }
}

impl Usage {
    /// CPU time since an earlier look.
    pub(crate) fn since(&self, before: &Self) -> Duration {
        self.user + self.system - before.user - before.system
    }
}

/// What a process holds (VmRSS) or ever held (VmHWM).
pub(crate) fn memory_mib(pid: u32, field: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let of = |line: &str| {
        line.strip_prefix(field)?.strip_prefix(':')?.trim().strip_suffix(" kB")?.parse().ok()
    };
    let kib: Option<f64> = status.lines().find_map(of);
    kib.map(|kib| kib / 1024.0)
        .ok_or_else(|| Error::other(format!("no {field} in /proc/PID/status")))
}
