//! `replay`: sends again what was kept of a stream.

use std::io::IsTerminal;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};

use super::common::{exit, fail, runtime, said, start_log};
use super::confirm::{confirm, is_there};
use super::flags::{StreamFlags, running_local};
use super::{out, pattern};
use crate::config::Config;
use crate::producer::direct::Settings;
use crate::programs::replay::{
    self, Early, Index, Options, Outcome, Progress, Selection, State, To, WithoutKey,
};
use crate::programs::signals::stop_signal;
use dispatchd_aws::{Kinesis, is_loopback_url};
use dispatchd_consumer::filter::Filter;
use dispatchd_core::model::CallError;
use dispatchd_core::model::envelope::Timestamp;
use dispatchd_core::wire::archive::event::{Micros, parse_day, parse_time};
use dispatchd_pattern::Pattern;

#[derive(Debug, Args)]
#[command(after_help = "What is read: NDJSON of envelopes, of records (`tail --format record` or \
                  `lambda`, Rabble Rouser's archive), of dead letters (forward's, Lambda's in S3), \
                  and files that hold one event. Each line says by its members what it is.\n\nExit \
                  codes: 0: every event is confirmed; 1: the files cannot be read, the stream is \
                  not there, or the state file is of another replay; 64: the arguments or the \
                  configuration do not hold; 75: not every event is confirmed.")]
pub(super) struct Replay {
    /// The files, or folders of them
    #[arg(value_name = "FILE|DIR", required = true)]
    inputs: Vec<PathBuf>,
    #[command(flatten)]
    flags: StreamFlags,
    /// Send what happened then or later: a day in UTC, or a time as in RFC 3339
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<Micros>,
    /// Send what happened before then
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<Micros>,
    /// Send events of these types
    #[arg(long = "type", value_name = "TYPE,…", value_delimiter = ',')]
    types: Vec<String>,
    /// Send events that match this EventBridge pattern; of several, one has to match
    #[arg(long = "filter", value_name = "JSON|@FILE", value_parser = pattern::text)]
    filters: Vec<String>,
    /// The same for the record, as Lambda's filters see it: `data` and `partitionKey`
    #[arg(long = "filter-record", value_name = "JSON|@FILE", value_parser = pattern::text)]
    record_filters: Vec<String>,
    /// The key of an event that names none
    #[arg(long, value_enum, default_value_t = KeyRule::Constant)]
    without_key: KeyRule,
    /// Send so many events a second, at most
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU32>,
    /// Keep in this file what is confirmed, and leave that out the next time
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Say what would be sent, and send nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask. Without it the stream's name is asked for on a terminal, and refused elsewhere,
    /// unless the endpoint is on this host
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum KeyRule {
    /// "__partition_key__", so that such events keep their order
    Constant,
    /// Each its own
    Random,
    /// The event's type
    Type,
}

/// The last word of a replay, and its exit code.
struct End {
    says: String,
    code: u8,
}

impl Replay {
    pub(super) fn main(self) -> ExitCode {
        let config = match self.flags.resolve() {
            Ok(resolved) => resolved.config,
            Err(problems) => return fail(problems, exit::USAGE),
        };
        let selection = match self.selection() {
            Ok(selection) => selection,
            Err(error) => return fail(format_args!("{error:#}"), exit::USAGE),
        };
        // The log lives as long as this.
        let _log = match start_log(&config.log) {
            Ok(log) => log,
            Err(code) => return code,
        };
        let runtime = match runtime(config.runtime.threads) {
            Ok(runtime) => runtime,
            Err(error) => return fail(error, exit::FAILED),
        };
        let ended = runtime.block_on(self.run(config, &selection));
        runtime.shutdown_background(); // a look-up of a name that hangs must not hold up the end
        match ended {
            Ok(End { says, code }) => said(out::print(&says), code),
            Err(error) => fail(format_args!("{error:#}"), exit::FAILED),
        }
    }

