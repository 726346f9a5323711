//! One connection: its two halves in one task, and what binds them.
//!
//! The outbox between the lanes and the writer holds the answers that are owed: no more than `slots` allows.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio_util::sync::CancellationToken;

use super::Door;
use super::reader::Reader;
use super::slots::slots;
use super::writer::Writer;
use crate::ack::Outbox;
use crate::limits::ANSWER_ROOM_BYTES;

/// A socket that is closed with unread input resets the connection, and the peer may lose the answers it has not
/// read. So the rest of the input is read off, for as long as a peer that saw our end needs to close its own.
const CLOSE_GRACE: Duration = Duration::from_millis(200);

/// Serves a connection until its last answer is written.
pub async fn serve(stream: UnixStream, door: Arc<Door>) {
    let (read, write) = stream.into_split();
    let (outbox, answers) = Outbox::new(Arc::clone(&door.books));
    let (slots, returns) = slots(door.window, ANSWER_ROOM_BYTES);
    let gone = CancellationToken::new();
    let reader = Reader::new(read, outbox, slots, gone.clone(), door);
    let writer = Writer::new(write, answers, returns, gone);
    let (rest, ()) = tokio::join!(reader.run(), writer.run());
    if let Some(rest) = rest {
        // Past the grace the peer is on its own.
        let _ = tokio::time::timeout(CLOSE_GRACE, read_off(rest)).await;
    }
}

async fn read_off(mut rest: OwnedReadHalf) {
    let mut discarded = [0; 4096];
    while rest.read(&mut discarded).await.is_ok_and(|count| count > 0) {}
}
