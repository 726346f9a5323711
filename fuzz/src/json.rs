//! A second opinion on JSON: RFC 8259 read by hand, so that what serde_json accepted is judged by
//! other code.
//!
//! It finds where values begin and end and never builds one. It does not recurse, so no depth
//! overflows its stack.

/// The members of a JSON object in order: each key decoded, each value as it stands, without white
/// space around it; `None` where `json` is no object, or where a key is no Unicode text.
pub fn members(json: &str) -> Option<Vec<(String, &str)>> {
    let mut cursor = Cursor { json: json.as_bytes(), at: 0 };
    let mut members = Vec::new();
    cursor.expect(b'{')?;
    if cursor.expect(b'}').is_none() {
        loop {
            cursor.space();
            let key_from = cursor.at;
            cursor.string()?;
            let key = text(&json[key_from..cursor.at])?;
            cursor.expect(b':')?;
            cursor.space();
            let value_from = cursor.at;
            cursor.value()?;
            members.push((key, &json[value_from..cursor.at]));
            if cursor.expect(b',').is_none() {
                break cursor.expect(b'}')?;
            }
        }
    }
    cursor.space();
    (cursor.at == json.len()).then_some(members)
}

/// The elements of a JSON array, each as it stands; `None` where `json` is no array.
pub fn elements(json: &str) -> Option<Vec<&str>> {
    let mut cursor = Cursor { json: json.as_bytes(), at: 0 };
    let mut elements = Vec::new();
    cursor.expect(b'[')?;
    if cursor.expect(b']').is_none() {
        loop {
            cursor.space();
            let from = cursor.at;
            cursor.value()?;
            elements.push(&json[from..cursor.at]);
            if cursor.expect(b',').is_none() {
                break cursor.expect(b']')?;
            }
        }
    }
    cursor.space();
    (cursor.at == json.len()).then_some(elements)
}

/// The text that a JSON string means; `None` where it is no string, or half of a surrogate pair.
pub fn text(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

struct Cursor<'a> {
    json: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<u8> {
        self.json.get(self.at).copied()
    }

    fn space(&mut self) {
        self.skip(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r'));
    }

    /// Skips the bytes that fit and says how many did.
    fn skip(&mut self, fits: impl Fn(u8) -> bool) -> usize {
        let count = self.json[self.at..].iter().take_while(|b| fits(**b)).count();
        self.at += count;
        count
    }

    /// White space, then this byte.
    fn expect(&mut self, byte: u8) -> Option<()> {
        self.space();
        self.byte(|b| b == byte)
    }

    fn byte(&mut self, fits: impl Fn(u8) -> bool) -> Option<()> {
        self.peek().filter(|b| fits(*b))?;
        self.at += 1;
        Some(())
    }

    fn literal(&mut self, word: &str) -> Option<()> {
        self.json[self.at..].starts_with(word.as_bytes()).then(|| self.at += word.len())
    }

    fn string(&mut self) -> Option<()> {
        self.byte(|b| b == b'"')?;
        loop {
            self.skip(|b| b >= 0x20 && b != b'"' && b != b'\\');
            if self.byte(|b| b == b'"').is_some() {
                return Some(());
            }
            self.byte(|b| b == b'\\')?;
            if self.byte(|b| b == b'u').is_some() {
                for _ in 0..4 {
                    self.byte(|b| b.is_ascii_hexdigit())?;
                }
            } else {
                self.byte(|b| b"\"\\/bfnrt".contains(&b))?;
            }
        }
    }

    fn number(&mut self) -> Option<()> {
        let digit = |b: u8| b.is_ascii_digit();
        let _ = self.byte(|b| b == b'-');
        if self.byte(|b| b == b'0').is_none() && self.skip(digit) == 0 {
            return None;
        }
        if self.byte(|b| b == b'.').is_some() && self.skip(digit) == 0 {
            return None;
        }
        if self.byte(|b| b == b'e' || b == b'E').is_some() {
            let _ = self.byte(|b| b == b'+' || b == b'-');
            if self.skip(digit) == 0 {
                return None;
            }
        }
        Some(())
    }

    fn value(&mut self) -> Option<()> {
        let mut open = Vec::new();
        loop {
            self.space();
            match self.peek()? {
                b'{' => {
                    self.at += 1;
                    if self.expect(b'}').is_none() {
                        open.push(b'}');
                        self.key()?;
                        continue;
                    }
                }
                b'[' => {
                    self.at += 1;
                    if self.expect(b']').is_none() {
                        open.push(b']');
                        continue;
                    }
                }
                b'"' => self.string()?,
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                _ => self.number()?,
            }
            // A value has ended, and with it perhaps what it stands in.
            loop {
                let Some(&end) = open.last() else { return Some(()) };
                if self.expect(b',').is_some() {
                    if end == b'}' {
                        self.key()?;
                    }
                    break;
                }
                self.expect(end)?;
                open.pop();
            }
        }
    }

    fn key(&mut self) -> Option<()> {
        self.space();
        self.string()?;
        self.expect(b':')
    }
}
