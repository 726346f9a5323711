//! Lines are at most 100 characters, so that two files stand side by side on a screen. rustfmt sees
//! to most of the code; this sees to comments, to macros and to what rustfmt leaves as it is.
//!
//! Two things may be longer, since they cannot be broken: a row of a table in a comment, and a text
//! between quotes, which is as long as what it stands for. Its characters are not counted.

use std::path::{Path, PathBuf};

const LINE_CHARS_MAX: usize = 100;

/// What the reading of a file is in the middle of.
enum Inside {
    Code,
    Comment,
    Text,
    /// A text that ends with a quote and so many `#`.
    RawText(usize),
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .expect("the folder is readable")
        .map(|entry| entry.expect("so are its entries").path());
    let files = entries.flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|ending| ending == "rs")).collect()
}

/// By line: the characters that count.
fn lengths(source: &str) -> Vec<usize> {
    let chars: Vec<char> = source.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or_default();
    let (mut lengths, mut length, mut inside, mut index) = (Vec::new(), 0, Inside::Code, 0);
    while index < chars.len() {
        let one = chars[index];
        if one == '\n' {
            lengths.push(std::mem::take(&mut length));
            if matches!(inside, Inside::Comment) {
                inside = Inside::Code;
            }
            index += 1;
            continue;
        }
        let mut taken = 1;
        match inside {
            Inside::Code => {
                let hashes = chars[index + 1..].iter().take_while(|c| **c == '#').count();
                let goes_on =
                    index > 0 && (at(index - 1).is_alphanumeric() || at(index - 1) == '_');
                match one {
                    '/' if at(index + 1) == '/' => inside = Inside::Comment,
                    '"' => inside = Inside::Text,
                    'r' if at(index + 1 + hashes) == '"' && (!goes_on || at(index - 1) == 'b') => {
                        inside = Inside::RawText(hashes);
                        taken = 2 + hashes;
                    }
                    '\'' if at(index + 1) == '\\' => taken = 3,
                    '\'' if at(index + 2) == '\'' => taken = 3,
                    _ => {}
                }
                length += taken;
            }
            Inside::Comment => length += 1,
            Inside::Text if one == '\\' && at(index + 1) != '\n' => taken = 2,
            Inside::Text if one == '"' => {
                inside = Inside::Code;
                length += 1;
            }
            Inside::RawText(hashes)
                if one == '"' && (1..=hashes).all(|next| at(index + next) == '#') =>
            {
                inside = Inside::Code;
                taken = 1 + hashes;
                length += taken;
            }
            Inside::Text | Inside::RawText(_) => {}
        }
        index += taken;
    }
    lengths.push(length);
    lengths
}

fn is_row_of_a_table(line: &str) -> bool {
    let line = line.trim_start();
    ["//! |", "/// |", "// |"].iter().any(|begin| line.starts_with(begin))
}

#[test]
fn no_line_is_longer_than_a_hundred_characters_but_tables_and_texts() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut long = Vec::new();
    for folder in ["benches", "crates", "fuzz/src", "fuzz/targets", "src", "tests"] {
        for path in rust_files(&root.join(folder)) {
            let source = std::fs::read_to_string(&path).expect("sources are UTF-8");
            let lines = source.lines().zip(lengths(&source)).enumerate();
            let too_long = |line: &str, length| length > LINE_CHARS_MAX && !is_row_of_a_table(line);
            let found = lines.filter(|(_, (line, length))| too_long(line, *length));
            let place = path.strip_prefix(root).expect("it was found there").display();
            long.extend(found.map(|(n, (_, length))| format!("{place}:{}: {length}", n + 1)));
        }
    }
    assert!(long.is_empty(), "{} lines are too long:\n{}", long.len(), long.join("\n"));
}

#[test]
fn a_text_does_not_count_and_what_follows_it_does() {
    for (source, counted) in [
        ("let a = 1; // why", vec![17]),
        (r#"f("long \" text", x)"#, vec![8]),
        ("f(\"two\nlines\", x)", vec![3, 5]),
        ("f(r#\"a \"quote\" in it\"#)", vec![8]),
        ("('\"', b'\\'', \"text\")", vec![16]),
        ("fn f<'a>(s: &'a str) {}", vec![23]),
    ] {
        assert_eq!(lengths(source), counted, "{source}");
    }
}
