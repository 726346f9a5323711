//! What became of ids, in as little memory as possible: the id of an event that is durable takes
//! some 100 bytes, all told.
//!
//! Pure. Entries lie side by side by age, in blocks that are freed as they empty; a table finds
//! them by id and holds nothing but their numbers. Positions that are written as AWS writes them
//! are kept with two digits a byte; any other text is kept as it is, and counted. What may be
//! remembered, and for how long, is decided in `dedupe`.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::time::Instant;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use dispatchd_core::limits::DEDUPE_BYTES_PER_ID;
use dispatchd_core::model::Position;
use dispatchd_core::model::envelope::Timestamp;
use dispatchd_core::model::fingerprint::Fingerprint;

/// An id, 128 bits. Callers choose it, so it is hashed once more, with a seed.
pub(super) type Id = [u8; 16];

/// How many entries are allocated at once.
const BLOCK_ENTRIES: usize = 512;

/// Bytes that one entry takes: itself, and its number in a table that has just grown.
const ENTRY_BYTES: usize = size_of::<Entry>() + TABLE_BYTES;
const TABLE_BYTES: usize = 16;
const _: () = assert!(
    ENTRY_BYTES <= DEDUPE_BYTES_PER_ID,
    "as many ids are remembered as the configuration says"
);

/// The most digits of a sequence number that are packed; AWS's have 56.
const DIGITS_MAX: usize = 56;

/// Ids by what became of them.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    /// Times of entries are counted from here, the time of the first one; `None` before it.
    epoch: Option<Instant>,
    /// Oldest first. All are full but the last.
    blocks: VecDeque<Vec<Entry>>,
    /// Entries of the first block that are forgotten already.
    forgotten: usize,
    /// The number of the oldest entry. Numbers go round: there are never 2^32 of them.
    first: u32,
    len: usize,
    table: HashTable<u32>,
    hasher: RandomState,
    /// Bytes of the texts that could not be packed.
    text_bytes: usize,
}

/// What is known of one id.
#[derive(Debug)]
pub(super) struct Entry {
    id: Id,
    pub said: Fingerprint,
    /// Nanoseconds since the epoch; 64 bits hold those of 584 years.
    settled_ns: u64,
    became: Became,
}

#[derive(Debug)]
enum Became {
    /// The event was refused, and an attempt may have stored it.
    Unconfirmed,
    Acked {
        timestamp: u64,
        number: Digits,
        shard: u32,
        member: u32,
    },
    /// Acked with a position that AWS would write in another way.
    AckedElsewhere {
        timestamp: u64,
        position: Box<Position>,
    },
}

/// A sequence number, two digits a byte, 15 where there is none.
#[derive(Debug, PartialEq)]
struct Digits([u8; DIGITS_MAX / 2]);

/// Stands for a record that holds one event.
const NO_MEMBER: u32 = u32::MAX;

impl Remembered {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes that all entries take, but for what is free in the block that is being filled.
    pub(super) fn bytes(&self) -> usize {
        self.len * ENTRY_BYTES + self.text_bytes
    }

    pub(super) fn get(&self, id: &Id) -> Option<&Entry> {
        self.table
            .find(self.hasher.hash_one(id), |number| self.entry(*number).id == *id)
            .map(|number| self.entry(*number))
    }

    /// Takes note of what became of an id; what was known of it before no longer counts. `acked`:
    /// `None` where the event may be stored and is not confirmed.
    pub(super) fn push(
        &mut self,
        id: Id,
        said: Fingerprint,
        acked: Option<(Timestamp, &Position)>,
        now: Instant,
    ) {
        let became = acked.map_or(Became::Unconfirmed, |(timestamp, position)| {
            Became::acked(timestamp, position)
        });
        self.text_bytes += became.text_bytes();
        let epoch = *self.epoch.get_or_insert(now);
        let settled_ns = now.saturating_duration_since(epoch).as_nanos() as u64;
        let number = self.first.wrapping_add(self.len as u32);
        if self.blocks.back().is_none_or(|block| block.len() == BLOCK_ENTRIES) {
            self.blocks.push_back(Vec::with_capacity(BLOCK_ENTRIES));
        }
        let block = self.blocks.back_mut().expect("there is one now");
        block.push(Entry { id, said, settled_ns, became });
        self.len += 1;
        let hash = self.hasher.hash_one(id);
        let Self { table, blocks, forgotten, first, hasher, .. } = self;
        let id_of = |number: &u32| &at(blocks, *forgotten, *first, *number).id;
        match table.find_mut(hash, |number| *id_of(number) == id) {
            Some(known) => *known = number,
            None => _ = table.insert_unique(hash, number, |number| hasher.hash_one(id_of(number))),
        }
    }

