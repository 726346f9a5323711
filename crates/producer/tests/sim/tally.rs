//! What happened in a run, or in many, counted: to see that the seeds get to everything.

use dispatchd_core::model::{Code, EventAnswer};

#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    /// Lines that came in, copies and all.
    pub events: usize,
    pub acked: usize,
    pub rejected: usize,
    pub timed_out: usize,
    /// Events that timed out since their callers waited no longer.
    pub given_up: usize,
    pub abandoned: usize,
    /// Events with the id of another one.
    pub reused: usize,
    /// Records in the stream.
    pub records: usize,
    pub flights: usize,
    /// Replies with verdicts of both kinds.
    pub partial: usize,
    pub throttled: usize,
    /// Records of which a reply says nothing.
    pub unclear: usize,
    /// Events that were refused for good and are no poison: each the first that a stream refused
    /// alone which refuses all.
    pub blamed: usize,
    /// Times that a refusal was known for the stream's.
    pub doubted: usize,
    /// Probes of a blocked stream.
    pub probes: usize,
    /// Poison records that a whole request was refused for, and then found.
    pub found: usize,
    /// Events that nothing stood in the way of, and that were sent within linger.
    pub prompt: usize,
    /// Events that were prompt while another shard was held back.
    pub prompt_beside: usize,
    /// Records sent to a shard that was throttled before.
    pub paced: usize,
    pub timer_wakes: usize,
    /// Copies that joined one on its way.
    pub joined: usize,
    /// Copies of one that was acked.
    pub acked_again: usize,
    /// Copies of one that is stored and was not acked.
    pub tried_again: usize,
    /// Copies of one that was acked and is forgotten.
    pub forgotten: usize,
    /// Records of several events.
    pub aggregates: usize,
    /// Events in one that the stream took and the lane could not ack.
    pub misplaced: usize,
}

impl dispatchd_simulation::Tally for Tally {
    fn counts(&mut self) -> Vec<(&'static str, &mut usize)> {
        vec![
            ("events", &mut self.events),
            ("acked", &mut self.acked),
            ("rejected", &mut self.rejected),
            ("timed out", &mut self.timed_out),
            ("given up at their deadline", &mut self.given_up),
            ("abandoned", &mut self.abandoned),
            ("ids reused", &mut self.reused),
            ("records in the stream", &mut self.records),
            ("flights", &mut self.flights),
            ("partial replies", &mut self.partial),
            ("records throttled", &mut self.throttled),
            ("records of which a reply says nothing", &mut self.unclear),
            ("refused for the stream's fault", &mut self.blamed),
            ("refusals known for the stream's", &mut self.doubted),
            ("probes", &mut self.probes),
            ("poison found", &mut self.found),
            ("sent promptly", &mut self.prompt),
            ("sent promptly beside a shard that was held back", &mut self.prompt_beside),
            ("sent to a paced shard", &mut self.paced),
            ("wakes of the timer", &mut self.timer_wakes),
            ("copies that joined", &mut self.joined),
            ("copies acked again", &mut self.acked_again),
            ("copies tried again", &mut self.tried_again),
            ("copies of what was forgotten", &mut self.forgotten),
            ("aggregates", &mut self.aggregates),
            ("events in a misplaced aggregate", &mut self.misplaced),
        ]
    }
}

impl Tally {
    pub(crate) fn answered(&mut self, body: &EventAnswer) {
        let count = match body {
            EventAnswer::Durable(_) => &mut self.acked,
            EventAnswer::Refused(refusal) => match refusal.code {
                Code::Rejected => &mut self.rejected,
                Code::IdReused => &mut self.reused,
                Code::DeliveryTimeout => &mut self.timed_out,
                _ => &mut self.abandoned,
            },
        };
        *count += 1;
    }

    /// Lines that are not answered.
    pub(crate) fn open(&self) -> usize {
        self.events - self.acked - self.rejected - self.timed_out - self.abandoned - self.reused
    }
}
