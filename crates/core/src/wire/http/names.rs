//! What the answer to one event of a request calls it: its place, unless its caller gave it a
//! reference, and the event's own id, where it is none of ours.
//!
//! All of it travels in the reference, which is counted with the answer and is opaque to all
//! others: so no table of names has to be held, or bounded, beside the answers.

use crate::model::Reference;

/// The names of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names<'a> {
    pub place: u64,
    /// The caller's reference as JSON, which holds no line end.
    pub reference: Option<&'a str>,
    /// The event's id, which is not empty.
    pub id: Option<&'a str>,
}

impl<'a> Names<'a> {
    pub fn to_reference(self) -> Reference {
        match self {
            Self { place, reference: None, id: None } => Reference::Number(place),
            Self { place, reference, id } => {
                let (reference, id) = (reference.unwrap_or_default(), id.unwrap_or_default());
                Reference::Text(format!("{place}\n{reference}\n{id}").into())
            }
        }
    }

    /// The names that a reference was made of.
    ///
    /// # Panics
    /// If [`to_reference`](Self::to_reference) did not make it.
    pub fn of(reference: &'a Reference) -> Self {
        const MADE: &str = "the references of a request are made of names";
        match reference {
            Reference::Number(place) => Self { place: *place, reference: None, id: None },
            Reference::Text(text) => {
                let mut parts = text.splitn(3, '\n');
                let mut part = || parts.next().expect(MADE);
                let place = part().parse().expect(MADE);
                let given = |part: &'a str| (!part.is_empty()).then_some(part);
                Self { place, reference: given(part()), id: given(part()) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_they_were() {
        for (reference, id) in [
            (None, None),
            (Some("7"), None),
            (Some("\"a\\n\""), Some("x\ny\n")),
            (None, Some("\n")),
        ] {
            let names = Names { place: 4095, reference, id };
            assert_eq!(Names::of(&names.to_reference()), names);
        }
    }
}
