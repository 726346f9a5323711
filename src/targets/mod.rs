//! Where what is read goes: the targets, one room a kind, and the dead letters of what they do not
//! take. A target is given records and says what came of them; which and when is not decided here.
//!
//! `settings` is what the configuration says of targets, `board` what is shown of them, `metrics`
//! what they count.

pub(crate) mod board;
pub mod dead_letters;
pub(crate) mod exec;
pub mod http;
pub(crate) mod memory;
pub(crate) mod metrics;
pub mod settings;
