//! `forward --exec`, whole: unmodified processors of the KCL's libraries, and children that fail.
//! What each fault of a child comes to in its shard, the unit tests of the target see; here is what
//! an operator sees.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, test_kill_process};
use testkit::daemon::Start;
use testkit::kinesis::Ferro;
use testkit::stream::{create_stream, entry, put, shards, split};
use testkit::{client, eventually, packages};

use crate::DISPATCHD;

/// A stream, and a folder for what children note and for checkpoints.
struct Scene {
    ferro: Ferro,
    folder: tempfile::TempDir,
}

impl Scene {
    async fn begin(shards_count: i32) -> Self {
        let ferro = Ferro::start(false).await;
        create_stream(&client(&ferro.endpoint()), "s", shards_count).await;
        Self { ferro, folder: tempfile::tempdir().expect("a folder can be made") }
    }

    async fn put(&self, from: usize, to: usize) {
        let entries = (from..to).map(|n| entry(&format!("k{n}"), n.to_string())).collect();
        put(&client(&self.ferro.endpoint()), "s", entries).await;
    }

    /// A forwarder whose children have time to stop, however slow the machine is.
    fn forward(&self) -> Start {
        let start = DISPATCHD.forward(&self.ferro.endpoint(), "s").set("forward.poll", "200ms");
        start.args(["--exec-grace", "2m"]).set("shutdown.timeout", "3m")
    }

