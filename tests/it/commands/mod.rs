//! What people type.

mod admin_socket;
mod check_online;
mod cli;
mod discover;
mod exec;
mod patterns;
mod pipes;
mod schemas;
mod streams;
mod tail;
mod tail_forms;
