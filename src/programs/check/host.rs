//! What this machine says, without the network: whether socket and admin have their places, the
//! memory, the time to stop.

use std::time::Duration;

use super::finding::Finding;
use crate::admin::{self, PagesListener};
use crate::config::{Config, MemorySum, memory_sum};
use crate::inputs::socket;
use crate::inputs::socket::barred::{Barred, barred};
use crate::inputs::socket::{BindError, SocketSurvey, survey};
use crate::schema::{self, Loaded};
use crate::targets::memory::MemorySum as ForwardMemory;
use dispatchd_core::limits::MIB;

/// The `terminationGracePeriodSeconds` of a pod that does not set it.
const GRACE_DEFAULT: Duration = Duration::from_secs(30);

/// Checks the socket's path and who may connect to it, and says whether a daemon runs there
/// already.
pub(super) async fn socket(socket: &socket::Settings) -> (Finding, bool) {
    const NAME: &str = "socket";
    let path = socket.path.display();
    let found = match survey(&socket.path).await {
        Ok(found) => found,
        Err(error) => return (refused(NAME, error, "--socket"), false),
    };
    let (uid, gid, who) = (found.uid, found.gid, who_connects(&found, socket.mode));
    let what = format!("{path}, mode {:04o}, uid {uid}, gid {gid}: {who}", socket.mode);
    match found.served_by {
        None => (unserved(NAME, what, &found, socket.mode), false),
        Some(peer) if peer.is_dispatchd() => {
            let what = format!("{what}; {peer} serves it now");
            (Finding::warn(NAME, what, "stop that one before you start a second one here"), true)
        }
        Some(peer) => {
            (refused(NAME, BindError::InUse { path: socket.path.clone(), peer }, "--socket"), false)
        }
    }
}

/// The finding for a path that nobody serves: callers whom its mode lets in must get through its
/// directory.
fn unserved(name: &'static str, what: String, found: &SocketSurvey, mode: u32) -> Finding {
    match barred(mode, found.gid, found.directory_mode, found.directory_gid) {
        None => Finding::ok(name, what),
        Some(Barred { who, wanted }) => {
            let fix = format!(
                "let {who} pass through its directory (chmod {wanted}), or choose another path \
                 with --socket"
            );
            Finding::warn(name, what, fix)
        }
    }
}

/// Checks where metrics and probes are served, and where an operator asks. A daemon that runs has
/// both places taken.
pub(super) async fn admin(admin: &admin::Settings, is_running: bool) -> Finding {
    const NAME: &str = "admin";
    let mut free = Vec::new();
    match admin.listen.map(|address| (address, PagesListener::try_address(address))) {
        None => {}
        Some((address, Ok(()))) => free.push(format!("metrics and probes at {address}")),
        Some((address, Err(_))) if is_running => {
            free.push(format!("metrics and probes at {address}, in use now"))
        }
        Some((_, Err(error))) => {
            return Finding::fail(
                NAME,
                error.to_string(),
                "choose another address with --admin-listen, or \"off\"",
            );
        }
    }
    if let Some(path) = &admin.socket {
        match survey(path).await {
            Ok(found) => match found.served_by {
                Some(peer) if !peer.is_dispatchd() => {
                    return refused(
                        NAME,
                        BindError::InUse { path: path.clone(), peer },
                        "--admin-socket",
                    );
                }
                _ => free.push(path.display().to_string()),
            },
            Err(error) => return refused(NAME, error, "--admin-socket"),
        }
    }
    Finding::ok(NAME, if free.is_empty() { "off".to_owned() } else { free.join("; ") })
}

/// Checks where a forwarder's metrics and probes are served, and where an operator asks it. A
/// forwarder listens nowhere else: one that runs serves its admin socket.
pub(super) async fn forwarder_admin(of: &admin::Settings) -> Finding {
    let is_running = match &of.socket {
        Some(path) => {
            let found = survey(path).await;
            found.is_ok_and(|found| found.served_by.is_some_and(|peer| peer.is_dispatchd()))
        }
        None => false,
    };
    admin(of, is_running).await
}

