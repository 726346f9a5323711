//! What an event is told that was not confirmed: for how long it waited, and why.
//!
//! Pure. Whether it may be stored all the same, the item knows.

use std::time::Instant;

use super::item::Item;
use dispatchd_core::model::{Cause, Code, Outcome, Refusal};

/// The outcome of an event that was not confirmed within `delivery.timeout`, or while its caller
/// waited. `outage`: what every event waits for now, if the stream takes nothing.
pub(super) fn late(item: &Item, outage: Option<Cause>, now: Instant) -> Outcome {
    let waited = now.saturating_duration_since(item.accepted).as_secs();
    let why = last_attempt(item, outage);
    let whose =
        if item.is_past_deadline(now) { "as long as its caller waits" } else { "delivery.timeout" };
    let message = format!("not confirmed by Kinesis within {waited} s, {whose}{why}");
    Outcome::Refused(Refusal::unconfirmed(Code::DeliveryTimeout, item.maybe_stored, message))
}

/// The outcome of an event that was not confirmed before the daemon's deadline.
pub(super) fn shutting_down(item: &Item, outage: Option<Cause>) -> Outcome {
    let why = last_attempt(item, outage);
    let message = format!("the daemon stopped before Kinesis confirmed this event{why}");
    Outcome::Refused(Refusal::unconfirmed(Code::ShuttingDown, item.maybe_stored, message))
}

/// Why an event was not stored: what every event waits for now, or else what its own last attempt
/// came to. Empty where nothing was tried.
fn last_attempt(item: &Item, outage: Option<Cause>) -> String {
    let cause = outage.or(item.cause);
    cause.map(|cause| format!("; the last attempt: {}", cause.says())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::test_support::{Kit, settings};

    #[test]
    fn an_event_is_told_what_all_wait_for_before_what_its_own_attempt_came_to() {
        let kit = Kit::new(settings());
        let mut item = kit.item_without_id();
        let told = |item: &Item, outage| match late(item, outage, kit.at(120_999)) {
            Outcome::Refused(refusal) => (refusal.message.into_owned(), refusal.maybe_stored),
            Outcome::Durable(position) => panic!("{position:?}"),
        };
        let untried = "not confirmed by Kinesis within 120 s, delivery.timeout";
        assert_eq!(told(&item, None), (untried.into(), Some(false)));
        item.cause = Some(Cause::ConnectTimeout);
        item.maybe_stored = true;
        let own = format!("{untried}; the last attempt: {}", Cause::ConnectTimeout.says());
        assert_eq!(told(&item, None), (own, Some(true)));
        let all = format!("{untried}; the last attempt: {}", Cause::ConnectionRefused.says());
        assert_eq!(told(&item, Some(Cause::ConnectionRefused)), (all, Some(true)));
        item.deadline = Some(kit.at(120_999));
        assert!(told(&item, None).0.contains("120 s, as long as its caller waits; the last"));
    }
}
