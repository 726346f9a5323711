//! Renders a forwarder's status as text: each target, and below it its shards. Pure.

use std::fmt::Write;

use super::status::{time, write_common};
use crate::terminal::on_one_line;
use dispatchd_core::wire::admin::{ForwardStatus, Target, TargetShard};

/// How many shards of a target are shown; the others are counted. Those that fail come first.
const SHARDS_SHOWN_MAX: usize = 20;

/// The lines that are printed.
pub(super) fn render(status: &ForwardStatus) -> String {
    let mut text = String::new();
    write_status(&mut text, status).expect("a String takes every text");
    text
}

fn write_status(text: &mut String, status: &ForwardStatus) -> std::fmt::Result {
    // Without `..`: a field that is not printed is a variable that is not used.
    let ForwardStatus {
        state,
        version,
        pid,
        started,
        uptime_seconds,
        stream,
        endpoint,
        region,
        targets,
        identity,
        credentials,
        log,
        last_reload,
    } = status;
    let up = time(*uptime_seconds as f64);
    writeln!(text, "dispatchd forward {version}  {state}  up {up}  since {started}  pid {pid}")?;
    writeln!(text, "stream    {stream}")?;
    writeln!(text, "endpoint  {endpoint}  region {region}")?;
    write_common(text, identity, credentials, log, last_reload)?;
    targets.iter().try_for_each(|target| write_target(text, target))
}

fn write_target(text: &mut String, target: &Target) -> std::fmt::Result {
    let Target { name, to, format, state, batch_size, behind_seconds, shards } = target;
    writeln!(
        text,
        "\ntarget    {name}  {state}  {} behind\n          {format} to {}, up to {batch_size} \
         records at once",
        time(*behind_seconds),
        on_one_line(to)
    )?;
    let mut shown: Vec<&TargetShard> = shards.iter().collect();
    shown.sort_by_key(|shard| shard.failing_seconds.is_none()); // stable: by their ids otherwise
    writeln!(text, "\n{:<24} {:<11} {:>9} {:>9}  LAST RESULT", "SHARD", "STATE", "BEHIND", "KEPT")?;
    for shard in shown.iter().take(SHARDS_SHOWN_MAX) {
        let TargetShard { id, state, last_result, failing_seconds, checkpoint, .. } = shard;
        let TargetShard { checkpoint_age_seconds, behind_seconds, in_flight, .. } = shard;
        let kept = checkpoint_age_seconds.map_or("-".to_owned(), time);
        let for_so_long =
            failing_seconds.map_or_else(String::new, |lasts| format!(", for {}", time(lasts)));
        let flying =
            if *in_flight > 0 { format!("  {in_flight} in flight") } else { String::new() };
        writeln!(
            text,
            "{id:<24} {state:<11} {:>9} {kept:>9}  {}{for_so_long}{flying}",
            time(*behind_seconds),
            on_one_line(last_result)
        )?;
        writeln!(text, "{:<24} at {}", "", checkpoint.as_deref().unwrap_or("the start"))?;
    }
    let more = shown.len().saturating_sub(SHARDS_SHOWN_MAX);
    if more > 0 {
        writeln!(text, "and {more} more: --json shows all")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dispatchd_core::wire::admin::{Identity, Log};

    fn shard(id: &str, failing_seconds: Option<f64>) -> TargetShard {
        let is_failing = failing_seconds.is_some();
        TargetShard {
            id: id.into(),
            state: if is_failing { "blocked" } else { "delivering" }.into(),
            last_result: if is_failing { "401: the target\nanswers 401" } else { "OK" }.into(),
            failing_seconds,
            checkpoint: Some("4959".into()),
            checkpoint_age_seconds: Some(1.0),
            behind_seconds: failing_seconds.unwrap_or(0.0),
            in_flight: 0,
        }
    }

    #[test]
    fn a_status_shows_each_target_and_first_the_shards_that_fail() {
        let status = ForwardStatus {
            state: "running".into(),
            version: "1.2.3".into(),
            pid: 7,
            started: "2026-11-21T03:00:00.000Z".into(),
            uptime_seconds: 3600,
            stream: "orders".into(),
            endpoint: "https://kinesis.eu-central-1.amazonaws.com".into(),
            region: "eu-central-1".into(),
            targets: vec![Target {
                name: "crm".into(),
                to: "http://127.0.0.1:3000/events/".into(),
                format: "record".into(),
                state: "blocked".into(),
                batch_size: 1,
                behind_seconds: 61.0,
                shards: vec![shard("shardId-0", None), shard("shardId-1", Some(61.0))],
            }],
            identity: Some(Identity {
                provider: "a web identity token (IRSA)".into(),
                key_id_end: "MPLE".into(),
                account: None,
            }),
            credentials: None,
            log: Log { level: "info".into(), reverts_seconds: None },
            last_reload: None,
        };
        let expected = "\
dispatchd forward 1.2.3  running  up 60 min  since 2026-11-21T03:00:00.000Z  pid 7
stream    orders
endpoint  https://kinesis.eu-central-1.amazonaws.com  region eu-central-1
login     a web identity token (IRSA)  access key …MPLE
log       info

target    crm  blocked  61 s behind
          record to http://127.0.0.1:3000/events/, up to 1 records at once

SHARD                    STATE          BEHIND      KEPT  LAST RESULT
shardId-1                blocked          61 s     1.0 s  401: the target answers 401, for 61 s
                         at 4959
shardId-0                delivering        0 s     1.0 s  OK
                         at 4959
";
        assert_eq!(render(&status), expected);
    }
}
