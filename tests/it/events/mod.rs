//! What becomes of events.

mod aggregation;
mod blocked;
mod dedupe;
mod delivery;
mod large;
mod pacing;
mod parity;
mod poison;
mod reshard;
mod timeouts;
