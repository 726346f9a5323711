//! Splits a byte stream into lines under a length limit, without copying.
//!
//! Lines longer than the limit are reported once and skipped up to their end; the stream lives on. The
//! splitter never decides what a line means.

use bytes::{Buf, Bytes, BytesMut};

/// What the splitter found at the front of the buffer.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A line without its `\n` or `\r\n`. Never blank.
    Complete { number: u64, text: Bytes },
    /// A line over the limit; its bytes are being skipped.
    TooLong { number: u64 },
}

/// The state between reads: how far the buffer was searched, and whether a long line is being skipped.
#[derive(Debug)]
pub struct Splitter {
    /// Bytes of `buf` known to hold no `\n`, so that none is searched twice.
    searched: usize,
    skipping: bool,
    /// Lines begun so far; blank ones count, so that numbers match an editor's.
    number: u64,
    line_bytes_max: usize,
}

impl Splitter {
    /// `line_bytes_max`: the longest line, without its line end, that is passed on.
    pub fn new(line_bytes_max: usize) -> Self {
        Self { searched: 0, skipping: false, number: 0, line_bytes_max }
    }

    /// The stream may have told its record limit after this connection began.
    pub fn set_line_bytes_max(&mut self, line_bytes_max: usize) {
        self.line_bytes_max = line_bytes_max;
    }

    /// Takes the next line off the front of `buf`, or nothing when more bytes are needed.
    pub fn next(&mut self, buf: &mut BytesMut) -> Option<Line> {
        loop {
            match memchr::memchr(b'\n', &buf[self.searched..]) {
                Some(found) => {
                    let mut text = buf.split_to(self.searched + found);
                    buf.advance(1);
                    self.searched = 0;
                    if std::mem::take(&mut self.skipping) {
                        continue; // the end of a line that was reported when its limit was passed
                    }
                    self.number += 1;
                    if text.last() == Some(&b'\r') {
                        text.truncate(text.len() - 1);
                    }
                    if text.len() > self.line_bytes_max {
                        return Some(Line::TooLong { number: self.number });
                    }
                    if !text.trim_ascii().is_empty() {
                        return Some(Line::Complete { number: self.number, text: text.freeze() });
                    }
                }
                None if self.skipping => {
                    buf.clear();
                    return None;
                }
                // One more for a `\r` that would not count.
                None if buf.len() > self.line_bytes_max + 1 => {
                    buf.clear();
                    self.searched = 0;
                    self.skipping = true;
                    self.number += 1;
                    return Some(Line::TooLong { number: self.number });
                }
                None => {
                    self.searched = buf.len();
                    return None;
                }
            }
        }
    }

    /// Whether bytes of an unfinished line are held (or being skipped).
    pub fn is_mid_line(&self, buf: &BytesMut) -> bool {
        self.skipping || !buf.is_empty()
    }

    /// At the end of the stream: the number of a last line that was never ended, a torn write.
    /// One that was too long has been reported already; trailing blanks are no line.
    pub fn torn(&self, buf: &BytesMut) -> Option<u64> {
        (!self.skipping && !buf.trim_ascii().is_empty()).then_some(self.number + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: usize = 8;

    /// Feeds `input` cut at the given places and returns every line with what is torn at the end.
    fn split(input: &[u8], cuts: &[usize]) -> (Vec<Line>, Option<u64>) {
        let mut splitter = Splitter::new(MAX);
        let mut buf = BytesMut::new();
        let mut lines = Vec::new();
        let mut bounds: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
        bounds.push(input.len());
        bounds.sort_unstable();
        let mut from = 0;
        for to in bounds {
            buf.extend_from_slice(&input[from..to]);
            from = to;
            while let Some(line) = splitter.next(&mut buf) {
                lines.push(line);
            }
            assert!(buf.len() <= MAX + 1, "a long line must not be kept");
        }
        (lines, splitter.torn(&buf))
    }

    fn complete(number: u64, text: &'static str) -> Line {
        Line::Complete { number, text: Bytes::from_static(text.as_bytes()) }
    }

    #[test]
    fn lines_end_in_lf_or_crlf_and_blank_ones_are_only_counted() {
        let (lines, torn) = split(b"a\n\n \r\nb\r\n", &[]);
        assert_eq!(lines, vec![complete(1, "a"), complete(4, "b")]);
        assert_eq!(torn, None);
    }

    #[test]
    fn a_line_over_the_limit_is_reported_once_and_the_next_one_is_read() {
        let (lines, _) = split(b"123456789\nok\n", &[]);
        assert_eq!(lines, vec![Line::TooLong { number: 1 }, complete(2, "ok")]);
        let (lines, _) = split(b"12345678901234567890\nok\n", &[3, 11, 15]);
        assert_eq!(lines, vec![Line::TooLong { number: 1 }, complete(2, "ok")]);
    }

    #[test]
    fn a_last_line_without_its_end_is_torn() {
        assert_eq!(split(b"a\nb", &[]).1, Some(2));
        assert_eq!(split(b"a\n  ", &[]).1, None);
        assert_eq!(split(b"1234567890123", &[]), (vec![Line::TooLong { number: 1 }], None));
    }

    proptest! {
        #[test]
        fn the_same_lines_come_out_however_the_bytes_are_cut(
            input in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b' '), Just(b'x')], 0..80),
            cuts in proptest::collection::vec(0usize..100, 0..12),
        ) {
            prop_assert_eq!(split(&input, &[]), split(&input, &cuts));
        }
    }
}
