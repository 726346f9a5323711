/** A client of dispatchd, the sidecar that makes events durable in Amazon Kinesis. */
module io.github.dispatchd.client {
  exports io.github.dispatchd.client;
  exports io.github.dispatchd.client.testing;
}
