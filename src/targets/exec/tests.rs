//! Real processes, a real stream, and the real readers.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use dispatchd_aws::{Connection, Kinesis, Wire};
use dispatchd_consumer::delivery::Checkpoint;
use dispatchd_consumer::plan::{Resume, StartFrom};
use dispatchd_consumer::recovery::ReadError;
use dispatchd_core::model::read::StartingPosition;
use dispatchd_core::model::{PartitionKey, Record, StreamId};
use dispatchd_core::wire::multilang::Refusal;
use dispatchd_core::wire::packed;
use rustix::process::{Pid, test_kill_process};
use tempfile::TempDir;
use testkit::stream::{entry, put, shards, split};
use testkit::{client, eventually, packages};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::consumer::{self, ShardSource};
use crate::embedded_stream::{Limits, Local};
use crate::targets::board::Board;
use crate::targets::metrics::TargetMetrics;

const CALL: Duration = Duration::from_secs(30);

/// A stream, and a folder in which the children write what they were told.
struct Scene {
    local: Local,
    folder: TempDir,
    /// Each checkpoint as it was stored, with its shard.
    stored: Arc<Mutex<Vec<(String, Checkpoint)>>>,
    board: Board,
    stop: CancellationToken,
}

impl Scene {
    async fn begin() -> Self {
        let local = Local::start(0, 1, "s", Limits::default()).await.expect("a free port is free");
        let folder = tempfile::tempdir().expect("a folder can be made");
        let stop = CancellationToken::new();
        Self { local, folder, stored: Arc::default(), board: Board::default(), stop }
    }

    async fn put(&self, from: usize, to: usize) {
        let entries = (from..to).map(|n| entry(&format!("k{n}"), n.to_string())).collect();
        put(&client(self.local.endpoint()), "s", entries).await;
    }

    async fn split(&self) {
        let client = client(self.local.endpoint());
        split(&client, "s", &shards(&client, "s").await[0]).await;
    }

    fn settings(&self, fault: &str) -> Settings {
        let child = packages::file("python/child.py");
        let command =
            format!("python3 {} {} {fault}", child.display(), self.folder.path().display());
        Settings {
            target_name: "t".to_owned(),
            command: CommandLine::parse(&command).expect("it has words"),
            answer_timeout: testkit::DEADLINE,
            stop_grace: testkit::DEADLINE,
            records_max: 4,
            tells_empty: false,
        }
    }

    /// Delivers the stream until it is stopped.
    async fn deliver(&self, settings: Settings) -> JoinHandle<Option<ReadError>> {
        let wire = dispatchd_aws::Settings {
            connect_timeout: CALL,
            attempt_timeout: CALL,
            wire: Wire::Json,
        };
        let stream = StreamId::Name("s".to_owned());
        let connection = Connection::to_emulator(stream, self.local.endpoint(), wire);
        let kinesis = Kinesis::connect(connection).await.expect("a region and a URL");
        let stored = self.stored().clone();
        let options = consumer::Options {
            from: StartFrom::TrimHorizon,
            resume: stored.iter().map(|(shard, at)| (shard.clone(), resume(at))).collect(),
            poll: Duration::from_millis(200),
        };
        let (settings, metrics) = (Arc::new(settings), Arc::new(ExecMetrics::register("t")));
        let counted = Arc::new(TargetMetrics::register("t"));
        let board = self.board.clone();
        let (stop, stored) = (self.stop.clone(), Arc::clone(&self.stored));
        let work = {
            let stop = stop.clone();
            move |start: dispatchd_consumer::plan::ShardStart, kit| {
                let shard: Arc<str> = start.shard.into();
                let source = ShardSource::begin(kit, Arc::clone(&shard), start.position.clone());
                let before = stored.lock().expect("nobody panics with it");
                let before = before.iter().rev().find(|(of, _)| **of == *shard);
                let checkpoint = before.map(|(_, checkpoint)| checkpoint.clone());
                let (stored, of) = (Arc::clone(&stored), shard.to_string());
                let store = move |checkpoint| {
                    stored.lock().expect("nobody panics with it").push((of.clone(), checkpoint));
                    async { Ok::<(), Refusal>(()) }
                };
                let (stop, place) = (stop.clone(), board.target("t").shard(&shard));
                let (start, counted) = (start.position, Arc::clone(&counted));
                let retries = watch::Sender::default().subscribe();
                let shard =
                    Shard { shard, start, checkpoint, store, place, counted, stop, retries };
                deliver(Arc::clone(&settings), Arc::clone(&metrics), source, shard)
            }
        };
        tokio::spawn(async move {
            let running = consumer::run(kinesis, options, work, || ());
            tokio::select! {
                error = running => Some(error),
                // Its deliveries are dropped some time after they were told to stop: the tests that
                // look at the stop wait for what the children wrote first.
                () = async { stop.cancelled().await; std::future::pending().await } => None,
            }
        })
    }

