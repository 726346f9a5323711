//! Strings of JSON as they stand in the text, decoded character by character where they are
//! compared. Nothing is copied.

/// What stands between the quotes of a string, known to be well formed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text<'a> {
    raw: &'a str,
    has_escapes: bool,
}

impl<'a> Text<'a> {
    /// A text that is not JSON: a backslash in it is a backslash.
    pub(crate) fn plain(text: &'a str) -> Self {
        Self { raw: text, has_escapes: false }
    }

    /// What stands between the quotes, with its escapes.
    pub(crate) fn escaped(raw: &'a str) -> Self {
        Self { raw, has_escapes: true }
    }

    /// The text, if nothing in it has to be decoded.
    pub(crate) fn as_plain(self) -> Option<&'a str> {
        (!self.has_escapes).then_some(self.raw)
    }

    pub(crate) fn chars(self) -> Chars<'a> {
        Chars { raw: self.raw.chars(), has_escapes: self.has_escapes }
    }

    /// The text with its escapes decoded, for what is read once.
    pub(crate) fn decoded(self) -> String {
        self.chars().collect()
    }
}

/// The characters that a string means. Half of a surrogate pair is `U+FFFD`.
#[derive(Debug, Clone)]
pub(crate) struct Chars<'a> {
    raw: std::str::Chars<'a>,
    has_escapes: bool,
}

impl Iterator for Chars<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        let c = self.raw.next()?;
        if c != '\\' || !self.has_escapes {
            return Some(c);
        }
        Some(match self.raw.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => self.code_point(),
            same => same,
        })
    }
}

impl Chars<'_> {
    /// What four digits of hex stand for, or eight, if the first four are half of a pair.
    fn code_point(&mut self) -> char {
        let first = unit(&mut self.raw);
        let mut after = self.raw.clone();
        let is_high = (0xd800..0xdc00).contains(&first);
        if is_high && (after.next(), after.next()) == (Some('\\'), Some('u')) {
            let second = unit(&mut after);
            if (0xdc00..0xe000).contains(&second) {
                self.raw = after;
                let point = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER);
            }
        }
        char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER)
    }
}

fn unit(raw: &mut std::str::Chars<'_>) -> u32 {
    raw.take(4).fold(0, |unit, digit| unit * 16 + digit.to_digit(16).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_mean_what_json_says() {
        for (raw, decoded) in [
            (r#"\"\\\/\b\f\n\r\t"#, "\"\\/\u{8}\u{c}\n\r\t"),
            (r"\u00e9\u00E9e\u0301", "\u{e9}\u{e9}e\u{301}"),
            (r"\ud83d\ude00!", "\u{1f600}!"),
            (r"\ud83d", "\u{fffd}"),
            (r"\ud83dx\ude00", "\u{fffd}x\u{fffd}"),
            (r"\ud83d\u0041", "\u{fffd}A"),
            (r"\ud83d\ud83d\ude00", "\u{fffd}\u{1f600}"),
        ] {
            assert_eq!(Text::escaped(raw).decoded(), decoded, "{raw}");
        }
        assert_eq!(Text::plain(r"\n").decoded(), r"\n");
    }
}
