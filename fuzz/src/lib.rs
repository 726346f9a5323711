//! What the targets share: a reader of JSON that is not the one under test. The code under test is
//! the crate `dispatchd-core` as it is shipped; it needs no SDK, so an instrumented build is quick.

pub mod json;
