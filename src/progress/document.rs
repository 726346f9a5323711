//! The text of a book: JSON, so that an operator can read it. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use chrono::DateTime;
use dispatchd_consumer::delivery::{Checkpoint, Place};
use dispatchd_core::model::envelope::Timestamp;
use serde::{Deserialize, Serialize};

/// The form that this program writes. One with another number is not understood.
const VERSION: u32 = 1;

/// The checkpoints of a stream's shards for one target.
pub(super) type Shards = BTreeMap<String, Checkpoint>;

/// How much later a book says that it was written with each opening, at the least. Numbers that
/// only grow begin there and take a nanosecond each: so many are never sent before the next write.
const OPENED_LATER: Duration = Duration::from_secs(1);

/// What is remembered of a stream for one target.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Contents {
    /// When the stream was made that the checkpoints are of; `None`: nobody has said.
    pub made: Option<SystemTime>,
    /// When this was written last, by a clock that never went back; `None`: it never was.
    pub written: Option<SystemTime>,
    pub shards: Shards,
}

impl Contents {
    /// Takes note that the book was opened: numbers from the time that it says may have been sent
    /// since the last opening, and nothing have been kept since.
    pub(super) fn opened(&mut self, now: SystemTime) {
        self.written = self.written.map(|written| now.max(written + OPENED_LATER));
    }
}

/// What a book says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    stream: String,
    target: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stream_made: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    written: Option<String>,
    shards: BTreeMap<String, Written>,
}

/// A checkpoint.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Written {
    /// Wanted is what arrived from this time on (RFC 3339).
    From(String),
    /// Done is this record, and all before it.
    After {
        sequence_number: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        sub_sequence_number: Option<u64>,
    },
    /// The shard is done.
    End,
}

/// Why a text is not the book of a stream and a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotABook {
    #[error("it is no book of checkpoints, or a torn one: {0}")]
    Torn(String),
    #[error("it has the form {0}, and this dispatchd knows {VERSION}: it is of a newer one")]
    Version(u32),
    #[error("it is of the stream {stream:?} and the target {target:?}")]
    Foreign { stream: String, target: String },
    #[error("the place of {0} is neither a time nor a number")]
    NoPlace(String),
    #[error("{0:?} is no time")]
    NoTime(String),
}

/// The text of a book.
pub(super) fn write(stream: &str, target: &str, contents: &Contents) -> Vec<u8> {
    let place = |(shard, checkpoint): (&String, &Checkpoint)| (shard.clone(), place(checkpoint));
    let text = |time: SystemTime| Timestamp::from(time).as_str().to_owned();
    let document = Document {
        version: VERSION,
        stream: stream.to_owned(),
        target: target.to_owned(),
        stream_made: contents.made.map(text),
        written: contents.written.map(text),
        shards: contents.shards.iter().map(place).collect(),
    };
    let mut text = serde_json::to_vec_pretty(&document).expect("texts and numbers are JSON");
    text.push(b'\n');
    text
}

/// Reads the text of the book of this stream and this target.
pub(super) fn read(text: &[u8], stream: &str, target: &str) -> Result<Contents, NotABook> {
    let document: Document =
        serde_json::from_slice(text).map_err(|error| NotABook::Torn(error.to_string()))?;
    if document.version != VERSION {
        return Err(NotABook::Version(document.version));
    }
    if (document.stream.as_str(), document.target.as_str()) != (stream, target) {
        return Err(NotABook::Foreign { stream: document.stream, target: document.target });
    }
    let shards = document.shards.into_iter().map(|(shard, written)| match checkpoint(written) {
        Some(checkpoint) => Ok((shard, checkpoint)),
        None => Err(NotABook::NoPlace(shard)),
    });
    let shards = shards.collect::<Result<_, _>>()?;
    let (made, written) = (when(document.stream_made)?, when(document.written)?);
    Ok(Contents { made, written, shards })
}

fn when(text: Option<String>) -> Result<Option<SystemTime>, NotABook> {
    text.map(|text| time(&text).ok_or(NotABook::NoTime(text))).transpose()
}

fn time(text: &str) -> Option<SystemTime> {
    Some(DateTime::parse_from_rfc3339(text).ok()?.into())
}

fn place(checkpoint: &Checkpoint) -> Written {
    match checkpoint {
        Checkpoint::From(time) => Written::From(Timestamp::from(*time).as_str().to_owned()),
        Checkpoint::After(Place { sequence_number, sub_sequence_number }) => Written::After {
            sequence_number: sequence_number.clone(),
            sub_sequence_number: *sub_sequence_number,
        },
        Checkpoint::End => Written::End,
    }
}

fn checkpoint(written: Written) -> Option<Checkpoint> {
    Some(match written {
        Written::From(from) => Checkpoint::From(time(&from)?),
        Written::After { sequence_number, sub_sequence_number } => {
            let is_number =
                |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            is_number(&sequence_number)
                .then_some(Checkpoint::After(Place { sequence_number, sub_sequence_number }))?
        }
        Written::End => Checkpoint::End,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards() -> Shards {
        let place = |sub_sequence_number| {
            Checkpoint::After(Place { sequence_number: "4959".into(), sub_sequence_number })
        };
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_795_211_719, 886_000_000);
        [
            ("shard-0", Checkpoint::From(time)),
            ("shard-1", place(None)),
            ("shard-2", place(Some(3))),
            ("shard-3", Checkpoint::End),
        ]
        .map(|(shard, checkpoint)| (shard.to_owned(), checkpoint))
        .into()
    }

    fn contents() -> Contents {
        let time = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        Contents { made: time(1_795_000_000), written: time(1_795_211_720), shards: shards() }
    }

    #[test]
    fn a_book_is_read_as_it_was_written() {
        for contents in [contents(), Contents { shards: shards(), ..Contents::default() }] {
            let text = write("orders", "crm", &contents);
            assert_eq!(read(&text, "orders", "crm"), Ok(contents));
        }
    }

    #[test]
    fn a_book_that_was_cut_off_anywhere_is_refused() {
        let text = write("orders", "crm", &contents());
        for cut in 0..text.len() - 1 {
            let refused = read(&text[..cut], "orders", "crm");
            assert!(matches!(refused, Err(NotABook::Torn(_))), "at {cut}: {refused:?}");
        }
    }

    #[test]
    fn a_book_of_another_stream_target_or_form_is_refused() {
        let text = write("orders", "crm", &contents());
        for (stream, target) in [("others", "crm"), ("orders", "mail")] {
            let refused = read(&text, stream, target);
            assert!(matches!(refused, Err(NotABook::Foreign { .. })), "{refused:?}");
        }
        let newer = String::from_utf8_lossy(&text).replace("\"version\": 1", "\"version\": 2");
        assert_eq!(read(newer.as_bytes(), "orders", "crm"), Err(NotABook::Version(2)));
        let odd = String::from_utf8_lossy(&text).replace("4959", "49x9");
        assert_eq!(read(odd.as_bytes(), "orders", "crm"), Err(NotABook::NoPlace("shard-1".into())));
        let odd = String::from_utf8_lossy(&text).replace(".000Z", "Z!");
        assert!(matches!(read(odd.as_bytes(), "orders", "crm"), Err(NotABook::NoTime(_))));
    }
}
