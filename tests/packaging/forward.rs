//! The manifests of `deploy/forward`: a forwarder of its own, and one beside the application.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use testkit::packages::python;

use super::deploy::{has, output, parse, pod, render, root, violations};
use crate::DISPATCHD;

/// Where a forwarder serves metrics and probes unless it is told otherwise.
const PORT: u64 = 16465;

/// The workload of each: rendered by kustomize, and the sidecar's as it stands.
fn workloads(python: &Path) -> [Value; 2] {
    let rendered = parse(python, &render(&root().join("deploy/forward")));
    let own = rendered.into_iter().find(|document| document["kind"] == "StatefulSet");
    let sidecar = std::fs::read_to_string(root().join("deploy/forward/sidecar.yaml"));
    let sidecar = parse(python, &sidecar.expect("it is there")).remove(0);
    [own.expect("it has one"), sidecar]
}

/// The forwarder's container, of its own pod or of the application's.
fn forwarder(workload: &Value) -> &Value {
    let spec = &pod(workload)["spec"];
    let all = spec["initContainers"].as_array().into_iter().chain(spec["containers"].as_array());
    let mut all = all.flatten();
    all.find(|container| container["name"] == "dispatchd").expect("it has a forwarder")
}

#[test]
fn both_manifests_are_valid_and_of_the_restricted_profile() {
    let Some(python) = python().filter(|_| has("kubectl")) else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let own = dir.path().join("own.yaml");
    std::fs::write(&own, render(&root().join("deploy/forward"))).expect("it is ours");
    for version in ["1.29.0", "1.37.0"] {
        let mut validate = Command::new(python.join("kubernetes-validate"));
        validate.args(["--strict", "--kubernetes-version", version]).arg(&own);
        let said = output(validate.arg(root().join("deploy/forward/sidecar.yaml")));
        assert_eq!(said.matches("passed for resource").count(), 4, "{said}");
    }
    for workload in workloads(&python) {
        assert_eq!(violations(pod(&workload)), [""; 0], "{workload}");
    }
}

#[test]
fn each_is_one_replica_whose_checkpoints_outlive_it_and_whose_probes_find_it() {
    let Some(python) = python().filter(|_| has("kubectl")) else { return };
    for workload in workloads(&python) {
        assert_eq!(workload["spec"]["replicas"], 1);
        let claims = &workload["spec"]["volumeClaimTemplates"];
        assert_eq!(claims[0]["spec"]["accessModes"][0], "ReadWriteOncePod");
        let container = forwarder(&workload);
        let mounts = container["volumeMounts"].as_array().expect("it has mounts");
        let at = mounts.iter().find(|mount| mount["name"] == claims[0]["metadata"]["name"]);
        let args = container["args"].as_array().expect("it has arguments");
        let place =
            format!("file:{}", at.expect("it is mounted")["mountPath"].as_str().expect("a path"));
        assert!(args.contains(&Value::from(place)), "{args:?}");
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            assert_eq!(container[probe]["httpGet"]["port"], PORT, "{probe}");
        }
        assert_eq!(container["ports"][0]["containerPort"], PORT);
    }
}

#[test]
fn the_shipped_targets_hold_and_the_port_is_the_pages() {
    let mut check = std::process::Command::new(DISPATCHD.path());
    check.args(["check", "--forward", "--stream", "orders", "--region", "eu-central-1"]);
    check.args(["--set", "forward.checkpoint=none", "--config"]);
    let said = output(check.arg(root().join("deploy/forward/config.toml")));
    assert!(said.contains("forward.target[1].name"), "{said}");
    assert!(said.contains(&format!("[::]:{PORT}")), "{said}");
    for page in ["docs/forward.md", "docs/metrics.md", "docs/configuration.md"] {
        let text = std::fs::read_to_string(root().join(page)).expect("it is there");
        assert!(text.contains(&PORT.to_string()), "{page}");
    }
}
