//! What the integration tests and the benches share: servers that play the daemon's surroundings,
//! and drivers of the daemon itself, which is a process of its own.
//!
//! - [`daemon`]: a whole daemon and callers that speak to it. The test says where its binary is.
//! - [`kinesis`]: the emulators. `Ferro` (in this process, limits on or off) and `Kinesalite` (its
//!   own process, from npm).
//! - [`fault`]: a proxy in front of an emulator that throttles, refuses, cuts, hangs and delays by
//!   plan, and keeps a ledger of what was really stored.
//! - [`scripted`]: a Kinesis that answers what the test says.
//! - [`stream`]: streams as a test sees them: create, split, put, read everything back; where a key
//!   belongs.
//! - [`mod@bench`]: an emulator, the fault server and a client put together.
//! - [`truth`]: acks held against what the stream holds.
//! - [`orders`]: events like an application's, of a size.
//! - [`stopwatch`]: time without what the machine kept from us.
//! - [`tcp`]: a proxy that is a bad network: delays, stalls, resets, refused and half-open
//!   connections.
//! - [`terminal`]: a terminal of a test's own.
//! - [`namespace`]: a network namespace, whose packets a filter drops; name resolution of a
//!   daemon's own.
//! - [`tls`]: TLS as AWS's endpoints speak it.
//! - [`http`]: one raw HTTP request, for what an SDK hides.
//! - [`aws`]: what else there is of AWS: credentials, STS.
//! - [`packages`]: the packages from npm, PyPI, Maven, of Go and Debian that tests run, installed
//!   once.
//! - [`prometheus`]: a real Prometheus, and its tool for rules.
//!
//! It never depends on the daemon's crate, and nothing here asserts a promise of dispatchd: helpers
//! fail only when the surroundings do, and then say which. Nothing here sleeps and hopes:
//! [`eventually`] waits for a condition and has a deadline.

pub mod aws;
pub mod bench;
pub mod daemon;
pub mod fault;
pub mod http;
pub mod kinesis;
pub mod namespace;
pub mod orders;
pub mod packages;
pub mod prometheus;
pub mod scripted;
pub mod stopwatch;
pub mod stream;
pub mod tasks;
pub mod tcp;
pub mod terminal;
pub mod tls;
pub mod truth;

use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::timeout::TimeoutConfig;
use aws_sdk_kinesis::config::{
    BehaviorVersion, Config, Credentials, Region, StalledStreamProtectionConfig,
};
use tokio::time::{Instant, sleep};

/// How long a test waits for anything before it says what never came. Generous: builds share the
/// machine, and what takes 10 s of a core on its own takes 60 s at a load of 12. No promise is
/// measured with it.
pub const DEADLINE: Duration = Duration::from_secs(180);

/// How long [`client`] waits for an answer. A page of 10 MiB takes a debug build a second or two,
/// on a machine that has nothing else to do.
pub const CLIENT_TIMEOUT: Duration = Duration::from_secs(60);

/// [`eventually`] asks again after this, and then ever less often: many questions are a page of
/// metrics, which costs the daemon some milliseconds.
const ASK_FIRST: Duration = Duration::from_millis(5);
const ASK_LAST: Duration = Duration::from_millis(50);

/// A client that tries once, takes an answer within [`CLIENT_TIMEOUT`] or fails, and never leaves
/// this machine.
pub fn client(endpoint: &str) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "tests"))
        .endpoint_url(endpoint)
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().operation_timeout(CLIENT_TIMEOUT).build())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build();
    Client::from_conf(config)
}

/// Asks until `probe` has an answer. Panics with `what` after [`DEADLINE`].
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    let mut pause = ASK_FIRST;
    loop {
        if let Some(answer) = probe().await {
            return answer;
        }
        assert!(started.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain: {what}");
        sleep(pause).await;
        pause = (pause * 5 / 4).min(ASK_LAST);
    }
}
