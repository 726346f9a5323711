//! Who takes over what a reload changes: the targets.

use std::sync::Arc;

use tokio::sync::watch;

use super::target::Target;
use super::target_factory::{BuildError, TargetFactory};
use crate::config::Config;
use crate::programs::control::Taker;
use crate::targets::settings::Target as Settings;

/// The ways to the targets that run, and to what is shown of them.
#[derive(Debug)]
pub(super) struct Targets {
    factory: TargetFactory,
    /// Those that were built when the configuration was checked.
    checked: Vec<Arc<Target>>,
    wanted: watch::Sender<Vec<Arc<Target>>>,
    settings: watch::Sender<Vec<Settings>>,
}

impl Targets {
    /// The targets of the configuration that the program begins with.
    ///
    /// # Errors
    /// The first target that cannot be built.
    pub(super) fn new(mut factory: TargetFactory, config: &Config) -> Result<Self, BuildError> {
        let built = factory.build(&config.forward.targets)?;
        let settings = watch::Sender::new(config.forward.targets.clone());
        Ok(Self { factory, checked: Vec::new(), wanted: watch::Sender::new(built), settings })
    }

    /// The targets that are to run.
    pub(super) fn wanted(&self) -> watch::Receiver<Vec<Arc<Target>>> {
        self.wanted.subscribe()
    }

    /// Their settings.
    pub(super) fn settings(&self) -> watch::Receiver<Vec<Settings>> {
        self.settings.subscribe()
    }
}

impl Taker for Targets {
    type Files = ();

    fn read(_: &Config) -> Result<(), String> {
        Ok(())
    }

    fn check(&mut self, read: &Config) -> Result<(), String> {
        let built = self.factory.build(&read.forward.targets);
        self.checked = built.map_err(|error| error.to_string())?;
        Ok(())
    }

    fn take_over(&mut self, running: &Config, (): ()) {
        self.settings.send_replace(running.forward.targets.clone());
        self.wanted.send_replace(std::mem::take(&mut self.checked));
    }
}
