//! A request's body, read as a whole and under bounds: its length is known to be taken before a
//! byte of it is read, and a long one waits for the room that it shares with long lines.
//!
//! It looks into no body.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body as HttpBody;
use tokio::sync::SemaphorePermit;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::callers::Callers;
use super::long_lines::LongLines;
use crate::http_server::limits::BODY_TIMEOUT;
use crate::http_server::place::{Answering, Place};
use dispatchd_core::limits::LINE_BUFFER_BYTES;

/// Where bodies are read.
#[derive(Debug, Clone)]
pub(crate) struct BodyRoom {
    pub long_lines: Arc<LongLines>,
    pub callers: Arc<Callers>,
    /// Readers take no more.
    pub stop_reading: CancellationToken,
}

/// How long a body may be, and what it takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyBounds {
    pub bytes_max: usize,
    /// Bytes that it takes in memory for each of its own: more than one where what is made of it is
    /// in memory beside it.
    pub room_per_byte: usize,
}

/// A body that is here in full, with the room that it takes. Dropped, it gives that back.
#[derive(Debug)]
pub(crate) struct Body<'a> {
    pub bytes: Bytes,
    _room: Option<SemaphorePermit<'a>>,
}

/// Why a body was not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// It is longer than so many bytes.
    TooLarge { bytes_max: usize },
    /// It was not here in time.
    Late,
    /// It broke off, or its chunks are no chunks.
    Broken,
    /// Its connection had to make room for another caller.
    MadeRoom,
    /// The daemon stops.
    Stopping,
}

impl BodyRoom {
    /// Reads a body within these bounds. A body that tells its length takes as much room, another
    /// one the room of the longest once it is longer than a buffer: what is half read never has to
    /// wait for more.
    ///
    /// # Errors
    /// The body is not here in full; what is left of it is not read.
    pub(crate) async fn read<B>(
        &self,
        body: B,
        bounds: BodyBounds,
        place: &Arc<Place>,
    ) -> Result<(Body<'_>, Answering), BodyError>
    where
        B: HttpBody<Data = Bytes> + Unpin,
    {
        place.await_body();
        let BodyBounds { bytes_max, room_per_byte } = bounds;
        let read = async {
            let length = body.size_hint().exact().map(usize::try_from);
            match length {
                Some(Ok(length)) if length <= bytes_max => {
                    self.read_known(body, length, room_per_byte, place).await
                }
                Some(_) => Err(BodyError::TooLarge { bytes_max }),
                None => self.read_chunked(body, bounds, place).await,
            }
        };
        tokio::select! {
            biased;
            () = place.end.cancelled() => {
                let stops = self.stop_reading.is_cancelled();
                Err(if stops { BodyError::Stopping } else { BodyError::MadeRoom })
            }
            read = read => Ok((read?, place.answer())),
        }
    }

    async fn read_known<B>(
        &self,
        mut body: B,
        length: usize,
        room_per_byte: usize,
        place: &Arc<Place>,
    ) -> Result<Body<'_>, BodyError>
    where
        B: HttpBody<Data = Bytes> + Unpin,
    {
        let bytes = length * room_per_byte;
        let is_long = bytes > LINE_BUFFER_BYTES;
        let room = if is_long { Some(self.room(bytes, place).await) } else { None };
        let read = async {
            let Some(first) = next(&mut body).await? else { return Ok(Bytes::new()) };
            if first.len() == length {
                return Ok(first);
            }
            let mut bytes = Vec::with_capacity(length);
            bytes.extend_from_slice(&first);
            while let Some(more) = next(&mut body).await? {
                bytes.extend_from_slice(&more);
            }
            Ok(Bytes::from(bytes))
        };
        let bytes = timeout(BODY_TIMEOUT, read).await.unwrap_or(Err(BodyError::Late))?;
        Ok(Body { bytes, _room: room })
    }

    async fn read_chunked<B>(
        &self,
        mut body: B,
        bounds: BodyBounds,
        place: &Arc<Place>,
    ) -> Result<Body<'_>, BodyError>
    where
        B: HttpBody<Data = Bytes> + Unpin,
    {
        let BodyBounds { bytes_max, room_per_byte } = bounds;
        let mut bytes = Vec::new();
        let fits = |bytes: &Vec<u8>, more: &Bytes, max| bytes.len() + more.len() <= max;
        let mut room = None;
        let mut left = BODY_TIMEOUT;
        loop {
            let began = tokio::time::Instant::now();
            let more = timeout(left, next(&mut body)).await.unwrap_or(Err(BodyError::Late))?;
            left = left.saturating_sub(began.elapsed());
            let Some(more) = more else { return Ok(Body { bytes: bytes.into(), _room: room }) };
            if !fits(&bytes, &more, bytes_max) {
                return Err(BodyError::TooLarge { bytes_max });
            }
            if room.is_none() && !fits(&bytes, &more, LINE_BUFFER_BYTES / room_per_byte) {
                room = Some(self.room(bytes_max * room_per_byte, place).await);
                bytes.reserve_exact(bytes_max - bytes.len());
            }
            bytes.extend_from_slice(&more);
        }
    }

    /// Waits for room. The caller has its whole time afterwards.
    async fn room(&self, bytes: usize, place: &Arc<Place>) -> SemaphorePermit<'_> {
        let _held_up = self.callers.hold_up();
        let waiting = place.answer();
        let room = self.long_lines.room(bytes).await;
        drop(waiting);
        place.await_body();
        room
    }
}

