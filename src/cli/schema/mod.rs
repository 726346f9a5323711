//! `schema`: schemas of events from samples, for CI and for other tools; one file a command.

mod check;
mod docs;
mod export;
mod generate;
mod print;
mod shared;
mod validate;

use std::process::ExitCode;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(
    after_help = "DIR has files by type: TYPE.sample.json (one sample, or an array of several), \
                  TYPE.samples.ndjson, TYPE.schema.patch.json, and TYPE.schema.json, which is \
                  made from the others.\n\nExit codes: 0: done, and nothing is wrong; 1: something \
                  is wrong, and was told; 64: bad usage."
)]
pub(super) struct Schema {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write the schema of each type that has samples
    Generate(generate::Generate),
    /// Say what is wrong with a folder: samples that are missing or do not fit, schemas that are
    /// not what samples make, changes that break a consumer
    Check(check::Check),
    /// Check data against the schema of a type
    Validate(validate::Validate),
    /// Write schemas for other tools
    Export(export::Export),
    /// Write a page a type, for people
    Docs(docs::Docs),
    /// Print a schema that is the daemon's own
    Print(print::Print),
}

impl Schema {
    pub(super) fn main(self) -> ExitCode {
        match self.command {
            Command::Generate(command) => command.main(),
            Command::Check(command) => command.main(),
            Command::Validate(command) => command.main(),
            Command::Export(command) => command.main(),
            Command::Docs(command) => command.main(),
            Command::Print(command) => command.main(),
        }
    }
}
