//! `replay`: sends again what was kept of a stream. The files are read once to find the events and
//! their times ([`index`]), and once more in the order of time ([`source`]); what is sent goes
//! through the lanes of a daemon, in this process ([`run`](mod@run)).
//!
//! - The bytes are those that were kept, so ids and times in them are too.
//! - Events of one key arrive in the order in which they were sent, whatever fails.
//! - What was confirmed stands in the state file ([`state`]), if there is one; the next run leaves
//!   it out. After a crash events of the last second may come twice, and none is left out.
//! - Nothing is sent before every file was read to its end. What gzip compressed is inflated then
//!   (`inflated`).

pub(crate) mod index;
mod inflated;
mod pace;
mod run;
pub(crate) mod selection;
mod source;
pub(crate) mod state;

pub(crate) use self::index::Index;
pub(crate) use self::run::{Early, Options, Outcome, Progress, run};
pub(crate) use self::selection::{Selection, WithoutKey};
pub(crate) use self::state::{State, To};
