//! README's five minutes, as they are written: an Express app with Rabble Rouser's stream client,
//! an event of lk-dispatch's, the daemon with its embedded stream, and a forwarder between them.

use std::path::Path;
use std::process::Stdio;

use testkit::daemon::sheltered;
use testkit::packages::node;
use testkit::{DEADLINE, eventually};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::DISPATCHD;
use crate::scene::Port;

/// The ports that README names, and those that are kept to stand in their place here.
struct Ports([(&'static str, Port); 3]);

impl Ports {
    fn reserve() -> Self {
        Self(["3000", "4567", "4568"].map(|named| (named, Port::reserve())))
    }

    fn put_into(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (named, port)| {
            text.replace(named, &port.number().to_string())
        })
    }
}

/// The blocks of README's section, in order: with the language, or nothing, before each.
fn blocks(ports: &Ports) -> Vec<(String, String)> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"));
    let page = page.expect("it is there");
    let (_, section) =
        page.split_once("## Five minutes to an app that handles events").expect("a section");
    let section = section.split("\n## ").next().expect("there is one");
    let fenced = section.split("```").skip(1).step_by(2);
    let block = |block: &str| {
        let (language, text) = block.split_once('\n').expect("a block has lines");
        (language.to_owned(), ports.put_into(text))
    };
    fenced.map(block).collect()
}

/// The commands of a terminal, with this build's binary.
fn terminal(commands: &str, dir: &Path) -> Command {
    let commands = commands.replace("target/debug/dispatchd", DISPATCHD.path());
    // The last one takes the shell's place, so that it ends with it.
    let (before, last) = commands.trim_end().rsplit_once('\n').unwrap_or(("", commands.trim_end()));
    let mut shell = sheltered(Command::new("sh"));
    let last =
        if last.starts_with("AWS_") { format!("exec env {last}") } else { format!("exec {last}") };
    shell.arg("-c").arg(format!("{before}\n{last}")).current_dir(dir);
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"] {
        shell.env_remove(name); // README needs none
    }
    shell.env("DISPATCHD__ADMIN__LISTEN", "off").env("DISPATCHD__ADMIN__SOCKET", "off");
    shell.env("DISPATCHD__SOCKET__PATH", dir.join("d.sock"));
    shell.stdout(Stdio::piped()).stderr(Stdio::null());
    shell
}

fn start(commands: &str, dir: &Path) -> Child {
    terminal(commands, dir).spawn().expect("there is a shell")
}

#[tokio::test]
async fn readmes_five_minutes_bring_an_event_to_the_app() {
    let Some(packages) = node() else { return };
    let ports = Ports::reserve();
    let blocks = blocks(&ports);
    let scripts: Vec<&String> =
        blocks.iter().filter(|(language, _)| language == "js").map(|(_, text)| text).collect();
    let shells: Vec<&String> =
        blocks.iter().filter(|(language, _)| language.is_empty()).map(|(_, text)| text).collect();
    let [install, daemon, app, forwarder, event] = shells[..] else { panic!("{shells:?}") };
    assert!(install.starts_with("npm install "), "{install}");
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::os::unix::fs::symlink(packages.join("node_modules"), dir.path().join("node_modules"))
        .expect("the directory is ours");
    for (name, script) in ["app.js", "dispatch.js"].into_iter().zip(scripts) {
        std::fs::write(dir.path().join(name), script).expect("the directory is ours");
    }
    let _daemon = start(daemon, dir.path());
    let mut app = start(app, dir.path());
    let _forwarder = start(forwarder, dir.path());
    let sent = async || {
        // The daemon may not listen yet.
        let sent = timeout(DEADLINE, terminal(event, dir.path()).output()).await.ok()?.ok()?;
        String::from_utf8_lossy(&sent.stdout).contains("inserted in kinesis").then_some(())
    };
    let mut said = BufReader::new(app.stdout.take().expect("it is piped")).lines();
    let handled = async {
        loop {
            let line = said.next_line().await.expect("it can be read").expect("the app goes on");
            if line == "handled {\"key\":\"value\"}" {
                return;
            }
        }
    };
    // Sent until it is handled: the forwarder reads what comes once it has begun.
    tokio::select! {
        () = handled => {}
        () = async {
            loop {
                eventually("an event is sent", sent).await;
            }
        } => {}
        () = tokio::time::sleep(2 * DEADLINE) => panic!("no event was handled"),
    }
}
