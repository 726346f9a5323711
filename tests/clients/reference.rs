//! The tool is honest: a client that keeps every promise passes every case, and each case fails one
//! that is broken for it.

use std::collections::{BTreeMap, BTreeSet};

use testkit::packages::unless_on_ci;
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::{DISPATCHD, assert_succeeds, clients, conformance, told};

/// How long a case waits for what a broken client never does, in seconds: longer than any timeout
/// of a case, so that it is the fault that is seen.
const WITHIN: &str = "5";
/// Broken clients that are tried at the same time: most of their time is waiting.
const AT_ONCE: usize = 8;

/// How it is started; nothing, aloud, without Python.
async fn reference() -> Option<String> {
    let asked = Command::new("python3").arg("--version").output().await;
    unless_on_ci("python3", asked.map_err(|error| error.to_string()))?;
    Some(format!("python3 {}", clients().join("conformance/reference.py").display()))
}

#[tokio::test]
async fn a_client_that_keeps_every_promise_passes_every_case() {
    let Some(reference) = reference().await else { return };
    let output = assert_succeeds(&mut conformance(&reference)).await;
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.trim_end().ends_with("0 broken, 0 skipped"), "{printed}");
}

#[tokio::test]
async fn each_case_fails_a_client_that_is_broken_for_it() {
    let Some(reference) = reference().await else { return };
    let mut faults = Command::new("sh");
    let faults = assert_succeeds(faults.args(["-c", &format!("{reference} --faults")])).await;
    let faults = String::from_utf8(faults.stdout).expect("it prints UTF-8");
    let faults: BTreeMap<&str, &str> =
        faults.lines().map(|line| line.split_once(' ').expect("a case and its fault")).collect();
    let listed = assert_succeeds(DISPATCHD.command().args(["conformance", "--list"])).await;
    let listed = String::from_utf8(listed.stdout).expect("it prints UTF-8");
    let cases = listed.lines().filter(|line| !line.starts_with(' '));
    assert_eq!(cases.collect::<BTreeSet<_>>(), faults.keys().copied().collect());

    let mut waiting = faults.into_iter().map(|(case, fault)| (case.to_owned(), fault.to_owned()));
    let mut playing = JoinSet::new();
    let mut unseen = Vec::new();
    loop {
        while playing.len() < AT_ONCE
            && let Some((case, fault)) = waiting.next()
        {
            let mut broken = conformance(&format!("{reference} --broken {fault}"));
            broken.args(["--only", &case, "--within", WITHIN]);
            playing.spawn(async move { (case, fault, broken.output().await.expect("it starts")) });
        }
        let Some(played) = playing.join_next().await else { break };
        let (case, fault, output) = played.expect("no try panics");
        let is_red = output.status.code() == Some(1)
            && String::from_utf8_lossy(&output.stdout).contains("FAIL");
        if !is_red {
            unseen.push(format!("{case} does not notice {fault}: {}", told(&output)));
        }
    }
    assert!(unseen.is_empty(), "{}", unseen.join("\n"));
}

#[tokio::test]
async fn what_is_no_driver_is_told_and_so_is_what_is_no_case() {
    for (client, said) in [
        ("echo hello", "the driver's first line is \"hello\""),
        ("echo why >&2; exit 3", "the driver ended (exit status: 3) before its first line\n  why"),
    ] {
        let output = conformance(client).output().await.expect("it starts");
        assert_eq!(output.status.code(), Some(1));
        assert!(told(&output).contains(said), "{}", told(&output));
    }
    let mut none = conformance("true");
    let output = none.args(["--only", "nothing_at_all"]).output().await.expect("it starts");
    assert_eq!(output.status.code(), Some(64), "{}", told(&output));
}
