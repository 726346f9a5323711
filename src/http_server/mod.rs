//! What every HTTP server of ours shares: how it listens, its bounds, and the probes it answers.
//!
//! Nothing here knows what else a server serves: that is the room's that owns it.

pub(crate) mod limits;
pub(crate) mod listen;
pub(crate) mod probes;
