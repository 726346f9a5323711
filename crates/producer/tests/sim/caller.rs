//! A caller's connection without its socket: the intake and the way back as they are shipped, with
//! real tickets, counters, credits and budget. It decides nothing.

use std::sync::Arc;
use std::time::Instant;
use std::vec;

use dispatchd_core::limits::GIB;
use dispatchd_core::model::envelope::Timestamp;
use dispatchd_core::model::{EventAnswer, Fingerprints, Record, Reference};
use dispatchd_producer::budget::Budget;
use dispatchd_producer::counters::Snapshot;
use dispatchd_producer::credit::CreditTotal;
use dispatchd_producer::intake::{
    EventRequest, Intake, IntakeShared, Now, Offered, TransactionSettings, WayBack,
};
use dispatchd_producer::lane::BoxedItem;
use dispatchd_producer::ticket::{Answer, EventId};

/// One connection.
#[derive(Debug)]
pub(crate) struct Caller {
    shared: Arc<IntakeShared>,
    intake: Intake,
    way_back: WayBack,
    /// Taken out of the outbox and not looked at yet.
    group: vec::IntoIter<Answer>,
}

/// What a connection's intake has from its daemon. No run is held back: that is for the tests of
/// the intake and of the reader.
pub(crate) fn shared(transaction: TransactionSettings) -> Arc<IntakeShared> {
    Arc::new(IntakeShared {
        producer_id: "sim".into(),
        envelopes: Default::default(),
        transaction,
        answers_max: usize::MAX,
        answer_bytes_max: GIB,
        record_bytes_carried: GIB,
        budget: Budget::new(GIB),
        counters: Arc::default(),
        fingerprints: Fingerprints::default(),
        checks: Default::default(),
    })
}

impl Caller {
    pub(crate) fn new() -> Self {
        let shared = shared(Default::default());
        let (intake, way_back) = shared.open(None);
        Self { shared, intake, way_back, group: Vec::new().into_iter() }
    }

    pub(crate) fn fingerprints(&self) -> &Fingerprints {
        &self.shared.fingerprints
    }

    /// Writes a line, which is accepted at this time and waited for until the deadline.
    pub(crate) fn write(
        &mut self,
        line: usize,
        record: Record,
        id: EventId,
        timestamp: Timestamp,
        accepted: Instant,
        deadline: Option<Instant>,
    ) -> BoxedItem {
        let reference = Reference::Number(line as u64 + 1);
        let mut request = EventRequest::sealed(record, reference, id);
        if let Some(deadline) = deadline {
            request = request.until(deadline);
        }
        match self.intake.offer(&mut request, &Now { instant: accepted, timestamp }) {
            Offered::Accepted(item) => {
                self.intake.give_back(); // as after every read
                item
            }
            other => panic!("a run fits into the budget: {other:?}"),
        }
    }

    /// The next line that is answered, and how.
    pub(crate) fn read(&mut self) -> Option<(usize, EventAnswer)> {
        if self.group.len() == 0 {
            self.group = self.way_back.answers.try_recv().ok()?.into_iter();
        }
        let Some(Answer::Event { reference: Reference::Number(line), answer, credit, .. }) =
            self.group.next()
        else {
            return None;
        };
        let mut written = CreditTotal::default();
        written.add(credit);
        self.way_back.credits.give_back(written);
        Some((usize::try_from(line - 1).expect("a run is small"), answer))
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.shared.counters.snapshot()
    }

    /// The budget of the whole daemon.
    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.shared.budget
    }
}
