//! What the environment says for the SDK is looked at before the daemon is ready: blank is unset,
//! broken is named; and where requests will go is shown, and guarded, whoever named it.

use std::process::Output;

use testkit::daemon::{Start, event};
use testkit::kinesis::Ferro;
use testkit::stream::create_stream;
use testkit::{DEADLINE, client};
use tokio::time::timeout;

use crate::DISPATCHD;

/// Exit code and what is said on stderr by `run` and by `check`, which must be the same.
async fn refused(vars: &[(&str, &str)]) -> String {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut said = Vec::new();
    for program in ["run", "check"] {
        let mut command = DISPATCHD.command();
        command.arg(program).args(["--stream", "s", "--admin-listen", "off"]);
        command
            .args(["--socket".as_ref(), dir.path().join("d.sock").as_os_str()])
            .envs(vars.iter().copied());
        let ended = timeout(DEADLINE, command.output()).await.expect("it does not serve");
        let Output { status, stderr, .. } = ended.expect("it runs");
        let stderr = String::from_utf8(stderr).expect("UTF-8");
        assert_eq!(status.code(), Some(64), "{program}: {stderr}");
        said.push(stderr);
    }
    assert_eq!(said[0], said[1], "check says what run says");
    said.remove(0)
}

#[tokio::test]
async fn a_variable_that_cannot_be_meant_is_refused_at_the_start_by_its_name() {
    for (name, value) in [
        ("AWS_ACCESS_KEY_ID", "AKIDSECRET\n"),
        ("AWS_SECRET_ACCESS_KEY", "SECRET\r\n"),
        ("AWS_SESSION_TOKEN", "SEC\nRET"),
        ("AWS_REGION", "us-east-1\n"),
        ("AWS_REGION", "\"us-east-1\""),
        ("AWS_ENDPOINT_URL_KINESIS", "localhost:4566"),
        ("AWS_ENDPOINT_URL_STS", "sts"),
        ("AWS_USE_FIPS_ENDPOINT", "1"),
    ] {
        let said = refused(&[(name, value)]).await;
        assert!(said.starts_with(&format!("dispatchd: {name} = ")), "{said}");
        assert!(
            said.contains("(from the environment): expected ") && !said.contains("SECRET\""),
            "{said}"
        );
        assert!(!said.contains("AKID") && said.lines().count() == 1, "{said}");
    }
}

#[tokio::test]
async fn blank_variables_are_unset() {
    let ferro = Ferro::start(false).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    let names = [
        "AWS_REGION",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_ENDPOINT_URL_KINESIS",
        "AWS_ENDPOINT_URL_STS",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_ROLE_ARN",
        "AWS_USE_FIPS_ENDPOINT",
        "AWS_USE_DUALSTACK_ENDPOINT",
    ];
    let blank = |start: Start| names.iter().fold(start, |start, name| start.env(name, " "));
    let start = blank(DISPATCHD.daemon("", "s")).env("AWS_DEFAULT_REGION", "eu-north-1");
    let daemon = start.clone().env("AWS_ENDPOINT_URL", &ferro.endpoint()).start().await;
    assert_eq!(daemon.connect().await.ask(&event(1, "k", "{}")).await["ok"], true);
    let ready = &daemon.logged("ready")[0];
    assert_eq!(
        (&ready["region"], &ready["endpoint"], &ready["identity"]),
        (
            &"eu-north-1".into(),
            &ferro.endpoint().into(),
            &"environment variables, access key …test".into()
        )
    );
    let told = daemon.status().await["stream"].clone();
    assert_eq!(
        (&told["region"], &told["endpoint"]),
        (&"eu-north-1".into(), &ferro.endpoint().into())
    );
    let checked = start.check().await;
    assert!(
        checked
            .contains("\nendpoint: https://kinesis.eu-north-1.amazonaws.com, region eu-north-1\n"),
        "{checked}"
    );
}

#[tokio::test]
async fn without_a_region_nothing_is_ready() {
    let said = refused(&[("AWS_REGION", "")]).await;
    assert_eq!(said, "dispatchd: no region: set AWS_REGION, stream.region or stream.arn\n");
}

#[tokio::test]
async fn plain_http_to_another_host_is_refused_whoever_named_the_endpoint() {
    const URL: &str = "http://kinesis.example:4567";
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = dir.path().join("config");
    std::fs::write(&config, format!("[default]\nendpoint_url = {URL}\n")).expect("it is writable");
    let config = config.to_str().expect("UTF-8");
    for (name, value, named) in [
        ("AWS_ENDPOINT_URL_KINESIS", URL, "AWS_ENDPOINT_URL_KINESIS"),
        ("AWS_ENDPOINT_URL", URL, "AWS_ENDPOINT_URL"),
        ("AWS_CONFIG_FILE", config, "endpoint_url in a profile file"),
    ] {
        let said = refused(&[(name, value)]).await;
        let expected = format!(
            "dispatchd: the endpoint is {URL} (from {named}): expected https, or http to loopback, unless stream.allow_http is true\n"
        );
        assert_eq!(said, expected);
        let allowed =
            DISPATCHD.daemon("", "s").set("stream.allow_http", true).env(name, value).check().await;
        assert!(allowed.contains(&format!("\nendpoint: {URL}, region us-east-1\n")), "{allowed}");
    }
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_is_refused_at_the_start() {
    let said = refused(&[
        ("AWS_ENDPOINT_URL_KINESIS", "https://kinesis.example"),
        ("AWS_USE_FIPS_ENDPOINT", "true"),
    ])
    .await;
    assert!(said.starts_with("dispatchd: no endpoint for region \"us-east-1\": "), "{said}");
    assert!(said.contains("FIPS"), "{said}");
}

#[tokio::test]
async fn a_broken_region_of_a_profile_is_named() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = dir.path().join("config");
    std::fs::write(&config, "[default]\nregion = us_east_1\n").expect("it is writable");
    let said =
        refused(&[("AWS_REGION", ""), ("AWS_CONFIG_FILE", config.to_str().expect("UTF-8"))]).await;
    assert!(
        said.starts_with("dispatchd: \"us_east_1\" is no region; it comes from a profile file"),
        "{said}"
    );
}

#[tokio::test]
async fn the_embedded_stream_looks_at_none_of_it() {
    let start = DISPATCHD
        .local()
        .env("AWS_REGION", "??")
        .env("AWS_ENDPOINT_URL", "nowhere")
        .env("AWS_ACCESS_KEY_ID", "\u{7}");
    let daemon = start.clone().start().await;
    assert_eq!(daemon.connect().await.ask(&event(1, "k", "{}")).await["ok"], true);
    assert!(start.check().await.contains("\nendpoint: the embedded stream\n"));
}

#[tokio::test]
async fn a_check_without_the_network_leaves_the_metadata_service_alone_and_says_so() {
    let start =
        DISPATCHD.daemon("", "s").env("AWS_REGION", "").env("AWS_EC2_METADATA_DISABLED", "false");
    // A request there would hang: nothing answers at an address of the documentation's.
    let checked = start.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://192.0.2.1").check().await;
    let said = "\nendpoint: not known, no region is named: the instance's metadata service is asked for one at the start\n";
    assert!(checked.contains(said), "{checked}");
}
