//! What is in `deploy/` works as its README says: rendered, validated and linted by the tools that
//! people use.

use std::io::Write;
use std::os::linux::net::SocketAddrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::daemon::Daemon;
use testkit::fault::FaultServer;
use testkit::fault::plan::{Plan, Refusal};
use testkit::kinesis::Ferro;
use testkit::packages::{node, python, unless_on_ci};
use testkit::prometheus::promtool;
use testkit::stream::{create_stream, read_all};
use testkit::{client, eventually};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixDatagram;

use crate::DISPATCHD;

/// Where the sidecar's probes and metrics are.
const ADMIN_PORT: u64 = 16464;
/// The default of others: an application with OpenTelemetry's exporter in the same pod could not
/// start.
const TAKEN_PORT: &str = "9464";
/// Idle, in a container: what `check` does not count.
const IDLE_BYTES: u64 = 16 << 20;

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What a command prints; panics with what it said if it fails.
pub(crate) fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

/// Whether a program that no package manager of ours brings is here. On CI it must be.
pub(crate) fn has(program: &str) -> bool {
    let mut asked = Command::new(program);
    let asked = asked.arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status();
    unless_on_ci(program, asked.map_err(|error| error.to_string())).is_some()
}

/// The documents of a YAML text.
pub(crate) fn parse(python: &Path, yaml: &str) -> Vec<Value> {
    let script = "import sys, json, yaml; print(json.dumps(list(yaml.safe_load_all(sys.argv[1]))))";
    let json = output(Command::new(python.join("python")).args(["-c", script, yaml]));
    serde_json::from_str(&json).expect("json.dumps prints JSON")
}

/// `kubectl kustomize` of a folder.
pub(crate) fn render(folder: &Path) -> String {
    output(Command::new("kubectl").arg("kustomize").arg(folder))
}

/// What the README's `kustomization.yaml` makes of these workloads.
fn apply(workloads: &str, more: &str) -> String {
    apply_with(workloads, |text| format!("{text}\n{more}"))
}

/// The same, with that file changed.
fn apply_with(workloads: &str, change: impl FnOnce(&str) -> String) -> String {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().expect("it is in the directory"))
            .expect("it is ours");
        std::fs::write(path, text).expect("it is ours");
    };
    for folder in ["", "http/", "kinesis-api/"] {
        for file in ["kustomization.yaml", "app.yaml", "sidecar.yaml", "cronjob.yaml"] {
            let path = format!("deploy/component/{folder}{file}");
            write(&format!("dispatchd/{path}"), &text(&path));
        }
    }
    write("deployment.yaml", workloads);
    write("kustomization.yaml", &change(block(&text("deploy/README.md"))));
    render(dir.path())
}

/// The README's `kustomization.yaml` with these inputs on loopback switched on.
fn with_inputs(workloads: &str, inputs: &[&str]) -> String {
    let component = "dispatchd/deploy/component";
    let named: String = inputs.iter().map(|input| format!(", {component}/{input}")).collect();
    let (alone, all) =
        (format!("components: [{component}]"), format!("components: [{component}{named}]"));
    apply_with(workloads, |text| {
        assert!(text.contains(&alone), "{text}");
        text.replace(&alone, &all)
    })
}

/// One workload of each kind that the component knows, with this pod, asking for the sidecar.
fn of_every_kind(spec: &str) -> String {
    let workload = |(kind, api): (&str, &str)| {
        let template = match kind {
            "CronJob" => format!("{{jobTemplate: {{spec: {{template: {{spec: {spec}}}}}}}}}"),
            _ => format!("{{template: {{spec: {spec}}}}}"),
        };
        format!(
            "apiVersion: {api}\nkind: {kind}\nmetadata: {{name: x, labels: {{dispatchd: sidecar}}}}\nspec: {template}\n---\n"
        )
    };
    let kinds = ["Deployment", "StatefulSet", "DaemonSet"].map(|kind| (kind, "apps/v1"));
    let batch = ["Job", "CronJob"].map(|kind| (kind, "batch/v1"));
    kinds.into_iter().chain(batch).map(workload).collect()
}

/// The first block of YAML on a page.
fn block(page: &str) -> &str {
    page.split_once("```yaml\n")
        .and_then(|(_, rest)| rest.split_once("```"))
        .expect("the page has a block of YAML")
        .0
}

