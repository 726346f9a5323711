//! What one connection may still ask for: answer credits, and bytes of the budget.
//!
//! Taking never waits. What is short is named, so that the two waits of an event's whole trip are
//! in one place. What a wait has brought is kept for the request that is offered next, which is the
//! one that waited.

use std::sync::Arc;

use crate::budget::{ConnectionBudget, Permit, Prefetch};
use crate::credit::{Credit, Credits};

/// The means of one connection.
#[derive(Debug)]
pub(super) struct Means {
    credits: Credits,
    budget: Arc<ConnectionBudget>,
    /// Bytes for the events that come next.
    prefetch: Prefetch,
    /// A credit that was waited for, or whose event then was short of bytes.
    credit: Option<Credit>,
    /// Bytes that were waited for.
    permit: Option<Permit>,
}

/// What a request needs and there is none of now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// A credit for an answer of so many bytes.
    Credit(usize),
    /// This many bytes of the budget, for an event that has its credit.
    Bytes(usize),
}

impl Means {
    pub(super) fn new(credits: Credits, budget: Arc<ConnectionBudget>) -> Self {
        Self { credits, budget, prefetch: Prefetch::default(), credit: None, permit: None }
    }

    /// Takes a credit for an answer of so many bytes.
    pub(super) fn credit(&mut self, bytes: usize) -> Result<Credit, Shortage> {
        self.credit.take().or_else(|| self.credits.try_take(bytes)).ok_or(Shortage::Credit(bytes))
    }

    /// Takes a credit for an answer, and bytes for the event.
    pub(super) fn credit_and_bytes(
        &mut self,
        answer_bytes: usize,
        bytes: usize,
    ) -> Result<(Credit, Permit), Shortage> {
        let credit = self.credit(answer_bytes)?;
        let permit = self.permit.take().or_else(|| self.prefetch.try_take(&self.budget, bytes));
        match permit.or_else(|| self.budget.try_take(bytes)) {
            Some(permit) => Ok((credit, permit)),
            None => {
                self.credit = Some(credit);
                Err(Shortage::Bytes(bytes))
            }
        }
    }

    /// Takes bytes, of those that were waited for first.
    pub(super) fn bytes(&mut self, bytes: usize) -> Option<Permit> {
        let waited = self.permit.as_mut().and_then(|permit| permit.split(bytes));
        waited
            .or_else(|| self.prefetch.try_take(&self.budget, bytes))
            .or_else(|| self.budget.try_take(bytes))
    }

    /// Keeps a credit for the request that is offered next.
    pub(super) fn keep_credit(&mut self, credit: Credit) {
        self.credit = Some(credit);
    }

    /// Gives back what is left of the bytes that were waited for.
    pub(super) fn forget_waited(&mut self) {
        self.permit = None;
    }

    /// The most bytes that the connection may hold.
    pub(super) fn bytes_max(&self) -> usize {
        self.budget.share_bytes()
    }

    /// Waits for what was short. Cancelled, it has taken nothing.
    pub(super) async fn wait(&mut self, shortage: Shortage) {
        match shortage {
            Shortage::Credit(bytes) => self.credit = Some(self.credits.take(bytes).await),
            Shortage::Bytes(bytes) => self.permit = Some(self.budget.take(bytes).await),
        }
    }

    /// Gives back what was taken in advance: others may wait for it.
    pub(super) fn give_back(&mut self) {
        self.prefetch.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;
    use crate::credit::{CreditTotal, credits};

    #[tokio::test]
    async fn what_a_request_waited_for_is_there_when_it_is_offered_again() {
        let (budget, (credits, returns)) = (Budget::new(200), credits(1, 100));
        let mut means = Means::new(credits, budget.connection());
        let (credit, first) = means.credit_and_bytes(40, 60).expect("there is room");
        assert_eq!(
            means.credit_and_bytes(30, 60).expect_err("one answer is owed"),
            Shortage::Credit(30)
        );
        let mut written = CreditTotal::default();
        written.add(credit);
        returns.give_back(written);
        means.wait(Shortage::Credit(30)).await;
        assert_eq!(
            means.credit_and_bytes(30, 60).expect_err("half of the budget is taken"),
            Shortage::Bytes(60)
        );
        drop(first);
        means.wait(Shortage::Bytes(60)).await;
        let (_credit, _permit) = means.credit_and_bytes(30, 60).expect("it has waited for both");
        assert_eq!(budget.used_bytes(), 60, "taken once");
        assert_eq!(means.credit(1), Err(Shortage::Credit(1)), "nothing was kept");
    }
}
