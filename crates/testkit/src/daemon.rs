//! A whole daemon in a process of its own, and callers that speak the protocol to it.
//!
//! Nothing here reaches into the daemon's crate: what a test sees is what a user would. Where its
//! binary is, [`Binary`], comes from the test: Cargo tells nobody else.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::prometheus::sum_of;
use super::tls::Certificate;
use super::{DEADLINE, eventually};

/// What seconds of waiting may take of a core. A debug build needs some 10 ms for a probe now and
/// then, more of them where others make its caches cold; what spins takes all of the time.
pub const IDLE_CPU_MAX: Duration = Duration::from_millis(150);

/// What a request may take where a test says nothing of it: longer than a machine that is full
/// takes over one, so that nothing is sent again for the machine's sake.
const ATTEMPT_TIMEOUT: (&str, &str) = ("DISPATCHD__KINESIS__ATTEMPT_TIMEOUT", "1m");

/// A running `dispatchd run` or `dispatchd forward`. Killed when dropped.
pub struct Daemon {
    binary: Binary,
    child: Child,
    socket: PathBuf,
    /// A forwarder's admin socket; a daemon's lies beside its socket.
    admin_socket: Option<PathBuf>,
    admin: String,
    log: Arc<Mutex<Vec<Value>>>,
    /// Its own directory, if nobody else keeps it.
    _dir: Option<tempfile::TempDir>,
    tasks: JoinSet<()>,
}

/// One connection to a daemon.
pub struct Caller {
    pub read: BufReader<OwnedReadHalf>,
    pub write: OwnedWriteHalf,
}

/// How a daemon is started.
#[derive(Clone)]
pub struct Start {
    binary: Binary,
    /// Whether it is a forwarder.
    forward: bool,
    args: Vec<String>,
    env: Vec<(String, String)>,
    without_env: Vec<String>,
    /// What a shell does before it becomes the daemon.
    before: Option<String>,
}

/// A program run by the user and the group that own nothing, who are neither root nor the daemon's.
/// It needs root.
pub fn as_nobody(program: impl AsRef<OsStr>) -> Command {
    const NOBODY: &str = "65534";
    let mut command = Command::new("setpriv");
    command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"]).arg(program);
    command
}

/// The binary under test: `Binary::at(env!("CARGO_BIN_EXE_dispatchd"))`.
#[derive(Clone, Copy)]
pub struct Binary(&'static str);

impl Binary {
    pub const fn at(path: &'static str) -> Self {
        Self(path)
    }

    pub const fn path(self) -> &'static str {
        self.0
    }

    /// A command that sees none of this machine's AWS settings and has credentials that open
    /// nothing.
    pub fn command(self) -> Command {
        // A shell's background job ignores SIGINT, and a daemon goes on ignoring what was ignored
        // when it began.
        let mut command = Command::new("env");
        command.args(["--default-signal", self.path()]);
        sheltered(command)
    }

    /// The program run [`as_nobody`]: a copy of it in `folder`, which is opened to all.
    pub fn command_as_nobody(self, folder: &Path) -> Command {
        let copy = folder.join("dispatchd");
        // By a program of its own: what this process has open to write, a child that another test
        // starts has too for a moment, and no file is run that somebody may write (ETXTBSY).
        let mut install = std::process::Command::new("install");
        let status = install.args(["-m", "755", self.path()]).arg(&copy).status();
        assert!(status.expect("coreutils have install").success(), "{install:?}");
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("it is ours");
        as_nobody(copy)
    }

    /// The same after a shell has done something, in a mount namespace of its own if it mounts:
    /// `exec` keeps the process id.
    fn command_after(self, before: String) -> Command {
        let is_mount = before.starts_with("mount ");
        let mut command = sheltered(Command::new(if is_mount { "unshare" } else { "sh" }));
        if is_mount {
            command.args(["--mount", "sh"]);
        }
        command.args(["-c", &format!("{before} && exec \"$0\" \"$@\""), self.path()]);
        command
    }

    /// A daemon for `stream` on the server at `endpoint`.
    pub fn daemon(self, endpoint: &str, stream: &str) -> Start {
        Start {
            args: vec!["--stream".into(), stream.into()],
            env: vec![
                ("AWS_ENDPOINT_URL_KINESIS".into(), endpoint.into()),
                (ATTEMPT_TIMEOUT.0.into(), ATTEMPT_TIMEOUT.1.into()),
            ],
            ..Start::of(self)
        }
    }

    /// A forwarder for `stream` on the server at `endpoint`; its checkpoints lie in its directory.
    pub fn forward(self, endpoint: &str, stream: &str) -> Start {
        Start { forward: true, ..self.daemon(endpoint, stream) }
    }

    /// A daemon with the embedded stream.
    pub fn local(self) -> Start {
        Start { args: vec!["--local".into()], ..Start::of(self) }
    }

    /// A daemon for the stream of this ARN on the server at `endpoint`.
    pub fn by_arn(self, endpoint: &str, arn: &str) -> Start {
        Start { args: Vec::new(), ..self.daemon(endpoint, "") }.set("stream.arn", arn)
    }
}

