//! Our own surfaces, spoken as a client: the socket for events (`socket`, and `http` on it)
//! and the admin socket (`admin`), for the commands that talk to a running daemon.
//!
//! Nothing here prints, and nothing here knows how a daemon works inside.

pub(crate) mod admin;
pub(crate) mod http;
pub(crate) mod socket;
