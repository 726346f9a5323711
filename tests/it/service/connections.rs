//! The connections that PutRecords take: dead ones cost one attempt and no more, idle ones that the
//! service closes cost nothing, a name's addresses share them, and 16 requests at once do not wait
//! for each other.
//!
//! The bars are a request's own limits and a second; what a busy machine adds is left out. Where a
//! number decides (attempts, connections) it is asserted beside the time, or in its place: it holds
//! on any machine.
//!
//! Seen red (2026-11, with the SDK's own HTTP client): a silent peer, 16 dead connections after
//! each other, until the event was refused, and over TLS one shared connection that is never
//! replaced; dropped packets, the attempt timeout for each; addresses, only the first that answers;
//! 16 MiB at once, HTTP/2 and its window.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use testkit::daemon::{Caller, Daemon, Start, event};
use testkit::fault::FaultServer;
use testkit::fault::plan::Fault;
use testkit::kinesis::Ferro;
use testkit::namespace::{Namespace, can_mount};
use testkit::stopwatch::Stopwatch;
use testkit::stream::{create_stream, read_all};
use testkit::tcp::{TcpProxy, Weather};
use testkit::tls::Certificate;
use testkit::truth::{assert_acks_are_true, numbered_lines_some_long};
use testkit::{client, eventually};

use crate::DISPATCHD;

/// What a request may take. Short, and long enough for sixteen handshakes on a busy machine.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long sent bytes may stay unacknowledged: the transport's own bound.
const USER_TIMEOUT: Duration = Duration::from_secs(3);
/// What a retry and a new connection may take beyond a limit.
const MARGIN: Duration = Duration::from_secs(1);
/// `batch.max_in_flight`, and the most connections that are in use at once.
const FLIGHTS: usize = 16;

const RETRIED: &str = "dispatchd_retries_total{class=\"transient\"}";

/// A fault server in front of a stream.
struct Service {
    ferro: Ferro,
    server: FaultServer,
}

impl Service {
    async fn start(certificate: Option<&Certificate>) -> Service {
        let ferro = Service::stream().await;
        let server = match certificate {
            Some(certificate) => FaultServer::start_tls(&ferro.endpoint(), 1, certificate).await,
            None => FaultServer::start(&ferro.endpoint(), 1).await,
        };
        Service { ferro, server }
    }

    async fn stream() -> Ferro {
        let ferro = Ferro::start(false).await;
        create_stream(&client(&ferro.endpoint()), "s", 1).await;
        ferro
    }

    /// Sends sixteen events, and returns when sixteen requests hang at the same time.
    async fn hold_sixteen(&self, caller: &mut Caller) {
        for _ in 0..FLIGHTS {
            self.server.next(Fault::HangBefore);
        }
        for n in 0..FLIGHTS {
            caller.send(&event(n as u64, &format!("key-{n}"), "{}")).await;
        }
        let what = "sixteen requests are out at once";
        eventually(what, async || (self.server.ledger().in_flight() == FLIGHTS).then_some(()))
            .await;
    }

    /// Sixteen requests at the same time: so many connections are there, and idle, in the end.
    async fn fill_the_pool(&self, caller: &mut Caller) {
        self.hold_sixteen(caller).await;
        self.server.release();
        assert_sixteen_acked(caller).await;
    }
}

/// A daemon that sends each event by itself and at once.
fn start(endpoint: &str, certificate: Option<&Certificate>) -> Start {
    let start =
        DISPATCHD.daemon(endpoint, "s").set("batch.max_records", 1).set("batch.linger", "0ms");
    match certificate {
        Some(certificate) => start.trust(certificate),
        None => start,
    }
}

fn loopback() -> Certificate {
    Certificate::of(["localhost", "127.0.0.1"])
}

async fn assert_sixteen_acked(caller: &mut Caller) {
    for _ in 0..FLIGHTS {
        let answer = caller.answer().await;
        assert_eq!(answer["ok"], true, "{answer}");
    }
}

/// Sends one event and holds its ack against the time that it may take.
async fn assert_acked_within(daemon: &Daemon, caller: &mut Caller, limit: Duration) {
    let mut watch = Stopwatch::start(&[daemon]);
    let answer = caller.ask(&event(99, "one", "{}")).await;
    let took = watch.took();
    assert_eq!(answer["ok"], true, "after {took:?}: {answer}");
    assert!(took.undelayed < limit + MARGIN, "one event took {took:?}");
}

