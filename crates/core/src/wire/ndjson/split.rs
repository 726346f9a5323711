//! Finds where JSON values begin and end, and reads none of them: so a line that holds many events
//! is looked through once, cheaply, and each event is read once, as a line of its own would be.
//!
//! What is found is a value or is no JSON at all: whoever reads it finds out.

use std::ops::Range;

/// The elements of an array, each as it stands; at most `elements_max`, and one more that tells that
/// there are more. `None` where the text is no array.
pub(super) fn elements(array: &str, elements_max: usize) -> Option<Vec<&str>> {
    let mut at = 1;
    let mut elements = Vec::new();
    if array.as_bytes().first() != Some(&b'[') {
        return None;
    }
    loop {
        at = skip_space(array, at);
        if elements.is_empty() && array.as_bytes().get(at) == Some(&b']') {
            break;
        }
        let end = value_end(array, at)?;
        elements.push(&array[at..end]);
        at = skip_space(array, end);
        match array.as_bytes().get(at)? {
            b',' if elements.len() <= elements_max => at += 1,
            b',' => return Some(elements),
            b']' => break,
            _ => return None,
        }
    }
    (at + 1 == array.len()).then_some(elements)
}

/// Where the value of this field of an object stands, if it is a field of the object itself. The
/// name is looked for as it is written.
pub(super) fn field(object: &str, name: &str) -> Option<Range<usize>> {
    let mut at = skip_space(object, 0);
    if object.as_bytes().get(at) != Some(&b'{') {
        return None;
    }
    loop {
        let name_from = skip_space(object, at + 1);
        let name_end = value_end(object, name_from)?;
        let colon = skip_space(object, name_end);
        if object.as_bytes().get(colon) != Some(&b':') {
            return None;
        }
        let from = skip_space(object, colon + 1);
        let end = value_end(object, from)?;
        if object[name_from..name_end].trim_matches('"') == name {
            return Some(from..end);
        }
        at = skip_space(object, end);
        if object.as_bytes().get(at) != Some(&b',') {
            return None;
        }
    }
}

fn skip_space(json: &str, from: usize) -> usize {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let rest = json.as_bytes().get(from..).unwrap_or_default();
    from + rest.iter().take_while(|byte| is_space(byte)).count()
}

/// Where the value ends that begins here; `None` where none does, or the text ends before.
fn value_end(json: &str, from: usize) -> Option<usize> {
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
    fn elements_are_found_whatever_stands_in_them() {
        let array = r#"[ {"a":[1,"],\"}"]} , "x,\\", -1.5e3,null,[ ],{} ]"#;
        let expected = [r#"{"a":[1,"],\"}"]}"#, r#""x,\\""#, "-1.5e3", "null", "[ ]", "{}"];
        assert_eq!(elements(array, 9).as_deref(), Some(&expected[..]));
        assert_eq!(elements("[ ]", 9), Some(vec![]));
        assert_eq!(elements("[1,2,3,4", 2), Some(vec!["1", "2", "3"]));
        for none in ["", "{}", "[", "[1", "[,]", "[1,]", "[1 2]", "[1]x", "[\"]", "[\"\\\"]"] {
            assert_eq!(elements(none, 9), None, "{none}");
        }
    }

    #[test]
    fn a_field_is_that_of_the_object_itself() {
        let object = r#" {"x":{"events":1},"events" : [2], "events":3}"#;
        assert_eq!(field(object, "events").map(|range| &object[range]), Some("[2]"));
        for none in ["", "[]", "{}", "{\"events\"}", "{\"events\":", "{\"x\":1}", "{\"x\":1,"] {
            assert_eq!(field(none, "events"), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_of_json_they_are_the_elements_that_serde_finds(
            text in r#"\[[\[\]{},:"\\ ae1]{0,24}\]"#,
        ) {
            let found = elements(&text, 100);
            field(&text, "a");
            if let Ok(read) = serde_json::from_str::<Vec<&RawValue>>(&text) {
                let read: Vec<_> = read.iter().map(|element| element.get()).collect();
                prop_assert_eq!(found, Some(read));
            }
        }
    }
}
