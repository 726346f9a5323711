//! Tasks that belong to a test server and end with it. Never detached: a task that outlives its
//! test disturbs the next.

use std::sync::{Arc, Mutex};

use tokio::task::JoinSet;

/// A set that its tasks may add to themselves. Whoever made it calls [`Tasks::abort`] when dropped;
/// the tasks hold clones, so dropping the last clone cannot be the signal.
///
/// The lock guards the set only while a task is added or reaped, never across an await.
#[derive(Clone, Default)]
pub struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut set = self.0.lock().expect("no holder of this lock panics");
        // Ended tasks are reaped here, so the set stays as small as what is running. A panic has
        // printed itself.
        while set.try_join_next().is_some() {}
        set.spawn(task);
    }

    pub fn abort(&self) {
        self.0.lock().expect("no holder of this lock panics").abort_all();
    }
}
