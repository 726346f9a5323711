//! A request that was refused as a whole, taken apart: what was cut, and in which order the parts
//! are sent.
//!
//! Pure. The record at fault is found by the index that the refusal names, else by halves, so that
//! at most log2(n) + 1 requests are refused; the others are sent again at once. A key that is cut
//! in two sends its first piece now and the others one after the other: its order holds.
//!
//! Keys of parts and of cuts are in flight.

use std::collections::VecDeque;
use std::time::Instant;

use super::batch::Batch;
use super::item::BoxedItem;
use super::key_queue::{Key, Keys};
use super::queues::Queues;

/// What was cut apart and is not sent yet.
#[derive(Debug, Default)]
pub(super) struct Bisection {
    /// Batches of their own, to be sent before all others.
    parts: VecDeque<Batch>,
    /// Keys that were cut: the pieces that their queues begin with, each to be sent by itself.
    cuts: Keys<VecDeque<Piece>>,
}

/// A piece of a key that was cut: so many items at the front of its queue.
#[derive(Debug)]
struct Piece {
    items: usize,
    /// Whether the piece is the other half of what is in flight: if that is taken, the record at
    /// fault is in this one.
    is_other_half: bool,
}

impl Bisection {
    /// Takes a batch apart: at the record that the refusal names, counted from 0; by halves where
    /// it names none of the batch's.
    pub(super) fn take_apart(&mut self, batch: Batch, named: Option<usize>, queues: &mut Queues) {
        let count = batch.records().len();
        let named = named.filter(|index| *index < count);
        let sections = match named {
            Some(index) => [index, 1, count - index - 1],
            None => [count / 2, count - count / 2, 0],
        };
        let (mut items, mut last_key, mut parts) = (batch.into_items(), None, 0);
        let mut cut_off: Vec<(Key, Vec<Vec<BoxedItem>>)> = Vec::new();
        for length in sections {
            let mut section = items.by_ref().take(length).peekable();
            let goes_on = |item: &BoxedItem| Some(item.record.key_hash) == last_key;
            let piece: Vec<_> = std::iter::from_fn(|| section.next_if(goes_on)).collect();
            if let (Some(key), false) = (last_key, piece.is_empty()) {
                match cut_off.last_mut().filter(|(cut, _)| *cut == key) {
                    Some((_, pieces)) => pieces.push(piece),
                    None => cut_off.push((key, vec![piece])),
                }
            }
            let part: Batch = section.collect();
            if !part.is_empty() {
                last_key = part.records().next_back().map(|last| last.key_hash);
                parts += 1;
                self.parts.push_back(part);
            }
        }
        // One part and no record named: the batch is all of one key, and its piece is a half.
        let is_other_half = named.is_none() && parts == 1;
        for (key, pieces) in cut_off {
            self.cut(key, pieces, is_other_half, queues);
        }
    }

    /// Cuts a key whose flight goes on: these pieces, in order, stand before the others of its
    /// queue.
    fn cut(
        &mut self,
        key: Key,
        pieces: Vec<Vec<BoxedItem>>,
        is_other_half: bool,
        queues: &mut Queues,
    ) {
        let cuts = self.cuts.entry(key).or_default();
        if let Some(before) = cuts.front_mut() {
            // What was in flight was refused: the rest may be innocent.
            before.is_other_half = false;
        }
        for piece in pieces.iter().rev() {
            cuts.push_front(Piece { items: piece.len(), is_other_half });
        }
        queues.put_behind_flight(key, pieces.into_iter().flatten().collect());
    }

    /// Sends the next piece of a key that was cut, if it was; `is_stored` says so of what was in
    /// flight. False where there is no such piece: the key's flight is over.
    pub(super) fn send_next_piece(
        &mut self,
        key: Key,
        is_stored: bool,
        queues: &mut Queues,
    ) -> bool {
        let Some(cuts) = self.cuts.get_mut(&key) else { return false };
        let Some(Piece { items, is_other_half }) = cuts.pop_front() else { return false };
        let sends = if is_stored && is_other_half && items > 1 { items / 2 } else { items };
        if sends < items {
            cuts.push_front(Piece { items: items - sends, is_other_half: true });
        }
        if cuts.is_empty() {
            self.cuts.remove(&key);
        }
        self.parts.push_back(queues.take_behind_flight(key, sends).into_iter().collect());
        true
    }

    /// Ends a key's flight as [`Queues::end_flight`] does; pieces that are left of it go as they
    /// come.
    pub(super) fn end_flight(
        &mut self,
        key: Key,
        items: Vec<BoxedItem>,
        cool_until: Option<Instant>,
        queues: &mut Queues,
    ) {
        self.forget(key);
        queues.end_flight(key, items, cool_until);
    }

    /// Forgets how a key was cut: what is left of it goes as it comes.
    pub(super) fn forget(&mut self, key: Key) {
        if !self.cuts.is_empty() {
            self.cuts.remove(&key);
        }
    }

    /// The next part to be sent, without what is overdue in it; `None` where there is none.
    pub(super) fn next_part(&mut self, queues: &mut Queues, now: Instant) -> Option<Batch> {
        let timeout = queues.settings.timeout;
        while let Some(part) = self.parts.pop_front() {
            if !part.items().any(|item| item.is_overdue(timeout, now)) {
                return Some(part);
            }
            let (late, rest): (Vec<_>, Vec<_>) =
                part.into_items().partition(|item| item.is_overdue(timeout, now));
            let mut keys: Vec<Key> = late.iter().map(|item| item.record.key_hash).collect();
            keys.dedup(); // events of one key are neighbours
            keys.retain(|key| rest.iter().all(|item| item.record.key_hash != *key));
            queues.add_late(late);
            keys.into_iter().for_each(|key| self.end_flight(key, Vec::new(), None, queues));
            if !rest.is_empty() {
                return Some(rest.into_iter().collect());
            }
        }
        None
    }

    /// Takes the parts out that wait to be sent.
    pub(super) fn take_parts(&mut self) -> VecDeque<Batch> {
        std::mem::take(&mut self.parts)
    }

    /// Takes the parts out, and forgets every cut: the deadline has come.
    pub(super) fn abandon(&mut self) -> VecDeque<Batch> {
        self.cuts.clear();
        self.take_parts()
    }
}
