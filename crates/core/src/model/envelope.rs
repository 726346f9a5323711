//! The envelope that is published for an event: its keys, their order and their defaults.
//!
//! It is byte for byte what `lk-dispatch` 1.1.0 writes for the same id, timestamp and key. `data`
//! is copied as it came, no white space is added, and the envelope is written once, into one exact
//! allocation.

use std::time::SystemTime;

use bytes::Bytes;
use uuid::Uuid;

use super::PartitionKey;
use crate::json::{json_str_len, push_json_str};

/// A time as text: RFC 3339 in UTC with three decimals, `YYYY-MM-DDTHH:MM:SS.mmmZ`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp([u8; Timestamp::LEN]);

/// What an envelope is made of, before it is written.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    pub id: Uuid,
    pub event_type: &'a str,
    /// A JSON object, verbatim from the caller.
    pub data: &'a str,
    pub timestamp: Timestamp,
    pub user_id: Option<&'a str>,
    pub producer_id: &'a str,
    pub key: &'a PartitionKey,
}

/// Times before 1970 become 1970, years past 9999 the end of 9999.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self::from_unix_ms(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }
}

impl Timestamp {
    const LEN: usize = 24;

    /// Prints a Unix time in milliseconds. A time past the year 9999, which the form cannot hold,
    /// is printed as the last one that it can.
    pub fn from_unix_ms(unix_ms: u64) -> Self {
        const LAST_MS: i64 = 253_402_300_799_999; // 9999-12-31T23:59:59.999Z
        let ms = i64::try_from(unix_ms).unwrap_or(LAST_MS).min(LAST_MS);
        let text = chrono::DateTime::from_timestamp_millis(ms)
            .expect("0 to LAST_MS is inside chrono's range")
            .to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        Self(text.into_bytes().try_into().expect("four-digit years print as 24 bytes"))
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("made from a str")
    }

    /// The 17 digits as one number, for those who keep many timestamps.
    pub fn pack(&self) -> u64 {
        let digits = self.0.iter().filter(|byte| byte.is_ascii_digit());
        digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
    }

    /// The timestamp that [`pack`](Self::pack) made a number of.
    pub fn unpack(mut number: u64) -> Self {
        let mut text = *b"0000-00-00T00:00:00.000Z";
        for byte in text.iter_mut().rev().filter(|byte| byte.is_ascii_digit()) {
            *byte = b'0' + (number % 10) as u8;
            number /= 10;
        }
        Self(text)
    }

    /// The text as bytes, for those who print many timestamps: no check that they are UTF-8.
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl Draft<'_> {
    /// Writes the envelope, of the length that [`sealed_len`](Self::sealed_len) gives.
    pub fn seal(&self, sealed_len: usize) -> Bytes {
        let mut data = Vec::with_capacity(sealed_len);
        let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
        data.extend_from_slice(b"{\"id\":\"");
        data.extend_from_slice(self.id.hyphenated().encode_lower(&mut id).as_bytes());
        data.extend_from_slice(b"\",\"type\":");
        push_json_str(&mut data, self.event_type);
        data.extend_from_slice(b",\"data\":");
        data.extend_from_slice(self.data.as_bytes());
        data.extend_from_slice(b",\"timestamp\":\"");
        data.extend_from_slice(self.timestamp.as_bytes());
        data.extend_from_slice(b"\",\"source\":{\"userId\":");
        match self.user_id {
            Some(user) => push_json_str(&mut data, user),
            None => data.extend_from_slice(b"null"),
        }
        data.extend_from_slice(b",\"producerId\":");
        push_json_str(&mut data, self.producer_id);
        data.extend_from_slice(b",\"kinesisPartitionKey\":");
        push_json_str(&mut data, self.key.as_str());
        data.extend_from_slice(b"}}");
        debug_assert_eq!(data.len(), sealed_len, "one exact allocation");
        Bytes::from(data)
    }

