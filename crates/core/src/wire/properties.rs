//! Reads the syntax of Java's `.properties` files, which the KCL is configured by: ISO-8859-1, a
//! property a line, `=`, `:` or white space between key and value, `\` for escapes and lines that
//! go on. What a key means is not known here.

/// One property of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    pub key: String,
    pub value: String,
    /// The line that it begins on, counted from 1.
    pub line: usize,
}

/// Why a file is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PropertiesError {
    #[error("line {line}: a `\\u` needs four hexadecimal digits")]
    BadEscape { line: usize },
    #[error("line {line}: half of a surrogate pair is no character")]
    HalfAPair { line: usize },
}

/// The properties of a file, in its order. Where one stands twice, the last counts.
///
/// # Errors
/// The first escape that is none.
pub fn read(file: &[u8]) -> Result<Vec<Property>, PropertiesError> {
    let mut lines = Lines { rest: file, line: 0 };
    let mut properties: Vec<Property> = Vec::new();
    while let Some((text, line)) = lines.logical() {
        let (key, value) = split(&text);
        let key = unescaped(key, line)?;
        let value = unescaped(value, line)?;
        properties.retain(|known| known.key != key);
        properties.push(Property { key, value, line });
    }
    Ok(properties)
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\x0c')
}

fn trimmed(line: &[u8]) -> &[u8] {
    let blanks = line.iter().take_while(|byte| is_blank(byte)).count();
    &line[blanks..]
}

struct Lines<'a> {
    rest: &'a [u8],
    /// How many were taken.
    line: usize,
}

impl<'a> Lines<'a> {
    /// A line that is no comment and not blank, together with those that it goes on in.
    fn logical(&mut self) -> Option<(Vec<u8>, usize)> {
        let first = loop {
            let line = trimmed(self.natural()?);
            if !matches!(line.first(), None | Some(b'#' | b'!')) {
                break line;
            }
        };
        let (mut text, number) = (first.to_vec(), self.line);
        while goes_on(&text) {
            text.pop();
            // A comment sign in a line that another goes on in is part of it.
            text.extend_from_slice(trimmed(self.natural().unwrap_or_default()));
        }
        Some((text, number))
    }

    fn natural(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        self.line += 1;
        let end = memchr::memchr2(b'\n', b'\r', self.rest).unwrap_or(self.rest.len());
        let (line, rest) = self.rest.split_at(end);
        let after = rest.strip_prefix(b"\r\n").or_else(|| rest.get(1..));
        self.rest = after.unwrap_or_default();
        Some(line)
    }
}

/// Whether the line ends with a backslash that is not escaped itself.
fn goes_on(line: &[u8]) -> bool {
    line.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// Key and value, as they are written.
fn split(text: &[u8]) -> (&[u8], &[u8]) {
    let mut is_escaped = false;
    let end = text.iter().position(|byte| {
        let ends = !is_escaped && (is_blank(byte) || matches!(byte, b'=' | b':'));
        is_escaped = !is_escaped && *byte == b'\\';
        ends
    });
    let (key, rest) = text.split_at(end.unwrap_or(text.len()));
    let rest = trimmed(rest);
    match rest.first() {
        Some(b'=' | b':') => (key, trimmed(&rest[1..])),
        _ => (key, rest),
    }
}

fn unescaped(text: &[u8], line: usize) -> Result<String, PropertiesError> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        let unit = match byte {
            b'\\' => match bytes.next() {
                None => continue,
                Some(b't') => u16::from(b'\t'),
                Some(b'n') => u16::from(b'\n'),
                Some(b'r') => u16::from(b'\r'),
                Some(b'f') => 0x0c,
                Some(b'u') => four_digits(&mut bytes).ok_or(PropertiesError::BadEscape { line })?,
                Some(other) => u16::from(other),
            },
            // ISO-8859-1 is the first 256 characters.
            other => u16::from(other),
        };
        units.push(unit);
    }
    String::from_utf16(&units).map_err(|_| PropertiesError::HalfAPair { line })
}

fn four_digits(bytes: &mut impl Iterator<Item = u8>) -> Option<u16> {
    (0..4).try_fold(0u16, |number, _| {
        let digit = char::from(bytes.next()?).to_digit(16)?;
        Some(number * 16 + u16::try_from(digit).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(file: &[u8]) -> Vec<(String, String, usize)> {
        let properties = read(file).expect("it can be read");
        properties.into_iter().map(|one| (one.key, one.value, one.line)).collect()
    }

    #[test]
    fn a_file_is_read_as_java_reads_it() {
        let file = b"# a comment\n! another\n\n  \t\x0c\nstreamName = words\nexecutableName=a.py -v\n\
            regionName:us-east-1\r\nworker  id\rempty\nempty2 =\nlong = one, \\\n    two, \\\r\n   # three\n\
            k\\:e\\=y\\ 1 = v\\=\\\\\\n\\z\nsame = 1\nsame = 2\n= no key\nlast=\\";
        let expected = [
            ("streamName", "words", 5),
            ("executableName", "a.py -v", 6),
            ("regionName", "us-east-1", 7),
            ("worker", "id", 8),
            ("empty", "", 9),
            ("empty2", "", 10),
            ("long", "one, two, # three", 11),
            ("k:e=y 1", "v=\\\nz", 14),
            ("same", "2", 16),
            ("", "no key", 17),
            ("last", "", 18),
        ];
        let found = pairs(file);
        let found: Vec<_> = found.iter().map(|(k, v, n)| (k.as_str(), v.as_str(), *n)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn letters_are_iso_8859_1_and_escapes_are_utf_16() {
        assert_eq!(pairs(b"k = caf\xe9 \\u20AC \\ud83d\\ude00")[0].1, "café € 😀");
    }

    #[test]
    fn an_escape_that_is_none_is_told_with_its_line() {
        assert_eq!(read(b"a=1\nb=\\u12"), Err(PropertiesError::BadEscape { line: 2 }));
        assert_eq!(read(b"b=\\u12g4"), Err(PropertiesError::BadEscape { line: 1 }));
        assert_eq!(read(b"b=\\ud83d"), Err(PropertiesError::HalfAPair { line: 1 }));
    }

    proptest! {
        #[test]
        fn no_file_makes_the_reader_panic_and_its_lines_are_lines_of_the_file(
            file in prop::collection::vec(
                prop_oneof![any::<u8>(), Just(b'\\'), Just(b'\n'), Just(b'=')],
                0..200,
            ),
        ) {
            if let Ok(properties) = read(&file) {
                let count = file.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() + 1;
                prop_assert!(properties.iter().all(|one| (1..=count).contains(&one.line)));
            }
        }
    }
}
