//! Many events whose answers are one answer: what became of each of them is kept in its place until
//! the last one is settled.
//!
//! What is kept was charged to the budget with the events. A result is paid for by the answer's
//! credit as far as that goes, since a peer that takes no answers may hold its own credits and
//! nobody else's bytes; what is more stays in the budget. Nothing here sends, and nothing knows
//! which input it is for.

use crate::budget::Permit;
use crate::credit::Credit;
use dispatchd_core::limits::ANSWER_BYTES;
use dispatchd_core::model::{EventAnswer, Reference};

/// What became of one event, and what its caller calls it.
pub type Result = (Reference, EventAnswer);

/// The one answer, to be printed and written.
#[derive(Debug)]
pub struct Gathered {
    /// How the answer begins, printed by the input.
    pub head: Vec<u8>,
    /// The flushes before the answer.
    pub epoch: u32,
    pub credit: Credit,
    /// The results in the order of the events.
    pub results: Vec<Result>,
    /// The bytes of the results, until they are written.
    _permit: Option<Permit>,
}

/// How the answer begins, and what is taken for it.
#[derive(Debug)]
pub(crate) struct Begun {
    pub head: Vec<u8>,
    pub epoch: u32,
    pub credit: Credit,
    /// Bytes of results that the credit pays for.
    pub covered_bytes: usize,
    /// How many events there are, and so how many results there will be.
    pub events: usize,
}

/// The results that are there, while others are missing.
#[derive(Debug)]
pub(crate) struct Gathering {
    /// The answer that is put together; `None` once it was taken, and before the first event went
    /// on its way.
    answer: Option<Box<Gathered>>,
    results: Vec<Option<Result>>,
    missing: usize,
    covered_bytes: usize,
    permit: Option<Permit>,
}

impl Gathered {
    /// Whether every event is durable.
    pub fn is_ok(&self) -> bool {
        self.results.iter().all(|(_, answer)| matches!(answer, EventAnswer::Durable(_)))
    }
}

impl Gathering {
    /// A gathering that waits for nothing yet.
    pub(crate) fn new() -> Self {
        let results = Vec::new();
        Self { answer: None, results, missing: 0, covered_bytes: 0, permit: None }
    }

    /// Begins: the results that are missing will come. `permit` pays for those that are there, each
    /// with its place.
    pub(crate) fn begin(
        &mut self,
        begun: Begun,
        there: Vec<(u32, Result)>,
        permit: Option<Permit>,
    ) {
        let Begun { head, epoch, credit, covered_bytes, events } = begun;
        self.missing = events;
        self.covered_bytes = covered_bytes;
        self.results.resize_with(events, || None);
        let mut bytes = 0;
        for (place, (reference, answer)) in there {
            bytes += result_bytes(&reference, &answer);
            self.settle(place, reference, answer);
        }
        if let Some(permit) = permit {
            self.keep(permit, bytes);
        }
        let results = Vec::new();
        self.answer = Some(Box::new(Gathered { head, epoch, credit, results, _permit: None }));
    }

    /// Keeps what became of the event at this place.
    pub(crate) fn settle(&mut self, place: u32, reference: Reference, answer: EventAnswer) {
        let slot = &mut self.results[place as usize];
        debug_assert!(slot.is_none(), "every event is answered once");
        *slot = Some((reference, answer));
        self.missing -= 1;
    }

    /// Keeps so much of the events' bytes as their results take beyond the credit.
    pub(crate) fn keep(&mut self, permit: Permit, result_bytes: usize) {
        let covered = result_bytes.min(self.covered_bytes);
        self.covered_bytes -= covered;
        if covered == result_bytes {
            return;
        }
        let kept = permit.reduced_to(result_bytes - covered);
        match &mut self.permit {
            Some(sum) => sum.merge(kept),
            none => *none = Some(kept),
        }
    }

    /// The answer, once nothing is missing. It is given once.
    pub(crate) fn take_if_whole(&mut self) -> Option<Box<Gathered>> {
        let mut answer = if self.missing == 0 { self.answer.take()? } else { return None };
        let results = std::mem::take(&mut self.results).into_iter();
        answer.results = results.map(|result| result.expect("nothing is missing")).collect();
        answer._permit = self.permit.take();
        Some(answer)
    }
}

/// Bytes that the result of an event takes until it is written, besides its answer's own: they are
/// charged with the event.
pub(crate) fn result_bytes(reference: &Reference, answer: &EventAnswer) -> usize {
    let own = match answer {
        EventAnswer::Durable(durable) => {
            durable.key.as_str().len() + durable.echo.as_ref().map_or(0, |echo| echo.len())
        }
        EventAnswer::Refused(refusal) => refusal.message.len(),
    };
    ANSWER_BYTES + reference.heap_bytes() + own
}