    /// How long ago the oldest entry came; `None` without an entry.
    pub(super) fn oldest_age(&self, now: Instant) -> Option<std::time::Duration> {
        let oldest = self.blocks.front()?.get(self.forgotten)?;
        Some(
            now.saturating_duration_since(self.epoch?)
                .saturating_sub(std::time::Duration::from_nanos(oldest.settled_ns)),
        )
    }

    /// Forgets the oldest entry.
    pub(super) fn pop(&mut self) {
        if self.len == 0 {
            return;
        }
        let (number, oldest) = (self.first, self.entry(self.first));
        let (hash, text_bytes) = (self.hasher.hash_one(oldest.id), oldest.became.text_bytes());
        // Its id may have become something else since.
        if let Ok(entry) = self.table.find_entry(hash, |known| *known == number) {
            entry.remove();
        }
        self.text_bytes -= text_bytes;
        self.first = self.first.wrapping_add(1);
        self.len -= 1;
        self.forgotten += 1;
        if self.forgotten == BLOCK_ENTRIES || self.len == 0 {
            self.blocks.pop_front();
            self.forgotten = 0;
        }
    }

    fn entry(&self, number: u32) -> &Entry {
        at(&self.blocks, self.forgotten, self.first, number)
    }
}

/// The entry of this number.
fn at(blocks: &VecDeque<Vec<Entry>>, forgotten: usize, first: u32, number: u32) -> &Entry {
    let index = forgotten + number.wrapping_sub(first) as usize;
    &blocks[index / BLOCK_ENTRIES][index % BLOCK_ENTRIES]
}

impl Entry {
    /// When the event was accepted and where it is; `None` where it is not known to be durable.
    pub(super) fn acked(&self) -> Option<(Timestamp, Position)> {
        match &self.became {
            Became::Unconfirmed => None,
            Became::AckedElsewhere { timestamp, position } => {
                Some((Timestamp::unpack(*timestamp), Position::clone(position)))
            }
            Became::Acked { timestamp, number, shard, member } => {
                let position = Position {
                    shard_id: shard_id(*shard).into(),
                    sequence_number: number.text().into(),
                    sub_sequence_number: (*member != NO_MEMBER).then_some(*member as usize),
                };
                Some((Timestamp::unpack(*timestamp), position))
            }
        }
    }
}

impl Became {
    fn acked(timestamp: Timestamp, position: &Position) -> Self {
        let timestamp = timestamp.pack();
        let Position { shard_id: shard, sequence_number, sub_sequence_number } = position;
        let member = match sub_sequence_number {
            None => Some(NO_MEMBER),
            Some(index) => u32::try_from(*index).ok().filter(|index| *index != NO_MEMBER),
        };
        match (Digits::of(sequence_number), shard_of(shard), member) {
            (Some(number), Some(shard), Some(member)) => {
                Self::Acked { timestamp, number, shard, member }
            }
            _ => Self::AckedElsewhere { timestamp, position: Box::new(position.clone()) },
        }
    }

    /// Bytes that an entry holds besides itself.
    fn text_bytes(&self) -> usize {
        /// The bytes that a shared text needs for its counts.
        const COUNTS_BYTES: usize = 2 * size_of::<usize>();
        match self {
            Self::Unconfirmed | Self::Acked { .. } => 0,
            Self::AckedElsewhere { position, .. } => {
                size_of::<Position>()
                    + 2 * COUNTS_BYTES
                    + position.shard_id.len()
                    + position.sequence_number.len()
            }
        }
    }
}

impl Digits {
    fn of(text: &str) -> Option<Self> {
        if text.is_empty()
            || text.len() > DIGITS_MAX
            || !text.bytes().all(|byte| byte.is_ascii_digit())
        {
            return None;
        }
        let mut packed = [0xff; DIGITS_MAX / 2];
        for (pair, byte) in text.as_bytes().chunks(2).zip(&mut packed) {
            *byte = (pair[0] - b'0') << 4 | pair.get(1).map_or(0xf, |digit| digit - b'0');
        }
        Some(Self(packed))
    }

