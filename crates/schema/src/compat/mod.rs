//! Two schemas compared: what one of them admits and the other does not. From that follows whom a
//! change breaks.
//!
//! | a change is | if | so that |
//! |---|---|---|
//! | backward compatible | the new schema admits all that the old one does | who has the new schema can read old events |
//! | forward compatible | the old schema admits all that the new one does | who has the old schema can read new events |
//! | fully compatible | both | either can read all |
//!
//! It is the schemas that are compared, not samples. What cannot be decided is said as that, with
//! the reason, and is taken for a break.

mod covers;
mod gap;
mod words;

pub use self::gap::Gap;

use serde_json::Value;

use crate::compiled::{LoadError, Schema};

/// What must hold between a schema and the one that replaces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compat {
    Backward,
    Forward,
    Full,
}

/// Who cannot read what after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// Who has the new schema, old events.
    OldEvents,
    /// Who has the old schema, new events.
    NewEvents,
}

/// A gap, and whom it breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Break {
    pub broken: Broken,
    pub gap: Gap,
}

impl Compat {
    /// The breaks of a change from one schema to another.
    ///
    /// # Errors
    /// If one of them is not loaded.
    pub fn breaks(self, old: &Value, new: &Value) -> Result<Vec<Break>, LoadError> {
        let (old, new) = (Schema::load(old)?, Schema::load(new)?);
        let mut breaks = Vec::new();
        if self != Self::Forward {
            let gaps = covers::gaps(&new, &old).into_iter();
            breaks.extend(gaps.map(|gap| Break { broken: Broken::OldEvents, gap }));
        }
        if self != Self::Backward {
            let gaps = covers::gaps(&old, &new).into_iter();
            breaks.extend(gaps.map(|gap| Break { broken: Broken::NewEvents, gap }));
        }
        Ok(breaks)
    }
}

impl std::fmt::Display for Break {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { broken, gap } = self;
        let place = if gap.pointer.is_empty() { "data itself" } else { &gap.pointer };
        let (whose, which) = match broken {
            Broken::OldEvents => ("the new schema", "an old event"),
            Broken::NewEvents => ("the old schema", "a new event"),
        };
        let Gap { demanded, admitted, .. } = gap;
        match gap.is_undecided {
            false => write!(f, "{place}: {which} may have {admitted}, {whose} takes {demanded}"),
            true => write!(
                f,
                "{place}: undecided, and so taken for a break: {which} may have {admitted}, \
                 {whose} takes {demanded}"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