/// The pod template of a workload.
pub(crate) fn pod(workload: &Value) -> &Value {
    let spec = &workload["spec"];
    if workload["kind"] == "CronJob" {
        &spec["jobTemplate"]["spec"]["template"]
    } else {
        &spec["template"]
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn is_workload(document: &&Value) -> bool {
    !matches!(document["kind"].as_str(), Some("ConfigMap"))
}

/// The sidecar in the example's Deployment, and the whole example.
fn example(python: &Path) -> (Value, Vec<Value>) {
    let documents = parse(python, &render(&root().join("deploy/example")));
    let deployment =
        documents.iter().find(|document| document["kind"] == "Deployment").expect("it has one");
    (pod(deployment)["spec"]["initContainers"][0].clone(), documents)
}

/// A whole number with a unit of Kubernetes, in bytes.
fn bytes(quantity: &Value) -> u64 {
    let mib = quantity.as_str().and_then(|text| text.strip_suffix("Mi")).expect("it is in Mi");
    mib.parse::<u64>().expect("a whole number") << 20
}

/// What keeps a pod out of a namespace with the *restricted* profile, of what a pod can say wrongly
/// here. <https://kubernetes.io/docs/concepts/security/pod-security-standards/>, 1.29 to 1.34.
pub(crate) fn violations(pod: &Value) -> Vec<String> {
    let spec = &pod["spec"];
    let mut found = Vec::new();
    for name in ["hostNetwork", "hostPID", "hostIPC"] {
        if spec[name] == true {
            found.push(name.to_owned());
        }
    }
    for volume in list(&spec["volumes"]) {
        let allowed = [
            "configMap",
            "csi",
            "downwardAPI",
            "emptyDir",
            "ephemeral",
            "persistentVolumeClaim",
            "projected",
            "secret",
        ];
        let kinds =
            volume.as_object().expect("a volume is a mapping").keys().filter(|key| *key != "name");
        found.extend(
            kinds
                .filter(|kind| !allowed.contains(&kind.as_str()))
                .map(|kind| format!("volume {kind}")),
        );
    }
    for container in list(&spec["initContainers"]).iter().chain(list(&spec["containers"])) {
        let own = &container["securityContext"];
        let either =
            |key: &str| if own[key].is_null() { &spec["securityContext"][key] } else { &own[key] };
        let seccomp = &either("seccompProfile")["type"];
        let added = list(&own["capabilities"]["add"]).iter().all(|name| name == "NET_BIND_SERVICE");
        let host_ports = list(&container["ports"]).iter().any(|port| !port["hostPort"].is_null());
        let rules = [
            ("privileged", own["privileged"] != true),
            ("allowPrivilegeEscalation", own["allowPrivilegeEscalation"] == false),
            ("capabilities", added && list(&own["capabilities"]["drop"]).contains(&"ALL".into())),
            ("runAsNonRoot", *either("runAsNonRoot") == true),
            ("runAsUser", *either("runAsUser") != 0),
            ("seccompProfile", seccomp == "RuntimeDefault" || seccomp == "Localhost"),
            ("hostPort", !host_ports),
        ];
        let broken = rules.into_iter().filter(|(_, holds)| !holds);
        found.extend(broken.map(|(rule, _)| format!("{}: {rule}", container["name"])));
    }
    found
}

#[test]
fn the_component_adds_the_sidecar_to_every_kind_of_workload_that_asks_for_it() {
    let Some(python) = python().filter(|_| has("kubectl")) else { return };
    let spec = r#"{initContainers: [{name: migrate, image: m}], containers: [
        {name: app, image: a, env: [{name: X, value: "1"}], volumeMounts: [{name: tmp, mountPath: /tmp}]},
        {name: other, image: b}], volumes: [{name: tmp, emptyDir: {}}]}"#;
    let workloads = of_every_kind(spec);
    let bare = workloads.replace("name: x, labels: {dispatchd: sidecar}", "name: bare");
    let rendered = parse(&python, &apply(&(workloads + &bare), ""));

    let (bare, asked): (Vec<&Value>, Vec<&Value>) = rendered
        .iter()
        .filter(is_workload)
        .partition(|document| document["metadata"]["name"] == "bare");
    let untouched = &parse(&python, spec)[0];
    assert!(
        bare.iter().all(|workload| pod(workload)["spec"] == *untouched),
        "who does not ask gets nothing: {bare:#?}"
    );
    assert_eq!((asked.len(), bare.len()), (5, 5));
    let config =
        rendered.iter().find(|document| document["kind"] == "ConfigMap").expect("it is generated");
    for workload in asked {
        let (pod, kind) = (pod(workload), &workload["kind"]);
        let sidecar = &pod["spec"]["initContainers"][0];
        assert_eq!(
            (&sidecar["name"], &sidecar["restartPolicy"]),
            (&json!("dispatchd"), &json!("Always")),
            "{kind}"
        );
        assert_eq!(sidecar["image"], "registry.example.com/dispatchd:0.1.0");
        assert_eq!(sidecar["envFrom"][0]["configMapRef"]["name"], config["metadata"]["name"]);
        assert_eq!(
            pod["spec"]["initContainers"][1]["name"], "migrate",
            "{kind}: the others come after it"
        );
        assert_eq!(pod["metadata"]["labels"]["dispatchd"], "sidecar");
        let [app, other] = list(&pod["spec"]["containers"]) else {
            panic!("{kind}: two containers")
        };
        let socket = json!({"name": "DISPATCHD_SOCKET", "value": "/run/dispatchd/dispatchd.sock"});
        assert_eq!(app["env"], json!([{"name": "X", "value": "1"}, socket]), "{kind}");
        let mount = json!({"name": "dispatchd", "mountPath": "/run/dispatchd", "readOnly": true});
        assert_eq!(
            app["volumeMounts"],
            json!([{"name": "tmp", "mountPath": "/tmp"}, mount]),
            "{kind}"
        );
        assert_eq!(
            *other,
            json!({"name": "other", "image": "b"}),
            "{kind}: the first container only"
        );
    }
}

