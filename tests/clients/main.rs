//! The clients of `clients/`, each with the toolchain of its language: its own checks, the cases of
//! `clients/conformance`, its recipes, and a daemon that dies under it. And the cases themselves:
//! each notices a client that is broken for it.
//!
//! A binary of its own: it takes minutes, most of them other languages' compilers and daemons that
//! end. Where a toolchain is missing its tests say so and pass; on CI they fail.
//!
//! - [`chaos`]: a daemon that is killed and stopped under load.
//! - [`reference`]: the client in one file, which keeps all, or breaks one thing.

#![cfg(feature = "local")]

mod chaos;
mod reference;

use std::path::{Path, PathBuf};
use std::process::Output;

use testkit::daemon::{Binary, sheltered};
use testkit::packages::unless_on_ci;
use tokio::process::Command;
use tokio::sync::{Mutex, MutexGuard};

const DISPATCHD: Binary = Binary::at(env!("CARGO_BIN_EXE_dispatchd"));

/// A client, and what it takes to try it.
struct Language {
    /// Its folder below `clients`.
    folder: &'static str,
    /// Programs that say their versions, all of which it needs.
    toolchain: &'static [[&'static str; 2]],
    /// What builds and installs in its folder takes turns. Drivers may run meanwhile: each looks
    /// after what is its own.
    turn: Mutex<()>,
}

impl Language {
    const fn new(folder: &'static str, toolchain: &'static [[&'static str; 2]]) -> Self {
        Self { folder, toolchain, turn: Mutex::const_new(()) }
    }

    /// Whether its toolchain is here; where it is not, that is said.
    async fn can_be_tried(&self) -> bool {
        for [program, version] in self.toolchain {
            let asked = Command::new(program).arg(version).output().await;
            if unless_on_ci(program, asked.map_err(|error| error.to_string())).is_none() {
                return false;
            }
        }
        true
    }

    /// Its turn; nothing where its toolchain is missing.
    async fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        if self.can_be_tried().await { Some(self.turn.lock().await) } else { None }
    }

    fn file(&self, name: &str) -> PathBuf {
        clients().join(self.folder).join(name)
    }

    /// Its formatter, its linter, its types and its own tests are content.
    async fn checks(&self) {
        let Some(_turn) = self.turn().await else { return };
        assert_succeeds(&mut sheltered(Command::new(self.file("check")))).await;
    }

    /// It keeps what docs/clients.md promises.
    async fn conforms(&self) {
        if self.can_be_tried().await {
            assert_succeeds(&mut conformance(&self.file("driver").display().to_string())).await;
        }
    }

    /// What its recipes' databases commit is in the stream, and nothing else. They start what they
    /// need: a daemon with an embedded stream, a database.
    async fn recipes_hold(&self, needs_postgres: bool) {
        let Some(_turn) = self.turn().await else { return };
        if needs_postgres && unless_on_ci("PostgreSQL", postgres()).is_none() {
            return;
        }
        let mut recipes = sheltered(Command::new(self.file("check-recipes")));
        assert_succeeds(recipes.env("DISPATCHD", DISPATCHD.path())).await;
    }

    /// Its strictly ordered events outlive fifty daemons.
    async fn outlives_daemons(&self) {
        if self.can_be_tried().await {
            chaos::assert_nothing_is_lost(&self.file("driver")).await;
        }
    }
}

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// Where Debian has PostgreSQL's programs.
fn postgres() -> Result<(), String> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut binaries = versions.filter_map(|version| Some(version.ok()?.path().join("bin/initdb")));
    binaries.any(|initdb| initdb.exists()).then_some(()).ok_or("no initdb".to_owned())
}

fn conformance(client: &str) -> Command {
    let mut command = DISPATCHD.command();
    command.args(["conformance", "--client", client]);
    command
}

async fn assert_succeeds(command: &mut Command) -> Output {
    let output = command.output().await.expect("it starts");
    assert!(output.status.success(), "{command:?}: {}", told(&output));
    output
}

/// How it ended, and all that it printed.
fn told(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{}\n{out}\n{err}", output.status)
}

macro_rules! clients {
    ($($language:ident: $toolchain:expr, needs postgres: $needs_postgres:literal;)+) => {$(
        mod $language {
            use super::Language;

            static LANGUAGE: Language = Language::new(stringify!($language), &$toolchain);

            #[tokio::test]
            async fn passes_its_own_checks() {
                LANGUAGE.checks().await;
            }

            #[tokio::test]
            async fn keeps_every_promise_of_a_client() {
                LANGUAGE.conforms().await;
            }

            #[tokio::test]
            async fn has_recipes_that_publish_what_is_committed() {
                LANGUAGE.recipes_hold($needs_postgres).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn loses_nothing_and_keeps_its_order_while_fifty_daemons_die() {
                LANGUAGE.outlives_daemons().await;
            }
        }
    )+};
}

clients! {
    node: [["node", "--version"], ["npm", "--version"]], needs postgres: true;
    python: [["python3", "--version"]], needs postgres: true;
    go: [["go", "version"]], needs postgres: false;
    java: [["javac", "--version"], ["mvn", "--version"]], needs postgres: false;
}

#[tokio::test]
async fn the_files_to_copy_for_other_languages_are_acked_refused_and_wait() {
    let daemon = DISPATCHD.local().start().await;
    let mut check = sheltered(Command::new(clients().join("snippets/check")));
    assert_succeeds(check.env("DISPATCHD_SOCKET", daemon.socket())).await;
}
