//! What goes into one PutRecords: events in order, which of them travel as one record, and who
//! waits for them. Pure.
//!
//! What a request holds, and what may travel together, is decided here and nowhere else.

use std::time::Instant;

use super::{BoxedItem, Item};
use crate::settings::Aggregation;
use dispatchd_core::model::Entries;
use dispatchd_core::model::Record;
use dispatchd_core::wire::packed;

/// One request's events. A batch is made by the buffer and comes back to `settle`; events of one
/// key are always neighbours in it.
#[derive(Debug, Default)]
pub struct Batch {
    items: Vec<BoxedItem>,
    /// Where in `items` each entry ends.
    ends: Vec<usize>,
    bytes: usize,
    /// Of the last entry, if it were an aggregate.
    aggregate_bytes: usize,
    /// The shard that the last entry is for, by its index in the map.
    shard: usize,
    sent: Option<Instant>,
}

/// Whom an event may share a record with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Company {
    /// Whomever `delivery.aggregation` says.
    #[default]
    Any,
    /// Its own key and place: an aggregate that it was in went to a shard where not all of its
    /// members belong.
    OwnKey,
    /// Nobody: an aggregate that it was in was refused for good, and each member must speak for
    /// itself.
    Nobody,
}

/// How much a request takes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub entries: usize,
    /// Data and partition keys.
    pub bytes: usize,
    /// A first record may be larger than that, up to this.
    pub first_bytes: usize,
    /// A record that is larger than this, if there is such a bound, shares its request with no
    /// other.
    pub shared_bytes: Option<usize>,
    pub aggregation: Aggregation,
    /// Of an aggregate, its partition key counted.
    pub aggregate_bytes: usize,
    /// What was accepted by then is overdue, if anything is: reckoned once a request, not once an
    /// event.
    pub overdue: Option<Instant>,
}

impl Limits {
    pub fn is_overdue(&self, item: &Item) -> bool {
        self.overdue.is_some_and(|overdue| item.accepted <= overdue)
    }
}

/// How an event would travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// In the record of those before it.
    Joins,
    /// In a record of its own, which others may join.
    Begins,
    /// Not in this request.
    Not,
}

impl Batch {
    /// How this item, predicted for this shard, would travel.
    pub fn fit(&self, item: &Item, shard: usize, limits: &Limits) -> Fit {
        let size = item.record.size();
        if self.items.is_empty() {
            return if size <= limits.first_bytes { Fit::Begins } else { Fit::Not };
        }
        if limits.shared_bytes.is_some_and(|shared| size.max(self.items[0].record.size()) > shared)
        {
            return Fit::Not;
        }
        let joined = self.aggregate_bytes + packed::member_bytes_max(&item.record);
        if self.may_join(item, shard, limits)
            && self.bytes + joined - self.last_bytes() <= limits.bytes
        {
            Fit::Joins
        } else if self.ends.len() < limits.entries && self.bytes + size <= limits.bytes {
            Fit::Begins
        } else {
            Fit::Not
        }
    }

    fn may_join(&self, item: &Item, shard: usize, limits: &Limits) -> bool {
        let first = &self.items[self.last_entry()];
        let (head, company) = (&first.record, first.company.max(item.company));
        let belongs = match (limits.aggregation, company) {
            (Aggregation::Off, _) | (_, Company::Nobody) => false,
            // Two public readers give a member without an explicit hash key that of another.
            (Aggregation::Shard, Company::Any) => {
                self.shard == shard
                    && head.explicit_hash.is_some() == item.record.explicit_hash.is_some()
            }
            _ => {
                head.key_hash == item.record.key_hash
                    && head.explicit_hash == item.record.explicit_hash
            }
        };
        let bytes = self.aggregate_bytes + packed::member_bytes_max(&item.record);
        belongs && bytes <= limits.aggregate_bytes
    }

    /// Takes an item in as `fit` said it would travel.
    pub fn push(&mut self, item: BoxedItem, shard: usize, fit: Fit) {
        let member_bytes = packed::member_bytes_max(&item.record);
        if fit == Fit::Joins {
            let before = self.last_bytes();
            self.aggregate_bytes += member_bytes;
            self.bytes += self.aggregate_bytes - before;
            self.ends.pop();
        } else {
            self.bytes += item.record.size();
            self.aggregate_bytes =
                packed::FRAME_BYTES + item.record.key.as_str().len() + member_bytes;
            self.shard = shard;
        }
        self.items.push(item);
        self.ends.push(self.items.len());
    }

    /// Where the last entry begins.
    fn last_entry(&self) -> usize {
        self.ends.len().checked_sub(2).map_or(0, |before| self.ends[before])
    }

    /// What the last entry takes as it is.
    fn last_bytes(&self) -> usize {
        match &self.items[self.last_entry()..] {
            [one] => one.record.size(),
            _ => self.aggregate_bytes,
        }
    }

    /// What is sent.
    pub fn entries(&self) -> Entries<'_> {
        Entries::new(self.records().collect(), &self.ends)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The events of all entries.
    pub fn records(&self) -> impl ExactSizeIterator<Item = &Record> + DoubleEndedIterator {
        self.items.iter().map(|item| &item.record)
    }

    /// The event of a request that holds but one.
    pub fn sole(&self) -> Option<&Item> {
        match &self.items[..] {
            [item] => Some(item),
            _ => None,
        }
    }

    pub fn items(&self) -> impl Iterator<Item = &Item> {
        self.items.iter().map(|item| &**item)
    }

    /// Whether several events share a record.
    pub fn is_aggregated(&self) -> bool {
        self.ends.len() < self.items.len()
    }

    /// Data and partition keys, as the service counts them; of an aggregate, at most.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// It goes out now.
    pub(super) fn send(mut self, now: Instant) -> Self {
        self.sent = Some(now);
        self
    }

    /// When it went out.
    ///
    /// # Panics
    /// If it did not.
    pub(super) fn sent(&self) -> Instant {
        self.sent.expect("only what went out comes back")
    }

    /// The most attempts that failed for one of the events.
    pub fn failures_max(&self) -> u32 {
        self.items.iter().map(|item| item.failures).max().unwrap_or(0)
    }

    pub fn into_items(self) -> impl DoubleEndedIterator<Item = BoxedItem> + ExactSizeIterator {
        self.items.into_iter()
    }
}

/// Each item a record of its own.
impl FromIterator<BoxedItem> for Batch {
    fn from_iter<I: IntoIterator<Item = BoxedItem>>(items: I) -> Self {
        let mut batch = Self::default();
        items.into_iter().for_each(|item| batch.push(item, 0, Fit::Begins));
        batch
    }
}
