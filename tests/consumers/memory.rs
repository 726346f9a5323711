//! What `forward` holds: that it is bounded, and that what one shard holds stops no other, where
//! pages are as large as they can be and targets take nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::post;
use rustix::process::Signal;
use serde_json::Value;
use testkit::aws::serve;
use testkit::eventually;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use crate::DISPATCHD;
use crate::pages::{PAGE_BYTES_MAX, Pages};

const MIB: usize = 1 << 20;

/// Large enough that pages are full by their bytes and not by their number, and that a shard's
/// second page is full: a reader reckons with records of a tenth of a MiB at least.
const RECORD_BYTES: usize = 110 * 1024;
/// Of such a page, which leaves no room for another in the window of its target.
const LARGE: usize = 9 * MIB;

/// A target that refuses the events of some shards, and counts those of all.
struct Refuser {
    url: String,
    seen: Arc<Refusing>,
    _server: AbortOnDropHandle<()>,
}

struct Refusing {
    /// The first shard whose events it takes.
    takes_from: u64,
    taken: Mutex<BTreeMap<u64, usize>>,
    has_refused: AtomicBool,
}

impl Refuser {
    async fn start(takes_from: u64) -> Self {
        let (taken, has_refused) = (Mutex::default(), AtomicBool::new(false));
        let seen = Arc::new(Refusing { takes_from, taken, has_refused });
        let app = Router::new().route("/", post(refuse)).with_state(Arc::clone(&seen));
        let (url, server) = serve(app).await;
        Self { url, seen, _server: server }
    }

    fn taken(&self, shard: u64) -> usize {
        let taken = self.seen.taken.lock().expect("nobody panics with it in hand");
        taken.get(&shard).copied().unwrap_or_default()
    }
}

async fn refuse(State(seen): State<Arc<Refusing>>, body: Bytes) -> StatusCode {
    let event: Value = serde_json::from_slice(&body).expect("an event is JSON");
    let shard = event["data"]["shard"].as_u64().expect("it says its shard");
    if shard < seen.takes_from {
        seen.has_refused.store(true, Ordering::Relaxed);
        return StatusCode::BAD_REQUEST;
    }
    *seen.taken.lock().expect("nobody panics with it in hand").entry(shard).or_default() += 1;
    StatusCode::OK
}

#[tokio::test]
async fn shards_that_a_target_refuses_stop_no_other_shard_and_no_other_target() {
    // What could go wrong: the pages of blocked shards fill the target's window, and the reader of
    // a shard that could be delivered waits for room until an operator acts.
    let pages = Pages::start(5, RECORD_BYTES).await;
    let (refuser, taker) = (Refuser::start(4).await, Refuser::start(0).await);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let target = |name: &str, url: &str| {
        format!(
            "[[forward.target]]\nname = {name:?}\nurl = {url:?}\nformat = \"event\"\n\
             from = \"trim-horizon\"\n"
        )
    };
    let file = dir.path().join("config.toml");
    let write = |targets: &str| std::fs::write(&file, targets).expect("the directory is ours");
    let first = target("refuser", &refuser.url);
    write(&first);
    let start = DISPATCHD.forward(&pages.endpoint, "s");
    let start = start.args(["--config", file.to_str().expect("it is text")]);
    let daemon = start.set("forward.poll", "200ms").start_in(dir.path()).await;
    (0..4).for_each(|shard| pages.open(shard));
    eventually("a blocked shard has a large page", async || {
        let is_large = (0..4).any(|shard| pages.largest_page(shard) > LARGE);
        (is_large && refuser.seen.has_refused.load(Ordering::Relaxed)).then_some(())
    })
    .await;
    pages.open(4);
    eventually("the other shard is delivered all the same", async || {
        // More than two pages of its own, and the one before them.
        (refuser.taken(4) * RECORD_BYTES > 3 * MIB).then_some(())
    })
    .await;
    write(&(first + &target("taker", &taker.url)));
    daemon.signal(Signal::HUP);
    eventually("the other target has all shards", async || {
        (0..5).all(|shard| taker.taken(shard) > 10).then_some(())
    })
    .await;
    assert!((0..4).all(|shard| refuser.taken(shard) == 0), "it refused them to the end");
}

