//! `run`: runs the daemon, from its configuration to its exit code.

#[cfg(feature = "local")]
use std::ops::ControlFlow::Continue;
use std::process::ExitCode;

use clap::Args;
use tokio::runtime::Runtime;

use super::common::{exit, fail, runtime, start_log};
use super::flags::ConfigFlags;
use crate::config::{Flag, Inputs, resolve_to_serve};
use crate::programs::daemon::{Daemon, Ended, Plan, StartError, raise_open_files};
use crate::programs::manager::ServiceManager;
use crate::programs::signals::Signals;

#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    flags: ConfigFlags,
    /// Stop once a client has sent a line and none has been connected for so long, e.g. 10s
    /// (shutdown.after_last_client)
    #[arg(long, value_name = "DURATION")]
    exit_after_last_client: Option<String>,
}

impl Run {
    pub(super) fn main(self) -> ExitCode {
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
                return fail(
                    format_args!("NOTIFY_SOCKET names no socket that can be told: {error}"),
                    exit::FAILED,
                );
            }
        }
        let served = runtime.block_on(serve(plan));
        runtime.shutdown_background(); // a look-up of a name that hangs must not hold up the end
        served.unwrap_or_else(|error| start_failed(&error))
    }
}

/// Resolves the configuration, starts the log and makes the runtime. An error is the exit code of
/// what was told already.
pub(super) fn prepare(inputs: Inputs) -> Result<(Plan, Runtime), ExitCode> {
    let resolved = resolve_to_serve(&inputs).map_err(|problems| fail(problems, exit::USAGE))?;
    let log = start_log(&resolved.config.log)?;
    raise_open_files(&resolved.config).map_err(|error| fail(error, exit::FAILED))?;
    let runtime =
        runtime(resolved.config.runtime.threads).map_err(|error| fail(error, exit::FAILED))?;
    Ok((Plan { inputs, resolved, log, manager: ServiceManager::default() }, runtime))
}

/// The exit code for how a daemon ended.
pub(super) fn code_of(ended: Ended) -> u8 {
    match ended {
        Ended { task_died: true, .. } => exit::DEFECT,
        Ended { unconfirmed: 1.., .. } => exit::UNCONFIRMED,
        _ => 0,
    }
}

pub(super) fn start_failed(error: &StartError) -> ExitCode {
    let code = if matches!(error, StartError::Connect(_)) { exit::USAGE } else { exit::FAILED };
    fail(error, code)
}

async fn serve(plan: Plan) -> Result<ExitCode, StartError> {
    // Before anything else, so that a signal during the start ends it in order.
    let mut signals = Signals::listen()?;
    #[cfg(feature = "local")]
    let config = plan.resolved.config.clone();
    let daemon = tokio::select! {
        biased;
        _ = signals.stop.recv() => {
            tracing::info!("stopped before the start was done: nothing was served");
            return Ok(ExitCode::SUCCESS);
        }
        built = Daemon::build(plan) => built?,
    };
    #[cfg(feature = "local")]
    if let Some(endpoint) = daemon.local_endpoint() {
        let taken = super::local::welcome(&config, endpoint);
        if !matches!(taken, Ok(Continue(()))) {
            // Whoever started it is gone, or cannot be told where everything is.
            return Ok(super::said(taken, 0));
        }
    }
    Ok(code_of(daemon.run(signals).await?).into())
}
