//! The metrics as an operator has them: scraped by a real Prometheus, asked through its API,
//! alerted on, drawn, described.
//!
//! What each number counts is held where the thing happens (`wire`, `delivery`, `blocked`, …).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use testkit::aws::serve;
use testkit::daemon::{Caller, Daemon, event};
use testkit::fault::FaultServer;
use testkit::fault::plan::{Fault, Plan, Poison, RecordError, Refusal};
use testkit::kinesis::Ferro;
use testkit::prometheus::{Prometheus, promtool};
use testkit::stream::{create_stream, entry, put};
use testkit::truth::numbered_lines;
use testkit::{client, eventually};
use tokio_util::task::AbortOnDropHandle;

use crate::DISPATCHD;

/// Series of one daemon, at most: what a scrape costs is paid for every pod.
const SERIES_MAX: usize = 280;

/// The counters that no test can see at another value than 0: a daemon that gives events up ends.
const SEEN_BY_NOBODY: &str =
    "dispatchd_events_refused_total{code=\"ShuttingDown\",input=\"ndjson\"}";
/// The one that moves where files run out: `process::limits` of the whole daemon has it.
const FILES_ARE_LEFT: &str = "dispatchd_connections_refused_total{reason=\"open_files\"}";
/// The one that moves where nobody reads the log: `log` of the whole daemon has it.
const LOG_IS_READ: &str = "dispatchd_log_lines_dropped_total";

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every series of a page, with its value.
fn series(page: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').expect("a name and a value"))
        .map(|(name, value)| (name.to_owned(), value.parse().expect("values are numbers")))
        .collect()
}

async fn scrape(daemon: &Daemon) -> BTreeMap<String, f64> {
    series(&daemon.get("/metrics").await.1)
}

fn assert_no_series_came_or_went(
    before: &BTreeMap<String, f64>,
    now: &BTreeMap<String, f64>,
    when: &str,
) {
    let (before, now): (BTreeSet<_>, BTreeSet<_>) = (before.keys().collect(), now.keys().collect());
    let other: Vec<_> = before.symmetric_difference(&now).collect();
    assert!(other.is_empty(), "{when}, only before or only now: {other:?}");
}

/// The expressions of every panel, with Grafana's variables filled in.
fn panels(rate_interval: &str) -> Vec<(String, String)> {
    let dashboard: Value =
        serde_json::from_str(&read("deploy/dashboard.json")).expect("it is JSON");
    let panels = dashboard["panels"].as_array().expect("it has panels").iter();
    panels
        .flat_map(|panel| {
            let title = panel["title"].as_str().expect("panels have titles").to_owned();
            let targets = panel["targets"].as_array().cloned().unwrap_or_default(); // a row has none
            targets.into_iter().map(move |target| {
                (title.clone(), target["expr"].as_str().expect("a query").to_owned())
            })
        })
        .map(|(title, expr)| {
            let filled = expr
                .replace("$__rate_interval", rate_interval)
                .replace("$job", ".+")
                .replace("$instance", ".+");
            assert!(!filled.contains('$'), "{title}: a variable that nobody fills in: {filled}");
            (title, filled)
        })
        .collect()
}

/// The names of metrics in a text of PromQL.
fn metrics_named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("dispatchd_") || word.starts_with("process_")).collect()
}

/// The values of a key in `deploy/alerts.yaml`, which has one a line.
fn in_alerts(alerts: &str, key: &str) -> Vec<String> {
    let values = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- ").unwrap_or(line.trim()).strip_prefix(key));
    values.map(|value| value.trim_start_matches(':').trim().to_owned()).collect()
}