async fn a_silent_peer_costs_one_attempt(certificate: Option<Certificate>) {
    let certificate = certificate.as_ref();
    let service = Service::start(certificate).await;
    let network = TcpProxy::start(&service.server.endpoint(), 1);
    let start = start(&network.endpoint(), certificate)
        .set("kinesis.attempt_timeout", format!("{}s", ATTEMPT_TIMEOUT.as_secs()))
        .set("delivery.timeout", "1m");
    let mut daemon = start.start().await;
    let mut caller = daemon.connect().await;
    service.fill_the_pool(&mut caller).await;

    network.silence();
    assert_acked_within(&daemon, &mut caller, ATTEMPT_TIMEOUT).await;
    assert_eq!(daemon.metric(RETRIED).await, 1.0, "once, not once a connection");

    // A stop meets the same: what is on its way is delivered.
    service.fill_the_pool(&mut caller).await;
    network.silence();
    caller.send(&event(1, "last", "{}")).await;
    eventually("it is taken", async || {
        (daemon.metric("dispatchd_events_in_flight").await == 1.0).then_some(())
    })
    .await;
    daemon.signal(Signal::TERM);
    let answers = caller.finish().await;
    assert!(answers.len() == 1 && answers[0]["ok"] == true, "{answers:?}");
    assert_eq!(daemon.exit_code().await, Some(0), "{}", daemon.log());
    service.server.assert_http1();
}

#[tokio::test]
async fn a_peer_that_acknowledges_and_stays_silent_costs_one_attempt_and_not_one_a_connection() {
    a_silent_peer_costs_one_attempt(None).await;
}

#[tokio::test]
async fn a_peer_that_acknowledges_and_stays_silent_costs_one_attempt_over_tls_too() {
    a_silent_peer_costs_one_attempt(Some(loopback())).await;
}

#[tokio::test]
async fn sixteen_requests_that_meet_silence_at_once_cost_one_attempt_together() {
    let certificate = loopback();
    let service = Service::start(Some(&certificate)).await;
    let network = TcpProxy::start(&service.server.endpoint(), 1);
    let timeout = format!("{}s", ATTEMPT_TIMEOUT.as_secs());
    let start =
        start(&network.endpoint(), Some(&certificate)).set("kinesis.attempt_timeout", timeout);
    let daemon = start.start().await;
    let mut caller = daemon.connect().await;
    service.hold_sixteen(&mut caller).await;
    network.silence();
    service.server.release(); // stored, and nobody hears of it
    let mut watch = Stopwatch::start(&[&daemon]);
    assert_sixteen_acked(&mut caller).await;
    let took = watch.took();
    assert_eq!(daemon.metric(RETRIED).await, FLIGHTS as f64, "each was sent again once");
    assert!(took.undelayed < ATTEMPT_TIMEOUT + MARGIN, "sixteen events took {took:?}");
    service.server.assert_http1();
}

#[tokio::test]
async fn packets_that_are_dropped_cost_the_user_timeout_once() {
    let Some(namespace) = Namespace::new() else { return };
    let certificate = Certificate::of([&namespace.theirs().to_string()]);
    let ferro = Service::stream().await;
    let server = FaultServer::on(namespace.listen(), &ferro.endpoint(), 1, Some(&certificate));
    let service = Service { ferro, server };
    // The attempt's own limit is out of reach: what ends the wait is that nobody acknowledges.
    let start =
        start(&service.server.endpoint(), Some(&certificate)).set("kinesis.attempt_timeout", "60s");
    let daemon = start.start().await;
    let mut caller = daemon.connect().await;
    service.fill_the_pool(&mut caller).await;

    let connections = service.server.connections();
    assert!(connections.len() >= FLIGHTS, "{connections:?}");
    namespace.drop_packets(connections.into_iter().map(|connection| connection.peer));
    assert_acked_within(&daemon, &mut caller, USER_TIMEOUT).await;
    assert_eq!(daemon.metric(RETRIED).await, 1.0, "once, not once a connection");
    service.server.assert_http1();
}

/// A name, and a network at each of two addresses of it.
struct Addresses {
    service: Service,
    networks: [TcpProxy; 2],
    daemon: Daemon,
    hosts: tempfile::NamedTempFile,
}

const NAME: &str = "kinesis.test";
const ADDRESSES: [[u8; 4]; 2] = [[127, 0, 0, 2], [127, 0, 0, 3]];

impl Addresses {
    /// With these addresses for the name at first. `None` where a daemon cannot have names of its
    /// own.
    async fn start(first: &[&str]) -> Option<Addresses> {
        if !can_mount() {
            return None;
        }
        let certificate = Certificate::of([NAME]);
        let service = Service::start(Some(&certificate)).await;
        let one =
            TcpProxy::start_at(SocketAddr::from((ADDRESSES[0], 0)), &service.server.endpoint(), 1);
        let port: u16 = one
            .endpoint()
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok())
            .expect("it has a port");
        let two = TcpProxy::start_at(
            SocketAddr::from((ADDRESSES[1], port)),
            &service.server.endpoint(),
            2,
        );
        let hosts = tempfile::NamedTempFile::new().expect("a temporary file");
        write_hosts(hosts.path(), first);
        let start =
            start(&format!("https://{NAME}:{port}"), Some(&certificate)).hosts(hosts.path());
        Some(Addresses { service, networks: [one, two], daemon: start.start().await, hosts })
    }
}

fn write_hosts(file: &Path, addresses: &[&str]) {
    let lines: String = addresses.iter().map(|address| format!("{address} {NAME}\n")).collect();
    std::fs::write(file, lines).expect("it is writable");
}

