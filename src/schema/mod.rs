//! Schemas of events in the daemon: their folder is read and watched, and each event is checked on
//! the way in. What a schema means is `dispatchd_schema`'s.
//!
//! | file | subject |
//! |---|---|
//! | `files` | reads and writes a folder, within bounds |
//! | `settings` | what the configuration says of schemas |
//! | `loaded` | a folder's schemas as they were read, and whether it changed since |
//! | `gate` | asks them of each event, and counts and tells what does not fit |
//! | `watch` | the task that looks at the folder |

pub(crate) mod files;
mod gate;
mod loaded;
mod metrics;
mod settings;
mod watch;

pub(crate) use self::gate::Gate;
pub(crate) use self::loaded::{LoadError, Loaded};
pub(crate) use self::metrics::SchemaMetrics;
pub(crate) use self::settings::is_modes;
pub(crate) use self::settings::{Mode, Settings, Unchecked};
pub(crate) use self::watch::watch_folder;