/// What switches each input on loopback on: the component, the daemon's key, and the variable that
/// tells the application.
const INPUTS: [(&str, &str, &str, &str); 2] = [
    (
        "kinesis-api",
        "DISPATCHD__KINESIS_API__LISTEN",
        "AWS_ENDPOINT_URL_KINESIS",
        "http://127.0.0.1:4568",
    ),
    ("http", "DISPATCHD__HTTP__LISTEN", "DISPATCHD_URL", "http://127.0.0.1:4580"),
];

#[test]
fn each_input_on_loopback_is_switched_on_for_the_daemon_and_told_to_the_application() {
    let Some(python) = python().filter(|_| has("kubectl")) else { return };
    let workloads = of_every_kind("{containers: [{name: app, image: a}, {name: other, image: b}]}");
    for (folder, key, variable, url) in INPUTS {
        let rendered = parse(&python, &with_inputs(&workloads, &[folder]));
        let workloads: Vec<_> = rendered.iter().filter(is_workload).collect();
        assert_eq!(workloads.len(), 5, "nothing else comes out");
        for workload in workloads {
            let (spec, kind) = (&pod(workload)["spec"], &workload["kind"]);
            let address = json!({"name": key, "value": url.trim_start_matches("http://")});
            let sidecar = &spec["initContainers"][0];
            assert!(list(&sidecar["env"]).contains(&address), "{kind}: {sidecar}");
            assert_eq!(sidecar["image"], "registry.example.com/dispatchd:0.1.0", "{kind}");
            let app = json!([
                {"name": "DISPATCHD_SOCKET", "value": "/run/dispatchd/dispatchd.sock"},
                {"name": variable, "value": url},
                {"name": "NO_PROXY", "value": "127.0.0.1,"},
            ]);
            assert_eq!(spec["containers"][0]["env"], app, "{kind}");
            assert_eq!(spec["containers"][1], json!({"name": "other", "image": "b"}), "{kind}");
        }
    }
}

#[test]
fn an_application_keeps_what_its_no_proxy_has_already() {
    let Some(python) = python().filter(|_| has("kubectl")) else { return };
    let workloads = of_every_kind(
        "{containers: [{name: app, image: a, env: [{name: NO_PROXY, value: '.svc,10.0.0.0/8'}]}]}",
    );
    for inputs in [&["http"][..], &["kinesis-api"], &["kinesis-api", "http"]] {
        let rendered = parse(&python, &with_inputs(&workloads, inputs));
        for workload in rendered.iter().filter(is_workload) {
            let env = list(&pod(workload)["spec"]["containers"][0]["env"]);
            let named: Vec<_> = env.iter().filter(|entry| entry["name"] == "NO_PROXY").collect();
            let [no_proxy] = named[..] else { panic!("{env:?}: one variable of the name") };
            let hosts = no_proxy["value"].as_str().expect("a value").split(',');
            let (ours, own): (Vec<_>, Vec<_>) = hosts.partition(|host| *host == "127.0.0.1");
            assert_eq!(ours.len(), inputs.len(), "{no_proxy}");
            assert_eq!(own, [".svc", "10.0.0.0/8"], "{}", workload["kind"]);
        }
    }
}

#[test]
fn a_component_that_matched_nothing_is_told_and_lets_nothing_through() {
    if !has("kubectl") {
        return;
    }
    let matched = |rendered: &str| {
        let mut script = Command::new(root().join("deploy/component/matched"));
        let mut script = script
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("sh");
        script.stdin.take().expect("it is piped").write_all(rendered.as_bytes()).expect("it reads");
        script.wait_with_output().expect("it ends")
    };
    let example = render(&root().join("deploy/example"));
    let said = matched(&example);
    assert!(
        said.status.success() && String::from_utf8_lossy(&said.stdout) == example,
        "it is handed on as it is"
    );
    assert_eq!(
        String::from_utf8_lossy(&said.stderr),
        "dispatchd is in Deployment orders\ndispatchd is in CronJob orders-report\ndispatchd is in Job orders-import\n"
    );
    // The usual mistakes: no label; one on the pods alone; one that the same kustomization puts on.
    let deployment = text("deploy/example/deployment.yaml");
    let bare = deployment.replace("  labels: { dispatchd: sidecar }\n", "");
    let on_pods =
        bare.replace("labels: { app: orders }", "labels: { app: orders, dispatchd: sidecar }");
    let late = "labels: [{ pairs: { dispatchd: sidecar } }]";
    for (workload, more) in [(&bare, ""), (&on_pods, ""), (&bare, late)] {
        let said = matched(&apply(workload, more));
        assert_eq!((said.status.code(), said.stdout.len()), (Some(1), 0), "{more}");
        assert!(String::from_utf8_lossy(&said.stderr).contains("in no workload"), "{said:?}");
    }
}

