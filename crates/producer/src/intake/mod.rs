//! The intake: the one room where a request of any input becomes an item or is refused.
//!
//! - Offering a request never waits. The request is accepted, or refused, or the intake names what
//!   it needs: a credit for its answer, or bytes of the budget. Its input waits for that and offers
//!   the same request again; nothing of it is read, drawn or hashed a second time.
//! - Whatever is accepted or refused has its credit, so the answer never waits.
//! - A request that is refused here is answered on the same way back as one that was sent.
//! - Events that share an answer are held (`staged`) until all of them may go, and go at once:
//!   those of one line, and those of a transaction (`transactions`) with its commit.
//!
//! An intake belongs to one connection. It knows the connection's means (`means`) and what the
//! connection said of all its events. It reads no clock, draws no ids and knows no protocol: time
//! and ids are arguments, and `request` is what every input makes of an event.

mod checks;
mod means;
mod request;
mod staged;
mod transactions;

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use uuid::Uuid;

pub use self::checks::{Checks, Validator};
pub use self::means::Shortage;
pub use self::request::{EventRequest, Now};
pub use self::transactions::TransactionSettings;

use self::means::Means;
use self::request::Content;
use self::staged::Staged;
use self::transactions::Transactions;
use crate::budget::Budget;
use crate::counters::{EventCounters, TransactionEnd};
use crate::credit::{Credit, CreditReturns, credits};
use crate::lane::{BoxedItem, Item};
use crate::ticket::{Answer, Outbox, Responder};
use dispatchd_core::limits::{ANSWER_BYTES, ITEM_BYTES};
use dispatchd_core::model::envelope::{Draft, More};
use dispatchd_core::model::{
    Code, Context, Event, Fingerprints, PartitionKey, Profile, Record, Reference, Refusal,
};

/// What the intakes of all connections share.
#[derive(Debug)]
pub struct IntakeShared {
    /// The producer that an envelope names unless its connection named another.
    pub producer_id: String,
    pub envelopes: Envelopes,
    pub transaction: TransactionSettings,
    /// Unanswered events that a connection may have.
    pub answers_max: usize,
    /// Bytes of answers that a connection may have unwritten.
    pub answer_bytes_max: usize,
    /// The largest record that our memory carries, whatever the stream takes.
    pub record_bytes_carried: usize,
    pub budget: Arc<Budget>,
    pub counters: Arc<EventCounters>,
    /// For events whose callers chose their ids.
    pub fingerprints: Fingerprints,
    /// What an event must be besides what every one must.
    pub checks: Arc<Checks>,
}

/// What envelopes are like where neither connection nor event says otherwise.
#[derive(Debug, Clone)]
pub struct Envelopes {
    pub profile: Profile,
    /// `None`: the producer.
    pub source: Option<String>,
    /// The stream's region.
    pub region: String,
}

impl Default for Envelopes {
    fn default() -> Self {
        Self { profile: Profile::Lk, source: None, region: String::new() }
    }
}

/// The intake of one connection.
#[derive(Debug)]
pub struct Intake {
    shared: Arc<IntakeShared>,
    outbox: Arc<Outbox>,
    means: Means,
    transactions: Transactions,
    record_limit: RecordLimit,
    context: Context,
    /// Whether its envelopes are `lk`'s with no key that is optional, unless an event says
    /// otherwise.
    is_plain: bool,
    /// The events since the last flush, and the number of that flush.
    epoch_events: u64,
    epoch: u32,
}

/// The way back of one connection, for the one who writes its answers.
#[derive(Debug)]
pub struct WayBack {
    pub answers: mpsc::UnboundedReceiver<Vec<Answer>>,
    pub credits: CreditReturns,
}

/// What came of offering a request.
#[derive(Debug)]
pub enum Offered {
    /// The event goes on its way.
    Accepted(BoxedItem),
    /// The event is refused, and its caller is told.
    Refused(Code),
    /// The request needs this first, and nothing has happened yet: it is to be offered again then.
    Needs(Shortage),
}

