//! A text that a string has to be, to begin with or to end with, in its own case or in any.

use crate::text::Text;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Whole,
    Start,
    End,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Literal {
    text: Box<str>,
    place: Place,
    ignores_case: bool,
}

impl Literal {
    pub(crate) fn new(text: String, place: Place, ignores_case: bool) -> Self {
        Self { text: text.into(), place, ignores_case }
    }

    pub(crate) fn matches(&self, text: Text<'_>) -> bool {
        match text.as_plain() {
            Some(plain) if !self.ignores_case => match self.place {
                Place::Whole => plain == &*self.text,
                Place::Start => plain.starts_with(&*self.text),
                Place::End => plain.ends_with(&*self.text),
            },
            _ => self.matches_chars(text),
        }
    }

    fn matches_chars(&self, text: Text<'_>) -> bool {
        let mut chars = text.chars();
        if self.place == Place::End {
            let Some(before) = chars.clone().count().checked_sub(self.text.chars().count()) else {
                return false;
            };
            chars.by_ref().take(before).for_each(drop);
        }
        let mut wanted = self.text.chars();
        wanted.all(|wanted| chars.next().is_some_and(|c| self.takes(wanted, c)))
            && (self.place == Place::Start || chars.next().is_none())
    }

    /// Whether a character is the wanted one, or the wanted one's own upper or lower case. One
    /// character never stands for two: `ß` is not `SS`.
    fn takes(&self, wanted: char, c: char) -> bool {
        wanted == c
            || self.ignores_case && (is(wanted.to_lowercase(), c) || is(wanted.to_uppercase(), c))
    }
}

fn is(mut mapped: impl Iterator<Item = char>, c: char) -> bool {
    mapped.next() == Some(c) && mapped.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(place: Place, ignores_case: bool, wanted: &str, text: &str) -> bool {
        let literal = Literal::new(wanted.to_owned(), place, ignores_case);
        let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        let found = literal.matches(Text::plain(text));
        assert_eq!(literal.matches(Text::escaped(&escaped)), found, "{text} written in escapes");
        found
    }

    #[test]
    fn a_text_is_found_where_it_has_to_be_however_it_is_written() {
        use Place::{End, Start, Whole};
        for (place, wanted, text, expected) in [
            (Whole, "a", "a", true),
            (Whole, "a", "ab", false),
            (Whole, "", "", true),
            (Start, "a", "ab", true),
            (Start, "ab", "a", false),
            (Start, "", "x", true),
            (End, "b", "ab", true),
            (End, "ab", "b", false),
            (End, "", "x", true),
            (End, "\u{e9}", "caf\u{e9}", true),
            (End, "\u{e9}", "cafe\u{301}", false),
            (End, "\u{1f600}", "a\u{1f600}", true),
        ] {
            assert_eq!(matches(place, false, wanted, text), expected, "{wanted} {text}");
            assert_eq!(matches(place, true, wanted, text), expected, "{wanted} {text}");
        }
    }

    #[test]
    fn case_is_ignored_character_by_character() {
        for (wanted, text, expected) in [
            ("\u{c9}COLE", "\u{e9}cole", true),
            ("\u{c9}COLE", "ECOLE", false),
            ("STRASSE", "stra\u{df}e", false),
            ("\u{df}", "SS", false),
            ("I", "i", true),
            ("I", "\u{131}", false),
            ("k", "\u{212a}", false), // the sign of the Kelvin
        ] {
            assert_eq!(matches(Place::Whole, true, wanted, text), expected, "{wanted} {text}");
        }
    }
}
