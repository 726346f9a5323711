//! HTTP/1.1: requests with events, on the socket for events and, where it is switched on, on
//! loopback TCP.
//!
//! `connection` serves one connection, `routes` finds what a request asks for, `events` publishes,
//! `answer` makes responses; `server` is what a listener on loopback has its connections served by.
//! Nothing here decides what becomes of an event: that is the intake's and the lanes'.

mod answer;
mod connection;
mod events;
mod routes;
mod server;
mod settings;
mod shared;

pub(crate) use connection::serve;
pub(crate) use routes::Listener;
pub(crate) use server::HttpServer;
pub(crate) use settings::KEY;

pub use settings::{CloudEventsAs, Settings};
pub use shared::HttpShared;
