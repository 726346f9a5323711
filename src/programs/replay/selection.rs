//! Which events are sent, and by which key. Pure.

use std::fmt::Write;

use dispatchd_consumer::filter::{Filter, Wanted};
use dispatchd_core::model::PartitionKey;
use dispatchd_core::wire::archive::Archived;
use dispatchd_core::wire::archive::event::{Micros, Said};
use uuid::Uuid;

/// The key of an event that names none, as lk-replay has it.
const LK_REPLAY_KEY: &str = "__partition_key__";

/// What is sent of what is there.
#[derive(Debug)]
pub(crate) struct Selection {
    /// The first time that is sent.
    pub from: Option<Micros>,
    /// The first time after it that is not.
    pub to: Option<Micros>,
    pub filter: Filter,
    /// What the filter takes, as it was typed.
    pub wanted: Vec<String>,
}

/// Which key an event gets that names none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WithoutKey {
    /// All of them the same, so that their order is kept.
    Constant,
    /// Each its own.
    Random,
    /// Its type, as Rabble Rouser's publishers have it.
    Type,
}

impl Selection {
    /// Whether an event is sent: whether it passes.
    pub(super) fn wants(&self, event: &Archived, time: Option<Micros>) -> Wanted {
        let after = self.from.is_none_or(|from| time.is_some_and(|time| time >= from));
        let before = self.to.is_none_or(|to| time.is_some_and(|time| time < to));
        if !after || !before {
            return Wanted::No;
        }
        self.filter.wants(event.partition_key.as_deref(), &event.data)
    }

    /// The selection in words, which a state file holds: another one would send other events.
    pub(super) fn in_words(&self) -> String {
        let mut words = String::new();
        for (name, time) in [("from", self.from), ("to", self.to)] {
            if let Some(time) = time {
                let _ = write!(words, "{name} {time} us, "); // a String takes everything
            }
        }
        let _ = write!(words, "wanted {:?}", self.wanted);
        words
    }
}

/// The key that an event is sent by: its record's, the one that it names, else by the rule.
pub(super) fn key_of(event: &Archived, said: &Said, without: WithoutKey) -> PartitionKey {
    let named = [&event.partition_key, &said.key].into_iter().flatten();
    let mut named = named.filter_map(|key| PartitionKey::new(key.as_str()).ok());
    named.next().unwrap_or_else(|| match (without, &said.event_type) {
        (WithoutKey::Random, _) => PartitionKey::of_id(Uuid::new_v4()),
        (WithoutKey::Type, Some(event_type)) => {
            PartitionKey::new(event_type.as_str()).unwrap_or_else(|_| constant())
        }
        _ => constant(),
    })
}

fn constant() -> PartitionKey {
    PartitionKey::new(LK_REPLAY_KEY).expect("it has 17 characters")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(partition_key: Option<&str>) -> Archived {
        let partition_key = partition_key.map(str::to_owned);
        Archived { data: "{}".into(), partition_key, arrived: None }
    }

    fn said(key: Option<&str>, event_type: Option<&str>) -> Said {
        let (key, event_type) = (key.map(str::to_owned), event_type.map(str::to_owned));
        Said { time: None, key, event_type }
    }

    fn selection() -> Selection {
        Selection { from: None, to: None, filter: Filter::default(), wanted: Vec::new() }
    }

    #[test]
    fn the_record_s_key_goes_before_the_event_s_and_that_before_the_rule() {
        let key = |record, named, without| {
            key_of(&event(record), &said(named, Some("t")), without).as_str().to_owned()
        };
        assert_eq!(key(Some("r"), Some("e"), WithoutKey::Random), "r");
        assert_eq!(key(None, Some("e"), WithoutKey::Random), "e");
        assert_eq!(key(Some(""), Some("e"), WithoutKey::Constant), "e", "no key Kinesis takes");
        assert_eq!(key(None, None, WithoutKey::Constant), "__partition_key__");
        assert_eq!(key(None, None, WithoutKey::Type), "t");
        let random = [(); 2].map(|()| key(None, None, WithoutKey::Random));
        assert_ne!(random[0], random[1]);
    }

    #[test]
    fn a_time_is_taken_from_the_first_up_to_the_last_and_no_time_only_without_bounds() {
        let takes =
            |selection: &Selection, time| selection.wants(&event(None), time) == Wanted::Yes;
        assert!(takes(&selection(), None));
        let bounded = Selection { from: Some(10), to: Some(20), ..selection() };
        let times = [None, Some(9), Some(10), Some(19), Some(20)];
        assert_eq!(times.map(|time| takes(&bounded, time)), [false, false, true, true, false]);
    }
}
