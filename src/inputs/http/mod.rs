//! HTTP/1.1: requests with events, on the socket for events and, where it is switched on, on
//! loopback TCP.
//!
//! `connection` serves one connection, `routes` finds what a request asks for, `answer` makes
//! responses. Nothing here decides what becomes of an event: that is the intake's and the lanes'.

mod answer;
mod connection;
mod routes;
mod settings;
mod shared;

pub(crate) use connection::serve;
pub(crate) use routes::Door;
pub(crate) use shared::HttpServer;

pub use settings::Settings;
pub use shared::HttpShared;