    fn text(&self) -> String {
        let halves = self.0.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
        halves.take_while(|digit| *digit < 10).map(|digit| char::from(b'0' + digit)).collect()
    }
}

/// The number of a shard; `None` if it is not named as AWS names shards.
fn shard_of(id: &str) -> Option<u32> {
    let digits = id.strip_prefix("shardId-")?;
    if digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        digits.parse().ok()
    } else {
        None
    }
}

fn shard_id(number: u32) -> String {
    format!("shardId-{number:012}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use dispatchd_core::model::fingerprint::Fingerprints;

    const NUMBER: &str = "49681234567890123456789012345678901234567890123456789012";

    fn position(shard_id: &str, number: &str, member: Option<usize>) -> Position {
        Position {
            shard_id: shard_id.into(),
            sequence_number: number.into(),
            sub_sequence_number: member,
        }
    }

    fn id(n: u32) -> Id {
        u128::from(n).to_be_bytes()
    }

    #[test]
    fn a_place_comes_back_as_it_was_and_takes_more_only_where_aws_would_write_it_in_another_way() {
        let (said, now) = (Fingerprints::default().of("event"), Instant::now());
        let timestamp = Timestamp::from_unix_ms(1_795_210_449_335);
        for (n, (shard, number, member, is_packed)) in (0..).zip([
            ("shardId-000000000003", NUMBER, None, true),
            ("shardId-004294967295", "0", Some(0), true),
            ("shardId-000000000003", "007", Some(499), true),
            ("shardId-000000000003", &NUMBER[1..], None, true),
            ("shardId-004294967296", "1", None, false),
            ("shardId-3", "1", None, false),
            ("shardId-+00000000003", "1", None, false),
            ("shard", "1", None, false),
            ("shardId-000000000003", &*format!("{NUMBER}1"), None, false),
            ("shardId-000000000003", "one", None, false),
            ("shardId-000000000003", "1", Some(u32::MAX as usize), false),
            ("shardId-000000000003", "1", Some(1 << 40), false),
        ]) {
            let mut remembered = Remembered::default();
            let position = position(shard, number, member);
            remembered.push(id(n), said, Some((timestamp, &position)), now);
            assert_eq!(
                remembered.get(&id(n)).expect("it is there").acked(),
                Some((timestamp, position))
            );
            // Two texts that are shared have two counts each.
            let as_text =
                size_of::<Position>() + 4 * size_of::<usize>() + shard.len() + number.len();
            let held_bytes = if is_packed { 0 } else { as_text };
            assert_eq!(remembered.bytes(), ENTRY_BYTES + held_bytes, "{shard} {number}");
            remembered.pop();
            assert_eq!((remembered.bytes(), remembered.get(&id(n)).is_some()), (0, false));
        }
    }

    #[test]
    fn the_oldest_go_first_in_blocks_and_an_id_that_came_back_stays() {
        let (said, start) = (Fingerprints::default().of("event"), Instant::now());
        // Numbers go round.
        let mut remembered = Remembered { first: u32::MAX - 700, ..Remembered::default() };
        let at = |n: u32| start + Duration::from_millis(u64::from(n));
        for n in 0..2000 {
            remembered.push(id(n), said, None, at(n));
        }
        remembered.push(
            id(0),
            said,
            Some((Timestamp::from_unix_ms(0), &position("shardId-000000000000", "1", None))),
            at(2000),
        );
        assert_eq!(remembered.oldest_age(at(2000)), Some(Duration::from_millis(2000)));
        for n in 0..1500_u64 {
            remembered.pop();
            assert_eq!(remembered.oldest_age(at(2000)), Some(Duration::from_millis(1999 - n)));
        }
        assert_eq!(
            (remembered.len(), remembered.table.len(), remembered.blocks.len()),
            (501, 501, 2)
        );
        assert!(remembered.get(&id(0)).is_some_and(|entry| entry.acked().is_some()));
        assert!(remembered.get(&id(1499)).is_none() && remembered.get(&id(1500)).is_some());
        (0..600).for_each(|_| remembered.pop());
        assert_eq!((remembered.len(), remembered.table.len(), remembered.blocks.len()), (0, 0, 0));
        remembered.push(id(7), said, None, at(3000));
        assert!(remembered.get(&id(7)).is_some_and(|entry| entry.acked().is_none()));
    }
}