#[tokio::test]
async fn every_series_is_there_before_traffic_moves_in_its_case_and_is_drawn_and_alerted_on() {
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    create_stream(&client(&ferro.endpoint()), "s", 2).await;
    // Until the shards are known; a failure that passes, so that they are asked for again at once.
    server.set(Plan {
        denied: [("ListShards".to_owned(), Refusal::internal())].into(),
        ..Plan::default()
    });
    let schemas = schemas();
    let start = DISPATCHD
        .daemon(&server.endpoint(), "s")
        .set("schema.dir", schemas.path().display())
        .set("schema.mode", "enforce")
        .set("schema.types", "Loose=warn")
        .set("schema.raw", "reject")
        .set("memory.budget", "4MiB")
        .set("transaction.timeout", "5s")
        .set("delivery.timeout", "10s");
    // So that aggregates can be taken apart.
    let daemon =
        start.set("socket.max_connections", 3).set("delivery.aggregation", "key").start().await;
    let before = scrape(&daemon).await;
    assert!(before.len() < SERIES_MAX, "{} series", before.len());
    let Some(prometheus) =
        Prometheus::start(daemon.admin(), &repository("deploy/alerts.yaml")).await
    else {
        return;
    };
    prometheus.eventually("dispatchd_events_accepted_total == 0").await;
    eventually("the shards were asked for in vain", async || {
        (daemon.metric("dispatchd_shard_map_refreshes_total{outcome=\"error\"}").await > 0.0)
            .then_some(())
    })
    .await;
    server.set(Plan::default());
    prometheus.eventually("dispatchd_shards == 2").await;

    let answers = daemon.connect().await.pipeline(numbered_lines(2_000, 200)).await;
    assert!(answers.iter().all(|answer| answer["ok"] == true));
    prometheus
        .eventually("dispatchd_events_acked_total == 2000 and dispatchd_events_in_flight == 0")
        .await;
    prometheus.eventually("dispatchd_ack_duration_seconds_bucket{le=\"+Inf\"} == 2000").await;
    assert_no_series_came_or_went(&before, &scrape(&daemon).await, "after traffic");

    refuse_and_retry(&daemon, &server).await;
    block_until_events_are_given_up(&daemon, &server).await;
    let after = scrape(&daemon).await;
    assert_no_series_came_or_went(&before, &after, "after faults");
    let of_ndjson = |name: &str| {
        let is_of_one = name.contains("input=") || name.starts_with("dispatchd_kinesis_api_");
        !is_of_one || name.contains("input=\"ndjson\"")
    };
    let still: Vec<_> = after
        .iter()
        .filter(|(name, value)| is_counter(name) && of_ndjson(name) && **value == 0.0)
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        still,
        [FILES_ARE_LEFT, SEEN_BY_NOBODY, LOG_IS_READ],
        "a counter did not move in its case"
    );

    prometheus.eventually("dispatchd_events_refused_total{code=\"DeliveryTimeout\"} > 0").await;
    // Over all of the time, not only now: what came and went would be here.
    let ever = prometheus
        .ask(
            "series",
            "match[]=%7Bjob%3D%22dispatchd%22%2C__name__%3D~%22(dispatchd|process)_.%2B%22%7D",
        )
        .await;
    assert_eq!(ever.as_array().map(Vec::len), Some(before.len()));
    assert_eq!(
        prometheus.query("max_over_time(scrape_samples_scraped[10m])").await[0]["value"][1],
        before.len().to_string()
    );
    every_panel_shows_something(&prometheus).await;
    the_alerts_that_fire_are_those_of_what_happened(&prometheus).await;
}

fn is_counter(name: &str) -> bool {
    name.starts_with("dispatchd_")
        && name.split('{').next().is_some_and(|name| name.ends_with("_total"))
}

