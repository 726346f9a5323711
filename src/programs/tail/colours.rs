//! Colours JSON for a terminal: keys, texts, and everything else that is a value. Pure. Whether
//! there are colours is decided by whoever prints.
//!
//! It never changes or hides a character, and colours nothing but JSON.

/// Keys, texts, other values, and what says where an event is.
const KEY: &str = "\x1b[34m";
const TEXT: &str = "\x1b[32m";
const VALUE: &str = "\x1b[33m";
const PLACE: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// Appends what one event is printed as. What stands in lines above JSON is dimmed; text without
/// JSON stays plain.
pub(super) fn push(printed: &str, out: &mut String) {
    let mut json_at = 0;
    for line in printed.split_inclusive('\n') {
        if line.starts_with(['{', '[']) {
            break;
        }
        json_at += line.len();
    }
    let (above, json) = printed.split_at(json_at);
    if json.is_empty() {
        out.push_str(above);
        return;
    }
    for line in above.lines() {
        push_in(PLACE, line, out);
        out.push('\n');
    }
    push_json(json, out);
}

fn push_json(json: &str, out: &mut String) {
    let mut rest = json;
    while let Some(c) = rest.chars().next() {
        let (token, colour) = match c {
            '"' => {
                let (text, behind) = rest.split_at(text_len(rest));
                let is_key = behind.trim_start().starts_with(':');
                (text, if is_key { KEY } else { TEXT })
            }
            '-' | '0'..='9' | 'a'..='z' => {
                let ends = |c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '+' | '.');
                (&rest[..rest.find(ends).unwrap_or(rest.len())], VALUE)
            }
            _ => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
                continue;
            }
        };
        push_in(colour, token, out);
        rest = &rest[token.len()..];
    }
}

/// The length of the string that a text begins with, its quotes included.
fn text_len(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == '"' && !is_escaped;
        is_escaped = *c == '\\' && !is_escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

fn push_in(colour: &str, token: &str, out: &mut String) {
    out.push_str(colour);
    out.push_str(token);
    out.push_str(PLAIN);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn coloured(printed: &str) -> String {
        let mut out = String::new();
        push(printed, &mut out);
        out
    }

    #[test]
    fn keys_texts_and_other_values_have_colours_of_their_own() {
        assert_eq!(
            coloured("{\"a\\\"\": \"b:\",\"c\":[-1.5e+3,null]}\n"),
            format!(
                "{{{KEY}\"a\\\"\"{PLAIN}: {TEXT}\"b:\"{PLAIN},{KEY}\"c\"{PLAIN}:[{VALUE}-1.5e+3\
                 {PLAIN},{VALUE}null{PLAIN}]}}\n"
            )
        );
    }

    #[test]
    fn what_says_where_an_event_is_is_dimmed_and_text_stays_plain() {
        assert_eq!(
            coloured("shardId-0 49 \"k\"\n{}\n\n"),
            format!("{PLACE}shardId-0 49 \"k\"{PLAIN}\n{{}}\n\n")
        );
        assert_eq!(coloured("hello \"world\" 5\n"), "hello \"world\" 5\n");
    }

    proptest! {
        #[test]
        fn without_its_colours_it_is_what_it_was(text in r#"([{}\[\]":,\\ a-z0-9é\n-]|null){0,30}"#) {
            let mut plain = coloured(&text);
            for colour in [KEY, TEXT, VALUE, PLACE, PLAIN] {
                plain = plain.replace(colour, "");
            }
            prop_assert_eq!(plain, text);
        }
    }
}
