//! What becomes of events.

mod aggregation;
mod batches;
mod blocked;
mod dedupe;
mod delivery;
mod envelopes;
mod large;
mod pacing;
mod parity;
mod poison;
mod reshard;
mod schemas;
mod timeouts;
mod transactions;
