//! Arrows point down: a file imports from its own floor or a lower one. `src/lib.rs` has the map.

use std::path::{Path, PathBuf};

/// The floors, lowest first. `main.rs` and `lib.rs` stand beside them.
const FLOORS: &[&[&str]] = &[
    &["client", "heap", "http_server", "terminal"],
    &[
        "admin",
        "config",
        "consumer",
        "embedded_stream",
        "inputs",
        "producer",
        "progress",
        "schema",
        "targets",
        "telemetry",
    ],
    &["programs"],
    &["cli"],
];

fn floor_of(module: &str) -> usize {
    FLOORS
        .iter()
        .position(|floor| floor.contains(&module))
        .unwrap_or_else(|| panic!("{module} is on no floor: give it one"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .expect("the folder is readable")
        .map(|entry| entry.expect("so are its entries").path());
    entries.flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] }).collect()
}

/// The modules that a source text names as `crate::module`, grouped imports included.
fn imports(text: &str) -> Vec<String> {
    let name = |rest: &str| {
        rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>()
    };
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split("crate::").skip(1).map(name).collect::<Vec<_>>())
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn no_file_imports_from_a_floor_above() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut upward = Vec::new();
    for path in rust_files(&src) {
        let inside = path.strip_prefix(&src).expect("it was found there");
        let first = inside
            .components()
            .next()
            .expect("a file has a name")
            .as_os_str()
            .to_string_lossy()
            .into_owned();
        let module = first.trim_end_matches(".rs");
        if module == "lib" || module == "main" {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("sources are UTF-8");
        for import in imports(&text) {
            if floor_of(&import) > floor_of(module) {
                upward.push(format!("{} imports crate::{import}", inside.display()));
            }
        }
    }
    assert!(upward.is_empty(), "{upward:#?}");
}

#[test]
fn grouped_imports_of_whole_modules_are_not_used_to_hide_an_arrow() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for path in rust_files(&src) {
        let text = std::fs::read_to_string(&path).expect("sources are UTF-8");
        assert!(
            !text.contains("use crate::{"),
            "{}: name each module on a line of its own",
            path.display()
        );
    }
}

#[test]
fn a_plain_cargo_test_runs_the_tests_of_every_crate_but_the_testkit_which_has_none() {
    // A crate that is a member only is built as a dependency, and its tests would never run.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("Cargo.toml")).expect("it is UTF-8");
    let members = text.lines().find_map(|line| line.strip_prefix("default-members = "));
    let members: Vec<String> =
        serde_json::from_str(members.expect("it is on one line")).expect("a list of texts");
    let crates = std::fs::read_dir(root.join("crates")).expect("the folder is readable");
    let mut expected: Vec<String> = crates
        .map(|entry| entry.expect("so are its entries").file_name())
        .map(|name| format!("crates/{}", name.to_string_lossy()))
        .filter(|name| name != "crates/testkit")
        .chain([".".to_owned()])
        .collect();
    expected.sort();
    assert_eq!(members, expected);
}
