//! What an application sees.

mod aws_sdks;
mod hostile;
mod kinesis_api;
mod tasks;
mod wire;
