//! A connection's bytes as its HTTP server reads and writes them: its place learns when the caller
//! sends and takes.
//!
//! It looks at the first bytes alone: on HTTP/2 the place does not learn when the caller sends,
//! since frames come without a request too, and a request's head is one of them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::place::Place;

/// What HTTP/2 begins with, and no request of HTTP/1.1.
const H2_PREFACE_BEGIN: &[u8] = b"PRI ";

/// The bytes of one connection.
#[derive(Debug)]
pub(crate) struct PlacedStream<S> {
    inner: S,
    place: Arc<Place>,
    version: Version,
}

/// What the first bytes say that the caller speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Unknown,
    Http1,
    Http2,
}

impl<S> PlacedStream<S> {
    pub(crate) fn new(inner: S, place: Arc<Place>) -> Self {
        Self { inner, place, version: Version::Unknown }
    }

    /// The caller sent these.
    fn heard(&mut self, bytes: &[u8]) {
        if self.version == Version::Unknown {
            let is_http2 = bytes.starts_with(H2_PREFACE_BEGIN);
            self.version = if is_http2 { Version::Http2 } else { Version::Http1 };
        }
        if self.version == Version::Http1 {
            self.place.heard();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PlacedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.heard(&buf.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PlacedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let taken = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.place.took();
        Poll::Ready(Ok(taken))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let taken = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bufs))?;
        self.place.took();
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
