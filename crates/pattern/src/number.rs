//! Numbers of JSON, compared by their value and exactly: every digit counts, however many there
//! are, and none is copied.

use std::cmp::Ordering;

/// A number as it stands in the text, read as 0.DIGITS × 10^magnitude.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decimal<'a> {
    is_negative: bool,
    /// The first of its digits is not 0. Zero has no digits, and no sign.
    digits: (&'a [u8], &'a [u8]),
    magnitude: i64,
}

impl<'a> Decimal<'a> {
    /// Reads what the grammar of JSON calls a number.
    pub(crate) fn read(number: &'a str) -> Self {
        let (is_negative, number) = match number.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, number),
        };
        let (whole, rest) = split_digits(number);
        let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), split_digits);
        let exponent = rest.get(1..).map_or(0, saturating);
        let whole = whole.trim_start_matches('0');
        let significant =
            if whole.is_empty() { fraction.trim_start_matches('0') } else { fraction };
        if whole.is_empty() && significant.is_empty() {
            return Self { is_negative: false, digits: (&[], &[]), magnitude: 0 };
        }
        let zeros = fraction.len() - significant.len();
        Self {
            is_negative,
            digits: (whole.as_bytes(), significant.as_bytes()),
            magnitude: exponent + count(whole.len()) - count(zeros),
        }
    }

    pub(crate) fn compare(self, other: Decimal<'_>) -> Ordering {
        let sizes =
            || self.magnitude.cmp(&other.magnitude).then_with(|| self.compare_digits(other));
        match (self.sign(), other.sign()) {
            (1, 1) => sizes(),
            (-1, -1) => sizes().reverse(),
            (ours, theirs) => ours.cmp(&theirs),
        }
    }

    fn sign(self) -> i8 {
        match self {
            Self { digits: ([], []), .. } => 0,
            Self { is_negative, .. } => {
                if is_negative {
                    -1
                } else {
                    1
                }
            }
        }
    }

    /// Behind its last digit a number has zeros, as many as the other has digits.
    fn compare_digits(self, other: Decimal<'_>) -> Ordering {
        let mut ours = self.digits.0.iter().chain(self.digits.1);
        let mut theirs = other.digits.0.iter().chain(other.digits.1);
        loop {
            let pair = (ours.next(), theirs.next());
            if pair == (None, None) {
                return Ordering::Equal;
            }
            let digits = pair.0.unwrap_or(&b'0').cmp(pair.1.unwrap_or(&b'0'));
            if digits.is_ne() {
                return digits;
            }
        }
    }
}

/// Its first digits, and what follows them.
fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// An exponent; one that no computer has memory for stands for all that are beyond it.
fn saturating(exponent: &str) -> i64 {
    const BEYOND: i64 = i64::MAX / 4;
    let parsed =
        exponent.parse().unwrap_or(if exponent.starts_with('-') { -BEYOND } else { BEYOND });
    parsed.clamp(-BEYOND, BEYOND)
}

fn count(digits: usize) -> i64 {
    i64::try_from(digits).unwrap_or(i64::MAX / 4)
}

/// A number of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Number {
    is_negative: bool,
    digits: Box<[u8]>,
    magnitude: i64,
}

impl Number {
    pub(crate) fn new(number: &str) -> Self {
        let Decimal { is_negative, digits, magnitude } = Decimal::read(number);
        Self { is_negative, digits: [digits.0, digits.1].concat().into(), magnitude }
    }

    /// The same, if a double holds its value. EventBridge refuses other numbers wherever it has to
    /// put them in order.
    pub(crate) fn comparable(number: &str) -> Option<Self> {
        let double: f64 = number.parse().ok()?;
        let shortest = format!("{double:e}");
        let is_held =
            double.is_finite() && Decimal::read(&shortest).compare(Decimal::read(number)).is_eq();
        is_held.then(|| Self::new(number))
    }

    pub(crate) fn decimal(&self) -> Decimal<'_> {
        let Self { is_negative, digits, magnitude } = self;
        Decimal { is_negative: *is_negative, digits: (digits, &[]), magnitude: *magnitude }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compare(one: &str, other: &str) -> Ordering {
        Decimal::read(one).compare(Decimal::read(other))
    }

    #[test]
    fn numbers_are_equal_by_value_whatever_they_look_like() {
        for (one, other) in [
            ("5", "5.0"),
            ("5", "50e-1"),
            ("5", "0.05E+2"),
            ("0", "-0.0e9"),
            ("300", "3e2"),
            ("0.000123", "123e-6"),
            ("1e999999999999999999999", "1e9999999999999999999999"),
        ] {
            assert_eq!(compare(one, other), Ordering::Equal, "{one} {other}");
        }
    }

    #[test]
    fn every_digit_counts() {
        for (less, more) in [
            ("9007199254740992", "9007199254740993"),
            ("-9007199254740993", "-9007199254740992"),
            ("0.1", "0.10000000000000000000000000000001"),
            ("-1", "0"),
            ("-1e-400", "1e-400"),
            ("1e-400", "2e-400"),
            ("9", "10"),
            ("0.09", "0.1"),
        ] {
            assert_eq!(compare(less, more), Ordering::Less, "{less} {more}");
            assert_eq!(compare(more, less), Ordering::Greater, "{less} {more}");
        }
    }

    #[test]
    fn what_no_double_holds_cannot_be_put_in_order() {
        for held in ["5", "301.8", "-1e9", "9007199254740992", "1e308", "0.30000000000000004"] {
            assert!(Number::comparable(held).is_some(), "{held}");
        }
        for lost in ["9007199254740993", "0.1234567890123456789", "1e400"] {
            assert!(Number::comparable(lost).is_none(), "{lost}");
        }
    }

    proptest! {
        #[test]
        fn doubles_are_ordered_as_they_are(one in -1e30..1e30f64, other in -1e30..1e30f64) {
            let expected = one.partial_cmp(&other).expect("neither is NaN");
            prop_assert_eq!(compare(&format!("{one}"), &format!("{other:e}")), expected);
            prop_assert_eq!(compare(&format!("{one:e}"), &format!("{one}")), Ordering::Equal);
        }
    }
}
