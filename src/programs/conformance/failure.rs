//! What is told of a client that does not keep a promise.

/// Why a client does not keep a promise; or why a page cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The line of the page, if it was one of them that failed.
    pub line: Option<usize>,
    pub text: String,
    pub expected: String,
    pub came: String,
}

impl Failure {
    pub(super) fn at(line: usize, text: &str, expected: &str, came: &str) -> Self {
        let (text, expected, came) = (text.to_owned(), expected.to_owned(), came.to_owned());
        Self { line: Some(line), text, expected, came }
    }
}
