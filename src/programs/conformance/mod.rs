//! Proves a client: a scripted daemon listens on a socket of its own, a driver is told what to do
//! with the client, and what both say is held against a transcript.
//!
//! # What holds
//! - A case is a page that a person can read (`clients/conformance`), and nothing is judged that it
//!   does not say, but for what holds for every line that any client writes (`ledger`).
//! - Every wait has a deadline with a name. A failure has the case's promise, the line of the page,
//!   what was expected, what came instead, and all that was said until then.
//! - A right client never fails for the machine's sake: deadlines are long, and where the page says
//!   that *nothing* comes, a wait that is too short can only miss a fault.
//!
//! | room | holds |
//! |---|---|
//! | `prove` | which cases are played, and how each went |
//! | `play` | does the steps of one, one after the other, and judges |
//! | `ledger` | what is known of every event: its line, its id, its last answer |
//! | `daemon`, `driver` | the two ends: bytes and processes, no judgement |
//! | `happening`, `failure` | what the ends tell, and what is told of a client |
//! | `cases` | the pages |
//! | `transcript` | a page as steps |
//! | `pattern` | JSON with names in it |
//!
//! It never speaks to a real daemon and never prints: that is `cli`.

mod cases;
mod daemon;
mod driver;
mod failure;
mod happening;
mod ledger;
mod pattern;
mod play;
mod prove;
mod transcript;

pub(crate) use self::cases::{Case, all};
pub(crate) use self::driver::Introduction;
pub(crate) use self::failure::Failure;
pub(crate) use self::play::CaseResult;
pub(crate) use self::prove::{Report, introduce, prove};
