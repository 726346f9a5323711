//! What a line needs before it is taken: a slot for its answer, then bytes of the budget.
//!
//! Taking never waits; what lacks is named, so that the two waits of an event's whole trip are in
//! one place. What a wait has brought is kept for the line that is offered next, which is the same
//! one.

use std::sync::Arc;

use super::slots::Slots;
use dispatchd_producer::budget::{Ahead, Charge, Share};

/// One connection's means.
#[derive(Debug)]
pub(super) struct Allowance {
    slots: Slots,
    share: Arc<Share>,
    /// Bytes for the lines that come next.
    ahead: Ahead,
    /// A slot that was waited for, or whose line then lacked bytes.
    room: Option<u32>,
    /// Bytes that were waited for.
    charge: Option<Charge>,
}

/// What is not there now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lack {
    /// A slot of so many bytes.
    Slot(usize),
    /// So many bytes of the budget, for a line that has its slot.
    Bytes(usize),
}

impl Allowance {
    pub(super) fn new(slots: Slots, share: Arc<Share>) -> Self {
        Self { slots, share, ahead: Ahead::default(), room: None, charge: None }
    }

    /// A slot for an answer of so many bytes.
    pub(super) fn slot(&mut self, bytes: usize) -> Result<u32, Lack> {
        self.room.take().or_else(|| self.slots.try_take(bytes)).ok_or(Lack::Slot(bytes))
    }

    /// A slot for an answer, and bytes for the event.
    pub(super) fn slot_and_bytes(
        &mut self,
        answer_bytes: usize,
        bytes: usize,
    ) -> Result<(u32, Charge), Lack> {
        let room = self.slot(answer_bytes)?;
        let charge = self.charge.take().or_else(|| self.ahead.try_take(&self.share, bytes));
        match charge.or_else(|| self.share.try_take(bytes)) {
            Some(charge) => Ok((room, charge)),
            None => {
                self.room = Some(room);
                Err(Lack::Bytes(bytes))
            }
        }
    }

    /// Waits for what lacked. Cancelled, it has taken nothing.
    pub(super) async fn wait(&mut self, lack: Lack) {
        match lack {
            Lack::Slot(bytes) => self.room = Some(self.slots.take(bytes).await),
            Lack::Bytes(bytes) => self.charge = Some(self.share.take(bytes).await),
        }
    }

    /// Gives back what was taken ahead: others may wait for it.
    pub(super) fn give_back(&mut self) {
        self.ahead.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::super::slots::slots;
    use super::*;
    use dispatchd_producer::budget::Budget;

    #[tokio::test]
    async fn what_a_line_waited_for_is_there_when_it_is_offered_again() {
        let (budget, (slots, returns)) = (Budget::new(200), slots(1, 100));
        let mut allowance = Allowance::new(slots, budget.share());
        let (room, first) = allowance.slot_and_bytes(40, 60).expect("there is room");
        assert_eq!(
            allowance.slot_and_bytes(30, 60).expect_err("one answer is owed"),
            Lack::Slot(30)
        );
        returns.give_back(super::super::slots::Owed { answers: 1, bytes: u64::from(room) });
        allowance.wait(Lack::Slot(30)).await;
        assert_eq!(
            allowance.slot_and_bytes(30, 60).expect_err("half of the budget is taken"),
            Lack::Bytes(60)
        );
        drop(first);
        allowance.wait(Lack::Bytes(60)).await;
        let (room, _charge) = allowance.slot_and_bytes(30, 60).expect("it has waited for both");
        assert_eq!((room, budget.used_bytes()), (30, 60), "taken once each");
        assert_eq!(allowance.slot(1), Err(Lack::Slot(1)), "nothing was kept");
    }
}
