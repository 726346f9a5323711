//! Whose fault a refusal is, watched from outside: of words that name no record, the first that a
//! record gets alone may be about it; the same words for another record, with nothing taken or
//! named in between, are about the stream.
//!
//! It hears the replies that the stream gave, not what became of them.

use dispatchd_core::model::Class;
use uuid::Uuid;

use crate::copies;
use crate::plan::Plan;
use crate::stream::Reply;

#[derive(Debug, Default)]
pub(crate) struct Refusals {
    /// The last event that was refused alone, and the words.
    first: Option<(Uuid, String)>,
    /// The stream takes nothing, whatever is sent.
    pub is_blocked: bool,
}

/// What a reply says of the records in its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The reply blames nobody, or whatever each verdict says.
    None,
    /// The reply blames the stream, which refuses all.
    Stream,
    /// The reply blames one of the records, as far as can be known.
    Record,
}

impl Refusals {
    /// A reply to a request with this event alone in it, or with several.
    pub(crate) fn heard(&mut self, sole: Option<usize>, reply: &Reply, plan: &Plan) -> Blame {
        let error = match reply {
            Err(error) if error.class == Class::Poison => error,
            Err(error) => {
                // It was let in as far as to be counted, or another thing is in the way now.
                self.is_blocked &= error.class == Class::Transient;
                return Blame::None;
            }
            Ok(_) => {
                *self = Self::default();
                return Blame::None;
            }
        };
        if error.message.contains(".member") {
            *self = Self::default();
        } else if self.is_blocked {
            return Blame::Stream;
        } else if let Some(event) = sole {
            let (id, words) = (copies::uuid(plan, event), error.message.clone());
            self.is_blocked =
                self.first.as_ref().is_some_and(|first| first.0 != id && first.1 == words);
            if self.is_blocked {
                return Blame::Stream;
            }
            self.first = Some((id, words));
        }
        Blame::Record
    }
}
