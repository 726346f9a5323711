//! Records that were given up, with what an operator needs to understand why. Only data: who keeps
//! them, and in what form, is not known here.

use std::sync::Arc;

use super::{BatchId, Delivered, Failure};

/// Why records were given up, in AWS's words where AWS has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Condition {
    RetryAttemptsExhausted,
    RecordAgeExceeded,
    /// The target refuses the record, or its form has no place for it, and sending it again cannot
    /// help.
    Refused,
}

/// Records that were given up together: what one failure record of AWS's tells of. Never empty.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    /// To be handed back to [`ShardDelivery::letters_kept`](super::ShardDelivery::letters_kept).
    pub id: BatchId,
    pub condition: Condition,
    /// How often they were sent as this batch: 0 where they were given up before the first time.
    /// AWS's `approximateInvokeCount` says 1 then.
    pub attempts: u32,
    /// What the target said last, or why it was not asked; `None` where they grew too old.
    pub last: Option<Failure>,
    /// In their order.
    pub records: Vec<Arc<Delivered>>,
}

impl Condition {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RetryAttemptsExhausted => "RetryAttemptsExhausted",
            Self::RecordAgeExceeded => "RecordAgeExceeded",
            Self::Refused => "Refused",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_named_as_the_reference_of_dead_letters_names_them() {
        let reference = include_str!("../../../../docs/forward.md");
        for condition in
            [Condition::RetryAttemptsExhausted, Condition::RecordAgeExceeded, Condition::Refused]
        {
            assert_eq!(condition.as_str(), format!("{condition:?}"));
            assert!(reference.contains(&format!("`{}`", condition.as_str())), "{condition:?}");
        }
    }
}
