//! The judge: what callers wrote down, held against what the stream holds and what the ledger
//! booked. After the play.
//!
//! Every check panics with what it found. What may be either way is counted, not judged.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde_json::Value;

use crate::ATTEMPT_TIMEOUT;
use crate::caller::{End, Fate, Journal, Sent, Temper};
use crate::director::Life;
use testkit::fault::ledger::{Done, Ledger, RequestFact};
use testkit::stream::StoredRecord;

/// How long after a network fault something it held may still arrive.
const AFTERMATH: Duration = Duration::from_secs(2);

pub(crate) struct Court<'a> {
    pub journals: &'a [Journal],
    pub lives: &'a [Life],
    pub trouble: &'a [(Duration, Duration)],
    /// The smallest record that was ever too large.
    least_limit_bytes: usize,
    stored: &'a [StoredRecord],
    /// Each record's place in the stream's order, by its sequence number.
    by_sequence: HashMap<&'a str, usize>,
    /// The places of an event's copies.
    copies: HashMap<String, Vec<usize>>,
    /// The request that brought a record, by its sequence number.
    requests: HashMap<String, RequestFact>,
}

/// What is counted.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub events: usize,
    pub attempts: usize,
    pub connections: usize,
    pub refused: BTreeMap<String, usize>,
    /// Events too large for the stream.
    pub refused_for_good: usize,
    pub unanswered: usize,
    pub ordered_pairs: usize,
    /// Copies beyond the first, by why they are there.
    pub duplicates: BTreeMap<&'static str, usize>,
    /// Events sent once by their caller that are in the stream once.
    pub single: usize,
}

