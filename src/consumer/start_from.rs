//! The words for where reading a stream begins, as people type them: one reading for the
//! configuration and for the commands.

use std::time::SystemTime;

use chrono::DateTime;
use dispatchd_consumer::plan::StartFrom;

/// What follows `at=`.
const AT: &str = "at=";

/// Reads `latest`, `trim-horizon` or `at=` and a time (RFC 3339); `None` for any other text.
pub(crate) fn start_from(text: &str) -> Option<StartFrom> {
    match text {
        "latest" => Some(StartFrom::Latest),
        "trim-horizon" => Some(StartFrom::TrimHorizon),
        _ => {
            let time = DateTime::parse_from_rfc3339(text.strip_prefix(AT)?).ok()?;
            Some(StartFrom::At(SystemTime::from(time)))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_is_rfc_3339_with_any_offset_and_nothing_else_is_a_place_to_begin() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(3_600_500);
        for text in ["at=1970-01-01T01:00:00.500Z", "at=1970-01-01T03:00:00.5+02:00"] {
            assert_eq!(start_from(text), Some(StartFrom::At(at)), "{text}");
        }
        assert_eq!(start_from("latest"), Some(StartFrom::Latest));
        assert_eq!(start_from("trim-horizon"), Some(StartFrom::TrimHorizon));
        for text in ["", "at=", "at=yesterday", "at=1970-01-01", "LATEST", "after=17"] {
            assert_eq!(start_from(text), None, "{text}");
        }
    }
}
