//! The inputs: where events enter. Only their names; what each of them takes stands with the input.

closed_set! {
    /// Where an event entered.
    pub enum Input {
        /// Newline-delimited JSON on the socket.
        Ndjson = "ndjson",
        /// HTTP, on the socket or on loopback.
        Http = "http",
        /// The endpoint that AWS's SDKs speak to.
        KinesisApi = "kinesis_api",
    }
}
