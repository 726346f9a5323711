//! `schema print`: schemas that are the daemon's own.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use dispatchd_schema::envelope::Envelope;
use dispatchd_schema::text;

use super::shared::{DraftName, envelope};
use crate::cli::common::{exit, fail, said};
use crate::cli::out;

#[derive(Debug, Args)]
pub(super) struct Print {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The schema of what is around an event's data in the stream
    Envelope(EnvelopeFlags),
}

#[derive(Debug, Args)]
struct EnvelopeFlags {
    /// The form, as `envelope.profile`
    #[arg(long, value_name = "PROFILE", default_value = "lk", value_parser = envelope)]
    profile: Envelope,
    /// The draft of JSON Schema
    #[arg(long, value_name = "DRAFT", default_value = "2020-12")]
    draft: DraftName,
}

impl Print {
    pub(super) fn main(self) -> ExitCode {
        let What::Envelope(EnvelopeFlags { profile, draft }) = self.what;
        let schema = serde_json::from_str(profile.schema).expect("its crate's tests read it");
        match draft.draft().rewrite(profile.profile, &schema) {
            Ok(schema) => said(out::print(&text::print(&schema)), 0),
            Err(error) => fail(error, exit::FAILED),
        }
    }
}
