//! Every bound that more than one file needs: what Kinesis takes, and what we take. Only constants:
//! nothing here reads the configuration. Service limits are those of the PutRecords page of the AWS
//! API reference, 2026-09.

use std::time::Duration;

pub const KIB: usize = 1024;
pub const MIB: usize = 1024 * KIB;
pub const GIB: usize = 1024 * MIB;

// === What Kinesis takes ===

/// Records in one PutRecords request.
pub const REQUEST_RECORDS_MAX: usize = 500;

/// Bytes of one PutRecords request: the data and the partition keys of all its records.
pub const REQUEST_BYTES_MAX: usize = 10 * MIB;

/// Bytes of one record, data and partition key, in a stream whose limit nobody raised.
pub const RECORD_BYTES_DEFAULT: usize = MIB;

/// Bytes of one record, data and partition key, at the highest limit a stream can have
/// (`MaxRecordSizeInKiB`).
pub const RECORD_BYTES_MAX: usize = 10 * MIB;

/// Records that one shard takes in a second.
pub const SHARD_RECORDS_PER_SECOND: f64 = 1000.0;

/// Bytes that one shard takes in a second, partition keys counted.
pub const SHARD_BYTES_PER_SECOND: f64 = MIB as f64;

/// Unicode code points of a partition key; the least is one.
pub const PARTITION_KEY_CHARS_MAX: usize = 256;

/// Characters of a stream's name, each of `[a-zA-Z0-9_.-]`; the least is one (CreateStream).
pub const STREAM_NAME_CHARS_MAX: usize = 128;

// === What we take ===

/// Records that are asked for in one GetRecords: five times what a shard takes in a second, and a
/// bound on the page that an emulator without AWS's own bound (10 MiB) makes of a large backlog.
pub const GET_RECORDS_MAX: usize = 1000;

/// The smallest record limit one may set: below it the envelope alone may not fit.
pub const RECORD_BYTES_MIN: usize = KIB;

/// Bytes that a line may have over the record limit: for what is on the line but not in the record.
pub const LINE_SLACK_BYTES: usize = 64 * KIB;

/// Bytes of a connection's line buffer. A longer line needs room, see [`long_lines_bytes`].
pub const LINE_BUFFER_BYTES: usize = 64 * KIB;

/// Bytes of the answers that a connection may have unwritten; at some 250 bytes each that is the
/// default window.
pub const ANSWERS_BYTES_MAX: usize = MIB;

/// Bytes that an answer takes in memory besides its key, its reference and an echo (measured by
/// size: 176, and 24 for a group of its own).
pub const ANSWER_BYTES: usize = 200;

/// Bytes that an event takes in memory besides its record: queue, ticket, places in queues
/// (measured by size).
pub const ITEM_BYTES: usize = 512;

