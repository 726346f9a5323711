//! The bodies of GetRecords, in JSON. A page has a thousand records: read by hand, since the SDK
//! makes every text of it twice, which was most of what a record cost on its way out.
//!
//! Pure: nothing here sends or decides.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64_simd::STANDARD;
use dispatchd_core::json::push_json_str;
use dispatchd_core::model::read::{Page, StoredRecord};
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};

/// What is asked: at most so many records from an iterator on.
pub(super) fn request(iterator: &str, records_max: usize, stream_arn: Option<&str>) -> Vec<u8> {
    let mut body = format!(r#"{{"Limit":{records_max},"ShardIterator":"#).into_bytes();
    push_json_str(&mut body, iterator);
    if let Some(arn) = stream_arn {
        body.extend_from_slice(br#","StreamARN":"#);
        push_json_str(&mut body, arn);
    }
    body.push(b'}');
    body
}

/// The page in the body of a reply whose status is a success.
///
/// # Errors
/// The body is not what Kinesis documents.
pub(super) fn page(body: &[u8]) -> Result<Page, serde_json::Error> {
    // Checked once for the whole body: serde_json would check every text by itself.
    let text = str::from_utf8(body).map_err(serde_json::Error::custom)?;
    let Reply { records, next_shard_iterator, millis_behind_latest } = serde_json::from_str(text)?;
    Ok(Page {
        records,
        next_iterator: next_shard_iterator.filter(|iterator| !iterator.is_empty()),
        millis_behind_latest: millis_behind_latest.unwrap_or_default(),
    })
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Reply {
    #[serde(deserialize_with = "records")]
    records: Vec<StoredRecord>,
    next_shard_iterator: Option<String>,
    millis_behind_latest: Option<i64>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    sequence_number: String,
    partition_key: Option<String>,
    #[serde(borrow)]
    data: Cow<'a, str>,
    /// Seconds since 1970.
    approximate_arrival_timestamp: Option<f64>,
}

impl Entry<'_> {
    fn record(self) -> Result<StoredRecord, base64_simd::Error> {
        Ok(StoredRecord {
            sequence_number: self.sequence_number,
            partition_key: self.partition_key,
            data: STANDARD.decode_to_vec(self.data.as_bytes())?,
            arrived: self.approximate_arrival_timestamp.and_then(time),
        })
    }
}

/// A time that the service tells to the millisecond, which a binary fraction only comes near to.
fn time(seconds: f64) -> Option<SystemTime> {
    let since = Duration::try_from_secs_f64(seconds).ok()?;
    let millis = u64::try_from((since + Duration::from_micros(500)).as_millis()).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_millis(millis))
}

/// Makes a record of each entry as soon as it is read.
fn records<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<StoredRecord>, D::Error> {
    struct Records;

    impl<'de> Visitor<'de> for Records {
        type Value = Vec<StoredRecord>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of records")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut records = Vec::new();
            while let Some(entry) = entries.next_element::<Entry>()? {
                records.push(entry.record().map_err(A::Error::custom)?);
            }
            Ok(records)
        }
    }

    deserializer.deserialize_seq(Records)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_asked_is_json_whatever_the_iterator_is() {
        let read =
            |body: Vec<u8>| serde_json::from_slice::<serde_json::Value>(&body).expect("JSON");
        assert_eq!(
            read(request("AAA\"=\\", 7, None)),
            json!({ "ShardIterator": "AAA\"=\\", "Limit": 7 })
        );
        assert_eq!(
            read(request("A", 1000, Some("arn:aws:kinesis:eu-west-1:1:stream/s"))),
            json!({
                "ShardIterator": "A", "Limit": 1000,
                "StreamARN": "arn:aws:kinesis:eu-west-1:1:stream/s",
            })
        );
    }

    #[test]
    fn a_page_is_read_with_everything_that_it_says() {
        let body = r#"{"ChildShards":[{"ShardId":"s","ParentShards":[],"HashKeyRange":{}}],
            "MillisBehindLatest":2100,"NextShardIterator":"AAAB\/\u003d","New":{"a":[1.5]},"Records":[
            {"SequenceNumber":"49","PartitionKey":"a \"key\"\u00e9","Data":"aGk=","EncryptionType":"KMS",
             "ApproximateArrivalTimestamp":1.795848000123E9},
            {"Data":"\/\/8=","SequenceNumber":"50","PartitionKey":null},
            {"Data":"","SequenceNumber":"51","ApproximateArrivalTimestamp":null}]}"#;
        let read = page(body.as_bytes()).expect("it is a page");
        let record =
            |number: &str, key: Option<&str>, data: &[u8], millis: Option<u64>| StoredRecord {
                sequence_number: number.to_owned(),
                partition_key: key.map(str::to_owned),
                data: data.to_vec(),
                arrived: millis.map(|millis| UNIX_EPOCH + Duration::from_millis(millis)),
            };
        let records = vec![
            record("49", Some("a \"key\"é"), b"hi", Some(1_795_848_000_123)),
            record("50", None, b"\xff\xff", None),
            record("51", None, b"", None),
        ];
        let next_iterator = Some("AAAB/=".to_owned());
        assert_eq!(read, Page { records, next_iterator, millis_behind_latest: 2100 });
    }

    #[test]
    fn every_millisecond_is_told_as_it_is() {
        // What could go wrong: .123 is no binary fraction, and what is cut off is a millisecond
        // less.
        for millis in (1_795_848_000_000..1_795_848_001_000).chain([0, 1, 999]) {
            let seconds: f64 =
                format!("{}.{:03}", millis / 1000, millis % 1000).parse().expect("it");
            assert_eq!(time(seconds), Some(UNIX_EPOCH + Duration::from_millis(millis)), "{millis}");
        }
        assert!([-1.0, f64::NAN, 1e300].into_iter().all(|seconds| time(seconds).is_none()));
    }

    #[test]
    fn the_end_of_a_shard_has_no_iterator_and_what_is_no_page_is_an_error() {
        for end in [r#"{"Records":[]}"#, r#"{"Records":[],"NextShardIterator":null}"#] {
            let read = page(end.as_bytes()).expect("it is a page");
            assert_eq!((read.next_iterator, read.millis_behind_latest), (None, 0));
        }
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"Records":null}"#,
            r#"{"Records":[{"Data":"aGk="}]}"#,
            r#"{"Records":[{"SequenceNumber":"1"}]}"#,
            r#"{"Records":[{"SequenceNumber":"1","Data":"a"}]}"#,
            r#"{"Records":[]} more"#,
        ] {
            assert!(page(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(page(b"{\"Records\":[],\"NextShardIterator\":\"\xff\"}").is_err());
    }

    proptest! {
        #[test]
        fn nothing_that_comes_back_makes_the_reader_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            seconds in any::<f64>(),
        ) {
            let _ = page(&bytes);
            let _ = time(seconds);
        }
    }
}
