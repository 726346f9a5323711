//! What every HTTP server of ours shares: how it listens, its bounds (`limits`, `place`), how bytes
//! reach it (`stream`), how a connection ends (`ending`), and the probes it answers.
//!
//! Nothing here knows what else a server serves: that is the room's that owns it.

pub(crate) mod ending;
pub(crate) mod limits;
pub(crate) mod listen;
pub(crate) mod place;
pub(crate) mod probes;
pub(crate) mod stream;
