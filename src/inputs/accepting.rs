//! What every listener of an input does where a connection cannot be let in: it waits after an
//! accept that failed, tells of it seldom, and keeps descriptors back for Kinesis. It accepts
//! nothing itself.

use std::io;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};

use dispatchd_core::model::backoff::Backoff;

/// The waits after an accept that failed, mostly for want of file descriptors (EMFILE). One that is
/// tried again at once fails 46,820 times in 200 ms (measured).
const ACCEPT_AGAIN: Backoff =
    Backoff { min: Duration::from_millis(10), max: Duration::from_secs(1) };

/// How often the log tells that an accept failed. While files are short, every connection that ends
/// lets one in, and the next one fails again.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// How long a last caller is waited for: one that connected before the drain began may not have
/// been seen yet, and one turn of the event loop shows it.
pub(crate) const LAST_KNOCK: Duration = Duration::from_millis(1);

/// Accepts that failed since one did not.
#[derive(Debug, Default)]
pub(crate) struct AcceptFailures {
    in_a_row: u32,
    told: Option<Instant>,
}

impl AcceptFailures {
    /// An accept did not fail.
    pub(crate) fn end(&mut self) {
        self.in_a_row = 0;
    }

    /// An accept failed: waits before the next one, and tells an operator now and then.
    pub(crate) async fn wait(&mut self, error: &io::Error) {
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.tell(error);
        let again = ACCEPT_AGAIN.delay(self.in_a_row, &mut rand::rng());
        tokio::time::sleep(again).await;
    }

    fn tell(&mut self, error: &io::Error) {
        let now = Instant::now();
        if self.told.is_none_or(|told| now - told >= TELL_EVERY) {
            self.told = Some(now);
            tracing::warn!(
                %error,
                "cannot accept connections, trying again: raise the limit of open files, or lower \
                 the max_connections of socket, http or kinesis_api"
            );
        }
    }
}

/// Whether a connection's descriptor is one of those that are kept back. The system gives the
/// lowest free descriptor, so a high one tells that all below it are taken, by whomever. The limit
/// is asked for anew, since it may have been lowered.
pub(crate) fn is_kept_back(descriptor: i32, files_kept_back: usize) -> bool {
    let descriptor = u64::from(descriptor.cast_unsigned());
    let limit = getrlimit(Resource::Nofile).current;
    limit.is_some_and(|limit| descriptor + files_kept_back as u64 >= limit)
}
