//! How a connection that is kept alive ends: by its caller, when the caller has had its time, or when
//! its place says so. A request that is here in full is answered before. What is asked and answered
//! is not looked at here.

use std::pin::pin;

use hyper_util::server::graceful::GracefulConnection;

use super::place::Place;

/// Serves a connection until its last answer is written.
pub(crate) async fn serve_to_its_end(connection: impl GracefulConnection, place: &Place) {
    let mut served = pin!(connection);
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
