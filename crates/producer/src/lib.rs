//! The engine of the way in: from an event that is accepted to the outcome that its caller is told.
//!
//! `lane` decides, `ack` is the way back, `budget` the bytes that may be held, `recent_errors` what
//! failed of late. Nothing here opens a file or a socket, starts a task, reads a clock or draws a
//! number: time and chance are arguments. Of tokio it uses `sync` alone, which is channels and
//! semaphores and no runtime.

pub mod ack;
pub mod budget;
pub mod lane;
pub mod recent_errors;
pub mod settings;