/// The next piece; `None` at the end. Trailers say nothing to us.
async fn next<B>(body: &mut B) -> Result<Option<Bytes>, BodyError>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(_)) => return Err(BodyError::Broken),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use std::time::Duration;

    use http_body_util::Full;
    use hyper::body::Frame;

    use super::*;

    const MAX: usize = 4 * LINE_BUFFER_BYTES;
    const BOUNDS: BodyBounds = BodyBounds { bytes_max: MAX, room_per_byte: 1 };

    fn room(bytes: usize) -> BodyRoom {
        BodyRoom {
            long_lines: Arc::new(LongLines::new(bytes)),
            callers: Arc::new(Callers::new(std::time::Instant::now())),
            stop_reading: CancellationToken::new(),
        }
    }

    fn place(room: &BodyRoom) -> Arc<Place> {
        Place::new(room.stop_reading.child_token())
    }

    /// A body that does not tell its length, and comes in pieces.
    struct Chunked(usize);

    impl HttpBody for Chunked {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let piece = self.0.min(1000);
            self.0 -= piece;
            let data = Frame::data(Bytes::from(vec![b'x'; piece]));
            Poll::Ready((piece > 0).then_some(Ok(data)))
        }
    }

    #[tokio::test]
    async fn a_body_is_read_however_it_comes_and_gives_its_room_back() {
        let room = room(MAX);
        for bytes in [0, 1, 999, LINE_BUFFER_BYTES, LINE_BUFFER_BYTES + 1, MAX] {
            let (known, _) = room
                .read(Full::new(Bytes::from(vec![b'x'; bytes])), BOUNDS, &place(&room))
                .await
                .expect("it fits");
            assert_eq!(known.bytes.len(), bytes);
            drop(known);
            let (unknown, _) =
                room.read(Chunked(bytes), BOUNDS, &place(&room)).await.expect("it fits");
            assert_eq!(unknown.bytes, vec![b'x'; bytes]);
        }
        let too_large = Some(BodyError::TooLarge { bytes_max: MAX });
        assert_eq!(room.read(Chunked(MAX + 1), BOUNDS, &place(&room)).await.err(), too_large);
        let known = Full::new(Bytes::from(vec![b'x'; MAX + 1]));
        assert_eq!(room.read(known, BOUNDS, &place(&room)).await.err(), too_large);
    }

    /// What could go wrong: what a byte of a body takes while it is read apart is held by nobody's
    /// room.
    #[tokio::test(start_paused = true)]
    async fn a_body_is_long_by_what_it_takes_and_not_by_its_bytes_alone() {
        let room = room(MAX);
        let bounds = BodyBounds { bytes_max: MAX / 4, room_per_byte: 4 };
        let _all = room.long_lines.room(MAX).await;
        let place = place(&room);
        for (bytes, waits) in [(LINE_BUFFER_BYTES / 4, false), (LINE_BUFFER_BYTES / 4 + 1, true)] {
            let second = Duration::from_secs(1);
            let known = Full::new(Bytes::from(vec![b'x'; bytes]));
            let known = timeout(second, room.read(known, bounds, &place)).await;
            assert_eq!(known.is_err(), waits, "{bytes} bytes, as it says before");
            let unknown = timeout(second, room.read(Chunked(bytes), bounds, &place)).await;
            assert_eq!(unknown.is_err(), waits, "{bytes} bytes, in pieces");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_body_waits_for_room_with_its_time_before_it_and_a_short_one_does_not_wait() {
        let room = room(MAX);
        let long = || Full::new(Bytes::from(vec![b'x'; MAX]));
        let (first, _) = room.read(long(), BOUNDS, &place(&room)).await.expect("there is room");
        let (_short, _) =
            room.read(Full::new("x".into()), BOUNDS, &place(&room)).await.expect("short");
        let waiting = place(&room);
        let later = async {
            tokio::time::sleep(10 * BODY_TIMEOUT).await;
            drop(first);
        };
        let (second, ()) = tokio::join!(room.read(long(), BOUNDS, &waiting), later);
        assert!(second.is_ok(), "our delay is not the caller's");
        let stopped = place(&room);
        let (third, ()) = tokio::join!(room.read(long(), BOUNDS, &stopped), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            room.stop_reading.cancel();
        });
        assert_eq!(third.err(), Some(BodyError::Stopping));
    }
}
