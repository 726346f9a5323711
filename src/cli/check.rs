//! `check`: prints the configuration as `run` would use it, each value with its origin, where
//! requests go, the most memory it takes, and what would keep `run` from starting on this host;
//! with `--online` also what the service says to it, and more about this host.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::common::{exit, fail, runtime, said};
use super::flags::{ConfigFlags, running_local};
use super::out;
use crate::config::{
    Carried, Config, Machine, Resolved, Setting, forward_memory, memory_sum_for, resolve_to_serve,
    show_size,
};
use crate::programs::check::{self, Finding, Level, Target};
use crate::programs::forward::connection;
use crate::terminal::on_one_line;
use dispatchd_core::limits::{MIB, RECORD_BYTES_MAX};

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0: no check failed; 64: the configuration does not hold; 69: `run` \
                  would fail here, or with --online a check failed."
)]
pub(super) struct Check {
    #[command(flatten)]
    flags: ConfigFlags,
    /// Read it as `forward` does: the stream, its targets, and the variables that it knows
    #[arg(long)]
    forward: bool,
    /// Ask the service too: credentials, stream, permissions; and look at this host. Writes
    /// nothing. With --forward: read one record, and connect to the targets
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
    /// The largest record that memory carries, if the stream takes it.
    record_bytes_carried: usize,
    /// `None` where only the start will tell.
    endpoint: Option<String>,
    region: Option<String>,
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
    pub(super) fn main(self) -> ExitCode {
        let inputs = self.flags.inputs();
        let inputs = if self.forward { inputs.for_forward() } else { inputs };
        let resolved = match resolve_to_serve(&inputs) {
            Ok(resolved) => resolved,
            Err(problems) => return fail(problems, exit::USAGE),
        };
        let runtime = match runtime(1) {
            Ok(runtime) => runtime,
            Err(error) => return fail(error, exit::FAILED),
        };
        let target = match runtime.block_on(check::target(&resolved.config)) {
            Err(error) if !self.online => return fail(error, exit::USAGE),
            // Online it is one of the findings, and the other checks are made too.
            target => target.ok(),
        };
        let asked = match self.forward {
            true => runtime.block_on(ask_forward(&resolved, self.online)),
            false => Ok(runtime.block_on(ask(&resolved.config, self.online))),
        };
        let findings = match asked {
            Ok(findings) => findings,
            Err(error) => return fail(format_args!("{error:#}"), exit::USAGE),
        };
        let findings = (!findings.is_empty()).then_some(findings);
        runtime.shutdown_background(); // a look-up of a name that hangs must not hold up the end
        let text = if self.json {
            json(&resolved, target, findings.as_deref(), self.forward) + "\n"
        } else {
            show_configuration(&resolved, target, self.forward)
                + &show_findings(findings.as_deref().unwrap_or_default())
        };
        let failed = findings.into_iter().flatten().any(|finding| finding.level == Level::Fail);
        said(out::print(&text), if failed { exit::UNAVAILABLE } else { 0 })
    }
}

/// All findings; without `--online`, only those that would keep `run` from starting.
async fn ask(config: &Config, online: bool) -> Vec<Finding> {
    let machine = Machine::read();
    if online {
        return check::run(config, &machine).await;
    }
    let places = check::places(config, &machine).await;
    places.into_iter().filter(|finding| finding.level == Level::Fail).collect()
}

/// All findings for `forward`; without `--online`, only those that would keep it from starting.
///
/// # Errors
/// Which embedded stream is meant is not said.
async fn ask_forward(resolved: &Resolved, online: bool) -> anyhow::Result<Vec<Finding>> {
    let config = &resolved.config;
    if !online {
        return Ok(check::forward_places(config));
    }
    let connection = connection(config, running_local(config)?, resolved.names_an_emulator());
    Ok(check::forward(config, connection, &Machine::read()).await)
}

/// The settings of all targets, by their whole keys.
fn of_targets(resolved: &Resolved) -> impl Iterator<Item = Setting> {
    (1..).zip(&resolved.targets).flat_map(|(number, settings)| {
        settings.iter().map(move |setting| Setting {
            key: format!("forward.target[{number}].{}", setting.key),
            ..setting.clone()
        })
    })
}

fn show_configuration(resolved: &Resolved, target: Option<Target>, forward: bool) -> String {
    let settings: Vec<Setting> =
        resolved.values.iter().cloned().chain(of_targets(resolved)).collect();
    let width = |text: fn(&Setting) -> usize| settings.iter().map(text).max().unwrap_or(0);
    let (keys, values) = (width(|setting| setting.key.len()), width(|setting| setting.value.len()));
    let mut text = String::new();
    // Writing to a String cannot fail.
    for setting in &settings {
        let _ =
            writeln!(text, "{:keys$}  {:values$}  {}", setting.key, setting.value, setting.origin);
    }
    let target = target.map_or_else(|| "none".to_owned(), |target| target.to_string());
    let _ = writeln!(text, "\nendpoint: {target}");
    let config = &resolved.config;
    let _ = match forward {
        true => writeln!(text, "memory: at most {}", forward_memory(config, 1)),
        false => {
            writeln!(text, "{}memory: at most {}", records(config), check::memory_sum_here(config))
        }
    };
    text
}

/// Says which records the sum of memory holds for, where the stream is asked for its limit: that
/// may be raised while the daemon runs.
fn records(config: &Config) -> String {
    if config.stream.max_record_bytes.is_some() {
        return String::new();
    }
    let carried = Carried::of(config).record_bytes;
    if carried == RECORD_BYTES_MAX {
        return format!("records: up to {}, if the stream takes them\n", show_size(carried));
    }
    let (budget, sum) = memory_sum_for(config, RECORD_BYTES_MAX);
    format!(
        "records: up to {}, if the stream takes them; for {} it takes memory.budget = {}, at most \
         {:.1} MiB in all\n",
        show_size(carried),
        show_size(RECORD_BYTES_MAX),
        show_size(budget),
        sum.total_bytes() as f64 / MIB as f64
    )
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

fn json(
    resolved: &Resolved,
    target: Option<Target>,
    checks: Option<&[Finding]>,
    forward: bool,
) -> String {
    let value = |setting: &'_ Setting| setting.origin.to_string();
    let values: Vec<Setting> =
        resolved.values.iter().cloned().chain(of_targets(resolved)).collect();
    let configuration = values.iter();
    let (endpoint, region) = match target {
        Some(Target::At { endpoint, region }) => (Some(endpoint), Some(region)),
        _ => (None, None),
    };
    let report = Report {
        configuration: configuration
            .map(|setting| Value {
                key: &setting.key,
                value: &setting.value,
                origin: value(setting),
            })
            .collect(),
        memory_bytes_max: match forward {
            true => forward_memory(&resolved.config, 1).total_bytes(),
            false => check::memory_sum_here(&resolved.config).total_bytes(),
        },
        record_bytes_carried: Carried::of(&resolved.config).record_bytes,
        endpoint,
        region,
        checks,
    };
    serde_json::to_string(&report).expect("texts and numbers can be written as JSON")
}
