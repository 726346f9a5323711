//! `run`: the daemon, from its configuration to its exit code.

#[cfg(feature = "local")]
use std::ops::ControlFlow::Continue;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;
use tokio::signal::unix::SignalKind;
use tokio::sync::mpsc;

use super::signals::catch;
use super::{ConfigFlags, exit, fail, runtime, start_log};
use crate::config::{Config, Flag, Inputs, files_needed, resolve_to_serve};
use crate::daemon::{Daemon, Ended, Plan, ServiceManager, Signals, StartError};

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

/// The configuration, with the log running as it says, and the runtime; or the exit code of what
/// was told already.
pub(super) fn prepare(inputs: Inputs) -> Result<(Plan, Runtime), ExitCode> {
    let resolved = resolve_to_serve(&inputs).map_err(|problems| fail(problems, exit::USAGE))?;
    let log = start_log(&resolved.config.log)?;
    raise_open_files(&resolved.config)
        .map_err(|error| fail(format_args!("{error:#}"), exit::FAILED))?;
    let runtime =
        runtime(resolved.config.runtime.threads).map_err(|error| fail(error, exit::FAILED))?;
    Ok((Plan { inputs, resolved, log, manager: ServiceManager::default() }, runtime))
}

/// Asks the system for as many descriptors as the configuration needs: what it gives unasked,
/// mostly 1024, is for programs that could not do with more.
fn raise_open_files(config: &Config) -> anyhow::Result<()> {
    let (needed, limit) = (files_needed(config) as u64, getrlimit(Resource::Nofile));
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), ..limit }).with_context(|| {
        format!("cannot raise the limit of open files to {needed}: raise it from outside (ulimit -n, LimitNOFILE)")
    })
}

/// How a daemon ended, for whoever started it.
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
    let mut signals = Signals { stop: stops()?, reload: reloads()? };
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
            return Ok(super::said(taken, 0)); // whoever started it is gone, or cannot be told where everything is
        }
    }
    Ok(code_of(daemon.run(signals).await?).into())
}

/// SIGTERM and SIGINT, as they come.
fn stops() -> std::io::Result<mpsc::Receiver<()>> {
    let (mut terminate, mut interrupt) =
        (catch(SignalKind::terminate())?, catch(SignalKind::interrupt())?);
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
    let mut hangup = catch(SignalKind::hangup())?;
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