    fn stored(&self) -> MutexGuard<'_, Vec<(String, Checkpoint)>> {
        self.stored.lock().expect("nobody panics with it")
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The data of each record that a child was told, as they came.
    fn told(&self) -> Vec<usize> {
        let data = |line: &String| line.rsplit(' ').next().and_then(|data| data.parse().ok());
        self.lines("records").iter().map(|line| data(line).expect("a number")).collect()
    }

    async fn until_told(&self, count: usize) {
        eventually("every record was told", async || {
            let mut told = self.told();
            told.sort_unstable();
            told.dedup();
            (told.len() == count).then_some(())
        })
        .await;
    }

    /// Checkpoints of a shard only grow, and nothing follows its end.
    fn assert_checkpoints_grow(&self) {
        let stored = self.stored();
        for (index, (shard, next)) in stored.iter().enumerate() {
            let before = stored[..index].iter().rev().find(|(of, _)| of == shard);
            let grows = match (before.map(|(_, before)| before), next) {
                (None | Some(Checkpoint::From(_)), _) => true,
                (Some(Checkpoint::After(before)), Checkpoint::After(next)) => before < next,
                (Some(Checkpoint::After(_)), Checkpoint::End) => true,
                _ => false,
            };
            assert!(grows, "{shard}: {next:?} after {before:?}");
        }
    }
}

fn resume(checkpoint: &Checkpoint) -> Resume {
    match checkpoint {
        Checkpoint::From(time) => Resume::From(StartingPosition::At(*time)),
        Checkpoint::After(place) => {
            Resume::From(StartingPosition::AtRecord(place.sequence_number.clone()))
        }
        Checkpoint::End => Resume::Ended,
    }
}

fn is_there(pid: &str) -> bool {
    let pid = Pid::from_raw(pid.parse().expect("a number")).expect("it is not 0");
    test_kill_process(pid).is_ok()
}

/// A shard with a backlog is split: all of it is told, then its end, and only then its children.
async fn assert_delivered_whole(fault: &str, with: impl FnOnce(&mut Settings)) -> Scene {
    let scene = Scene::begin().await;
    scene.put(0, 10).await;
    scene.split().await;
    scene.put(10, 20).await;
    let mut settings = scene.settings(fault);
    with(&mut settings);
    let running = scene.deliver(settings).await;
    scene.until_told(20).await;
    let told = scene.told();
    let of_parent = told.iter().rposition(|n| *n < 10).expect("they were told");
    let of_children = told.iter().position(|n| *n >= 10).expect("they were told");
    assert!(of_parent < of_children, "{told:?}");
    scene.assert_checkpoints_grow();
    let end = scene.stored().iter().position(|(_, checkpoint)| *checkpoint == Checkpoint::End);
    let child = scene.stored().iter().position(|(shard, _)| shard != "shardId-000000000000");
    assert!(end.is_some() && (child.is_none() || end < child), "{:?}", scene.stored());
    running.abort();
    scene
}

#[tokio::test]
async fn a_shard_is_told_to_its_end_and_then_its_children() {
    let scene = assert_delivered_whole("none", |_| ()).await;
    let mut told = scene.told();
    told.sort_unstable();
    assert_eq!(told, (0..20).collect::<Vec<_>>(), "each record once");
}

/// Standard output is the protocol's, and processors print all the same.
#[tokio::test]
async fn what_a_child_prints_is_skipped() {
    assert_delivered_whole("print", |_| ()).await;
}

/// A pipe that nobody reads is full after 64 KiB; then the child would stand still.
#[tokio::test]
async fn a_flood_on_standard_error_holds_up_nobody() {
    assert_delivered_whole("flood", |_| ()).await;
}

#[tokio::test]
async fn a_child_that_exits_is_followed_by_one_that_is_told_the_same_again() {
    let scene = assert_delivered_whole("exit", |_| ()).await;
    assert_eq!(scene.lines("failed").len(), 1, "it failed");
}

#[tokio::test]
async fn a_child_that_says_something_else_is_done_is_followed_by_another() {
    let scene = assert_delivered_whole("other", |_| ()).await;
    assert!(!is_there(&scene.lines("failed")[0]));
}

#[tokio::test]
async fn a_child_that_closes_its_output_is_followed_by_another() {
    let scene = assert_delivered_whole("close", |_| ()).await;
    assert!(!is_there(&scene.lines("failed")[0]));
}