/// One of the events that share an answer; or where it should be, what is refused there.
pub type Member<'a> = std::result::Result<EventRequest<'a>, (Reference, Refusal)>;

/// What came of offering events that share an answer.
#[derive(Debug)]
pub enum OfferedTogether {
    /// The events go on their way, in this order; their answer follows.
    Accepted(Vec<BoxedItem>),
    /// None of the events goes on its way, and nobody was told yet.
    Refused(Refusal),
    /// The events need this first, and nothing has happened yet: they are to be offered again then.
    Needs(Shortage),
}

/// What came of offering an event of a transaction.
#[derive(Debug)]
pub enum Staging {
    /// The event is held. Its caller is to be told so with this credit, and is told the id unless
    /// it knows of none.
    Staged { reference: Reference, id: Option<Uuid>, credit: Credit },
    /// The event is refused, and its caller is told.
    Refused(Code),
    /// The event needs this first, as in [`Offered::Needs`].
    Needs(Shortage),
}

/// What a request takes.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    sealed_bytes: usize,
    record_bytes: usize,
    answer_bytes: usize,
}

const SPENT: &str = "a request is offered until it is accepted and no longer";

/// The largest record that is accepted, and who says so.
#[derive(Debug, Clone, Copy)]
struct RecordLimit {
    bytes_max: usize,
    is_our_memory: bool,
}

impl Sizes {
    fn item_bytes(self) -> usize {
        self.record_bytes + ITEM_BYTES
    }
}

impl RecordLimit {
    /// The lesser of the stream's limit and of what memory carries. While a stream has not told its
    /// limit, every record is tried that memory carries.
    fn new(stream: Option<usize>, carried: usize) -> Self {
        let stream = stream.unwrap_or(usize::MAX);
        Self { bytes_max: stream.min(carried), is_our_memory: carried < stream }
    }
}

impl IntakeShared {
    /// The intake of one more connection, and its way back. `record_limit` is the stream's, `None`
    /// while nobody has said it.
    pub fn open(self: &Arc<Self>, record_limit: Option<usize>) -> (Intake, WayBack) {
        let (outbox, answers) = Outbox::new(Arc::clone(&self.counters));
        let (credits, credit_returns) = credits(self.answers_max, self.answer_bytes_max);
        let budget = self.budget.connection();
        let intake = Intake {
            shared: Arc::clone(self),
            transactions: Transactions::new(self.transaction.clone(), &outbox, &budget),
            outbox,
            means: Means::new(credits, budget),
            record_limit: RecordLimit::new(record_limit, self.record_bytes_carried),
            context: Context::default(),
            is_plain: self.envelopes.profile == Profile::Lk,
            epoch_events: 0,
            epoch: 0,
        };
        (intake, WayBack { answers, credits: credit_returns })
    }
}

impl Intake {
    /// The stream told its record limit, or another one.
    pub fn set_record_limit(&mut self, stream: Option<usize>) {
        self.record_limit = RecordLimit::new(stream, self.shared.record_bytes_carried);
    }

    /// The largest record that is accepted, data and partition key.
    pub fn record_bytes_max(&self) -> usize {
        self.record_limit.bytes_max
    }

    /// Who the connection's events are published as: what `hello` said, else the daemon's own.
    pub fn producer_id(&self) -> &str {
        self.context.producer_id.as_deref().unwrap_or(&self.shared.producer_id)
    }

    /// The connection says something of all its later events.
    pub fn set_context(&mut self, context: Context) {
        let Context { correlation_id, organisation_id, envelope, .. } = &context;
        self.is_plain = envelope.unwrap_or(self.shared.envelopes.profile) == Profile::Lk
            && correlation_id.is_none()
            && organisation_id.is_none();
        self.context = context;
    }

