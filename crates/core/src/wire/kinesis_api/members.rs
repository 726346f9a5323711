//! The members of a PutRecord or PutRecords call as they were read, in either format: typed, and
//! not checked any further.

use std::borrow::Cow;

use bytes::Bytes;

use crate::limits::REQUEST_RECORDS_MAX;

/// The members of a call. What it lacks, or has as null, is `None`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Members<'a> {
    pub stream_name: Option<Cow<'a, str>>,
    pub stream_arn: Option<Cow<'a, str>>,
    pub has_stream_id: bool,
    pub dry_run: Option<bool>,
    /// PutRecord's own record.
    pub record: RecordMembers<'a>,
    pub records: Option<Records<'a>>,
}

/// The members of one record.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RecordMembers<'a> {
    /// The data as bytes: base64 is taken off where it is read.
    pub data: Option<Bytes>,
    pub partition_key: Option<Cow<'a, str>>,
    pub explicit_hash_key: Option<Cow<'a, str>>,
}

/// The records of a PutRecords call: the first ones, as many as a request may have. Those that are
/// too many are counted and not kept, since small ones take far more room than their bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Records<'a> {
    pub first: Vec<RecordMembers<'a>>,
    pub count: usize,
}

impl Records<'_> {
    /// Whether one more record is to be read, or only counted.
    pub(super) fn has_room(&self) -> bool {
        self.first.len() < REQUEST_RECORDS_MAX
    }
}
