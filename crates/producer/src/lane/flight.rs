//! Flights: batches that are being sent. How many are out, what they carry, and what a reply says
//! of its request as a whole.
//!
//! Pure. What a verdict means for its own record is decided in `apply_verdicts`.

use super::batch::Batch;
use dispatchd_core::model::{PutError, Verdict};

/// What a flight brings home: a verdict per entry, or an error for the whole request.
pub type Reply = Result<Vec<Verdict>, PutError>;

/// The flights that are out.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flights {
    count: usize,
    bytes: usize,
}

impl Flights {
    pub(super) fn take_off(&mut self, batch: &Batch) {
        self.count += 1;
        self.bytes += batch.bytes();
    }

    pub(super) fn land(&mut self, batch: &Batch) {
        self.count -= 1;
        self.bytes -= batch.bytes();
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The records' bytes in them.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
