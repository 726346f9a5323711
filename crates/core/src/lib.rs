//! The floor under both engines: the words that everything else is said in, and the formats that
//! turn bytes into words and back.
//!
//! `model` is the vocabulary, `wire` the formats, `limits` every bound that more than one room
//! needs. Nothing here has a file, a socket, a clock, a task or chance of its own: they are
//! arguments.

pub mod choice;
pub mod json;
pub mod limits;
pub mod model;
pub mod wire;

// For what `choice!` makes.
#[doc(hidden)]
pub use serde;
