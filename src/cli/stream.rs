//! `stream`: creates, describes and deletes a stream, and lists those that there are, for laptops
//! and tests.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand};

use super::common::{exit, fail, runtime, said};
use super::confirm::confirm;
use super::flags::ConnectionFlags;
use super::flags::{name_stream, running_local};
use super::out;
use crate::config::{Config, Inputs, resolve, show_size};
use crate::terminal::on_one_line;
use dispatchd_aws::{Capacity, Kinesis, Summary, Until, is_loopback_url};
use dispatchd_core::model::{CallError, StreamId};

/// A configuration is one stream's. Where none is asked for, it has this name.
const NO_STREAM: &str = "none";

/// How long `--wait` waits: a stream on AWS takes half a minute, a large one some minutes.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// The time between two looks. An account may look 20 times a second.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(super) struct Stream {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Create a stream; without --on-demand one of provisioned shards
    Create(Create),
    /// Print its status, mode, shards, record limit and encryption
    Describe(Describe),
    /// Delete a stream and all that is in it
    Delete(Delete),
    /// Print the names of the account's streams in the region
    List(List),
}

#[derive(Debug, Args)]
struct Create {
    #[command(flatten)]
    named: Named,
    /// Its shards
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=10_000)
    )]
    shards: u16,
    /// Let the service choose its shards, by what is written
    #[arg(long, conflicts_with = "shards")]
    on_demand: bool,
    /// Return when it is ACTIVE, after five minutes at most
    #[arg(long)]
    wait: bool,
}

#[derive(Debug, Args)]
struct Describe {
    #[command(flatten)]
    named: Named,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Delete {
    #[command(flatten)]
    named: Named,
    /// Do not ask. Without it a name is asked for on a terminal, and refused elsewhere, unless the
    /// endpoint is on this host
    #[arg(long)]
    yes: bool,
    /// Return when it is gone, after five minutes at most
    #[arg(long)]
    wait: bool,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    flags: ConnectionFlags,
}

/// The stream, and how it is reached.
#[derive(Debug, Args)]
struct Named {
    /// The stream's name, or its ARN
    #[arg(value_name = "NAME|ARN")]
    name: String,
    #[command(flatten)]
    flags: ConnectionFlags,
}

impl Stream {
    pub(super) fn main(self) -> ExitCode {
        let inputs = match &self.verb {
            Verb::Create(Create { named, .. })
            | Verb::Describe(Describe { named, .. })
            | Verb::Delete(Delete { named, .. }) => inputs(&named.flags, &named.name),
            Verb::List(List { flags }) => inputs(flags, NO_STREAM),
        };
        let config = match resolve(&inputs) {
            Ok(resolved) => resolved.config,
            Err(problems) => return fail(problems, exit::USAGE),
        };
        let runtime = match runtime(1) {
            Ok(runtime) => runtime,
            Err(error) => return fail(error, exit::FAILED),
        };
        let done = runtime.block_on(self.verb.run(&config));
        runtime.shutdown_background(); // a look-up of a name that hangs must not hold up the end
        match done {
            Ok(text) => said(out::print(&text), 0),
            Err(error) => fail(format_args!("{error:#}"), exit::FAILED),
        }
    }
}

/// The configuration's inputs. The argument is the stream, whatever file and environment say.
fn inputs(flags: &ConnectionFlags, stream: &str) -> Inputs {
    let mut inputs = flags.inputs([]);
    inputs.flags.retain(|flag| !["stream.name", "stream.arn"].contains(&&*flag.key));
    name_stream(&mut inputs, stream, "the command line");
    inputs
}

impl Verb {
    /// Does what was asked, and gives the text to print.
    async fn run(self, config: &Config) -> anyhow::Result<String> {
        let local_url = running_local(config)?;
        let kinesis = Kinesis::connect(config.connection(local_url)).await?;
        let name = config.stream.id.as_str();
        let told = |error| in_words(error, name, &kinesis);
        Ok(match self {
            Self::Create(_) if matches!(config.stream.id, StreamId::Arn(_)) => {
                bail!("a new stream takes a name; the ARN follows from it")
            }
            Self::Create(create) => {
                let capacity = if create.on_demand {
                    Capacity::OnDemand
                } else {
                    Capacity::Shards(create.shards)
                };
                kinesis.create(capacity).await.map_err(told)?;
                if create.wait {
                    wait(&kinesis, name, Until::Active).await?;
                    format!("stream {name:?} is ACTIVE\n")
                } else {
                    format!("stream {name:?} is being created\n")
                }
            }
            Self::Describe(describe) => {
                let summary = kinesis.summary().await.map_err(told)?;
                if describe.json { serde_json::to_string(&summary)? + "\n" } else { show(&summary) }
            }
            Self::List(_) => {
                let names = kinesis.all_streams().await?;
                names.iter().map(|name| format!("{}\n", on_one_line(name))).collect()
            }
            Self::Delete(delete) => {
                if !delete.yes && !is_loopback_url(kinesis.endpoint()) {
                    let endpoint = kinesis.endpoint();
                    let what =
                        format!("deletes stream {name:?} at {endpoint} and all that is in it");
                    confirm(&what, name, "nothing was deleted")?;
                }
                kinesis.delete().await.map_err(told)?;
                if delete.wait {
                    wait(&kinesis, name, Until::Gone).await?;
                    format!("stream {name:?} is gone\n")
                } else {
                    format!("stream {name:?} is being deleted\n")
                }
            }
        })
    }
}

async fn wait(kinesis: &Kinesis, name: &str, until: Until) -> anyhow::Result<()> {
    kinesis.wait(until, WAIT_MAX, LOOK_EVERY).await.with_context(|| format!("stream {name:?}"))
}

fn in_words(error: CallError, name: &str, kinesis: &Kinesis) -> anyhow::Error {
    let region = kinesis.region();
    let said = error.message.trim_end_matches('.');
    match error.code.as_str() {
        _ if error.is_not_found() => {
            anyhow!(
                "there is no stream {name:?} in region {region}: correct the name, --region or \
                 --endpoint-url"
            )
        }
        _ if error.is_in_use() && error.operation == "CreateStream" => {
            anyhow!(
                "stream {name:?} exists already in region {region}: `dispatchd stream describe \
                 {name}` shows it"
            )
        }
        _ if error.is_in_use() => {
            anyhow!(
                "stream {name:?} is in use: {said}. Try again when it is ACTIVE and has no \
                 consumers"
            )
        }
        "LimitExceededException" => {
            anyhow!(
                "a limit of the account is reached: {said}. Ask again later or for fewer shards, \
                 or have the quota raised"
            )
        }
        _ => error.into(),
    }
}

fn show(summary: &Summary) -> String {
    let limit = match summary.impossible_record_kib {
        Some(kib) => format!("told as {kib} KiB, which cannot be"),
        None => summary.record_bytes_max.map_or("not told".to_owned(), show_size),
    };
    let rows = [
        ("name", summary.name.clone()),
        ("arn", summary.arn.clone()),
        ("status", summary.status.clone()),
        ("mode", summary.mode.clone()),
        ("open shards", summary.open_shards.to_string()),
        ("record limit", limit),
        ("encryption", summary.kms_key.clone().unwrap_or("none".to_owned())),
        ("retention", format!("{} h", summary.retention_hours)),
        (
            "keys",
            if summary.ignores_keys { "ignored (AUTO)" } else { "decide the shard" }.to_owned(),
        ),
    ];
    rows.iter().map(|(name, value)| format!("{name:14}{}\n", on_one_line(value))).collect()
}
