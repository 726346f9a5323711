//! A stopwatch that leaves out what the machine kept from us: a bar of time that is held against it
//! means the same on a machine that is full.
//!
//! A thread that could run and has no processor is counted by the kernel: the second number of its
//! `schedstat`, in nanoseconds. Whatever is waited for is done by some of the threads that are
//! watched, so all that they were kept waiting together is the most that other work can have added.
//! Where the kernel keeps no such count, the stopwatch is an ordinary one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, interval};

use super::daemon::Daemon;

/// How often it looks at the threads while something is waited for. A thread that ends takes its
/// count along: what it was kept since the last look is lost, and the bar that much stricter.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Runs from the moment that it is made.
pub struct Stopwatch {
    began: Instant,
    /// Where the threads of each process are listed.
    processes: Vec<PathBuf>,
    /// The files of single threads.
    threads: Vec<PathBuf>,
    kept: HashMap<PathBuf, Kept>,
}

/// What a stopwatch shows.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// By the clock on the wall: for what may not come too early.
    pub elapsed: Duration,
    /// The same without what the threads were kept waiting: for what may not come too late.
    pub undelayed: Duration,
}

/// How long a thread was kept waiting in all.
struct Kept {
    before: Duration,
    now: Duration,
}

impl Stopwatch {
    /// Watches every thread of these daemons and the one that calls. A test has one thread, unless
    /// it says otherwise, and all that it starts within its process runs on that.
    pub fn start(daemons: &[&Daemon]) -> Self {
        Self::of(daemons, vec![this_thread()])
    }

    /// The same for a test whose runtime has more threads, of this name.
    pub fn with_threads_named(daemons: &[&Daemon], name: &str) -> Self {
        let has_name = |thread: &PathBuf| {
            std::fs::read_to_string(thread.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
        };
        let threads = listed(Path::new("/proc/self/task")).into_iter().filter(has_name);
        Self::of(daemons, threads.chain([this_thread()]).collect())
    }

    fn of(daemons: &[&Daemon], threads: Vec<PathBuf>) -> Self {
        let processes =
            daemons.iter().map(|daemon| format!("/proc/{}/task", daemon.pid()).into()).collect();
        let mut watch =
            Self { began: Instant::now(), processes, threads, kept: HashMap::default() };
        watch.look();
        watch.kept.values_mut().for_each(|kept| kept.before = kept.now);
        watch
    }

    /// Takes the counts as they are now. A thread that was not there before has begun since.
    fn look(&mut self) {
        let of_processes = self.processes.iter().flat_map(|process| listed(process));
        for thread in of_processes.chain(self.threads.iter().cloned()) {
            if let Some(now) = kept(&thread) {
                let before = Duration::ZERO;
                self.kept.entry(thread).or_insert(Kept { before, now }).now = now;
            }
        }
    }

    /// Waits for `future`, and goes on looking. For what ends threads or processes; otherwise one
    /// look at the end says it all.
    pub async fn during<T>(&mut self, future: impl Future<Output = T>) -> T {
        let (mut future, mut every) = (pin!(future), interval(LOOK_EVERY));
        loop {
            tokio::select! {
                biased;
                output = &mut future => return output,
                _ = every.tick() => self.look(),
            }
        }
    }

    /// The time since the start.
    pub fn took(&mut self) -> Took {
        let elapsed = self.began.elapsed();
        self.look();
        let undelayed = elapsed.saturating_sub(self.kept.values().map(Kept::since_start).sum());
        Took { elapsed, undelayed }
    }

    /// The part of the time since the start that one thread was kept waiting, the one that was it
    /// most.
    pub fn share_kept(&mut self) -> f64 {
        let elapsed = self.began.elapsed();
        self.look();
        let most = self.kept.values().map(Kept::since_start).max().unwrap_or_default();
        most.as_secs_f64() / elapsed.as_secs_f64()
    }
}

impl Kept {
    fn since_start(&self) -> Duration {
        self.now.saturating_sub(self.before)
    }
}

fn this_thread() -> PathBuf {
    Path::new("/proc").join(std::fs::read_link("/proc/thread-self").expect("Linux has it"))
}

/// The threads of a process; none where it has ended.
fn listed(process: &Path) -> Vec<PathBuf> {
    let threads = std::fs::read_dir(process).into_iter().flatten();
    threads.filter_map(|thread| Some(thread.ok()?.path())).collect()
}

fn kept(thread: &Path) -> Option<Duration> {
    let stat = std::fs::read_to_string(thread.join("schedstat")).ok()?;
    stat.split(' ').nth(1)?.parse().ok().map(Duration::from_nanos)
}
