//! Renders a status as text, for a person at 3 a.m. Pure.

use std::fmt::Write;

use crate::terminal::on_one_line;
use dispatchd_core::wire::admin::{
    Blocked, Call, Credentials, Error, Identity, Lane, LaneStatus, Log, Outage, Reload, Schemas,
    Shard, Status,
};

/// How many shards are shown; the others are counted. Those with something to tell come first.
const SHARDS_SHOWN_MAX: usize = 20;

/// The lines that are printed.
pub(super) fn render(status: &Status) -> String {
    let mut text = String::new();
    write_status(&mut text, status).expect("a String takes every text");
    text
}

fn write_status(text: &mut String, status: &Status) -> std::fmt::Result {
    // Without `..`: a field that is not printed is a variable that is not used.
    let Status {
        state,
        version,
        pid,
        started,
        uptime_seconds,
        socket,
        loopback,
        connections,
        stream,
        buffer,
        events,
        inputs,
        transactions,
        lanes,
        outage,
        errors,
        identity,
        credentials,
        log,
        schemas,
        last_reload,
    } = status;
    writeln!(
        text,
        "dispatchd {version}  {state}  up {}  since {started}  pid {pid}",
        time(*uptime_seconds as f64)
    )?;
    let shards = stream
        .shards
        .map_or("shards not known".to_owned(), |shards| format!("{shards} open shards"));
    let carried = stream.record_bytes_carried;
    let records = stream.record_bytes_max.map_or("record limit not known".to_owned(), |takes| {
        format!("records up to {}", size(takes.min(carried)))
    });
    writeln!(text, "stream    {}  {shards}  {records}", stream.name)?;
    if let Some(takes) = stream.record_bytes_max.filter(|takes| carried < *takes) {
        writeln!(
            text,
            "!!        it takes {}, which our memory does not carry: raise memory.budget",
            size(takes)
        )?;
    }
    if stream.ignores_keys {
        writeln!(
            text,
            "          ignores keys (strategy AUTO): their order is not kept, nothing is aggregated"
        )?;
    }
    for (name, call) in
        [("ListShards", &stream.list_shards), ("DescribeStreamSummary", &stream.describe_stream)]
    {
        if let Call { last_ok, last_failed: Some(last), failures: 1.. } = call {
            let ok = last_ok.as_deref().unwrap_or("never");
            writeln!(
                text,
                "          {name} failed {} times in a row, last {last}; succeeded {ok}",
                call.failures
            )?;
        }
    }
    writeln!(text, "endpoint  {}  region {}", stream.endpoint, stream.region)?;
    writeln!(text, "socket    {}  {connections} connected", socket.display())?;
    if !loopback.is_empty() {
        let each = loopback.iter().map(|(input, address)| format!("{input} at {address}"));
        writeln!(text, "loopback  {}", each.collect::<Vec<_>>().join("  "))?;
    }
    let full = 100.0 * buffer.used_bytes as f64 / buffer.limit_bytes.max(1) as f64;
    writeln!(
        text,
        "buffer    {} of {} ({full:.0} %)  callers waited {}",
        size(buffer.used_bytes),
        size(buffer.limit_bytes),
        time(buffer.backpressure_seconds)
    )?;
    let refused: u64 = events.refused.values().sum();
    writeln!(
        text,
        "events    {} in flight, the oldest {} old  {} accepted  {} acked  {refused} refused",
        events.in_flight,
        time(events.oldest_age_seconds),
        events.accepted,
        events.acked
    )?;
    if events.staged + events.rolled_back > 0 {
        let (staged, rolled_back) = (events.staged, events.rolled_back);
        writeln!(text, "          {staged} staged in transactions  {rolled_back} rolled back")?;
    }
    if inputs.values().filter(|input| input.accepted > 0).count() > 1 {
        let shown = inputs.iter().map(|(name, input)| format!("{} {name}", input.accepted));
        writeln!(text, "          accepted by {}", shown.collect::<Vec<_>>().join("  "))?;
    }
    if transactions.open + transactions.ended.values().sum::<u64>() > 0 {
        let ended = transactions.ended.iter().filter(|(_, count)| **count > 0);
        let ended: String = ended.map(|(how, count)| format!("  {count} {how}")).collect();
        writeln!(text, "          {} transactions open{ended}", transactions.open)?;
    }
    for (code, count) in events.refused.iter().filter(|(_, count)| **count > 0) {
        writeln!(text, "          {count} {code}")?;
    }
    if let Some(Schemas { folder, mode, types, refused }) = schemas {
        writeln!(text, "schemas   {types} types from {}, mode {mode}", folder.display())?;
        if let Some(why) = refused {
            let why = on_one_line(why);
            writeln!(text, "          the folder as it is now is refused, these hold: {why}")?;
        }
    }
    write_common(text, identity, credentials, log, last_reload)?;
    let is_blocked = |lane: &Lane| matches!(lane, Lane::Ok(LaneStatus { blocked: Some(_), .. }));
    if let Some(outage) = outage.as_ref().filter(|_| !lanes.iter().any(is_blocked)) {
        write_outage(text, outage)?;
    }
    for lane in lanes {
        match lane {
            Lane::Unresponsive(why) => writeln!(text, "\n!! {why}")?,
            Lane::Ok(lane) => write_lane(text, lane)?,
        }
    }
    write_errors(text, errors)
}

