//! `pattern test`: the exit code says whether an event matches, and standard error what is wrong.

use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;

use crate::DISPATCHD;

const PATTERN: &str = r#"{"type": [{"prefix": "order "}]}"#;

async fn test(pattern: &str, event: &str, stdin: &str) -> (Option<i32>, String) {
    let mut command = DISPATCHD.command();
    command.args(["pattern", "test", "--pattern", pattern, "--event", event]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut pipe = child.stdin.take().expect("it is piped");
    let _ = pipe.write_all(stdin.as_bytes()).await; // it may have ended without reading
    drop(pipe);
    let Output { status, stdout, stderr } = child.wait_with_output().await.expect("it ends");
    let said = [stdout, stderr].concat();
    (status.code(), String::from_utf8(said).expect("it says text"))
}

#[tokio::test]
async fn the_exit_code_says_whether_an_event_matches() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("it is writable");
        format!("@{}", path.display())
    };
    let (pattern, event) = (file("pattern", PATTERN), file("event", r#"{"type":"order placed"}"#));
    for (pattern, event, stdin, expected) in [
        (PATTERN, r#"{"type":"order placed"}"#, "", (0, "it matches\n")),
        (PATTERN, r#"{"type":"sale"}"#, "", (1, "it does not match\n")),
        (&pattern, &event, "", (0, "it matches\n")),
        (PATTERN, "-", r#"{"type":"order placed"}"#, (0, "it matches\n")),
        (
            PATTERN,
            "order",
            "",
            (1, "dispatchd: this is no event: it is not JSON: expected a value at byte 0\n"),
        ),
        (
            r#"{"type": [{"prefx": "order "}]}"#,
            "{}",
            "",
            (
                2,
                "dispatchd: the pattern is wrong: line 1, column 12, in `type`: there is no \
                 operator `prefx`\n",
            ),
        ),
    ] {
        let found = test(pattern, event, stdin).await;
        assert_eq!((found.0, &*found.1), (Some(expected.0), expected.1), "{pattern} {event}");
    }
    let (code, said) = test("@/no/such/file", "{}", "").await;
    assert_eq!(code, Some(64), "it says nothing about the pattern: {said}");
    assert!(said.contains("cannot read /no/such/file"), "{said}");
}
