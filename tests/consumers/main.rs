//! The way out of the stream, whole: what reads, delivers and sends again, against real consumers
//! and real targets.
//!
//! A binary of its own: its consumers are other languages' programs. Where a toolchain is missing
//! its tests say so and pass; on CI they fail.

#![cfg(feature = "local")]

mod chaos;
mod check;
mod dead_letters;
mod emulators;
mod event_ruler;
mod exec;
mod forward;
mod functions;
mod memory;
mod pages;
mod replay;
mod scenario;
mod scene;
mod schemas;
mod script;
mod stream_client;

use testkit::daemon::Binary;

const DISPATCHD: Binary = Binary::at(env!("CARGO_BIN_EXE_dispatchd"));