/// Whose requests they are, the log's level, and the last reload: what a daemon and a forwarder
/// have in common.
pub(super) fn write_common(
    text: &mut String,
    identity: &Option<Identity>,
    credentials: &Option<Credentials>,
    log: &Log,
    last_reload: &Option<Reload>,
) -> std::fmt::Result {
    if let Some(Identity { provider, key_id_end, account }) = identity {
        let account =
            account.as_ref().map(|account| format!("  account {account}")).unwrap_or_default();
        writeln!(text, "login     {provider}  access key …{key_id_end}{account}")?;
    } else {
        writeln!(text, "login     no credentials")?;
    }
    if let Some(Credentials { expire, in_seconds }) = credentials {
        writeln!(
            text,
            "          the credentials expire {expire}, in {}",
            time(*in_seconds as f64)
        )?;
    }
    let reverts = log
        .reverts_seconds
        .map(|left| format!(" for another {}", time(left as f64)))
        .unwrap_or_default();
    writeln!(text, "log       {}{reverts}", log.level)?;
    if let Some(reload) = last_reload {
        match &reload.error {
            None => writeln!(text, "reloaded  {}", reload.at)?,
            Some(problems) => writeln!(
                text,
                "reload    refused {}, the old configuration holds: {problems}",
                reload.at
            )?,
        }
        if !reload.needs_restart.is_empty() {
            writeln!(text, "          needs a restart: {}", reload.needs_restart.join(", "))?;
        }
    }
    Ok(())
}

fn write_outage(text: &mut String, outage: &Outage) -> std::fmt::Result {
    let Outage { cause, meaning, advice, lasts_seconds, requests_failed } = outage;
    let lasts = time(*lasts_seconds);
    writeln!(
        text,
        "\n!! nothing was stored for {lasts}, {requests_failed} requests failed: {meaning} \
         ({cause})"
    )?;
    writeln!(text, "!! to do: {advice}")
}

fn write_lane(text: &mut String, lane: &LaneStatus) -> std::fmt::Result {
    let LaneStatus {
        requests,
        request_bytes,
        keys,
        keys_cooling,
        keys_held_by_order,
        blocked,
        shards,
    } = lane;
    writeln!(
        text,
        "requests  {requests} in flight, {}  {keys} keys  {keys_cooling} cooling  \
         {keys_held_by_order} held by order",
        size(*request_bytes)
    )?;
    if let Some(Blocked { reason, advice, since_seconds, probes_failed, next_probe_seconds }) =
        blocked
    {
        writeln!(
            text,
            "\n!! the stream takes nothing: {reason}, for {}. Tried {probes_failed} times since, \
             again in {}\n!! to do: {advice}; then `dispatchd admin reload` tries at once",
            time(*since_seconds),
            time(*next_probe_seconds)
        )?;
    }
    let mut shards: Vec<&Shard> = shards.iter().collect();
    shards.sort_by_key(|shard| !is_slowed(shard)); // stable: in the order of the ring otherwise
    writeln!(
        text,
        "\n{:<24} {:>8}  {:<14} {:>6}  {:>9}",
        "SHARD", "WAITING", "STATE", "PACE", "THROTTLED"
    )?;
    for shard in shards.iter().take(SHARDS_SHOWN_MAX) {
        let Shard { id, ready, rests_seconds, pace, throttled_share } = shard;
        let state = match (rests_seconds, pace) {
            (Some(left), _) => format!("cooling {}", time(*left)),
            (None, Some(_)) => "paced".to_owned(),
            (None, None) => "free".to_owned(),
        };
        let percent = |part: &Option<f64>| {
            part.map_or("-".to_owned(), |part| format!("{:.1} %", 100.0 * part))
        };
        let id = id.as_deref().unwrap_or("(not known)");
        writeln!(
            text,
            "{id:<24} {ready:>8}  {state:<14} {:>6}  {:>9}",
            pace_of(pace),
            percent(throttled_share)
        )?;
    }
    let more = shards.len().saturating_sub(SHARDS_SHOWN_MAX);
    if more > 0 {
        writeln!(text, "and {more} more: --json shows all")?;
    }
    Ok(())
}