impl<'a> Court<'a> {
    pub(crate) fn new(
        journals: &'a [Journal],
        lives: &'a [Life],
        trouble: &'a [(Duration, Duration)],
        least_limit_bytes: usize,
        stored: &'a [StoredRecord],
        ledger: &Ledger,
    ) -> Court<'a> {
        let by_sequence: HashMap<_, _> =
            stored.iter().enumerate().map(|(n, r)| (r.sequence.as_str(), n)).collect();
        assert_eq!(by_sequence.len(), stored.len(), "a sequence number is one record's");
        let mut copies: HashMap<String, Vec<usize>> = HashMap::new();
        for (place, record) in stored.iter().enumerate() {
            let envelope: Value = serde_json::from_slice(&record.data).expect("envelopes are JSON");
            let id = envelope["id"].as_str().expect("an envelope has an id").to_owned();
            copies.entry(id).or_default().push(place);
        }
        let facts = ledger.requests();
        let fact = |number: u64| {
            facts[usize::try_from(number - 1).expect("numbers count what is in memory")].clone()
        };
        let booked = ledger.records();
        assert_eq!(booked.len(), stored.len(), "ledger and stream differ");
        let requests =
            booked.into_iter().map(|record| (record.sequence, fact(record.request))).collect();
        Court { journals, lives, trouble, least_limit_bytes, stored, by_sequence, copies, requests }
    }

    pub(crate) fn judge(&self) -> Counts {
        let mut counts = Counts::default();
        for journal in self.journals {
            counts.events += journal.events.len();
            counts.attempts +=
                journal.events.iter().map(|event| event.attempts.len()).sum::<usize>();
            self.every_line_is_answered(journal, &mut counts);
            for event in &journal.events {
                if event.is_refused_for_good() {
                    self.was_too_large(event, &mut counts);
                    continue;
                }
                self.is_acked_and_there(event, &mut counts);
                self.not_stored_was_true(event);
                self.copies_have_a_reason(event, &mut counts);
            }
            self.acks_of_a_connection_are_in_order(journal);
            self.first_copies_are_in_order(journal, &mut counts);
        }
        for (number, life) in self.lives.iter().enumerate() {
            let connections = self.journals.iter().flat_map(|journal| &journal.connections);
            let lines: u64 =
                connections.filter(|connection| connection.life == number).map(|c| c.lines).sum();
            assert!(
                life.accepted <= lines as f64,
                "{lines} lines were sent to {life:?}, it books more"
            );
        }
        let events = self.journals.iter().flat_map(|journal| &journal.events);
        let found = events.filter(|event| self.copies.contains_key(&event.id)).count();
        assert_eq!(self.copies.len(), found, "the stream holds events that nobody sent");
        counts
    }

    /// A connection that lived has every answer; one whose daemon was stopped, every answer up to
    /// where it stopped reading. One that we left, or that was killed, owes nothing.
    fn every_line_is_answered(&self, journal: &Journal, counts: &mut Counts) {
        for connection in &journal.connections {
            counts.connections += 1;
            counts.unanswered += connection.unanswered.len();
            if connection.end != End::Closed
                || self.lives[connection.life].killed && connection.life_was_ending
            {
                continue;
            }
            let stopped = connection.life_was_ending;
            assert!(
                stopped || connection.half_closed,
                "the daemon closed a connection that did nothing wrong"
            );
            let open = connection.unanswered.len() as u64;
            assert!(
                stopped || open == 0,
                "{open} of {} lines were never answered",
                connection.lines
            );
            let first = connection.unanswered.first().copied().unwrap_or(connection.lines);
            assert_eq!(
                first + open,
                connection.lines,
                "a drain left out lines that it had read, and answered later ones"
            );
        }
    }

    /// A refusal for good needs a fact: the stream did not take a record of this size, now or
    /// before. An earlier attempt may have been stored, where nobody heard of it.
    fn was_too_large(&self, event: &Sent, counts: &mut Counts) {
        counts.refused_for_good += 1;
        assert!(
            event.pad >= self.least_limit_bytes,
            "{} has {} bytes, and is refused for good",
            event.id,
            event.pad
        );
        for attempt in &event.attempts {
            match &attempt.fate {
                Fate::Unanswered => {}
                Fate::Refused { code, for_good, .. } => {
                    assert!(
                        !for_good || matches!(code.as_str(), "EventTooLarge" | "Rejected"),
                        "{}: {code}",
                        event.id
                    );
                    *counts.refused.entry(code.clone()).or_default() += 1;
                }
                Fate::Acked { .. } => panic!("{} is acked and refused for good", event.id),
            }
        }
    }

    fn is_acked_and_there(&self, event: &Sent, counts: &mut Counts) {
        let mut acks = 0;
        for attempt in &event.attempts {
            match &attempt.fate {
                Fate::Unanswered => {}
                Fate::Refused { code, .. } => *counts.refused.entry(code.clone()).or_default() += 1,
                Fate::Acked { shard, sequence, .. } => {
                    acks += 1;
                    let place = self.by_sequence.get(sequence.as_str());
                    let place = *place
                        .unwrap_or_else(|| panic!("{} is acked and not in the stream", event.id));
                    let record = &self.stored[place];
                    assert_eq!(
                        &record.shard, shard,
                        "the ack of {} names another's record",
                        event.id
                    );
                    assert_eq!(
                        record.partition_key, event.key,
                        "the ack of {} names another's record",
                        event.id
                    );
                    assert!(
                        self.copies_of(event).contains(&place),
                        "the ack of {} names another's record",
                        event.id
                    );
                }
            }
        }
        assert_eq!(acks, 1, "{} is acked once", event.id);
        for place in self.copies_of(event) {
            let envelope: Value =
                serde_json::from_slice(&self.stored[*place].data).expect("envelopes are JSON");
            assert_eq!(envelope["data"]["number"], event.number, "{}", event.id);
        }
    }

    /// Where every attempt but the last was refused as `not_stored`, no request that came before
    /// the last attempt holds a copy.
    fn not_stored_was_true(&self, event: &Sent) {
        let (last, before) = event.attempts.split_last().expect("every event was sent");
        let is_denied =
            |fate: &Fate| matches!(fate, Fate::Refused { outcome, .. } if outcome == "not_stored");
        if before.iter().all(|attempt| is_denied(&attempt.fate)) {
            let early =
                self.copies_of(event).iter().any(|place| self.request_of(*place).at < last.at);
            assert!(!early, "{} was refused as not_stored, and is there from that time", event.id);
        }
    }

    /// Of lines that brought their own records. A line that was acked with an earlier one's record
    /// says nothing: where that one stood was decided on another connection, and what was before it
    /// there may have expired since.
    fn acks_of_a_connection_are_in_order(&self, journal: &Journal) {
        let mut acked: BTreeMap<(usize, &str, u64), (usize, u64)> = BTreeMap::new();
        for event in &journal.events {
            for attempt in &event.attempts {
                if let Fate::Acked { sequence, copy: false, .. } = &attempt.fate {
                    let line = (attempt.connection, event.key.as_str(), attempt.place);
                    acked.insert(line, (self.by_sequence[sequence.as_str()], event.number));
                }
            }
        }
        let lines: Vec<_> = acked.into_iter().collect();
        for pair in lines.windows(2) {
            let ((earlier, (first, number)), (later, (second, next))) = (&pair[0], &pair[1]);
            if (earlier.0, earlier.1) == (later.0, later.1) {
                assert!(
                    first < second,
                    "{}: {number} was accepted before {next} and is stored after it",
                    earlier.1
                );
            }
        }
    }

    fn first_copies_are_in_order(&self, journal: &Journal, counts: &mut Counts) {
        let mut last: HashMap<&str, &Sent> = HashMap::new();
        for event in &journal.events {
            let Some(before) = last.insert(&event.key, event) else { continue };
            assert_eq!(event.number, before.number + 1, "a journal is written in order");
            if before.is_refused_for_good() || event.is_refused_for_good() {
                continue;
            }
            // A hasty caller's event may expire while the one behind it goes on.
            let may_expire = [before, event].iter().any(|event| {
                event.attempts.iter().any(|attempt| self.lives[attempt.life].is_short)
            });
            if journal.temper == Temper::Hasty && may_expire {
                continue;
            }
            let (first, second) = (self.copies_of(before)[0], self.copies_of(event)[0]);
            assert!(
                first < second,
                "{}: {} is stored before {}",
                event.key,
                event.number,
                before.number
            );
            counts.ordered_pairs += 1;
        }
    }

    /// A second copy of what its caller sent once is the daemon's: it must not have known of the
    /// first.
    fn copies_have_a_reason(&self, event: &Sent, counts: &mut Counts) {
        let mut requests: Vec<&RequestFact> =
            self.copies_of(event).iter().map(|place| self.request_of(*place)).collect();
        requests.sort_by_key(|fact| fact.at);
        if event.attempts.len() > 1 {
            *counts.duplicates.entry("sent again by its caller").or_default() += requests.len() - 1;
            return;
        }
        counts.single += usize::from(requests.len() == 1);
        for pair in requests.windows(2) {
            let why = self.why_again(pair[0], pair[1]);
            let why = why.unwrap_or_else(|| {
                panic!("{} was stored and answered, and sent again: {pair:?}", event.id)
            });
            *counts.duplicates.entry(why).or_default() += 1;
        }
    }

    fn why_again(&self, first: &RequestFact, second: &RequestFact) -> Option<&'static str> {
        let ended = first.ended.unwrap_or(Duration::MAX);
        // A slow network still carries the reply when the service is done with it.
        let arrived = ended.saturating_add(AFTERMATH);
        let in_trouble =
            self.trouble.iter().any(|(from, to)| first.at <= *to + AFTERMATH && arrived >= *from);
        match first.done {
            Done::Cut => Some("reply cut"),
            Done::Short => Some("reply short of a record"),
            Done::HungAfter => Some("reply never came"),
            _ if in_trouble => Some("network"),
            // A machine that stands still makes requests late without any fault.
            _ if second.at.saturating_sub(first.at) >= ATTEMPT_TIMEOUT.mul_f64(0.9) => {
                Some("reply too late")
            }
            _ => None,
        }
    }

    fn copies_of(&self, event: &Sent) -> &[usize] {
        self.copies
            .get(&event.id)
            .unwrap_or_else(|| panic!("{} is acked and not in the stream", event.id))
    }

    fn request_of(&self, place: usize) -> &RequestFact {
        &self.requests[&self.stored[place].sequence]
    }
}
