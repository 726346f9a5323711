//! A stream that takes nothing until an operator acts: one small question at a time, no work, no
//! refusal, and then everything.

use std::time::Duration;

use testkit::daemon::{Daemon, IDLE_CPU_MAX, Start, event};
use testkit::fault::FaultServer;
use testkit::fault::plan::{Fault, Plan, Refusal};
use testkit::kinesis::Ferro;
use testkit::stream::create_stream;
use testkit::truth::numbered_lines;
use testkit::{client, eventually};
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::DISPATCHD;

const BLOCKED: &str = "dispatchd_stream_blocked{reason=\"access_denied\"}";

fn denying(refusal: Refusal) -> Plan {
    Plan { denied: [("PutRecords".to_owned(), refusal)].into(), ..Plan::default() }
}

async fn refused(daemon: &Daemon) -> f64 {
    let (_, text) = daemon.get("/metrics").await;
    let refused = text.lines().filter(|line| line.starts_with("dispatchd_events_refused_total{"));
    refused
        .map(|line| line.rsplit(' ').next().and_then(|n| n.parse::<f64>().ok()).expect("a number"))
        .sum()
}

#[tokio::test]
async fn a_blocked_stream_is_probed_with_one_record_and_costs_nothing_until_it_opens() {
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    create_stream(&client(&ferro.endpoint()), "s", 4).await;
    server.set(denying(Refusal::access_denied()));
    let daemon =
        DISPATCHD.daemon(&server.endpoint(), "s").set("memory.budget", "4MiB").start().await;
    let mut first = daemon.connect().await;
    first.send(&event(1, "first", "{}")).await;
    eventually("it is blocked", async || (daemon.metric(BLOCKED).await == 1.0).then_some(())).await;
    let text = "x".repeat(2_000);
    let lines: String = (0..4_000)
        .map(|n| event(n, &format!("k{n}"), &format!("{{\"a\":\"{text}\"}}")) + "\n")
        .collect();
    let callers =
        [daemon.connect().await.pipeline(lines.clone()), daemon.connect().await.pipeline(lines)];
    let callers = callers.map(tokio::spawn);
    eventually("the budget is full", async || {
        (daemon.metric("dispatchd_buffer_bytes").await > 4.0e6).then_some(())
    })
    .await;

    let cpu = daemon.cpu_time();
    sleep(Duration::from_secs(3)).await; // a paced negative check
    let cpu = daemon.cpu_time() - cpu;
    assert!(cpu <= IDLE_CPU_MAX, "three seconds of waiting took {cpu:?} of a core");
    assert_eq!(refused(&daemon).await, 0.0, "nothing is refused before delivery.timeout");

    let ledger = server.ledger();
    assert_eq!(ledger.in_flight_max(), 1, "one at a time");
    let requests = ledger.requests();
    assert!(requests.iter().all(|request| request.keys.len() == 1), "a probe is one record");
    let gaps: Vec<_> = requests.windows(2).map(|two| two[1].at - two[0].at).collect();
    assert!(!gaps.is_empty(), "it is asked again");
    assert!(gaps.iter().all(|gap| *gap >= Duration::from_secs(1)), "{gaps:?}");
    let said = daemon.told("the stream takes nothing").await;
    assert_eq!(said.len(), 1, "one line a transition");
    assert_eq!(said[0]["level"], "ERROR");
    assert_eq!(said[0]["code"], "AccessDeniedException");
    assert!(
        said[0]["message"].as_str().expect("a text").contains("allow kinesis:PutRecords"),
        "{}",
        said[0]
    );

    server.set(Plan::default());
    assert_eq!(first.answer().await["ok"], true);
    for caller in callers {
        let answers = caller.await.expect("the caller does not panic");
        assert_eq!(answers.iter().filter(|answer| answer["ok"] == true).count(), 4_000);
    }
    let requests = ledger.requests();
    let opened = requests.iter().position(|request| request.stored > 0).expect("a probe was taken");
    let [probe, next] = &requests[opened..=opened + 1] else { panic!("two") };
    assert_eq!(
        (probe.keys.len(), next.keys.len() > 1),
        (1, true),
        "what follows on it is no probe any more"
    );
    assert_eq!(daemon.metric(BLOCKED).await, 0.0);
    assert_eq!(daemon.told("the stream takes records again").await.len(), 1);
}