    /// A forwarder for `child.py` of the testkit, with this fault.
    fn forward_to_child(&self, fault: &str) -> Start {
        let child = packages::file("python/child.py");
        let command = format!("python3 {} {} {fault}", child.display(), self.path().display());
        self.forward().args(["--exec", &command, "--from", "trim-horizon"])
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path().join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The data of each record that a child was told, sorted.
    fn told(&self) -> Vec<usize> {
        let data = |line: &String| line.rsplit(' ').next().and_then(|data| data.parse().ok());
        let mut told: Vec<usize> =
            self.lines("records").iter().map(|line| data(line).expect("a number")).collect();
        told.sort_unstable();
        told
    }

    async fn until_told(&self, count: usize) {
        eventually("every record was told", async || {
            let mut told = self.told();
            told.dedup();
            (told.len() == count).then_some(())
        })
        .await;
    }

    /// Waits until no child is there any more.
    async fn until_no_child(&self, pids: &[String]) {
        assert!(!pids.is_empty());
        eventually("no child is left", async || {
            let is_there = |pid: &String| {
                let pid = Pid::from_raw(pid.parse().expect("a number")).expect("it is not 0");
                test_kill_process(pid).is_ok()
            };
            (!pids.iter().any(is_there)).then_some(())
        })
        .await;
    }
}

/// The commands of both libraries' processors; `None` where a toolchain is missing.
async fn processors() -> Option<[String; 2]> {
    let installed = || Some((packages::kclpy()?, packages::node()?));
    let (kclpy, node): (PathBuf, PathBuf) =
        tokio::task::spawn_blocking(installed).await.expect("they end")?;
    let python = packages::file("python/kclpy_app.py");
    Some([
        format!("env PYTHONPATH={} python3 {}", kclpy.display(), python.display()),
        format!("node {}", node.join("kcl-app.cjs").display()),
    ])
}

/// A whole life of an application that came from the KCL with its own file: records, a split, a
/// stop in order, and a start after it.
#[tokio::test]
async fn processors_of_both_libraries_run_by_the_kcl_s_own_file() {
    let Some(processors) = processors().await else { return };
    for processor in processors {
        let scene = Scene::begin(1).await;
        let file = scene.path().join("app.properties");
        let text = format!(
            "executableName = {processor} {} end\napplicationName: app-1\n\
             initialPositionInStream = TRIM_HORIZON\nmaxRecords = 4\nmetricsLevel = NONE\n",
            scene.path().display()
        );
        fs::write(&file, text).expect("it is written");
        let properties = ["--properties", file.to_str().expect("the folder is UTF-8")];
        scene.put(0, 10).await;
        let mut forwarder = scene.forward().args(properties).start_in(scene.path()).await;
        scene.until_told(10).await;
        let client = client(&scene.ferro.endpoint());
        split(&client, "s", &shards(&client, "s").await[0]).await;
        scene.put(10, 20).await;
        scene.until_told(20).await;
        eventually("what was told is done", async || {
            let done =
                forwarder.metric(r#"dispatchd_forward_records_total{outcome="delivered"}"#).await;
            (done == 20.0).then_some(())
        })
        .await;
        let status = forwarder.status().await;
        let target = &status["targets"][0];
        assert_eq!((&target["name"], &target["state"]), (&"app-1".into(), &"delivering".into()));
        forwarder.signal(Signal::TERM);
        assert_eq!(forwarder.exit_code().await, Some(0), "{}", forwarder.log());
        let ignored = forwarder.logged(&format!("{}: metricsLevel on line 5", file.display()));
        assert_eq!(ignored.len(), 1, "{}", forwarder.log());
        let actions = scene.lines("actions");
        let count = |what: &str| actions.iter().filter(|line| line.ends_with(what)).count();
        assert_eq!((count("shardEnded"), count("leaseLost"), count("EOF")), (1, 2, 3));

        scene.put(20, 25).await;
        let forwarder = scene.forward().args(properties).start_in(scene.path()).await;
        scene.until_told(25).await;
        assert_eq!(scene.told(), (0..25).collect::<Vec<_>>(), "{processor}: each record once");
        drop(forwarder);
    }
}

/// What a child that fails looks like to an operator, and that the other shard's goes on.
#[tokio::test]
async fn a_child_that_fails_is_told_once_with_what_to_do_and_the_others_go_on() {
    let scene = Scene::begin(2).await;
    scene.put(0, 40).await;
    let forwarder = scene.forward_to_child("exit").start_in(scene.path()).await;
    scene.until_told(40).await;
    let told = forwarder.told("the child ended by itself, with exit status: 3").await;
    assert_eq!(told.len(), 1, "{}", forwarder.log());
    let line = &told[0];
    assert_eq!((&line["level"], &line["status"]), (&"WARN".into(), &"exit status: 3".into()));
    assert_eq!(line["pid"].to_string(), scene.lines("failed")[0]);
    let message = line["message"].as_str().expect("it has one");
    assert!(message.ends_with("what it wrote to standard error stands above"), "{message}");
    assert_eq!(forwarder.told("the child says: it is of no use").await.len(), 1);
    let failed = r#"dispatchd_forward_children_failed_total{cause="exited"}"#;
    assert_eq!(forwarder.metric(failed).await, 1.0);
    assert_eq!(forwarder.metric("dispatchd_forward_children").await, 2.0);
    let shard = line["shard"].as_str().expect("it is named").to_owned();
    // What a child notes and what the log says come by different ways.
    let begun = eventually("the log has every child", async || {
        Some(forwarder.logged("a child began")).filter(|begun| begun.len() >= 3)
    })
    .await;
    let of_shard = |of: &str| begun.iter().filter(|line| line["shard"] == of).count();
    assert_eq!((begun.len(), of_shard(&shard)), (3, 2), "{}", forwarder.log());
}

/// The waits grow to a minute: whoever has mended the program need not wait so long.
#[tokio::test]
async fn a_reload_ends_the_wait_for_the_next_child() {
    let scene = Scene::begin(1).await;
    let forwarder = scene
        .forward()
        .args(["--exec", "false", "--from", "trim-horizon"])
        .start_in(scene.path())
        .await;
    let failed = r#"dispatchd_forward_children_failed_total{cause="exited"}"#;
    // By themselves so many take seven minutes.
    eventually("many failed", async || {
        forwarder.signal(Signal::HUP);
        (forwarder.metric(failed).await >= 15.0).then_some(())
    })
    .await;
}

/// A stop that is cut short is not said to be whole.
#[tokio::test]
async fn a_child_that_a_second_signal_kills_is_no_stop_in_order() {
    let scene = Scene::begin(1).await;
    scene.put(0, 3).await;
    let mut forwarder = scene.forward_to_child("stay").start_in(scene.path()).await;
    scene.until_told(3).await;
    forwarder.signal(Signal::TERM);
    forwarder.told("draining").await;
    eventually("it gives up", async || {
        forwarder.signal(Signal::TERM);
        (!forwarder.logged("stopped").is_empty()).then_some(())
    })
    .await;
    assert_eq!(forwarder.exit_code().await, Some(75), "{}", forwarder.log());
    let said = &forwarder.logged("stopped")[0]["message"];
    assert!(said.as_str().is_some_and(|said| !said.contains("nothing was under way")), "{said}");
    scene.until_no_child(&scene.lines("pids")).await;
}

/// A command that cannot work must not fill the log, nor keep a core busy.
#[tokio::test]
async fn a_child_that_fails_again_and_again_is_told_once_a_minute() {
    let scene = Scene::begin(1).await;
    let forwarder = scene
        .forward()
        .args(["--exec", "false", "--from", "trim-horizon"])
        .start_in(scene.path())
        .await;
    let failed = r#"dispatchd_forward_children_failed_total{cause="exited"}"#;
    eventually("some failed", async || (forwarder.metric(failed).await >= 4.0).then_some(())).await;
    let told = forwarder.told("the child ended by itself").await;
    assert_eq!(told.len(), 1, "{}", forwarder.log());
    let status = forwarder.status().await;
    let shard = &status["targets"][0]["shards"][0];
    assert_eq!(shard["state"], "retrying", "{status}");
    let result = shard["last_result"].as_str().expect("it says why");
    assert_eq!(result, "the child ended by itself, with exit status: 1");
}

/// A forwarder that is killed tells nobody. Its children see the end of their input.
#[tokio::test]
async fn a_forwarder_that_is_killed_leaves_no_child_and_the_next_one_goes_on() {
    let scene = Scene::begin(1).await;
    scene.put(0, 10).await;
    let mut forwarder = scene.forward_to_child("none").start_in(scene.path()).await;
    scene.until_told(10).await;
    let pids = scene.lines("pids");
    forwarder.signal(Signal::KILL);
    assert_eq!(forwarder.exit_code().await, None);
    scene.until_no_child(&pids).await;

    scene.put(10, 20).await;
    let mut forwarder = scene.forward_to_child("none").start_in(scene.path()).await;
    scene.until_told(20).await;
    forwarder.signal(Signal::TERM);
    assert_eq!(forwarder.exit_code().await, Some(0), "{}", forwarder.log());
    scene.until_no_child(&scene.lines("pids")).await;
}

#[tokio::test]
async fn what_cannot_be_run_is_said_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("app.properties");
    let file = file.to_str().expect("the folder is UTF-8");
    fs::write(file, "streamName = s\nmaxRecords = many\n").expect("it is written");
    for (args, code, said) in [
        (["--properties", file], 64, "line 2: maxRecords is \"many\""),
        (["--properties", "no-such-file"], 64, "cannot read no-such-file"),
        (["--exec", "no-such-program"], 1, "no-such-program is not found in PATH"),
    ] {
        let mut command = DISPATCHD.command();
        command.args(["forward", "--stream", "s", "--checkpoint", "none"]).args(args);
        command.args(["--endpoint-url", "http://127.0.0.1:9", "--admin-listen", "off"]);
        command.args(["--admin-socket", "off"]);
        let output = command.output().await.expect("it runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
}