fn refused(name: &'static str, error: BindError, flag: &str) -> Finding {
    match error {
        BindError::Io { what, path, source } => {
            let uid = rustix::process::geteuid().as_raw();
            let fix = format!("make it writable to user {uid}, or choose another path with {flag}");
            Finding::fail(name, format!("cannot {what} {}: {source}", path.display()), fix)
        }
        // The other errors say what to do.
        error => Finding::fail(name, error.to_string(), format!("choose another path with {flag}")),
    }
}

/// Says who may connect: to connect one must write to the socket and pass through its directory.
fn who_connects(found: &SocketSurvey, mode: u32) -> String {
    let SocketSurvey { uid, gid, directory_mode, directory_gid, .. } = *found;
    let everybody_passes = directory_mode & 0o001 != 0;
    let group_passes = everybody_passes || (directory_gid == gid && directory_mode & 0o010 != 0);
    if mode & 0o002 != 0 && everybody_passes {
        "every user may connect".to_owned()
    } else if mode & 0o020 != 0 && group_passes {
        format!("user {uid} and group {gid} may connect")
    } else if mode & 0o020 != 0 {
        format!(
            "user {uid} may connect; its directory, mode {directory_mode:04o}, keeps group {gid} \
             out"
        )
    } else {
        format!("user {uid} may connect")
    }
}

/// Checks the folder of schemas; `None` where no event is checked. Where it is wrong, `run` does
/// not start.
pub(super) fn schemas(settings: &schema::Settings) -> Option<Finding> {
    const NAME: &str = "schemas";
    if !settings.is_on() {
        return None;
    }
    Some(match Loaded::read(settings) {
        Ok(loaded) => Finding::ok(NAME, format!("{} types", loaded.types())),
        Err(error) => Finding::fail(
            NAME,
            format!("schema.dir: {error}"),
            "mend the folder: `dispatchd schema check` says more, where samples are at hand",
        ),
    })
}

/// The most memory that the configuration takes, with the schemas of its folder as they are now.
pub(crate) fn memory_sum_here(config: &Config) -> MemorySum {
    let loaded = Loaded::read(&config.schema).unwrap_or_default(); // `schemas` tells what is wrong
    memory_sum(config).with_schemas(loaded.bytes())
}

/// Holds what the configuration can take against what the cgroup gives.
pub(super) fn memory(config: &Config, limit_bytes: Option<usize>) -> Finding {
    const NAME: &str = "memory";
    let sum = memory_sum_here(config);
    let (budget, total) = (config.memory.budget_bytes, sum.total_bytes());
    let Some(limit) = limit_bytes else {
        return Finding::ok(
            NAME,
            format!("at most {}, budget {}; no cgroup limit", mib(total), mib(budget)),
        );
    };
    let what =
        format!("at most {}, budget {}, cgroup limit {}", mib(total), mib(budget), mib(limit));
    if total <= limit {
        return Finding::ok(NAME, what);
    }
    let connections = match config.loopback_connections().count() {
        0 => "socket.max_connections",
        _ => "max_connections of socket, http or kinesis_api",
    };
    let largest = [
        (sum.events_bytes + sum.long_lines_bytes, "memory.budget"),
        (sum.connections_bytes, connections),
        (sum.requests_bytes, "batch.max_in_flight or batch.max_bytes"),
        (sum.dedupe_bytes, "delivery.dedupe_ids"),
        (sum.schemas_bytes, "the number of schemas in schema.dir"),
    ];
    let (part, key) = largest.into_iter().max_by_key(|(bytes, _)| *bytes).expect("there are five");
    let fix = format!(
        "the worst case is {} over the limit, and the program itself comes on top: lower {key}, \
         whose part is {}, or raise the container's memory limit",
        mib(total - limit),
        mib(part)
    );
    Finding::warn(NAME, what, fix)
}

/// Holds the most memory that a forwarder takes against the cgroup's limit.
pub(super) fn forward_memory(sum: &ForwardMemory, limit_bytes: Option<usize>) -> Finding {
    const NAME: &str = "memory";
    let Some(limit) = limit_bytes else {
        return Finding::ok(NAME, format!("at most {sum}; no cgroup limit"));
    };
    let what = format!("at most {sum}; cgroup limit {}", mib(limit));
    let total = sum.total_bytes();
    if total <= limit {
        return Finding::ok(NAME, what);
    }
    let fix = format!(
        "the worst case is {} over the limit, and the program itself comes on top, as do those of \
         exec: have fewer targets in one forwarder, lower their batch_bytes or max_in_flight, or \
         raise the container's memory limit",
        mib(total - limit)
    );
    Finding::warn(NAME, what, fix)
}

