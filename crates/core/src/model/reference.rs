//! What a caller tells one answer from another by. The input that asks chooses it and prints it
//! back; everything between carries it and never looks into it.

/// The reference of one request for an answer. Two words long, and a number costs no allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// A number that the input counts itself: NDJSON the line on its connection, an input whose
    /// requests hold many events the event's index in its request.
    Number(u64),
    /// The caller's own text, echoed as it came: NDJSON keeps `ref` as JSON here.
    Text(Box<str>),
}

impl Reference {
    /// Bytes that the reference holds besides itself.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Reference::Number(_) => 0,
            Reference::Text(text) => text.len(),
        }
    }
}

impl Default for Reference {
    /// What is left behind where a reference was taken out: it is no request's.
    fn default() -> Self {
        Reference::Number(0)
    }
}

const _: () = assert!(size_of::<Reference>() == 16, "every ticket carries one");
