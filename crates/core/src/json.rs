//! Text as a JSON string, appended to bytes: with the escapes of `JSON.stringify`, and at the speed
//! of a copy where there is nothing to escape. It reads no JSON.

/// Appends `text` as a JSON string with the escapes of `JSON.stringify`: quotes, backslashes and
/// control characters only.
pub fn push_json_str(out: &mut Vec<u8>, text: &str) {
    if has_escapes(text) {
        serde_json::to_writer(out, text).expect("a str always prints, and a Vec takes every write");
    } else {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    }
}

/// The length of what [`push_json_str`] appends.
pub fn json_str_len(text: &str) -> usize {
    let inner = if has_escapes(text) { text.bytes().map(escaped_len).sum() } else { text.len() };
    inner + "\"\"".len()
}

/// Whether a byte of the text is written as an escape. Most strings are short and have none: they
/// are looked at eight bytes at a time, the last of which may have been looked at before.
pub(crate) fn has_escapes(text: &str) -> bool {
    let bytes = text.as_bytes();
    let Some(last) = bytes.last_chunk() else { return bytes.iter().any(|b| escaped_len(*b) > 1) };
    let (words, _) = bytes.as_chunks();
    words.iter().chain([last]).fold(0, |any, word| any | escaped(u64::from_le_bytes(*word))) != 0
}

/// A word that is not zero if one of the eight bytes is written as an escape.
fn escaped(word: u64) -> u64 {
    const EACH: u64 = u64::from_le_bytes([0x01; 8]);
    const TOP: u64 = u64::from_le_bytes([0x80; 8]);
    // A byte below the bound borrows from its top bit, unless that was set.
    let below = |word: u64, bound: u8| word.wrapping_sub(EACH * u64::from(bound)) & !word;
    let is = |byte: u8| below(word ^ (EACH * u64::from(byte)), 1);
    (below(word, 0x20) | is(b'"') | is(b'\\')) & TOP
}

fn escaped_len(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => r"\n".len(),
        0..0x20 => r"\u0000".len(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escape_is_seen_wherever_it_stands_and_nothing_else_is_taken_for_one() {
        for length in 0..20 {
            for (at, byte) in (0..length).flat_map(|at| (0..0x80).map(move |byte| (at, byte))) {
                for other in ["a", "\u{7f}", " ", "!", "#", "[", "]"] {
                    let mut text = other.repeat(length).into_bytes();
                    text[at] = byte;
                    let text = String::from_utf8(text).expect("it is ASCII");
                    assert_eq!(has_escapes(&text), escaped_len(byte) > 1, "{text:?}");
                }
            }
        }
        assert!(!has_escapes("caf\u{e9} \u{2028}\u{10ffff}\u{80}"));
    }
}
