//! The examples of `docs/http.md` do what the page says.

use testkit::packages::{run, unless_on_ci};
use tokio::process::Command;

use super::client::daemon;

#[tokio::test]
async fn every_example_of_the_page_publishes_its_events() {
    let curl = run(std::process::Command::new("curl").arg("--version"));
    let python = run(std::process::Command::new("python3").arg("--version"));
    if unless_on_ci("curl and python3", curl.and(python)).is_none() {
        return;
    }
    let (_ferro, daemon) = daemon(|start| start).await;
    let page = include_str!("../../../docs/http.md");
    let examples =
        page.split("```sh\n").skip(1).map(|rest| rest.split("\n```").next().expect("a block ends"));
    let mut examples_count = 0;
    for example in examples {
        let shell = Command::new("sh")
            .args(["-ec", example])
            .env("DISPATCHD_SOCKET", daemon.socket())
            .output();
        let output = shell.await.expect("a shell");
        let (told, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{example}\n{told}\n{errors}");
        assert!(
            told.contains("\"ok\":true") && !told.contains("\"ok\":false"),
            "{example}\n{told}"
        );
        examples_count += 1;
    }
    assert_eq!(examples_count, 4);
    assert_eq!(
        daemon.metric("dispatchd_events_acked_total{input=\"http\"}").await,
        1.0 + 2.0 + 3.0 + 1.0
    );
}
