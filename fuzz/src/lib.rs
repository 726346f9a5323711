//! What the targets share: dispatchd's pure floor (and the one pure reader above it), and a reader
//! of JSON that is not the one under test.
//!
//! The floor's source files are compiled in by their path rather than through the crate
//! `dispatchd`. That crate pulls the AWS SDK and its TLS stack: minutes to build, instrumented, for
//! code that no target reaches. The floor imports nothing above itself (`tests/it/floors.rs` sees to
//! that), so its files stand alone, and the bytes fuzzed are the bytes shipped. If this stops
//! compiling, the floor has lost its purity.

#[path = "../../src/kinesis/aggregate.rs"]
pub mod aggregate;
#[path = "../../src/event/mod.rs"]
pub mod event;
pub mod json;
#[path = "../../src/limits.rs"]
pub mod limits;
#[path = "../../src/protocol/mod.rs"]
pub mod protocol;
