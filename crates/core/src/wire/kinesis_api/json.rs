//! Reads the members of a call in JSON.
//!
//! By hand, since serde's derive takes an array for a structure, and an error of its own repeats
//! what the caller wrote.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::error::ApiError;
use super::members::{Members, RecordMembers, Records};

/// A text, borrowed where it has no escape.
struct Text<'a>(Cow<'a, str>);

/// Bytes, as base64 with its padding.
struct Base64(Bytes);

/// Reads the members of a body.
pub(super) fn read(body: &[u8]) -> Result<Members<'_>, ApiError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let members = json.deserialize_map(MembersVisitor).and_then(|members| {
        json.end()?;
        Ok(members)
    });
    members.map_err(|error| {
        ApiError::unreadable(format!(
            "the body is no JSON object with the members of this operation: line {}, column {}",
            error.line(),
            error.column()
        ))
    })
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Members::default();
        while let Some(Text(name)) = map.next_key()? {
            match &*name {
                "StreamName" => members.stream_name = text(&mut map)?,
                "StreamARN" => members.stream_arn = text(&mut map)?,
                "StreamId" => members.has_stream_id = text(&mut map)?.is_some(),
                "DryRun" => members.dry_run = map.next_value()?,
                "Records" => members.records = map.next_value_seed(RecordsSeed)?,
                name => record_member(&mut members.record, name, &mut map)?,
            }
        }
        Ok(members)
    }
}

/// Reads a member of a record, or passes over one that is none.
fn record_member<'de, A: MapAccess<'de>>(
    record: &mut RecordMembers<'de>,
    name: &str,
    map: &mut A,
) -> Result<(), A::Error> {
    match name {
        "Data" => record.data = map.next_value::<Option<Base64>>()?.map(|Base64(data)| data),
        "PartitionKey" => record.partition_key = text(map)?,
        "ExplicitHashKey" => record.explicit_hash_key = text(map)?,
        _ => _ = map.next_value::<IgnoredAny>()?,
    }
    Ok(())
}

fn text<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<Cow<'de, str>>, A::Error> {
    Ok(map.next_value::<Option<Text<'de>>>()?.map(|Text(text)| text))
}

/// The array of records, or null.
struct RecordsSeed;

impl<'de> DeserializeSeed<'de> for RecordsSeed {
    type Value = Option<Records<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for RecordsSeed {
    type Value = Option<Records<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut records = Records::default();
        loop {
            if records.has_room() {
                let Some(record) = array.next_element_seed(RecordSeed)? else { break };
                records.first.push(record);
            } else if array.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
            records.count += 1;
        }
        Ok(Some(records))
    }
}

struct RecordSeed;

impl<'de> DeserializeSeed<'de> for RecordSeed {
    type Value = RecordMembers<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RecordSeed {
    type Value = RecordMembers<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RecordMembers<'de>, A::Error> {
        let mut record = RecordMembers::default();
        while let Some(Text(name)) = map.next_key()? {
            record_member(&mut record, &name, &mut map)?;
        }
        Ok(record)
    }
}

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        json.deserialize_str(TextVisitor)
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Base64Visitor;

        impl Visitor<'_> for Base64Visitor {
            type Value = Base64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Base64, E> {
                let bytes = base64_simd::STANDARD.decode_to_vec(text);
                bytes.map(|bytes| Base64(bytes.into())).map_err(|_| E::custom("no base64"))
            }
        }

        json.deserialize_str(Base64Visitor)
    }
}
