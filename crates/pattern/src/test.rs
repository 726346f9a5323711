//! What one value of an event may have to be. A field has a list of tests, and any of them will do.

use std::cmp::Ordering;

use crate::cidr::Cidr;
use crate::literal::Literal;
use crate::number::{Decimal, Number};
use crate::reader::Scalar;
use crate::text::Text;
use crate::wildcard::Wildcard;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Test {
    Literal(Literal),
    /// Equal by value: 5 is 5.0.
    Number(Number),
    Bool(bool),
    Null,
    /// Any value that is no object and no array.
    Exists,
    Wildcard(Wildcard),
    Range(Range),
    Cidr(Cidr),
    /// Any value that none of these takes.
    AnythingBut(Box<[Test]>),
}

/// A value as tests look at it: a number is read once, however many tests it has.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Leaf<'a> {
    Text(Text<'a>),
    Number(Decimal<'a>),
    Bool(bool),
    Null,
}

impl<'a> From<Scalar<'a>> for Leaf<'a> {
    fn from(scalar: Scalar<'a>) -> Self {
        match scalar {
            Scalar::Text(text) => Self::Text(text),
            Scalar::Number(number) => Self::Number(Decimal::read(number)),
            Scalar::Bool(value) => Self::Bool(value),
            Scalar::Null => Self::Null,
        }
    }
}

/// Numbers between two bounds, either of which may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Range {
    pub(crate) bottom: Option<Bound>,
    pub(crate) top: Option<Bound>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Bound {
    pub(crate) number: Number,
    pub(crate) is_inside: bool,
}

impl Test {
    pub(crate) fn takes(&self, value: Leaf<'_>) -> bool {
        match (self, value) {
            (Self::Exists, _) | (Self::Null, Leaf::Null) => true,
            (Self::AnythingBut(tests), _) => !tests.iter().any(|test| test.takes(value)),
            (Self::Literal(literal), Leaf::Text(text)) => literal.matches(text),
            (Self::Wildcard(wildcard), Leaf::Text(text)) => wildcard.matches(text),
            (Self::Cidr(cidr), Leaf::Text(text)) => cidr.matches(text),
            (Self::Number(wanted), Leaf::Number(number)) => {
                number.compare(wanted.decimal()).is_eq()
            }
            (Self::Range(range), Leaf::Number(number)) => range.takes(number),
            (Self::Bool(wanted), Leaf::Bool(value)) => *wanted == value,
            _ => false,
        }
    }
}

impl Range {
    fn takes(&self, number: Decimal<'_>) -> bool {
        let is_beyond = |bound: &Option<Bound>, side: Ordering| {
            bound.as_ref().is_none_or(|Bound { number: bound, is_inside }| {
                let compared = number.compare(bound.decimal());
                compared == side || *is_inside && compared.is_eq()
            })
        };
        is_beyond(&self.bottom, Ordering::Greater) && is_beyond(&self.top, Ordering::Less)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::literal::Place;

    #[test]
    fn a_value_is_taken_by_the_test_for_it_and_by_no_test_for_another() {
        let number = |text| Test::Number(Number::new(text));
        let tests = [Test::Bool(true), Test::Bool(false), Test::Null, number("0"), number("1")];
        let values = [
            Scalar::Bool(true),
            Scalar::Bool(false),
            Scalar::Null,
            Scalar::Number("-0.0"),
            Scalar::Number("10e-1"),
        ];
        for (wanted, test) in tests.iter().enumerate() {
            for (given, value) in values.into_iter().enumerate() {
                assert_eq!(test.takes(value.into()), given == wanted, "{test:?} {value:?}");
            }
            for text in ["true", "false", "null", "0", "1", ""] {
                let text = Scalar::Text(Text::plain(text));
                assert!(!test.takes(text.into()), "{test:?} {text:?}");
            }
        }
    }

    #[test]
    fn each_test_takes_what_is_of_its_kind_and_fits_it_and_nothing_else() {
        let text = |text| Leaf::Text(Text::plain(text));
        let values = [text("ab"), text("10.0.0.1"), Leaf::Number(Decimal::read("5")), Leaf::Null];
        let starts = || Test::Literal(Literal::new("a".to_owned(), Place::Start, false));
        let top = Some(Bound { number: Number::new("9"), is_inside: false });
        for (test, expected) in [
            (Test::Exists, [true, true, true, true]),
            (starts(), [true, false, false, false]),
            (
                Test::Wildcard(Wildcard::parse("*0*").expect("it is one")),
                [false, true, false, false],
            ),
            (
                Test::Cidr(Cidr::parse("10.0.0.0/8").expect("it is one")),
                [false, true, false, false],
            ),
            (Test::Range(Range { bottom: None, top }), [false, false, true, false]),
            (Test::AnythingBut([starts(), Test::Null].into()), [false, true, true, false]),
        ] {
            assert_eq!(values.map(|value| test.takes(value)), expected, "{test:?}");
        }
    }

    #[test]
    fn a_bound_is_in_its_range_where_it_is_said_to_be_inside_and_nowhere_else() {
        const NUMBERS: [&str; 5] = ["-1.01", "-1.0", "0", "1.5", "1.501"];
        for is_inside in [false, true] {
            let bound = |number| Some(Bound { number: Number::new(number), is_inside });
            let taken = |bottom, top| {
                let range = Range { bottom, top };
                NUMBERS.map(|number| range.takes(Decimal::read(number)))
            };
            let (bottom, top) = (bound("-1"), bound("1.50"));
            assert_eq!(taken(bottom.clone(), None), [false, is_inside, true, true, true]);
            assert_eq!(taken(None, top.clone()), [true, true, true, is_inside, false]);
            assert_eq!(taken(bottom, top), [false, is_inside, true, is_inside, false]);
        }
    }
}
