//! `tail`: prints what is in the stream as it arrives.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::common::{exit, fail, runtime, start_log};
use super::flags::StreamFlags;
use super::flags::running_local;
use super::out;
use crate::config::Config;
use crate::programs::signals::stop_signal;
use crate::programs::tail::{self, Options};
use crate::telemetry::log::Log;
use dispatchd_aws::Kinesis;
use dispatchd_consumer::plan::StartFrom;

/// The line on standard error that tells that every shard has its iterator; docs/operations.md
/// promises its first word.
const READY: &str = "ready: what is stored from now on is printed, end with Ctrl-C\n";

#[derive(Debug, Args)]
#[command(
    after_help = "It says `ready: …` on standard error, a line of its own, once what is stored \
                  from then on is printed.\n\nExit codes: 0: it was stopped by SIGINT or SIGTERM, \
                  or nobody reads what it prints; 1: the stream cannot be read, or the output \
                  cannot be written; 64: the configuration does not hold."
)]
pub(super) struct Tail {
    #[command(flatten)]
    flags: StreamFlags,
    /// Where to begin
    #[arg(long, value_enum, default_value_t = From::Latest)]
    from: From,
    /// Print each event on many lines, below where it stands in the stream
    #[arg(long)]
    pretty: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum From {
    /// What comes from now on
    Latest,
    /// The oldest record that is still there
    TrimHorizon,
}

impl Tail {
    pub(super) fn main(self) -> ExitCode {
        let config = match self.flags.resolve() {
            Ok(resolved) => resolved.config,
            Err(problems) => return fail(problems, exit::USAGE),
        };
        let log = match start_log(&config.log) {
            Ok(log) => log,
            Err(code) => return code,
        };
        let runtime = match runtime(1) {
            Ok(runtime) => runtime,
            Err(error) => return fail(error, exit::FAILED),
        };
        let tailed = runtime.block_on(self.run(config, &log));
        runtime.shutdown_background(); // a pager that has stopped reading must not hold up the end
        match tailed {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(format_args!("{error:#}"), exit::FAILED),
        }
    }

    async fn run(self, config: Config, log: &Log) -> anyhow::Result<()> {
        let stop = stop_signal()?;
        let unread = stop.clone();
        // On a quiet stream no write would tell that the reader is gone, as it does when something
        // comes.
        std::thread::Builder::new().name("stdout".into()).spawn(move || {
            out::wait_until_unread();
            unread.cancel();
        })?;
        let local_url = running_local(&config)?;
        let options = Options {
            from: match self.from {
                From::Latest => StartFrom::Latest,
                From::TrimHorizon => StartFrom::TrimHorizon,
            },
            pretty: self.pretty,
            poll: if local_url.is_some() { tail::POLL_LOCAL } else { tail::POLL },
            to_terminal: std::io::stdout().is_terminal(),
        };
        let kinesis = Kinesis::connect(config.connection(local_url)).await?;
        // It is said whatever log.level is: a script may wait for it. The log's thread writes it,
        // and nobody waits for that.
        let ready = || log.stderr().push(READY.as_bytes());
        tail::run(kinesis, options, tokio::io::stdout(), stop, ready)
            .await
            .context("cannot tail the stream")
    }
}