/// Whatever can become of a record and a request but that the stream is blocked, and whatever is
/// turned away.
async fn refuse_and_retry(daemon: &Daemon, server: &FaultServer) {
    let id = "6f9d1b3e-0000-4000-8000-000000000001";
    let chosen = format!(
        "{{\"type\":\"t\",\"data\":{{}},\"options\":{{\"partitionKey\":\"k\",\"id\":\"{id}\"}}}}"
    );
    let long = |bytes: usize| event(1, "long", &format!("{{\"a\":\"{}\"}}", "x".repeat(bytes)));
    let mut caller = daemon.connect_with_limit(1 << 20).await;
    for fault in [
        Fault::FailAll(RecordError::Throttled),
        Fault::FailAll(RecordError::Internal),
        Fault::Refuse(Refusal::throttled()),
        Fault::Refuse(Refusal::unavailable()),
    ] {
        server.next(fault);
        assert_eq!(caller.ask(&event(1, "k", "{}")).await["ok"], true);
    }
    assert_eq!(caller.ask(&chosen).await["ok"], true);
    assert_eq!(caller.ask(&chosen).await["deduplicated"], true);
    let other = chosen.replace("\"data\":{}", "\"data\":{\"another\":1}");
    assert_eq!(caller.ask(&other).await["error"]["code"], "IdReused");
    assert_eq!(caller.ask("{").await["error"]["code"], "InvalidRequest");
    refuse_what_does_not_fit(&mut caller).await;
    assert_eq!(caller.ask(&long(1_048_576)).await["error"]["code"], "EventTooLarge");
    server.set(Plan {
        poison: Some(Poison { max_record_bytes: 8_000, named: true }),
        ..Plan::default()
    });
    caller.send(&format!("{}\n{}", event(1, "long", "{}"), long(10_000))).await;
    let answers = [caller.answer().await, caller.answer().await];
    assert!(answers.iter().any(|answer| answer["ok"] == true), "{answers:?}");
    assert!(answers.iter().any(|answer| answer["error"]["code"] == "Rejected"), "{answers:?}");
    server.set(Plan::default());
    end_transactions(daemon, &mut caller).await;
    let _others = [daemon.connect().await, daemon.connect().await];
    assert_eq!(daemon.connect().await.answer().await["error"]["code"], "Overloaded");
}

/// A folder with a schema for each of two types, which admits no property.
fn schemas() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary directory");
    for name in ["Strict", "Loose"] {
        let path = folder.path().join(format!("{name}.schema.json"));
        std::fs::write(path, "{\"additionalProperties\":false}").expect("there is room");
    }
    folder
}

/// Whatever can become of an event that does not fit its schema. Those of the other types have
/// none.
async fn refuse_what_does_not_fit(caller: &mut Caller) {
    let line = |name: &str| format!("{{\"type\":\"{name}\",\"data\":{{\"a\":1}}}}");
    assert_eq!(caller.ask(&line("Loose")).await["ok"], true);
    assert_eq!(caller.ask(&line("Strict")).await["error"]["code"], "SchemaViolation");
    let refused = caller.ask("{\"record\":{\"a\":1}}").await;
    assert_eq!(refused["error"]["code"], "NoSchema", "{refused}");
}

/// Whatever can become of a transaction, and of an event in one.
async fn end_transactions(daemon: &Daemon, caller: &mut Caller) {
    let line = |op: &str, tx: &str| format!("{{\"op\":\"{op}\",\"tx\":\"{tx}\"}}");
    let staged = |bytes: usize| {
        event(1, "k", &format!("{{\"a\":\"{}\"}}", "x".repeat(bytes))).replacen(
            '{',
            "{\"tx\":\"t\",",
            1,
        )
    };
    for end in ["commit", "rollback"] {
        assert_eq!(caller.ask(&line("begin", "t")).await["ok"], true);
        assert_eq!(caller.ask(&staged(1)).await["staged"], true);
        assert_eq!(caller.ask(&line(end, "t")).await["ok"], true);
    }
    assert_eq!(caller.ask(&staged(1)).await["error"]["code"], "TransactionEnded");
    // One may stage a quarter of the budget, and all of them half of it.
    let mut others = [daemon.connect().await, daemon.connect().await];
    for other in &mut others {
        assert_eq!(other.ask(&line("begin", "t")).await["ok"], true);
        assert_eq!(other.ask(&staged(900_000)).await["staged"], true);
        assert_eq!(other.ask(&staged(900_000)).await["error"]["code"], "TransactionTooLarge");
    }
    assert_eq!(caller.ask(&line("begin", "t")).await["ok"], true);
    assert_eq!(caller.ask(&staged(900_000)).await["error"]["code"], "Overloaded");
    eventually("those that are left open are rolled back", async || {
        (daemon.metric("dispatchd_transactions_total{outcome=\"timed_out\"}").await >= 3.0)
            .then_some(())
    })
    .await;
    let [mut one, other] = others;
    drop(other);
    assert_eq!(one.ask(&line("begin", "t")).await["ok"], true);
    drop(one);
    eventually("one is cut", async || {
        (daemon.metric("dispatchd_transactions_total{outcome=\"cut\"}").await > 0.0).then_some(())
    })
    .await;
    eventually("the places are free", async || {
        (daemon.metric("dispatchd_connections").await == 1.0).then_some(())
    })
    .await;
}

