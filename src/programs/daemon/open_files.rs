//! The limit of open files of this process, raised to what the configuration needs.
//!
//! Whether the host allows that many is `config`'s to check.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::{Config, files_needed};

/// The limit of open files cannot be raised.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot raise the limit of open files to {needed}: raise it from outside (ulimit -n, \
     LimitNOFILE): {source}"
)]
pub(crate) struct OpenFilesError {
    needed: u64,
    source: io::Error,
}

/// Asks the system for as many descriptors as the configuration needs: what it gives unasked,
/// mostly 1024, is for programs that could not do with more.
///
/// # Errors
/// If the system refuses.
pub(crate) fn raise_open_files(config: &Config) -> Result<(), OpenFilesError> {
    let (needed, limit) = (files_needed(config) as u64, getrlimit(Resource::Nofile));
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), ..limit })
        .map_err(|error| OpenFilesError { needed, source: error.into() })
}
