//! The bounds of an HTTP server: how long a request's head may be and take, what a connection that
//! is kept alive may take, and how many connections there are at once.
//!
//! Nothing here looks into a request.

use std::collections::VecDeque;
use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Bytes of a request's head. A probe's has some 200; hyper's own bound is 400 KB.
pub(crate) const HEAD_BYTES_MAX: usize = 16 * 1024;

/// From a request's first byte to the end of its head. It is written at once.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// From the end of a request's head to the end of its body.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Without a request, or while no byte of an answer is taken. Clients that keep connections alive
/// close them after 90 s (Go) or less, and so first: none sends into a connection that we close.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(100);

/// HTTP/1.1 with one request a connection, whose head is here within `head_timeout`.
pub(crate) fn one_request(head_timeout: Duration) -> http1::Builder {
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(false);
    server
}

/// HTTP/1.1 that is kept alive. How long a caller may take is its place's to say: here one time
/// would hold for heads and for idle connections. A caller that has ended its own half, as `nc -N`
/// does, still gets its answer.
pub(crate) fn many_requests() -> http1::Builder {
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(HEAD_BYTES_MAX)
        .half_close(true);
    server
}

/// Requests that an HTTP/2 connection may have open at once: a client that has more opens more
/// connections. One that does not wait for our settings does not know of it at first; what is over
/// it is refused, and SDKs send that again at once.
pub(crate) const H2_STREAMS_MAX: u32 = 8;

/// Bytes that a request on HTTP/2 may have sent and we have not read. With half of it large bodies
/// take several times as long (2026-11).
const H2_STREAM_WINDOW_BYTES: u32 = 32 * 1024;

/// Bytes that a connection of HTTP/2 may have sent and we have not read, all its requests together.
/// With less than all of them may have, those that wait for room would keep out the bytes of the
/// one that has it.
pub(crate) const H2_WINDOW_BYTES: u32 = H2_STREAMS_MAX * H2_STREAM_WINDOW_BYTES;

/// HTTP/1.1 that is kept alive, or HTTP/2 with prior knowledge, told by a connection's first bytes.
/// Requests on HTTP/2 are answered in tasks of `requests`.
pub(crate) fn either_version(requests: &TaskTracker) -> auto::Builder<TrackedExecutor> {
    let mut server = auto::Builder::new(TrackedExecutor(requests.clone()));
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(HEAD_BYTES_MAX)
        .half_close(true);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(H2_STREAMS_MAX)
        .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(H2_WINDOW_BYTES)
        .max_send_buf_size(HEAD_BYTES_MAX)
        .max_header_list_size(HEAD_BYTES_MAX as u32);
    server
}

/// Spawns what HTTP/2 does besides reading, so that its owner can wait for the end of it.
#[derive(Debug, Clone)]
pub(crate) struct TrackedExecutor(TaskTracker);

impl<F> Executor<F> for TrackedExecutor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// The connections that are open, the oldest first. Where all places are taken, a new connection
/// takes the place of the oldest one, so that no crowd keeps a probe out.
#[derive(Debug)]
pub(crate) struct Connections {
    max: usize,
    /// Each is cancelled to end a connection, or because it has ended.
    open: VecDeque<CancellationToken>,
}

impl Connections {
    pub(crate) fn at_most(max: usize) -> Self {
        Self { max, open: VecDeque::new() }
    }

    /// Counts a connection in, which ends when `end` is cancelled, and cancels `end` when it ends.
    pub(crate) fn admit(&mut self, end: CancellationToken) {
        self.open.retain(|end| !end.is_cancelled());
        if self.open.len() >= self.max {
            self.end_oldest();
        }
        self.open.push_back(end);
    }

    /// Ends the connection that has been open for the longest. Says whether there was one.
    pub(crate) fn end_oldest(&mut self) -> bool {
        self.open.retain(|end| !end.is_cancelled());
        self.open.pop_front().inspect(CancellationToken::cancel).is_some()
    }
}

const _: () = assert!(HEAD_TIMEOUT.as_secs() < BODY_TIMEOUT.as_secs());
const _: () = assert!(BODY_TIMEOUT.as_secs() < IDLE_TIMEOUT.as_secs());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_to_a_full_house_takes_the_place_of_the_one_who_was_there_longest() {
        let mut connections = Connections::at_most(2);
        let [first, second, third, fourth] = std::array::from_fn(|_| CancellationToken::new());
        for one in [&first, &second, &third] {
            connections.admit(one.clone());
        }
        assert_eq!([&first, &second, &third].map(|one| one.is_cancelled()), [true, false, false]);
        second.cancel(); // it has ended by itself
        connections.admit(fourth.clone());
        assert_eq!([&third, &fourth].map(|one| one.is_cancelled()), [false, false]);
    }
}
