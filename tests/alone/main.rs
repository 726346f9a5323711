//! What has to be alone in its process: here are the tests that look at the process's own memory,
//! with the daemon's allocator.
//!
//! One test at a time would be enough for that, so there is one; a second belongs here only if it
//! can bear the first beside it.

mod ids;
