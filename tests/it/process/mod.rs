//! The daemon as a process.

mod drain;
mod last_client;
mod lifecycle;
mod limits;
mod log;
mod memory;
mod reload;