/// This command, seeing what [`Binary::command`] does.
pub fn sheltered(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_")
            || name.to_string_lossy().starts_with("DISPATCHD_")
        {
            command.env_remove(name);
        }
    }
    command
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

impl Start {
    fn of(binary: Binary) -> Self {
        let (args, env, without_env) = (Vec::new(), Vec::new(), Vec::new());
        Self { binary, forward: false, args, env, without_env, before: None }
    }

    pub fn set(mut self, key: &str, value: impl std::fmt::Display) -> Self {
        self.args.extend(["--set".into(), format!("{key}={value}")]);
        self
    }

    /// Flags of `run`.
    pub fn args<const N: usize>(mut self, args: [&str; N]) -> Self {
        self.args.extend(args.map(String::from));
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Takes a variable away that every test's daemon has.
    pub fn without_env(mut self, name: &str) -> Self {
        self.without_env.push(name.into());
        self
    }

    pub fn open_files(mut self, limit: u32) -> Self {
        self.before = Some(format!("ulimit -S -n {limit}"));
        self
    }

    /// With these signals ignored from the beginning, as `nohup` and the background jobs of scripts
    /// are started.
    pub fn ignoring(mut self, signals: &str) -> Self {
        self.before = Some(format!("trap '' {signals}"));
        self
    }

    /// Names resolve as this file says, which stands in the place of /etc/hosts. Needs root.
    pub fn hosts(mut self, file: &Path) -> Self {
        self.before = Some(format!("mount --bind {} /etc/hosts", file.display()));
        self
    }

    /// Trusts this certificate alone.
    pub fn trust(self, certificate: &Certificate) -> Self {
        let path = certificate.path().to_str().expect("the temporary directory is UTF-8");
        self.env("AWS_CA_BUNDLE", path)
    }

    /// Starts it and waits until it says that it is ready.
    pub async fn start(self) -> Daemon {
        let dir = tempfile::tempdir().expect("a temporary directory");
        self.start_at(dir).await
    }

    /// The same with the socket in this directory.
    pub async fn start_at(self, dir: tempfile::TempDir) -> Daemon {
        let mut daemon = self.start_in(dir.path()).await;
        daemon._dir = Some(dir);
        daemon
    }

    /// The same in a directory that outlives the daemon: the next one takes over its socket's path.
    pub async fn start_in(self, dir: &Path) -> Daemon {
        let mut daemon = self.spawn(dir, Stdio::piped());
        let stderr = daemon.child.stderr.take().expect("it is piped");
        daemon.tasks.spawn(keep_log(stderr, Arc::clone(&daemon.log)));
        let ready = eventually("the daemon is ready", async || daemon.logged("ready").pop()).await;
        daemon.admin = ready["admin"].as_str().expect("it says where metrics are").into();
        daemon
    }

    /// Starts it and reads its log until it says that it is ready, and no further: the rest is the
    /// test's to read, or not.
    pub async fn start_unread(self) -> (Daemon, Lines<BufReader<ChildStderr>>) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut daemon = self.spawn(dir.path(), Stdio::piped());
        daemon._dir = Some(dir);
        let mut log = BufReader::new(daemon.child.stderr.take().expect("it is piped")).lines();
        daemon.admin = loop {
            let line = timeout(DEADLINE, log.next_line())
                .await
                .expect("it is ready in time")
                .expect("it can be read");
            let line: Value = serde_json::from_str(&line.expect("it logs before it ends"))
                .expect("a line of JSON");
            if line["message"] == "ready" {
                break line["admin"].as_str().expect("it says where metrics are").into();
            }
        };
        (daemon, log)
    }