#[test]
fn a_group_of_the_pods_own_can_be_put_back() {
    let Some(python) = python().filter(|_| has("kubectl")) else { return };
    let deployment = text("deploy/example/deployment.yaml");
    let patch = r#"patches: [{target: {kind: Deployment}, patch: '[{"op": "replace", "path": "/spec/template/spec/securityContext/fsGroup", "value": 7}]'}]"#;
    let fs_group = |yaml: String| {
        let documents = parse(&python, &yaml);
        let deployment = documents.iter().find(is_workload).expect("it is there").clone();
        pod(&deployment)["spec"]["securityContext"]["fsGroup"].clone()
    };
    assert_eq!(fs_group(apply(&deployment, "")), 65532);
    assert_eq!(fs_group(apply(&deployment, patch)), 7);
}

#[test]
fn every_manifest_is_valid_in_kubernetes_1_29_and_1_37() {
    let Some(python) = python().filter(|_| has("kubectl")) else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, manifests: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, manifests).expect("it is ours");
        path
    };
    let example = write("example.yaml", render(&root().join("deploy/example")));
    let deployment = text("deploy/example/deployment.yaml");
    let inputs = write("inputs.yaml", with_inputs(&deployment, &["kinesis-api", "http"]));
    for version in ["1.29.0", "1.37.0"] {
        let mut validate = Command::new(python.join("kubernetes-validate"));
        validate.args(["--strict", "--kubernetes-version", version]).args([&example, &inputs]);
        let said = output(validate.arg(root().join("deploy/networkpolicy.yaml")));
        assert_eq!(said.matches("passed for resource").count(), 7, "{said}");
    }
}

#[test]
fn every_pod_of_the_example_is_of_the_restricted_profile() {
    let Some(python) = python().filter(|_| has("kubectl")) else { return };
    let (_, documents) = example(&python);
    for workload in documents.iter().filter(is_workload) {
        assert_eq!(violations(pod(workload)), [""; 0], "{}", workload["kind"]);
        // Nobody in it asks the Kubernetes API, so nobody gets a token for it.
        assert_eq!(
            pod(workload)["spec"]["automountServiceAccountToken"],
            false,
            "{}",
            workload["kind"]
        );
    }
    // Each rule of this file is seen to be broken.
    let good = pod(documents.iter().find(is_workload).expect("it has workloads")).clone();
    let weakened = |path: &str, value: Value| {
        let mut pod = good.clone();
        *pod.pointer_mut(path).unwrap_or_else(|| panic!("no {path}")) = value;
        violations(&pod).len()
    };
    let own = "/spec/initContainers/0/securityContext";
    for (key, value) in [
        ("allowPrivilegeEscalation", json!(true)),
        ("capabilities", json!({"drop": ["NET_RAW"]})),
        ("capabilities", json!({"drop": ["ALL"], "add": ["SYS_PTRACE"]})),
        ("runAsNonRoot", Value::Null),
        ("runAsUser", json!(0)),
        ("seccompProfile", json!({"type": "Unconfined"})),
    ] {
        assert_eq!(weakened(&format!("{own}/{key}"), value.clone()), 1, "{key}: {value}");
    }
    assert_eq!(
        weakened("/spec/initContainers/0/ports", json!([{"containerPort": 1, "hostPort": 1}])),
        1
    );
    assert_eq!(
        weakened("/spec/volumes", json!([{"name": "dispatchd", "hostPath": {"path": "/run"}}])),
        1
    );
}

#[test]
fn the_default_port_is_the_same_wherever_it_stands() {
    let default = dispatchd::config::KEYS
        .iter()
        .find(|key| key.name == "admin.listen")
        .expect("a key")
        .default;
    assert_eq!(default, format!("[::]:{ADMIN_PORT}"));
    let numbers = |text: &str| {
        text.split(|c: char| !c.is_ascii_digit()).map(str::to_owned).collect::<Vec<_>>()
    };
    for path in [
        "Dockerfile",
        "SECURITY.md",
        "config.toml",
        "deploy/component/cronjob.yaml",
        "deploy/component/sidecar.yaml",
        "deploy/compose.yaml",
        "deploy/dispatchd.service",
        "deploy/networkpolicy.yaml",
        "deploy/prometheus.yml",
        "docs/metrics.md",
        "docs/operations.md",
    ] {
        let numbers = numbers(&text(path));
        assert!(numbers.contains(&ADMIN_PORT.to_string()), "{path} names another port");
        assert!(!numbers.iter().any(|number| number == TAKEN_PORT), "{path} names the old port");
    }
    for path in [
        "README.md",
        "deploy/README.md",
        "deploy/alerts.yaml",
        "deploy/podmonitor.yaml",
        "docs/delivery.md",
    ] {
        assert!(
            !numbers(&text(path)).iter().any(|number| number == TAKEN_PORT),
            "{path} names the old port"
        );
    }
}

