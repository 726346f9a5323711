//! Our own surfaces, spoken as a client: the admin socket, for the commands that ask a daemon.
//!
//! Nothing here prints, and nothing here knows how a daemon works inside.

pub(crate) mod admin;
