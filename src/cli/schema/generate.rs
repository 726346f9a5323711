//! `schema generate`: writes the schema of each type beside its samples.

use std::process::ExitCode;

use clap::Args;

use super::shared::{FolderFlag, RulesFlag, failed, told};
use crate::cli::common::said;
use crate::cli::out;
use crate::programs::schema;

#[derive(Debug, Args)]
pub(super) struct Generate {
    #[command(flatten)]
    folder: FolderFlag,
    #[command(flatten)]
    rules: RulesFlag,
}

impl Generate {
    pub(super) fn main(self) -> ExitCode {
        match schema::generate(&self.folder.folder, self.rules.rules()) {
            Ok(written) => said(out::print(&told(&written)), 0),
            Err(error) => failed(&error),
        }
    }
}
