//! The two formats of a call and of its answer.

/// How a body is written. A call is answered in its own format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// AWS JSON 1.1: every SDK but Java's.
    Json,
    /// CBOR, in a form that AWS does not document: the SDKs for Java.
    Cbor,
}

impl Format {
    /// The format that a `content-type` names; `None` where it is neither.
    pub fn of(content_type: &str) -> Option<Self> {
        let media = content_type.split(';').next().unwrap_or_default().trim();
        [Self::Json, Self::Cbor]
            .into_iter()
            .find(|format| media.eq_ignore_ascii_case(format.name()))
    }

    /// The format's `content-type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "application/x-amz-json-1.1",
            Self::Cbor => "application/x-amz-cbor-1.1",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_known_in_any_case_and_with_parameters_and_no_other_is_taken_for_it() {
        for (said, format) in [
            ("application/x-amz-json-1.1", Some(Format::Json)),
            ("Application/X-AMZ-JSON-1.1; charset=utf-8", Some(Format::Json)),
            ("application/x-amz-cbor-1.1", Some(Format::Cbor)),
            ("application/json", None),
            ("application/x-amz-json-1.0", None),
            ("application/cbor", None),
            ("", None),
        ] {
            assert_eq!(Format::of(said), format, "{said}");
        }
    }
}
