//! Reads JSON from its text, piece after piece. It borrows what it reads, allocates nothing, and
//! goes no deeper than [`DEPTH_MAX`].
//!
//! Whoever reads says how: [`Reader::value`] gives a scalar or opens an object or an array, whose
//! members [`Reader::key`] and [`Reader::element`] walk through until it is closed.

use crate::text::Text;

/// How deep objects and arrays may stand in each other, as `serde_json` has it: what reads them
/// calls itself, and a stack has an end.
pub(crate) const DEPTH_MAX: usize = 128;

const _: () = assert!(DEPTH_MAX <= u128::BITS as usize, "Reader::skip has a bit for each");

/// Where the text stops being JSON, or being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadError {
    pub(crate) offset: usize,
    pub(crate) flaw: Flaw,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// What was expected there.
    NotJson(&'static str),
    TooDeep,
}

/// A value, or the beginning of one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    Object,
    Array,
    Scalar(Scalar<'a>),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Scalar<'a> {
    Text(Text<'a>),
    /// As it is written.
    Number(&'a str),
    Bool(bool),
    Null,
}

/// A place in a text. A copy of it goes its own way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// Where the last key, value or closing bracket begins.
    token_at: usize,
    depth: usize,
    /// Whether an object or an array was just opened: before its first member there is no comma.
    is_first: bool,
}

type Read<T> = Result<T, ReadError>;

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0, token_at: 0, depth: 0, is_first: false }
    }

    pub(crate) fn token_at(&self) -> usize {
        self.token_at
    }

    #[inline(always)] // With the other: an eighth fewer instructions for an event of a KiB.
    pub(crate) fn value(&mut self) -> Read<Value<'a>> {
        self.next_token();
        match self.peek() {
            Some(b'{') => self.open(Value::Object),
            Some(b'[') => self.open(Value::Array),
            Some(b'"') => Ok(Value::Scalar(Scalar::Text(self.text()?))),
            Some(b'-' | b'0'..=b'9') => Ok(Value::Scalar(Scalar::Number(self.number()?))),
            Some(b't') => self.word("true", Scalar::Bool(true)),
            Some(b'f') => self.word("false", Scalar::Bool(false)),
            Some(b'n') => self.word("null", Scalar::Null),
            _ => Err(self.expected("a value")),
        }
    }

    /// The next key of the object that was opened last, with its colon; `None` closes the object.
    #[inline(always)] // With the other: an eighth fewer instructions for an event of a KiB.
    pub(crate) fn key(&mut self) -> Read<Option<Text<'a>>> {
        if !self.another(b'}', "a comma or a closing brace")? {
            return Ok(None);
        }
        self.next_token();
        if self.peek() != Some(b'"') {
            return Err(self.expected("a key in quotes"));
        }
        let (key, begins) = (self.text()?, self.token_at);
        self.next_token();
        if self.peek() != Some(b':') {
            return Err(self.expected("a colon"));
        }
        self.at += 1;
        self.token_at = begins;
        Ok(Some(key))
    }

    /// Whether the array that was opened last has another element, to be read as a value; if not,
    /// it is closed.
    pub(crate) fn element(&mut self) -> Read<bool> {
        self.another(b']', "a comma or a closing bracket")
    }

    /// Reads on to the end of a value.
    pub(crate) fn skip(&mut self, mut value: Value<'a>) -> Read<()> {
        let outside = self.depth - usize::from(!matches!(value, Value::Scalar(_)));
        // Whether what is open is an object, a bit each; the innermost has the lowest.
        let mut are_objects: u128 = 0;
        loop {
            match value {
                Value::Object => are_objects = (are_objects << 1) | 1,
                Value::Array => are_objects <<= 1,
                Value::Scalar(_) => {}
            }
            while self.depth > outside && !self.member(are_objects & 1 == 1)? {
                are_objects >>= 1;
            }
            if self.depth == outside {
                return Ok(());
            }
            value = self.value()?;
        }
    }

    /// Whether the object or array that was opened last has another member, whose value is next.
    fn member(&mut self, is_object: bool) -> Read<bool> {
        if is_object { Ok(self.key()?.is_some()) } else { self.element() }
    }

    /// Makes sure that nothing follows.
    pub(crate) fn end(&mut self) -> Read<()> {
        self.next_token();
        if self.at == self.text.len() { Ok(()) } else { Err(self.expected("the end")) }
    }

    fn open(&mut self, value: Value<'a>) -> Read<Value<'a>> {
        if self.depth == DEPTH_MAX {
            return Err(ReadError { offset: self.at, flaw: Flaw::TooDeep });
        }
        self.depth += 1;
        self.at += 1;
        self.is_first = true;
        Ok(value)
    }

    /// Whether another member follows, behind its comma, or the bracket that closes.
    fn another(&mut self, closing: u8, expected: &'static str) -> Read<bool> {
        self.next_token();
        let is_first = std::mem::take(&mut self.is_first);
        match self.peek() {
            Some(byte) if byte == closing => {
                self.at += 1;
                self.depth -= 1;
                Ok(false)
            }
            _ if is_first => Ok(true),
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            _ => Err(self.expected(expected)),
        }
    }

    /// The string that begins here.
    fn text(&mut self) -> Read<Text<'a>> {
        self.at += 1;
        let begins = self.at;
        self.at += plain_length(&self.text.as_bytes()[begins..]);
        // Few strings have escapes.
        let has_escapes = self.peek() != Some(b'"');
        if has_escapes {
            self.escapes()?;
        }
        let raw = &self.text[begins..self.at];
        self.at += 1;
        Ok(if has_escapes { Text::escaped(raw) } else { Text::plain(raw) })
    }

    /// Reads on from an escape to the quote that ends the string.
    fn escapes(&mut self) -> Read<()> {
        loop {
            match self.peek() {
                Some(b'"') => return Ok(()),
                Some(b'\\') => self.escape()?,
                Some(_) => return Err(self.expected("no control character in a string")),
                None => return Err(self.expected("the quote that ends a string")),
            }
            self.at += plain_length(&self.text.as_bytes()[self.at..]);
        }
    }

    fn escape(&mut self) -> Read<()> {
        self.at += 1;
        let length = match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 1,
            Some(b'u') => {
                let digits = self.text.as_bytes().get(self.at + 1..self.at + 5);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return Err(self.expected("four digits of hex"));
                }
                5
            }
            _ => return Err(self.expected("an escape that JSON has")),
        };
        self.at += length;
        Ok(())
    }

    fn number(&mut self) -> Read<&'a str> {
        let begins = self.at;
        self.take(|byte| byte == b'-');
        if !self.take(|byte| byte == b'0') {
            self.digits()?;
        }
        if self.take(|byte| byte == b'.') {
            self.digits()?;
        }
        if self.take(|byte| matches!(byte, b'e' | b'E')) {
            self.take(|byte| matches!(byte, b'+' | b'-'));
            self.digits()?;
        }
        Ok(&self.text[begins..self.at])
    }

    fn digits(&mut self) -> Read<()> {
        let rest = &self.text.as_bytes()[self.at..];
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count == 0 { Err(self.expected("a digit")) } else { Ok(()) }
    }

    /// Goes on if the next byte is one of these.
    fn take(&mut self, is_one: impl Fn(u8) -> bool) -> bool {
        let is_next = self.peek().is_some_and(is_one);
        self.at += usize::from(is_next);
        is_next
    }

    fn word(&mut self, word: &str, means: Scalar<'a>) -> Read<Value<'a>> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.expected("a value"));
        }
        self.at += word.len();
        Ok(Value::Scalar(means))
    }

    fn next_token(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
        self.token_at = self.at;
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[cold]
    fn expected(&self, what: &'static str) -> ReadError {
        ReadError { offset: self.at, flaw: Flaw::NotJson(what) }
    }
}

