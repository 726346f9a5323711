//! dispatchd: a local socket in, Kinesis Data Streams out, an answer back once the event is durable.
//!
//! This page is the map: the words, the floors, the trip of one event, and what to touch for a
//! change. `docs/architecture.md` is the page to read first.
//!
//! # Words
//! Every word that is ours has one meaning. "Shard", "partition key", "sequence number", "iterator"
//! and "record" are used in Kinesis' sense only.
//!
//! | word | meaning |
//! |---|---|
//! | event | what an application wrote |
//! | record | one event's sealed bytes, with its partition key and the hash of that key |
//! | packed record | many records in one, in the KPL's format; *aggregation* chooses it |
//! | input | where events enter: the socket |
//! | intake | where a request of any input becomes an item |
//! | reference | what an answer is correlated by: an input's, opaque to everyone else |
//! | item | a record and its ticket |
//! | ticket | the duty to answer the caller of one event |
//! | credit | the right to one more unanswered event |
//! | budget | the bytes of events that may be held |
//! | lane | an owner of partition keys, with an *inbox* for what readers hand over |
//! | shard queue, key queue | a shard's ready keys inside a lane; a key's items |
//! | batch | what goes into one PutRecords, and nothing else |
//! | flight | a batch that is being sent |
//! | verdict | Kinesis' word on one record |
//! | outcome | our word to the caller: *durable* (with its position), *refused*, or *unconfirmed* (the event may or may not be stored) |
//! | code | the name of a refusal; it says whether sending the event again can help |
//! | position | where a durable event is: shard and sequence number |
//! | fingerprint | what a caller said of an event whose id it chose, in 64 bits |
//! | shard map | which hash range belongs to which shard |
//! | cooling | a key or shard that is not sent to until a time after a failure |
//! | pacing | how fast a shard is sent to that was throttled |
//! | back-off | the curve of the waits after failures |
//! | blocked | the state of a stream that takes nothing until an operator acts |
//! | outage | a time in which requests stored nothing |
//! | drain | the time from the signal to stop until the last answer |
//! | page | what one GetRecords brought |
//! | check | what is looked at before a start |
//!
//! # Floors
//! A file imports from its own floor or a lower one, and no two files import each other, directly
//! or by way of others; `tests/it/floors.rs` keeps it so.
//!
//! | floor | modules | hold |
//! |---|---|---|
//! | 4 | `cli` | arguments and printing, one file a command |
//! | 3 | `programs` | whole programs: built from the configuration, they own their tasks and drain |
//! | 2 | `admin` `config` `consumer` `embedded_stream` `inputs` `producer` `telemetry` | where bytes enter and leave, the tasks around the engines, and what the daemon is told and tells |
//! | 1 | `client` `heap` `http_server` `terminal` | what needs nothing else here |
//! | 0 | the crates `dispatchd-producer`, `-consumer`, `-aws` and, below all, `-core` | what is decided, the calls to AWS, and the words for both |
//!
//! # The trip of one event
//! | # | where | in → out | whose task |
//! |---|---|---|---|
//! | 1 | `core::wire::ndjson::lines` | bytes → one line, no copy | the connection's |
//! | 2 | `core::wire::ndjson::request` | a line → a request, once; `data` stays raw JSON | " |
//! | 3 | `producer::intake::offer` | a request, an id, the time → accepted, refused, or what it needs (a credit or bytes: the two waits of the trip) | " |
//! | 4 | `core::model::envelope` | a request, an id, the time → a record: the one copy, the one MD5 | " |
//! | 5 | `producer::lane::inbox` | items, in groups → the inbox of the lane that owns the key | " |
//! | 6 | `producer::lane::turn`, `buffer` | an id that is known → its outcome; else a batch to send, or when to look again | the lane's |
//! | 7 | `aws::put_records` | records → one verdict each, or an error for the whole request | a flight's, owned by the lane |
//! | 8 | `producer::lane::apply_verdicts` | a batch and its verdicts → outcomes; the rest goes back to the front of its key | the lane's |
//! | 9 | `producer::ticket` | tickets and outcomes, in groups → the connection's outbox; it cannot wait, since the credits were taken in 3 | " |
//! | 10 | `inputs::socket::writer`, `core::wire::ndjson::reply` | answers → bytes, many a write | the connection's |
//!
//! Down once, back once. The ticket holds the way back, so nobody searches for a caller; a shard
//! queue is found by the shard map, and an id that its caller chose is written down as settled. A
//! refusal turns round at 2 to 4 and takes the same way back.
//!
//! # To add …
//! | to add | touch | what fails if it is forgotten |
//! |---|---|---|
//! | a configuration key | its row in `config::keys`; a field of the same name in its section's `Settings`; `config.toml`; `docs/configuration.md` | every test that resolves a configuration (row or field), `the_shipped_file_holds_every_key_at_its_default`, `the_documentation_holds_every_row_of_the_table`; a value outside of its range in `config::tests` |
//! | a choice for such a key | its name in the room's own `choice!`, and what it does | the compiler, wherever the choice is matched; `a_choice_is_one_of_its_words_and_every_word_of_it_is_taken` |
//! | a refusal code | its row in `core::model::code`; `docs/protocol.md`; `docs/operations.md`, if it is the application's fault | the tests in `code` that read both pages |
//! | a metric | the metrics struct of its room; its row in `telemetry::table`; `docs/metrics.md`; dashboard or alert, if an operator acts by it | the tests in `telemetry::exporter`, which know every metric that a room registers, and the page |
//! | a field of `admin status` | the document in `core::wire::admin`; `admin::status`, which fills it; `cli::status`, which prints it | the compiler, for the fill; the tests that read a whole printed status, for the print |
//! | an error code of AWS's | its row in `aws::classify` | `the_table_of_codes_says_what_aws_says` in `tests/it/service/faults_seen.rs`, which has AWS's own list; until then the code is read by its HTTP status |
//! | an option of an event | `core::wire::ndjson::request` (name and reading); the field in `core::model::event`; the room that acts on it: `intake`, if it needs no memory of a key, else `lane`; `docs/protocol.md`; `fuzz/targets/request.rs` | `the_page_has_every_field_and_no_other`; the compiler, wherever an `Event` is made |
//! | a lane's rule | its room under `producer::lane`; in `producer/tests/sim` its model in `watch`, and a mutant in `mutant` that breaks it | nothing without the mutant: it is the test of the test |
//! | an input | its format in `core::wire`; its folder under `inputs`, which offers to the `intake` and prints what the tickets bring; its section in `config`; its line in `programs::daemon::build` | a room that is on no floor fails `tests/it/floors.rs` |
//! | a crate | its folder under `crates`; `default-members` in `Cargo.toml`; the table in `docs/architecture.md` | a test in `tests/it/floors.rs` that compares the folders with the list |
//!
//! # Promises
//! An ack means that the event is in Kinesis. Every event is answered exactly once. Delivery is at
//! least once: an event whose confirmation was lost is sent again. The order of a partition key
//! survives every failure under `strict`. Memory is bounded by a sum. No caller pays for another's
//! fault.

// What is printed goes through `cli::out`: these panic where standard output is closed or full.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod admin;
pub mod cli;
mod client;
pub mod config;
mod consumer;
#[cfg(feature = "local")]
pub mod embedded_stream;
pub mod heap;
mod http_server;
pub mod inputs;
pub mod producer;
pub mod programs;
mod telemetry;
mod terminal;
