//! The configuration, twice: as typed (text with an origin) and as used (`Config`). Nothing here
//! reads the host but `Machine::read` and `env_vars`; `resolve` opens the one file that it is
//! given, and is pure otherwise.
//!
//! - One table, `keys.rs`, says for each key its name, its default, what it takes and what it
//!   means. Nothing else knows a range.
//! - Layers, each over the one before: defaults < what the command presets < file < environment <
//!   flags (`file.rs`).
//! - Settings that are then still `auto` or empty are filled in from `Machine`, where it knows
//!   better.
//! - The SDK's own variables (`AWS_…`) are checked here first, and it sees only those that are not
//!   blank (`environment.rs`).
//! - Only the step from text to values can fail, and it reports every problem at once (`check.rs`).
//!   Values that pass need no second look; each finds the field of its key's name in the settings
//!   of its section (`used.rs`, `settings.rs`).
//! - The targets of `forward` are a list of tables, with a table of keys of their own
//!   (`targets.rs`).
//! - `check` prints the very `Resolved` that `run` is built from.

mod check;
mod connection;
mod environment;
mod file;
mod host;
mod inputs;
mod keys;
mod machine;
mod memory;
mod problem;
mod reload;
mod rule;
mod setting;
mod settings;
mod targets;
#[cfg(test)]
mod tests;
mod used;

pub(crate) use file::{env_vars, kcl_presets, read_again};
pub(crate) use host::{files_kept_back, files_needed, resolve_to_serve};
pub(crate) use inputs::{Flag, Inputs};
pub(crate) use keys::ReloadedBy;
pub use keys::{KEYS, Key};
pub(crate) use machine::Machine;
pub(crate) use memory::{Carried, MemorySum, forward_memory, memory_sum, memory_sum_for};
pub(crate) use problem::Problems;
pub(crate) use reload::{Changes, after as after_reload, changes};
pub(crate) use rule::{duration, show_size};
pub(crate) use setting::{Origin, Resolved, Setting};
pub(crate) use settings::Config;
#[cfg(test)]
pub(crate) use targets::TARGET_KEYS;

/// Lays the layers over each other and checks the result.
///
/// # Errors
/// Every problem at once. A file that cannot be read is reported alone, since the rest would be
/// guesses.
pub(crate) fn resolve(inputs: &Inputs) -> Result<Resolved, Problems> {
    check::check(file::layers(inputs)?, inputs)
}
