//! Text with `*` in it, each of which stands for any text. A string is looked at once, however many
//! there are: every piece between two `*` is searched for with its own table (Knuth, Morris and
//! Pratt), and found where it first ends, since a later place could not help the pieces after it.

use crate::text::Text;

/// A character that a wildcard does not take, and where it stands in it, counted in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WildcardFlaw {
    /// Two `*` beside each other.
    Consecutive { index: usize },
    /// A backslash before anything but `*` and itself.
    Escape { index: usize },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Wildcard {
    /// What a string begins with.
    start: Box<[char]>,
    /// What follows each `*`; the last of them ends the string.
    pieces: Box<[Piece]>,
    /// What a string ends with.
    end: Box<str>,
}

/// Characters that are searched for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Piece {
    chars: Box<[char]>,
    /// By the number of characters that were found: how many of them, the last ones, are also the
    /// first ones of the piece.
    back: Box<[u16]>,
}

impl Wildcard {
    pub(crate) fn parse(text: &str) -> Result<Self, WildcardFlaw> {
        let mut pieces = vec![Vec::new()];
        let mut chars = text.chars().enumerate().peekable();
        while let Some((index, c)) = chars.next() {
            let c = match c {
                '*' if chars.peek().is_some_and(|(_, next)| *next == '*') => {
                    return Err(WildcardFlaw::Consecutive { index: index + 1 });
                }
                '*' => {
                    pieces.push(Vec::new());
                    continue;
                }
                '\\' => match chars.next() {
                    Some((_, c @ ('*' | '\\'))) => c,
                    _ => return Err(WildcardFlaw::Escape { index }),
                },
                c => c,
            };
            pieces.last_mut().expect("the first is there from the beginning").push(c);
        }
        let end = pieces.last().into_iter().flatten().collect();
        let mut pieces = pieces.into_iter();
        let start = pieces.next().unwrap_or_default().into();
        Ok(Self { start, pieces: pieces.map(Piece::new).collect(), end })
    }

    pub(crate) fn matches(&self, text: Text<'_>) -> bool {
        match text.as_plain() {
            // The end is looked at first: no search is needed to see that it is another.
            Some(plain) => plain.ends_with(&*self.end) && self.matches_chars(plain.chars()),
            None => self.matches_chars(text.chars()),
        }
    }

    fn matches_chars(&self, mut chars: impl Iterator<Item = char>) -> bool {
        if !self.start.iter().all(|wanted| chars.next() == Some(*wanted)) {
            return false;
        }
        let Some((last, between)) = self.pieces.split_last() else { return chars.next().is_none() };
        between.iter().all(|piece| piece.find(&mut chars)) && last.ends(chars)
    }
}

impl Piece {
    fn new(chars: Vec<char>) -> Self {
        let mut back = vec![0; chars.len() + 1];
        let mut found = 0;
        for end in 1..chars.len() {
            while found > 0 && chars[found] != chars[end] {
                found = usize::from(back[found]);
            }
            found += usize::from(chars[found] == chars[end]);
            back[end + 1] = u16::try_from(found).expect("a pattern has 4,096 characters at most");
        }
        Self { chars: chars.into(), back: back.into() }
    }

    /// Takes characters until the piece was among them.
    fn find(&self, chars: &mut impl Iterator<Item = char>) -> bool {
        let mut found = 0;
        while found < self.chars.len() {
            let Some(c) = chars.next() else { return false };
            found = self.next(found, c);
        }
        true
    }

    /// Takes all characters. Whether the last ones are the piece.
    fn ends(&self, chars: impl Iterator<Item = char>) -> bool {
        self.chars.is_empty() || chars.fold(0, |found, c| self.next(found, c)) == self.chars.len()
    }

    /// How many characters of the piece are found after one more.
    fn next(&self, mut found: usize, c: char) -> usize {
        while self.chars.get(found) != Some(&c) {
            if found == 0 {
                return 0;
            }
            found = usize::from(self.back[found]);
        }
        found + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(wildcard: &str, text: &str) -> bool {
        let wildcard = Wildcard::parse(wildcard).expect("it is one");
        let found = wildcard.matches_chars(text.chars());
        assert_eq!(wildcard.matches(Text::plain(text)), found, "{wildcard:?} {text}");
        found
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (wildcard, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("a*", "a", true),
            ("*a", "ba", true),
            ("*a", "ab", false),
            ("a*b*a", "aba", true),
            ("a*a", "a", false),
            ("*aba*aba", "ababa", false),
            ("*aba*aba", "abababa", true),
            ("*ab", "aab", true),
            (r"\*\\*", r"*\x", true),
            (r"\**", "x", false),
        ] {
            assert_eq!(matches(wildcard, text), expected, "{wildcard} {text}");
        }
    }

    #[test]
    fn what_a_wildcard_does_not_take_is_named_with_its_place() {
        for (wildcard, flaw) in [
            ("a**b", WildcardFlaw::Consecutive { index: 2 }),
            (r"a\x", WildcardFlaw::Escape { index: 1 }),
            (r"a\", WildcardFlaw::Escape { index: 1 }),
        ] {
            assert_eq!(Wildcard::parse(wildcard).expect_err("a flaw"), flaw, "{wildcard}");
        }
    }

    /// A search that goes back to an earlier `*` takes time with the product of both lengths, or
    /// worse. Counted, not timed: every character is asked for once.
    #[test]
    fn the_worst_text_for_the_worst_wildcard_is_looked_at_once() {
        let wildcard = Wildcard::parse(&"*a*aaaaaaab".repeat(300)).expect("it is one");
        let mut looked_at = 0;
        let text = std::iter::repeat_n('a', 100_000).inspect(|_| looked_at += 1);
        assert!(!wildcard.matches_chars(text));
        assert_eq!(looked_at, 100_000);
    }

    /// The language by its definition, in exponential time.
    fn by_definition(wildcard: &[char], text: &[char]) -> bool {
        match (wildcard, text) {
            ([], _) => text.is_empty(),
            (['*', rest @ ..], _) => (0..=text.len()).any(|cut| by_definition(rest, &text[cut..])),
            ([c, rest @ ..], [first, text @ ..]) => c == first && by_definition(rest, text),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_is_the_language_that_its_definition_says(
            wildcard in "[ab]{0,3}(\\*[ab]{1,3}){0,3}\\*?",
            text in "[ab]{0,10}",
        ) {
            let chars: Vec<char> = wildcard.chars().collect();
            let expected = by_definition(&chars, &text.chars().collect::<Vec<_>>());
            prop_assert_eq!(matches(&wildcard, &text), expected);
        }
    }
}