    async fn run(self, config: Config, selection: &Selection) -> anyhow::Result<End> {
        let read = || Index::read(&self.inputs, selection, self.state.as_deref());
        if self.dry_run {
            let index = read()?;
            return Ok(End { says: found(&index) + "nothing was sent\n", code: 0 });
        }
        let name = config.stream.id.as_str();
        let kinesis = Kinesis::connect(config.connection(running_local(&config)?)).await?;
        let asks = !self.yes && !is_loopback_url(kinesis.endpoint());
        if asks {
            is_there(&format!("sends events to stream {name:?} at {}", kinesis.endpoint()))?;
        }
        let index = read()?;
        out::tell(&found(&index));
        let summary = kinesis.summary().await;
        if summary.as_ref().is_err_and(CallError::is_not_found) {
            bail!(
                "there is no stream {name:?} in region {}: correct the name, --region or \
                 --endpoint-url",
                kinesis.region()
            );
        }
        // What else may be wrong shows when events are sent.
        let summary = summary.ok();
        let to = To {
            stream: name,
            endpoint: kinesis.endpoint(),
            arn: summary.as_ref().map(|summary| &*summary.arn),
            made: summary.as_ref().and_then(|summary| summary.created),
        };
        let state = match &self.state {
            Some(path) => Some(State::open(path, to, &index, selection)?),
            None => None,
        };
        let confirmed = state.as_ref().map_or(0, State::confirmed_count);
        let left = index.len() as u64 - confirmed;
        if left == 0 {
            let says = format!("nothing is left to send, confirmed: {confirmed}\n");
            return Ok(End { says, code: 0 });
        }
        if asks {
            let endpoint = kinesis.endpoint();
            let left = counted(left, "event");
            let what = format!("sends {left} to stream {name:?} at {endpoint}");
            confirm(&what, name, "nothing was sent")?;
        }
        let stop = stop_signal()?;
        let draws = std::io::stderr().is_terminal();
        let report = |progress: &Progress| {
            if draws {
                out::redraw(&line(progress));
            }
        };
        let outcome = replay::run(kinesis, self.options(&config), index, state, stop, report).await;
        if draws {
            out::tell("\n");
        }
        Ok(self.end(&outcome))
    }

    fn selection(&self) -> anyhow::Result<Selection> {
        let read = |flag: &'static str, texts: &[String]| {
            let patterns = texts.iter().map(|text| Pattern::parse(text).context(flag));
            patterns.collect::<anyhow::Result<Vec<_>>>()
        };
        let events = read("--filter", &self.filters)?;
        let records = read("--filter-record", &self.record_filters)?;
        let filter = Filter::new(events, records).of_types(&self.types).context("--type")?;
        let of_records = self.record_filters.iter().map(|text| format!("record {text}"));
        let wanted = self.types.iter().chain(&self.filters).cloned().chain(of_records).collect();
        Ok(Selection { from: self.from, to: self.to, filter, wanted })
    }

    fn options(&self, config: &Config) -> Options {
        Options {
            lanes: Settings::of(config),
            without_key: match self.without_key {
                KeyRule::Constant => WithoutKey::Constant,
                KeyRule::Random => WithoutKey::Random,
                KeyRule::Type => WithoutKey::Type,
            },
            rate: self.rate,
            stop_timeout: config.shutdown.timeout,
        }
    }

    fn end(&self, Outcome { progress, early }: &Outcome) -> End {
        let missing = progress.missing();
        let mut says = summary(progress);
        let code = match early {
            None if missing == 0 => 0,
            None | Some(Early::Stopped | Early::Stalled(_) | Early::Refused) => exit::UNCONFIRMED,
            Some(Early::Died) => exit::DEFECT,
            Some(Early::Read(_) | Early::State(_)) => exit::FAILED,
        };
        if let Some(why) = early {
            says += &format!("it ended early: {why}\n");
        }
        let left = missing - progress.refused;
        if left > 0 {
            says += &match &self.state {
                Some(state) => {
                    format!(
                        "left: {left}. The same command goes on there, by {}\n",
                        state.display()
                    )
                }
                None => format!(
                    "left: {left}. Without --state FILE nobody knows which: begun anew, it sends \
                     everything again\n"
                ),
            };
        }
        End { says, code }
    }
}

