//! Keeps puts and reads of the emulator apart.

use std::sync::Arc;

use tokio::sync::RwLock;

/// A lock that a put holds alone and reads share, while the emulator works and never while a client
/// sends or receives.
///
/// The emulator gives a record its number and stores it in two steps. Between the two, a later
/// record can be stored and read, and its reader then goes on from there and never sees the first.
/// Puts one after the other, and none during a read, close that gap.
pub(super) type Turns = Arc<RwLock<()>>;
