//! The model stream: shards, what they hold, and what is read of them by an iterator.

use dispatchd_consumer::delivery::{Place, number_order};
use dispatchd_core::model::read::{ListedShard, Page, StartingPosition, StoredRecord};

use crate::clock::{since_start, time_at};
use crate::scenario::{At, Planned};

#[derive(Debug)]
pub(crate) struct Stream {
    pub shards: Vec<Shard>,
    next_number: u64,
}

#[derive(Debug)]
pub(crate) struct Shard {
    pub id: String,
    pub parents: Vec<String>,
    range: std::ops::RangeInclusive<u8>,
    pub is_open: bool,
    records: Vec<Stored>,
}

#[derive(Debug, Clone)]
struct Stored {
    number: u64,
    events: Vec<usize>,
    is_packed: bool,
    arrived: At,
}

impl Stream {
    pub(crate) fn new(shards: usize) -> Self {
        let mut stream = Self { shards: Vec::new(), next_number: 7 };
        match shards {
            1 => stream.open(Vec::new(), 0..=u8::MAX),
            _ => {
                stream.open(Vec::new(), 0..=127);
                stream.open(Vec::new(), 128..=u8::MAX);
            }
        }
        stream
    }

    fn open(&mut self, parents: Vec<String>, range: std::ops::RangeInclusive<u8>) {
        let id = format!("shard-{}", self.shards.len());
        self.shards.push(Shard { id, parents, range, is_open: true, records: Vec::new() });
    }

    /// Splits the shard that this die shows, or merges it with its neighbour.
    pub(crate) fn reshard(&mut self, die: usize) {
        let open: Vec<usize> = (0..self.shards.len()).filter(|&i| self.shards[i].is_open).collect();
        let chosen = open[die % open.len()];
        let (first, last) = (*self.shards[chosen].range.start(), *self.shards[chosen].range.end());
        let neighbour = open
            .iter()
            .copied()
            .find(|&other| u16::from(*self.shards[other].range.start()) == u16::from(last) + 1);
        match neighbour {
            Some(other) if !die.is_multiple_of(3) => {
                let end = *self.shards[other].range.end();
                let parents = [chosen, other].map(|shard| self.close(shard)).to_vec();
                self.open(parents, first..=end);
            }
            _ if last - first < 8 => {}
            _ => {
                let middle = first + (last - first) / 2;
                let parent = self.close(chosen);
                self.open(vec![parent.clone()], first..=middle);
                self.open(vec![parent], middle + 1..=last);
            }
        }
    }

    fn close(&mut self, shard: usize) -> String {
        self.shards[shard].is_open = false;
        self.shards[shard].id.clone()
    }

    /// Stores a record by this position of the hash ring. Returns the shard and the places of its
    /// events.
    pub(crate) fn put(&mut self, record: &Planned, hash: u8, now: At) -> (String, Vec<Place>) {
        let number = self.next_number;
        // Numbers get more digits as they grow: text would not do.
        self.next_number += 1 + number / 8;
        let shard = self
            .shards
            .iter_mut()
            .find(|shard| shard.is_open && shard.range.contains(&hash))
            .expect("the open shards cover the ring");
        let stored = Stored {
            number,
            events: record.events.clone(),
            is_packed: record.is_packed,
            arrived: now,
        };
        let places = (0..stored.events.len()).map(|member| stored.place(member)).collect();
        shard.records.push(stored);
        (shard.id.clone(), places)
    }

    pub(crate) fn list(&self) -> Vec<ListedShard> {
        let listed = |shard: &Shard| ListedShard {
            id: shard.id.clone(),
            parents: shard.parents.clone(),
            open: shard.is_open,
        };
        self.shards.iter().map(listed).collect()
    }

    pub(crate) fn shard(&self, id: &str) -> &Shard {
        self.shards.iter().find(|shard| shard.id == id).expect("it was listed")
    }
}

impl Shard {
    /// An iterator is the index of the next record.
    pub(crate) fn iterator(&self, position: &StartingPosition) -> String {
        let behind = |number: &str, itself: bool| {
            self.records
                .iter()
                .position(|record| {
                    let order = number_order(&record.number.to_string(), number);
                    order.is_gt() || (itself && order.is_eq())
                })
                .unwrap_or(self.records.len())
        };
        let index = match position {
            StartingPosition::TrimHorizon => 0,
            StartingPosition::Latest => self.records.len(),
            StartingPosition::After(number) => behind(number, false),
            StartingPosition::AtRecord(number) => behind(number, true),
            StartingPosition::At(time) => self
                .records
                .iter()
                .position(|record| record.arrived >= since_start(*time))
                .unwrap_or(self.records.len()),
        };
        index.to_string()
    }

    pub(crate) fn page(&self, iterator: &str, records_max: usize) -> Page {
        let first: usize = iterator.parse().expect("we made it");
        let records: Vec<StoredRecord> =
            self.records[first..].iter().take(records_max).map(Stored::stored).collect();
        let next = first + records.len();
        let is_read = !self.is_open && next == self.records.len();
        Page {
            records,
            next_iterator: (!is_read).then(|| next.to_string()),
            millis_behind_latest: 0,
        }
    }
}

impl Stored {
    fn place(&self, member: usize) -> Place {
        Place {
            sequence_number: self.number.to_string(),
            sub_sequence_number: self.is_packed.then_some(member as u64),
        }
    }

    /// Its data are whether it is packed, and the numbers of its events.
    fn stored(&self) -> StoredRecord {
        let ids = self
            .events
            .iter()
            .flat_map(|&event| u32::try_from(event).expect("there are few").to_le_bytes());
        StoredRecord {
            sequence_number: self.number.to_string(),
            partition_key: None,
            data: [u8::from(self.is_packed)].into_iter().chain(ids).collect(),
            arrived: Some(time_at(self.arrived)),
        }
    }
}

/// The events of a record as it was read, with their places.
pub(crate) fn unpack(record: &StoredRecord) -> Vec<(usize, Place)> {
    let is_packed = record.data[0] == 1;
    let events = record.data[1..].chunks(4).enumerate();
    events
        .map(|(member, id)| {
            let id = u32::from_le_bytes(id.try_into().expect("four bytes each"));
            let place = Place {
                sequence_number: record.sequence_number.clone(),
                sub_sequence_number: is_packed.then_some(member as u64),
            };
            (id as usize, place)
        })
        .collect()
}