#[test]
fn the_patch_for_cron_jobs_is_the_sidecars() {
    let Some(python) = python() else { return };
    for folder in ["", "http/", "kinesis-api/"] {
        let [sidecar, cron_job] = ["sidecar", "cronjob"]
            .map(|name| text(&format!("deploy/component/{folder}{name}.yaml")));
        let (sidecar, cron_job) = (&parse(&python, &sidecar)[0], &parse(&python, &cron_job)[0]);
        assert_eq!(sidecar["spec"], cron_job["spec"]["jobTemplate"]["spec"], "{folder}");
    }
}

/// The sum that `check` prints for the sidecar and the ConfigMap among these manifests, in bytes.
async fn sum_of_check(sidecar: &Value, documents: &[Value]) -> u64 {
    let mut check = DISPATCHD.command();
    check.arg("check");
    for variable in list(&sidecar["env"]) {
        let name = variable["name"].as_str().expect("a name");
        let value = variable["value"].as_str().expect("a value");
        // `check` listens there for a moment, and somebody on this machine may do so already.
        check.env(name, if name.ends_with("__LISTEN") { "127.0.0.1:0" } else { value });
    }
    let config =
        documents.iter().find(|document| document["kind"] == "ConfigMap").expect("there is one");
    for (name, value) in config["data"].as_object().expect("it has data") {
        check.env(name, value.as_str().expect("data is text"));
    }
    let output = check.output().await.expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let sum = said
        .rsplit_once(" = ")
        .and_then(|(_, sum)| sum.trim().strip_suffix(" MiB"))
        .expect("check prints a sum");
    (sum.parse::<f64>().expect("a number") * f64::from(1 << 20)) as u64
}

#[tokio::test]
async fn the_sidecars_configuration_is_valid_and_its_memory_adds_up_below_its_limit() {
    let Some(python) = python().filter(|_| has("kubectl")) else { return };
    let (sidecar, documents) = example(&python);
    let fits = async |sidecar: &Value, documents: &[Value], which: &str| {
        let sum = sum_of_check(sidecar, documents).await + IDLE_BYTES;
        let limit = bytes(&sidecar["resources"]["limits"]["memory"]);
        assert!(
            sum < limit,
            "{which}: {} MiB with what it takes idle, of {}",
            sum >> 20,
            limit >> 20
        );
    };
    fits(&sidecar, &documents, "the example").await;
    let deployment = text("deploy/example/deployment.yaml");
    for inputs in [&["http"][..], &["kinesis-api"], &["kinesis-api", "http"]] {
        let documents = parse(&python, &with_inputs(&deployment, inputs));
        let workload = documents.iter().find(is_workload).expect("it is there");
        fits(&pod(workload)["spec"]["initContainers"][0], &documents, &inputs.join(" and ")).await;
    }
    assert_eq!(
        parse(&python, block(&text("docs/operations.md")))[0]["env"],
        sidecar["env"],
        "the page explains them"
    );
    assert!(sidecar["resources"]["limits"].get("cpu").is_none());
    assert!(
        sidecar["lifecycle"].is_null(),
        "a preStop hook runs while the application still sends"
    );
}

#[tokio::test]
async fn every_probe_and_the_monitor_find_what_they_ask_for() {
    let Some(python) = python().filter(|_| has("kubectl")) else { return };
    let (sidecar, documents) = example(&python);
    let daemon = DISPATCHD.local().start().await;
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let get = &sidecar[probe]["httpGet"];
        assert_eq!(get["port"], ADMIN_PORT, "{probe}");
        assert_eq!(daemon.get(get["path"].as_str().expect("a path")).await.0, 200, "{probe}");
    }
    let defaults = DISPATCHD.local().check().await;
    assert!(defaults.contains(&format!("[::]:{ADMIN_PORT} ")), "{defaults}");
    assert_eq!(sidecar["ports"], json!([{"name": "dispatchd", "containerPort": ADMIN_PORT}]));

    // No schema of this kind is bundled with a validator: held against what it must fit.
    let monitor = &parse(&python, &text("deploy/podmonitor.yaml"))[0];
    assert_eq!(
        (&monitor["apiVersion"], &monitor["kind"]),
        (&json!("monitoring.coreos.com/v1"), &json!("PodMonitor"))
    );
    let endpoints = &monitor["spec"]["podMetricsEndpoints"];
    assert_eq!(
        *endpoints,
        json!([{"port": sidecar["ports"][0]["name"], "path": "/metrics", "interval": "15s"}])
    );
    assert_eq!(monitor["spec"].as_object().expect("a mapping").len(), 2, "{monitor}");
    let policy = &parse(&python, &text("deploy/networkpolicy.yaml"))[0]["spec"];
    let ports = list(&policy["ingress"]).iter().flat_map(|rule| list(&rule["ports"]));
    assert!(ports.into_iter().any(|port| port["port"] == ADMIN_PORT), "{policy}");
    for workload in documents.iter().filter(is_workload) {
        let labels = &pod(workload)["metadata"]["labels"];
        assert_eq!(labels["dispatchd"], monitor["spec"]["selector"]["matchLabels"]["dispatchd"]);
        let selected = labels["app"] == policy["podSelector"]["matchLabels"]["app"];
        assert_eq!(selected, workload["kind"] == "Deployment");
    }
}

