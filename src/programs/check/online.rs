//! What the service says: credentials, caller, endpoint, stream, permissions. Asking stores
//! nothing.

use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};
use dispatchd_aws::{CredentialsInfo, DryRun, Kinesis, Summary, Wire, WireCheck, is_on_aws};
use dispatchd_core::limits::{RECORD_BYTES_MAX, RECORD_BYTES_MIN};
#[cfg(feature = "local")]
use dispatchd_core::model::StreamId;
use dispatchd_core::model::envelope::{Draft, Timestamp};
use dispatchd_core::model::{CallError, Class, PartitionKey, Reason, Record};
use dispatchd_producer::lane::Aggregation;
use uuid::Uuid;

use super::endpoint::addresses;
use super::finding::Finding;
use crate::config::{Carried, Config, show_size};
#[cfg(feature = "local")]
use crate::embedded_stream::{Limits, Local, LocalError};

/// What is said of a check that could not be made.
pub(super) const NO_CREDENTIALS: &str = "not asked: there are no credentials";
pub(super) const CREDENTIALS_FIRST: &str = "see to the credentials first";

const DESCRIBE_ACTION: &str = "kinesis:DescribeStreamSummary";

/// The check of whether the stream keeps the order of a key.
const ORDER: &str = "order";

/// Makes every check that needs the network. With `local` the embedded stream is asked: the one
/// that listens on `local.port`, or one as `run` would start it.
pub(super) async fn check(config: &Config) -> Vec<Finding> {
    if config.local.is_some() {
        return check_local(config).await;
    }
    let kinesis = match Kinesis::connect(config.connection(None)).await {
        Ok(kinesis) => kinesis,
        Err(error) => {
            return vec![Finding::fail(
                "endpoint",
                error.to_string(),
                "correct what it names, and check again",
            )];
        }
    };
    let endpoint = kinesis.endpoint();
    let (provided, addresses) = tokio::join!(
        kinesis.credentials_info(),
        addresses(endpoint, config.kinesis.connect_timeout)
    );
    let mut findings = vec![credentials(&provided)];
    if provided.is_ok() {
        let (caller, stream, shards, write, wire) = tokio::join!(
            caller(&kinesis),
            stream(&kinesis, config),
            shards(&kinesis),
            write(&kinesis, config),
            wire(&kinesis, config)
        );
        findings.push(caller);
        findings.extend([where_to(&kinesis), addresses]);
        findings.extend(stream);
        findings.extend([shards, write]);
        findings.extend(wire);
    } else {
        findings.push(Finding::warn("caller", NO_CREDENTIALS, CREDENTIALS_FIRST));
        findings.extend([where_to(&kinesis), addresses]);
        findings.extend(
            ["stream", "shards", "write"]
                .map(|name| Finding::warn(name, NO_CREDENTIALS, CREDENTIALS_FIRST)),
        );
    }
    findings
}

/// Who asks, and where: credentials, caller, endpoint, and its addresses.
pub(super) async fn identity(kinesis: &Kinesis, config: &Config) -> Vec<Finding> {
    let (provided, addresses) = tokio::join!(
        kinesis.credentials_info(),
        addresses(kinesis.endpoint(), config.kinesis.connect_timeout)
    );
    let caller = match provided {
        Ok(_) => caller(kinesis).await,
        Err(_) => Finding::warn("caller", NO_CREDENTIALS, CREDENTIALS_FIRST),
    };
    vec![credentials(&provided), caller, where_to(kinesis), addresses]
}

/// Whether the stream is there and can be read.
pub(super) async fn stream_is_there(kinesis: &Kinesis) -> Finding {
    const NAME: &str = "stream";
    match kinesis.summary().await {
        Ok(summary) => of_status(NAME, &summary),
        Err(error) => {
            let level = if is_denied(&error) { Finding::warn } else { Finding::fail };
            level(NAME, error.to_string(), reader_advice(&error))
        }
    }
}

/// What a reader does about a call that failed.
pub(super) fn reader_advice(error: &CallError) -> String {
    match error.class {
        Class::Blocked(reason) => reason.advice_to_readers().to_owned(),
        _ => error.advice(error.operation),
    }
}

fn of_status(name: &'static str, summary: &Summary) -> Finding {
    let what = describe(summary);
    match summary.status.as_str() {
        "ACTIVE" | "UPDATING" => Finding::ok(name, what),
        "CREATING" => Finding::fail(name, what, "wait until the stream is ACTIVE"),
        _ => Finding::fail(name, what, "create the stream again, or name another one"),
    }
}

