//! Makes whole lines of input that comes in pieces. Pure.
//!
//! The daemon closes a connection whose line stays incomplete for 30 s, and a producer's buffer may
//! end in the middle of a line for longer than that: so half a line waits here.

use dispatchd_core::limits::{KIB, RECORD_BYTES_MAX, line_bytes_max};

/// The most bytes that are kept of a line: more than any daemon takes. What follows them is left
/// out, as the daemon would leave it out; it refuses such a line by its length.
const KEPT_BYTES_MAX: usize = line_bytes_max(RECORD_BYTES_MAX) + KIB;

/// Input that was read and not sent yet.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Whole lines, then the beginning of one.
    bytes: Vec<u8>,
    /// Where the whole lines end.
    whole: usize,
}

impl Lines {
    pub(super) fn push(&mut self, piece: &[u8]) {
        let first_end = memchr::memchr(b'\n', piece);
        let (continued, rest) = piece.split_at(first_end.unwrap_or(piece.len()));
        let room = KEPT_BYTES_MAX.saturating_sub(self.bytes.len() - self.whole);
        self.bytes.extend_from_slice(&continued[..continued.len().min(room)]);
        self.bytes.extend_from_slice(rest);
        if let Some(last_end) = memchr::memrchr(b'\n', rest) {
            self.whole = self.bytes.len() - rest.len() + last_end + 1;
        }
    }

    /// Ends the last line, as the input is at its end: a file whose last line has no line end is no
    /// torn write.
    pub(super) fn end(&mut self) {
        if self.whole < self.bytes.len() {
            self.bytes.push(b'\n');
            self.whole = self.bytes.len();
        }
    }

    pub(super) fn has_whole(&self) -> bool {
        self.whole > 0
    }

    /// Takes lines off the front, of which at most `lines_max` ask for an answer: gives their
    /// bytes, and how many ask. A blank line asks for none.
    pub(super) fn take(&mut self, lines_max: usize) -> (Vec<u8>, usize) {
        let (mut end, mut asking) = (0, 0);
        for line_end in memchr::memchr_iter(b'\n', &self.bytes[..self.whole]) {
            let asks = !self.bytes[end..line_end].trim_ascii().is_empty();
            if asks && asking == lines_max {
                break;
            }
            asking += usize::from(asks);
            end = line_end + 1;
        }
        self.whole -= end;
        (self.bytes.drain(..end).collect(), asking)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(pieces: &[&[u8]]) -> Lines {
        let mut lines = Lines::default();
        pieces.iter().for_each(|piece| lines.push(piece));
        lines
    }

    #[test]
    fn half_a_line_waits_until_it_is_whole() {
        let mut lines = lines(&[b"{\"a\":1}\n{\"b\""]);
        assert_eq!(lines.take(9), (b"{\"a\":1}\n".to_vec(), 1));
        assert!(!lines.has_whole());
        lines.push(b":2}\n");
        assert_eq!(lines.take(9), (b"{\"b\":2}\n".to_vec(), 1));
    }

    #[test]
    fn no_more_lines_are_taken_than_may_be_and_blank_ones_do_not_count() {
        let mut lines = lines(&[b"1\n\r\n \n2\n3\n"]);
        assert_eq!(lines.take(2), (b"1\n\r\n \n2\n".to_vec(), 2));
        assert_eq!(lines.take(2), (b"3\n".to_vec(), 1));
    }

    #[test]
    fn a_last_line_without_an_end_gets_one() {
        let mut lines = lines(&[b"1\n2"]);
        lines.end();
        assert_eq!(lines.take(9), (b"1\n2\n".to_vec(), 2));
        lines.end();
        assert!(!lines.has_whole(), "nothing is added to nothing");
    }

    #[test]
    fn of_a_line_that_never_ends_no_more_is_kept_than_shows_that_it_is_too_long() {
        let piece = vec![b'x'; 1 << 20];
        let mut lines = lines(&[b"1\n"]);
        (0..20).for_each(|_| lines.push(&piece));
        lines.push(b"x\n2\n");
        let (taken, asking) = lines.take(9);
        assert_eq!((taken.len(), asking), (2 + KEPT_BYTES_MAX + 1 + 2, 3));
        assert!(taken.ends_with(b"x\n2\n"));
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_same_lines_come_out_whole(
            text in "[a \n]{0,40}",
            cuts in prop::collection::vec(0..40usize, 0..6),
            lines_max in 1..4usize,
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let (mut lines, mut taken) = (Lines::default(), Vec::new());
            for piece in cuts.windows(2) {
                lines.push(&text.as_bytes()[piece[0]..piece[1]]);
                while lines.has_whole() {
                    let (part, asking) = lines.take(lines_max);
                    prop_assert!(part.ends_with(b"\n") && asking <= lines_max);
                    taken.extend(part);
                }
            }
            lines.end();
            taken.extend(lines.take(usize::MAX).0);
            let ended = text.is_empty() || text.ends_with('\n');
            let end = if ended { "" } else { "\n" };
            prop_assert_eq!(String::from_utf8(taken).expect("text"), text + end);
        }
    }
}
