//! dispatchd: a local socket in, Kinesis Data Streams out, an ack back once the event is durable.
//!
//! # Words
//! *event* what an app wrote · *record* the sealed bytes with key and hash · *ticket* the duty to
//! answer the caller · *item* record + ticket · *lane* an owner of keys · *shard queue* a shard's
//! ready keys inside a lane · *key queue* a key's items · *batch* what goes into one PutRecords ·
//! *flight* a batch being sent · *verdict* Kinesis' word on one record · *outcome* our word to the
//! caller: durable, refused, or refused as unconfirmed (send it again) · *identity* whose requests
//! they are: credentials, kept and renewed. "Shard", "partition key" and "record" are used in
//! Kinesis' sense only.
//!
//! # Floors
//! A file imports from its own floor or a lower one; `tests/it/floors.rs` draws the line.
//!
//! | floor | modules | |
//! |---|---|---|
//! | 4 | `cli` | arguments and printing, one file a command |
//! | 3 | `programs` | whole programs: built from the configuration, own their tasks, drain |
//! | 2 | `admin` `config` `consume` `embedded_stream` `kinesis` `producer` `socket` `telemetry` | where bytes enter and leave, the shells of the engines, and what the daemon is told and tells |
//! | 1 | `client` `heap` `http_server` `terminal` | what depends on nothing else here |
//! | 0 | the crates `dispatchd-producer`, `dispatchd-core` | what is decided, and the words it is decided in |
//!
//! # The trip of one event
//! | # | where | in → out | whose task |
//! |---|---|---|---|
//! | 1 | `protocol::lines` | bytes → one line, no copy | the connection's |
//! | 2 | `protocol::request` | line → request; `data` stays raw | " |
//! | 3 | `socket::reader`, `allowance` | reserves a slot for the answer, then bytes of the budget: the two waits of the whole trip | " |
//! | 4 | `event::envelope` | request + id + time → record: the one copy, the one MD5 | " |
//! | 5 | `lane::Inlet` | items, in groups → the inbox of the lane that owns the key | " |
//! | 6 | `lane::buffer` | push, `poll(now)` → a batch, or when to ask again | the lane's |
//! | 7 | `dispatchd_aws::put_records` | records → a verdict each, or an error for the request | a flight's, owned by the lane |
//! | 8 | `lane::apply_verdicts` | batch + reply → outcomes; the rest back to the front of its key | the lane's |
//! | 9 | `ack` | tickets + outcomes, in groups → the connection's outbox; cannot wait: the slots were reserved in 3 | " |
//! | 10 | `socket::writer` | answers → bytes, many a write | the connection's |
//!
//! Down once, back once: nothing is looked up on the way back, the ticket holds the way home. A
//! refusal turns round at 2–4 through the same outbox.
//!
//! # Promises
//! An ack means it is in Kinesis. Every event is answered exactly once. At least once: what was
//! lost on the way back is sent again. Per-key order, under every failure when strict. Memory is
//! bounded by a sum. Nobody pays for another's fault.

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