    /// Offers a request. Once it was accepted or refused it is spent.
    ///
    /// # Panics
    /// If a request is offered again that was accepted.
    pub fn offer(&mut self, request: &mut EventRequest<'_>, now: &Now) -> Offered {
        let sizes = match self.measure(request, now) {
            Ok(sizes) => sizes,
            Err(refusal) => return self.refuse_offered(request, refusal),
        };
        let means = self.means.credit_and_bytes(sizes.answer_bytes, sizes.item_bytes());
        let (credit, permit) = match means {
            Ok(means) => means,
            Err(shortage) => return Offered::Needs(shortage),
        };
        // Last: it costs more than the rest, and what is offered again is not checked again.
        if let Err(refusal) = self.shared.checks.check(request) {
            self.means.keep_credit(credit);
            return self.refuse_offered(request, refusal);
        }
        let record = self.seal(request, sizes, now);
        let responder = self.responder(credit, std::mem::take(&mut request.reference));
        let ticket =
            responder.ticket(request.id, now.timestamp, request.echo, request.shows, permit);
        let mut item = Item::new(record, ticket, now.instant);
        item.deadline = request.deadline;
        Offered::Accepted(item)
    }

    /// Offers the events of one request that share its answer. All of them are accepted at once, or
    /// none is. One that cannot be is refused in its place. `head` is how the answer begins.
    /// Offered again, the members are made anew: it never holds some while it waits for bytes for
    /// the others, since two who do could wait for each other.
    pub fn offer_together<'a>(
        &mut self,
        head: &[u8],
        members: impl Iterator<Item = Member<'a>>,
        now: &Now,
    ) -> OfferedTogether {
        let mut staged = Staged::new(&self.outbox);
        let (mut needed_bytes, mut result_bytes, mut is_short) = (0, 0, false);
        for member in members {
            let measured = member.and_then(|mut request| {
                let measured = self.measure(&mut request, now);
                match measured.and_then(|sizes| self.shared.checks.check(&request).map(|()| sizes))
                {
                    Ok(sizes) => Ok((request, sizes)),
                    Err(refusal) => Err((request.reference, refusal)),
                }
            });
            let (bytes, of_result) = match &measured {
                Ok((_, sizes)) => (sizes.item_bytes() + sizes.answer_bytes, sizes.answer_bytes),
                Err((reference, refusal)) => {
                    let bytes = answer_bytes(reference) + refusal.message.len();
                    (bytes, bytes)
                }
            };
            needed_bytes += bytes;
            result_bytes += of_result;
            let permit = if is_short { None } else { self.means.bytes(bytes) };
            match (measured, permit) {
                (_, None) => is_short = true,
                (Ok((mut request, sizes)), Some(permit)) => {
                    let record = self.seal(&mut request, sizes, now);
                    staged.hold(&mut request, record, permit, now);
                }
                (Err((reference, refusal)), Some(permit)) => {
                    staged.refuse(reference, refusal, permit);
                }
            }
        }
        self.means.forget_waited();
        if is_short {
            drop(staged);
            let bytes_max = self.means.bytes_max();
            return if needed_bytes > bytes_max {
                OfferedTogether::Refused(too_much_together(needed_bytes, bytes_max))
            } else {
                OfferedTogether::Needs(Shortage::Bytes(needed_bytes))
            };
        }
        match self.means.credit(result_bytes + head.len()) {
            Ok(credit) => {
                staged.count();
                OfferedTogether::Accepted(self.let_go(staged, head.to_vec(), credit, now))
            }
            Err(shortage) => OfferedTogether::Needs(shortage),
        }
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// There is one of that name, or there are too many.
    pub fn begin(&mut self, name: &str, now: &Now) -> Result<(), Refusal> {
        self.transactions.expire(now.instant);
        self.transactions.begin(name, now.instant)
    }

    /// Offers a request that is to go on its way with the commit of its transaction.
    pub fn stage(&mut self, name: &str, request: &mut EventRequest<'_>, now: &Now) -> Staging {
        self.transactions.expire(now.instant);
        let measured = self.measure(request, now).and_then(|sizes| {
            let bytes = sizes.item_bytes() + sizes.answer_bytes;
            self.transactions.may_stage(name, bytes).map(|()| (sizes, bytes))
        });
        let (sizes, bytes) = match measured {
            Ok(measured) => measured,
            Err(refusal) => return self.refuse_staging(request, refusal),
        };
        let answer_bytes = answer_bytes(&request.reference);
        let (credit, permit) = match self.means.credit_and_bytes(answer_bytes, bytes) {
            Ok(means) => means,
            Err(shortage) => return Staging::Needs(shortage),
        };
        if let Err(refusal) = self.shared.checks.check(request) {
            self.means.keep_credit(credit);
            return self.refuse_staging(request, refusal);
        }
        let record = self.seal(request, sizes, now);
        let Some(staged) = self.transactions.place(name, bytes, sizes.answer_bytes) else {
            self.means.keep_credit(credit);
            return self.refuse_staging(request, no_room_to_stage());
        };
        let reference = request.reference.clone();
        let id = request.shows.id.then_some(request.id.id());
        staged.hold(request, record, permit, now);
        Staging::Staged { reference, id, credit }
    }

    /// Offers the commit of a transaction. `head` is how its answer begins.
    pub fn commit(&mut self, name: &str, head: &[u8], now: &Now) -> OfferedTogether {
        self.transactions.expire(now.instant);
        let Some(result_bytes) = self.transactions.result_bytes(name) else {
            return OfferedTogether::Refused(self.transactions.ended());
        };
        let credit = match self.means.credit(result_bytes + head.len()) {
            Ok(credit) => credit,
            Err(shortage) => return OfferedTogether::Needs(shortage),
        };
        match self.transactions.end(name, TransactionEnd::Committed) {
            Ok(staged) => {
                OfferedTogether::Accepted(self.let_go(staged, head.to_vec(), credit, now))
            }
            Err(refusal) => OfferedTogether::Refused(refusal),
        }
    }

    /// Ends a transaction: nothing of it goes on its way.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn roll_back(&mut self, name: &str, now: &Now) -> Result<(), Refusal> {
        self.transactions.expire(now.instant);
        self.transactions.end(name, TransactionEnd::RolledBack).map(drop)
    }

    /// When the time of a transaction is over next: to be told then with [`Self::expire`].
    pub fn next_end(&self) -> Option<Instant> {
        self.transactions.next_end()
    }

    /// Rolls the transactions back whose time is over.
    pub fn expire(&mut self, now: Instant) {
        self.transactions.expire(now);
    }

    /// Takes a credit for an answer of so many bytes to something that is no event.
    ///
    /// # Errors
    /// There is none now: to be waited for.
    pub fn credit(&mut self, bytes: usize) -> Result<Credit, Shortage> {
        self.means.credit(bytes)
    }

    /// Refuses what was meant as an event and is none. It is counted as one.
    pub fn refuse(&mut self, credit: Credit, reference: Reference, refusal: Refusal) {
        self.responder(credit, reference).refuse(refusal);
    }

    /// Answers something else than an event.
    pub fn answer(&self, credit: Credit, line: Vec<u8>) {
        self.outbox.send(Answer::Control { line, credit });
    }

    /// Asks for an answer once every event that was offered up to now is answered.
    pub fn flush(&mut self, credit: Credit, reference: Reference) {
        let (epoch, events) = (self.epoch, self.epoch_events);
        self.outbox.send(Answer::Flush { reference, epoch, events, credit });
        self.epoch = self.epoch.wrapping_add(1);
        self.epoch_events = 0;
    }

    /// Waits for what a request needs. Cancelled, it has taken nothing.
    pub async fn wait(&mut self, shortage: Shortage) {
        self.means.wait(shortage).await;
    }

    /// Gives back what was taken in advance: to be called before every wait, since others may wait
    /// for it.
    pub fn give_back(&mut self) {
        self.means.give_back();
    }

    /// A refusal for what is too large: it says whether the stream takes no more, or what to raise
    /// here.
    pub fn too_large(&self, mut message: String) -> Refusal {
        if self.record_limit.is_our_memory {
            message += "; if the stream takes more, raise memory.budget and the container's memory \
                        limit of dispatchd";
        }
        Refusal::new(Code::EventTooLarge, message)
    }

    /// Whether a request can be accepted at all, and what it takes.
    #[inline]
    fn measure(&self, request: &mut EventRequest<'_>, now: &Now) -> Result<Sizes, Refusal> {
        if request.is_key_drawn {
            self.name_key(request)?;
        }
        let (sealed_bytes, key_bytes) = match &request.content {
            Content::Event(event) => {
                let draft = self.draft(request.id.id(), event, now);
                (draft.sealed_len(), draft.key.as_str().len())
            }
            Content::Raw(record) => {
                (record.data.byte_len(), record.key.as_ref().expect(SPENT).as_str().len())
            }
            Content::Record(record) => {
                let record = record.as_ref().expect(SPENT);
                (record.data.len(), record.key.as_str().len())
            }
        };
        let record_bytes = sealed_bytes + key_bytes;
        if record_bytes > self.record_limit.bytes_max {
            return Err(self.record_too_large(record_bytes));
        }
        let echo_bytes = if request.echo { sealed_bytes } else { 0 };
        if echo_bytes > self.shared.answer_bytes_max {
            return Err(echo_too_large(echo_bytes, self.shared.answer_bytes_max));
        }
        let answer_bytes = answer_bytes(&request.reference) + key_bytes + echo_bytes;
        Ok(Sizes { sealed_bytes, record_bytes, answer_bytes })
    }

    /// The record of a request that was measured. The request is spent.
    #[inline]
    fn seal(&self, request: &mut EventRequest<'_>, sizes: Sizes, now: &Now) -> Record {
        let id = request.id.id();
        match &mut request.content {
            Content::Event(event) => {
                let data = self.draft(id, event, now).seal(sizes.sealed_bytes);
                Record::new(event.key.take().expect(SPENT), event.explicit_hash, data)
            }
            Content::Raw(record) => {
                let key = record.key.take().expect(SPENT);
                Record::new(key, record.explicit_hash, record.data.to_bytes())
            }
            Content::Record(record) => record.take().expect(SPENT),
        }
    }

    fn let_go(
        &mut self,
        staged: Staged,
        head: Vec<u8>,
        credit: Credit,
        now: &Now,
    ) -> Vec<BoxedItem> {
        self.epoch_events += 1;
        let covered_bytes = self.shared.answer_bytes_max;
        staged.go(head, self.epoch, credit, covered_bytes, now.instant)
    }

    fn draft<'e>(&'e self, id: Uuid, event: &'e Event<'_>, now: &Now) -> Draft<'e> {
        const KEYED: &str = "a request is keyed when it is made and until it is accepted";
        let is_plain = self.is_plain && event.extras.is_none();
        Draft {
            id,
            event_type: &event.event_type,
            data: event.data,
            timestamp: now.timestamp,
            user_id: event.user_id.as_deref().or(self.context.user_id.as_deref()),
            producer_id: self.producer_id(),
            key: event.key.as_ref().expect(KEYED),
            more: if is_plain { None } else { Some(self.more(event)) },
        }
    }

    #[cold]
    fn more<'e>(&'e self, event: &'e Event<'_>) -> More<'e> {
        let Context { correlation_id, organisation_id, .. } = &self.context;
        let Envelopes { source, region, .. } = &self.shared.envelopes;
        let extras = event.extras.as_deref();
        More {
            profile: self.profile(event),
            source: source.as_deref().unwrap_or(self.producer_id()),
            region,
            correlation_id: correlation_id.as_deref(),
            organisation_id: organisation_id.as_deref(),
            traceparent: extras.and_then(|extras| extras.traceparent.as_deref()),
            tracestate: extras.and_then(|extras| extras.tracestate.as_deref()),
        }
    }

    /// The form that the event is published in.
    fn profile(&self, event: &Event<'_>) -> Profile {
        let own = event.extras.as_ref().and_then(|extras| extras.envelope);
        own.or(self.context.envelope).unwrap_or(self.shared.envelopes.profile)
    }

    /// Takes the type for the key where the form has it so. The caller named no key.
    fn name_key(&self, request: &mut EventRequest<'_>) -> Result<(), Refusal> {
        let Content::Event(event) = &mut request.content else { return Ok(()) };
        if (!self.is_plain || event.extras.is_some()) && self.profile(event) == Profile::TypeData {
            let key = PartitionKey::new(&*event.event_type).map_err(|error| {
                let why = format!("type {error}: it is the partition key of this envelope");
                Refusal::new(Code::InvalidRequest, why)
            })?;
            event.key = Some(key);
        }
        Ok(())
    }

    #[cold]
    fn record_too_large(&self, bytes: usize) -> Refusal {
        let RecordLimit { bytes_max, is_our_memory } = self.record_limit;
        let whose = if is_our_memory { "this daemon's memory carries" } else { "the stream takes" };
        self.too_large(format!("record is {bytes} bytes, {whose} {bytes_max}"))
    }

    #[cold]
    fn refuse_staging(&mut self, request: &mut EventRequest<'_>, refusal: Refusal) -> Staging {
        match self.try_refuse(request, refusal) {
            Ok(code) => Staging::Refused(code),
            Err(shortage) => Staging::Needs(shortage),
        }
    }

    #[cold]
    fn refuse_offered(&mut self, request: &mut EventRequest<'_>, refusal: Refusal) -> Offered {
        match self.try_refuse(request, refusal) {
            Ok(code) => Offered::Refused(code),
            Err(shortage) => Offered::Needs(shortage),
        }
    }

    fn try_refuse(
        &mut self,
        request: &mut EventRequest<'_>,
        refusal: Refusal,
    ) -> Result<Code, Shortage> {
        self.means.forget_waited(); // or its bytes would be the next request's
        let credit = self.means.credit(answer_bytes(&request.reference))?;
        let code = refusal.code;
        self.refuse(credit, std::mem::take(&mut request.reference), refusal);
        Ok(code)
    }

    fn responder(&mut self, credit: Credit, reference: Reference) -> Responder {
        self.epoch_events += 1;
        Responder::new(Arc::clone(&self.outbox), reference, self.epoch, credit)
    }
}

/// Bytes that an answer holds in memory until it is written, besides a key and an echo.
pub fn answer_bytes(reference: &Reference) -> usize {
    ANSWER_BYTES + reference.heap_bytes()
}

/// Answers have bytes of their own, whatever the stream takes: an echo would hold as much again
/// until it is read.
#[cold]
fn echo_too_large(bytes: usize, bytes_max: usize) -> Refusal {
    let message = format!(
        "options.echo of an envelope of {bytes} bytes: it takes at most {bytes_max}. Send it \
         without echo"
    );
    Refusal::new(Code::InvalidRequest, message)
}

#[cold]
fn too_much_together(bytes: usize, bytes_max: usize) -> Refusal {
    let message = format!(
        "the events and their results take {bytes} bytes of memory, and one connection may hold \
         {bytes_max}, half of memory.budget: send them in several parts"
    );
    Refusal::new(Code::EventTooLarge, message)
}

#[cold]
fn no_room_to_stage() -> Refusal {
    const FULL: &str = "the open transactions of all connections hold half of memory.budget: try \
                        again when some have ended, or send the events as a batch";
    Refusal::new(Code::Overloaded, FULL)
}

#[cfg(test)]
mod tests;