/// A pace in parts of what one shard takes.
fn pace_of(pace: &Option<f64>) -> String {
    pace.map_or("-".to_owned(), |pace| format!("{:.0} %", 100.0 * pace))
}

fn is_slowed(shard: &Shard) -> bool {
    shard.pace.is_some()
        || shard.rests_seconds.is_some()
        || shard.throttled_share.is_some_and(|share| share > 0.0)
}

fn write_errors(text: &mut String, errors: &[Error]) -> std::fmt::Result {
    if errors.is_empty() {
        return writeln!(text, "\nno errors");
    }
    writeln!(text, "\nerrors, the last one first")?;
    for Error { call, code, message, last, count, .. } in errors.iter().rev() {
        writeln!(text, "{last}  {count} x  {call} {code}: {}", on_one_line(message))?;
    }
    Ok(())
}

/// A time with its two leading digits: nobody reads more.
pub(super) fn time(seconds: f64) -> String {
    match seconds {
        0.0 => "0 s".to_owned(),
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", s / 3600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}

fn size(bytes: usize) -> String {
    match bytes {
        bytes if bytes < 10 * 1024 => format!("{bytes} B"),
        bytes if bytes < 10 * 1024 * 1024 => format!("{:.0} KiB", bytes as f64 / 1024.0),
        bytes => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dispatchd_core::wire::admin::{Buffer, Events, Input, Log, Reload, Stream, Transactions};

    fn shard(id: usize, pace: Option<f64>) -> Shard {
        let id = Some(format!("shardId-{id:012}"));
        Shard { id, ready: 3, rests_seconds: None, pace, throttled_share: pace.map(|_| 0.025) }
    }

    fn status(shards: Vec<Shard>) -> Status {
        Status {
            state: "running".into(),
            version: "1.2.3".into(),
            pid: 7,
            started: "2026-11-21T03:00:00.000Z".into(),
            uptime_seconds: 3_600,
            socket: "/run/d.sock".into(),
            loopback: [("kinesis_api".to_owned(), "127.0.0.1:4568".to_owned())].into(),
            connections: 2,
            stream: Stream {
                name: "orders".into(),
                endpoint: "https://kinesis.eu-central-1.amazonaws.com".into(),
                region: "eu-central-1".into(),
                shards: Some(shards.len()),
                record_bytes_max: Some(1 << 20),
                ignores_keys: false,
                list_shards: Call {
                    last_ok: Some("2026-11-21T03:58:00.000Z".into()),
                    last_failed: None,
                    failures: 0,
                },
                describe_stream: Call {
                    last_ok: None,
                    last_failed: Some("2026-11-21T03:59:00.000Z".into()),
                    failures: 3,
                },
                record_bytes_carried: 1 << 23,
            },
            buffer: Buffer {
                used_bytes: 1 << 20,
                limit_bytes: 64 << 20,
                backpressure_seconds: 0.0,
            },
            events: Events {
                accepted: 17,
                acked: 7,
                refused: [("DeliveryTimeout".to_owned(), 1), ("Rejected".to_owned(), 0)].into(),
                rolled_back: 4,
                in_flight: 2,
                staged: 3,
                oldest_age_seconds: 1.5,
            },
            inputs: [("http", 2), ("kinesis_api", 0), ("ndjson", 15)]
                .map(|(name, accepted)| (name.to_owned(), Input { accepted, in_flight: 0 }))
                .into(),
            transactions: Transactions {
                open: 1,
                ended: [("committed".to_owned(), 4), ("cut".to_owned(), 0)].into(),
            },
            lanes: vec![Lane::Ok(LaneStatus {
                requests: 1,
                request_bytes: 2048,
                keys: 2,
                keys_cooling: 0,
                keys_held_by_order: 1,
                blocked: Some(Blocked {
                    reason: "kms".into(),
                    advice: "enable the key".into(),
                    since_seconds: 61.0,
                    probes_failed: 4,
                    next_probe_seconds: 2.0,
                }),
                shards,
            })],
            outage: Some(Outage {
                cause: "connection_refused".into(),
                meaning: "nobody listens".into(),
                advice: "correct it".into(),
                lasts_seconds: 61.0,
                requests_failed: 5,
            }),
            errors: vec![Error {
                call: "PutRecords".into(),
                code: "KMSDisabledException".into(),
                message: "off\nno errors".into(),
                first: "2026-11-21T03:59:00.000Z".into(),
                last: "2026-11-21T04:00:00.000Z".into(),
                count: 5,
            }],
            identity: Some(Identity {
                provider: "a web identity token (IRSA)".into(),
                key_id_end: "MPLE".into(),
                account: Some("123456789012".into()),
            }),
            credentials: Some(Credentials {
                expire: "2026-11-21T06:00:00.000Z".into(),
                in_seconds: 7_200,
            }),
            log: Log { level: "debug".into(), reverts_seconds: Some(90) },
            schemas: Some(Schemas {
                folder: "/schemas".into(),
                mode: "enforce".into(),
                types: 12,
                refused: Some("A.schema.json: it is not JSON".into()),
            }),
            last_reload: Some(Reload {
                at: "2026-11-21T03:30:00.000Z".into(),
                error: None,
                applied: Vec::new(),
                needs_restart: vec!["socket.window".into()],
            }),
        }
    }

    #[test]
    fn a_status_reads_from_the_whole_to_the_parts() {
        let text = render(&status(vec![shard(0, None), shard(1, Some(0.42))]));
        let expected = "\
dispatchd 1.2.3  running  up 60 min  since 2026-11-21T03:00:00.000Z  pid 7
stream    orders  2 open shards  records up to 1024 KiB
          DescribeStreamSummary failed 3 times in a row, last 2026-11-21T03:59:00.000Z; \
succeeded never
endpoint  https://kinesis.eu-central-1.amazonaws.com  region eu-central-1
socket    /run/d.sock  2 connected
loopback  kinesis_api at 127.0.0.1:4568
buffer    1024 KiB of 64.0 MiB (2 %)  callers waited 0 s
events    2 in flight, the oldest 1.5 s old  17 accepted  7 acked  1 refused
          3 staged in transactions  4 rolled back
          accepted by 2 http  0 kinesis_api  15 ndjson
          1 transactions open  4 committed
          1 DeliveryTimeout
schemas   12 types from /schemas, mode enforce
          the folder as it is now is refused, these hold: A.schema.json: it is not JSON
login     a web identity token (IRSA)  access key …MPLE  account 123456789012
          the credentials expire 2026-11-21T06:00:00.000Z, in 2 h
log       debug for another 90 s
reloaded  2026-11-21T03:30:00.000Z
          needs a restart: socket.window
requests  1 in flight, 2048 B  2 keys  0 cooling  1 held by order

!! the stream takes nothing: kms, for 61 s. Tried 4 times since, again in 2.0 s
!! to do: enable the key; then `dispatchd admin reload` tries at once

SHARD                     WAITING  STATE            PACE  THROTTLED
shardId-000000000001            3  paced            42 %      2.5 %
shardId-000000000000            3  free                -          -

errors, the last one first
2026-11-21T04:00:00.000Z  5 x  PutRecords KMSDisabledException: off no errors
";
        assert_eq!(text, expected);
    }

    #[test]
    fn an_outage_is_told_with_its_cause_unless_a_lane_tells_of_the_block() {
        let mut status = status(Vec::new());
        status.lanes.clear();
        let text = render(&status);
        let told = "\n\n!! nothing was stored for 61 s, 5 requests failed: nobody listens \
                    (connection_refused)\n!! to do: correct it\n";
        assert!(text.contains(told), "{text}");
    }

    #[test]
    fn a_stream_that_takes_more_than_our_memory_carries_is_told() {
        let mut status = status(Vec::new());
        status.stream.record_bytes_max = Some(10 << 20);
        let text = render(&status);
        assert!(
            text.contains(
                "records up to 8192 KiB\n!!        it takes 10.0 MiB, which our memory \
                           does not carry"
            ),
            "{text}"
        );
    }

    #[test]
    fn of_many_shards_those_that_are_slowed_are_shown() {
        let mut shards: Vec<Shard> = (0..1_000).map(|id| shard(id, None)).collect();
        shards[999].rests_seconds = Some(0.2);
        let text = render(&status(shards));
        assert!(text.contains("shardId-000000000999") && text.contains("cooling 0.2 s"), "{text}");
        assert!(text.contains("and 980 more: --json shows all"), "{text}");
    }

    #[test]
    fn a_stream_that_ignores_keys_and_tells_no_limit_is_shown_as_such() {
        let mut status = status(Vec::new());
        (status.stream.record_bytes_max, status.stream.ignores_keys) = (None, true);
        let text = render(&status);
        assert!(
            text.contains(
                "0 open shards  record limit not known\n          ignores keys (strategy AUTO)"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_lane_that_says_nothing_is_news() {
        let mut status = status(Vec::new());
        status.lanes = vec![Lane::Unresponsive("the lane did not answer within 1 s".into())];
        assert!(render(&status).contains("!! the lane did not answer within 1 s"));
    }
}
