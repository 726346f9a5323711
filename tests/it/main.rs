//! The whole daemon over real sockets and HTTP, against independent servers and through the fault
//! server; and, where a process would hide what is looked at, single rooms of it.
//!
//! One binary, and so one process: no test changes what a process has once (environment, working
//! directory, umask, limits, signals), and none takes the process's own numbers for its own. What
//! needs that stands in `tests/alone`. Below each folder the files' headers say the promises.
//!
//! | folder | what is promised there |
//! |---|---|
//! | [`callers`] | what an application sees: the protocol, hostile callers, a connection's tasks |
//! | [`http`] | HTTP: requests, CloudEvents, loopback, hostile callers |
//! | [`events`] | what becomes of events: stored, once, in order, answered truthfully |
//! | [`service`] | between daemon and Kinesis: requests, connections, networks, identities |
//! | [`process`] | the daemon as a process: start, reload, stop, memory, limits, log |
//! | [`commands`] | what people type: `check`, `send`, `tail`, `exec`, `stream`, `admin` |
//! | [`embedded`] | the stream of `--local` |
//! | [`surroundings`] | that the servers all this rests on do what the testkit says |

mod callers;
mod commands;
mod cycles;
mod embedded;
mod events;
mod floors;
mod http;
mod lines;
mod process;
mod service;
mod surroundings;

use testkit::daemon::Binary;

const DISPATCHD: Binary = Binary::at(env!("CARGO_BIN_EXE_dispatchd"));
