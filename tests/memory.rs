//! Memory after a burst. That it is bounded during one, `tests/limits.rs` and the others say.

mod support;

use std::time::Duration;

use serde_json::Value;
use support::daemon::{Daemon, IDLE_CPU_MAX, Start, event};
use support::fault::FaultServer;
use support::fault::plan::{Plan, Refusal};
use support::kinesis::Ferro;
use support::stream::create_stream;
use support::{client, eventually};
use tokio::task::JoinSet;
use tokio::time::sleep;

const MIB: usize = 1 << 20;

/// Callers with more than the budget takes, while the stream takes nothing; then it takes all. Gives what was resident
/// when the budget was full.
async fn burst(daemon: &Daemon, server: &FaultServer) -> usize {
    server.set(Plan { refusals: vec![(1.0, Refusal::access_denied())], ..Plan::default() });
    let mut callers = JoinSet::new();
    for caller in 0..16 {
        let data = format!(r#"{{"x":"{}"}}"#, "x".repeat(4096));
        let line = |n| format!("{}\n", event(n, &format!("k{caller}-{n}"), &data));
        let lines: String = (0..1000).map(line).collect();
        callers.spawn(daemon.connect().await.pipeline(lines));
    }
    eventually("the budget is full", async || {
        (daemon.metric("dispatchd_buffer_bytes").await > 62.0 * MIB as f64).then_some(())
    })
    .await;
    let full = daemon.resident_bytes();
    server.set(Plan::default());
    assert!(daemon.run_admin(&["reload"]).await.status.success(), "it tries the stream at once");
    for answers in callers.join_all().await {
        assert_eq!(answers.len(), 1000);
        assert!(answers.iter().all(|answer: &Value| answer["ok"] == true));
    }
    full
}

#[tokio::test]
async fn memory_goes_back_after_a_burst_though_nothing_more_comes() {
    let ferro = Ferro::start(false).await;
    create_stream(&client(&ferro.endpoint()), "s", 4).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    let daemon = Start::new(&server.endpoint(), "s").start().await;
    assert_eq!(daemon.connect().await.ask(&event(0, "k", "{}")).await["ok"], true);
    let idle = daemon.resident_bytes();
    let full = burst(&daemon, &server).await;
    assert!(full > idle + 40 * MIB, "{} MiB idle, {} MiB when it is full", idle / MIB, full / MIB);
    eventually("its memory goes back", async || (daemon.resident_bytes() < idle + 16 * MIB).then_some(())).await;
    let cpu = daemon.cpu_time();
    sleep(Duration::from_secs(2)).await; // a paced negative check
    let cpu = daemon.cpu_time() - cpu;
    assert!(cpu <= IDLE_CPU_MAX, "two seconds of silence took {cpu:?} of a core");
    assert!(!daemon.log().contains("mimalloc"), "{}", daemon.log());
}
