//! The way into the lanes: which lane owns a key, and the groups of items that readers hand over.
//!
//! Waiting for room in an inbox is the only wait here. It never blocks for long: a lane waits for
//! no reader.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::item::{BoxedItem, Group};

/// Groups of items waiting in a lane's inbox. A group is at most what one read of a socket brought,
/// and its bytes are in the budget.
pub const INBOX_GROUPS: usize = 256;

/// The inboxes of all lanes.
#[derive(Debug, Clone)]
pub struct Lanes(Arc<[mpsc::Sender<Group>]>);

/// One reader's way into the lanes. Items travel in groups: one wake-up for many.
#[derive(Debug)]
pub struct Inlet {
    lanes: Lanes,
    /// The items that the next `flush` hands over, by lane.
    groups: Vec<Group>,
}

impl Lanes {
    /// The lanes with these inboxes.
    ///
    /// # Panics
    /// Without a lane.
    pub fn new(inboxes: Vec<mpsc::Sender<Group>>) -> Self {
        assert!(!inboxes.is_empty(), "a daemon has at least one lane");
        Self(inboxes.into())
    }

    pub fn inlet(&self) -> Inlet {
        Inlet { lanes: self.clone(), groups: self.0.iter().map(|_| Vec::new()).collect() }
    }
}

impl Inlet {
    /// Puts an item into the group of the lane that owns its key.
    pub fn add(&mut self, item: BoxedItem) {
        let lane = lane_of(item.record.key_hash, self.groups.len());
        self.groups[lane].push(item);
    }

    /// Whether nothing waits to be handed over.
    pub fn is_empty(&self) -> bool {
        self.groups.iter().all(Group::is_empty)
    }

    /// Hands every group over. It may wait for room in an inbox, which comes: a lane waits for
    /// nobody. Cancelled, it still holds what it has not handed over.
    pub async fn flush(&mut self) {
        for (lane, group) in self.lanes.0.iter().zip(&mut self.groups) {
            if !group.is_empty() {
                match lane.reserve().await {
                    Ok(room) => room.send(std::mem::take(group)),
                    // A lane that is gone crashed: the items answer for themselves.
                    Err(_) => group.clear(),
                }
            }
        }
    }
}

/// The lane that owns a key: the hash ring is cut into equal slices by the top 32 bits.
fn lane_of(key_hash: u128, lanes: usize) -> usize {
    let top = (key_hash >> 96) as usize; // 32 bits fit
    (top * lanes) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::test_support::{Kit, settings};

    #[tokio::test]
    async fn a_flush_hands_each_lane_its_own_items_in_their_order_and_nothing_twice() {
        let kit = Kit::new(settings());
        let (inboxes, mut lanes): (Vec<_>, Vec<_>) = (0..2).map(|_| mpsc::channel(2)).unzip();
        let mut inlet = Lanes::new(inboxes).inlet();
        let keys: Vec<String> = (0..10).map(|n| n.to_string()).collect();
        keys.iter().for_each(|key| inlet.add(kit.item_of(1, key)));
        assert!(!inlet.is_empty());
        for _ in 0..2 {
            inlet.flush().await;
            assert!(inlet.is_empty());
        }
        let mut told = Vec::new();
        for (lane, inbox) in lanes.iter_mut().enumerate() {
            let group = inbox.try_recv().expect("some of ten keys are this lane's");
            assert!(group.iter().all(|item| lane_of(item.record.key_hash, 2) == lane));
            let keys = group.iter().map(|item| item.record.key.as_str().to_owned());
            told.push(keys.collect::<Vec<_>>());
            assert!(inbox.try_recv().is_err(), "one group");
        }
        assert!(told.iter().all(|keys| keys.is_sorted()), "{told:?}");
        let mut all = told.concat();
        all.sort();
        assert_eq!(all, keys);
    }

    #[test]
    fn lanes_are_equal_slices_of_the_ring() {
        assert_eq!(lane_of(u128::MAX, 1), 0);
        for (position, lane) in [
            (0, 0),
            (u128::MAX / 4, 0),
            (u128::MAX / 4 + (1 << 97), 1),
            (u128::MAX / 2 + 1, 2),
            (u128::MAX, 3),
        ] {
            assert_eq!(lane_of(position, 4), lane, "{position:x}");
        }
    }
}
