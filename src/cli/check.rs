//! `check`: the configuration as `run` would use it, each value with its origin, and the most memory it takes; with
//! `--online` also what the service and this host say to it.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::{ConfigFlags, exit, fail, out, runtime, said};
use crate::config::{Machine, Resolved, memory_sum};
use crate::preflight::{self, Finding, Level};
use crate::terminal::on_one_line;

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0: no check failed; 64: the configuration does not hold; 69: with --online, a check failed."
)]
pub struct Check {
    #[command(flatten)]
    flags: ConfigFlags,
    /// Ask the service too: credentials, stream, permissions; and look at this host. Writes nothing
    #[arg(long)]
    online: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    configuration: Vec<Value<'a>>,
    memory_bytes_max: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<&'a [Finding]>,
}

#[derive(Serialize)]
struct Value<'a> {
    key: &'a str,
    value: &'a str,
    origin: String,
}

impl Check {
    pub fn main(self) -> ExitCode {
        let resolved = match self.flags.resolve() {
            Ok(resolved) => resolved,
            Err(problems) => return fail(problems, exit::USAGE),
        };
        let findings = match self.online.then(|| ask(&resolved)).transpose() {
            Ok(findings) => findings,
            Err(error) => return fail(error, exit::FAILED),
        };
        let text = if self.json {
            json(&resolved, findings.as_deref()) + "\n"
        } else {
            show_configuration(&resolved) + &show_findings(findings.as_deref().unwrap_or_default())
        };
        let failed = findings.into_iter().flatten().any(|finding| finding.level == Level::Fail);
        said(out::print(&text), if failed { exit::UNAVAILABLE } else { 0 })
    }
}

fn ask(resolved: &Resolved) -> std::io::Result<Vec<Finding>> {
    let runtime = runtime(1)?;
    let findings = runtime.block_on(preflight::run(&resolved.config, &Machine::read()));
    runtime.shutdown_background(); // a look-up of a name that hangs must not hold up the end
    Ok(findings)
}

fn show_configuration(resolved: &Resolved) -> String {
    let width = |text: fn(&crate::config::Setting) -> usize| resolved.values.iter().map(text).max().unwrap_or(0);
    let (keys, values) = (width(|setting| setting.key.len()), width(|setting| setting.value.len()));
    let mut text = String::new();
    // Writing to a String cannot fail.
    for setting in &resolved.values {
        let _ = writeln!(text, "{:keys$}  {:values$}  {}", setting.key, setting.value, setting.origin);
    }
    let _ = writeln!(text, "\nmemory: at most {}", memory_sum(&resolved.config));
    text
}

fn show_findings(findings: &[Finding]) -> String {
    let mut text = String::new();
    if !findings.is_empty() {
        text.push('\n');
    }
    let names = findings.iter().map(|finding| finding.name.len()).max().unwrap_or(0);
    for Finding { name, level, what, fix } in findings {
        let _ = writeln!(text, "{:4}  {name:names$}  {}", level.as_str(), on_one_line(what));
        if let Some(fix) = fix {
            let _ = writeln!(text, "{:4}  {:names$}  to fix: {fix}", "", "");
        }
    }
    text
}

fn json(resolved: &Resolved, checks: Option<&[Finding]>) -> String {
    let value = |setting: &'_ crate::config::Setting| setting.origin.to_string();
    let configuration = resolved.values.iter();
    let report = Report {
        configuration: configuration
            .map(|setting| Value { key: &setting.key, value: &setting.value, origin: value(setting) })
            .collect(),
        memory_bytes_max: memory_sum(&resolved.config).total_bytes(),
        checks,
    };
    serde_json::to_string(&report).expect("texts and numbers can be written as JSON")
}