#[tokio::test]
async fn whoever_stops_it_waits_longer_than_it_takes() {
    let Some(python) = python().filter(|_| has("kubectl")) else { return };
    let check = DISPATCHD.local().check().await;
    let timeout = check
        .lines()
        .find_map(|line| line.strip_prefix("shutdown.timeout"))
        .expect("check prints it");
    let timeout =
        timeout.trim().split('s').next().and_then(|seconds| seconds.parse().ok()).expect("seconds");
    let (_, documents) = example(&python);
    for workload in documents.iter().filter(is_workload) {
        let grace = pod(workload)["spec"]["terminationGracePeriodSeconds"]
            .as_u64()
            .expect("the example says it");
        assert!(grace >= timeout + 30, "{}: the application needs time as well", workload["kind"]);
    }
    let unit = text("deploy/dispatchd.service");
    let stop = unit
        .lines()
        .find_map(|line| line.strip_prefix("TimeoutStopSec="))
        .expect("the unit says it");
    assert!(stop.parse::<u64>().expect("seconds") > timeout);
    let compose = &parse(&python, &text("deploy/compose.yaml"))[0];
    let stop =
        compose["services"]["dispatchd"]["stop_grace_period"].as_str().expect("compose says it");
    assert!(stop.trim_end_matches('s').parse::<u64>().expect("seconds") > timeout);
}

/// What a service manager is told next.
async fn told(manager: &UnixDatagram) -> String {
    let mut state = [0; 256];
    let bytes =
        tokio::time::timeout(testkit::DEADLINE, manager.recv(&mut state)).await.expect("in time");
    String::from_utf8_lossy(&state[..bytes.expect("it is bound")]).into_owned()
}

