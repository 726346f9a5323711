//! What the commands on schemas share: flags, and how it is told what was written.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use dispatchd_schema::envelope::Envelope;
use dispatchd_schema::export::Draft;
use dispatchd_schema::shape::Rules;

use crate::cli::common::{exit, fail};
use crate::programs::schema::{Error, Written};

/// How much is concluded from samples.
#[derive(Debug, Args)]
pub(super) struct RulesFlag {
    /// Conclude as quicktype does: no other property than those of the samples, and null alone
    /// where a sample has nothing else
    #[arg(long)]
    strict: bool,
}

impl RulesFlag {
    pub(super) fn rules(&self) -> Rules {
        if self.strict { Rules::Strict } else { Rules::Open }
    }
}

/// The folder of schemas, as every command takes it.
#[derive(Debug, Args)]
pub(super) struct FolderFlag {
    /// The folder of schemas
    #[arg(value_name = "DIR", default_value = "schemas")]
    pub(super) folder: PathBuf,
}

/// A draft of JSON Schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum DraftName {
    #[value(name = "4")]
    Four,
    #[value(name = "6")]
    Six,
    #[value(name = "7")]
    Seven,
    #[value(name = "2020-12")]
    Latest,
}

impl DraftName {
    pub(super) fn draft(self) -> Draft {
        match self {
            Self::Four => Draft::Four,
            Self::Six => Draft::Six,
            Self::Seven => Draft::Seven,
            Self::Latest => Draft::Latest,
        }
    }
}

/// A form of an envelope by its name.
pub(super) fn envelope(profile: &str) -> Result<Envelope, String> {
    let names =
        || dispatchd_schema::envelope::ENVELOPES.map(|envelope| envelope.profile).join(", ");
    Envelope::named(profile).ok_or_else(|| format!("it is one of {}", names()))
}

/// One line for each file that was written, and one for all that were not.
pub(super) fn told(written: &[Written]) -> String {
    let mut text = String::new();
    for file in written.iter().filter(|file| file.is_changed) {
        text.push_str(&format!("wrote {}\n", file.path.display()));
    }
    let unchanged = written.iter().filter(|file| !file.is_changed).count();
    match (unchanged, written.len()) {
        (_, 0) => text.push_str("nothing to write: no type has samples or a schema\n"),
        (0, _) => {}
        (1, _) => text.push_str("1 file is as it was\n"),
        (many, _) => text.push_str(&format!("{many} files are as they were\n")),
    }
    text
}

pub(super) fn failed(error: &Error) -> ExitCode {
    fail(error, exit::FAILED)
}
