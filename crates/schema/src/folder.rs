//! The files of a folder of schemas, by type. Names and texts come in; it opens no file.
//!
//! | file | what it is |
//! |---|---|
//! | `TYPE.sample.json` | one sample, or an array of several; by hand or by a test of the owner's |
//! | `TYPE.samples.ndjson` | samples, one a line |
//! | `TYPE.schema.patch.json` | what is added to the schema by hand |
//! | `TYPE.schema.json` | the schema: made from the others, and committed |
//!
//! `TYPE` is as [`crate::name`] writes it. Files of other names are not looked at: a folder may
//! have a README, and a ConfigMap has links of its own.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::bounds::FILE_BYTES_MAX;
use crate::compiled::{LoadError, Schema};
use crate::name;
use crate::shape::{Rules, SampleError, Shape, read_lines, read_values};
use crate::{patch, text};

/// What a file of a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Sample,
    SampleLines,
    Patch,
    Schema,
}

/// The files of one type, as far as there are some.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    parts: BTreeMap<Part, Vec<u8>>,
}

/// The files of all types.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folder {
    types: BTreeMap<String, Files>,
}

/// A file that nothing can be made of.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {why}")]
pub struct FileError {
    pub file: String,
    pub why: Why,
}

#[derive(Debug, thiserror::Error)]
pub enum Why {
    #[error(
        "its name is not as the type's is written: {}",
        expected.as_deref().map_or_else(
            || "letters, digits, dots, dashes, underscores, spaces, and %XX for other bytes".to_owned(),
            |expected| format!("name it {expected}"),
        )
    )]
    Name { expected: Option<String> },
    #[error(transparent)]
    Sample(#[from] SampleError),
    #[error("it would be {bytes} bytes, and a file may have {FILE_BYTES_MAX}")]
    TooLarge { bytes: usize },
    #[error("it is not JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    #[error("the schema is not one: {0}")]
    Schema(#[from] LoadError),
}

impl Part {
    pub const ALL: [Self; 4] = [Self::Sample, Self::SampleLines, Self::Patch, Self::Schema];

    /// How the names of such files end.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Sample => ".sample.json",
            Self::SampleLines => ".samples.ndjson",
            Self::Patch => ".schema.patch.json",
            Self::Schema => ".schema.json",
        }
    }

    /// The name of this file of a type.
    pub fn file_name(self, event_type: &str) -> String {
        name::file_stem(event_type) + self.ending()
    }

    /// What a file of this name is, and what stands before its ending. `None`: nothing of ours.
    pub fn of(file_name: &str) -> Option<(Self, &str)> {
        let part = |part: Self| Some((part, file_name.strip_suffix(part.ending())?));
        Self::ALL.into_iter().find_map(part)
    }

    /// The same, with the type.
    ///
    /// # Errors
    /// If it is one of ours by its ending, and its name is no type's.
    pub(crate) fn of_type(file_name: &str) -> Result<Option<(Self, String)>, FileError> {
        let Some((part, stem)) = Self::of(file_name) else { return Ok(None) };
        match name::event_type(stem) {
            Some(event_type) => Ok(Some((part, event_type))),
            None => {
                let expected = (!stem.is_empty()).then(|| part.file_name(stem));
                Err(FileError { file: file_name.to_owned(), why: Why::Name { expected } })
            }
        }
    }

    /// The schema of a type, from its text.
    pub(crate) fn loaded(event_type: &str, text: &[u8]) -> Result<Schema, FileError> {
        let schema = Self::json(event_type, text)?;
        Schema::load(&schema).map_err(|error| at(Self::Schema, event_type, error))
    }

    fn json(event_type: &str, text: &[u8]) -> Result<Value, FileError> {
        serde_json::from_slice(text).map_err(|error| at(Self::Schema, event_type, error))
    }
}

