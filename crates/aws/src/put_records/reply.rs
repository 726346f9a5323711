//! What a reply says of each entry, and the verdict that follows: the same for both formats.

use std::borrow::Cow;
use std::sync::Arc;

use dispatchd_core::model::Verdict;

use crate::classify;

/// A reply that cannot be read, and why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadReply(pub(super) String);

impl From<serde_json::Error> for BadReply {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

/// What a reply says whose status is an error.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ErrorReply {
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
}

/// What a reply says of one entry.
#[derive(Debug, Default)]
pub(crate) struct EntryResult<'a> {
    pub(crate) shard_id: Option<Cow<'a, str>>,
    pub(crate) sequence_number: Option<Cow<'a, str>>,
    pub(crate) error_code: Option<Cow<'a, str>>,
    pub(crate) error_message: Option<Cow<'a, str>>,
}

impl EntryResult<'_> {
    /// FailedRecordCount is not looked at: each entry speaks for itself. An empty text counts as
    /// absent, since an ack must name a position.
    pub(crate) fn verdict(self, shards: &mut ShardIds) -> Verdict {
        let says = |text: &Cow<'_, str>| !text.is_empty();
        let position = (self.sequence_number.filter(says), self.shard_id.filter(says));
        match (self.error_code.filter(says), position) {
            (Some(code), _) => {
                let message = self.error_message.map_or_else(String::new, Cow::into_owned);
                let class = classify::record(&code);
                Verdict::Failed { class, code: code.into_owned(), message }
            }
            (None, (Some(sequence_number), Some(shard_id))) => Verdict::Stored {
                shard_id: shards.share(&shard_id),
                sequence_number: sequence_number.as_ref().into(),
            },
            (None, _) => Verdict::Unclear,
        }
    }
}

/// The shard ids that a reply has named, so that all records of a shard share one text. A table
/// without chains: two shards that meet in a slot cost an allocation each time, and below a hundred
/// shards none meet.
#[derive(Debug)]
pub(crate) struct ShardIds([Option<Arc<str>>; ShardIds::SLOTS]);

impl ShardIds {
    const SLOTS: usize = 128;

    fn share(&mut self, id: &str) -> Arc<str> {
        // Shards are numbered in decimal, so the last digits tell them apart.
        let slot = id
            .bytes()
            .rev()
            .zip([1, 10, 100])
            .map(|(digit, weight)| usize::from(digit) * weight)
            .sum::<usize>();
        let known = &mut self.0[slot % Self::SLOTS];
        match known {
            Some(known) if **known == *id => Arc::clone(known),
            _ => Arc::clone(known.insert(id.into())),
        }
    }
}

impl Default for ShardIds {
    fn default() -> Self {
        Self([const { None }; Self::SLOTS])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_one_shard_share_its_name_however_many_shards_there_are() {
        let mut shards = ShardIds::default();
        let names: Vec<_> = (0..300).map(|n| format!("shardId-{n:012}")).collect();
        for name in names.iter().chain(&names) {
            assert_eq!(*shards.share(name), **name);
            assert!(Arc::ptr_eq(&shards.share(name), &shards.share(name)));
        }
        let first: Vec<_> = names[..100].iter().map(|name| shards.share(name)).collect();
        assert!(
            first.iter().zip(&names).all(|(id, name)| Arc::ptr_eq(id, &shards.share(name))),
            "below 100 none meet"
        );
        assert_eq!(*shards.share(""), *"");
    }
}
