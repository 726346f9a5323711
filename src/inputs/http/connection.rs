//! One connection that speaks HTTP/1.1: its requests, one after the other, and how it ends.
//!
//! It ends when its caller ends it, when the caller has had its time, or when its place says so; a
//! request that is here in full is answered before.

use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::routes::{Door, answer};
use super::shared::HttpShared;
use crate::http_server::limits::many_requests;
use crate::http_server::place::Place;
use crate::http_server::stream::PlacedStream;
use crate::inputs::presence::Visit;

/// Serves a connection until its last answer is written. `first`: what was read of it already.
pub(crate) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    first: Bytes,
    door: Door,
    shared: Arc<HttpShared>,
    place: Arc<Place>,
    visit: Visit,
) {
    let stream = PlacedStream::new(stream, first, Arc::clone(&place));
    let (visit, own_place) = (RefCell::new(visit), Arc::clone(&place));
    let service = service_fn(move |request| {
        visit.borrow_mut().sent_a_line();
        let answered = answer(request, door, Arc::clone(&shared), Arc::clone(&own_place));
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let mut served = pin!(many_requests().serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        biased;
        _ = &mut served => return,
        () = place.overdue() => return,
        () = place.end.cancelled() => served.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        biased;
        _ = served => {}
        () = place.overdue() => {}
    }
}
