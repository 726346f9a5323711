//! Whose fault it is when a record is refused alone, in words that name no record: the record's, or
//! the stream's.
//!
//! Pure. One such refusal shows nothing, and the record is refused for good. A second one, of
//! another record in the same words, shows that neither was about a record. Words that repeat
//! something of the record they are about differ from record to record, unless two records have it
//! in common, as they may a key; so their keys are looked for in the words. A service that takes a
//! request, or names a record, has looked at records: then the first refusal was about its own.

use uuid::Uuid;

use super::item::Item;
use dispatchd_core::model::PutError;
use dispatchd_core::model::Record;

/// Characters of the service's words that are kept. Its messages are shorter, but how long they are
/// is up to the service.
const WORDS_CHARS_MAX: usize = 512;

/// The codes of refusals for the size of a request: they name no record, and need not.
const FOR_ITS_SIZE: [&str; 2] = ["RequestEntityTooLargeException", "HTTP 413"];

/// The last record that was refused alone in words that name none; `None` once something has shown
/// that they were about it.
#[derive(Debug, Default)]
pub(super) struct Doubt(Option<Lone>);

/// A record that was refused alone, and how.
#[derive(Debug)]
struct Lone {
    id: Uuid,
    marks: Vec<String>,
    code: String,
    words: String,
}

impl Doubt {
    /// Whether the stream takes nothing, now that this record was refused alone; if not, the record
    /// is at fault.
    pub(super) fn is_about_the_stream(&mut self, item: &Item, error: &PutError) -> bool {
        let (id, marks, words) = (item.ticket.id(), marks(&item.record), start(&error.message));
        if let Some(first) = &self.0
            && first.says(error)
            && first.id != id
            && !marks.iter().any(|mark| first.marks.contains(mark) && quotes(words, mark))
        {
            return true;
        }
        self.0 = Some(Lone { id, marks, code: error.code.clone(), words: words.to_owned() });
        false
    }

    /// Whether a refusal is in the words that the record before it was refused in.
    pub(super) fn is_in_the_words_of_the_first(&self, error: &PutError) -> bool {
        self.0.as_ref().is_some_and(|first| first.says(error))
    }

    /// Forgets the record: the service has shown that it looks at records.
    pub(super) fn end(&mut self) {
        self.0 = None;
    }
}

impl Lone {
    fn says(&self, error: &PutError) -> bool {
        self.code == error.code && self.words == start(&error.message)
    }
}

/// Whether a refusal is about what is in the request: it names a record, or is for the size.
pub(super) fn is_about_records(error: &PutError) -> bool {
    FOR_ITS_SIZE.contains(&error.code.as_str()) || named_record(&error.message).is_some()
}

/// The number in a text like `Value at 'records.3.member.data' failed …`, which counts from 1.
pub(super) fn named_record(message: &str) -> Option<usize> {
    message.split("records.").skip(1).find_map(|rest| rest.split_once(".member")?.0.parse().ok())
}

/// What words about a record may repeat of it and two records may have in common: what places them.
/// It stands in quotes, as in `Value 'customer-9' at 'partitionKey' failed …`.
fn marks(record: &Record) -> Vec<String> {
    let hash = record.explicit_hash().map(|hash| hash.0.to_string());
    [record.key.as_str().to_owned()].into_iter().chain(hash).collect()
}

fn quotes(words: &str, mark: &str) -> bool {
    words.match_indices(mark).any(|(at, _)| {
        let (before, after) = (&words[..at], &words[at + mark.len()..]);
        ['\'', '"'].iter().any(|quote| before.ends_with(*quote) && after.starts_with(*quote))
    })
}

fn start(message: &str) -> &str {
    message.char_indices().nth(WORDS_CHARS_MAX).map_or(message, |(end, _)| &message[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::item::BoxedItem;
    use crate::lane::test_support::{Kit, settings};
    use dispatchd_core::model::Class;

    const OF_THE_STREAM: &str =
        "1 validation error detected: Value null at 'streamName' failed to satisfy constraint";

    fn refusal(message: &str) -> PutError {
        let code = "ValidationException".to_owned();
        let class = Class::Poison;
        PutError {
            class,
            cause: class.into(),
            code,
            message: message.to_owned(),
            maybe_stored: false,
        }
    }

    /// Two events, each with this key and an id of its own.
    fn two(kit: &Kit, keys: [&str; 2]) -> [BoxedItem; 2] {
        [kit.item_of(1, keys[0]), kit.item_of(2, keys[1])]
    }

    #[test]
    fn a_second_record_with_the_same_words_shows_that_it_is_the_stream_and_the_same_one_does_not() {
        let (kit, mut doubt) = (Kit::new(settings()), Doubt::default());
        let [first, second] = two(&kit, ["a", "a"]);
        assert!(!doubt.is_about_the_stream(&first, &refusal(OF_THE_STREAM)));
        assert!(
            !doubt.is_about_the_stream(&first, &refusal(OF_THE_STREAM)),
            "sent again by its caller"
        );
        assert!(doubt.is_about_the_stream(&second, &refusal(OF_THE_STREAM)));
        assert!(!doubt.is_about_the_stream(&second, &refusal("other words")));
        assert!(!doubt.is_about_the_stream(
            &first,
            &PutError { code: "Other".into(), ..refusal("other words") }
        ));
        doubt.end();
        assert!(
            !doubt.is_about_the_stream(&second, &refusal(OF_THE_STREAM)),
            "records were looked at since"
        );
    }

    #[test]
    fn words_that_repeat_what_two_records_have_in_common_are_about_the_records() {
        let kit = Kit::new(settings());
        for (keys, message, is_the_streams) in [
            (["bad", "bad"], "Value 'bad' at 'partitionKey' is not taken", false),
            (["bad", "bad"], "Value 'badly' is not taken", true),
            (["1", "1"], OF_THE_STREAM, true),
            (["é", "é"], "\"é\"", false),
            // By chance: it is not the second's key.
            (["bad", "other"], "Value 'bad' at 'partitionKey' is not taken", true),
            (["a", "b"], &"é".repeat(2000), true),
        ] {
            let (mut doubt, [first, second]) = (Doubt::default(), two(&kit, keys));
            assert!(!doubt.is_about_the_stream(&first, &refusal(message)));
            assert_eq!(
                doubt.is_about_the_stream(&second, &refusal(message)),
                is_the_streams,
                "{message}"
            );
        }
    }

    #[test]
    fn a_refusal_that_names_a_record_or_is_for_its_size_is_about_records() {
        for message in [
            "records.3.member",
            "a records. and then 'records.0.member.data'",
            "records.777.member",
        ] {
            assert!(is_about_records(&refusal(message)), "{message}");
        }
        for message in
            [OF_THE_STREAM, "", "records.", "records.x.member", "records.1", "records.-1.member"]
        {
            assert!(!is_about_records(&refusal(message)), "{message}");
        }
        assert!(is_about_records(&PutError { code: "HTTP 413".into(), ..refusal("") }));
    }
}
