//! The probes `/livez`, `/startupz` and `/readyz`, for every server that answers them.
//!
//! No answer depends on Kinesis: a probe that does takes every pod down with a brown-out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use hyper::StatusCode;

/// The daemon's life cycle, as the probes and `dispatchd_state` show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Starting,
    Running,
    Draining,
}

impl State {
    pub(crate) const ALL: [State; 3] = [State::Starting, State::Running, State::Draining];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Running => "running",
            State::Draining => "draining",
        }
    }
}

/// The state that holds now: written by the daemon, read by the probes. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct SharedState(Arc<AtomicU8>);

impl Default for SharedState {
    fn default() -> Self {
        Self(Arc::new(AtomicU8::new(State::Starting as u8)))
    }
}

impl SharedState {
    pub(crate) fn set(&self, state: State) {
        self.0.store(state as u8, Ordering::Release);
    }

    pub(crate) fn get(&self) -> State {
        let now = self.0.load(Ordering::Acquire);
        State::ALL.into_iter().find(|state| *state as u8 == now).expect("only states are stored")
    }
}

/// The answer to a probe: its status and its body. `None`: no probe has this path.
///
/// `is_reachable`: whether callers who connect now come to this daemon.
pub(crate) fn answer(
    path: &str,
    state: State,
    is_reachable: bool,
) -> Option<(StatusCode, &'static str)> {
    const OK: (StatusCode, &str) = (StatusCode::OK, "ok\n");
    let not_yet = |why| (StatusCode::SERVICE_UNAVAILABLE, why);
    Some(match (path, state) {
        ("/livez", _) | ("/startupz", State::Running | State::Draining) => OK,
        ("/readyz", State::Running) if is_reachable => OK,
        ("/readyz", State::Running) => not_yet(
            "nobody can connect: the socket's path leads to this daemon no more, the log says \
             why\n",
        ),
        ("/readyz", State::Draining) => not_yet("draining\n"),
        ("/startupz" | "/readyz", State::Starting) => not_yet("starting\n"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_is_ready_while_it_runs_and_callers_can_reach_it_and_alive_at_any_time() {
        let status = |path, state, is_reachable| {
            answer(path, state, is_reachable).map(|(status, _)| status.as_u16())
        };
        for (state, startup, ready) in
            [(State::Starting, 503, 503), (State::Running, 200, 200), (State::Draining, 200, 503)]
        {
            assert_eq!(status("/livez", state, true), Some(200), "{state:?}");
            assert_eq!(status("/startupz", state, true), Some(startup), "{state:?}");
            assert_eq!(status("/readyz", state, true), Some(ready), "{state:?}");
            assert_eq!(status("/readyz", state, false), Some(503), "{state:?}");
        }
        assert_eq!(status("/", State::Running, true), None);
    }
}