/// What the files hold, for a person.
fn found(index: &Index) -> String {
    let files = index.files_count();
    let (read, sent) = (index.events_read, index.len());
    let (read, files) = (counted(read, "event"), counted(files as u64, "file"));
    let span = index.span().map(|(first, last)| {
        format!(", from {} to {}", printed(first).as_str(), printed(last).as_str())
    });
    let mut text = format!("{read} in {files}, {sent} to send{}\n", span.unwrap_or_default());
    if index.not_json > 0 {
        let left_out = counted(index.not_json, "event");
        text += &format!("left out {left_out}: they are no JSON that a filter could look at\n");
    }
    text
}

fn line(progress: &Progress) -> String {
    let Progress { events, before, confirmed, refused, .. } = progress;
    let rate = rate(progress);
    let left = if rate > 0.0 {
        let seconds = (progress.missing() - refused) as f64 / rate;
        format!(", {} left", clock(seconds))
    } else {
        String::new()
    };
    let done = before + confirmed;
    format!("{done} of {events} confirmed, {refused} refused, {rate:.0}/s{left}\x1b[K")
}

fn summary(progress: &Progress) -> String {
    let Progress { events, before, confirmed, refused, took } = progress;
    let mut text = format!("confirmed: {} of {}", before + confirmed, counted(*events, "event"));
    if *before > 0 {
        text += &format!(", {before} of them by earlier runs");
    }
    if *refused > 0 {
        text += &format!("; refused for good, as the log says: {refused}");
    }
    text + &format!("; {:.1} s, {:.0} events/s\n", took.as_secs_f64(), rate(progress))
}

fn counted(count: u64, what: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {what}{ending}")
}

/// Events a second that this run confirmed.
fn rate(progress: &Progress) -> f64 {
    progress.confirmed as f64 / progress.took.as_secs_f64().max(0.001)
}

/// Seconds as `h:mm:ss`.
fn clock(seconds: f64) -> String {
    let seconds = seconds as u64; // below the age of the universe
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn printed(time: Micros) -> Timestamp {
    Timestamp::from_unix_ms(u64::try_from(time / 1000).unwrap_or(0))
}

fn time(text: &str) -> Result<Micros, String> {
    parse_day(text)
        .or_else(|| parse_time(text))
        .ok_or_else(|| "expected a day (2026-11-28) or a time (2026-11-28T03:00:00Z)".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn progress(events: u64, before: u64, confirmed: u64, refused: u64) -> Progress {
        Progress { events, before, confirmed, refused, took: Duration::from_secs(10) }
    }

    #[test]
    fn the_line_says_how_fast_it_is_and_how_long_it_takes() {
        let line = line(&progress(10_000, 1000, 2000, 1));
        assert_eq!(line, "3000 of 10000 confirmed, 1 refused, 200/s, 0:00:34 left\x1b[K");
    }

    #[test]
    fn the_summary_says_what_this_run_did_and_what_earlier_ones_did() {
        let text = summary(&progress(10, 0, 10, 0));
        assert_eq!(text, "confirmed: 10 of 10 events; 10.0 s, 1 events/s\n");
        let text = summary(&progress(10, 3, 6, 1));
        let words = "confirmed: 9 of 10 events, 3 of them by earlier runs; refused for good, as";
        assert!(text.starts_with(words), "{text}");
    }

    #[test]
    fn a_time_is_a_day_or_a_time() {
        assert_eq!(time("1970-01-02"), Ok(86_400_000_000));
        assert_eq!(time("1970-01-01T00:00:01Z"), Ok(1_000_000));
        time("yesterday").expect_err("neither");
    }
}
