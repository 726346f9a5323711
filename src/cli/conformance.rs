//! `conformance`: plays the cases against a client's driver, and prints how each went.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::common::{exit, fail, runtime, said};
use super::out::{self, PrintError, Taken};
use crate::programs::conformance::{self, Case, CaseResult, Failure, Introduction, Report};

#[derive(Debug, Args)]
#[command(
    after_help = "For example: dispatchd conformance --client clients/node/driver\n\nExit codes: 0: \
                  every promise is kept; 1: one is not, or there is no driver; 64: there is no \
                  such case."
)]
pub(super) struct Conformance {
    /// The driver around the client, as a shell takes it; clients/conformance/README.md says what
    /// it does
    #[arg(
        long,
        value_name = "CMD",
        required_unless_present = "list",
        value_parser = NonEmptyStringValueParser::new()
    )]
    client: Option<String>,
    /// Play this case alone; may be given more than once
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// How long a case waits for what is to come, in seconds: on a machine that is never idle, long
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    within: u64,
    /// Print the cases and what each promises, and play none
    #[arg(long)]
    list: bool,
}

/// How many cases went how.
#[derive(Default)]
struct Sums {
    kept: usize,
    skipped: usize,
    broken: usize,
}

impl Conformance {
    pub(super) fn main(self) -> ExitCode {
        let cases = match self.cases() {
            Ok(cases) => cases,
            Err(name) => {
                return fail(format_args!("no case is called {name}: see --list"), exit::USAGE);
            }
        };
        let Some(client) = self.client.filter(|_| !self.list) else {
            return said(list(&cases), 0);
        };
        let played = runtime(2).map_err(anyhow::Error::from).and_then(|runtime| {
            runtime.block_on(play(&client, &cases, Duration::from_secs(self.within)))
        });
        match played {
            Ok(Sums { broken: 0, .. }) => ExitCode::SUCCESS,
            Ok(_) => exit::FAILED.into(),
            Err(error) => fail(format_args!("{error:#}"), exit::FAILED),
        }
    }

    /// The cases that were asked for. An error is the name of one that there is not.
    fn cases(&self) -> Result<Vec<Case>, String> {
        let all = conformance::all();
        let known = |name: &&String| !all.iter().any(|case| case.name == **name);
        match self.only.iter().find(known) {
            Some(unknown) => Err(unknown.clone()),
            None if self.only.is_empty() => Ok(all.to_vec()),
            None => {
                let is_asked = |case: &&Case| self.only.iter().any(|name| *name == case.name);
                Ok(all.iter().filter(is_asked).copied().collect())
            }
        }
    }
}

fn list(cases: &[Case]) -> Taken {
    let text = |case: &Case| format!("{}\n    {}\n", case.name, case.transcript().promise);
    out::print(&cases.iter().map(text).collect::<String>())
}

async fn play(client: &str, cases: &[Case], within: Duration) -> anyhow::Result<Sums> {
    let introduction = conformance::introduce(client).await?;
    let Introduction { name, version, .. } = &introduction;
    let _ = out::print(&format!("{name} {version}, {} cases\n", cases.len()))?;
    let mut sums = Sums::default();
    let report = |report: Report| {
        match report.result {
            CaseResult::Kept => sums.kept += 1,
            CaseResult::Skipped { .. } => sums.skipped += 1,
            CaseResult::Broken { .. } => sums.broken += 1,
        }
        out::print(&shown(&report)).map(drop)
    };
    conformance::prove(client, &introduction, cases, within, report)
        .await
        .map_err(|error: PrintError| error)?;
    let Sums { kept, skipped, broken } = &sums;
    let _ = out::print(&format!("{kept} kept, {broken} broken, {skipped} skipped\n"))?;
    Ok(sums)
}

fn shown(report: &Report) -> String {
    let Report { case, promise, took, result } = report;
    let (name, took) = (case.name, seconds(*took));
    match result {
        CaseResult::Kept => format!("ok    {name}  {took}\n"),
        CaseResult::Skipped { needs } => format!("skip  {name}: the driver cannot {needs}\n"),
        CaseResult::Broken { failure, said, told } => {
            let Failure { line, text, expected, came } = failure;
            let place = line.map_or_else(String::new, |line| format!(":{line}"));
            let mut shown = format!(
                "FAIL  {name}  {took}\n      promise   {promise}\n      page      {}{place}: \
                 {text}\n      expected  {expected}\n      came      {came}\n      what was said:\n",
                case.path
            );
            said.iter().for_each(|line| shown.push_str(&format!("        {line}\n")));
            if !told.is_empty() {
                shown.push_str("      the driver's standard error:\n");
                told.iter().for_each(|line| shown.push_str(&format!("        {line}\n")));
            }
            shown
        }
    }
}

fn seconds(took: Duration) -> String {
    format!("{:.2} s", took.as_secs_f64())
}