fn mib(bytes: usize) -> String {
    format!("{:.1} MiB", bytes as f64 / MIB as f64)
}

/// Holds the time to stop against what it must hold and what a pod is given.
pub(super) fn shutdown(config: &Config) -> Finding {
    const NAME: &str = "shutdown";
    let (timeout, attempt) = (config.shutdown.timeout, config.kinesis.attempt_timeout);
    let what = format!("shutdown.timeout {timeout:?}");
    if timeout >= GRACE_DEFAULT {
        let fix = format!(
            "a pod has {GRACE_DEFAULT:?} unless it says more: set terminationGracePeriodSeconds \
             above {}, or lower shutdown.timeout",
            timeout.as_secs()
        );
        return Finding::warn(NAME, what, fix);
    }
    if timeout <= attempt {
        let what = format!("{what}, not more than kinesis.attempt_timeout {attempt:?}");
        return Finding::warn(
            NAME,
            what,
            "raise shutdown.timeout, or a request that hangs takes all of it",
        );
    }
    Finding::ok(
        NAME,
        format!("{what}: less than the {GRACE_DEFAULT:?} that a pod has unless it says otherwise"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Inputs, resolve};
    use crate::programs::check::Level;

    fn config(set: &[(&str, &str)]) -> Config {
        resolve(&Inputs::set(set)).expect("it holds").config
    }

    #[test]
    fn a_worst_case_over_the_cgroup_limit_is_told_with_its_number_and_its_largest_part() {
        let config = config(&[("memory.budget", "64MiB")]);
        let over = memory(&config, Some(128 * MIB));
        assert_eq!(over.level, Level::Warn);
        assert_eq!(over.what, "at most 734.2 MiB, budget 64.0 MiB, cgroup limit 128.0 MiB");
        let fix = over.fix.expect("a fix");
        assert!(fix.starts_with("the worst case is 606.2 MiB over the limit"), "{fix}");
        assert!(fix.contains("lower socket.max_connections, whose part is 576.0 MiB"), "{fix}");
        assert_eq!(memory(&config, Some(1024 * MIB)).level, Level::Ok);
        assert_eq!(memory(&config, None).level, Level::Ok);
    }

    #[test]
    fn a_stop_that_outlives_the_grace_period_or_a_single_request_is_told() {
        assert_eq!(shutdown(&config(&[])).level, Level::Ok);
        let long = shutdown(&config(&[("shutdown.timeout", "2m")]));
        assert_eq!(long.level, Level::Warn);
        assert!(long.fix.expect("a fix").contains("terminationGracePeriodSeconds above 120"));
        let short = shutdown(&config(&[("shutdown.timeout", "5s")]));
        assert_eq!(short.level, Level::Warn);
        assert!(short.what.contains("not more than kinesis.attempt_timeout 10s"), "{}", short.what);
    }

    #[test]
    fn who_may_connect_depends_on_the_socket_and_its_directory() {
        let found = |directory_mode, directory_gid| SocketSurvey {
            uid: 1,
            gid: 2,
            directory_mode,
            directory_gid,
            served_by: None,
        };
        for (directory_mode, directory_gid, mode, who) in [
            (0o755, 0, 0o666, "every user may connect"),
            (0o755, 0, 0o660, "user 1 and group 2 may connect"),
            (0o750, 2, 0o660, "user 1 and group 2 may connect"),
            (0o750, 3, 0o660, "user 1 may connect; its directory, mode 0750, keeps group 2 out"),
            (0o700, 2, 0o666, "user 1 may connect; its directory, mode 0700, keeps group 2 out"),
            (0o777, 0, 0o600, "user 1 may connect"),
        ] {
            assert_eq!(who_connects(&found(directory_mode, directory_gid), mode), who);
        }
    }
}
