//! What people type.

mod admin_socket;
mod check_online;
mod cli;
mod exec;
mod pipes;
mod streams;
mod tail;
