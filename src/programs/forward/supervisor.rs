//! Runs the targets: begins each, ends those that are gone or have changed, and begins those anew.
//!
//! A target that changes is stopped as by a drain and goes on from its checkpoint, so that nothing
//! is sent by two of its kind at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::subscription::{self, Reading, Unread};
use super::target::Target;
use crate::targets::board::Board;

/// Every target that runs, and those that are to run.
#[derive(Debug)]
pub(super) struct Supervisor {
    reading: Reading,
    board: Board,
    wanted: watch::Receiver<Vec<Arc<Target>>>,
    running: BTreeMap<String, Running>,
    tasks: JoinSet<(String, Result<(), Unread>)>,
    retries: watch::Sender<()>,
}

#[derive(Debug)]
struct Running {
    target: Arc<Target>,
    stop: CancellationToken,
}

/// Why the targets ended before they were told to.
#[derive(Debug)]
pub(super) enum Failed {
    /// The stream cannot be read for this target, and waiting will not help.
    Read { target: String, error: Unread },
    /// A defect.
    Died(JoinError),
}

impl Supervisor {
    pub(super) fn new(
        reading: Reading,
        board: Board,
        wanted: watch::Receiver<Vec<Arc<Target>>>,
    ) -> Self {
        let (running, tasks) = (BTreeMap::new(), JoinSet::new());
        Self { reading, board, wanted, running, tasks, retries: watch::Sender::default() }
    }

    /// Runs what is wanted until it is dropped or something fails. Dropped in between, it forgets
    /// nothing: [`Self::stop`] ends what runs.
    pub(super) async fn run(&mut self) -> Failed {
        self.begin();
        loop {
            tokio::select! {
                biased;
                Some(ended) = self.tasks.join_next() => {
                    if let Err(failed) = self.reap(ended) {
                        return failed;
                    }
                    self.begin();
                }
                Ok(()) = self.wanted.changed() => {
                    self.end_unwanted();
                    self.begin();
                    self.retries.send_replace(());
                }
            }
        }
    }

    /// Has every target stop, and waits until all have.
    pub(super) async fn stop(&mut self) -> Result<(), Failed> {
        self.running.values().for_each(|running| running.stop.cancel());
        let mut outcome = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            outcome = outcome.and(self.reap(ended));
        }
        outcome
    }

    /// How many requests are out that nobody has answered.
    pub(super) fn unanswered(&self) -> usize {
        let shards = self.running.values().flat_map(|running| running.target.board.shards());
        shards.map(|(_, shown)| shown.in_flight).sum()
    }

    /// Begins every target that is wanted and of whose name none runs.
    fn begin(&mut self) {
        // A change is noticed by who ends what is not wanted any more, and by nobody else.
        let wanted = self.wanted.borrow().clone();
        for target in wanted {
            let name = target.settings.name.clone();
            if self.running.contains_key(&name) {
                continue; // or it is still ending: then it begins when that one has ended
            }
            let stop = CancellationToken::new();
            let run = subscription::run(
                Arc::clone(&target),
                self.reading.clone(),
                stop.clone(),
                self.retries.subscribe(),
            );
            self.tasks.spawn({
                let name = name.clone();
                async move { (name, run.await) }
            });
            self.running.insert(name, Running { target, stop });
        }
    }

    fn end_unwanted(&self) {
        let wanted = self.wanted.borrow();
        for running in self.running.values() {
            if !wanted.iter().any(|target| Arc::ptr_eq(target, &running.target)) {
                running.stop.cancel();
            }
        }
    }

    fn reap(
        &mut self,
        ended: Result<(String, Result<(), Unread>), JoinError>,
    ) -> Result<(), Failed> {
        let (name, ended) = ended.map_err(Failed::Died)?;
        if let Some(Running { target, .. }) = self.running.remove(&name) {
            target.metrics.ended(); // or an alert goes on for a target that is gone
        }
        let is_wanted = self.wanted.borrow().iter().any(|target| target.settings.name == name);
        if !is_wanted {
            self.board.remove(&name);
            tracing::info!(target_name = name, "the target is gone from the configuration");
        }
        ended.map_err(|error| Failed::Read { target: name, error })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dispatchd_aws::Kinesis;
    use tokio::time::timeout;

    use super::super::target_factory::TargetFactory;
    use super::*;
    use crate::config::{Inputs, resolve};
    use crate::telemetry::exporter::Exporter;

    #[tokio::test(start_paused = true)]
    async fn a_target_that_is_gone_ends_also_where_something_else_is_asked_right_behind_the_reload()
    {
        // What could go wrong: what is asked has everything begun that is wanted, and that counts
        // as having seen what is wanted no more: it is delivered to for ever.
        const MOMENT: Duration = Duration::from_millis(1);
        let set = [("forward.checkpoint", "none"), ("forward.target[1].exec", "sh")];
        let config = resolve(&Inputs::set(&set).for_forward()).expect("it holds").config;
        // Nobody listens there: the target waits until the stream can be asked.
        let connection = config.connection(Some("http://127.0.0.1:9".to_owned()));
        let kinesis = Kinesis::connect(connection).await.expect("a region and a URL");
        let mut factory = TargetFactory::new(&config, &kinesis, String::new(), Exporter::default());
        let built = factory.build(&config.forward.targets).expect("there is a sh");
        let (wanted, running) = watch::channel(built);
        let reading = Reading { kinesis, poll: config.forward.poll };
        let mut supervisor = Supervisor::new(reading, factory.board.clone(), running);
        assert!(timeout(MOMENT, supervisor.run()).await.is_err(), "it runs");
        assert_eq!(supervisor.running.len(), 1);
        wanted.send_replace(Vec::new());
        assert!(timeout(MOMENT, supervisor.run()).await.is_err(), "it runs on");
        assert!(supervisor.running.is_empty(), "{:?}", supervisor.running);
    }
}
