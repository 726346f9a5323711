//! What the connections that speak HTTP share, wherever they came in. Only data.

use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpStream;

use super::connection::serve;
use super::routes::Door;
use crate::http_server::place::Place;
use crate::inputs::body::BodyRoom;
use crate::inputs::exchange::ExchangeShared;
use crate::inputs::loopback::Serve;
use crate::inputs::metrics::ConnectionMetrics;
use crate::inputs::presence::Visit;
use crate::inputs::shared::InputsShared;
use dispatchd_core::limits::REQUEST_EVENTS_MAX;
use dispatchd_core::model::Input;

/// What every request shares.
#[derive(Debug)]
pub struct HttpShared {
    pub exchange: Arc<ExchangeShared>,
    pub bodies: BodyRoom,
}

/// HTTP on loopback TCP.
#[derive(Debug)]
pub(crate) struct HttpServer(pub Arc<HttpShared>);

impl HttpShared {
    pub fn new(inputs: &InputsShared, metrics: &ConnectionMetrics) -> Arc<Self> {
        let exchange = ExchangeShared::new(inputs, Input::Http, REQUEST_EVENTS_MAX, metrics);
        let bodies = BodyRoom {
            long_lines: Arc::clone(&inputs.long_lines),
            callers: Arc::clone(&inputs.callers),
            stop_reading: inputs.stop_reading.clone(),
        };
        Arc::new(Self { exchange: Arc::new(exchange), bodies })
    }
}

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
