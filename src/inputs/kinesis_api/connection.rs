//! One connection: HTTP/1.1 or HTTP/2, told by its first bytes, and its calls. How it ends is said in
//! `http_server::ending`.

use std::cell::RefCell;
use std::convert::Infallible;
use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

use super::calls::answer;
use super::shared::KinesisApiShared;
use crate::http_server::ending::serve_to_its_end;
use crate::http_server::limits::either_version;
use crate::http_server::place::Place;
use crate::http_server::stream::PlacedStream;
use crate::inputs::presence::Visit;

/// Serves a connection until its last answer is written.
pub(super) async fn serve(
    stream: TcpStream,
    shared: Arc<KinesisApiShared>,
    place: Arc<Place>,
    visit: Visit,
) {
    let stream = PlacedStream::new(stream, Arc::clone(&place));
    // HTTP/2 answers each call in a task of its own: they end with the connection.
    let calls = TaskTracker::new();
    let (visit, own_place) = (RefCell::new(visit), Arc::clone(&place));
    let service = service_fn(move |request| {
        visit.borrow_mut().sent_a_line();
        let answered = answer(request, Arc::clone(&shared), Arc::clone(&own_place));
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let server = either_version(&calls);
    serve_to_its_end(server.serve_connection(TokioIo::new(stream), service), &place).await;
    calls.close();
    calls.wait().await;
}
