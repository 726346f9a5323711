//! What is counted of children.

use metrics::{Counter, Gauge, counter, gauge};

use super::failure::Cause;

/// Handles for one target.
#[derive(Debug)]
pub(crate) struct ExecMetrics {
    /// Children that run.
    children: Gauge,
    /// In the order of [`Cause::ALL`].
    failed: [Counter; Cause::ALL.len()],
    /// Lines on standard output that were no messages.
    pub(super) lines_skipped: Counter,
}

impl ExecMetrics {
    /// Registers every series, at 0, with the recorder that is in force here.
    pub(crate) fn register(target: &str) -> Self {
        let target = target.to_owned();
        Self {
            children: gauge!("dispatchd_forward_children", "target" => target.clone()),
            failed: Cause::ALL.map(|cause| {
                counter!("dispatchd_forward_children_failed_total",
                    "target" => target.clone(), "cause" => cause.as_str())
            }),
            lines_skipped: counter!("dispatchd_forward_child_lines_skipped_total",
                "target" => target),
        }
    }

    /// Counts a child that runs, until what this returns is dropped.
    pub(super) fn running(&self) -> Running {
        self.children.increment(1);
        Running(self.children.clone())
    }

    pub(super) fn failed(&self, cause: Cause) {
        let index = Cause::ALL.iter().position(|known| *known == cause);
        self.failed[index.expect("ALL has every cause")].increment(1);
    }
}

/// A child that runs.
pub(super) struct Running(Gauge);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}
