//! The socket for events: where an application's bytes enter and our answers leave.
//!
//! `socket_file` makes the file and keeps it (`survey`: what is at its path; `lock`: for one
//! daemon), and `listener` lets connections in. Each connection is one task with two halves:
//! `reader` (bytes → requests → the intake) and `writer` (answers → bytes). A reader waits for room
//! for a long line (`long_lines`), then for what its intake is short of, an answer credit or bytes
//! of the budget, then for a lane's inbox, in this order; a writer waits for the peer alone. So a
//! slow or hostile peer costs nobody else anything, and nothing waits in a circle.

pub(crate) mod barred;
mod connection;
pub(crate) mod directory;
mod error;
pub mod listener;
mod lock;
mod patience;
mod peer;
mod reader;
mod settings;
mod shared;
mod socket_file;
mod survey;
mod writer;

pub use error::BindError;
pub use settings::Settings;
pub use socket_file::Reach;
pub(crate) use socket_file::{LOOK_EVERY, Look, SocketFile};
pub(crate) use survey::{SocketSurvey, survey};
