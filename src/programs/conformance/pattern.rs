//! JSON with names in it, and whether a value is like it. Pure; it never knows what a name stands
//! for.
//!
//! A value is like a pattern if each member of the pattern is in the value and is like it; the
//! value may have more. `null` in a pattern means: not there, or `null`. `$any` is like everything
//! that is there, and `~"text"` like every text that holds this one.

use serde_json::Value;

const ANY: &str = "$any";
const HAS: &str = "$has";

/// What a name stands for, with what stands in brackets after it.
pub(super) type Meaning<'a> = dyn Fn(&str, Option<&str>) -> Option<String> + 'a;

/// Puts what they stand for in the place of the names (`$ref(a)`, `$n`) that stand outside of
/// texts. The rest stays byte for byte.
///
/// # Errors
/// The name that stands for nothing.
pub(super) fn expand(text: &str, meaning: &Meaning<'_>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['"', '$', '~']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with('"') {
            let (whole, after) = rest.split_at(text_length(rest));
            out.push_str(whole);
            rest = after;
        } else if let Some(after) = rest.strip_prefix('~') {
            let length =
                if after.starts_with('"') { text_length(after) } else { name_length(after) };
            let (part, after) = after.split_at(length);
            out.push_str(&format!("{{\"{HAS}\":{}}}", expand(part, meaning)?));
            rest = after;
        } else {
            let (name, after) = rest.split_at(name_length(rest));
            let (word, argument) = match name[1..].split_once('(') {
                None => (&name[1..], None),
                Some((word, argument)) => (word, argument.strip_suffix(')')),
            };
            match word {
                "any" => out.push_str(&format!("{{\"{ANY}\":true}}")),
                _ => out.push_str(&meaning(word, argument).ok_or_else(|| name.to_owned())?),
            }
            rest = after;
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Bytes of the text that begins here, both quotes included.
fn text_length(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Bytes of the name that begins here with its `$`, and of what stands in brackets after it.
fn name_length(text: &str) -> usize {
    let is_name = |c: char| c.is_ascii_alphanumeric();
    let word = 1 + text[1..].find(|c| !is_name(c)).unwrap_or(text.len() - 1);
    match text[word..].strip_prefix('(').and_then(|argument| argument.find(')')) {
        None => word,
        Some(end) => word + 1 + end + 1,
    }
}

/// Reads JSON of a client or a driver. Half of a surrogate pair, which JSON can write and Unicode
/// does not have, reads as U+FFFD: a language may carry it on or may replace it.
///
/// # Errors
/// If it is no JSON.
pub(super) fn parse(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(&whole_surrogates(text))
}

fn whole_surrogates(text: &str) -> String {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find('\\') {
        at += found;
        at += match unit(at) {
            Some(0xD800..=0xDBFF) if matches!(unit(at + 6), Some(0xDC00..=0xDFFF)) => 12,
            Some(0xD800..=0xDFFF) => {
                out.push_str(&text[copied..at]);
                out.push_str("\\ufffd");
                copied = at + 6;
                6
            }
            Some(_) => 6,
            // An escape of one character, which has one byte in all JSON.
            None => (at + 2).min(text.len()) - at,
        };
        if !text.is_char_boundary(at) {
            break; // no JSON: the parser says so
        }
    }
    out.push_str(&text[copied..]);
    out
}

/// Where a value is not like a pattern, if it is not.
pub(super) fn difference(pattern: &Value, value: &Value) -> Option<String> {
    differs(pattern, value, String::new())
}

fn differs(pattern: &Value, value: &Value, path: String) -> Option<String> {
    let is_like =
        match (pattern, value) {
            (Value::Object(wanted), _) if wanted.contains_key(ANY) => !value.is_null(),
            (Value::Object(wanted), _) if wanted.contains_key(HAS) => {
                let part = wanted[HAS].as_str().unwrap_or_default();
                value.as_str().is_some_and(|text| text.contains(part))
            }
            (Value::Object(wanted), Value::Object(members)) => {
                return wanted.iter().find_map(|(name, wanted)| {
                    let value = members.get(name).unwrap_or(&Value::Null);
                    differs(wanted, value, format!("{path}.{name}"))
                });
            }
            (Value::Array(wanted), Value::Array(members)) if wanted.len() == members.len() => {
                return wanted.iter().zip(members).enumerate().find_map(|(at, (wanted, value))| {
                    differs(wanted, value, format!("{path}[{at}]"))
                });
            }
            _ => is_same(pattern, value),
        };
    (!is_like).then(|| format!("{path} is {value} and not {pattern}"))
}

/// Whether two fractions are equal but for the last of their digits, which our own reader may miss.
fn is_near(one: Option<f64>, other: Option<f64>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return false };
    one == other || (one - other).abs() <= one.abs() * 4.0 * f64::EPSILON
}

/// Whether two values say the same. A number may be written in another way, and members may stand
/// in another order.
pub(super) fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let whole = |number: &serde_json::Number| number.as_i64();
            match (whole(one), whole(other)) {
                (Some(one), Some(other)) => one == other,
                _ => is_near(one.as_f64(), other.as_f64()),
            }
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| is_same(a, b))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, a)| other.get(name).is_some_and(|b| is_same(a, b)))
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_outside_of_texts_are_replaced_and_nothing_else() {
        let meaning = |word: &str, argument: Option<&str>| match (word, argument) {
            ("ref", Some("a")) => Some("7".to_owned()),
            ("socket", None) => Some("\"/s\"".to_owned()),
            _ => None,
        };
        let expanded =
            expand(r#"{"a":$ref(a),"b":"$ref(a) \" ~","c":~$socket,"d":$any}"#, &meaning);
        let wanted = r#"{"a":7,"b":"$ref(a) \" ~","c":{"$has":"/s"},"d":{"$any":true}}"#;
        assert_eq!(expanded.as_deref(), Ok(wanted));
        assert_eq!(expand("[$ref(b)]", &meaning), Err("$ref(b)".to_owned()));
    }

    #[test]
    fn half_a_surrogate_pair_reads_as_a_replacement_and_a_whole_one_as_its_character() {
        let read = |text: &str| parse(text).expect("it is JSON");
        assert_eq!(read(r#""\ud83d\ude00""#), json!("😀"));
        assert_eq!(read(r#""a\ud83d\\\udc00b""#), json!("a\u{fffd}\\\u{fffd}b"));
        assert_eq!(read(r#""\\ud83d""#), json!("\\ud83d"));
        assert!(parse(r#"{"a":"\"#).is_err());
        assert!(parse("\"\\ü\"").is_err());
    }

    #[test]
    fn a_value_is_like_a_pattern_whose_members_it_has() {
        let value = json!({"a": 1, "b": {"c": "one two"}, "d": [1, 2.0]});
        for like in [
            json!({}),
            json!({"a": 1.0, "e": null}),
            json!({"b": {"c": {"$has": "two"}}}),
            json!({"d": [{"$any": true}, 2]}),
        ] {
            assert_eq!(difference(&like, &value), None);
        }
        for unlike in [
            json!({"a": null}),
            json!({"e": {"$any": true}}),
            json!({"b": {"c": {"$has": "three"}}}),
            json!({"d": [1]}),
        ] {
            assert!(difference(&unlike, &value).is_some(), "{unlike}");
        }
    }
}
