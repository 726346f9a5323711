//! What CI asks of a folder: each type has a sample, each sample fits its schema, each committed
//! schema is what its samples make, and no change breaks who reads the events. It reads no file and
//! chooses no exit code.

use serde::Serialize;
use serde_json::Value;

use crate::compat::Compat;
use crate::compiled::Schema;
use crate::diff::diff;
use crate::folder::{FileError, Files, Folder, Part};
use crate::shape::Rules;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Asked {
    pub rules: Rules,
    pub compat: Compat,
    /// Types that must be there, whatever the folder has.
    pub types: Vec<String>,
}

/// What is wrong, in a word that programs can match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A file that nothing can be made of.
    File,
    NoSample,
    NoSchema,
    /// A sample does not fit the committed schema.
    SampleDoesNotFit,
    /// The committed schema is not what its samples make.
    NotGenerated,
    /// The change of a schema breaks who reads the events.
    Breaks,
    /// The same, since a type is gone.
    TypeRemoved,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    #[serde(rename = "type")]
    pub event_type: String,
    pub kind: Kind,
    /// Where in an event's data, as a JSON pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// What is wrong and what to do, as one line.
    pub what: String,
    /// The lines in which two texts differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
}

impl Problem {
    fn new(event_type: &str, kind: Kind, what: impl Into<String>) -> Self {
        let event_type = event_type.to_owned();
        Self { event_type, kind, pointer: None, what: what.into(), diff: None }
    }

    fn of_file(event_type: &str, error: &FileError) -> Self {
        Self::new(event_type, Kind::File, error.to_string())
    }
}

/// Everything that is wrong with a folder, by type. `against`: the folder as it was.
pub fn check(folder: &Folder, against: Option<&Folder>, asked: &Asked) -> Vec<Problem> {
    let mut problems: Vec<Problem> =
        folder.types().flat_map(|(event_type, files)| of_type(event_type, files, asked)).collect();
    for event_type in &asked.types {
        if folder.get(event_type).is_none() {
            problems.push(no_sample(event_type));
        }
    }
    for (event_type, old) in against.into_iter().flat_map(Folder::types) {
        problems.extend(of_change(event_type, old, folder.get(event_type), asked.compat));
    }
    problems.sort_by(|one, other| one.event_type.cmp(&other.event_type));
    problems
}

fn of_type(event_type: &str, files: &Files, asked: &Asked) -> Vec<Problem> {
    if !files.has_samples() {
        return vec![no_sample(event_type)];
    }
    let generated = match files.generate(event_type, asked.rules) {
        Ok(generated) => generated,
        Err(error) => return vec![Problem::of_file(event_type, &error)],
    };
    let Some(committed) = files.part(Part::Schema) else {
        let name = Part::Schema.file_name(event_type);
        let what = format!("there is no {name}: run `dispatchd schema generate` and commit it");
        return vec![Problem::new(event_type, Kind::NoSchema, what)];
    };
    let mut problems = Vec::new();
    if committed != generated.as_bytes() {
        let what = "the committed schema is not what its samples make: run `dispatchd schema \
                    generate`, and write by hand into the patch only";
        problems.push(Problem {
            diff: Some(diff(&String::from_utf8_lossy(committed), &generated)),
            ..Problem::new(event_type, Kind::NotGenerated, what)
        });
    }
    match files.loaded(event_type) {
        Err(error) => problems.push(Problem::of_file(event_type, &error)),
        Ok(schema) => problems.extend(schema.iter().flat_map(|schema| {
            let samples = files.samples(event_type).unwrap_or_default(); // they made a schema
            misfits(event_type, schema, &samples)
        })),
    }
    problems
}

fn misfits(event_type: &str, schema: &Schema, samples: &[Value]) -> Vec<Problem> {
    let numbered = samples.iter().enumerate();
    let violated = numbered.filter_map(|(index, sample)| {
        let violation = schema.validate(&sample.to_string()).err()?;
        let what = format!("sample {}: {violation}", index + 1);
        Some(Problem {
            pointer: Some(violation.pointer),
            ..Problem::new(event_type, Kind::SampleDoesNotFit, what)
        })
    });
    violated.collect()
}

fn no_sample(event_type: &str) -> Problem {
    let name = Part::Sample.file_name(event_type);
    Problem::new(event_type, Kind::NoSample, format!("it has no sample: write {name}"))
}

fn of_change(event_type: &str, old: &Files, new: Option<&Files>, compat: Compat) -> Vec<Problem> {
    let old = match old.committed(event_type) {
        Ok(Some(old)) => old,
        Ok(None) => return Vec::new(), // nobody could read it
        Err(error) => return vec![Problem::of_file(event_type, &error)],
    };
    // What is wrong with the new schema was said before.
    let new = new.map(|files| files.committed(event_type).ok().flatten());
    match new {
        None => {
            let what = "the type is gone: who reads its events waits for them, and old ones \
                        have no schema";
            vec![Problem::new(event_type, Kind::TypeRemoved, what)]
        }
        Some(None) => Vec::new(),
        Some(Some(new)) => match compat.breaks(&old, &new) {
            Err(error) => {
                let what = format!("its change cannot be compared: {error}");
                vec![Problem::new(event_type, Kind::File, what)]
            }
            Ok(breaks) => breaks
                .into_iter()
                .map(|found| Problem {
                    pointer: Some(found.gap.pointer.clone()),
                    ..Problem::new(event_type, Kind::Breaks, found.to_string())
                })
                .collect(),
        },
    }
}

#[cfg(test)]
mod tests;
