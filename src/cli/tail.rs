//! `tail`: prints what is in the stream as it arrives.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::flags::running_local;
use super::{StreamFlags, exit, fail, runtime, start_log, stop_signal};
use crate::config::Config;
use crate::kinesis::aws::{Connection, Kinesis};
use crate::tail::{self, Options};

#[derive(Debug, Args)]
pub struct Tail {
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
    pub fn main(self) -> ExitCode {
        let config = match self.flags.resolve() {
            Ok(resolved) => resolved.config,
            Err(problems) => return fail(problems, exit::USAGE),
        };
        let _log = match start_log(&config.log) {
            Ok(log) => log,
            Err(code) => return code,
        };
        let runtime = match runtime(1) {
            Ok(runtime) => runtime,
            Err(error) => return fail(error, exit::FAILED),
        };
        let tailed = runtime.block_on(self.run(config));
        runtime.shutdown_background(); // a pager that has stopped reading must not hold up the end
        match tailed {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(format_args!("{error:#}"), exit::FAILED),
        }
    }

    async fn run(self, config: Config) -> anyhow::Result<()> {
        let stop = stop_signal()?;
        let local_url = running_local(&config)?;
        let options = Options {
            from: match self.from {
                From::Latest => tail::From::Latest,
                From::TrimHorizon => tail::From::TrimHorizon,
            },
            pretty: self.pretty,
            poll: if local_url.is_some() { tail::POLL_LOCAL } else { tail::POLL },
        };
        let kinesis = Kinesis::connect(Connection::new(&config, local_url)).await?;
        let waits = || {
            if std::io::stderr().is_terminal() && matches!(self.from, From::Latest) {
                eprintln!("waiting for new events, end with Ctrl-C");
            }
        };
        tail::run(kinesis, options, tokio::io::stdout(), stop, waits).await.context("cannot tail the stream")
    }
}
