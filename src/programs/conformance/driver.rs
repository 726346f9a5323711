//! The driver: a program around the client, told by lines and answering by lines. It and everything
//! that it started is killed when the value is dropped.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::happening::Happening;

/// Lines of the driver's standard error that a failure shows: the last ones.
const TOLD_LINES_MAX: usize = 30;
/// How long its standard error is read once it has ended, where somebody else holds it open.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

/// What a driver says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Introduction {
    pub name: String,
    pub version: String,
    pub can: Vec<String>,
}

impl Introduction {
    pub(super) fn read(line: &str) -> Option<Self> {
        let said: Value = serde_json::from_str(line).ok()?;
        let can = said["can"].as_array()?;
        Some(Self {
            name: said["driver"].as_str()?.to_owned(),
            version: said["version"].as_str()?.to_owned(),
            can: can.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect(),
        })
    }
}

#[derive(Debug)]
pub(super) struct Driver {
    group: Option<Pid>,
    commands: Option<mpsc::UnboundedSender<String>>,
    told: Arc<Mutex<VecDeque<String>>>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl Driver {
    /// Starts the command, by a shell, with the socket's path in its environment.
    ///
    /// # Errors
    /// If there is no shell.
    pub(super) fn start(
        command: &str,
        socket: &Path,
        tell: mpsc::Sender<Happening>,
    ) -> io::Result<Self> {
        let mut child = Command::new("sh")
            .args(["-c", command])
            .env("DISPATCHD_SOCKET", socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let stdin = child.stdin.take().expect("it is piped");
        let stdout = child.stdout.take().expect("it is piped");
        let stderr = child.stderr.take().expect("it is piped");
        let (commands, to_write) = mpsc::unbounded_channel(); // what one case says is little
        let told = Arc::default();
        let task = |task| AbortOnDropHandle::new(task);
        let kept = task(tokio::spawn(keep(stderr, Arc::clone(&told))));
        let _tasks = [
            task(tokio::spawn(write(stdin, to_write))),
            task(tokio::spawn(hear(child, stdout, kept, tell))),
        ];
        Ok(Self { group, commands: Some(commands), told, _tasks })
    }

    /// Gives it a command, a line of JSON.
    pub(super) fn command(&self, line: String) {
        if let Some(commands) = &self.commands {
            let _ = commands.send(line + "\n"); // a driver that has ended is noticed by its end
        }
    }

    /// There are no more commands.
    pub(super) fn end_commands(&mut self) {
        self.commands = None;
    }

    /// The last lines of its standard error.
    pub(super) fn told(&self) -> Vec<String> {
        let told = self.told.lock().expect("no holder of this lock panics");
        told.iter().cloned().collect()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::KILL); // most have ended by themselves
        }
    }
}

async fn write(mut stdin: ChildStdin, mut commands: mpsc::UnboundedReceiver<String>) {
    while let Some(line) = commands.recv().await {
        if stdin.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Tells its lines, and last how it ended: a child that it left may still speak for it. By then its
/// standard error is kept, unless such a child holds that open.
async fn hear(
    mut child: Child,
    stdout: impl AsyncRead + Unpin,
    kept: AbortOnDropHandle<()>,
    tell: mpsc::Sender<Happening>,
) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if tell.send(Happening::Said { line, at: Instant::now() }).await.is_err() {
            return;
        }
    }
    if let Ok(status) = child.wait().await {
        let _ = timeout(LAST_WORDS_MAX, kept).await; // then what was read is told
        let _ = tell.send(Happening::Ended(status)).await;
    }
}

async fn keep(stderr: impl AsyncRead + Unpin, told: Arc<Mutex<VecDeque<String>>>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut told = told.lock().expect("no holder of this lock panics");
        if told.len() == TOLD_LINES_MAX {
            told.pop_front();
        }
        told.push_back(line);
    }
}
