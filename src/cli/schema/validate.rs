//! `schema validate`: data in files against the schema of a type.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use dispatchd_schema::bounds::FILE_BYTES_MAX;
use dispatchd_schema::compiled::Schema;
use dispatchd_schema::shape::{SampleError, read_lines, read_values};

use crate::cli::common::{exit, fail, said};
use crate::cli::out;
use crate::programs::schema;
use crate::schema::files;

#[derive(Debug, Args)]
#[command(
    after_help = "A file has one value, or an array of several; one that ends with .ndjson, and \
                  stdin, a value a line."
)]
pub(super) struct Validate {
    /// The folder of schemas
    #[arg(long, value_name = "DIR", default_value = "schemas")]
    dir: PathBuf,
    /// The type that the data is of
    #[arg(long = "type", value_name = "TYPE")]
    event_type: String,
    /// Files with data, without envelopes; -: stdin
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

impl Validate {
    pub(super) fn main(self) -> ExitCode {
        let schema = match self.schema() {
            Ok(schema) => schema,
            Err(error) => return fail(error, exit::FAILED),
        };
        let mut text = String::new();
        let mut is_right = true;
        for file in &self.files {
            let wrong = match wrong(&schema, file) {
                Ok(wrong) => wrong,
                Err(error) => vec![error],
            };
            is_right &= wrong.is_empty();
            for what in &wrong {
                text.push_str(&format!("{}: {what}\n", file.display()));
            }
            if wrong.is_empty() {
                text.push_str(&format!("{}: fits\n", file.display()));
            }
        }
        said(out::print(&text), if is_right { 0 } else { exit::FAILED })
    }

    fn schema(&self) -> Result<Schema, String> {
        let folder = schema::folder(&self.dir).map_err(|error| error.to_string())?;
        let files = folder.get(&self.event_type);
        let schema = files.map_or(Ok(None), |files| files.loaded(&self.event_type));
        schema.map_err(|error| error.to_string())?.ok_or_else(|| {
            format!("{} has no schema of the type {}", self.dir.display(), self.event_type)
        })
    }
}

/// What is wrong with each value of a file.
fn wrong(schema: &Schema, file: &Path) -> Result<Vec<String>, String> {
    let values = read(file)?.map_err(|error| error.to_string())?;
    let numbered = values.iter().enumerate();
    let wrong = numbered.filter_map(|(index, value)| {
        let violation = schema.validate(&value.to_string()).err()?;
        Some(format!("value {}: {violation}", index + 1))
    });
    Ok(wrong.collect())
}

fn read(file: &Path) -> Result<Result<Vec<serde_json::Value>, SampleError>, String> {
    if file == Path::new("-") {
        return Ok(read_lines(&bounded(std::io::stdin().lock())?));
    }
    let text = files::bounded(file).map_err(|error| error.to_string())?;
    let is_lines = file.extension().is_some_and(|ending| ending == "ndjson");
    Ok(if is_lines { read_lines(&text) } else { read_values(&text) })
}

/// All that comes, if it is no more than a file may have.
fn bounded(from: impl Read) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    let mut from = from.take(FILE_BYTES_MAX as u64 + 1);
    from.read_to_end(&mut text).map_err(|error| error.to_string())?;
    if text.len() > FILE_BYTES_MAX {
        return Err(format!("it is larger than {FILE_BYTES_MAX} bytes"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What could go wrong: the end of a long input is never looked at, and all of it fits.
    #[test]
    fn an_input_that_is_longer_than_a_file_is_refused_as_a_whole() {
        let lines = |count: usize| std::io::repeat(b'\n').take(count as u64);
        assert_eq!(bounded(lines(FILE_BYTES_MAX)).map(|text| text.len()), Ok(FILE_BYTES_MAX));
        let refused = bounded(lines(FILE_BYTES_MAX + 2)).expect_err("two too many");
        assert!(refused.contains("larger than"), "{refused}");
    }
}
