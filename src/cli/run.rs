//! `run`: the daemon, from its configuration to its exit code.

use std::process::ExitCode;

use clap::Args;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::{ConfigFlags, exit, fail, runtime, start_log};
use crate::config::{Flag, Inputs, resolve};
use crate::daemon::{Daemon, Ended, Plan, ServiceManager, Signals, StartError};

#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    flags: ConfigFlags,
    /// Stop once a client was connected and none has been for so long, e.g. 10s (shutdown.after_last_client)
    #[arg(long, value_name = "DURATION")]
    exit_after_last_client: Option<String>,
}

impl Run {
    pub fn main(self) -> ExitCode {
        let mut inputs = self.flags.inputs();
        inputs.flags.extend(self.exit_after_last_client.map(|value| Flag {
            key: "shutdown.after_last_client".into(),
            value,
            flag: "--exit-after-last-client".into(),
        }));
        let (mut plan, runtime) = match prepare(inputs) {
            Ok(prepared) => prepared,
            Err(code) => return code,
        };
        match ServiceManager::of_environment() {
            Ok(manager) => plan.manager = manager,
            Err(error) => {
                return fail(format_args!("NOTIFY_SOCKET names no socket that can be told: {error}"), exit::FAILED);
            }
        }
        let served = runtime.block_on(serve(plan));
        runtime.shutdown_background(); // a look-up of a name that hangs must not hold up the end
        match served {
            Ok(ended) => code_of(ended).into(),
            Err(error) => start_failed(&error),
        }
    }
}

/// The configuration, with the log running as it says, and the runtime; or the exit code of what was told already.
pub fn prepare(inputs: Inputs) -> Result<(Plan, Runtime), ExitCode> {
    let resolved = resolve(&inputs).map_err(|problems| fail(problems, exit::USAGE))?;
    let log = start_log(&resolved.config.log)?;
    let runtime = runtime(resolved.config.runtime.threads).map_err(|error| fail(error, exit::FAILED))?;
    Ok((Plan { inputs, resolved, log, manager: ServiceManager::default() }, runtime))
}

/// How a daemon ended, for whoever started it.
pub fn code_of(ended: Ended) -> u8 {
    match ended {
        Ended { task_died: true, .. } => exit::DEFECT,
        Ended { unconfirmed: 1.., .. } => exit::UNCONFIRMED,
        _ => 0,
    }
}

pub fn start_failed(error: &StartError) -> ExitCode {
    let code = if matches!(error, StartError::Connect(_)) { exit::USAGE } else { exit::FAILED };
    fail(error, code)
}

async fn serve(plan: Plan) -> Result<Ended, StartError> {
    // Before anything else, so that a signal during the start ends it in order.
    let signals = Signals { stop: stops()?, reload: reloads()? };
    #[cfg(feature = "local")]
    let config = plan.resolved.config.clone();
    let daemon = Daemon::build(plan).await?;
    #[cfg(feature = "local")]
    if let Some(endpoint) = daemon.local_endpoint() {
        super::local::welcome(&config, endpoint);
    }
    daemon.run(signals).await
}

/// SIGTERM and SIGINT, as they come. One begins the drain, a second one ends it; more change nothing.
fn stops() -> std::io::Result<mpsc::Receiver<()>> {
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

/// SIGHUP, as it comes. One that comes before the last one was answered is answered with it.
fn reloads() -> std::io::Result<mpsc::Receiver<()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    let (tell, told) = mpsc::channel(1);
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            if let Err(mpsc::error::TrySendError::Closed(())) = tell.try_send(()) {
                return; // the daemon has ended
            }
        }
    });
    Ok(told)
}
