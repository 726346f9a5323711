//! A record that its caller made: it is published as it came, without an envelope. Its input checks
//! it; nothing here copies it before it is asked to.

use std::borrow::Cow;
use std::hash::Hash;

use bytes::Bytes;
use uuid::Uuid;

use super::{HashKey, PartitionKey};

/// A record whose fields were checked and whose bytes were not copied.
#[derive(Debug, PartialEq, Eq)]
pub struct RawRecord<'a> {
    pub data: RawData<'a>,
    /// `None` where the caller leaves the key to us.
    pub key: Option<PartitionKey>,
    /// `None` where the partition key places the record.
    pub explicit_hash: Option<HashKey>,
    /// `None` where the caller gave none: then its answer has none either.
    pub id: Option<Uuid>,
}

/// The bytes of a record, as they came.
#[derive(Debug, PartialEq, Eq, Hash)]
pub enum RawData<'a> {
    /// A JSON object, verbatim.
    Json(&'a str),
    Base64(Base64<'a>),
}

/// Text that is base64 (RFC 4648, section 4).
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Base64<'a>(Cow<'a, str>);

impl RawRecord<'_> {
    /// What the caller said of the record itself: see [`Event::said`](super::Event::said).
    pub fn said(&self) -> impl Hash {
        (&self.data, &self.key, self.explicit_hash)
    }
}

impl RawData<'_> {
    /// How many bytes the record has.
    pub fn byte_len(&self) -> usize {
        match self {
            RawData::Json(text) => text.len(),
            RawData::Base64(Base64(text)) => {
                base64_simd::STANDARD.decoded_length(text.as_bytes()).expect("the text was checked")
            }
        }
    }

    /// The bytes of the record.
    pub fn to_bytes(&self) -> Bytes {
        match self {
            RawData::Json(text) => Bytes::copy_from_slice(text.as_bytes()),
            RawData::Base64(Base64(text)) => base64_simd::STANDARD
                .decode_to_vec(text.as_bytes())
                .expect("the text was checked")
                .into(),
        }
    }
}

impl<'a> Base64<'a> {
    /// `None` where the text is no base64.
    pub fn new(text: Cow<'a, str>) -> Option<Self> {
        base64_simd::STANDARD.check(text.as_bytes()).ok().map(|()| Self(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_as_long_as_it_says_and_other_text_is_none() {
        for (text, bytes) in
            [("", &b""[..]), ("AA==", b"\0"), ("AAA=", b"\0\0"), ("//79", b"\xff\xfe\xfd")]
        {
            let data = RawData::Base64(Base64::new(text.into()).expect("it is base64"));
            assert_eq!((data.byte_len(), &data.to_bytes()[..]), (bytes.len(), bytes), "{text}");
        }
        for text in ["A", "AA", "AA=", "__79", "AAB=", "AA==\n", "AA==AA==", "é"] {
            assert_eq!(Base64::new(text.into()), None, "{text}");
        }
    }
}