#[tokio::test]
async fn connections_are_spread_over_the_addresses_of_a_name_and_a_dead_one_costs_nobody() {
    let Some(named) = Addresses::start(&["127.0.0.4", "127.0.0.2", "127.0.0.3"]).await else {
        return;
    };
    let mut caller = named.daemon.connect().await;
    named.service.fill_the_pool(&mut caller).await;
    let shares = named.networks.each_ref().map(TcpProxy::connections);
    assert!(shares.iter().all(|share| *share >= FLIGHTS / 5), "{shares:?} connections");
    assert_eq!(
        named.daemon.metric(RETRIED).await,
        0.0,
        "no event was sent to where nobody listens"
    );
    named.service.server.assert_http1();
}

#[tokio::test]
async fn a_name_is_looked_up_anew_for_a_new_connection() {
    let Some(named) = Addresses::start(&["127.0.0.2"]).await else { return };
    let mut caller = named.daemon.connect().await;
    assert_acked_within(&named.daemon, &mut caller, Duration::from_secs(10)).await;
    assert_eq!(named.networks[1].connections(), 0);
    // The service moves.
    write_hosts(named.hosts.path(), &["127.0.0.3"]);
    named.networks[0].set(Weather { refusing: true, ..Weather::default() });
    named.networks[0].close();
    eventually("the old connections are gone", async || {
        (named.networks[0].open() == 0).then_some(())
    })
    .await;
    assert_acked_within(&named.daemon, &mut caller, Duration::from_secs(10)).await;
    assert!(named.networks[1].connections() > 0);
    assert_eq!(named.daemon.metric(RETRIED).await, 0.0, "nothing was tried at the old address");
}

const ALONE: usize = 100;

/// Events one after the other, on a network that ends every connection between them.
async fn between_ends(certificate: Option<Certificate>, is_patient: bool) {
    let certificate = certificate.as_ref();
    let service = Service::start(certificate).await;
    let network = TcpProxy::start(&service.server.endpoint(), 1);
    let daemon =
        start(&network.endpoint(), certificate).set("delivery.backoff_min", "1ms").start().await;
    let mut caller = daemon.connect().await;
    let mut answers = Vec::new();
    for n in 0..ALONE {
        answers.push(caller.ask(&event(n as u64, "k", "{}")).await);
        network.close();
        if is_patient {
            // One that was on its way in when the others ended ends with the next.
            let is_left = async || {
                (network.open() == 0).then_some(()).or_else(|| {
                    network.close();
                    None
                })
            };
            eventually("the daemon has left every connection", is_left).await;
        }
    }
    let stored = read_all(&client(&service.ferro.endpoint()), "s").await;
    assert_eq!(assert_acks_are_true(&answers, &stored), 0, "each record is there once");
    if is_patient {
        assert_eq!(
            daemon.metric(RETRIED).await,
            0.0,
            "nothing is sent on a connection that has ended"
        );
        assert_eq!(service.server.ledger().requests().len(), ALONE);
    }
    service.server.assert_http1();
}

#[tokio::test]
async fn a_connection_that_the_service_closed_while_idle_is_not_used_again() {
    between_ends(None, true).await;
}

#[tokio::test]
async fn a_connection_that_the_service_closed_while_idle_is_not_used_again_over_tls() {
    between_ends(Some(loopback()), true).await;
}

#[tokio::test]
async fn an_event_that_meets_the_end_of_its_connection_is_stored_once() {
    between_ends(None, false).await;
}

#[tokio::test]
async fn an_event_that_meets_the_end_of_its_connection_is_stored_once_over_tls() {
    between_ends(Some(loopback()), false).await;
}

/// Counted, not timed: a window is a connection's, and each request has a connection that speaks
/// HTTP/1.1; none of them waits for another's answer to be sent to its end.
#[tokio::test]
async fn sixteen_requests_of_a_mebibyte_do_not_share_a_window() {
    let certificate = loopback();
    let service = Service::start(Some(&certificate)).await;
    let start = start(&service.server.endpoint(), Some(&certificate));
    let daemon = start.set("kinesis.attempt_timeout", "5m").start().await;
    for _ in 0..FLIGHTS {
        service.server.next(Fault::HangBefore);
    }
    let lines = numbered_lines_some_long(FLIGHTS, FLIGHTS, 1_000_000, |_| true);
    let caller = tokio::spawn(daemon.connect().await.pipeline(lines));
    let ledger = service.server.ledger();
    let what = "sixteen requests have come to their last byte before one is answered";
    eventually(what, async || (ledger.in_flight() == FLIGHTS).then_some(())).await;
    let connections = service.server.connections().len();
    assert!(connections >= FLIGHTS, "{connections} connections for sixteen requests");
    assert!(ledger.requests().iter().all(|request| request.bytes >= 1_000_000));
    service.server.release();
    let answers = caller.await.expect("the caller does not panic");
    let stored = read_all(&client(&service.ferro.endpoint()), "s").await;
    assert_eq!((answers.len(), assert_acks_are_true(&answers, &stored)), (FLIGHTS, 0));
    service.server.assert_http1();
}
