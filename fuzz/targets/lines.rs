//! The splitter: arbitrary bytes, cut at arbitrary places, against a plain reading of
//! docs/protocol.md.
//!
//! An input is written so that a seed can be read: its first byte gives the limit (`8` is 8 bytes,
//! see below), in the rest a `|` is a place where one read ends and the next begins. `|` itself is
//! never in the stream; to the splitter it is a byte like any other.
#![no_main]

use bytes::{Buf, BytesMut};
use dispatchd_core::wire::ndjson::lines::{Line, Splitter};
use libfuzzer_sys::fuzz_target;

const CUT: u8 = b'|';

fuzz_target!(|input: &[u8]| {
    let Some((&first, rest)) = input.split_first() else { return };
    let line_bytes_max = usize::from(first & 0x0f);
    let stream: Vec<u8> = rest.iter().copied().filter(|b| *b != CUT).collect();
    let wanted = plainly(&stream, line_bytes_max);
    assert_eq!(split(rest.split(|b| *b == CUT), line_bytes_max), wanted, "cut as the input says");
    assert_eq!(split([&stream[..]], line_bytes_max), wanted, "in one piece");
    assert_eq!(split(stream.chunks(1), line_bytes_max), wanted, "byte by byte");
    split_with_moving_limit(rest.split(|b| *b == CUT), line_bytes_max, &stream);
});

/// Every line by its number, without a text if it is too long; and the number of a torn one.
type Lines = (Vec<(u64, Option<Vec<u8>>)>, Option<u64>);

fn split<'a>(reads: impl IntoIterator<Item = &'a [u8]>, line_bytes_max: usize) -> Lines {
    let mut splitter = Splitter::new(line_bytes_max);
    let mut buf = BytesMut::new();
    let mut lines = Vec::new();
    let mut mid_line = false;
    for read in reads {
        buf.extend_from_slice(read);
        while let Some(line) = splitter.next(&buf) {
            lines.push(match line {
                Line::Complete { number, text } => (number, Some(text.to_vec())),
                Line::TooLong { number, .. } => (number, None),
            });
        }
        buf.advance(splitter.take_split());
        mid_line = read.last().map_or(mid_line, |last| *last != b'\n');
        assert_eq!(splitter.unfinished(&buf).is_some(), mid_line);
        assert!(
            buf.len() <= line_bytes_max + 1,
            "holds {} bytes, the limit is {line_bytes_max}",
            buf.len()
        );
    }
    (lines, splitter.torn(&buf))
}

/// What the protocol says of a whole stream, with no thought of reads.
fn plainly(stream: &[u8], line_bytes_max: usize) -> Lines {
    let mut ended: Vec<&[u8]> = stream.split(|b| *b == b'\n').collect();
    let last = ended.pop().expect("a split has at least one piece");
    let mut lines = Vec::new();
    let mut number = 0;
    for line in ended {
        number += 1;
        let text = line.strip_suffix(b"\r").unwrap_or(line);
        if text.len() > line_bytes_max {
            lines.push((number, None));
        } else if text.iter().any(|b| !b.is_ascii_whitespace()) {
            lines.push((number, Some(text.to_vec())));
        }
    }
    number += 1;
    if last.len() > line_bytes_max + 1 {
        lines.push((number, None));
        return (lines, None);
    }
    (lines, last.iter().any(|b| !b.is_ascii_whitespace()).then_some(number))
}

/// The limit may be learnt between two reads. Which of two limits a line meets depends on the cuts
/// then; what holds still is the bound, the numbers, and that no line is changed.
fn split_with_moving_limit<'a>(
    reads: impl Iterator<Item = &'a [u8]>,
    line_bytes_max: usize,
    stream: &[u8],
) {
    let whole: Vec<&[u8]> = stream.split(|b| *b == b'\n').collect();
    let mut splitter = Splitter::new(line_bytes_max);
    let mut buf = BytesMut::new();
    let mut number_last = 0;
    for (read, line_bytes_max) in
        reads.zip([line_bytes_max, 2 * line_bytes_max + 3].into_iter().cycle())
    {
        splitter.set_line_bytes_max(line_bytes_max);
        buf.extend_from_slice(read);
        while let Some(line) = splitter.next(&buf) {
            let number = match line {
                Line::TooLong { number, .. } => number,
                Line::Complete { number, text } => {
                    let line = whole[usize::try_from(number).expect("small") - 1];
                    assert_eq!(text, line.strip_suffix(b"\r").unwrap_or(line));
                    assert!(text.len() <= line_bytes_max);
                    number
                }
            };
            assert!(number > number_last, "line {number} after line {number_last}");
            number_last = number;
        }
        buf.advance(splitter.take_split());
        assert!(buf.len() <= line_bytes_max + 1);
    }
}