/// One line for each flight that is denied and one for the next that is not were 37 a second.
#[tokio::test]
async fn a_block_that_flaps_is_told_a_few_times_with_a_count() {
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    let daemon =
        DISPATCHD.daemon(&server.endpoint(), "s").set("batch.max_records", 1).start().await;
    for _ in 0..200 {
        for fault in
            [Fault::Refuse(Refusal::access_denied()), Fault::Delay(Duration::from_millis(20))]
        {
            server.next(fault);
        }
    }
    let answers = daemon.connect().await.pipeline(numbered_lines(1_000, 1_000)).await;
    assert!(answers.iter().all(|answer| answer["ok"] == true), "they are sent again");
    let told = eventually("each is ended", async || {
        let ended = daemon.logged("the stream takes records again").len();
        (daemon.logged("the stream takes nothing").len() == ended).then_some(ended)
    });
    let told = told.await;
    assert!((1..=3).contains(&told), "{}", daemon.log());
}

/// 897 failed requests were not worth a line.
#[tokio::test]
async fn an_outage_is_told_once_with_its_cause_and_ends_with_how_long_it_was() {
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    let page = Refusal { status: 404, code: None, message: "<html>not here</html>".into() };
    server.set(Plan { denied: [("PutRecords".to_owned(), page)].into(), ..Plan::default() });
    let start = DISPATCHD
        .daemon(&server.endpoint(), "s")
        .set("delivery.timeout", "6s")
        .set("delivery.backoff_max", "100ms");
    let daemon = start.start().await;
    let answers = daemon.connect().await.pipeline(numbered_lines(20, 20)).await;
    for answer in answers {
        let message = answer["error"]["message"].as_str().expect("it is refused");
        assert!(
            message.ends_with(
                "the last attempt: what answers at the endpoint is not Kinesis, and answers 404"
            ),
            "{message}"
        );
    }
    let said = daemon.told("nothing was stored for").await;
    assert_eq!(said.len(), 1, "{}", daemon.log());
    assert_eq!(
        (&said[0]["level"], &said[0]["cause"]),
        (&"WARN".into(), &"not_found".into()),
        "{}",
        said[0]
    );
    let (told, reason) =
        (said[0]["message"].as_str().expect("a text"), said[0]["reason"].as_str().expect("a text"));
    assert!(
        told.contains("To do: correct the endpoint") && reason.contains("not here"),
        "{}",
        said[0]
    );
    let outage = &daemon.status().await["outage"];
    assert!(
        outage["cause"] == "not_found" && outage["requests_failed"].as_u64() > Some(3),
        "{outage}"
    );
    let status = daemon.run_admin(&["status"]).await;
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(
        status.contains("answers 404 (not_found)")
            && status.contains("!! to do: correct the endpoint"),
        "{status}"
    );

    server.set(Plan::default());
    assert_eq!(daemon.connect().await.ask(&event(1, "k", "{}")).await["ok"], true);
    let ended = eventually("its end is told", async || {
        daemon.logged("the stream takes records again").pop()
    })
    .await;
    assert!(ended["seconds"].as_f64() > Some(3.0), "{ended}");
    assert_eq!(daemon.status().await["outage"], serde_json::Value::Null);
}

#[tokio::test]
async fn while_blocked_events_are_refused_at_delivery_timeout_and_told_why() {
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    for (refusal, reason) in [
        (Refusal::stream_missing("s"), "stream_not_found"),
        (Refusal::new(400, "KMSDisabledException", "off"), "kms"),
    ] {
        server.set(denying(refusal));
        let daemon =
            DISPATCHD.daemon(&server.endpoint(), "s").set("delivery.timeout", "1s").start().await;
        let began = tokio::time::Instant::now();
        let answers = daemon.connect().await.pipeline(numbered_lines(20, 20)).await;
        assert!(began.elapsed() >= Duration::from_secs(1), "not before");
        assert_eq!(answers.len(), 20);
        for answer in answers {
            assert_eq!(answer["error"]["code"], "DeliveryTimeout");
            assert_eq!(answer["error"]["outcome"], "not_stored");
            let message = answer["error"]["message"].as_str().expect("a text");
            assert!(message.contains(&format!("the stream is blocked ({reason})")), "{message}");
        }
    }
}

