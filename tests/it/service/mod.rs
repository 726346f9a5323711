//! Between the daemon and Kinesis.

mod connections;
mod credentials;
mod environment;
mod faults_seen;
mod identity;
mod network;
mod proxies;
mod put_records;