impl Folder {
    /// Adds a file, unless it is none of ours.
    ///
    /// # Errors
    /// If it is one by its ending, and its name is no type's.
    pub fn add(&mut self, file_name: &str, text: Vec<u8>) -> Result<(), FileError> {
        if let Some((part, event_type)) = Part::of_type(file_name)? {
            self.types.entry(event_type).or_default().parts.insert(part, text);
        }
        Ok(())
    }

    /// The types, by name.
    pub fn types(&self) -> impl Iterator<Item = (&str, &Files)> {
        self.types.iter().map(|(event_type, files)| (event_type.as_str(), files))
    }

    pub fn get(&self, event_type: &str) -> Option<&Files> {
        self.types.get(event_type)
    }

    /// The text of each type's schema that has samples, as it would be written.
    ///
    /// # Errors
    /// The files that keep a schema from being made.
    pub fn generate(&self, rules: Rules) -> Result<BTreeMap<&str, String>, Vec<FileError>> {
        let (mut texts, mut errors) = (BTreeMap::new(), Vec::new());
        for (event_type, files) in self.types().filter(|(_, files)| files.has_samples()) {
            match files.generate(event_type, rules) {
                Ok(text) => drop(texts.insert(event_type, text)),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(texts) } else { Err(errors) }
    }
}

impl Files {
    pub fn part(&self, part: Part) -> Option<&[u8]> {
        self.parts.get(&part).map(Vec::as_slice)
    }

    pub(crate) fn has_samples(&self) -> bool {
        self.part(Part::Sample).or(self.part(Part::SampleLines)).is_some()
    }

    /// All samples of the type: those of its JSON file, then those of its lines.
    ///
    /// # Errors
    /// If a file has none.
    pub fn samples(&self, event_type: &str) -> Result<Vec<Value>, FileError> {
        let mut samples = self.samples_of(Part::Sample, event_type)?;
        samples.append(&mut self.samples_of(Part::SampleLines, event_type)?);
        Ok(samples)
    }

    /// The samples of one file of the type; none where there is no such file.
    fn samples_of(&self, part: Part, event_type: &str) -> Result<Vec<Value>, FileError> {
        let read = match part {
            Part::SampleLines => read_lines,
            _ => read_values,
        };
        let Some(text) = self.part(part) else { return Ok(Vec::new()) };
        read(text).map_err(|error| at(part, event_type, error))
    }

    /// What the samples have in common.
    ///
    /// # Errors
    /// If a file has none, or a sample goes too deep.
    pub(crate) fn shape(&self, event_type: &str) -> Result<Shape, FileError> {
        let mut shape = Shape::default();
        for part in [Part::Sample, Part::SampleLines] {
            for (index, sample) in self.samples_of(part, event_type)?.iter().enumerate() {
                let too_deep = |error| SampleError::TooDeep { number: index + 1, error };
                shape.see(sample).map_err(|error| at(part, event_type, too_deep(error)))?;
            }
        }
        Ok(shape)
    }

    /// The text of the schema that the samples and the patch make.
    ///
    /// # Errors
    /// If they make none.
    pub fn generate(&self, event_type: &str, rules: Rules) -> Result<String, FileError> {
        self.patched(event_type, &self.shape(event_type)?, rules)
    }

    /// The text of the schema that a shape and the patch make.
    ///
    /// # Errors
    /// If they make none.
    pub(crate) fn patched(
        &self,
        event_type: &str,
        shape: &Shape,
        rules: Rules,
    ) -> Result<String, FileError> {
        let mut schema = shape.to_schema(event_type, rules);
        let mut made_by = Part::Sample;
        if let Some(change) = self.part(Part::Patch) {
            made_by = Part::Patch;
            let change = serde_json::from_slice(change)
                .map_err(|error| at(Part::Patch, event_type, error))?;
            patch::apply(&mut schema, &change);
        }
        Schema::load(&schema).map_err(|error| at(made_by, event_type, error))?;
        let text = text::print(&schema);
        match text.len() {
            bytes if bytes > FILE_BYTES_MAX => {
                Err(at(Part::Schema, event_type, Why::TooLarge { bytes }))
            }
            _ => Ok(text),
        }
    }

