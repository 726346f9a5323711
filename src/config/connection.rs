//! What the client of Kinesis is made from, as it is configured.

use dispatchd_aws::Connection;

use super::settings::Config;

impl Config {
    /// The connection to the stream as configured; with `local_url`, to the embedded stream there.
    pub(crate) fn connection(&self, local_url: Option<String>) -> Connection {
        let (stream, settings) = (self.stream.id.clone(), self.kinesis.clone());
        if let Some(url) = local_url {
            return Connection::to_emulator(stream, url, settings);
        }
        Connection {
            stream,
            region: self.stream.region.clone(),
            endpoint_url: self.stream.endpoint_url.clone(),
            allow_http: self.stream.allow_http,
            sdk_env: self.sdk_env.clone(),
            emulator: false,
            settings,
        }
    }
}