/// Asks the embedded stream, which has no identities and no permissions, so there is less to ask.
#[cfg(feature = "local")]
async fn check_local(config: &Config) -> Vec<Finding> {
    let (Some(wanted), StreamId::Name(name)) = (&config.local, &config.stream.id) else {
        unreachable!("with `local` the configuration has both")
    };
    let mut started = None;
    let url = match Local::start(wanted.port, wanted.shards, name, Limits::default()).await {
        Ok(local) => started.insert(local).endpoint().to_owned(),
        Err(LocalError::PortInUse(port)) => format!("http://127.0.0.1:{port}"), // one that runs
        Err(error) => {
            return vec![Finding::fail("stream", error.to_string(), "choose another local.port")];
        }
    };
    let endpoint = match &started {
        Some(_) => Finding::ok("endpoint", "an embedded stream, as `run --local` starts it"),
        None => Finding::ok("endpoint", format!("the embedded stream that listens at {url}")),
    };
    let kinesis =
        Kinesis::connect(config.connection(Some(url))).await.expect("its region is named");
    let (stream, shards, wire) =
        tokio::join!(stream(&kinesis, config), shards(&kinesis), wire(&kinesis, config));
    std::iter::once(endpoint).chain(stream).chain([shards]).chain(wire).collect()
}

#[cfg(not(feature = "local"))]
async fn check_local(_: &Config) -> Vec<Finding> {
    let error = crate::programs::daemon::StartError::WithoutLocal;
    vec![Finding::fail(
        "endpoint",
        error.to_string(),
        "leave out --local and name a stream with --stream",
    )]
}

fn credentials(provided: &Result<CredentialsInfo, CallError>) -> Finding {
    const NAME: &str = "credentials";
    let known = match provided {
        Ok(known) => known,
        Err(error) => {
            return Finding::fail(NAME, error.message.clone(), Reason::Credentials.advice());
        }
    };
    let Some(expiry) = known.expiry else {
        return Finding::ok(NAME, format!("{known}; they do not expire"));
    };
    let at = DateTime::<Utc>::from(expiry).to_rfc3339_opts(SecondsFormat::Secs, true);
    if expiry <= SystemTime::now() {
        let fix = "see why no new ones come (an old session token, a file that is not renewed), \
                   and check the clock";
        return Finding::fail(NAME, format!("{known}; they expired at {at}"), fix);
    }
    Finding::ok(NAME, format!("{known}; they expire at {at}"))
}

/// Asks STS who calls, unless only the stream's endpoint was moved away from AWS: credentials that
/// open an emulator are not to be sent to AWS's STS.
async fn caller(kinesis: &Kinesis) -> Finding {
    const NAME: &str = "caller";
    const FIX: &str =
        "for the caller's name alone: let the host reach STS, or set AWS_ENDPOINT_URL_STS";
    let sts = kinesis.sts_endpoint().await.unwrap_or_default();
    if is_on_aws(&sts) && !is_on_aws(kinesis.endpoint()) {
        let what = "not asked: the stream's endpoint is not AWS's, and STS's is";
        return Finding::warn(NAME, what, "set AWS_ENDPOINT_URL_STS if the server has an STS");
    }
    match kinesis.caller_arn().await {
        Ok(arn) => Finding::ok(NAME, arn),
        Err(error) => match error.class {
            Class::Blocked(reason) => Finding::warn(NAME, error.to_string(), reason.advice()),
            _ => Finding::warn(NAME, format!("not known, STS at {sts} does not say: {error}"), FIX),
        },
    }
}

fn where_to(kinesis: &Kinesis) -> Finding {
    Finding::ok("endpoint", format!("{}, region {}", kinesis.endpoint(), kinesis.region()))
}

/// Says what the stream is, and what that means for this configuration.
async fn stream(kinesis: &Kinesis, config: &Config) -> Vec<Finding> {
    const NAME: &str = "stream";
    let summary = match kinesis.summary().await {
        Ok(summary) => summary,
        Err(error) => {
            let level = if is_denied(&error) { Finding::warn } else { Finding::fail };
            let fix = error.advice(DESCRIBE_ACTION);
            let unknown = Finding::warn(
                ORDER,
                "not known whether the stream goes by partition keys: it is taken to do so, in \
                 order and aggregation",
                fix.clone(),
            );
            return vec![level(NAME, error.to_string(), fix), unknown];
        }
    };
    let mut findings = vec![of_status(NAME, &summary)];
    if let (Some(wanted), Some(limit)) = (config.stream.max_record_bytes, summary.record_bytes_max)
        && wanted > limit
    {
        let what = format!(
            "stream.max_record_bytes is {}, the stream takes {}",
            show_size(wanted),
            show_size(limit)
        );
        let fix = "leave it at auto, or raise the stream's limit (UpdateMaxRecordSize): larger \
                   events are accepted and then refused";
        findings.push(Finding::warn("record", what, fix));
    }
    if let Some(kib) = summary.impossible_record_kib {
        let limits = format!("{} to {}", show_size(RECORD_BYTES_MIN), show_size(RECORD_BYTES_MAX));
        let what = format!(
            "the stream tells a record limit of {kib} KiB, and streams have {limits}: it is taken \
             as not told"
        );
        let fix = "set stream.max_record_bytes to the stream's limit if you know it, and see what \
                   answers at the endpoint";
        findings.push(Finding::warn("record", what, fix));
    }
    let carried = Carried::of(config);
    if let Some(limit) = summary.record_bytes_max.filter(|limit| carried.record_bytes < *limit)
        && config.stream.max_record_bytes.is_none()
    {
        let (limit_shown, carried_shown) = (show_size(limit), show_size(carried.record_bytes));
        let what = format!(
            "the stream takes {limit_shown}, memory carries {carried_shown}: larger events are \
             refused"
        );
        findings.push(Finding::warn(
            "record",
            what,
            format!("to take them, {}", carried.to_carry(limit)),
        ));
    }
    if summary.ignores_keys {
        let off = match config.delivery.aggregation {
            Aggregation::Off => "",
            _ => "; delivery.aggregation is off there, since readers drop such records silently",
        };
        let what = format!(
            "the stream's record distribution strategy is AUTO: per-key order is the service's to \
             keep, not ours, and no shard is predicted or paced{off}"
        );
        let fix = "where the order of a key matters, set the strategy to USER_PARTITION_KEY";
        findings.push(Finding::warn(ORDER, what, fix));
    }
    findings
}

