//! Checks a configuration against the limits that this host set for the process. Pure: [`Machine`]
//! has read them.
//!
//! This is for `run`, and for `check`, which says what `run` would do: a command that only asks
//! needs none of it.

use dispatchd_core::limits::{
    ADDRESS_SPACE_OWN_BYTES, ADMIN_CONNECTIONS_MAX, FILES_OWN, LOOPBACK_LEAVING_MAX,
    PAGES_CONNECTIONS_MAX,
};

use super::problem::{Problem, Problems, problem};
use super::rule::show_size;
use super::setting::of;
use super::{Config, Inputs, Machine, Resolved, memory_sum, resolve, targets};

/// Resolves the configuration as [`resolve`] does, for a process that serves on this host.
///
/// # Errors
/// Those of [`resolve`], or every limit of the host's that is too low.
pub(crate) fn resolve_to_serve(inputs: &Inputs) -> Result<Resolved, Problems> {
    let resolved = resolve(inputs)?;
    if inputs.forward {
        // It opens a few files for each target, and holds a window's bytes.
        return match resolved.targets.is_empty() {
            true => Err(Problems::Values(vec![targets::lacking()])),
            false => Ok(resolved),
        };
    }
    let problems: Vec<_> =
        [open_files(&resolved, &inputs.machine), address_space(&resolved, &inputs.machine)]
            .into_iter()
            .flatten()
            .collect();
    if problems.is_empty() { Ok(resolved) } else { Err(Problems::Values(problems)) }
}

/// The number of descriptors that a daemon with this configuration may come to have.
pub(crate) fn files_needed(config: &Config) -> usize {
    config.socket.max_connections + loopback_connections_max(config) + files_kept_back(config)
}

/// Connections to the inputs on loopback that are switched on.
fn loopback_connections_max(config: &Config) -> usize {
    config.loopback_connections().map(|max| max + LOOPBACK_LEAVING_MAX).sum()
}

/// The number of descriptors that no caller's connection may take, so that Kinesis is reached and
/// probes are answered whoever is connected.
pub(crate) fn files_kept_back(config: &Config) -> usize {
    FILES_OWN + config.batch.max_in_flight + PAGES_CONNECTIONS_MAX + ADMIN_CONNECTIONS_MAX
}

fn open_files(resolved: &Resolved, machine: &Machine) -> Option<Problem> {
    let config = &resolved.config;
    let kept = files_kept_back(config) + loopback_connections_max(config);
    let limit = machine.open_files?;
    let room = limit.saturating_sub(kept);
    let reason = format!(
        "the process may open {limit} files (ulimit -Hn, LimitNOFILE), and {kept} of them are \
         kept for Kinesis, probes, inputs on loopback and its own"
    );
    let expected = match room {
        0 => format!("a higher limit of open files: {reason}"),
        _ => format!("at most {room}, or a higher limit of open files: {reason}"),
    };
    (files_needed(config) > limit)
        .then(|| problem(of(&resolved.values, "socket.max_connections"), expected))
}

fn address_space(resolved: &Resolved, machine: &Machine) -> Option<Problem> {
    let limit = machine.address_space?;
    let sum = memory_sum(&resolved.config);
    let needed =
        ADDRESS_SPACE_OWN_BYTES + sum.events_bytes + sum.requests_bytes + sum.long_lines_bytes;
    // Long lines take a share of the budget.
    let parts = [
        (sum.events_bytes + sum.long_lines_bytes, "memory.budget"),
        (sum.requests_bytes, "batch.max_bytes"),
    ];
    let (_, key) = parts.into_iter().max_by_key(|(bytes, _)| *bytes).expect("there are two");
    let expected = format!(
        "less, or a higher limit: the process may use {} of address space (ulimit -v, LimitAS), \
         and {} are needed for events, requests, long lines and the program",
        show_size(limit),
        show_size(needed)
    );
    (needed > limit).then(|| problem(of(&resolved.values, key), expected))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dispatchd_core::limits::MIB;

    fn resolved(set: &[(&str, &str)], machine: Machine) -> Result<Resolved, String> {
        let inputs = Inputs { machine, ..Inputs::set(set) };
        resolve_to_serve(&inputs).map_err(|problems| problems.to_string())
    }

    #[test]
    fn more_connections_than_the_limit_of_open_files_leaves_room_for_are_refused() {
        let files = |open_files| Machine { open_files: Some(open_files), ..Machine::default() };
        let config =
            resolved(&[], files(1024)).expect("the defaults hold where nobody set a limit").config;
        let needed = files_needed(&config);
        assert!(resolved(&[], files(needed)).is_ok());
        let refused = resolved(&[], files(needed - 1)).expect_err("one is missing");
        let says = format!(
            "socket.max_connections = \"512\" (from default): expected at most 511, or a higher \
             limit of open files: the process may open {} files",
            needed - 1
        );
        assert!(refused.starts_with(&says), "{refused}");
        assert!(resolved(&[("socket.max_connections", "511")], files(needed - 1)).is_ok());
        let http = ("http.listen", "127.0.0.1:4580");
        let refused = resolved(&[http], files(1024)).expect_err("both take 512");
        assert!(refused.contains("expected at most 360, or a higher"), "{refused}");
        assert!(resolved(&[http, ("socket.max_connections", "360")], files(1024)).is_ok());
        assert!(resolved(&[http, ("http.max_connections", "360")], files(1024)).is_ok());
        assert!(
            resolved(&[("batch.max_in_flight", "17")], files(needed)).is_err(),
            "each request has a connection"
        );
        assert!(
            resolved(&[], files(20))
                .expect_err("there is no room at all")
                .contains("expected a higher limit")
        );
    }

    #[test]
    fn a_budget_or_requests_over_the_limit_of_address_space_are_refused() {
        let space = |bytes| Machine { address_space: Some(bytes), ..Machine::default() };
        assert!(resolved(&[], space(1024 * MIB)).is_ok());
        let budget =
            resolved(&[("memory.budget", "1GiB")], space(1024 * MIB)).expect_err("it would abort");
        assert!(
            budget.starts_with("memory.budget = \"1GiB\" (from --set): expected less"),
            "{budget}"
        );
        let large = [("batch.max_bytes", "10MiB"), ("batch.max_in_flight", "100")];
        let requests = resolved(&large, space(1024 * MIB)).expect_err("it would abort");
        assert!(
            requests.starts_with("batch.max_bytes = \"10MiB\" (from --set): expected less"),
            "{requests}"
        );
    }
}
