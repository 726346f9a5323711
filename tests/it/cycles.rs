//! No file imports, by however many steps, from a file that imports from it: each can then be read,
//! tested and moved without the other.
//!
//! The scan knows words and braces, not types. An edge is what a file names by a path: in a `use`,
//! or in the middle of its code. A name that a file only hands on (`pub use`) is looked for in the
//! file that it comes from, and is no edge of the file that hands it on, unless the code there uses
//! it as well. So a `mod.rs` may be its children's front or their ground, and not both. Code of
//! tests is passed over: it may look at everything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A path as it is written, `crate`, `super` and `self` included; a glob ends in `*`.
type Words = Vec<String>;

/// The crates that are looked at: ours, wherever their sources are.
fn roots() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crates = std::fs::read_dir(root.join("crates")).into_iter().flatten();
    let crates = crates.map(|entry| entry.expect("the folder is readable").path().join("src"));
    std::iter::once(root.join("src")).chain(crates).filter(|root| root.is_dir()).collect()
}

#[test]
fn no_file_imports_from_one_that_imports_from_it() {
    let found = roots().into_iter().flat_map(|root| {
        let edges = Crate::at(&root).edges();
        let ways = |cycle: &BTreeSet<&str>| (root.clone(), ways(&edges, cycle));
        cycles(&edges).iter().map(ways).collect::<Vec<_>>()
    });
    let found: Vec<_> = found.collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_rooms_of_a_lane_import_only_from_those_below_them_in_its_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/producer/src");
    let header = std::fs::read_to_string(root.join("lane/mod.rs")).expect("sources are UTF-8");
    let rows = header.lines().filter_map(|line| line.strip_prefix("//! | ")?.split(" | ").next());
    let names = rows.flat_map(|row| row.split('`').skip(1).step_by(2));
    let rooms: Vec<String> = names.map(|room| format!("lane/{room}.rs")).collect();
    let place = |file: &String| rooms.iter().position(|room| room == file);
    for (from, to) in &Crate::at(&root).edges() {
        if from.starts_with("lane/") && from != "lane/mod.rs" {
            let here = place(from).unwrap_or_else(|| panic!("{from} is in no row of the table"));
            let above: Vec<_> = to.iter().filter(|to| place(to) <= Some(here)).collect();
            let above: Vec<_> = above.iter().filter(|to| place(to).is_some()).collect();
            assert!(above.is_empty(), "{from} imports from {above:?}, which stand above it");
        }
    }
}

#[test]
fn a_cycle_is_seen_however_its_files_name_each_other() {
    for [parent, one, other] in [
        ["mod one; mod other;", "use super::other::Other;", "fn f() -> crate::a::one::One {}"],
        ["mod one; mod other;", "use crate::a::{other::{Other}, *};", "use super::one::{self, A};"],
        [
            "mod one; mod other;",
            "use super::other as alias; fn f() { alias::f() }",
            "use super::{one}; fn f() { one::f() }",
        ],
        ["mod one; mod other; pub use other::Other;", "use super::Other;", "use super::one::*;"],
        ["mod one; pub struct A; fn f() -> one::One {}", "use super::A;", ""],
        ["mod one; pub use one::One; pub struct A(One);", "use super::A;", ""],
        ["mod one; use one::One; pub(super) struct A(One);", "use super::*;", ""],
    ] {
        let files =
            [("lib.rs", "mod a;"), ("a/mod.rs", parent), ("a/one.rs", one), ("a/other.rs", other)];
        let edges = Crate::of(&files).edges();
        assert_eq!(cycles(&edges).len(), 1, "{parent} / {one} / {other}: {edges:?}");
    }
}