    /// Starts it with a standard error that takes no log, and waits until the socket is there. Its
    /// pages are out of reach: the log would have told where they are.
    pub async fn start_unheard(self, stderr: impl Into<Stdio>) -> Daemon {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut daemon = self.spawn(dir.path(), stderr.into());
        daemon._dir = Some(dir);
        eventually("the daemon listens", async || UnixStream::connect(&daemon.socket).await.ok())
            .await;
        daemon
    }

    fn spawn(self, dir: &Path, stderr: Stdio) -> Daemon {
        let socket = dir.join("d.sock");
        let mut command = match self.before {
            Some(before) => self.binary.command_after(before),
            None => self.binary.command(),
        };
        let admin_socket = self.forward.then(|| dir.join("forward.admin"));
        match &admin_socket {
            None => command.arg("run").args(["--socket".as_ref(), socket.as_os_str()]),
            Some(admin_socket) => command
                .args(["forward", "--checkpoint", &format!("file:{}", dir.display())])
                .args(["--admin-socket".as_ref(), admin_socket.as_os_str()]),
        };
        command
            .args(["--admin-listen", "127.0.0.1:0"])
            .args(&self.args)
            .envs(self.env)
            .stdout(Stdio::null())
            .stderr(stderr);
        self.without_env.iter().for_each(|name| {
            command.env_remove(name);
        });
        let child = command.spawn().expect("the binary was built with the test");
        Daemon {
            binary: self.binary,
            child,
            socket,
            admin_socket,
            admin: String::new(),
            log: Arc::default(),
            _dir: None,
            tasks: JoinSet::new(),
        }
    }

    /// What `check` prints of this configuration.
    pub async fn check(self) -> String {
        let mut check = self.binary.command();
        let output = check.arg("check").args(&self.args).envs(self.env).output();
        let output = output.await.expect("it runs");
        let printed = String::from_utf8(output.stdout).expect("it prints UTF-8");
        assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
        printed
    }

    /// The most memory that `check` says a daemon of this configuration takes, in bytes.
    pub async fn memory_sum(self) -> usize {
        let printed = self.args(["--admin-listen", "127.0.0.1:0"]).check().await;
        let mut lines = printed.lines();
        let sum = lines.find_map(|line| line.strip_prefix("memory: at most ")?.rsplit_once(" = "));
        let mib = sum.and_then(|(_, sum)| sum.strip_suffix(" MiB")?.parse::<f64>().ok());
        (mib.unwrap_or_else(|| panic!("no sum in\n{printed}")) * 1024.0 * 1024.0) as usize
    }
}

async fn keep_log(stderr: ChildStderr, log: Arc<Mutex<Vec<Value>>>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
        log.lock().expect("nobody panics with the log in hand").push(line);
    }
}

impl Daemon {
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Where its metrics are, `host:port`.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    pub async fn connect(&self) -> Caller {
        Caller::connect(&self.socket).await
    }

