//! In which form records go to a target: what of that an engine or an operator asks of a form, the
//! request that is made of a batch (`request`), and what the answer to it says (`answer`).
//!
//! The bytes themselves are written by `dispatchd_core::wire::forward`. Nothing here sends
//! anything.

mod answer;
mod request;

use std::time::Duration;

use dispatchd_core::choice;
use dispatchd_core::wire::forward::lambda::Mapping;
use dispatchd_core::wire::forward::{Misfit, Outgoing, batch, cloudevents, event, kinesis};

use crate::delivery::{BATCH_RECORDS_MAX, Delivered};

pub use answer::Answer;
pub use request::{Encoder, Request};

/// Records in one request that nobody chose, where a format takes many: Lambda's.
const BATCH_RECORDS_DEFAULT: usize = 100;

/// Requests to one target at once that nobody chose, where its consumers take many.
const IN_FLIGHT_DEFAULT: usize = 16;

/// How long one request may take, where nobody chose.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// The same for an invocation: more than the 300 s that the runtime interface emulator gives a
/// function. It takes one invocation at a time, and the process of it that is current in 2026-11
/// dies of a second one: a function that is still at work must not be invoked again.
const INVOCATION_TIMEOUT_DEFAULT: Duration = Duration::from_secs(310);

/// What a record of an invocation is reckoned to take for the ARNs of the stream and of the role
/// and for the region, which are the same in each of them: more than most of them have.
const ARNS_BYTES: usize = 512;

choice! {
    /// In which form records go to a target.
    pub enum Format {
        /// Lambda's object `kinesis`, one a request: what Rabble Rouser's forwarder posts.
        Record = "record",
        /// `{"Records":[…]}`, as Lambda's event source mapping invokes with.
        Lambda = "lambda",
        /// The record's own JSON, one a request.
        Event = "event",
        /// CloudEvents in binary mode, one a request.
        CloudEvents = "cloudevents",
        /// A JSON array of events, each with where it stood.
        Batch = "batch",
    }
}

choice! {
    /// Whether records that are packed in the KPL's format are taken apart.
    pub enum Aggregates {
        /// They go out as they are, as Lambda hands them over.
        Whole = "whole",
        /// Each event goes out by itself.
        Apart = "apart",
    }
}

impl Format {
    /// The most records of one request.
    pub fn batch_records_max(self) -> usize {
        match self {
            Self::Record | Self::Event | Self::CloudEvents => 1,
            Self::Lambda | Self::Batch => BATCH_RECORDS_MAX,
        }
    }

    /// The same, where nobody chose a number.
    pub fn batch_records_default(self) -> usize {
        self.batch_records_max().min(BATCH_RECORDS_DEFAULT)
    }

    /// What becomes of packed records where nobody chose.
    pub fn aggregates_default(self) -> Aggregates {
        if self == Self::Lambda { Aggregates::Whole } else { Aggregates::Apart }
    }

    /// The most requests to one target at once, where nobody chose a number. Rabble Rouser's stream
    /// client answers 503 to the second, and Lambda's runtime interface emulator 400.
    pub fn in_flight_default(self) -> usize {
        match self {
            Self::Record | Self::Lambda => 1,
            Self::Event | Self::CloudEvents | Self::Batch => IN_FLIGHT_DEFAULT,
        }
    }

    /// How long one request may take, where nobody chose.
    pub fn timeout_default(self) -> Duration {
        match self {
            Self::Lambda => INVOCATION_TIMEOUT_DEFAULT,
            Self::Record | Self::Event | Self::CloudEvents | Self::Batch => TIMEOUT_DEFAULT,
        }
    }

    /// Bytes that a record takes in a request's body.
    pub fn bytes_of(self) -> fn(&Delivered) -> usize {
        match self {
            Self::Record => |record| kinesis::len(&record.outgoing()),
            Self::Lambda => |record| Mapping::record_len_of(&record.outgoing(), ARNS_BYTES),
            Self::Event | Self::CloudEvents => |record| record.data.len(),
            Self::Batch => |record| batch::element_len(&record.outgoing()),
        }
    }

    /// Why a record cannot go out in this form; `None` if it can. To be asked of every record once,
    /// and kept with it: a request is made without looking again.
    pub fn misfit(self, record: &Delivered) -> Option<Misfit> {
        let record = record.outgoing();
        let fits = match self {
            Self::Record => kinesis::fits(&record),
            Self::Lambda => Ok(()),
            Self::Event => event::fits(&record),
            Self::CloudEvents => cloudevents::binary(&record, "").map(drop),
            Self::Batch => batch::fits(&record),
        };
        fits.err()
    }
}

impl Delivered {
    pub(crate) fn outgoing(&self) -> Outgoing<'_> {
        Outgoing {
            shard: &self.shard,
            sequence_number: &self.place.sequence_number,
            sub_sequence_number: self.place.sub_sequence_number,
            partition_key: self.partition_key.as_deref(),
            data: &self.data,
            arrived: self.arrived,
        }
    }
}

#[cfg(test)]
mod tests;
