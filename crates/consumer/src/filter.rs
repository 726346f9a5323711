//! Which events are wanted, for everything that reads a stream: `tail`, `forward` and `replay`.
//!
//! An event passes if its key and its type are wanted, and one of the filters takes it. A filter
//! looks at the event itself, or at the record as filters of Lambda's event source mapping do:
//! `{"data": the event, "partitionKey": …}`. What is not JSON passes no filter and has no type.
//! Data that gzip compressed is looked at as it was before; whoever asks keeps it as it is.

use dispatchd_core::wire::gzip::inflated;
use dispatchd_pattern::{Member, NotAnEvent, Pattern, PatternError};

/// What is wanted. The one by default is everything.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    key: Option<String>,
    /// Takes the types that are wanted.
    types: Option<Pattern>,
    /// Either of them will do. Each takes what one of several patterns takes.
    events: Option<Pattern>,
    records: Option<Pattern>,
}

/// Whether an event is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Yes,
    No,
    /// Nobody can tell: it is no JSON that a filter could look at, and is not wanted either.
    NotJson,
}

impl Filter {
    /// Only events that one of these takes, of which `records` look at the whole record.
    pub fn new(events: Vec<Pattern>, records: Vec<Pattern>) -> Self {
        let any_of =
            |patterns: Vec<Pattern>| (!patterns.is_empty()).then(|| Pattern::any_of(patterns));
        Self { events: any_of(events), records: any_of(records), ..Self::default() }
    }

    /// Only records with this key.
    #[must_use]
    pub fn of_key(self, key: Option<String>) -> Self {
        Self { key, ..self }
    }

