//! Who is delivered to: an HTTP server that answers at once, counts, and notes how late an event is
//! that says when it was stored. In this process, a thread a connection.

use std::io::{Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;

use crate::server::read_request;
use crate::source::STORED;

/// What a function answers that is content: others do not look.
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 4\r\n\r\nnull";

/// A server and what it has seen.
pub(crate) struct Sink {
    pub port: u16,
    seen: Arc<Seen>,
}

struct Seen {
    /// What every event of a body has once; `None`: a body is an event.
    mark: Option<&'static str>,
    posts: AtomicU64,
    events: AtomicU64,
    /// Microseconds from stored to delivered. Locked for one body.
    late: Mutex<Histogram<u64>>,
}

/// How often each came so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived {
    pub posts: u64,
    pub events: u64,
}

impl Sink {
    pub(crate) fn start(mark: Option<&'static str>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let late = Histogram::new(3).expect("three digits are few");
        let seen = Seen { mark, posts: 0.into(), events: 0.into(), late: late.into() };
        let seen = Arc::new(seen);
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let seen = Arc::clone(&shared);
                std::thread::spawn(move || seen.answer_all(socket)); // an error is a peer that left
            }
        });
        Ok(Self { port, seen })
    }

    pub(crate) fn arrived(&self) -> Arrived {
        let Seen { posts, events, .. } = &*self.seen;
        Arrived { posts: posts.load(Ordering::Relaxed), events: events.load(Ordering::Relaxed) }
    }

    /// How late events were since this was asked last.
    pub(crate) fn take_late(&self) -> Histogram<u64> {
        let mut late = self.seen.late.lock().expect("nobody panics with it in hand");
        let empty = Histogram::new(3).expect("three digits are few");
        std::mem::replace(&mut *late, empty)
    }
}

impl Seen {
    fn answer_all(&self, mut socket: TcpStream) -> Result<()> {
        socket.set_nodelay(true)?;
        let mut posted = Vec::new();
        while let Some(head_bytes) = read_request(&mut socket, &mut posted)? {
            self.note(&posted[head_bytes..]);
            socket.write_all(ANSWER)?;
        }
        Ok(())
    }

    fn note(&self, body: &[u8]) {
        let marks = |mark: &str| memchr::memmem::find_iter(body, mark).count() as u64;
        self.events.fetch_add(self.mark.map_or(1, marks), Ordering::Relaxed);
        self.posts.fetch_add(1, Ordering::Relaxed);
        let stored = format!("\"{STORED}\":");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        for at in memchr::memmem::find_iter(body, &stored) {
            let digits = body[at + stored.len()..].iter().take_while(|byte| byte.is_ascii_digit());
            let stored_us = digits.fold(0, |number, digit| 10 * number + u128::from(digit - b'0'));
            let late_us = u64::try_from(now.saturating_sub(stored_us)).unwrap_or(u64::MAX);
            let mut late = self.late.lock().expect("nobody panics with it in hand");
            late.record(late_us).expect("it grows");
        }
    }
}
