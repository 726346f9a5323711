//! Samples as their owners write them: one JSON text with a value or an array of several, or one
//! value a line. It reads no file.

use serde_json::Value;

use crate::bounds::{FILE_BYTES_MAX, SAMPLES_MAX};

/// Why a file has no samples that can be used.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    #[error("it is {bytes} bytes, and a file may have {FILE_BYTES_MAX}")]
    TooLarge { bytes: usize },
    #[error("it is not JSON: {0}")]
    NotJson(serde_json::Error),
    #[error("line {line} is not JSON: {error}")]
    LineNotJson { line: usize, error: serde_json::Error },
    #[error("it has no sample: write one value, or an array of several")]
    None,
    #[error("it has more than {SAMPLES_MAX} samples")]
    TooMany,
    #[error("sample {number}: {error}")]
    TooDeep { number: usize, error: super::TooDeep },
}

/// The samples of one JSON text. An array is several samples: a sample that is an array itself
/// stands in another one.
///
/// # Errors
/// If there is none, or too many, or no JSON.
pub fn read_values(text: &[u8]) -> Result<Vec<Value>, SampleError> {
    check_size(text)?;
    match serde_json::from_slice(text).map_err(SampleError::NotJson)? {
        Value::Array(values) => bounded(values),
        value => Ok(vec![value]),
    }
}

/// The samples of a text with one JSON value a line. Empty lines are none.
///
/// # Errors
/// As above.
pub fn read_lines(text: &[u8]) -> Result<Vec<Value>, SampleError> {
    check_size(text)?;
    let lines = text.split(|byte| *byte == b'\n').enumerate();
    let values = lines.filter(|(_, line)| !line.trim_ascii().is_empty()).map(|(at, line)| {
        serde_json::from_slice(line)
            .map_err(|error| SampleError::LineNotJson { line: at + 1, error })
    });
    bounded(values.collect::<Result<_, _>>()?)
}

fn check_size(text: &[u8]) -> Result<(), SampleError> {
    match text.len() {
        bytes if bytes > FILE_BYTES_MAX => Err(SampleError::TooLarge { bytes }),
        _ => Ok(()),
    }
}

fn bounded(values: Vec<Value>) -> Result<Vec<Value>, SampleError> {
    match values.len() {
        0 => Err(SampleError::None),
        count if count > SAMPLES_MAX => Err(SampleError::TooMany),
        _ => Ok(values),
    }
}