    /// The exact length of the envelope, before it is written: the budget is charged by it. An
    /// escape makes up to six bytes of one, so a length without escapes would let a caller hold six
    /// times the bytes that were taken for it.
    pub fn sealed_len(&self) -> usize {
        const FRAME: usize = 158; // the fixed texts above, with id and timestamp
        FRAME
            + json_str_len(self.event_type)
            + self.data.len()
            + self.user_id.map_or("null".len(), json_str_len)
            + json_str_len(self.producer_id)
            + json_str_len(self.key.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft<'a>(
        key: &'a PartitionKey,
        event_type: &'a str,
        data: &'a str,
        user_id: Option<&'a str>,
    ) -> Draft<'a> {
        Draft {
            id: Uuid::from_u128(0x0961_6966_9f74_4da9_b7f5_2f56_770e_4f71),
            event_type,
            data,
            timestamp: Timestamp::from_unix_ms(1_795_210_449_335),
            user_id,
            producer_id: "server@hostname",
            key,
        }
    }

    fn key() -> PartitionKey {
        PartitionKey::new("partitionKey").expect("12 characters")
    }

    fn sealed(event_type: &str, data: &str, user_id: Option<&str>) -> String {
        let key = key();
        let draft = draft(&key, event_type, data, user_id);
        let sealed = draft.seal(draft.sealed_len());
        String::from_utf8(sealed.to_vec()).expect("JSON is UTF-8")
    }

    #[test]
    fn the_envelope_has_exactly_the_published_keys_in_order() {
        let envelope = sealed("eventType", r#"{"key":"value"}"#, Some("userId"));
        let expected = concat!(
            r#"{"id":"09616966-9f74-4da9-b7f5-2f56770e4f71","type":"eventType","#,
            r#""data":{"key":"value"},"timestamp":"2026-11-20T21:34:09.335Z","#,
            r#""source":{"userId":"userId","producerId":"server@hostname","#,
            r#""kinesisPartitionKey":"partitionKey"}}"#
        );
        assert_eq!(envelope, expected);
    }

    #[test]
    fn without_a_user_the_user_id_is_null() {
        let text = sealed("t", "{}", None);
        assert!(text.contains(r#""source":{"userId":null,"producerId""#), "{text}");
    }

    #[test]
    fn data_is_copied_byte_for_byte_and_strings_are_escaped_as_json_stringify_does() {
        let data = "{ \"a\" : 1.50, \"b\":9007199254740993,\"\\u0041\":\"\\/\" }";
        let text = sealed("tab\tquote\"\u{1f}\u{2028}", data, None);
        assert!(text.contains(data), "{text}");
        assert!(text.contains("\"tab\\tquote\\\"\\u001f\u{2028}\""), "{text}");
    }

    #[test]
    fn the_length_is_known_before_the_envelope_is_written_escapes_included() {
        let every_ascii: String = (0..0x80u8).map(char::from).collect();
        for (event_type, user_id) in [
            ("eventType", Some("u")),
            ("eventType", None),
            // Found by fuzzing: it was charged as 1000 bytes, not 6000.
            (&*"\u{1}".repeat(1000), Some("\"\n\u{7f}")),
            (&*every_ascii, Some("café\u{2028}")),
        ] {
            let key = key();
            let sealing = draft(&key, event_type, "{}", user_id);
            let claimed = sealing.sealed_len();
            assert_eq!(sealing.seal(claimed).len(), claimed, "{event_type:?} {user_id:?}");
        }
    }

    #[test]
    fn a_timestamp_always_has_three_decimals_and_a_z() {
        assert_eq!(Timestamp::from_unix_ms(0).as_bytes(), b"1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp::from_unix_ms(u64::MAX).as_bytes(), b"9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn a_timestamp_in_one_number_is_the_same_again() {
        for unix_ms in [0, 1_795_210_449_335, u64::MAX] {
            let timestamp = Timestamp::from_unix_ms(unix_ms);
            assert_eq!(Timestamp::unpack(timestamp.pack()), timestamp);
        }
        assert_eq!(Timestamp::from_unix_ms(1_795_210_449_335).pack(), 20_261_120_213_409_335);
    }
}