#[tokio::test]
async fn a_stream_that_refuses_whatever_is_in_a_request_costs_one_event_and_the_others_wait() {
    const REASON: &str = "dispatchd_stream_blocked{reason=\"request_refused\"}";
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    create_stream(&client(&ferro.endpoint()), "s", 2).await;
    let words = "1 validation error detected: Value null at 'streamName' failed to satisfy constraint: Member must not be null";
    server.set(denying(Refusal::new(400, "ValidationException", words)));
    let daemon = DISPATCHD.daemon(&server.endpoint(), "s").start().await;
    let caller = tokio::spawn(daemon.connect().await.pipeline(numbered_lines(300, 300)));
    eventually("it is known", async || (daemon.metric(REASON).await == 1.0).then_some(())).await;
    let known = server.ledger().requests().len();
    eventually("it was probed", async || (server.ledger().requests().len() > known).then_some(()))
        .await;
    assert_eq!(refused(&daemon).await, 1.0, "the first that was alone: nobody could know");
    let said = daemon.told("the stream takes nothing").await;
    assert_eq!(
        (said.len(), &said[0]["cause"], &said[0]["code"]),
        (1, &"request_refused".into(), &"ValidationException".into())
    );
    assert!(
        said[0]["message_from_kinesis"].as_str().is_some_and(|told| told.contains("'streamName'")),
        "{}",
        said[0]
    );
    let status = daemon.run_admin(&["status"]).await;
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(
        status.contains("request_refused") && status.contains("'streamName'"),
        "it tells the words: {status}"
    );
    server.set(Plan::default());
    let answers = caller.await.expect("the caller does not panic");
    let (acked, rejected): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer["ok"] == true);
    assert_eq!((acked.len(), rejected.len()), (299, 1));
    assert_eq!(rejected[0]["error"]["code"], "Rejected");
    assert_eq!(daemon.metric(REASON).await, 0.0);
}

/// What a daemon without credentials of its own is told at the end of its time; what it logs, and
/// how it is blocked.
async fn assert_blocked_for_credentials(start: Start, server: &FaultServer) {
    let start = start.set("delivery.timeout", "2s").set("kinesis.attempt_timeout", "1s");
    let daemon =
        start.without_env("AWS_ACCESS_KEY_ID").without_env("AWS_SECRET_ACCESS_KEY").start().await;
    let answer = daemon.connect().await.ask(&event(1, "k", "{}")).await;
    assert_eq!(answer["error"]["code"], "DeliveryTimeout");
    assert_eq!(answer["error"]["outcome"], "not_stored", "what was never signed was never sent");
    assert_eq!(server.ledger().requests().len(), 0);
    let said = daemon.told("the stream takes nothing").await;
    assert_eq!(said.len(), 1, "{}", daemon.log());
    assert_eq!((&said[0]["level"], &said[0]["cause"]), (&"ERROR".into(), &"credentials".into()));
    assert!(
        said[0]["message"].as_str().expect("a text").contains("give the daemon valid credentials"),
        "{}",
        said[0]
    );
    assert_eq!(daemon.metric("dispatchd_stream_blocked{reason=\"credentials\"}").await, 1.0);
}

#[tokio::test]
async fn without_credentials_the_stream_is_blocked_and_the_log_says_what_to_do() {
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    assert_blocked_for_credentials(DISPATCHD.daemon(&server.endpoint(), "s"), &server).await;
}

#[tokio::test]
async fn credentials_that_never_come_are_no_request_that_was_lost() {
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    // It lets connections in and never answers: the agent of Pod Identity on a bad day.
    let agent = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let uri = format!("http://{}/credentials", agent.local_addr().expect("it is bound"));
    let start =
        DISPATCHD.daemon(&server.endpoint(), "s").env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &uri);
    assert_blocked_for_credentials(start, &server).await;
}
