//! What a lane tells of itself when it is asked: for the operator who looks, not for the event's
//! path.
//!
//! Pure. Nothing is kept for it but the counts of each shard; asking costs the lane one look at its
//! shards.

use std::time::{Duration, Instant};

use super::flight::Flights;
use super::pacing::Pacing;
use super::queues::Queues;
use super::shard_queue::ShardQueue;
use super::stream_health::{Blocked, StreamHealth};
use super::throttle_counts::Counts;
use dispatchd_core::model::Reason;

/// A lane at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// PutRecords requests that are out.
    pub flights: usize,
    /// Bytes of the records in these requests.
    pub flying_bytes: usize,
    /// Partition keys with an event that is not answered.
    pub keys: usize,
    pub keys_cooling: usize,
    /// Partition keys in flight with events waiting behind them.
    pub keys_held: usize,
    /// Why the stream is blocked; `None` while it takes records.
    pub blocked: Option<BlockedReport>,
    /// The shards in the order of the hash ring; a single one without an id while they are not
    /// known.
    pub shards: Vec<ShardReport>,
}

/// A stream that takes nothing until an operator acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockedReport {
    pub reason: Reason,
    pub since: Duration,
    /// Probes that failed, the request that found it blocked not counted.
    pub probes: u32,
    pub next_probe_in: Duration,
}

/// What a lane knows of one shard.
#[derive(Debug, Clone, PartialEq)]
pub struct ShardReport {
    /// The shard's id; `None` while the shards are not known.
    pub id: Option<String>,
    /// Records that wait and that a request could take, but for cooling and pace.
    pub ready: usize,
    /// How long it still cools; `None` where it was not throttled just now.
    pub rests_for: Option<Duration>,
    /// What it is sent at most, where 1.0 is what a whole shard takes; `None` where it was not
    /// throttled of late.
    pub pace: Option<f64>,
    /// What the shard took and refused in the last 30 to 60 s.
    pub of_late: Counts,
}

impl Report {
    /// How the lane stands at `now`.
    pub(super) fn new(
        queues: &Queues,
        flights: Flights,
        stream: &StreamHealth,
        now: Instant,
    ) -> Self {
        let shards = queues.shards.iter().enumerate().map(|(index, queue)| {
            let id = queues.shards.map().map(|map| map.id(index).to_owned());
            ShardReport::new(id, queue, now)
        });
        Self {
            flights: flights.count(),
            flying_bytes: flights.bytes(),
            keys: queues.keys.len(),
            keys_cooling: queues.keys_cooling(),
            keys_held: queues.keys_held,
            blocked: stream.blocked().map(|blocked| BlockedReport::new(blocked, now)),
            shards: shards.collect(),
        }
    }
}

impl BlockedReport {
    fn new(blocked: Blocked, now: Instant) -> Self {
        Self {
            reason: blocked.reason,
            since: now.saturating_duration_since(blocked.since),
            probes: blocked.probes,
            next_probe_in: blocked.next_probe.saturating_duration_since(now),
        }
    }
}

impl ShardReport {
    fn new(id: Option<String>, queue: &ShardQueue, now: Instant) -> Self {
        let pacing = queue.pacing.as_ref().filter(|pacing| !pacing.is_over(now));
        Self {
            id,
            ready: queue.ready(),
            rests_for: queue.cooling.until().filter(|until| *until > now).map(|until| until - now),
            pace: pacing.map(Pacing::rate),
            of_late: queue.counts.of_late(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::settings::Settings;
    use crate::lane::test_support::{Kit, failed, ms, settings, stored};
    use dispatchd_core::model::Class;

    #[test]
    fn a_throttled_shard_shows_its_rest_its_pace_and_its_share_and_its_neighbour_shows_none() {
        let mut kit = Kit::with_two_shards(settings());
        for (shard, key) in [(0, "a"), (0, "b"), (1, "c"), (1, "d")] {
            kit.push_to(shard, 0, key, key);
        }
        let batch = kit.send(0);
        let verdicts =
            (0..4).map(|n| if n == 1 { failed(Class::Throttled) } else { stored() }).collect();
        kit.land(5, batch, verdicts);
        kit.push_to(0, 6, "e", "e");
        let report = kit.buffer.report(kit.at(6));
        let [hot, other] = &report.shards[..] else { panic!("two shards: {report:?}") };
        assert_eq!(
            (hot.id.as_deref(), hot.ready, hot.of_late),
            (Some("0"), 2, Counts { stored: 1, throttled: 1 })
        );
        assert!(
            hot.rests_for.is_some() && hot.pace.is_some_and(|pace| (0.9..1.1).contains(&pace)),
            "{hot:?}"
        );
        let quiet = ShardReport {
            id: Some("1".into()),
            ready: 0,
            rests_for: None,
            pace: None,
            of_late: Counts { stored: 2, throttled: 0 },
        };
        assert_eq!(*other, quiet);
        assert_eq!((report.flights, report.keys, report.blocked), (0, 2, None));
    }

    #[test]
    fn a_blocked_stream_says_why_since_when_and_when_it_is_tried_again() {
        let mut kit = Kit::new(Settings { timeout: ms(60_000), ..settings() });
        kit.push(0, "a", &["1"]);
        let batch = kit.send(10);
        kit.land_error(20, batch, Class::Blocked(Reason::Kms), "off");
        let blocked = kit.buffer.report(kit.at(520)).blocked.expect("it is blocked");
        assert_eq!(
            (blocked.reason, blocked.since.as_millis(), blocked.probes),
            (Reason::Kms, 500, 0)
        );
        let probe = kit.waits_until(520).expect("a probe is due");
        assert!(
            blocked.next_probe_in.as_millis().abs_diff(u128::from(probe - 520)) <= 1,
            "{blocked:?} {probe}"
        );
        let batch = kit.send(probe + 1);
        kit.land_error(probe + 2, batch, Class::Blocked(Reason::Kms), "off");
        let blocked = kit.buffer.report(kit.at(probe + 2)).blocked.expect("it still is");
        assert_eq!((blocked.since.as_millis(), blocked.probes), (u128::from(probe + 2 - 20), 1));
    }
}