/// How many bytes of a string there are before the first that ends it, begins an escape, or is
/// forbidden. Most of most events is in here: eight bytes are looked at in one word.
fn plain_length(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let special = special(u64::from_le_bytes(*word));
        if special != 0 {
            return index * 8 + special.trailing_zeros() as usize / 8;
        }
    }
    let is_plain = |byte: &&u8| !matches!(byte, b'"' | b'\\' | ..0x20);
    words.len() * 8 + rest.iter().take_while(is_plain).count()
}

/// The highest bit of each byte that is a quote, a backslash or a control character. Bytes above
/// the first of them may be marked too, since subtraction borrows from them.
fn special(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xff;
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word;
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (below(word, 0x20) | is(b'"') | is(b'\\')) & (ONES * 0x80)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<(), ReadError> {
        let mut reader = Reader::new(text);
        let value = reader.value()?;
        reader.skip(value)?;
        reader.end()
    }

    fn nested(depth: usize) -> String {
        "[".repeat(depth) + &"]".repeat(depth)
    }

    #[test]
    fn nesting_has_an_end() {
        assert_eq!(read(&nested(DEPTH_MAX)), Ok(()));
        let deeper = read(&nested(DEPTH_MAX + 1));
        assert_eq!(deeper, Err(ReadError { offset: DEPTH_MAX, flaw: Flaw::TooDeep }));
        assert!(read(&"[".repeat(1_000_000)).is_err(), "and no stack is too small for it");
    }

    #[test]
    fn an_error_says_where_and_what_was_expected() {
        for (text, offset, expected) in [
            ("", 0, "a value"),
            ("{\"a\":1", 6, "a comma or a closing brace"),
            ("{\"a\":1,}", 7, "a key in quotes"),
            ("[1,]", 3, "a value"),
            ("[1 2]", 3, "a comma or a closing bracket"),
            ("{\"a\" 1}", 5, "a colon"),
            ("\"a", 2, "the quote that ends a string"),
            ("\"\n\"", 1, "no control character in a string"),
            ("\"\\x\"", 2, "an escape that JSON has"),
            ("\"\\u12\"", 2, "four digits of hex"),
            ("-", 1, "a digit"),
            ("01", 1, "the end"),
            ("1.e5", 2, "a digit"),
            ("tru", 0, "a value"),
            ("{} x", 3, "the end"),
        ] {
            let error = ReadError { offset, flaw: Flaw::NotJson(expected) };
            assert_eq!(read(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_string_is_plain_up_to_the_first_byte_that_is_not_wherever_it_stands() {
        // What comes behind it is one of them too: what is looked at in one word may borrow there.
        let specials = [b'"', b'\\', b'\n', 0, 0x1f];
        let plains = *b" !#[]\x7f\x80\xff";
        for (plain, at) in plains.iter().flat_map(|plain| (0..20).map(move |at| (*plain, at))) {
            assert_eq!(plain_length(&vec![plain; at]), at);
            for (special, behind) in specials
                .iter()
                .flat_map(|one| specials.iter().chain(&plains).map(move |it| (one, it)))
            {
                let mut bytes = vec![plain; at];
                bytes.push(*special);
                bytes.resize(24, *behind);
                assert_eq!(plain_length(&bytes), at, "{}", bytes.escape_ascii());
            }
        }
    }

    #[test]
    fn what_is_skipped_ends_where_it_is_closed_whatever_stands_in_it() {
        for skipped in [
            "1",
            "\"]}\"",
            "[]",
            "{}",
            r#"[{"a":[1,{}],"b":[[]]},[2]]"#,
            r#"{"a":{"b":[{}]},"c":{}}"#,
        ] {
            let text = format!("[{skipped} ,7]");
            let mut reader = Reader::new(&text);
            assert!(matches!(reader.value(), Ok(Value::Array)));
            assert_eq!(reader.element(), Ok(true));
            let value = reader.value().expect("it is JSON");
            assert_eq!(reader.skip(value), Ok(()), "{skipped}");
            assert_eq!(reader.element(), Ok(true), "{skipped}");
            assert!(matches!(reader.value(), Ok(Value::Scalar(Scalar::Number("7")))), "{skipped}");
            assert_eq!(reader.element(), Ok(false));
            assert_eq!(reader.end(), Ok(()));
        }
    }

    proptest! {
        /// What `serde_json` reads and refuses is read and refused: but for half surrogates, which
        /// the grammar allows and its strings do not.
        #[test]
        fn it_takes_what_json_is_and_nothing_else(
            text in prop_oneof![
                r#"[\[\]{}:,"a0-9.eE+\-\\un \t]{0,12}"#,
                r#"(true|null|\{"a":|\[|,|"b"|-?[0-9]{1,3}|\]|\}){0,8}"#,
            ],
        ) {
            let expected: Result<serde_json::Value, _> = serde_json::from_str(&text);
            let is_range = expected.as_ref().is_err_and(|error| {
                let error = error.to_string();
                error.contains("out of range") || error.contains("surrogate")
            });
            let is_same = read(&text).is_ok() == expected.is_ok();
            prop_assert!(is_range || is_same, "{} {:?}", text, expected);
        }
    }
}
