//! `schema check`: what is wrong with a folder, for CI: a list, and an exit code.

use std::fmt::Write;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use dispatchd_schema::check::{Asked, Problem, check};
use dispatchd_schema::compat::Compat;
use serde::Serialize;

use super::shared::{FolderFlag, RulesFlag, failed};
use crate::cli::common::{exit, said};
use crate::cli::out;
use crate::programs::schema::{self, Error};

#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    folder: FolderFlag,
    #[command(flatten)]
    rules: RulesFlag,
    /// Compare with the schemas of another folder; or of this one at a revision of git, if there
    /// is no folder of that name
    #[arg(long, value_name = "REVISION|DIR")]
    against: Option<String>,
    /// What a change may not break. forward: who has the old schema reads new events; backward: who
    /// has the new schema reads old events; full: both
    #[arg(long, value_name = "MODE", default_value = "forward", requires = "against")]
    compat: CompatName,
    /// A type that must have a sample, whatever the folder has; may be given several times
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CompatName {
    Backward,
    Forward,
    Full,
}

#[derive(Serialize)]
struct Report<'a> {
    types: usize,
    problems: &'a [Problem],
}

impl Check {
    pub(super) fn main(self) -> ExitCode {
        match self.run() {
            Ok((text, is_right)) => {
                said(out::print(&text), if is_right { 0 } else { exit::FAILED })
            }
            Err(error) => failed(&error),
        }
    }

    fn run(self) -> Result<(String, bool), Error> {
        let folder = schema::folder(&self.folder.folder)?;
        let against = self.against.as_deref();
        let against =
            against.map(|other| schema::against(&self.folder.folder, other)).transpose()?;
        let compat = match self.compat {
            CompatName::Backward => Compat::Backward,
            CompatName::Forward => Compat::Forward,
            CompatName::Full => Compat::Full,
        };
        let asked = Asked { rules: self.rules.rules(), compat, types: self.types };
        let problems = check(&folder, against.as_ref(), &asked);
        let types = folder.types().count();
        let text = if self.json {
            let report = Report { types, problems: &problems };
            serde_json::to_string(&report).expect("texts can be written as JSON") + "\n"
        } else {
            listed(types, &problems)
        };
        Ok((text, problems.is_empty()))
    }
}

fn listed(types: usize, problems: &[Problem]) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    for Problem { event_type, what, diff, .. } in problems {
        let _ = writeln!(text, "{event_type}: {what}");
        for line in diff.iter().flat_map(|diff| diff.lines()) {
            let _ = writeln!(text, "    {line}");
        }
    }
    let _ = match (types, problems.len()) {
        (1, 0) => writeln!(text, "1 type, nothing is wrong"),
        (types, 0) => writeln!(text, "{types} types, nothing is wrong"),
        (_, 1) => writeln!(text, "1 problem"),
        (_, problems) => writeln!(text, "{problems} problems"),
    };
    text
}
