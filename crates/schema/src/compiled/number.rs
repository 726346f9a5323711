//! Numbers as they stand in JSON text, against the bounds of a schema. Integers are compared
//! exactly, up to 128 bits; other numbers as the double that every reader makes of them.

use std::cmp::Ordering;
use std::fmt;

use serde_json::Number;

/// A number of a text, without its text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Amount {
    Integer(i128),
    Double(f64),
}

/// `minimum` or `maximum`, with or without the number itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bound {
    pub(crate) amount: Amount,
    pub(crate) is_exclusive: bool,
    /// As the schema writes it.
    pub(crate) text: Box<str>,
}

impl Amount {
    /// The number of a JSON text.
    pub(crate) fn read(text: &str) -> Self {
        match text.parse() {
            Ok(integer) => Self::Integer(integer),
            Err(_) => Self::Double(text.parse().unwrap_or(f64::NAN)),
        }
    }

    /// JSON Schema has it that 1.0 is an integer.
    pub(crate) fn is_integer(self) -> bool {
        match self {
            Self::Integer(_) => true,
            Self::Double(double) => double.fract() == 0.0,
        }
    }

    pub(crate) fn is_multiple_of(self, unit: u64) -> bool {
        match self {
            Self::Integer(integer) => integer % i128::from(unit) == 0,
            Self::Double(double) => double % unit as f64 == 0.0,
        }
    }

    fn cmp(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Integer(one), Self::Integer(other)) => Some(one.cmp(&other)),
            _ => self.double().partial_cmp(&other.double()),
        }
    }

    fn double(self) -> f64 {
        match self {
            Self::Integer(integer) => integer as f64,
            Self::Double(double) => double,
        }
    }
}

impl Bound {
    pub(crate) fn new(number: &Number, is_exclusive: bool) -> Self {
        let text = number.to_string();
        Self { amount: Amount::read(&text), is_exclusive, text: text.into() }
    }

    /// Whether a number is on the side of the bound that `side` names, or at it.
    pub(crate) fn admits(&self, amount: Amount, side: Ordering) -> bool {
        match amount.cmp(self.amount) {
            Some(Ordering::Equal) => !self.is_exclusive,
            found => found == Some(side),
        }
    }

    /// Whether all that the other admits is admitted, both being bounds of this side.
    pub(crate) fn covers(&self, other: &Self, side: Ordering) -> bool {
        match other.amount.cmp(self.amount) {
            Some(Ordering::Equal) => !self.is_exclusive || other.is_exclusive,
            found => found == Some(side),
        }
    }

    /// The one of two that admits less.
    pub(crate) fn narrower(self, other: Option<Self>, side: Ordering) -> Self {
        match other {
            Some(other) if self.covers(&other, side) => other,
            _ => self,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
