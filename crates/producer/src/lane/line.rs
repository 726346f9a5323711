//! A shard's ready keys, oldest event first, and whether the shard may be sent to.
//!
//! Pure. Keys that have just come in stand in order by themselves; keys that come back, with an
//! older head, are sorted in. A key that left out of turn leaves its place behind; the buffer looks
//! at the key's state, which alone counts.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Instant;

use super::pace::Pace;
use super::tally::Tally;
use dispatchd_core::limits::{SHARD_BYTES_PER_SECOND, SHARD_RECORDS_PER_SECOND};
use dispatchd_core::model::Record;
use dispatchd_core::model::ShardMap;

/// A key's name inside a lane: MD5 of the partition key.
pub(super) type Key = u128;

/// A shard's ready keys, oldest event first.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Keys whose head has just come in: in order by themselves.
    fresh: VecDeque<(Instant, Key)>,
    /// Keys that come back, with an older head.
    back: BinaryHeap<Reverse<(Instant, Key)>>,
    /// What a request could take of this line: under strict order the heads alone.
    records: usize,
    bytes: usize,
    pub cooling_until: Option<Instant>,
    /// Times it was throttled in a row.
    pub throttles: u32,
    /// How fast it may be sent to, since it was throttled.
    pub pace: Option<Pace>,
    /// What it took and refused of late.
    pub tally: Tally,
}

impl Line {
    /// The line of a shard of a new map: a shard that was there before goes on as it was, without
    /// its keys.
    pub(super) fn after(old_shards: Option<&ShardMap>, old: &[Line], shard_id: &str) -> Self {
        let before = old_shards
            .and_then(|shards| (0..shards.len()).find(|index| shards.id(*index) == shard_id));
        let Some(line) = before.map(|index| &old[index]) else { return Self::default() };
        Self {
            cooling_until: line.cooling_until,
            throttles: line.throttles,
            pace: line.pace.clone(),
            tally: line.tally,
            ..Self::default()
        }
    }

    /// Records that a request could take of it, but for rest and pace.
    pub(super) fn ready(&self) -> usize {
        self.records
    }

    /// Records and bytes of it that may be sent now.
    pub(super) fn sendable(&self, now: Instant) -> (usize, usize) {
        match &self.pace {
            _ if self.cooling_until.is_some() => (0, 0),
            None => (self.records, self.bytes),
            Some(pace) => {
                let allowance = pace.allowance(now);
                // A part of a record is one more: the pace pays for it afterwards.
                let records = (allowance * SHARD_RECORDS_PER_SECOND).ceil() as usize;
                (
                    self.records.min(records),
                    self.bytes.min((allowance * SHARD_BYTES_PER_SECOND) as usize),
                )
            }
        }
    }

    /// Whether its pace lets nothing more into the request that is being filled.
    pub(super) fn is_spent(&self, now: Instant) -> bool {
        self.pace.as_ref().is_some_and(|pace| pace.is_spent(now))
    }

    /// When it may be sent to again, if something waits for that.
    pub(super) fn wakes_at(&self, now: Instant) -> Option<Instant> {
        let waiting =
            self.pace.as_ref().filter(|pace| self.records > 0 && pace.allowance(now) == 0.0);
        self.cooling_until.or(waiting.map(|pace| pace.ready_at(now)))
    }

    /// A key whose head has just come in stands at the end.
    pub(super) fn join(&mut self, accepted: Instant, key: Key) {
        self.fresh.push_back((accepted, key));
    }

    /// A key that comes back stands where its head belongs.
    pub(super) fn rejoin(&mut self, accepted: Instant, key: Key) {
        self.back.push(Reverse((accepted, key)));
    }

    /// Records and bytes more that a request could take of it.
    pub(super) fn count(&mut self, (records, bytes): (usize, usize)) {
        self.records += records;
        self.bytes += bytes;
    }

    pub(super) fn discount(&mut self, (records, bytes): (usize, usize)) {
        self.records -= records;
        self.bytes -= bytes;
    }

    /// When the event at the front was accepted.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.front().map(|(accepted, _)| accepted)
    }

    /// The key at the front.
    pub(super) fn first(&self) -> Option<Key> {
        self.front().map(|(_, key)| key)
    }

    fn front(&self) -> Option<(Instant, Key)> {
        match (self.fresh.front(), self.back.peek()) {
            (Some(fresh), Some(Reverse(back))) => Some(*fresh.min(back)),
            (fresh, back) => fresh.copied().or(back.map(|Reverse(back)| *back)),
        }
    }

    /// Takes the first place away.
    pub(super) fn pop_first(&mut self) {
        if self.fresh.front().copied() == self.front() {
            self.fresh.pop_front();
        } else {
            self.back.pop();
        }
    }
}

/// The line of the shard that a record is predicted for.
pub(super) fn line_of(shards: Option<&ShardMap>, record: &Record) -> usize {
    shards.map_or(0, |shards| shards.index_of(record.ring_position()))
}
