//! Finds where JSON values begin and end, and reads none of them: for text that is perhaps no JSON.
//!
//! What is found is a value or is no JSON at all: whoever reads it finds out.

/// Where the value of this field of an object begins, if it is a field of the object itself. The
/// name is looked for as it is written.
pub(super) fn field(object: &str, name: &str) -> Option<usize> {
    let mut at = skip_space(object, 0);
    if byte_at(object, at) != Some(b'{') {
        return None;
    }
    loop {
        let name_from = skip_space(object, at + 1);
        let name_end = value_end(object, name_from)?;
        let colon = skip_space(object, name_end);
        if byte_at(object, colon) != Some(b':') {
            return None;
        }
        let from = skip_space(object, colon + 1);
        if object[name_from..name_end].trim_matches('"') == name {
            return Some(from);
        }
        at = skip_space(object, value_end(object, from)?);
        if byte_at(object, at) != Some(b',') {
            return None;
        }
    }
}

pub(super) fn byte_at(json: &str, at: usize) -> Option<u8> {
    json.as_bytes().get(at).copied()
}

/// Where the next byte is that is no white space; at most one past the end.
pub(super) fn skip_space(json: &str, from: usize) -> usize {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let rest = json.as_bytes().get(from..).unwrap_or_default();
    from + rest.iter().take_while(|byte| is_space(byte)).count()
}

/// Where the value ends that begins here; `None` where none does, or the text ends before.
pub(super) fn value_end(json: &str, from: usize) -> Option<usize> {
    let bytes = json.as_bytes();
    match bytes.get(from)? {
        b'"' => string_end(bytes, from),
        b'{' | b'[' => nested_end(bytes, from),
        b',' | b':' | b'}' | b']' => None,
        _ => {
            let is_scalar =
                |byte: &u8| !matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
            Some(from + bytes[from..].iter().take_while(|byte| is_scalar(byte)).count())
        }
    }
}

fn string_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2; // the backslash and what it escapes
    }
}

fn nested_end(bytes: &[u8], from: usize) -> Option<usize> {
    let (mut at, mut depth) = (from, 0usize);
    loop {
        match bytes.get(at)? {
            b'"' => {
                at = string_end(bytes, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    #[test]
    fn a_value_ends_where_what_it_holds_has_ended() {
        for value in [r#"{"a":[1,"],\"}"]}"#, r#""x,\\""#, "-1.5e3", "null", "[ ]", "{}"] {
            for after in ["", ",1", " ]", "}"] {
                assert_eq!(value_end(&format!("{value}{after}"), 0), Some(value.len()), "{value}");
            }
        }
        for none in ["", ",", "]", "[", "[1", "{\"a\":\"}", "\"\\\""] {
            assert_eq!(value_end(none, 0), None, "{none}");
        }
    }

    #[test]
    fn a_field_is_that_of_the_object_itself() {
        let object = r#" {"x":{"events":1},"events" : [2], "events":3}"#;
        assert_eq!(field(object, "events").map(|from| &object[from..from + 3]), Some("[2]"));
        for none in ["", "[]", "{}", "{\"events\"}", "{\"x\":1}", "{\"x\":1,"] {
            assert_eq!(field(none, "events"), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_of_json_the_end_is_the_one_that_serde_finds(
            text in r#"[\[{][\[\]{},:"\\ ae1]{0,24}"#,
        ) {
            field(&text, "a");
            let end = value_end(&text, 0);
            let mut values = serde_json::Deserializer::from_str(&text).into_iter::<&RawValue>();
            if let Some(Ok(value)) = values.next() {
                prop_assert_eq!(end, Some(value.get().len()));
            }
        }
    }
}
