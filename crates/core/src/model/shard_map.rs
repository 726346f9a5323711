//! Where a hash lands: the open shards and their ranges of the hash ring.
//!
//! Pure. The prediction steers cooling only; a wrong one is harmless, and is noticed by comparing
//! it with the shard that a reply names.

/// An open shard and the first position of its range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    pub id: String,
    pub first: u128,
}

/// The open shards of a stream, in order of their ranges. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardMap {
    shards: Vec<Shard>,
}

impl ShardMap {
    /// A map of open shards; `None` if there are none.
    pub fn new(mut shards: Vec<Shard>) -> Option<Self> {
        shards.sort_by_key(|shard| shard.first);
        // A stream that is changed while it is listed may be told twice of a shard.
        shards.dedup_by(|one, other| one.id == other.id);
        (!shards.is_empty()).then_some(Self { shards })
    }

    /// The shard whose range holds this position. Should the lowest range be missing, its neighbour
    /// serves.
    pub fn index_of(&self, position: u128) -> usize {
        self.shards.partition_point(|shard| shard.first <= position).saturating_sub(1)
    }

    /// The id of the shard at this index.
    ///
    /// # Panics
    /// If `index` did not come from this map.
    pub fn id(&self, index: usize) -> &str {
        &self.shards[index].id
    }

    pub fn len(&self) -> usize {
        self.shards.len()
    }

    /// Whether there is no shard: never so, by construction.
    pub fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(firsts: &[u128]) -> ShardMap {
        let shards =
            firsts.iter().map(|&first| Shard { id: format!("from-{first}"), first }).collect();
        ShardMap::new(shards).expect("at least one shard")
    }

    #[test]
    fn a_position_belongs_to_the_range_it_lies_in_edges_included() {
        let map = map(&[100, 0, 200]);
        assert_eq!((map.len(), map.is_empty()), (3, false));
        for (position, id) in [
            (0, "from-0"),
            (99, "from-0"),
            (100, "from-100"),
            (199, "from-100"),
            (200, "from-200"),
            (u128::MAX, "from-200"),
        ] {
            assert_eq!(map.id(map.index_of(position)), id, "{position}");
        }
    }

    #[test]
    fn a_gap_at_the_bottom_falls_to_the_neighbour_and_no_shards_make_no_map() {
        assert_eq!(map(&[50]).index_of(7), 0);
        assert_eq!(ShardMap::new(Vec::new()), None);
    }

    #[test]
    fn a_shard_that_is_listed_twice_is_one() {
        assert_eq!(map(&[0, 100, 0, 100]).len(), 2);
    }
}
