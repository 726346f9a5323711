//! HTTP on loopback TCP: how the listener there has its connections served.

use std::sync::Arc;

use tokio::net::TcpStream;

use super::connection::serve;
use super::routes::Listener;
use super::shared::HttpShared;
use crate::http_server::place::Place;
use crate::inputs::loopback::Serve;
use crate::inputs::presence::Visit;

/// HTTP on loopback TCP.
#[derive(Debug)]
pub(crate) struct HttpServer(pub Arc<HttpShared>);

impl Serve for HttpServer {
    const TURNED_AWAY: &'static [u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
        content-type: application/problem+json\r\ncontent-length: 153\r\nretry-after: 1\r\n\
        connection: close\r\n\r\n\
        {\"status\":503,\"title\":\"the daemon takes no more now\",\
        \"detail\":\"every connection is taken and waits for its answer\",\
        \"code\":\"Overloaded\",\"retryable\":true}\n";

    fn serve(
        &self,
        stream: TcpStream,
        place: Arc<Place>,
        visit: Visit,
    ) -> impl Future<Output = ()> + Send + 'static {
        serve(stream, Listener::Loopback, Arc::clone(&self.0), place, visit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dispatchd_core::model::{Code, Refusal};
    use dispatchd_core::wire::http::Problem;

    #[test]
    fn who_is_turned_away_is_told_as_any_request_that_is_refused() {
        let told = std::str::from_utf8(HttpServer::TURNED_AWAY).expect("it is ASCII");
        let (head, body) = told.split_once("\r\n\r\n").expect("a whole answer");
        assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())), "{head}");
        let detail = "every connection is taken and waits for its answer";
        let mut expected = Vec::new();
        Problem::from(Refusal::new(Code::Overloaded, detail)).print(&mut expected);
        assert_eq!(body.as_bytes(), expected);
    }
}
