//! The Kinesis API as its listener on loopback runs it: a connection's task, and what a connection
//! is told that has no place.

use std::sync::Arc;

use tokio::net::TcpStream;

use super::connection::serve;
use super::shared::KinesisApiShared;
use crate::http_server::place::Place;
use crate::inputs::loopback::Serve;
use crate::inputs::presence::Visit;

/// The Kinesis API on loopback TCP.
#[derive(Debug)]
pub(crate) struct KinesisApiServer(pub Arc<KinesisApiShared>);

impl Serve for KinesisApiServer {
    const TURNED_AWAY: &'static [u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
        content-type: application/x-amz-json-1.1\r\nx-amzn-errortype: ServiceUnavailable\r\n\
        content-length: 84\r\nconnection: close\r\n\r\n\
        {\"__type\":\"ServiceUnavailable\",\"message\":\"too many connections are open, try again\"}";

    fn serve(
        &self,
        stream: TcpStream,
        place: Arc<Place>,
        visit: Visit,
    ) -> impl Future<Output = ()> + Send + 'static {
        serve(stream, Arc::clone(&self.0), place, visit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_no_place_is_told_so_in_a_whole_answer() {
        let told = std::str::from_utf8(KinesisApiServer::TURNED_AWAY).expect("it is ASCII");
        let (head, body) = told.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{}", body.len());
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(body["__type"], "ServiceUnavailable");
    }
}