fn describe(summary: &Summary) -> String {
    let Summary { name, status, mode, open_shards, .. } = summary;
    let shards = if *open_shards == 1 { "open shard" } else { "open shards" };
    let limit = summary.record_bytes_max.map_or("of a size it does not tell".to_owned(), |bytes| {
        format!("of up to {}", show_size(bytes))
    });
    let encryption = summary
        .kms_key
        .as_ref()
        .map_or("not encrypted".to_owned(), |key| format!("encrypted with {key}"));
    format!("{name} is {status}, {mode}, {open_shards} {shards}, records {limit}, {encryption}")
}

async fn shards(kinesis: &Kinesis) -> Finding {
    const NAME: &str = "shards";
    match kinesis.open_shards().await {
        Ok(shards) if shards.is_empty() => {
            Finding::warn(NAME, "ListShards: none is open", "see what becomes of the stream")
        }
        Ok(shards) => Finding::ok(NAME, format!("ListShards is permitted, {} open", shards.len())),
        Err(error) => {
            let level = if is_denied(&error) { Finding::warn } else { Finding::fail };
            level(NAME, error.to_string(), error.advice("kinesis:ListShards"))
        }
    }
}

async fn write(kinesis: &Kinesis, config: &Config) -> Finding {
    const NAME: &str = "write";
    match kinesis.dry_run(&sample(config)).await {
        Ok(DryRun::Permitted) => {
            Finding::ok(NAME, "PutRecords is permitted, by a dry run: nothing was written")
        }
        Ok(DryRun::NotSent) => {
            let endpoint = kinesis.endpoint();
            let what = format!(
                "not probed: {endpoint} is not AWS's own, and a server that knows no dry run \
                 would write"
            );
            Finding::warn(NAME, what, "send an event with `dispatchd send` to a daemon that runs")
        }
        Ok(DryRun::Stored) => {
            let what = "PutRecords is permitted, but the service knew no dry run: one event of \
                        type dispatchd.check was written";
            Finding::warn(NAME, what, "let consumers pass over it")
        }
        Err(error) => Finding::fail(NAME, error.to_string(), error.advice("kinesis:PutRecords")),
    }
}

/// Says whether the server reads CBOR, where PutRecords are written so; `None` where they are not.
/// Every server reads JSON.
async fn wire(kinesis: &Kinesis, config: &Config) -> Option<Finding> {
    const NAME: &str = "wire";
    if config.kinesis.wire != Wire::Cbor {
        return None;
    }
    Some(match kinesis.check_wire().await {
        WireCheck::Read => Finding::ok(
            NAME,
            "the server reads CBOR, by a PutRecords without records: nothing was written",
        ),
        WireCheck::NotRead(error) => Finding::fail(
            NAME,
            format!("the server does not read CBOR, it would refuse every event: {error}"),
            "set kinesis.wire = \"json\"",
        ),
        WireCheck::NotKnown(error) => Finding::warn(
            NAME,
            format!("not known, a PutRecords in CBOR failed for something else: {error}"),
            "see to that first, or set kinesis.wire = \"json\"",
        ),
    })
}

/// Makes an event like any other, for a service that would store it after all.
fn sample(config: &Config) -> Record {
    let key = PartitionKey::of_id(Uuid::new_v4());
    let draft = Draft {
        id: Uuid::new_v4(),
        event_type: "dispatchd.check",
        data: "{}",
        timestamp: Timestamp::from(SystemTime::now()),
        user_id: None,
        producer_id: &config.producer_id,
        key: &key,
        more: None,
    };
    let data = draft.seal(draft.sealed_len());
    Record::new(key, None, data)
}

fn is_denied(error: &CallError) -> bool {
    error.class == Class::Blocked(Reason::AccessDenied)
}