/// Were the children of the shard begun, what its processor still had to do would be skipped.
#[tokio::test]
async fn a_child_that_does_not_set_the_end_is_followed_by_one_that_does() {
    let scene = assert_delivered_whole("no-end", |_| ()).await;
    let ends = scene.lines("actions").iter().filter(|line| line.ends_with("shardEnded")).count();
    assert!(ends >= 2, "the next one was told of the end again");
}

/// Nothing is left for another child, and the children of the shard wait for nobody.
#[tokio::test]
async fn a_child_that_dies_once_it_has_set_the_end_has_ended_its_shard() {
    let scene = assert_delivered_whole("end", |_| ()).await;
    assert_eq!(scene.lines("failed").len(), 1, "it died");
    let ends = scene.lines("actions").iter().filter(|line| line.ends_with("shardEnded")).count();
    assert_eq!(ends, 1, "no other child was told of the end");
}

#[tokio::test]
async fn a_child_that_hangs_is_killed_with_what_it_started() {
    // Long enough for a Python to start beside a build.
    let within = |settings: &mut Settings| settings.answer_timeout = Duration::from_secs(15);
    let scene = assert_delivered_whole("hang", within).await;
    let pids = [scene.lines("failed"), scene.lines("held")].concat();
    assert_eq!(pids.len(), 2);
    eventually("both are gone", async || pids.iter().all(|pid| !is_there(pid)).then_some(())).await;
}

#[tokio::test]
async fn a_stop_lets_a_child_set_its_last_checkpoint_and_end() {
    let scene = Scene::begin().await;
    scene.put(0, 6).await;
    let running = scene.deliver(scene.settings("none")).await;
    scene.until_told(6).await;
    scene.stop.cancel();
    eventually("the child was told all, and has ended", async || {
        scene.lines("actions").last().is_some_and(|line| line.ends_with("EOF")).then_some(())
    })
    .await;
    let actions = scene.lines("actions");
    let last: Vec<&str> =
        actions[actions.len() - 3..].iter().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(last, ["shutdownRequested", "leaseLost", "EOF"]);
    running.abort();

    // The next run goes on where this one ended.
    let scene = Scene { stop: CancellationToken::new(), ..scene };
    scene.put(6, 9).await;
    let running = scene.deliver(scene.settings("none")).await;
    scene.until_told(9).await;
    assert_eq!(scene.told(), (0..9).collect::<Vec<_>>(), "each record once");
    scene.assert_checkpoints_grow();
    running.abort();
}

#[tokio::test]
async fn a_child_that_does_not_stop_is_killed_at_the_end_of_its_grace() {
    let scene = Scene::begin().await;
    scene.put(0, 3).await;
    let settings = Settings { stop_grace: Duration::from_millis(500), ..scene.settings("stay") };
    let running = scene.deliver(settings).await;
    scene.until_told(3).await;
    scene.stop.cancel();
    let pid = scene.lines("pids").remove(0);
    eventually("it is gone", async || (!is_there(&pid)).then_some(())).await;
    running.abort();
}

#[tokio::test]
async fn what_a_child_started_ends_with_it_though_it_stops_in_order() {
    let scene = Scene::begin().await;
    scene.put(0, 3).await;
    let running = scene.deliver(scene.settings("leave")).await;
    scene.until_told(3).await;
    scene.stop.cancel();
    let held = eventually("it started something", async || scene.lines("held").pop()).await;
    eventually("that is gone", async || (!is_there(&held)).then_some(())).await;
    running.abort();
}

#[tokio::test]
async fn a_delivery_that_is_dropped_leaves_no_child() {
    let scene = Scene::begin().await;
    scene.put(0, 3).await;
    let running = scene.deliver(scene.settings("none")).await;
    scene.until_told(3).await;
    running.abort();
    let pid = scene.lines("pids").remove(0);
    eventually("it is gone", async || (!is_there(&pid)).then_some(())).await;
}

#[tokio::test]
async fn what_waits_behind_a_slow_child_is_behind_however_its_page_is_cut_into_messages() {
    // What could go wrong: once the first message of a page is done all of the page seems to be,
    // and no alert fires while a slow processor falls behind.
    let scene = Scene::begin().await;
    scene.put(0, 10).await;
    let running = scene.deliver(scene.settings("slow")).await;
    eventually("a later message is told", async || scene.lines("slow").pop()).await;
    let shards = scene.board.target("t").shards();
    let [(_, shown)] = &shards[..] else { panic!("one shard: {shards:?}") };
    assert!(shown.in_flight == 1 && shown.oldest.is_some(), "{shown:?}");
    running.abort();
}

