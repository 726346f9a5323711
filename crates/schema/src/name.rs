//! A type as the name of a file, and back. It looks at no file.

/// Bytes that stand in a file's name as they are. The others (a slash, what a shell or Windows
/// reads as something else, all that is not ASCII) are percent-encoded.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b' ')
}

/// The name that a type has in a folder, without an ending. A leading dot would hide the file, and
/// two types must not share one: it is encoded too.
pub fn file_stem(event_type: &str) -> String {
    let mut stem = String::with_capacity(event_type.len());
    for (at, byte) in event_type.bytes().enumerate() {
        if is_plain(byte) && !(byte == b'.' && at == 0) {
            stem.push(char::from(byte));
        } else {
            const HEX: [char; 16] =
                ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
            let (high, low) = (usize::from(byte >> 4), usize::from(byte & 0xf));
            stem.extend(['%', HEX[high], HEX[low]]);
        }
    }
    stem
}

/// The type of a file's name without its ending; `None` where [`file_stem`] makes another name of
/// it, so that no two files are of one type.
pub fn event_type(stem: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(stem.len());
    let mut rest = stem.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    let event_type = String::from_utf8(bytes).ok()?;
    (!event_type.is_empty() && file_stem(&event_type) == stem).then_some(event_type)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_that_a_file_cannot_hold_is_encoded_and_one_that_it_can_stays_readable() {
        for (event_type, stem) in [
            ("OrderPlaced", "OrderPlaced"),
            ("element inserted in collection a/b", "element inserted in collection a%2Fb"),
            ("..", "%2E."),
            ("trade:done", "trade%3Adone"),
            ("100%", "100%25"),
            ("größe", "gr%C3%B6%C3%9Fe"),
        ] {
            assert_eq!(file_stem(event_type), stem);
            assert_eq!(super::event_type(stem).as_deref(), Some(event_type));
        }
    }

    #[test]
    fn a_name_that_is_not_written_as_we_write_it_is_no_types() {
        for stem in ["", "a%2fb", "%41", "a%", "a%2", "a%zz", ".a", "a/b", "%FF", "a%+1"] {
            assert_eq!(super::event_type(stem), None, "{stem}");
        }
    }

    proptest! {
        #[test]
        fn every_type_has_a_name_of_its_own(event_type in "\\PC{1,20}|[./%]{1,4}") {
            let stem = file_stem(&event_type);
            prop_assert!(!stem.starts_with('.') && !stem.contains('/'));
            prop_assert_eq!(super::event_type(&stem), Some(event_type));
        }
    }
}
