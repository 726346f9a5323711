//! HTTP's words around events: what a request's headers ask for (`head`), the events of its body
//! (`members`), what its answers call them (`names`), what it is answered (`results`, `problem`),
//! and whom a loopback port serves (`admit`). Bytes in, bytes out: no connection and no header map
//! is known here.

mod admit;
mod head;
mod members;
mod names;
mod problem;
mod results;

pub use admit::admit;
pub use head::{Format, format, wait_seconds};
pub use members::{Lines, events, members};
pub use names::Names;
pub use problem::Problem;
pub use results::Results;
