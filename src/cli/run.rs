//! `run`: the daemon, from its configuration to its exit code.

use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::{ConfigFlags, exit, fail, runtime};
use crate::config::Config;
use crate::daemon::{Daemon, Ended, StartError};
use crate::telemetry::log;

#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    flags: ConfigFlags,
}

impl Run {
    pub fn main(self) -> ExitCode {
        let config = match self.flags.resolve() {
            Ok(resolved) => resolved.config,
            Err(problems) => return fail(problems, exit::USAGE),
        };
        if let Err(error) = log::start(config.log.format, &config.log.level) {
            return fail(format_args!("log.level = {:?}: {error}", config.log.level), exit::USAGE);
        }
        let runtime = match runtime() {
            Ok(runtime) => runtime,
            Err(error) => return fail(error, exit::FAILED),
        };
        let served = runtime.block_on(serve(&config));
        runtime.shutdown_background(); // a look-up of a name that hangs must not hold up the end
        match served {
            Ok(Ended { task_died: true, .. }) => exit::DEFECT.into(),
            Ok(Ended { unconfirmed: 1.., .. }) => exit::UNCONFIRMED.into(),
            Ok(_) => ExitCode::SUCCESS,
            Err(error @ StartError::NoRegion(_)) => fail(error, exit::USAGE),
            Err(error) => fail(error, exit::FAILED),
        }
    }
}

async fn serve(config: &Config) -> Result<Ended, StartError> {
    // Before anything else, so that a signal during the start ends it in order.
    let signals = signals()?;
    let daemon = Daemon::build(config).await?;
    #[cfg(feature = "local")]
    if let Some(endpoint) = daemon.local_endpoint() {
        super::local::welcome(config, endpoint);
    }
    daemon.run(signals).await
}

/// SIGTERM and SIGINT, as they come. One begins the drain, a second one ends it; more change nothing.
fn signals() -> std::io::Result<mpsc::Receiver<()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (tell, told) = mpsc::channel(2);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if tell.send(()).await.is_err() {
                return; // the daemon has ended
            }
        }
    });
    Ok(told)
}