    /// Only events of these types, if there are any: `type` in our own envelopes and in
    /// CloudEvents, `detail-type` in EventBridge's.
    ///
    /// # Errors
    /// They are more than a pattern holds.
    pub fn of_types(self, types: &[String]) -> Result<Self, PatternError> {
        let names: Vec<String> = types.iter().map(|name| quoted(name)).collect();
        let names = names.join(",");
        let pattern = format!(r#"{{"$or":[{{"type":[{names}]}},{{"detail-type":[{names}]}}]}}"#);
        let types = (!types.is_empty()).then(|| Pattern::parse(&pattern)).transpose()?;
        Ok(Self { types, ..self })
    }

    /// Whether it looks at the data of events, and not at their keys alone.
    fn looks_at_data(&self) -> bool {
        let Self { key: _, types, events, records } = self;
        types.is_some() || events.is_some() || records.is_some()
    }

    /// Whether an event with this key and this data is wanted.
    pub fn wants(&self, partition_key: Option<&str>, data: &[u8]) -> Wanted {
        if self.key.is_some() && self.key.as_deref() != partition_key {
            return Wanted::No;
        }
        if !self.looks_at_data() {
            return Wanted::Yes;
        }
        match self.takes(partition_key, &inflated(data)) {
            Ok(true) => Wanted::Yes,
            Ok(false) => Wanted::No,
            Err(_) => Wanted::NotJson,
        }
    }

    fn takes(&self, partition_key: Option<&str>, data: &[u8]) -> Result<bool, NotAnEvent> {
        if let Some(types) = &self.types
            && !types.matches(data)?
        {
            return Ok(false);
        }
        let by_event = self.events.as_ref().map(|events| events.matches(data));
        if by_event == Some(Ok(true)) {
            return Ok(true);
        }
        let by_record = self.records.as_ref().map(|records| {
            let data = ("data", Member::Json(data));
            match partition_key {
                Some(key) => records.matches_members(&[data, ("partitionKey", Member::Text(key))]),
                None => records.matches_members(&[data]),
            }
        });
        match (by_event, by_record) {
            (None, None) | (_, Some(Ok(true))) => Ok(true),
            // What is no object is no event, and may be the data of a record.
            (Some(Err(error)), _) | (_, Some(Err(error))) => Err(error),
            _ => Ok(false),
        }
    }
}

/// A text as JSON.
fn quoted(text: &str) -> String {
    let mut json = Vec::with_capacity(text.len() + 2);
    dispatchd_core::json::push_json_str(&mut json, text);
    String::from_utf8(json).expect("a text as JSON is text")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).expect("it is a pattern")
    }

    #[test]
    fn one_of_several_filters_is_enough_and_a_record_s_sees_the_key() {
        let filter = Filter::new(
            vec![pattern(r#"{"type": ["a"]}"#), pattern(r#"{"type": ["b"]}"#)],
            vec![pattern(r#"{"partitionKey": ["k"], "data": {"type": ["c"]}}"#)],
        );
        for (key, data, wanted) in [
            (None, r#"{"type":"a"}"#, Wanted::Yes),
            (None, r#"{"type":"b"}"#, Wanted::Yes),
            (Some("k"), r#"{"type":"c"}"#, Wanted::Yes),
            (Some("j"), r#"{"type":"c"}"#, Wanted::No),
            (None, r#"{"type":"c"}"#, Wanted::No),
            (Some("k"), "hello world", Wanted::NotJson),
            (Some("k"), "", Wanted::NotJson),
            (Some("k"), "5", Wanted::NotJson),
        ] {
            assert_eq!(filter.wants(key, data.as_bytes()), wanted, "{key:?} {data}");
        }
        let of_records = Filter::new(vec![], vec![pattern(r#"{"data": [5]}"#)]);
        assert_eq!(of_records.wants(None, b"5"), Wanted::Yes, "as in Lambda's events");
        let either =
            Filter::new(vec![pattern(r#"{"type": ["a"]}"#)], vec![pattern(r#"{"data": [5]}"#)]);
        assert_eq!(either.wants(None, b"5"), Wanted::Yes, "whatever --filter beside it says");
        assert_eq!(either.wants(None, b"6"), Wanted::NotJson, "--filter cannot look at it");
    }

    #[test]
    fn a_type_is_found_in_every_form_of_envelope_and_narrows_what_filters_take() {
        let types = ["order placed".to_owned(), "a \"b\"\\".to_owned()];
        let filter = Filter::default().of_types(&types).expect("two are few");
        for data in [
            r#"{"id":"1","type":"order placed","data":{}}"#,
            r#"{"version":"0","detail-type":"order placed","detail":{}}"#,
            r#"{"specversion":"1.0","type":"a \"b\"\\"}"#,
        ] {
            assert_eq!(filter.wants(None, data.as_bytes()), Wanted::Yes, "{data}");
        }
        assert_eq!(filter.wants(None, br#"{"type":"order"}"#), Wanted::No);
        assert_eq!(filter.wants(None, b"order placed"), Wanted::NotJson);
        let both = Filter::new(vec![pattern(r#"{"data": {"n": [1]}}"#)], vec![]);
        let both = both.of_types(&types[..1]).expect("one is few");
        let wants = |data: &str| both.wants(None, data.as_bytes());
        assert_eq!(wants(r#"{"type":"order placed","data":{"n":1}}"#), Wanted::Yes);
        assert_eq!(wants(r#"{"type":"order placed","data":{"n":2}}"#), Wanted::No);
        assert_eq!(wants(r#"{"type":"other","data":{"n":1}}"#), Wanted::No);
        let many: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
        assert!(Filter::default().of_types(&many).is_err());
    }

    #[test]
    fn what_gzip_compressed_is_looked_at_as_it_was_before() {
        // What could go wrong: `tail` shows an event, and `forward` and `replay` with the same
        // filter leave it out.
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        let event = br#"{"type":"a","data":{"n":1}}"#;
        let compressed = encoder.write_all(event).and_then(|()| encoder.finish());
        let compressed = compressed.expect("memory takes it");
        let takes = |filter: Filter| filter.wants(Some("k"), &compressed);
        let types = |name: &str| Filter::default().of_types(&[name.to_owned()]);
        assert_eq!(takes(types("a").expect("one is few")), Wanted::Yes);
        assert_eq!(takes(types("b").expect("one is few")), Wanted::No);
        assert_eq!(takes(Filter::new(vec![pattern(r#"{"data":{"n":[1]}}"#)], vec![])), Wanted::Yes);
        let record = r#"{"partitionKey":["k"],"data":{"data":{"n":[1]}}}"#;
        assert_eq!(takes(Filter::new(vec![], vec![pattern(record)])), Wanted::Yes);
        let cut = &compressed[..compressed.len() - 1];
        assert_eq!(types("a").expect("one is few").wants(None, cut), Wanted::NotJson);
    }

    #[test]
    fn without_a_filter_everything_passes_and_a_key_needs_no_json() {
        assert!(!Filter::default().of_types(&[]).expect("none is few").looks_at_data());
        assert_eq!(Filter::default().wants(None, b"\xff"), Wanted::Yes);
        let keyed = Filter::default().of_key(Some("k".to_owned()));
        assert!(!keyed.looks_at_data());
        assert_eq!(keyed.wants(Some("k"), b"\xff"), Wanted::Yes);
        assert_eq!(keyed.wants(Some("j"), b"\xff"), Wanted::No);
        assert_eq!(keyed.wants(None, b"\xff"), Wanted::No);
    }
}
