//! dispatchd: a local socket in, Kinesis Data Streams out, an ack back.
