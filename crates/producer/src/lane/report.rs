//! What a lane tells of itself when it is asked: for the operator who looks, not for the event's
//! path.
//!
//! Pure. Nothing is kept for it but a shard's tally; asking costs the lane one look at its shards.

use std::time::{Duration, Instant};

use super::buffer::Buffer;
use super::tally::Counts;
use dispatchd_core::model::Reason;

/// A lane at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// PutRecords requests that are out, and the records' bytes in them.
    pub flights: usize,
    pub flying_bytes: usize,
    /// Partition keys with an event that is not settled.
    pub keys: usize,
    pub keys_cooling: usize,
    pub keys_held: usize,
    pub blocked: Option<BlockedReport>,
    /// In the order of the hash ring; a single one without an id while the shards are not known.
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

/// A shard's line.
#[derive(Debug, Clone, PartialEq)]
pub struct ShardReport {
    pub id: Option<String>,
    /// Records that wait and that a request could take, but for rest and pace.
    pub ready: usize,
    /// How long it still rests, where it was throttled just now.
    pub rests_for: Option<Duration>,
    /// What it is sent at most, where it was throttled: 1.0 is what a whole shard takes.
    pub pace: Option<f64>,
    /// In the last 30 to 60 s.
    pub of_late: Counts,
}

impl Buffer {
    /// How the lane stands at `now`.
    pub fn report(&self, now: Instant) -> Report {
        let blocked = self.blocked.map(|blocked| BlockedReport {
            reason: blocked.reason,
            since: now.saturating_duration_since(blocked.since),
            probes: blocked.probes,
            next_probe_in: blocked.next_probe.saturating_duration_since(now),
        });
        let shards = self.lines.iter().enumerate().map(|(index, line)| ShardReport {
            id: self.shards.as_ref().map(|shards| shards.id(index).to_owned()),
            ready: line.ready(),
            rests_for: line.cooling_until.filter(|until| *until > now).map(|until| until - now),
            pace: line.pace.as_ref().filter(|pace| !pace.is_over(now)).map(|pace| pace.rate()),
            of_late: line.tally.of_late(now),
        });
        let gauges = self.gauges();
        Report {
            flights: gauges.flights,
            flying_bytes: self.flying_bytes,
            keys: self.keys(),
            keys_cooling: gauges.keys_cooling,
            keys_held: gauges.keys_held,
            blocked,
            shards: shards.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Rules;
    use super::super::kit::{Kit, failed, ms, rules, stored};
    use super::*;
    use dispatchd_core::model::Class;

    #[test]
    fn a_throttled_shard_shows_its_rest_its_pace_and_its_share_and_its_neighbour_shows_none() {
        let mut kit = Kit::with_two_shards(rules());
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
        let mut kit = Kit::new(Rules { timeout: ms(60_000), ..rules() });
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