/// A stream that takes nothing, two callers with more than the budget holds, and then a stream that
/// does again.
async fn block_until_events_are_given_up(daemon: &Daemon, server: &FaultServer) {
    eventually("the callers before are gone", async || {
        (daemon.metric("dispatchd_connections").await == 0.0).then_some(())
    })
    .await;
    server.set(Plan {
        denied: [("PutRecords".to_owned(), Refusal::access_denied())].into(),
        ..Plan::default()
    });
    let text = "x".repeat(2_000);
    let lines: String = (0..2_000)
        .map(|n| event(n, &format!("k{n}"), &format!("{{\"a\":\"{text}\"}}")) + "\n")
        .collect();
    let callers =
        [daemon.connect().await.pipeline(lines.clone()), daemon.connect().await.pipeline(lines)];
    let callers = callers.map(tokio::spawn);
    eventually("events are given up", async || {
        (daemon.metric("dispatchd_events_refused_total{code=\"DeliveryTimeout\"}").await > 0.0)
            .then_some(())
    })
    .await;
    server.set(Plan::default());
    for caller in callers {
        assert_eq!(caller.await.expect("the caller does not panic").len(), 2_000);
    }
}

async fn every_panel_shows_something(prometheus: &Prometheus) {
    for (title, expr) in panels("1m").into_iter().filter(|(_, expr)| !is_of_forward(expr)) {
        // Credentials from the environment do not expire: then there is nothing to see.
        if title != "Credentials" {
            assert!(!prometheus.query(&expr).await.is_empty(), "{title} shows nothing: {expr}");
        }
    }
}

async fn the_alerts_that_fire_are_those_of_what_happened(prometheus: &Prometheus) {
    let expected = json!([
        ["DispatchdConnectionsRefused", "max_connections"],
        ["DispatchdEventsRefused", "EventTooLarge"],
        ["DispatchdEventsRefused", "IdReused"],
        ["DispatchdEventsRefused", "InvalidRequest"],
        ["DispatchdEventsRefused", "NoSchema"],
        ["DispatchdEventsRefused", "Rejected"],
        ["DispatchdEventsRefused", "SchemaViolation"],
        ["DispatchdEventsRefused", "TransactionTooLarge"],
        ["DispatchdEventsUnconfirmed", null],
        ["DispatchdTransactionsLeftOpen", null],
    ]);
    eventually("the alerts without a wait fire", async || {
        let alerts = prometheus.ask("alerts", "").await;
        let firing = alerts["alerts"].as_array()?.iter().filter(|alert| alert["state"] == "firing");
        let mut firing: Vec<_> = firing
            .map(|alert| {
                let labels = &alert["labels"];
                let detail =
                    if labels["code"].is_null() { &labels["reason"] } else { &labels["code"] };
                json!([labels["alertname"], detail])
            })
            .collect();
        firing.sort_by_key(Value::to_string);
        (json!(firing) == expected).then_some(())
    })
    .await;
    let rules = prometheus.ask("rules", "").await;
    let rules = rules["groups"][0]["rules"].as_array().expect("a list");
    assert!(rules.iter().all(|rule| rule["health"] == "ok"), "{rules:#?}");
}

#[tokio::test]
async fn the_page_passes_promtools_lint() {
    let ferro = Ferro::start(false).await;
    let daemon = DISPATCHD.daemon(&ferro.endpoint(), "s").start().await;
    let (_app, forwarder) = forwarder(&ferro).await;
    for program in [daemon, forwarder] {
        let page = program.get("/metrics").await.1;
        let Some(output) = promtool(&["check", "metrics"], &page).await else { return };
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
    }
}