    /// The patch alone.
    pub(crate) fn only_patch(&self) -> Self {
        let patch = self.part(Part::Patch).map(|text| (Part::Patch, text.to_vec()));
        Self { parts: patch.into_iter().collect() }
    }

    /// The schema that is committed, if there is one.
    ///
    /// # Errors
    /// If it is no JSON.
    pub fn committed(&self, event_type: &str) -> Result<Option<Value>, FileError> {
        self.part(Part::Schema).map(|text| Part::json(event_type, text)).transpose()
    }

    /// The same, loaded.
    ///
    /// # Errors
    /// As above, or if it is not loaded.
    pub fn loaded(&self, event_type: &str) -> Result<Option<Schema>, FileError> {
        self.part(Part::Schema).map(|text| Part::loaded(event_type, text)).transpose()
    }
}

fn at(part: Part, event_type: &str, why: impl Into<Why>) -> FileError {
    FileError { file: part.file_name(event_type), why: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> Folder {
        let mut folder = Folder::default();
        for (name, text) in files {
            folder.add(name, text.as_bytes().to_vec()).expect("its name is right");
        }
        folder
    }

    #[test]
    fn what_a_person_added_survives_and_the_same_files_make_the_same_bytes() {
        let files = [
            ("Order.sample.json", r#"{"id": 1, "state": "paid", "at": "2026-11-20"}"#),
            ("Order.samples.ndjson", "{\"id\": 2, \"state\": \"new\", \"at\": \"2026-11-21\"}\n"),
            (
                "Order.schema.patch.json",
                r#"{"properties": {"state": {"enum": ["new", "paid"]}, "at": {"format": null}}}"#,
            ),
            ("README.md", "not ours"),
        ];
        let made = folder(&files);
        let texts = made.generate(Rules::Open).expect("they make a schema");
        let schema: Value = serde_json::from_str(&texts["Order"]).expect("it is JSON");
        assert_eq!(schema["properties"]["state"]["enum"], serde_json::json!(["new", "paid"]));
        assert_eq!(schema["properties"]["at"], serde_json::json!({"type": "string"}));
        let mut reversed = files;
        reversed.reverse();
        assert_eq!(folder(&reversed).generate(Rules::Open).expect("they do"), texts);
        assert_eq!(made.types().count(), 1);
    }

    #[test]
    fn a_file_that_nothing_can_be_made_of_is_named_with_the_reason() {
        let texts = |name, text| {
            let folder = folder(&[("A.sample.json", "{}"), (name, text)]);
            let errors = folder.generate(Rules::Open);
            errors.expect_err("it is wrong").iter().map(FileError::to_string).collect::<Vec<_>>()
        };
        let too_deep = format!("{{}}\n{}1{}\n", "[".repeat(65), "]".repeat(65));
        for (name, text, said) in [
            ("B.sample.json", "{", "B.sample.json: it is not JSON: "),
            ("B.sample.json", "[]", "B.sample.json: it has no sample"),
            ("A.samples.ndjson", &*too_deep, "A.samples.ndjson: sample 2: it has more than 64"),
            ("A.schema.patch.json", "nul", "A.schema.patch.json: it is not JSON: "),
            (
                "A.schema.patch.json",
                r#"{"requried": ["a"]}"#,
                "A.schema.patch.json: the schema is not one: at the root: requried is no keyword",
            ),
        ] {
            let texts = texts(name, text);
            assert!(texts.len() == 1 && texts[0].starts_with(said), "{texts:?}");
        }
        let error = Folder::default().add("a:b.sample.json", Vec::new()).expect_err("no name");
        assert_eq!(
            error.to_string(),
            "a:b.sample.json: its name is not as the type's is written: name it \
             a%3Ab.sample.json"
        );
    }
}
