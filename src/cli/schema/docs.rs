//! `schema docs`: a page a type, with its first sample.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use dispatchd_schema::docs::Form;
use dispatchd_schema::export;
use dispatchd_schema::name::file_stem;

use super::shared::{FolderFlag, failed, told};
use crate::cli::common::said;
use crate::cli::out;
use crate::programs::schema::{self, Error, Written};

#[derive(Debug, Args)]
pub(super) struct Docs {
    #[command(flatten)]
    folder: FolderFlag,
    /// The folder that the pages are written into
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// HTML instead of Markdown
    #[arg(long)]
    html: bool,
}

impl Docs {
    pub(super) fn main(self) -> ExitCode {
        match self.run() {
            Ok(written) => said(out::print(&told(&written)), 0),
            Err(error) => failed(&error),
        }
    }

    fn run(&self) -> Result<Vec<Written>, Error> {
        let form = if self.html { Form::Html } else { Form::Markdown };
        let folder = schema::folder(&self.folder.folder)?;
        let mut pages = Vec::new();
        for (event_type, schema) in export::committed(&folder).map_err(Error::Files)? {
            let files = folder.get(event_type).expect("its schema is from there");
            let samples = files.samples(event_type).map_err(|error| Error::Files(vec![error]))?;
            let page = form.page(event_type, &schema, samples.first());
            pages.push((file_stem(event_type) + form.ending(), page));
        }
        schema::write_all(&self.out, pages.into_iter())
    }
}
