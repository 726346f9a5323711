//! Records for the tests of this folder: the number is the place, the key and the age.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Delivered, Failure, FailureKind, Place};

pub(super) fn place(number: u64) -> Place {
    Place { sequence_number: number.to_string(), sub_sequence_number: None }
}

/// Arrived so many seconds after the epoch.
pub(super) fn record(number: u64) -> Delivered {
    Delivered {
        shard: Arc::from("shardId-0"),
        place: place(number),
        partition_key: Some(format!("key-{number}")),
        data: vec![0; 10].into(),
        arrived: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(number)),
        misfit: None,
    }
}

pub(super) fn failure(kind: FailureKind) -> Failure {
    let status = match kind {
        FailureKind::Unavailable => 503,
        FailureKind::Failed => 500,
        FailureKind::Refused => 400,
        FailureKind::Unauthorized => 401,
    };
    Failure { kind, status: Some(status), reason: kind_name(kind), body: None, retry_after: None }
}

fn kind_name(kind: FailureKind) -> String {
    format!("{kind:?}")
}
