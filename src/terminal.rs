//! Makes text safe for a terminal: what others wrote into it cannot move the cursor, change what
//! stands there already, or turn around what is read. Pure: whether there is a terminal is looked
//! at by whoever prints.
//!
//! It is for terminals alone. What goes into a pipe or a file is for a program, which gets the
//! bytes as they are.

use std::borrow::Cow;
use std::fmt::Write;
use std::ops::RangeInclusive;

/// Unicode's categories Cc, Cf, Zl and Zp (14.0): controls, marks that turn the direction or hide
/// text, line separators. The line's end and the tabulator are among them, and left as they are.
const UNSEEN: [RangeInclusive<char>; 22] = [
    '\0'..='\u{1f}',
    '\u{7f}'..='\u{9f}',
    '\u{ad}'..='\u{ad}',
    '\u{600}'..='\u{605}',
    '\u{61c}'..='\u{61c}',
    '\u{6dd}'..='\u{6dd}',
    '\u{70f}'..='\u{70f}',
    '\u{890}'..='\u{891}',
    '\u{8e2}'..='\u{8e2}',
    '\u{180e}'..='\u{180e}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}', // 2065 is not assigned yet
    '\u{feff}'..='\u{feff}',
    '\u{fff9}'..='\u{fffb}',
    '\u{110bd}'..='\u{110bd}',
    '\u{110cd}'..='\u{110cd}',
    '\u{13430}'..='\u{1343f}', // the last seven are of 15.0
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0001}'..='\u{e0001}',
    '\u{e0020}'..='\u{e007f}',
];

/// Writes JSON's escape (`\u202e`) in the place of each character that is not seen, but for line
/// ends and tabulators. So a line of JSON, which can hold such a character in a string alone, stays
/// the same JSON.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    escaped_but(text, &['\n', '\t'])
}

/// Writes the same escapes into a line of the log, but for its colours, which are the log's own: it
/// has escaped those of others itself.
pub(crate) fn escaped_but_colours(text: &str) -> Cow<'_, str> {
    escaped_but(text, &['\n', '\t', '\x1b'])
}

/// Puts the text on one line, for what has a place in a layout: a line end would let it write the
/// next line.
pub(crate) fn on_one_line(text: &str) -> Cow<'_, str> {
    if text.contains(['\n', '\r']) { text.replace(['\n', '\r'], " ").into() } else { text.into() }
}

fn escaped_but<'a>(text: &'a str, kept: &[char]) -> Cow<'a, str> {
    let is_escaped = |c: char| !kept.contains(&c) && is_unseen(c);
    if !text.contains(is_escaped) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_escaped(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(shown, "\\u{unit:04x}"); // a String takes everything
            }
        } else {
            shown.push(c);
        }
    }
    shown.into()
}

fn is_unseen(c: char) -> bool {
    // Most characters of most texts are plain.
    !(' '..='~').contains(&c) && UNSEEN.iter().any(|range| range.contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_terminal_would_act_on_or_hide_is_written_out() {
        for (text, shown) in [
            ("\u{1b}[2J", "\\u001b[2J"),
            ("a\rb", "a\\u000db"),
            ("\u{7f}", "\\u007f"),
            ("\u{9b}31m", "\\u009b31m"),
            ("\u{85}", "\\u0085"),
            ("user\u{202e}gnp.exe", "user\\u202egnp.exe"),
            ("\u{2066}\u{2069}\u{200f}", "\\u2066\\u2069\\u200f"),
            ("a\u{200b}b\u{ad}c\u{feff}", "a\\u200bb\\u00adc\\ufeff"),
            ("\u{2028}", "\\u2028"),
            ("\u{e0041}", "\\udb40\\udc41"),
        ] {
            assert_eq!(escaped(text), shown);
        }
    }

    #[test]
    fn what_is_seen_stays_as_it_is() {
        for text in ["", "a\tb\nc", "Grüße, 東京, שלום, 🚚", "\\u202e is written out already"]
        {
            assert!(matches!(escaped(text), Cow::Borrowed(shown) if shown == text), "{text}");
        }
    }

    #[test]
    fn the_log_keeps_its_colours_and_nothing_else() {
        assert_eq!(
            escaped_but_colours("\u{1b}[33mWARN\u{1b}[0m \u{202e}\u{9b}"),
            "\u{1b}[33mWARN\u{1b}[0m \\u202e\\u009b"
        );
    }

    #[test]
    fn what_stands_on_one_line_writes_no_other() {
        assert_eq!(on_one_line("off\r\nno errors"), "off  no errors");
    }

    proptest! {
        #[test]
        fn json_says_the_same_after_it(text in any::<String>()) {
            let json = serde_json::to_string(&text).expect("a text is JSON");
            let read: String = serde_json::from_str(&escaped(&json)).expect("it still is");
            prop_assert_eq!(read, text);
        }

        #[test]
        fn nothing_that_is_unseen_is_left(text in any::<String>()) {
            let is_left = |c: char| !matches!(c, '\n' | '\t') && is_unseen(c);
            prop_assert!(!escaped(&text).contains(is_left));
        }
    }
}
