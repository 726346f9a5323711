//! The command line: reads arguments, prints, and chooses exit codes; one small file a command.
//! What a command does is the programs' and the clients' to do.

mod admin;
mod check;
mod checked;
mod common;
mod confirm;
#[cfg(feature = "local")]
mod conformance;
mod exec;
mod flags;
mod forward;
mod forward_status;
mod iam;
#[cfg(feature = "local")]
mod local;
mod out;
mod pattern;
mod replay;
mod run;
mod schema;
mod send;
mod status;
mod stream;
mod tail;
mod together;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::common::{exit, said};

/// Turns a local Unix socket into a durable producer for Amazon Kinesis Data Streams: an event is
/// acked only when it is in Kinesis.
#[derive(Debug, Parser)]
#[command(name = "dispatchd", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the socket and deliver to Kinesis
    Run(run::Run),
    /// Run a command with a daemon of its own, deliver what it sent, and end as it ended
    Exec(exec::Exec),
    /// Ask a running daemon how it stands, or tell it something
    Admin(admin::Admin),
    /// Send events to a running daemon and print its answers
    Send(send::Send),
    /// Print what is in the stream as it arrives
    Tail(tail::Tail),
    /// Deliver what is in the stream: to HTTP endpoints, in order, with checkpoints
    Forward(Box<forward::Forward>),
    /// Send again what was kept of a stream: archives, dead letters, what `tail` printed
    Replay(replay::Replay),
    /// Validate the configuration and print it, each value with its origin; with --online, ask the
    /// service too
    Check(check::Check),
    /// Try an event pattern, as filters are written in
    Pattern(pattern::Pattern),
    /// Print what IAM must allow
    Iam(iam::Iam),
    /// Make schemas of events from samples, check them, and write them for other tools
    Schema(schema::Schema),
    /// Create, describe or delete a stream, for laptops and tests
    Stream(stream::Stream),
    /// Run the embedded stream alone, for laptops and tests
    #[cfg(feature = "local")]
    Local(local::Local),
    /// Prove that a client keeps what docs/clients.md promises
    #[cfg(feature = "local")]
    Conformance(conformance::Conformance),
}

/// Reads the arguments and runs the command.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come as errors too; their text goes to stdout and they are no
            // failure.
            let failed = error.use_stderr();
            let printed = error.print();
            return if failed { exit::USAGE.into() } else { said(out::taken(printed), 0) };
        }
    };
    match cli.command {
        Command::Run(command) => command.main(),
        Command::Exec(command) => command.main(),
        Command::Admin(command) => command.main(),
        Command::Send(command) => command.main(),
        Command::Tail(command) => command.main(),
        Command::Forward(command) => command.main(),
        Command::Replay(command) => command.main(),
        Command::Check(command) => command.main(),
        Command::Pattern(command) => command.main(),
        Command::Iam(command) => command.main(),
        Command::Schema(command) => command.main(),
        Command::Stream(command) => command.main(),
        #[cfg(feature = "local")]
        Command::Local(command) => command.main(),
        #[cfg(feature = "local")]
        Command::Conformance(command) => command.main(),
    }
}
