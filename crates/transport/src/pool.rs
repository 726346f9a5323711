//! Keeps idle connections for the next requests, and closes those that may be dead or were idle too
//! long.
//!
//! The connection that came back last is used first, so that the others grow old when load shrinks.
//! An idle connection is trusted until a request to the same origin fails, and then even if it was
//! used after that request began: a dead path is noticed only when the request is given up, and may
//! have died at any time before.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper::{Request, Response};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::origin::Origin;

/// The most idle connections that are kept: as many as there can be requests at once (the ceiling
/// of `batch.max_in_flight`).
const IDLE_CONNECTIONS_MAX: usize = 256;

/// The idle connections of a transport. The lock guards a short list, and is never held over a
/// wait. Not a channel: a request that begins needs its connection at once.
#[derive(Debug)]
pub(super) struct Pool {
    idle_max: Duration,
    /// The idle connections in the order in which they came back, the latest last.
    idle: Mutex<Vec<Idle>>,
    /// Notified when there is an idle connection where there was none.
    first_idle: Notify,
}

#[derive(Debug)]
struct Idle {
    origin: Origin,
    connection: Connection,
    since: Instant,
}

/// A connection, which is closed when this is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    is_used: bool,
    _driver: AbortOnDropHandle<()>,
}

/// A request on its way. If it is dropped before [`Exchange::done`], it has failed.
pub(super) struct Exchange<'a> {
    pool: &'a Pool,
    origin: &'a Origin,
    /// The connection in use; `None` once the exchange has ended.
    connection: Option<Connection>,
}

impl Pool {
    pub(super) fn new(idle_max: Duration) -> Self {
        Self { idle_max, idle: Mutex::default(), first_idle: Notify::default() }
    }

    /// An idle connection to this origin that seems to be open; `None` if there is none.
    pub(super) fn take(&self, origin: &Origin) -> Option<Connection> {
        let mut idle = self.idle();
        loop {
            let index = idle.iter().rposition(|idle| idle.origin == *origin)?;
            let Idle { connection, since, .. } = idle.remove(index);
            if !connection.sender.is_closed() && since.elapsed() < self.idle_max {
                return Some(connection);
            }
        }
    }

    pub(super) fn begin<'a>(&'a self, origin: &'a Origin, connection: Connection) -> Exchange<'a> {
        Exchange { pool: self, origin, connection: Some(connection) }
    }

    fn put(&self, origin: &Origin, connection: Connection) {
        let mut idle = self.idle();
        if idle.len() == IDLE_CONNECTIONS_MAX {
            idle.remove(0);
        }
        idle.push(Idle { origin: origin.clone(), connection, since: Instant::now() });
        if idle.len() == 1 {
            self.first_idle.notify_one();
        }
    }

    /// Closes the idle connections to this origin. New ones cost a handshake; a dead one costs an
    /// attempt.
    fn distrust(&self, origin: &Origin) {
        self.idle().retain(|idle| idle.origin != *origin);
    }

    /// Closes connections that were idle for too long. It never ends, and sleeps while there is
    /// nothing to close.
    pub(super) async fn sweep(self: std::sync::Arc<Self>) {
        loop {
            let oldest = {
                let mut idle = self.idle();
                idle.retain(|idle| {
                    idle.since.elapsed() < self.idle_max && !idle.connection.sender.is_closed()
                });
                idle.first().map(|idle| idle.since)
            };
            match oldest {
                Some(since) => sleep_until(since + self.idle_max).await,
                None => self.first_idle.notified().await,
            }
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().expect("nobody panics with it in hand")
    }
}

impl Connection {
    pub(super) fn new(
        sender: http1::SendRequest<Full<Bytes>>,
        driver: AbortOnDropHandle<()>,
    ) -> Self {
        Self { sender, is_used: false, _driver: driver }
    }

    pub(super) fn is_used(&self) -> bool {
        self.is_used
    }

    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>> {
        // A connection that has just carried its last reply may not be ready yet. If it is closed,
        // sending says so.
        let _ = self.sender.ready().await;
        self.sender.try_send_request(request).await
    }
}

impl Exchange<'_> {
    pub(super) fn connection(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("it has not ended")
    }

    /// Takes note that the reply has come whole: the connection can carry the next request.
    pub(super) fn done(mut self) {
        if let Some(connection) = self.connection.take()
            && !connection.sender.is_closed()
        {
            self.pool.put(self.origin, Connection { is_used: true, ..connection });
        }
    }

    /// Takes note that the peer had closed the connection in order, before the request. That says
    /// nothing about the other connections.
    pub(super) fn closed(mut self) {
        self.connection = None;
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        if self.connection.is_some() {
            self.pool.distrust(self.origin);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, DuplexStream, duplex};

    use super::super::connect::http;
    use super::*;

    const IDLE_MAX: Duration = Duration::from_secs(50);

    fn origin() -> Origin {
        Origin::of(&hyper::Uri::from_static("http://host:1")).expect("it names a host")
    }

    /// A connection that has carried a request and is idle now, and its other end.
    async fn put_idle(pool: &Pool) -> DuplexStream {
        let (ours, theirs) = duplex(64);
        let connection = http(&origin(), ours).await.expect("nothing is sent yet");
        pool.begin(&origin(), connection).done();
        theirs
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_idle_for_too_long_is_closed_though_nobody_asks_for_one() {
        let pool = Arc::new(Pool::new(IDLE_MAX));
        let _sweeper = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&pool).sweep()));
        for _ in 0..2 {
            let began = Instant::now();
            let mut theirs = put_idle(&pool).await;
            assert_eq!(theirs.read(&mut [0]).await.expect("it ends in order"), 0);
            assert!(
                (IDLE_MAX..IDLE_MAX + Duration::from_millis(10)).contains(&began.elapsed()),
                "{:?}",
                began.elapsed()
            );
        }
    }

    #[tokio::test]
    async fn a_request_that_failed_takes_the_idle_connections_of_its_origin_along_and_no_others() {
        let pool = Pool::new(IDLE_MAX);
        let _peers = [
            put_idle(&pool).await,
            put_idle(&pool).await,
            put_idle(&pool).await,
            put_idle(&pool).await,
        ];
        let other =
            Origin::of(&hyper::Uri::from_static("https://host:1")).expect("it names a host");
        drop(pool.begin(&other, pool.take(&origin()).expect("four are idle")));
        let failed = pool.take(&origin()).expect("what failed at another origin left three");
        drop(pool.begin(&origin(), failed));
        assert!(pool.take(&origin()).is_none(), "two were idle beside it");
        let _peers = [put_idle(&pool).await, put_idle(&pool).await];
        pool.begin(&origin(), pool.take(&origin()).expect("two are idle")).closed();
        assert!(
            pool.take(&origin()).is_some(),
            "one that its peer closed in order says nothing of another"
        );
    }
}
