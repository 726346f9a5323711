//! HTTP: what a request is answered, what reaches the stream, and what a hostile caller costs.

mod client;
mod events;
mod hostile;
mod others;
mod page;