#[test]
fn a_parent_may_hand_on_what_its_children_hold_and_tests_may_look_at_everything() {
    let files = [
        ("lib.rs", "pub mod a; pub mod b; mod c;"),
        ("a/mod.rs", "mod one; mod other; pub use one::One; pub use other::Other;"),
        (
            "a/one.rs",
            "use super::Other; // use super::one;\nconst TEXT: &str = \"crate::a::one::One\";",
        ),
        ("a/other.rs", "struct Other;\n#[cfg(test)]\nmod tests { use super::super::one::One; }"),
        ("b.rs", "use crate::a; fn f(_: a::One, _: a::Other) {}"),
        ("c/mod.rs", "mod ground; use ground::Ground; struct C(Ground);"),
        ("c/ground.rs", "struct Ground;"),
    ];
    let edges = Crate::of(&files).edges();
    assert_eq!(edges["a/one.rs"], BTreeSet::from(["a/other.rs".to_owned()]));
    assert_eq!(edges["b.rs"].len(), 2, "past the front, to what they hold");
    assert!(cycles(&edges).is_empty());
}

/// One crate: its files by their modules' paths.
struct Crate {
    files: BTreeMap<Words, File>,
}

struct File {
    name: String,
    uses: Vec<Use>,
    /// The paths in its code.
    paths: Vec<Words>,
    /// Every word of its code, outside of `use`.
    words: BTreeSet<String>,
}

struct Use {
    path: Words,
    /// As it is called here.
    name: String,
    is_handed_on: bool,
}

impl Crate {
    fn at(root: &Path) -> Self {
        let mut files = Vec::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("the folder is readable") {
                let path = entry.expect("so are its entries").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let name = path.strip_prefix(root).expect("it was found there");
                    let text = std::fs::read_to_string(&path).expect("sources are UTF-8");
                    files.push((name.to_string_lossy().into_owned(), text));
                }
            }
        }
        let files: Vec<_> = files.iter().map(|(name, text)| (&**name, &**text)).collect();
        Self::of(&files)
    }

    fn of(files: &[(&str, &str)]) -> Self {
        let in_tests = test_modules(files);
        let files = files.iter().filter_map(|(name, text)| {
            let module = module_of(name)?;
            (!in_tests.contains(&module)).then(|| (module, File::read(name, text)))
        });
        Self { files: files.collect() }
    }

    /// From each file to those that it names. A module that is named by itself, to reach what is
    /// below it, is none: what is reached by it is.
    fn edges(&self) -> BTreeMap<String, BTreeSet<String>> {
        let of = |(module, file): (&Words, &File)| {
            let is_edge = |used: &&Use| {
                (!used.is_handed_on || file.words.contains(&used.name))
                    && !self.is_module(module, &used.path)
            };
            let used = file.uses.iter().filter(is_edge);
            let paths = used.map(|used| &used.path).chain(&file.paths);
            let to = paths
                .filter_map(|path| self.file_of(module, path, 0))
                .filter(|to| *to != file.name);
            (file.name.clone(), to.map(str::to_owned).collect())
        };
        self.files.iter().map(of).collect()
    }

    fn is_module(&self, module: &Words, path: &[String]) -> bool {
        let Some((mut at, rest)) = self.begin(module, path, 0) else { return false };
        at.extend(rest.iter().cloned());
        self.files.contains_key(&at)
    }

    /// The file that holds what a path names where it stands in `module`; nothing where that is
    /// another crate's.
    fn file_of(&self, module: &Words, path: &[String], depth: usize) -> Option<&str> {
        // Names that are handed round in a circle end somewhere else, or the compiler says so.
        if depth > 16 {
            return None;
        }
        let (mut at, mut rest) = self.begin(module, path, depth)?;
        while let Some((first, after)) = rest.split_first() {
            let below = child(&at, first);
            if self.files.contains_key(&below) {
                (at, rest) = (below, after);
                continue;
            }
            let handed_on = self.files[&at].uses.iter().filter(|used| used.name == *first);
            let found = handed_on.into_iter().find_map(|used| {
                let whole: Words = used.path.iter().chain(after).cloned().collect();
                (at != *module || used.path != path)
                    .then(|| self.file_of(&at, &whole, depth + 1))?
            });
            return found.or(Some(&self.files[&at].name));
        }
        Some(&self.files[&at].name)
    }

    /// The module that the beginning of a path names, and what follows.
    fn begin<'a>(
        &self,
        module: &Words,
        path: &'a [String],
        depth: usize,
    ) -> Option<(Words, &'a [String])> {
        let (first, mut rest) = path.split_first()?;
        let mut at = match first.as_str() {
            "crate" => Words::new(),
            "self" => module.clone(),
            "super" => module[..module.len().checked_sub(1)?].to_vec(),
            name if self.files.contains_key(&child(module, name)) => child(module, name),
            name => {
                // A module that is used here by its name.
                let used = self.files[module]
                    .uses
                    .iter()
                    .find(|used| used.name == name && used.path != path)?;
                let file = self.file_of(module, &used.path, depth + 1)?;
                let (named, _) = self.files.iter().find(|(_, known)| known.name == file)?;
                if named.last()? != used.path.last()? {
                    return None; // an item, and what is below it
                }
                named.clone()
            }
        };
        while rest.first().is_some_and(|word| word == "super") {
            at.pop()?;
            rest = &rest[1..];
        }
        Some((at, rest))
    }
}

