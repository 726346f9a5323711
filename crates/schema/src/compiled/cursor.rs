//! A place in a JSON text that moves forward. The text was found to be JSON by whoever brought it:
//! a broken one ends somewhere, and nothing here panics on it.

use std::borrow::Cow;

use memchr::memchr2;

#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let mut cursor = Self { text, at: 0 };
        cursor.skip_space();
        cursor
    }

    /// The byte that is next.
    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    pub(super) fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Passes this byte and the space after it, if it is next.
    #[inline]
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        if is_next {
            self.at += 1;
            self.skip_space();
        }
        is_next
    }

    /// What stands between another place and this one.
    pub(super) fn since(&self, start: Self) -> &'a str {
        self.text.get(start.at..self.at).unwrap_or("")
    }

    /// Passes a string, and gives what stands between its quotes and whether that has escapes.
    #[inline]
    pub(super) fn string(&mut self) -> (&'a str, bool) {
        let start = self.at + 1;
        let mut end = start;
        let mut has_escapes = false;
        let bytes = self.text.as_bytes();
        loop {
            match memchr2(b'"', b'\\', bytes.get(end..).unwrap_or(&[])) {
                None => {
                    self.at = bytes.len();
                    return (self.text.get(start..).unwrap_or(""), has_escapes);
                }
                Some(offset) if bytes[end + offset] == b'\\' => {
                    has_escapes = true;
                    end += offset + 2;
                }
                Some(offset) => {
                    end += offset;
                    self.at = end + 1;
                    self.skip_space();
                    return (&self.text[start..end], has_escapes);
                }
            }
        }
    }

    /// Passes a number, `true`, `false` or `null`.
    #[inline]
    pub(super) fn word(&mut self) -> &'a str {
        let start = self.at;
        while let Some(byte) = self.peek() {
            if matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r') {
                break;
            }
            self.at += 1;
        }
        let word = self.text.get(start..self.at).unwrap_or("");
        self.skip_space();
        word
    }

    /// Passes any value, without a call for each of its levels.
    pub(super) fn skip(&mut self) {
        match self.peek() {
            Some(b'"') => drop(self.string()),
            Some(b'{' | b'[') => {
                let mut levels = 0_usize;
                while let Some(byte) = self.peek() {
                    match byte {
                        b'"' => {
                            self.string();
                            continue;
                        }
                        b'{' | b'[' => levels += 1,
                        b'}' | b']' => levels = levels.saturating_sub(1),
                        _ => {}
                    }
                    self.at += 1;
                    if levels == 0 {
                        break;
                    }
                }
                self.skip_space();
            }
            _ => drop(self.word()),
        }
    }
}

/// What a string says, from what stands between its quotes.
#[inline]
pub(super) fn unescaped(inner: &str, has_escapes: bool) -> Cow<'_, str> {
    if has_escapes { without_escapes(inner).into() } else { inner.into() }
}

/// Half of a surrogate pair alone, which JSON permits, says nothing in UTF-8: such a text is
/// compared as it is written.
#[cold]
fn without_escapes(inner: &str) -> String {
    serde_json::from_str(&format!("\"{inner}\"")).unwrap_or_else(|_| inner.to_owned())
}