/// A target that answers nobody until it is told to.
struct Slow {
    url: String,
    seen: Arc<Slowness>,
    _server: AbortOnDropHandle<()>,
}

struct Slowness {
    gate: Semaphore,
    waiting: AtomicUsize,
    bytes: AtomicUsize,
}

impl Slow {
    async fn start() -> Self {
        let gate = Semaphore::new(0);
        let seen = Arc::new(Slowness { gate, waiting: 0.into(), bytes: 0.into() });
        let app = Router::new().route("/", post(take)).layer(DefaultBodyLimit::disable());
        let (url, server) = serve(app.with_state(Arc::clone(&seen))).await;
        Self { url, seen, _server: server }
    }
}

async fn take(State(seen): State<Arc<Slowness>>, body: Bytes) -> StatusCode {
    seen.waiting.fetch_add(1, Ordering::Relaxed);
    seen.bytes.fetch_add(body.len(), Ordering::Relaxed);
    drop(seen.gate.acquire().await.expect("it is never closed"));
    StatusCode::OK
}

#[tokio::test]
async fn what_is_held_stays_within_the_bound_with_full_pages_and_a_target_that_takes_nothing() {
    // What could go wrong: pages are held that nobody counts, more than once, or for too long; or
    // an operator is told of another bound than the one that holds.
    const SHARDS: usize = 4;
    let pages = Pages::start(SHARDS, RECORD_BYTES).await;
    let slow = Slow::start().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("config.toml");
    let target = format!(
        "[forward]\ncheckpoint = \"file:{}\"\n[[forward.target]]\nurl = {:?}\n\
         format = \"batch\"\nbatch_bytes = \"4MiB\"\ntimeout = \"5m\"\nfrom = \"trim-horizon\"\n",
        dir.path().display(),
        slow.url
    );
    std::fs::write(&file, target).expect("the directory is ours");
    let start = DISPATCHD.forward(&pages.endpoint, "s");
    let start = start.args(["--config", file.to_str().expect("it is text")]);
    let daemon = start.set("forward.poll", "200ms").start_in(dir.path()).await;
    let idle = daemon.resident_bytes_max();
    (0..SHARDS).for_each(|shard| pages.open(shard));
    eventually("every shard has a request out, and one a large page", async || {
        let is_out = slow.seen.waiting.load(Ordering::Relaxed) == SHARDS;
        let is_large = (0..SHARDS).any(|shard| pages.largest_page(shard) > LARGE);
        (is_out && is_large).then_some(())
    })
    .await;
    let held = pages.bytes();
    slow.seen.gate.add_permits(1);
    eventually("many pages go through", async || {
        (pages.bytes() > held + 6 * PAGE_BYTES_MAX).then_some(())
    })
    .await;
    let most = daemon.resident_bytes_max();
    let bound = idle + printed_bytes_max(&pages, &file).await;
    let [idle, most, bound] = [idle, most, bound].map(|bytes| bytes / MIB);
    println!("idle {idle} MiB, at most {most} MiB, bound {bound} MiB");
    assert!(most <= bound, "{most} MiB, of {bound} MiB and {idle} MiB at the start");
}

/// The bytes that `check --forward` prints for this file and these shards, without the program
/// itself.
async fn printed_bytes_max(pages: &Pages, file: &Path) -> usize {
    let mut check = DISPATCHD.command();
    check.args(["check", "--forward", "--online", "--json", "--stream", "s"]);
    check.args(["--endpoint-url", &pages.endpoint, "--config"]).arg(file);
    check.env("DISPATCHD__ADMIN__LISTEN", "off").env("DISPATCHD__ADMIN__SOCKET", "off");
    let output = check.output().await.expect("it runs");
    let report: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    let checks = report["checks"].as_array().expect("it makes checks");
    let memory = checks.iter().find(|check| check["name"] == "memory").expect("it is one of them");
    let line = memory["what"].as_str().expect("it says what it found");
    let sum = line
        .split_once(" = ")
        .and_then(|(_, sum)| sum.split_once(" MiB, for 1 target and 4 shards"));
    let (mib, _) = sum.unwrap_or_else(|| panic!("a sum of four shards: {line}"));
    let mib: f64 = mib.parse().unwrap_or_else(|error| panic!("{error}: {line}"));
    (mib * MIB as f64) as usize
}
