//! The lines in which two texts differ, for a person. It knows nothing of JSON.

use std::fmt::Write;

/// Lines around a difference.
const AROUND: usize = 2;

/// Pairs of lines that are compared; longer texts are shown as replaced where they differ.
const PAIRS_MAX: usize = 4_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    Same(&'a str),
    Old(&'a str),
    New(&'a str),
}

/// What must be done to the old text to have the new one: lines that go with `-`, that come with
/// `+`, a few around them with a space, and `…` where others are left out.
pub(crate) fn diff(old: &str, new: &str) -> String {
    let lines = lines(&old.lines().collect::<Vec<_>>(), &new.lines().collect::<Vec<_>>());
    let changes: Vec<usize> =
        (0..lines.len()).filter(|at| !matches!(lines[*at], Line::Same(_))).collect();
    if changes.is_empty() {
        return "(they differ in how lines end)\n".to_owned();
    }
    let is_near = |at: usize| changes.iter().any(|change| change.abs_diff(at) <= AROUND);
    let mut text = String::new();
    let mut was_near = true;
    for (at, line) in lines.iter().enumerate() {
        let near = is_near(at);
        // Writing to a String cannot fail.
        let _ = match line {
            _ if !near && was_near => writeln!(text, "…"),
            _ if !near => Ok(()),
            Line::Same(line) => writeln!(text, "  {line}"),
            Line::Old(line) => writeln!(text, "- {line}"),
            Line::New(line) => writeln!(text, "+ {line}"),
        };
        was_near = near;
    }
    text
}

fn lines<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let before = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let (old_rest, new_rest) = (&old[before..], &new[before..]);
    let after = old_rest
        .iter()
        .rev()
        .zip(new_rest.iter().rev())
        .take_while(|(old, new)| old == new)
        .count();
    let old_middle = &old_rest[..old_rest.len() - after];
    let new_middle = &new_rest[..new_rest.len() - after];
    let same = |line: &&'a str| Line::Same(line);
    let head = old[..before].iter().map(same);
    let tail = old_rest[old_middle.len()..].iter().map(same);
    head.chain(middle(old_middle, new_middle)).chain(tail).collect()
}

/// By the longest common sequence of lines.
fn middle<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    if old.len() * new.len() > PAIRS_MAX {
        let gone = old.iter().map(|line| Line::Old(line));
        return gone.chain(new.iter().map(|line| Line::New(line))).collect();
    }
    // The longest common sequence from each pair of places on.
    let width = new.len() + 1;
    let mut longest = vec![0_u32; (old.len() + 1) * width];
    for (o, old_line) in old.iter().enumerate().rev() {
        for (n, new_line) in new.iter().enumerate().rev() {
            longest[o * width + n] = if old_line == new_line {
                longest[(o + 1) * width + n + 1] + 1
            } else {
                longest[(o + 1) * width + n].max(longest[o * width + n + 1])
            };
        }
    }
    let (mut o, mut n, mut lines) = (0, 0, Vec::new());
    while o < old.len() || n < new.len() {
        if o < old.len() && n < new.len() && old[o] == new[n] {
            lines.push(Line::Same(old[o]));
            (o, n) = (o + 1, n + 1);
        } else if n == new.len()
            || (o < old.len() && longest[(o + 1) * width + n] >= longest[o * width + n + 1])
        {
            lines.push(Line::Old(old[o]));
            o += 1;
        } else {
            lines.push(Line::New(new[n]));
            n += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_difference_is_shown_with_a_few_lines_around_it() {
        let old = "a\nb\nc\nd\ne\nf\ng\n";
        let new = "a\nb\nc\nX\ne\nf\ng\n";
        assert_eq!(diff(old, new), "…\n  b\n  c\n- d\n+ X\n  e\n  f\n…\n");
        assert_eq!(diff("a\r\n", "a\n"), "(they differ in how lines end)\n");
    }

    #[test]
    fn texts_with_more_pairs_of_lines_than_are_compared_are_shown_as_replaced() {
        let text = |lines: usize, mark: &'static str| {
            let mut text = vec!["same"; lines];
            (text[0], text[lines - 1]) = (mark, mark);
            text
        };
        let new = text(2_000, "new");
        let is_same = |line: &Line<'_>| matches!(line, Line::Same(_));
        let few = lines(&text(PAIRS_MAX / 2_000, "old"), &new);
        assert_eq!(few.iter().filter(|line| is_same(line)).count(), 1_998);
        let many = lines(&text(PAIRS_MAX / 2_000 + 1, "old"), &new);
        assert!(!many.iter().any(is_same));
    }

    /// The lines that two texts have in common, at most.
    fn common(old: &[&str], new: &[&str]) -> usize {
        match (old, new) {
            ([one, old_rest @ ..], [other, new_rest @ ..]) if one == other => {
                1 + common(old_rest, new_rest)
            }
            ([_, old_rest @ ..], [_, new_rest @ ..]) => {
                common(old_rest, new).max(common(old, new_rest))
            }
            _ => 0,
        }
    }

    proptest! {
        #[test]
        fn no_line_is_shown_as_changed_that_could_stay(
            old in prop::collection::vec("[a-c]", 0..8),
            new in prop::collection::vec("[a-c]", 0..8),
        ) {
            let old: Vec<_> = old.iter().map(String::as_str).collect();
            let new: Vec<_> = new.iter().map(String::as_str).collect();
            let same = lines(&old, &new).iter().filter(|it| matches!(it, Line::Same(_))).count();
            prop_assert_eq!(same, common(&old, &new));
        }

        #[test]
        fn old_and_new_can_be_read_off_the_lines(
            old in prop::collection::vec("[a-c]", 0..12),
            new in prop::collection::vec("[a-c]", 0..12),
        ) {
            let old: Vec<_> = old.iter().map(String::as_str).collect();
            let new: Vec<_> = new.iter().map(String::as_str).collect();
            let lines = lines(&old, &new);
            let side = |wanted: fn(&Line<'_>) -> bool| {
                let text = |line: &Line<'_>| match line {
                    Line::Same(line) | Line::Old(line) | Line::New(line) => line.to_string(),
                };
                lines.iter().filter(|line| wanted(line)).map(text).collect::<Vec<_>>()
            };
            prop_assert_eq!(side(|line| !matches!(line, Line::New(_))), old);
            prop_assert_eq!(side(|line| !matches!(line, Line::Old(_))), new);
        }
    }
}
