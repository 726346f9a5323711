//! `schema export`: the committed schemas for other tools.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use dispatchd_schema::envelope::Envelope;
use dispatchd_schema::export::{self, About, Draft, Schemas, asyncapi, openapi};
use dispatchd_schema::folder::Part;
use dispatchd_schema::text;
use serde_json::Value;

use super::shared::{FolderFlag, envelope, told};
use crate::cli::common::{exit, fail, said};
use crate::cli::out;
use crate::programs::schema::{self, Error};

#[derive(Debug, Args)]
#[command(
    after_help = "A draft of JSON Schema is one document a type: one is printed with --type, all are \
                  written with --out. openapi3 and asyncapi3 are one document for all types, which \
                  is printed."
)]
pub(super) struct Export {
    #[command(flatten)]
    folder: FolderFlag,
    /// The form
    #[arg(long = "draft", value_name = "FORM")]
    form: Form,
    /// One type alone
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Write a file a type into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "event_type")]
    out: Option<PathBuf>,
    /// asyncapi3: the stream's name
    #[arg(long, value_name = "NAME", default_value = "events")]
    stream: String,
    /// asyncapi3: the form that events are published in, as `envelope.profile`
    #[arg(long, value_name = "PROFILE", default_value = "lk", value_parser = envelope)]
    profile: Envelope,
    /// asyncapi3: the document's version
    #[arg(long, value_name = "VERSION", default_value = "1.0.0")]
    version: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    #[value(name = "4")]
    Four,
    #[value(name = "6")]
    Six,
    #[value(name = "7")]
    Seven,
    #[value(name = "2020-12")]
    Latest,
    #[value(name = "openapi3")]
    OpenApi,
    #[value(name = "asyncapi3")]
    AsyncApi,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Folder(#[from] Error),
    #[error(transparent)]
    Unsayable(#[from] export::Unsayable),
    #[error("there is no schema of the type {0}")]
    NoType(String),
    #[error("a draft of JSON Schema is one document a type: say --type TYPE, or --out DIR")]
    NoPlace,
    #[error("--out takes a draft of JSON Schema: this form is one document, which is printed")]
    OneDocument,
}

impl Export {
    pub(super) fn main(self) -> ExitCode {
        match self.run() {
            Ok(text) => said(out::print(&text), 0),
            Err(error @ (Failure::NoPlace | Failure::OneDocument)) => fail(error, exit::USAGE),
            Err(error) => fail(error, exit::FAILED),
        }
    }

    /// What is to be printed.
    fn run(&self) -> Result<String, Failure> {
        let folder = schema::folder(&self.folder.folder)?;
        let mut schemas = export::committed(&folder).map_err(Error::Files)?;
        if let Some(event_type) = &self.event_type {
            schemas.retain(|other, _| other == event_type);
            if schemas.is_empty() {
                return Err(Failure::NoType(event_type.clone()));
            }
        }
        match self.form.draft() {
            Some(draft) => self.draft(draft, &schemas),
            None if self.out.is_some() => Err(Failure::OneDocument),
            None => Ok(text::print(&self.document(&schemas)?)),
        }
    }

    fn draft(&self, draft: Draft, schemas: &Schemas<'_>) -> Result<String, Failure> {
        let rewritten = schemas.iter().map(|(event_type, schema)| {
            Ok((*event_type, text::print(&draft.rewrite(event_type, schema)?)))
        });
        let rewritten: Vec<(&str, String)> = rewritten.collect::<Result<_, Failure>>()?;
        match (&self.event_type, &self.out) {
            (Some(_), _) => Ok(rewritten.into_iter().map(|(_, text)| text).collect()),
            (None, None) => Err(Failure::NoPlace),
            (None, Some(out)) => {
                let named = rewritten.into_iter();
                let named = named.map(|(name, text)| (Part::Schema.file_name(name), text));
                Ok(told(&schema::write_all(out, named)?))
            }
        }
    }

    fn document(&self, schemas: &Schemas<'_>) -> Result<Value, export::Unsayable> {
        if self.form == Form::OpenApi {
            return openapi(schemas);
        }
        let title = format!("Events of {}", self.stream);
        let about = About { stream: &self.stream, title: &title, version: &self.version };
        asyncapi(schemas, self.profile, about)
    }
}

impl Form {
    fn draft(self) -> Option<Draft> {
        match self {
            Self::Four => Some(Draft::Four),
            Self::Six => Some(Draft::Six),
            Self::Seven => Some(Draft::Seven),
            Self::Latest => Some(Draft::Latest),
            Self::OpenApi | Self::AsyncApi => None,
        }
    }
}