/// A record with many events, packed as the KPL packs them.
fn packed_record(from: usize, to: usize) -> PutRecordsRequestEntry {
    let event = |n: usize| {
        let key = PartitionKey::new("k").expect("it is short");
        Record::new(key, None, n.to_string().into())
    };
    let events: Vec<Record> = (from..to).map(event).collect();
    entry("k", packed::encode(&events.iter().collect::<Vec<_>>()))
}

/// Ten events in one record, two records alone, a split, and three more: read by a processor that
/// dies once after event 6, of the packed record.
async fn deliver_to_one_that_dies(command: impl Fn(&Path) -> String) -> Scene {
    let scene = Scene::begin().await;
    let client = client(scene.local.endpoint());
    put(&client, "s", vec![packed_record(0, 10)]).await;
    scene.put(10, 12).await;
    scene.split().await;
    scene.put(12, 15).await;
    let command = command(scene.folder.path());
    let command = CommandLine::parse(&command).expect("it has words");
    let running = scene.deliver(Settings { command, ..scene.settings("none") }).await;
    scene.until_told(15).await;
    scene.assert_checkpoints_grow();
    assert_eq!(scene.lines("failed").len(), 1, "it died");
    let told = scene.told();
    let of_parent = told.iter().rposition(|n| *n < 12).expect("they were told");
    let of_children = told.iter().position(|n| *n >= 12).expect("they were told");
    assert!(of_parent < of_children, "{told:?}");
    scene.stop.cancel();
    eventually("all children were told to stop", async || {
        let left = scene.lines("actions").iter().filter(|line| line.ends_with("leaseLost")).count();
        (left == 2).then_some(())
    })
    .await;
    running.abort();
    scene
}

#[tokio::test]
async fn a_processor_of_amazon_kclpy_goes_on_in_the_middle_of_a_packed_record() {
    let Some(kclpy) = tokio::task::spawn_blocking(packages::kclpy).await.expect("pip ends") else {
        return;
    };
    let app = packages::file("python/kclpy_app.py");
    let command = |folder: &Path| {
        let (kclpy, app, folder) = (kclpy.display(), app.display(), folder.display());
        format!("env PYTHONPATH={kclpy} python3 {app} {folder} each 6")
    };
    let scene = deliver_to_one_that_dies(command).await;
    let mut told = scene.told();
    told.sort_unstable();
    assert_eq!(
        told,
        (0..15).collect::<Vec<_>>(),
        "each event once: its checkpoint was in the pack"
    );
}

#[tokio::test]
async fn a_processor_of_aws_kcl_is_told_the_rest_of_a_packed_record_again() {
    let Some(node) = tokio::task::spawn_blocking(packages::node).await.expect("npm ends") else {
        return;
    };
    let app = node.join("kcl-app.cjs");
    let command = |folder: &Path| format!("node {} {} each 6", app.display(), folder.display());
    let scene = deliver_to_one_that_dies(command).await;
    let mut told = scene.told();
    told.sort_unstable();
    // It cannot name an event of a pack: its checkpoint is the first one.
    let mut expected: Vec<usize> = (0..15).chain(1..7).collect();
    expected.sort_unstable();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn both_libraries_set_checkpoints_after_a_batch_and_at_the_end() {
    let packages = || Some((packages::kclpy()?, packages::node()?));
    let Some((kclpy, node)) = tokio::task::spawn_blocking(packages).await.expect("they end") else {
        return;
    };
    let (kclpy, python) = (kclpy.display(), packages::file("python/kclpy_app.py"));
    let python = format!("env PYTHONPATH={kclpy} python3 {}", python.display());
    for program in [python, format!("node {}", node.join("kcl-app.cjs").display())] {
        let scene = Scene::begin().await;
        scene.put(0, 10).await;
        scene.split().await;
        scene.put(10, 20).await;
        let command = format!("{program} {} end", scene.folder.path().display());
        let command = CommandLine::parse(&command).expect("it has words");
        let running = scene.deliver(Settings { command, ..scene.settings("none") }).await;
        scene.until_told(20).await;
        eventually("every batch is done", async || {
            let last = scene.stored().iter().rposition(|(_, at)| *at == Checkpoint::End)?;
            (scene.stored().len() > last + 2).then_some(())
        })
        .await;
        scene.assert_checkpoints_grow();
        let mut told = scene.told();
        told.sort_unstable();
        assert_eq!(told, (0..20).collect::<Vec<_>>(), "{program}: each record once");
        running.abort();
    }
}