impl File {
    fn read(name: &str, text: &str) -> Self {
        let tokens = tokens(without_tests(text));
        let (mut uses, mut paths, mut words) = (Vec::new(), Vec::new(), BTreeSet::new());
        let (mut at, mut is_public) = (0, false);
        while at < tokens.len() {
            match tokens[at].as_str() {
                "use" => {
                    at = read_use(&tokens, at + 1, &Words::new(), is_public, &mut uses);
                    is_public = false;
                }
                "pub" => {
                    is_public = true;
                    at += 1;
                    if tokens.get(at).is_some_and(|token| token == "(") {
                        at += tokens[at..]
                            .iter()
                            .position(|token| token == ")")
                            .map_or(0, |end| end + 1);
                    }
                }
                "mod" => {
                    at += 2;
                    is_public = false;
                }
                word if is_word(word) => {
                    let mut path = vec![word.to_owned()];
                    while tokens.get(at + 1).is_some_and(|token| token == "::")
                        && tokens.get(at + 2).is_some_and(|token| is_word(token))
                    {
                        path.push(tokens[at + 2].clone());
                        at += 2;
                    }
                    words.extend(path.iter().cloned());
                    if path.len() > 1 {
                        paths.push(path);
                    }
                    (at, is_public) = (at + 1, false);
                }
                _ => (at, is_public) = (at + 1, false),
            }
        }
        Self { name: name.to_owned(), uses, paths, words }
    }
}

/// Reads one tree of a `use` that begins at a token. Returns where it ends.
fn read_use(
    tokens: &[String],
    mut at: usize,
    before: &Words,
    is_handed_on: bool,
    uses: &mut Vec<Use>,
) -> usize {
    let mut path = before.clone();
    loop {
        match tokens[at].as_str() {
            "::" => at += 1,
            "{" => {
                at += 1;
                while tokens[at] != "}" {
                    at = read_use(tokens, at, &path, is_handed_on, uses);
                    if tokens[at] == "," {
                        at += 1;
                    }
                }
                return at + 1;
            }
            "as" => {
                uses.push(Use { path, name: tokens[at + 1].clone(), is_handed_on });
                return at + 2;
            }
            "," | "}" | ";" => {
                if path.last().is_some_and(|word| word == "self") && path.len() > 1 {
                    path.pop();
                }
                let name = path.last().cloned().unwrap_or_default();
                uses.push(Use { path, name, is_handed_on });
                return at;
            }
            word => {
                path.push(word.to_owned());
                at += 1;
            }
        }
    }
}

/// The modules that are compiled for tests alone: what is declared below `#[cfg(test)]`.
fn test_modules(files: &[(&str, &str)]) -> BTreeSet<Words> {
    let declared = files.iter().filter_map(|(name, text)| Some((module_of(name)?, text)));
    let below = declared.flat_map(|(module, text)| {
        let lines: Vec<_> = text.lines().collect();
        let after = |index: usize| lines[index + 1..].iter().find(|line| !line.starts_with("#["));
        let tests =
            (0..lines.len()).filter(|index| lines[*index] == "#[cfg(test)]").filter_map(after);
        let names = tests.filter_map(|line| {
            line.trim_start_matches("pub(crate) ").strip_prefix("mod ")?.strip_suffix(';')
        });
        names.map(|name| child(&module, name)).collect::<Vec<_>>()
    });
    // Where `#[path]` says so, the file is called after both.
    below
        .flat_map(|module| {
            let beside = module.split_last().and_then(|(last, parents)| {
                let (own, above) = parents.split_last()?;
                Some(above.iter().cloned().chain([format!("{own}_{last}")]).collect())
            });
            [Some(module), beside].into_iter().flatten().collect::<Vec<_>>()
        })
        .collect()
}