#[tokio::test]
async fn the_service_manager_is_told_how_the_daemon_stands() {
    let unit = text("deploy/dispatchd.service");
    for line in [
        "Type=notify",
        "ExecReload=/usr/local/bin/dispatchd admin reload --config /etc/dispatchd/config.toml",
    ] {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("it is free");
    let mut daemon =
        DISPATCHD.local().env("NOTIFY_SOCKET", path.to_str().expect("UTF-8")).start().await;
    assert_eq!(told(&manager).await, "READY=1");
    assert_eq!(daemon.connect().await.ask("{\"op\":\"ping\"}").await["ok"], true);
    let reload = daemon.run_admin(&["reload"]).await;
    assert!(reload.status.success(), "what ExecReload runs says whether it took");
    assert_eq!([told(&manager).await, told(&manager).await], ["RELOADING=1", "READY=1"]);
    daemon.signal(Signal::TERM);
    assert_eq!(told(&manager).await, "STOPPING=1");
    assert_eq!(daemon.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_service_manager_at_an_abstract_address_is_told_and_one_that_is_gone_stops_nothing() {
    let name = format!("dispatchd-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a short name");
    let socket = std::os::unix::net::UnixDatagram::bind_addr(&address).expect("it is free");
    socket.set_nonblocking(true).expect("it can be");
    let manager = UnixDatagram::from_std(socket).expect("there is a runtime");
    let _daemon = DISPATCHD.local().env("NOTIFY_SOCKET", &format!("@{name}")).start().await;
    assert_eq!(told(&manager).await, "READY=1");
    let alone = DISPATCHD.local().env("NOTIFY_SOCKET", "/nonexistent/notify").start().await;
    assert_eq!(alone.logged("the service manager cannot be told").len(), 1);
}

#[tokio::test]
async fn a_command_of_exec_tells_its_service_manager_itself() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("it is free");
    let mut exec = DISPATCHD.command();
    exec.args(["exec", "--local", "--", "true"]).env("NOTIFY_SOCKET", &path);
    assert!(exec.status().await.expect("it runs").success());
    assert!(manager.try_recv(&mut [0; 16]).is_err(), "the daemon is not what was started");
}

#[test]
fn the_unit_starts_again_however_often_it_failed_and_its_directory_stays() {
    let unit = text("deploy/dispatchd.service");
    for line in
        ["StartLimitIntervalSec=0", "RuntimeDirectoryPreserve=restart", "Restart=on-failure"]
    {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
    let (head, service) = unit.split_once("[Service]").expect("a section");
    assert!(
        head.contains("StartLimitIntervalSec") && service.contains("RuntimeDirectoryPreserve"),
        "each in its section"
    );
}

#[test]
fn systemd_has_no_complaint_about_the_unit() {
    if !has("systemd-analyze") {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let unit = dir.path().join("dispatchd.service");
    let verify = |text: &str| {
        // It looks for the program that would be started.
        std::fs::write(&unit, text.replace("/usr/local/bin/dispatchd", DISPATCHD.path()))
            .expect("it is ours");
        let said = Command::new("systemd-analyze")
            .arg("verify")
            .arg(&unit)
            .output()
            .expect("it was just here");
        String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr)
    };
    let unit_text = text("deploy/dispatchd.service");
    // It exits 0 on keys that it does not know, and says so.
    assert_ne!(verify(&unit_text.replace("RestartSec=", "RestartSecs=")), "");
    assert_eq!(verify(&unit_text), "");
}

#[test]
fn the_compose_file_and_the_image_are_written_as_their_tools_want_them() {
    let Some(python) = python() else { return };
    let mut compose = Command::new(python.join("check-jsonschema"));
    output(
        compose
            .args(["--builtin-schema", "vendor.compose-spec", "deploy/compose.yaml"])
            .current_dir(root()),
    );
    output(Command::new(python.join("hadolint")).arg("Dockerfile").current_dir(root()));
    let scripts = [
        "deploy/build-binary.sh",
        "deploy/build-image.sh",
        "deploy/component/matched",
        ".ci/run",
        "fuzz/run",
    ];
    output(Command::new(python.join("shellcheck")).args(scripts).current_dir(root()));
}

#[tokio::test]
async fn prometheus_takes_the_configuration_and_the_alerts_of_the_compose_file() {
    let config = root().join("deploy/prometheus.yml");
    let Some(said) = promtool(&["check", "config", config.to_str().expect("UTF-8")], "").await
    else {
        return;
    };
    assert!(said.status.success(), "{said:?}");
}

#[test]
fn versions_are_the_same_wherever_they_stand() {
    let version = env!("CARGO_PKG_VERSION");
    for path in ["deploy/component/sidecar.yaml", "deploy/component/cronjob.yaml"] {
        assert!(text(path).contains(&format!("image: dispatchd:{version}\n")), "{path}");
    }
    for path in ["deploy/README.md", "deploy/example/kustomization.yaml", "README.md"] {
        assert!(text(path).contains(&format!("newTag: {version} }}")), "{path}");
    }
    let dockerfile = text("Dockerfile");
    assert!(dockerfile.contains(&format!("ARG VERSION={version}\n")));
    let toolchain = text("rust-toolchain.toml");
    let rust = toolchain
        .split("channel = \"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a channel");
    assert_eq!(
        dockerfile.matches(rust).count(),
        2,
        "the image is built by the toolchain of the tests: {rust}"
    );
}

#[test]
fn the_readme_shows_the_kustomization_that_is_tested() {
    assert_eq!(block(&text("README.md")), block(&text("deploy/README.md")));
}

/// Lets an application meet a daemon that is full, one that gives its events up, and one that is
/// killed. It goes on for ever, and prints a line with this word for each event that it believes to
/// be stored.
async fn assert_nothing_is_taken_for_stored_that_is_not(
    dir: &Path,
    mut app: tokio::process::Command,
    word: &str,
) {
    let ferro = Ferro::start(false).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    let start = DISPATCHD.daemon(&server.endpoint(), "s").set("delivery.timeout", "1s");
    let mut daemon = start.clone().set("socket.max_connections", 1).start_in(dir).await;
    let other = daemon.connect().await;
    let mut app =
        app.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("its interpreter is there");
    let mut said = BufReader::new(app.stdout.take().expect("it is piped")).lines();
    let mut stored = 0;
    let mut until_stored = async || loop {
        let line = tokio::time::timeout(testkit::DEADLINE, said.next_line())
            .await
            .expect("it says something in time");
        let line = line.expect("UTF-8").expect("it goes on for ever");
        assert!(!line.contains("rejected"), "{line}");
        if line.contains(word) {
            stored += 1;
            return stored;
        }
    };
    let moved = async |daemon: &Daemon, metric: &str| {
        eventually(metric, async || (daemon.metric(metric).await > 0.0).then_some(())).await;
    };
    moved(&daemon, "dispatchd_connections_refused_total{reason=\"max_connections\"}").await;
    drop(other);
    until_stored().await;

    server.set(Plan {
        denied: [("PutRecords".to_owned(), Refusal::access_denied())].into(),
        ..Plan::default()
    });
    moved(&daemon, "dispatchd_events_refused_total{code=\"DeliveryTimeout\"}").await;
    server.set(Plan::default());
    assert!(daemon.run_admin(&["reload"]).await.status.success(), "the stream is tried at once");
    until_stored().await;

    daemon.signal(Signal::KILL);
    daemon.exit_code().await;
    let _next = start.start_in(dir).await;
    let believed = [until_stored().await, until_stored().await][1];
    let records = read_all(&client(&ferro.endpoint()), "s").await;
    let orders = records.iter().map(|record| {
        let event: Value = serde_json::from_slice(&record.data).expect("an envelope");
        event["data"]["order"].as_u64().expect("its number")
    });
    let orders: std::collections::BTreeSet<_> = orders.collect();
    assert!(
        orders.len() >= believed,
        "{believed} were believed to be stored, {} are",
        orders.len()
    );
    assert!(
        (0..believed as u64).all(|order| orders.contains(&order)),
        "one was left out: {orders:?}"
    );
}

#[tokio::test]
async fn the_laptops_application_takes_no_refusal_for_an_ack() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut app = tokio::process::Command::new(python.join("python"));
    app.arg("-u")
        .arg(root().join("deploy/app.py"))
        .env("DISPATCHD_SOCKET", dir.path().join("d.sock"));
    assert_nothing_is_taken_for_stored_that_is_not(dir.path(), app, "\"ok\": true").await;
}

/// This application beside the `dispatch.js` of the page, for the daemon in this directory.
fn with_the_pages_dispatch_js(dir: &Path, app: &str) -> tokio::process::Command {
    let page = text("docs/operations.md");
    let snippet = page
        .split_once("```js\n")
        .and_then(|(_, rest)| rest.split_once("```"))
        .expect("the page has it")
        .0;
    for (name, script) in [("dispatch.js", snippet), ("app.js", app)] {
        std::fs::write(dir.join(name), script).expect("it is ours");
    }
    let mut node = tokio::process::Command::new("node");
    node.arg("app.js").current_dir(dir).env("DISPATCHD_SOCKET", dir.join("d.sock"));
    node
}

#[tokio::test]
async fn what_the_page_gives_to_users_of_lk_dispatch_takes_no_refusal_for_an_ack() {
    if node().is_none() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    // One key: what is stored is stored in order, one after another.
    let app = "const dispatch = require('./dispatch.js');
        let order = 0;
        const next = () => dispatch('t', { order: order++ }, { partitionKey: 'k' })
            .then((event) => console.log('stored', event.id), (error) => console.log('rejected', error.message))
            .then(() => setTimeout(next, 50));
        next();";
    let app = with_the_pages_dispatch_js(dir.path(), app);
    assert_nothing_is_taken_for_stored_that_is_not(dir.path(), app, "stored").await;
}

#[tokio::test]
async fn what_the_page_gives_to_users_of_lk_dispatch_lets_many_wait_and_its_process_end() {
    if node().is_none() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let app = "const dispatch = require('./dispatch.js');
        const all = Array.from({ length: 500 }, (_, order) => dispatch('t', { order }, { partitionKey: 'k', sourceUserId: 'u' }));
        Promise.all(all).then((events) => {
            const kept = events.every(({ data, source }, at) => data.order === at && source.userId === 'u');
            return dispatch('t', []).catch((error) => console.log(kept, new Set(events.map(({ id }) => id)).size, error.code));
        });";
    let _daemon = DISPATCHD.local().start_in(dir.path()).await;
    let mut app = with_the_pages_dispatch_js(dir.path(), app);
    let ended = tokio::time::timeout(testkit::DEADLINE, app.kill_on_drop(true).output())
        .await
        .expect("it ends by itself");
    let ended = ended.expect("there is node");
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "true 500 InvalidRequest\n", "{ended:?}");
}

#[tokio::test]
async fn the_laptops_application_gets_its_acks_from_one_daemon_and_the_next() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let script: PathBuf = root().join("deploy/app.py");
    let mut app = tokio::process::Command::new(python.join("python"))
        .arg("-u")
        .arg(script)
        .env("DISPATCHD_SOCKET", dir.path().join("d.sock"))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("there is python");
    let mut said = BufReader::new(app.stdout.take().expect("it is piped")).lines();
    let mut line = async || {
        let line = tokio::time::timeout(testkit::DEADLINE, said.next_line())
            .await
            .expect("it says something in time");
        line.expect("UTF-8").expect("it goes on for ever")
    };
    assert!(line().await.starts_with("no daemon at "), "it is started before the daemon");
    for _ in 0..2 {
        let _daemon = DISPATCHD.local().start_in(dir.path()).await;
        while !line().await.contains(r#""ok": true"#) {}
    }
}
