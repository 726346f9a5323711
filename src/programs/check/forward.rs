//! What `check --forward` looks at: the stream as a reader sees it, each target, and the places
//! where checkpoints and dead letters are kept.
//!
//! Nothing is delivered and nothing is written: of the stream one record is read, and a target gets
//! a connection without a request.

use std::path::Path;

use dispatchd_aws::{Connection, Kinesis};
use dispatchd_core::model::CallError;
use dispatchd_core::model::read::{ListedShard, StartingPosition};
use dispatchd_core::wire::forward::lambda::Mapping;

use super::finding::{Finding, Level};
use super::{host, online};
use crate::config::{Config, Machine, forward_memory};
use crate::programs::forward::http_target;
use crate::progress::{self, Keep, OpenError, Survey};
use crate::targets::settings::{DeadLetterKeep, Target};

const READ: &str = "read";
const TARGET: &str = "target";
const CHECKPOINTS: &str = "checkpoints";

/// Makes every check, in the order in which they are printed.
pub(crate) async fn forward(
    config: &Config,
    connection: Connection,
    machine: &Machine,
) -> Vec<Finding> {
    let (mut findings, shards) = match Kinesis::connect(connection).await {
        Ok(kinesis) => asked(&kinesis, config).await,
        Err(error) => {
            let fix = "correct what it names, and check again";
            (vec![Finding::fail("endpoint", error.to_string(), fix)], 1)
        }
    };
    for target in &config.forward.targets {
        findings.push(reached(config, target).await);
    }
    findings.extend(books(config));
    findings.extend(config.forward.targets.iter().filter_map(letters));
    findings.push(host::forwarder_admin(&config.admin).await);
    findings.push(host::forward_memory(&forward_memory(config, shards), machine.memory_limit));
    findings
}

/// Programs that are not there, and checkpoints that cannot be had: what the configuration alone
/// says of this host. Nothing is asked of anybody.
pub(crate) fn forward_places(config: &Config) -> Vec<Finding> {
    let programs = config.forward.targets.iter().filter(|target| target.exec.is_some());
    let findings = programs.map(program).chain(books(config));
    findings.filter(|finding| finding.level == Level::Fail).collect()
}

/// What the service says to a reader, and how many shards there are.
async fn asked(kinesis: &Kinesis, config: &Config) -> (Vec<Finding>, usize) {
    let mut findings = online::identity(kinesis, config).await;
    if findings.iter().any(|finding| finding.level == Level::Fail) {
        let unasked = |name| Finding::warn(name, online::NO_CREDENTIALS, online::CREDENTIALS_FIRST);
        findings.extend(["stream", READ].map(unasked));
        return (findings, 1);
    }
    let (stream, read) = tokio::join!(online::stream_is_there(kinesis), read(kinesis));
    let (read, shards) = match read {
        Ok(shards) => {
            let open = shards.iter().filter(|shard| shard.open).count();
            let count = shards.len();
            let what = format!(
                "ListShards, GetShardIterator and GetRecords are permitted, {count} shards, {open} of \
                 them open"
            );
            (Finding::ok(READ, what), count)
        }
        Err(error) => (Finding::fail(READ, error.to_string(), online::reader_advice(&error)), 1),
    };
    findings.extend([stream, read]);
    (findings, shards.max(1))
}

/// Lists the shards, and reads one record of the first: so far as `forward` itself goes before it
/// delivers, what encrypts the stream included.
async fn read(kinesis: &Kinesis) -> Result<Vec<ListedShard>, CallError> {
    let shards = kinesis.all_shards().await?;
    if let Some(first) = shards.first() {
        let iterator = kinesis.iterator(&first.id, &StartingPosition::TrimHorizon).await?;
        kinesis.records(&iterator.token, 1).await?;
    }
    Ok(shards)
}

/// Connects to a target, or looks for its program.
async fn reached(config: &Config, target: &Target) -> Finding {
    if target.exec.is_some() {
        return program(target);
    }
    let mapping = Mapping {
        stream_arn: String::new(),
        region: String::new(),
        role_arn: target.role_arn.clone().unwrap_or_default(),
    };
    let http = match http_target(target, mapping, None, &config.sdk_env) {
        Ok(http) => http,
        Err(error) => {
            return Finding::fail(TARGET, error.to_string(), "correct what it names");
        }
    };
    let name = &target.name;
    match http.reach().await {
        Ok(to) => Finding::ok(TARGET, format!("{name}: connected to {to}; nothing was delivered")),
        Err(why) => Finding::fail(
            TARGET,
            format!("{name}: {why}"),
            "start it, or correct url; until then its shards wait, and nothing is lost that the \
             stream still keeps",
        ),
    }
}

fn program(target: &Target) -> Finding {
    let command = target.exec.as_ref().expect("it was looked at who has one");
    match command.find() {
        Ok(path) => Finding::ok(TARGET, format!("{}: runs {}", target.name, path.display())),
        Err(error) => Finding::fail(
            TARGET,
            format!("{}: {error}", target.name),
            "correct exec, or install the program here",
        ),
    }
}

/// The places of checkpoints.
fn books(config: &Config) -> Vec<Finding> {
    match &config.forward.checkpoint {
        Some(Keep::Files(directory)) => {
            let (stream, targets) = (config.stream.id.as_str(), &config.forward.targets);
            targets.iter().map(|target| book(directory, stream, &target.name)).collect()
        }
        Some(Keep::Nowhere) | None => {
            let what = "kept nowhere: every start begins where `from` says";
            vec![Finding::ok(CHECKPOINTS, what)]
        }
    }
}

fn book(directory: &Path, stream: &str, target: &str) -> Finding {
    match progress::survey(directory, stream, target) {
        Ok(Survey { path, shards, holder: None }) => {
            let (path, shards) = (path.display(), counted(shards));
            Finding::ok(CHECKPOINTS, format!("{target}: {path}, {shards}"))
        }
        Ok(Survey { path, holder: Some(holder), .. }) => Finding::warn(
            CHECKPOINTS,
            format!("{target}: {}: another forwarder holds it: {holder}", path.display()),
            "stop that one before you start a second one here, or give this target another name",
        ),
        Err(error @ OpenError::Io { .. }) => {
            let uid = rustix::process::geteuid().as_raw();
            let fix = format!(
                "make the directory writable to user {uid}, or choose another one with --checkpoint"
            );
            Finding::fail(CHECKPOINTS, format!("{target}: {error}"), fix)
        }
        Err(error) => {
            Finding::fail(CHECKPOINTS, format!("{target}: {error}"), "see to that file first")
        }
    }
}

fn counted(shards: usize) -> String {
    match shards {
        0 => "none kept yet: delivery begins where `from` says".to_owned(),
        1 => "of 1 shard".to_owned(),
        more => format!("of {more} shards"),
    }
}

/// Whether dead letters can be written to their file.
fn letters(target: &Target) -> Option<Finding> {
    const NAME: &str = "letters";
    let Some(DeadLetterKeep::File(path)) = &target.dead_letter else { return None };
    let (name, shown) = (&target.name, path.display());
    Some(match progress::writable(path.parent().unwrap_or(Path::new("."))) {
        Ok(()) => Finding::ok(NAME, format!("{name}: {shown}")),
        Err(error) => Finding::fail(
            NAME,
            format!("{name}: cannot write beside {shown}: {error}"),
            "make the directory, writable to this user, or choose another dead_letter",
        ),
    })
}
