//! The engine of the way in: from an event that is accepted to the outcome that its caller is told.
//!
//! `intake` accepts or refuses, `lane` decides what is sent when, `ticket` is the way back.
//! `credit` and `budget` bound the answers and the bytes that may be held; `counters` says what
//! became of the events, `recent_errors` what failed of late. Nothing here opens a file or a
//! socket, starts a task, reads a clock or draws a number: time and chance are arguments. Of tokio
//! it uses `sync` alone, which is channels and semaphores and no runtime.

pub mod budget;
pub mod counters;
pub mod credit;
pub mod gathering;
pub mod intake;
pub mod lane;
pub mod recent_errors;
pub mod settings;
pub mod ticket;
