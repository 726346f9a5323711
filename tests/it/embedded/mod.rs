//! The stream of `--local`.

mod aws_clients;
mod local;
