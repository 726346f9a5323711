//! One connection that speaks HTTP/1.1: its requests, one after the other. How it ends is said in
//! `http_server::ending`.

use std::cell::RefCell;
use std::convert::Infallible;
use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::routes::{Listener, answer};
use super::shared::HttpShared;
use crate::http_server::ending::serve_to_its_end;
use crate::http_server::limits::many_requests;
use crate::http_server::place::Place;
use crate::http_server::stream::PlacedStream;
use crate::inputs::presence::Visit;

/// Serves a connection until its last answer is written.
pub(crate) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    listener: Listener,
    shared: Arc<HttpShared>,
    place: Arc<Place>,
    visit: Visit,
) {
    let stream = PlacedStream::new(stream, Arc::clone(&place));
    let (visit, own_place) = (RefCell::new(visit), Arc::clone(&place));
    let service = service_fn(move |request| {
        visit.borrow_mut().sent_a_line();
        let answered = answer(request, listener, Arc::clone(&shared), Arc::clone(&own_place));
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let connection = many_requests().serve_connection(TokioIo::new(stream), service);
    serve_to_its_end(connection, &place).await;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    use super::*;
    use crate::http_server::limits::{BODY_TIMEOUT, HEAD_TIMEOUT, IDLE_TIMEOUT};
    use crate::inputs::http::{CloudEventsAs, Settings};
    use crate::inputs::metrics::ConnectionMetrics;
    use crate::inputs::shared::{InputsShared, for_tests};
    use dispatchd_producer::lane::Lanes;

    fn inputs() -> InputsShared {
        for_tests(Lanes::new(vec![mpsc::channel(1).0]))
    }

    /// What a caller that begins so is told, and how long it takes.
    async fn cut_off(begun: &str) -> (String, Duration) {
        let inputs = inputs();
        let settings =
            Settings { listen: None, max_connections: 1, cloudevents: CloudEventsAs::TheyAre };
        let shared = HttpShared::new(&settings, &inputs, &ConnectionMetrics::register());
        let place = Place::new(inputs.stop_reading.child_token());
        let (mut peer, stream) = tokio::io::duplex(4096);
        peer.write_all(begun.as_bytes()).await.expect("there is room");
        let began = Instant::now();
        let visit = Visit::new(inputs.presence.clone());
        serve(stream, Listener::Socket, shared, place, visit).await;
        let took = began.elapsed();
        let mut told = String::new();
        peer.read_to_string(&mut told).await.expect("it is closed");
        (told, took)
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_sends_nothing_more_is_cut_off_in_time_and_told_where_http_has_a_word() {
        const HEAD: &str = "POST /v1/events HTTP/1.1\r\nhost: d\r\n\
                            content-type: application/json\r\ncontent-length: 2\r\n\r\n";
        const HEALTH: &str = "GET /v1/health HTTP/1.1\r\nhost: d\r\n\r\n";
        for (begun, least, told) in [
            ("", IDLE_TIMEOUT, ""),
            (HEALTH, IDLE_TIMEOUT, "HTTP/1.1 200 "),
            ("POST /v1/ev", HEAD_TIMEOUT, ""),
            (HEAD, BODY_TIMEOUT, "HTTP/1.1 408 "),
        ] {
            let (said, took) = cut_off(begun).await;
            assert!(
                said.starts_with(told) && said.is_empty() == told.is_empty(),
                "{begun}: {said}"
            );
            let late = least + HEAD_TIMEOUT;
            assert!(took >= least && took < late, "{begun:?} took {took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_ends_at_once_when_readers_stop() {
        let inputs = inputs();
        let settings =
            Settings { listen: None, max_connections: 1, cloudevents: CloudEventsAs::TheyAre };
        let shared = HttpShared::new(&settings, &inputs, &ConnectionMetrics::register());
        let place = Place::new(inputs.stop_reading.child_token());
        let (_peer, stream) = tokio::io::duplex(4096);
        let visit = Visit::new(inputs.presence.clone());
        let began = Instant::now();
        let served = serve(stream, Listener::Socket, shared, place, visit);
        let stop = async { inputs.stop_reading.cancel() };
        tokio::join!(served, stop);
        assert!(began.elapsed() < Duration::from_secs(1));
    }
}
