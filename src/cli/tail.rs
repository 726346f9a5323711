//! `tail`: prints what is in the stream as it arrives, or the schemas that are made of it.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use clap::builder::PossibleValuesParser;

use super::common::{exit, fail, runtime, start_log};
use super::flags::StreamFlags;
use super::flags::running_local;
use super::{out, pattern};
use crate::config::{Config, duration};
use crate::consumer::start_from;
use crate::programs::signals::stop_signal;
use crate::programs::tail::{self, Discover, Format, Options, Screen, Tally};
use crate::telemetry::log::Log;
use dispatchd_aws::Kinesis;
use dispatchd_consumer::filter::Filter;
use dispatchd_consumer::plan::StartFrom;
use dispatchd_core::wire::forward::lambda::Mapping;
use dispatchd_pattern::Pattern;
use dispatchd_schema::shape::Rules;

/// The line on standard error that tells that every shard has its iterator; docs/operations.md
/// promises its first word.
const READY: &str = "ready: what is stored from now on is printed, end with Ctrl-C\n";

#[derive(Debug, Args)]
#[command(
    after_help = "It says `ready: …` on standard error, a line of its own, once what is stored \
                  from then on is printed.\n\nExit codes: 0: it was stopped by SIGINT or SIGTERM, \
                  everything is printed that was asked for, or nobody reads what it prints; 1: the \
                  stream cannot be read, or the output cannot be written; 64: the arguments or the \
                  configuration do not hold."
)]
pub(super) struct Tail {
    #[command(flatten)]
    flags: StreamFlags,
    /// Where to begin: latest, trim-horizon (the oldest record that is still there), at=TIME (RFC
    /// 3339), or after=NUMBER, a sequence number of the one shard that is read
    #[arg(long, value_name = "PLACE", default_value = "latest", value_parser = place)]
    from: StartFrom,
    /// Read this shard alone, to its end
    #[arg(long, value_name = "ID")]
    shard: Option<String>,
    /// Print events that match one of these event patterns
    #[arg(long, value_name = "JSON|@FILE", value_parser = pattern::read)]
    filter: Vec<Pattern>,
    /// The same, of the record as Lambda's filters see it: {"data": the event, "partitionKey": …}
    #[arg(long, value_name = "JSON|@FILE", value_parser = pattern::read)]
    filter_record: Vec<Pattern>,
    /// Print events of these types alone
    #[arg(long = "type", value_name = "TYPE,…", value_delimiter = ',')]
    types: Vec<String>,
    /// Print records with this partition key alone
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// The form of what is printed
    #[arg(
        long,
        value_name = "FORM",
        default_value = "envelope",
        value_parser = PossibleValuesParser::new(Format::NAMES)
    )]
    format: String,
    /// Print each event on many lines, below where it stands in the stream
    #[arg(long)]
    pretty: bool,
    /// Print no events: make a schema of each type, write those that are new or changed into this
    /// folder, and print in which lines they differ
    #[arg(long, value_name = "DIR", conflicts_with_all = ["format", "pretty"])]
    discover: Option<PathBuf>,
    /// With --discover: conclude as `schema generate --strict` does
    #[arg(long, requires = "discover")]
    strict: bool,
    /// End after so many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End when nothing has come for so long, such as 5s, and every shard is read to its tip
    #[arg(long, value_name = "DURATION", value_parser = time)]
    until_idle: Option<Duration>,
}

/// What follows `after=`.
const AFTER: &str = "after=";

fn place(text: &str) -> Result<StartFrom, String> {
    let is_number =
        |number: &&str| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    match text.strip_prefix(AFTER).filter(is_number) {
        Some(number) => Ok(StartFrom::After(number.to_owned())),
        None => start_from(text).ok_or_else(|| {
            "expected latest, trim-horizon, at=TIME as in at=2026-11-20T21:34:09Z, or after=NUMBER"
                .to_owned()
        }),
    }
}

fn time(text: &str) -> Result<Duration, String> {
    duration(text).ok_or_else(|| "expected a number and ms, s, m or h, such as 5s".to_owned())
}

impl Tail {
    pub(super) fn main(self) -> ExitCode {
        if let Err(problem) = self.check() {
            return fail(problem, exit::USAGE);
        }
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
            Ok(tally) => {
                tell(&tally);
                ExitCode::SUCCESS
            }
            Err(error) => fail(format_args!("{error:#}"), exit::FAILED),
        }
    }

    /// What clap cannot say of two arguments.
    fn check(&self) -> Result<(), &'static str> {
        if matches!(self.from, StartFrom::After(_)) && self.shard.is_none() {
            return Err("--from after=NUMBER needs --shard: each shard has numbers of its own");
        }
        if self.pretty && self.format != "envelope" {
            return Err("--pretty is for --format envelope");
        }
        Ok(())
    }

    async fn run(self, config: Config, log: &Log) -> anyhow::Result<Tally> {
        let stop = stop_signal()?;
        let unread = stop.clone();
        // On a quiet stream no write would tell that the reader is gone, as it does when something
        // comes.
        std::thread::Builder::new().name("stdout".into()).spawn(move || {
            out::wait_until_unread();
            unread.cancel();
        })?;
        let local_url = running_local(&config)?;
        let poll = if local_url.is_some() { tail::POLL_LOCAL } else { tail::POLL };
        let kinesis = Kinesis::connect(config.connection(local_url)).await?;
        let format = self.format.parse().expect("clap takes no other name");
        let mapping = match format {
            Format::Lambda => mapping(&kinesis).await.context("cannot tail the stream")?,
            _ => Mapping::default(),
        };
        let options = Options {
            from: self.from,
            shard: self.shard,
            filter: Filter::new(self.filter, self.filter_record)
                .of_types(&self.types)
                .context("--type")?
                .of_key(self.key),
            format,
            pretty: self.pretty,
            discover: self.discover.map(|folder| Discover {
                folder,
                rules: if self.strict { Rules::Strict } else { Rules::Open },
            }),
            screen: screen(),
            mapping,
            count: self.count,
            until_idle: self.until_idle,
            poll,
        };
        // It is said whatever log.level is: a script may wait for it. The log's thread writes it,
        // and nobody waits for that.
        let ready = || log.stderr().push(READY.as_bytes());
        tail::run(kinesis, options, tokio::io::stdout(), stop, ready)
            .await
            .context("cannot tail the stream")
    }
}

/// Says at the end what was left out.
fn tell(Tally { not_json, left_out, .. }: &Tally) {
    if *not_json > 0 {
        out::tell(&format!(
            "left out {not_json} of the records: they are no JSON that a filter could look at\n"
        ));
    }
    out::tell(&left_out.to_string());
}

/// What Lambda would say of the stream. It invokes nobody, so there is no role.
async fn mapping(kinesis: &Kinesis) -> anyhow::Result<Mapping> {
    let stream_arn = kinesis.summary().await?.arn;
    Ok(Mapping { stream_arn, region: kinesis.region().to_owned(), role_arn: String::new() })
}

/// Who looks at standard output. `NO_COLOR` is a convention of many programs (no-color.org).
fn screen() -> Screen {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_none_or(|name| name == "dumb");
    match io::stdout().is_terminal() {
        false => Screen::None,
        true if is_set("NO_COLOR") || is_dumb => Screen::Plain,
        true => Screen::Coloured,
    }
}
