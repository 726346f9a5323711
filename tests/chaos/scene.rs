//! What director and callers share: which daemon runs, whether it is about to end, and when the
//! play is over.
//!
//! Atomics and one short lock: callers ask at every turn and wait for nobody here.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use testkit::fault::ledger::Ledger;

pub(crate) struct Scene {
    pub socket: PathBuf,
    pub ledger: Ledger,
    /// The daemon that runs now, counted from 0, and whether it was told to end: `2 * life +
    /// ending`. One number, so that it is read at once.
    life: AtomicUsize,
    curtain: AtomicBool,
    /// Acks that callers have read, by life. The lock is held for one addition.
    acks: Mutex<Vec<u64>>,
}

impl Scene {
    pub(crate) fn new(socket: PathBuf, ledger: Ledger) -> Scene {
        let (life, curtain, acks) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::default());
        Scene { socket, ledger, life, curtain, acks }
    }

    pub(crate) fn life(&self) -> usize {
        self.life.load(Ordering::SeqCst) / 2
    }

    /// Whether this daemon, running or gone, was told to end.
    pub(crate) fn is_ending(&self, life: usize) -> bool {
        self.life.load(Ordering::SeqCst) > 2 * life
    }

    pub(crate) fn end_life(&self) {
        self.life.fetch_or(1, Ordering::SeqCst);
    }

    /// Before the next daemon starts, after the last one is gone.
    pub(crate) fn next_life(&self) {
        self.life.fetch_add(1, Ordering::SeqCst);
    }

    /// From now on callers only bring home what is open.
    pub(crate) fn fall_curtain(&self) {
        self.curtain.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.curtain.load(Ordering::SeqCst)
    }

    pub(crate) fn hear_ack(&self, life: usize) {
        let mut acks = self.acks.lock().expect("no holder of this lock panics");
        if acks.len() <= life {
            acks.resize(life + 1, 0);
        }
        acks[life] += 1;
    }

    pub(crate) fn acks_heard(&self, life: usize) -> u64 {
        self.acks.lock().expect("no holder of this lock panics").get(life).copied().unwrap_or(0)
    }

    /// The ledger's time.
    pub(crate) fn now(&self) -> Duration {
        self.ledger.elapsed()
    }
}
