//! HTTP on loopback TCP: how the listener there has its connections served.

use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpStream;

use super::connection::serve;
use super::routes::Door;
use super::shared::HttpShared;
use crate::http_server::place::Place;
use crate::inputs::loopback::Serve;
use crate::inputs::presence::Visit;

/// HTTP on loopback TCP.
#[derive(Debug)]
pub(crate) struct HttpServer(pub Arc<HttpShared>);

impl Serve for HttpServer {
    const TURNED_AWAY: &'static [u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
        content-type: application/problem+json\r\ncontent-length: 0\r\nretry-after: 1\r\n\
        connection: close\r\n\r\n";

    fn serve(
        &self,
        stream: TcpStream,
        place: Arc<Place>,
        visit: Visit,
    ) -> impl Future<Output = ()> + Send + 'static {
        serve(stream, Bytes::new(), Door::Loopback, Arc::clone(&self.0), place, visit)
    }
}
