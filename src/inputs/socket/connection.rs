//! One connection: which protocol it speaks, its two halves, in one task, and how it is closed.
//!
//! The outbox between the lanes and the writer holds the answers that are owed: no more than the
//! connection has credits for.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio_util::sync::CancellationToken;

use super::reader::Reader;
use super::shared::ConnectionShared;
use super::writer::Writer;
use crate::http_server::place::Place;
use crate::inputs::http::{self, Listener};
use crate::inputs::metrics::OpenConnection;
use crate::inputs::presence::Visit;
use dispatchd_core::model::Input;

/// How long the input that is left is read off before a socket is closed: as long as a peer that
/// saw our end needs to close its own. A socket that is closed with unread input resets the
/// connection, and the peer may lose answers that it has not read.
const CLOSE_GRACE: Duration = Duration::from_millis(200);

/// Serves a connection until its last answer is written. Its first byte says what it speaks: HTTP's
/// methods are upper case, and no line of JSON begins so.
pub(super) async fn serve(
    stream: UnixStream,
    shared: Arc<ConnectionShared>,
    visit: Visit,
    mut open: OpenConnection,
) {
    match first_byte(&stream, &shared.stop_reading).await {
        Some(byte) if byte.is_ascii_uppercase() => {
            open.speaks(Input::Http);
            let place = Place::new(shared.stop_reading.child_token());
            let http = Arc::clone(&shared.http);
            // Apart, or every other connection would be as large as this one.
            Box::pin(http::serve(stream, Listener::Socket, http, place, visit)).await;
        }
        _ => {
            open.speaks(Input::Ndjson);
            serve_lines(stream, shared, visit).await;
        }
    }
}

/// The first byte, which stays where it is. `None` if there is none: the peer has ended, or we
/// stop.
async fn first_byte(stream: &UnixStream, stop_reading: &CancellationToken) -> Option<u8> {
    let mut first = [0];
    loop {
        tokio::select! {
            () = stop_reading.cancelled() => return None,
            readable = stream.readable() => readable.ok()?,
        }
        let peek = || Ok(recv(stream, &mut first[..], RecvFlags::PEEK)?.0);
        match stream.try_io(Interest::READABLE, peek) {
            Ok(0) => return None,
            Ok(_) => return Some(first[0]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return None,
        }
    }
}

async fn serve_lines(stream: UnixStream, shared: Arc<ConnectionShared>, mut visit: Visit) {
    let (read, write) = stream.into_split();
    let gone = CancellationToken::new();
    let (reader, way_back) = Reader::new(read, gone.clone(), Arc::clone(&shared));
    let writer = Writer::new(write, way_back, gone);
    let (rest, peer_has_closed) = tokio::join!(reader.run(&mut visit), writer.run());
    if let Some(rest) = rest {
        let mut lines = 0;
        // Past the grace the peer is on its own.
        let _ = tokio::time::timeout(CLOSE_GRACE, read_off(rest, &mut lines)).await;
        if peer_has_closed {
            shared.callers.left_unread(lines); // any other peer sees an end before its answers
        }
    }
}

async fn read_off(mut rest: OwnedReadHalf, lines: &mut u64) {
    let mut discarded = [0; 4096];
    while let Ok(count @ 1..) = rest.read(&mut discarded).await {
        *lines += memchr::memchr_iter(b'\n', &discarded[..count]).count() as u64;
    }
}
