//! Our own surfaces, spoken as a client: the socket for events (`socket`) and the admin socket
//! (`admin`), for the commands that talk to a running daemon.
//!
//! Nothing here prints, and nothing here knows how a daemon works inside.

pub(crate) mod admin;
pub(crate) mod socket;