/// A forwarder with a target of each kind, and the server that is one of them.
async fn forwarder(ferro: &Ferro) -> (AbortOnDropHandle<()>, Daemon) {
    let client = client(&ferro.endpoint());
    create_stream(&client, "forwarded", 1).await;
    put(&client, "forwarded", vec![entry("k", "{\"type\":\"t\",\"data\":{}}")]).await;
    let app = axum::Router::new().route("/", axum::routing::post(async || "done"));
    let (url, app) = serve(app).await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("config.toml");
    let targets = format!(
        "[[forward.target]]\nname = \"app\"\nurl = {url:?}\nfrom = \"trim-horizon\"\n\
         [[forward.target]]\nname = \"program\"\nexec = \"sleep 1000\"\n"
    );
    std::fs::write(&file, targets).expect("it is ours");
    let path = file.to_str().expect("it is UTF-8");
    let start = DISPATCHD.forward(&ferro.endpoint(), "forwarded").args(["--config", path]);
    (app, start.start_at(dir).await)
}

/// What a daemon and a forwarder show.
async fn pages(ferro: &Ferro) -> String {
    let daemon = DISPATCHD.daemon(&ferro.endpoint(), "s").start().await;
    let (_app, forwarder) = forwarder(ferro).await;
    daemon.get("/metrics").await.1 + &forwarder.get("/metrics").await.1
}

#[tokio::test]
async fn the_panels_of_forward_show_what_a_forwarder_does() {
    let ferro = Ferro::start(false).await;
    let (_app, forwarder) = forwarder(&ferro).await;
    let rules = repository("deploy/alerts.yaml");
    let Some(prometheus) = Prometheus::start(forwarder.admin(), &rules).await else { return };
    prometheus.eventually("dispatchd_forward_records_total{outcome=\"delivered\"} == 1").await;
    for (title, expr) in panels("1m").into_iter().filter(|(_, expr)| is_of_forward(expr)) {
        eventually(&title, async || (!prometheus.query(&expr).await.is_empty()).then_some(()))
            .await;
    }
}

fn is_of_forward(expr: &str) -> bool {
    expr.contains("dispatchd_forward_")
}

/// What is said of a metric: type, help, and each label with its values.
#[derive(Debug, Default, PartialEq)]
struct Said {
    kind: String,
    help: String,
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// A page, as `docs/metrics.md` would describe it.
fn exposed(page: &str) -> BTreeMap<String, Said> {
    let mut metrics: BTreeMap<String, Said> = BTreeMap::new();
    for line in page.lines() {
        let about = |prefix| line.strip_prefix(prefix).and_then(|rest: &str| rest.split_once(' '));
        if let Some((name, help)) = about("# HELP ") {
            metrics.entry(name.to_owned()).or_default().help = help.to_owned();
        } else if let Some((name, kind)) = about("# TYPE ") {
            metrics.entry(name.to_owned()).or_default().kind = kind.to_owned();
        }
    }
    for series in series(page).keys() {
        let Some((name, labels)) = series.trim_end_matches('}').split_once('{') else { continue };
        let parts = ["_bucket", "_sum", "_count"];
        let whole = parts.iter().find_map(|part| name.strip_suffix(part));
        let name = whole.filter(|whole| metrics.contains_key(*whole)).unwrap_or(name);
        for label in labels.split(',') {
            let (label, value) = label.split_once('=').expect("a label has a value");
            if label == "le" {
                continue; // a histogram's own
            }
            let metric = metrics.get_mut(name).expect("it has a help text");
            let values = metric.labels.entry(label.to_owned()).or_default();
            // The version is this build's, and targets are the operator's: a page cannot name them.
            let is_named = !["version", "target"].contains(&label);
            values.extend(is_named.then(|| value.trim_matches('"').to_owned()));
        }
    }
    metrics
}

/// The tables of `docs/metrics.md`.
fn documented(page: &str) -> BTreeMap<String, Said> {
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        // The first is what stands before the row.
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let [_, name, kind, labels, help, ..] = cells[..] else { panic!("{row}: too few cells") };
        let labels = labels.split(';').filter_map(|label| {
            let words = label.split(['`', ' ', ':']).filter(|word| !word.is_empty());
            let mut words = words.map(str::to_owned);
            words.next().map(|label| (label, words.collect()))
        });
        let labels = labels.collect();
        (
            name.trim_matches('`').to_owned(),
            Said { kind: kind.to_owned(), help: help.to_owned(), labels },
        )
    })
    .collect()
}