    /// A caller that was told this limit of an event: the stream's, once the daemon knows it.
    pub async fn connect_with_limit(&self, bytes: usize) -> Caller {
        eventually("the daemon knows the stream's limit", async || {
            let mut caller = self.connect().await;
            let hello = caller.ask(r#"{"op":"hello"}"#).await;
            (hello["maxEventBytes"] == bytes).then_some(caller)
        })
        .await
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().cast_signed()).expect("a pid is not zero");
        rustix::process::kill_process(pid, signal).expect("it runs");
    }

    /// Waits for its end; `None` where a signal killed it.
    pub async fn exit_code(&mut self) -> Option<i32> {
        let ended = timeout(DEADLINE, self.child.wait()).await.expect("it ends in time");
        while self.tasks.join_next().await.is_some() {} // the log to its last line
        ended.expect("it can be waited for").code()
    }

    /// What `dispatchd admin` says that is told of this daemon's socket.
    pub async fn run_admin(&self, args: &[&str]) -> std::process::Output {
        let mut command = self.binary.command();
        command.arg("admin").args(args);
        match &self.admin_socket {
            None => command.arg("--socket").arg(&self.socket),
            Some(admin_socket) => command.arg("--admin-socket").arg(admin_socket),
        };
        command.output().await.expect("it runs")
    }

    /// What `admin status --json` says.
    pub async fn status(&self) -> Value {
        let output = self.run_admin(&["status", "--json"]).await;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{told}");
        serde_json::from_slice(&output.stdout).expect("it prints JSON")
    }

    /// Log lines with this message, as soon as there is one. The daemon's log has a thread of its
    /// own: a line may come after the answer that a caller got for what it tells.
    pub async fn told(&self, message: &str) -> Vec<Value> {
        let lines = async || Some(self.logged(message)).filter(|lines| !lines.is_empty());
        eventually(message, lines).await
    }

    /// Log lines with this message that were read until now.
    pub fn logged(&self, message: &str) -> Vec<Value> {
        let log = self.log.lock().expect("nobody panics with the log in hand");
        log.iter()
            .filter(|line| line["message"].as_str().is_some_and(|said| said.starts_with(message)))
            .cloned()
            .collect()
    }

    /// The whole log, for a test that failed.
    pub fn log(&self) -> String {
        let log = self.log.lock().expect("nobody panics with the log in hand");
        log.iter().map(|line| format!("{line}\n")).collect()
    }

    /// Status and body of an admin page.
    pub async fn get(&self, path: &str) -> (u16, String) {
        self.try_get(path).await.expect("the admin port answers while the daemon runs")
    }

    /// The same of a daemon that may end meanwhile.
    pub async fn try_get(&self, path: &str) -> std::io::Result<(u16, String)> {
        let mut stream = tokio::net::TcpStream::connect(&self.admin).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: d\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await?;
        let (head, body) = reply.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
        // A daemon that dies while it answers leaves half a page.
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok()
        });
        if length.is_some_and(|length: usize| body.len() < length) {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let status =
            head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Ok((status, body.into()))
    }

    /// Whether its process has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it can be waited for").is_some()
    }

    /// The sum of the series of this name that have these labels, written as Prometheus prints
    /// them.
    pub async fn metric(&self, series: &str) -> f64 {
        let (_, text) = self.get("/metrics").await;
        sum_of(&text, series).unwrap_or_else(|| panic!("no series {series} in\n{text}"))
    }

    /// Time on a core since its start, user and system, to a hundredth of a second.
    pub fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("it runs");
        // Fields 14 and 15; the name, which may hold spaces, ends at the last bracket after field
        // 2.
        let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
        let ticks = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse::<u64>().expect("ticks"));
        Duration::from_millis(ticks.sum::<u64>() * 10) // Linux counts 100 a second for all to see
    }

    /// Resident memory of the daemon's own, in bytes. Pages of the program's file are left out:
    /// they are the kernel's, and 4 MB of a debug build's come in only as its code is first run.
    pub fn resident_bytes(&self) -> usize {
        self.try_resident_bytes().expect("it runs, and Linux says RssAnon in kB")
    }

    /// The same of a daemon that may end meanwhile.
    pub fn try_resident_bytes(&self) -> Option<usize> {
        self.status_bytes("RssAnon:")
    }

    /// The most that was ever resident, in bytes, pages of files included.
    pub fn resident_bytes_max(&self) -> usize {
        self.status_bytes("VmHWM:").expect("it runs, and Linux says VmHWM in kB")
    }

    fn status_bytes(&self, field: &str) -> Option<usize> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let kib =
            status.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB"))?;
        kib.parse::<usize>().ok().map(|kib| kib * 1024)
    }
}

