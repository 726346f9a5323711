//! Splits a byte stream into lines under a length limit, without copying.
//!
//! Lines longer than the limit are reported once and skipped up to their end; the stream lives on.
//! The splitter never decides what a line means.

/// What the splitter found at the beginning of the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line without its `\n` or `\r\n`. Never blank.
    Complete { number: u64, text: &'a [u8] },
    /// A line that is over the limit, as far as it is here: at least up to the limit. The rest of
    /// it is skipped.
    TooLong { number: u64, head: &'a [u8] },
}

/// The state between reads: how far the buffer was searched, and whether a long line is being
/// skipped.
#[derive(Debug)]
pub struct Splitter {
    /// Bytes at the front of the buffer that were split off already.
    split: usize,
    /// Bytes of the buffer known to hold no other `\n`, so that none is searched twice.
    searched: usize,
    skipping: bool,
    /// Lines begun so far; blank ones count, so that numbers match an editor's.
    number: u64,
    line_bytes_max: usize,
}

impl Splitter {
    /// `line_bytes_max`: the longest line, without its line end, that is passed on.
    pub fn new(line_bytes_max: usize) -> Self {
        Self { split: 0, searched: 0, skipping: false, number: 0, line_bytes_max }
    }

    /// Changes the limit: the stream may tell its record limit after the connection began.
    pub fn set_line_bytes_max(&mut self, line_bytes_max: usize) {
        self.line_bytes_max = line_bytes_max;
    }

    /// The next line of the buffer; `None` when more bytes are needed. Between two calls the buffer
    /// only grows; the caller removes what was split off when [`take_split`](Self::take_split) says
    /// how much that is.
    pub fn next<'a>(&mut self, buf: &'a [u8]) -> Option<Line<'a>> {
        loop {
            match memchr::memchr(b'\n', &buf[self.searched..]) {
                Some(found) => {
                    let end = self.searched + found;
                    let text = &buf[self.split..end];
                    (self.split, self.searched) = (end + 1, end + 1);
                    if std::mem::take(&mut self.skipping) {
                        continue; // the end of a line that was reported when its limit was passed
                    }
                    self.number += 1;
                    let text = text.strip_suffix(b"\r").unwrap_or(text);
                    if text.len() > self.line_bytes_max {
                        return Some(Line::TooLong { number: self.number, head: text });
                    }
                    if !text.trim_ascii().is_empty() {
                        return Some(Line::Complete { number: self.number, text });
                    }
                }
                None => {
                    self.searched = buf.len();
                    if self.skipping {
                        self.split = buf.len();
                        return None;
                    }
                    // One more for a `\r` that would not count.
                    if buf.len() - self.split <= self.line_bytes_max + 1 {
                        return None;
                    }
                    let head = &buf[self.split..];
                    self.split = buf.len();
                    self.skipping = true;
                    self.number += 1;
                    return Some(Line::TooLong { number: self.number, head });
                }
            }
        }
    }

    /// Bytes at the front of the buffer that are of no use any more, to be removed from it now.
    pub fn take_split(&mut self) -> usize {
        self.searched -= self.split;
        std::mem::take(&mut self.split)
    }

    /// The number of the line that is not ended: bytes of it are held, or being skipped. Asked when
    /// nothing is split off.
    pub fn unfinished(&self, buf: &[u8]) -> Option<u64> {
        if self.skipping { Some(self.number) } else { (!buf.is_empty()).then_some(self.number + 1) }
    }

    /// At the end of the stream: the number of a last line that was never ended, a torn write.
    /// One that was too long has been reported already; trailing blanks are no line.
    pub fn torn(&self, buf: &[u8]) -> Option<u64> {
        (!self.skipping && !buf.trim_ascii().is_empty()).then_some(self.number + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: usize = 8;

    /// Lines by their numbers, a too long one without its text.
    type Lines = Vec<(u64, Option<Vec<u8>>)>;

    /// Feeds `input` cut at the given places and returns every line with what is torn at the end.
    fn split(input: &[u8], cuts: &[usize]) -> (Lines, Option<u64>) {
        let mut splitter = Splitter::new(MAX);
        let mut buf = Vec::new();
        let mut lines = Vec::new();
        let mut bounds: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
        bounds.push(input.len());
        bounds.sort_unstable();
        let mut from = 0;
        for to in bounds {
            buf.extend_from_slice(&input[from..to]);
            from = to;
            while let Some(line) = splitter.next(&buf) {
                lines.push(match line {
                    Line::Complete { number, text } => (number, Some(text.to_vec())),
                    Line::TooLong { number, head } => {
                        assert!(head.len() > MAX, "its beginning is there to be read");
                        (number, None)
                    }
                });
            }
            buf.drain(..splitter.take_split());
            assert!(buf.len() <= MAX + 1, "a long line must not be kept");
        }
        (lines, splitter.torn(&buf))
    }

    fn complete(number: u64, text: &str) -> (u64, Option<Vec<u8>>) {
        (number, Some(text.into()))
    }

    fn too_long(number: u64) -> (u64, Option<Vec<u8>>) {
        (number, None)
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
        assert_eq!(lines, vec![too_long(1), complete(2, "ok")]);
        let (lines, _) = split(b"12345678901234567890\nok\n", &[3, 11, 15]);
        assert_eq!(lines, vec![too_long(1), complete(2, "ok")]);
    }

    #[test]
    fn a_last_line_without_its_end_is_torn() {
        assert_eq!(split(b"a\nb", &[]).1, Some(2));
        assert_eq!(split(b"a\n  ", &[]).1, None);
        assert_eq!(split(b"1234567890123", &[]), (vec![too_long(1)], None));
    }

    #[test]
    fn an_unfinished_line_has_the_number_that_it_will_have_whether_it_is_held_or_skipped() {
        let mut splitter = Splitter::new(MAX);
        let mut seen = Vec::new();
        let mut buf = Vec::new();
        for bytes in ["a\n", "\nb", "c", "\nx", "23456789", "0", "1", "\n"] {
            buf.extend_from_slice(bytes.as_bytes());
            while splitter.next(&buf).is_some() {}
            buf.drain(..splitter.take_split());
            seen.push(splitter.unfinished(&buf));
        }
        assert_eq!(seen, [None, Some(3), Some(3), Some(4), Some(4), Some(4), Some(4), None]);
    }

    proptest! {
        #[test]
        fn the_same_lines_come_out_however_the_bytes_are_cut(
            input in proptest::collection::vec(
                prop_oneof![Just(b'\n'), Just(b'\r'), Just(b' '), Just(b'x')],
                0..80,
            ),
            cuts in proptest::collection::vec(0usize..100, 0..12),
        ) {
            prop_assert_eq!(split(&input, &[]), split(&input, &cuts));
        }
    }
}