#[tokio::test]
async fn docs_metrics_md_has_every_metric_with_its_type_labels_and_help_and_no_other() {
    let ferro = Ferro::start(false).await;
    let exposed = exposed(&pages(&ferro).await);
    let documented = documented(&read("docs/metrics.md"));
    for (name, said) in &exposed {
        assert_eq!(documented.get(name), Some(said), "docs/metrics.md says otherwise of {name}");
    }
    let unknown: Vec<_> = documented.keys().filter(|name| !exposed.contains_key(*name)).collect();
    assert!(unknown.is_empty(), "docs/metrics.md has metrics that are not there: {unknown:?}");
}

#[tokio::test]
async fn alerts_dashboard_and_pages_name_only_metrics_that_are_there() {
    let ferro = Ferro::start(false).await;
    let page = pages(&ferro).await;
    let (series, metrics) = (series(&page), exposed(&page));
    let can_be_asked: BTreeSet<_> =
        series.keys().filter_map(|series| series.split('{').next()).collect();
    // A page may also speak of a histogram by its name, which is no series.
    let can_be_named =
        can_be_asked.iter().copied().chain(metrics.keys().map(String::as_str)).collect();
    for (path, there) in [
        ("deploy/alerts.yaml", &can_be_asked),
        ("deploy/alerts_test.yaml", &can_be_asked),
        ("deploy/dashboard.json", &can_be_asked),
        ("docs/metrics.md", &can_be_named),
        ("docs/operations.md", &can_be_named),
        ("docs/delivery.md", &can_be_named),
    ] {
        let text = read(path);
        let unknown: Vec<_> = metrics_named(&text).difference(there).copied().collect();
        assert!(unknown.is_empty(), "{path}: {unknown:?}");
    }
}

#[tokio::test]
async fn every_panel_is_valid_promql() {
    let rules: Vec<_> =
        panels("5m").iter().map(|(_, expr)| json!({ "record": "panel", "expr": expr })).collect();
    assert!(rules.len() > 30, "there is a dashboard");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("panels.yaml"); // JSON is YAML
    let groups = json!({ "groups": [{ "name": "panels", "rules": rules }] });
    std::fs::write(&file, groups.to_string()).expect("the directory is ours");
    let Some(output) = promtool(&["check", "rules", file.to_str().expect("UTF-8")], "").await
    else {
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn every_alert_fires_in_its_case_and_is_silent_near_it() {
    let alerts = in_alerts(&read("deploy/alerts.yaml"), "alert");
    let tests = read("deploy/alerts_test.yaml");
    let lines: Vec<_> = tests.lines().map(str::trim).collect();
    let has = |alert: &str, expected: &dyn Fn(&str) -> bool| {
        let wanted = format!("alertname: {alert}");
        lines.windows(2).any(|two| two[0] == wanted && expected(two[1]))
    };
    assert!(!alerts.is_empty());
    for alert in &alerts {
        assert!(has(alert, &|next| next == "exp_alerts:"), "no test has {alert} fire");
        assert!(has(alert, &|next| next == "exp_alerts: []"), "no test has {alert} silent");
    }
    let path = repository("deploy/alerts_test.yaml");
    let Some(output) = promtool(&["test", "rules", path.to_str().expect("UTF-8")], "").await else {
        return;
    };
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat())
    );
}

#[test]
fn every_alert_links_to_its_runbook() {
    let alerts = read("deploy/alerts.yaml");
    let (names, links) = (in_alerts(&alerts, "alert"), in_alerts(&alerts, "runbook_url"));
    // An Alertmanager has the alerts of everybody: a name alone must say whose it is.
    assert!(names.iter().all(|name| name.starts_with("Dispatchd")), "{names:?}");
    let expected: Vec<_> = names
        .iter()
        .map(|name| format!("docs/operations.md#{}", name.to_ascii_lowercase()))
        .collect();
    assert_eq!(links, expected);
    let operations = read("docs/operations.md");
    for name in names {
        assert!(
            operations.lines().any(|line| line == format!("### {name}")),
            "docs/operations.md has no runbook for {name}"
        );
    }
}