impl Caller {
    pub async fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).await.expect("a daemon listens");
        let (read, write) = stream.into_split();
        Self { read: BufReader::new(read), write }
    }

    pub async fn send(&mut self, line: &str) {
        self.send_bytes(format!("{line}\n").as_bytes()).await;
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        timeout(DEADLINE, self.write.write_all(bytes))
            .await
            .expect("the daemon reads in time")
            .expect("it reads");
    }

    /// The next answer as it came; `None` at the end.
    pub async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read =
            timeout(DEADLINE, self.read.read_line(&mut line)).await.expect("an answer in time");
        (read.expect("the connection holds") > 0).then_some(line)
    }

    pub async fn answer(&mut self) -> Value {
        let line = self.line().await.expect("an answer before the end");
        serde_json::from_str(&line).expect("answers are JSON")
    }

    pub async fn ask(&mut self, line: &str) -> Value {
        self.send(line).await;
        self.answer().await
    }

    /// Sends all lines while it reads the answers, ends our half, and gives every answer.
    pub async fn pipeline(self, lines: String) -> Vec<Value> {
        let Self { mut read, mut write } = self;
        let writing = tokio::spawn(async move {
            // A daemon that goes away in the middle takes no more: what is missing is the test's to
            // judge.
            let _ = write.write_all(lines.as_bytes()).await;
            let _ = write.shutdown().await;
        });
        let mut answers = Vec::new();
        let mut line = String::new();
        while timeout(DEADLINE, read.read_line(&mut line))
            .await
            .expect("an answer in time")
            .is_ok_and(|read| read > 0)
        {
            answers.push(serde_json::from_str(&line).expect("answers are JSON"));
            line.clear();
        }
        writing.await.expect("writing does not panic");
        answers
    }

    /// Sends lines until it is told to end, then gives how many they were and the answers.
    pub fn send_until_told(
        self,
        lines: String,
    ) -> (CancellationToken, JoinHandle<(usize, Vec<Value>)>) {
        let told = CancellationToken::new();
        let end = told.clone();
        let sending = tokio::spawn(async move {
            let Caller { read, mut write } = self;
            let writing = tokio::spawn(async move {
                let mut sent = 0;
                for line in lines.split_inclusive('\n').take_while(|_| !end.is_cancelled()) {
                    write.write_all(line.as_bytes()).await.expect("the daemon reads");
                    sent += 1;
                }
                sent // dropped, the write half ends
            });
            let (mut answers, mut lines) = (Vec::new(), read.lines());
            while let Some(line) = lines.next_line().await.expect("the connection holds") {
                answers.push(serde_json::from_str(&line).expect("answers are JSON"));
            }
            (writing.await.expect("writing does not panic"), answers)
        });
        (told, sending)
    }

    /// Ends our half, and gives every answer that still comes.
    pub async fn finish(mut self) -> Vec<Value> {
        self.write.shutdown().await.expect("the daemon is there");
        let mut answers = Vec::new();
        while let Some(line) = self.line().await {
            answers.push(serde_json::from_str(&line).expect("answers are JSON"));
        }
        answers
    }
}

/// An event line.
pub fn event(reference: u64, key: &str, data: &str) -> String {
    format!(
        r#"{{"ref":{reference},"type":"test","data":{data},"options":{{"partitionKey":"{key}"}}}}"#
    )
}