/// Nothing for `main.rs`, which is a crate of its own.
fn module_of(name: &str) -> Option<Words> {
    let path = name.strip_suffix(".rs")?;
    let mut words: Words = path.split('/').map(str::to_owned).collect();
    match words.last()?.as_str() {
        "main" => return None,
        "mod" | "lib" => drop(words.pop()),
        _ => {}
    }
    Some(words)
}

fn child(module: &[String], name: &str) -> Words {
    module.iter().cloned().chain([name.to_owned()]).collect()
}

/// Tests stand last in a file.
fn without_tests(text: &str) -> &str {
    let mut begins = text.match_indices("#[cfg(test)]\n").map(|(begin, _)| begin);
    let is_module = |begin: &usize| {
        let next = text[*begin..].lines().nth(1);
        next.is_some_and(|line| line.ends_with("mod tests {"))
    };
    begins.find(is_module).map_or(text, |begin| &text[..begin])
}

/// Words, `::` and single characters; no comments, no texts.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if let Some(comment) = rest.strip_prefix("//") {
            2 + comment.find('\n').unwrap_or(comment.len())
        } else if let Some(begin) = raw_text(rest) {
            begin.0 + rest[begin.0..].find(&begin.1).expect("a text ends") + begin.1.len()
        } else if first == '"' {
            1 + end_of_text(&rest[1..], '"')
        } else if first == '\'' {
            // A lifetime has no second quote.
            let is_character = rest[1..].starts_with('\\') || rest.chars().nth(2) == Some('\'');
            if is_character { 1 + end_of_text(&rest[1..], '\'') } else { 1 }
        } else {
            let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let length = match word {
                0 if rest.starts_with("::") => 2,
                0 => first.len_utf8(),
                word => word,
            };
            if !first.is_whitespace() {
                tokens.push(rest[..length].to_owned());
            }
            length
        };
        rest = &rest[length..];
    }
    tokens
}

/// Where the text itself begins of one that is written raw, and what ends it.
fn raw_text(text: &str) -> Option<(usize, String)> {
    let hashes = text.strip_prefix('r').or_else(|| text.strip_prefix("br"))?;
    let count = hashes.find(|c| c != '#')?;
    hashes[count..]
        .starts_with('"')
        .then(|| (text.len() - hashes.len() + count + 1, format!("\"{}", "#".repeat(count))))
}

/// Bytes up to the quote that ends it, that included.
fn end_of_text(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (index, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            c if c == quote => return index + 1,
            _ => {}
        }
    }
    text.len()
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The sets of files that reach each other.
fn cycles(edges: &BTreeMap<String, BTreeSet<String>>) -> Vec<BTreeSet<&str>> {
    let reached = |from: &str| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from.to_owned()]);
        while let Some(file) = next.pop() {
            for to in edges.get(&file).into_iter().flatten() {
                if seen.insert(to.as_str()) {
                    next.push(to.clone());
                }
            }
        }
        seen
    };
    let all: BTreeMap<&str, BTreeSet<&str>> =
        edges.keys().map(|file| (file.as_str(), reached(file))).collect();
    let mut cycles: Vec<BTreeSet<&str>> = Vec::new();
    for (file, reached) in &all {
        if reached.contains(file) && !cycles.iter().any(|cycle| cycle.contains(file)) {
            let back = |other: &&str| all[other].contains(file);
            cycles.push(reached.iter().copied().filter(back).collect());
        }
    }
    cycles
}

/// The edges that make a cycle, to be read.
fn ways(edges: &BTreeMap<String, BTreeSet<String>>, cycle: &BTreeSet<&str>) -> Vec<String> {
    let of = |from: &&str| {
        let to = edges[*from].iter().filter(|to| cycle.contains(to.as_str()));
        format!("{from} → {}", to.cloned().collect::<Vec<_>>().join(", "))
    };
    cycle.iter().map(of).collect()
}
