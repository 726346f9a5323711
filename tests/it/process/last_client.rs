//! A daemon beside a job's container, where nobody tells it that the job is done: it stops when its
//! clients are gone.

use std::time::Duration;

use testkit::client;
use testkit::daemon::event;
use testkit::kinesis::Ferro;
use testkit::stream::{create_stream, read_all};
use tokio::time::sleep;

use crate::DISPATCHD;

#[tokio::test]
async fn the_daemon_stops_by_itself_once_its_last_client_has_been_gone_for_the_time() {
    let ferro = Ferro::start(false).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    let start = DISPATCHD.daemon(&ferro.endpoint(), "s").args(["--exit-after-last-client", "1s"]);
    let mut daemon = start.start().await;
    sleep(Duration::from_millis(1_500)).await; // a paced negative check
    assert!(!daemon.has_ended(), "its first client may take its time");
    daemon.status().await; // who only asks is no client
    drop(daemon.connect().await); // nor is who only looks whether the socket is there, and goes
    let _stays = daemon.connect().await; // or stays
    sleep(Duration::from_millis(1_500)).await; // a paced negative check
    assert!(!daemon.has_ended(), "a client is who sent a line");
    let (mut first, mut second) = (daemon.connect().await, daemon.connect().await);
    assert_eq!(second.ask("{\"op\":\"ping\"}").await["op"], "ping");
    first.send(&event(1, "k", "{}")).await;
    first.send("{\"op\":\"ping\"}").await;
    assert_eq!(first.answer().await["op"], "ping", "the event before it was read");
    drop(first);
    sleep(Duration::from_millis(1_500)).await; // a paced negative check
    assert!(!daemon.has_ended(), "one client is left");
    drop(second);
    assert_eq!(daemon.exit_code().await, Some(0));
    assert_eq!(read_all(&client(&ferro.endpoint()), "s").await.len(), 1);
    let why = daemon.logged("draining")[0]["why"].clone();
    assert_eq!(why, "no client is connected any more (shutdown.after_last_client)");
}
