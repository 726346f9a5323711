//! The inputs: each moves a caller's bytes to the intake and the answers back, and decides
//! nothing.

pub mod backpressure;
pub mod socket;
