//! `check`: the configuration as `run` would use it, each value with its origin, and the most memory it takes; and whether
//! this host has its places free; with `--online` also what the service says to it, and more of this host.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::{ConfigFlags, exit, fail, runtime};
use crate::config::{Machine, Resolved, memory_sum, resolve_to_serve};
use crate::preflight::{self, Finding, Level};

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0: no check failed; 64: the configuration does not hold; 69: `run` would fail here, or with --online a check failed."
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
        let resolved = match resolve_to_serve(&self.flags.inputs()) {
            Ok(resolved) => resolved,
            Err(problems) => return fail(problems, exit::USAGE),
        };
        let findings = match ask(&resolved, self.online) {
            Ok(findings) => findings,
            Err(error) => return fail(error, exit::FAILED),
        };
        let findings = (!findings.is_empty()).then_some(findings);
        if self.json {
            println!("{}", json(&resolved, findings.as_deref()));
        } else {
            print_configuration(&resolved);
            print_findings(findings.as_deref().unwrap_or_default());
        }
        let failed = findings.into_iter().flatten().any(|finding| finding.level == Level::Fail);
        if failed { exit::UNAVAILABLE.into() } else { ExitCode::SUCCESS }
    }
}

/// All that was found; without the service only what `run` would be refused with.
fn ask(resolved: &Resolved, online: bool) -> std::io::Result<Vec<Finding>> {
    let runtime = runtime(1)?;
    let findings = runtime.block_on(async {
        if online {
            return preflight::run(&resolved.config, &Machine::read()).await;
        }
        let places = preflight::places(&resolved.config).await;
        places.into_iter().filter(|finding| finding.level == Level::Fail).collect()
    });
    runtime.shutdown_background(); // a look-up of a name that hangs must not hold up the end
    Ok(findings)
}

fn print_configuration(resolved: &Resolved) {
    let width = |text: fn(&crate::config::Setting) -> usize| resolved.values.iter().map(text).max().unwrap_or(0);
    let (keys, values) = (width(|setting| setting.key.len()), width(|setting| setting.value.len()));
    for setting in &resolved.values {
        println!("{:keys$}  {:values$}  {}", setting.key, setting.value, setting.origin);
    }
    println!("\nmemory: at most {}", memory_sum(&resolved.config));
}

fn print_findings(findings: &[Finding]) {
    if !findings.is_empty() {
        println!();
    }
    let names = findings.iter().map(|finding| finding.name.len()).max().unwrap_or(0);
    for Finding { name, level, what, fix } in findings {
        println!("{:4}  {name:names$}  {what}", level.as_str());
        if let Some(fix) = fix {
            println!("{:4}  {:names$}  to fix: {fix}", "", "");
        }
    }
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