/// How long a peer may take nothing of what is written to it before its connection is closed.
pub const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes that the dedupe window may take for each of `delivery.dedupe_ids` (measured: 89 to 98,
/// while a table grows too; see `tests/alone/ids.rs`).
pub const DEDUPE_BYTES_PER_ID: usize = 104;

/// How long a line may stay incomplete before its connection is closed: a caller that stalls must
/// not hold room for ever.
pub const PARTIAL_LINE_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of a `ref` string: it is held until the answer, beside the event.
pub const REF_BYTES_MAX: usize = 128;

/// Bytes of `producer_id`: it is repeated in every record.
pub const PRODUCER_ID_BYTES_MAX: usize = 256;

/// Bytes of a Unix socket's path: `sun_path` of Linux has 108, the last is NUL.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Bytes of events that are held at once when nobody says otherwise and the cgroup has twice as
/// much.
pub const BUDGET_BYTES_DEFAULT: usize = 64 * MIB;

/// The smallest budget one may set.
pub const BUDGET_BYTES_MIN: usize = 4 * MIB;

/// The greatest budget one may set: above it a typing error is likelier than a wish.
pub const BUDGET_BYTES_MAX: usize = 64 * GIB;

/// Descriptors that the process needs for itself: its log, event loops, listeners, locks, and those
/// that come and go with names, credentials and certificates. 25 measured at rest, 2026-11.
pub const FILES_OWN: usize = 48;

/// Connections at once to metrics and probes. Prometheus and the kubelet need a handful.
pub const PAGES_CONNECTIONS_MAX: usize = 64;

/// Connections at once to the admin socket: operators, not callers.
pub const ADMIN_CONNECTIONS_MAX: usize = 8;

/// Events of one HTTP request: their answers are held until all of them are there.
pub const REQUEST_EVENTS_MAX: usize = 4096;

/// Bytes of the largest body of a PutRecords call of the Kinesis API: what a request takes, in
/// base64, and the names, keys and hash keys of its records, however they are escaped.
pub const PUT_BODY_BYTES_MAX: usize = REQUEST_BYTES_MAX.div_ceil(3) * 4 + 2 * MIB;

/// Connections to an input on loopback TCP besides its `max_connections`: those that make room for
/// others and have not ended yet.
pub const LOOPBACK_LEAVING_MAX: usize = 16;

/// Bytes of address space besides what grows with traffic: the program, its threads' stacks, and
/// what the allocator sets aside. With 250 MB it aborted, with 400 MB it ran (measured 2026-11).
pub const ADDRESS_SPACE_OWN_BYTES: usize = 384 * MIB;

/// Bytes that a request's encoding has besides its records' data: field names, keys, headers,
/// generously.
pub const REQUEST_FRAME_BYTES: usize = 64 * KIB;

/// Bytes of the longest line in a stream with this record limit.
pub const fn line_bytes_max(record_bytes_max: usize) -> usize {
    record_bytes_max + LINE_SLACK_BYTES
}

/// Bytes of the lines longer than a line buffer that are being read at once, on all connections
/// together: as much as one connection may hold of the budget, which is the longest line that it
/// carries. Each takes the room of the longest line that is permitted, so that one that is begun
/// can always be ended. A caller that does not finish its own, or takes none of its answers, may
/// hold up other long lines, for [`PARTIAL_LINE_TIMEOUT`] or [`WRITE_STALL_TIMEOUT`], and nothing
/// else.
pub const fn long_lines_bytes(budget_bytes: usize) -> usize {
    budget_bytes / 2
}

/// The largest record that works with this budget, at most what a stream can take:
/// [`budget_bytes_min`], turned round.
pub const fn record_bytes_carried(budget_bytes: usize) -> usize {
    let carried = (budget_bytes / 2).saturating_sub(LINE_SLACK_BYTES);
    if carried < RECORD_BYTES_MAX { carried } else { RECORD_BYTES_MAX }
}

/// The smallest budget that works with this record limit: two of the longest lines, since one
/// connection can hold at most half of the budget.
pub const fn budget_bytes_min(record_bytes_max: usize) -> usize {
    2 * line_bytes_max(record_bytes_max)
}

// === How they relate ===

/// JSON may write one code point as two `\uXXXX` escapes.
const ESCAPED_CHAR_BYTES_MAX: usize = 12;

const _: () = {
    assert!(
        REQUEST_RECORDS_MAX * (PARTITION_KEY_CHARS_MAX * ESCAPED_CHAR_BYTES_MAX + 256) < 2 * MIB,
        "what a PutRecords call has besides its data fits"
    );
    assert!(
        PUT_BODY_BYTES_MAX < 2 * REQUEST_BYTES_MAX,
        "base64 and names take less than the data once more"
    );
    assert!(usize::BITS >= 64, "sizes are usize, and the greatest budget needs more than 32 bits");
    assert!(RECORD_BYTES_MIN <= RECORD_BYTES_DEFAULT && RECORD_BYTES_DEFAULT <= RECORD_BYTES_MAX);
    assert!(RECORD_BYTES_MAX <= REQUEST_BYTES_MAX, "the largest record fits a request");
    assert!(PRODUCER_ID_BYTES_MAX < RECORD_BYTES_MIN, "the id leaves room in the smallest record");
    assert!(
        (PARTITION_KEY_CHARS_MAX + REF_BYTES_MAX) * ESCAPED_CHAR_BYTES_MAX < LINE_SLACK_BYTES,
        "what the record lacks fits the slack, however it is escaped"
    );
    assert!(BUDGET_BYTES_MIN <= BUDGET_BYTES_DEFAULT && BUDGET_BYTES_DEFAULT <= BUDGET_BYTES_MAX);
    assert!(
        budget_bytes_min(RECORD_BYTES_DEFAULT) <= BUDGET_BYTES_MIN,
        "any budget works with the default record"
    );
    assert!(
        budget_bytes_min(RECORD_BYTES_MAX) <= BUDGET_BYTES_DEFAULT,
        "the default budget works with any record"
    );
    assert!(
        record_bytes_carried(budget_bytes_min(RECORD_BYTES_MAX)) == RECORD_BYTES_MAX,
        "the one is the other's inverse"
    );
    assert!(
        line_bytes_max(record_bytes_carried(BUDGET_BYTES_MIN))
            <= long_lines_bytes(BUDGET_BYTES_MIN),
        "there is room for one of the longest lines"
    );
    assert!(
        2 * long_lines_bytes(BUDGET_BYTES_MIN) <= BUDGET_BYTES_MIN,
        "lines that are being read take no more than one connection may hold"
    );
};
