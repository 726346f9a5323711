//! Reads CBOR (RFC 8949) as Kinesis and its SDKs write it: maps whose keys are texts, lengths that
//! are open, texts and bytes that come in pieces.
//!
//! Pure. Which fields there are is each message's own to say.

use std::borrow::Cow;

use minicbor::Decoder;
use minicbor::data::Type;
use minicbor::decode::Error;

/// Reads a map whose keys are texts.
///
/// # Errors
/// It is no such map, or `read` finds fault with a value.
pub fn each_field<'a>(
    decoder: &mut Decoder<'a>,
    mut read: impl FnMut(&str, &mut Decoder<'a>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut left = decoder.map()?;
    while more(decoder, &mut left)? {
        let field = text(decoder)?.ok_or_else(|| Error::message("a key is null"))?;
        read(&field, decoder)?;
    }
    Ok(())
}

/// Whether another item follows in an array or a map. `left` counts the items that are left; it is
/// `None` if the length is open, and then a break ends them.
///
/// # Errors
/// The input ends.
pub fn more(decoder: &mut Decoder<'_>, left: &mut Option<u64>) -> Result<bool, Error> {
    match left {
        Some(0) => Ok(false),
        Some(left) => {
            *left -= 1;
            Ok(true)
        }
        None if decoder.datatype()? == Type::Break => decoder.skip().map(|()| false),
        None => Ok(true),
    }
}

/// Reads a text, which may come in pieces; `None` for null.
///
/// # Errors
/// It is neither.
pub fn text<'a>(decoder: &mut Decoder<'a>) -> Result<Option<Cow<'a, str>>, Error> {
    match decoder.datatype()? {
        Type::Null => decoder.null().map(|()| None),
        Type::StringIndef => {
            decoder.str_iter()?.collect::<Result<String, _>>().map(|text| Some(Cow::Owned(text)))
        }
        _ => decoder.str().map(|text| Some(Cow::Borrowed(text))),
    }
}

/// Reads bytes, which may come in pieces; `None` for null.
///
/// # Errors
/// It is neither.
pub fn bytes<'a>(decoder: &mut Decoder<'a>) -> Result<Option<Cow<'a, [u8]>>, Error> {
    match decoder.datatype()? {
        Type::Null => decoder.null().map(|()| None),
        Type::BytesIndef => {
            let mut whole = Vec::new();
            for piece in decoder.bytes_iter()? {
                whole.extend_from_slice(piece?);
            }
            Ok(Some(Cow::Owned(whole)))
        }
        _ => decoder.bytes().map(|bytes| Some(Cow::Borrowed(bytes))),
    }
}

/// How many bytes follow what was read.
pub fn rest(decoder: &Decoder<'_>) -> usize {
    decoder.input().len() - decoder.position()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_bytes_may_come_whole_in_pieces_or_not_at_all() {
        let text_of = |bytes: &[u8]| {
            text(&mut Decoder::new(bytes)).map(|text| text.map(Cow::into_owned)).ok()
        };
        assert_eq!(text_of(b"\x62ab"), Some(Some("ab".into())));
        assert_eq!(text_of(b"\x7f\x61a\x61b\xff"), Some(Some("ab".into())));
        assert_eq!(text_of(b"\xf6"), Some(None));
        assert_eq!(text_of(b"\x42ab"), None);
        let bytes_of = |input: &[u8]| {
            bytes(&mut Decoder::new(input)).map(|bytes| bytes.map(Cow::into_owned)).ok()
        };
        assert_eq!(bytes_of(b"\x42ab"), Some(Some(b"ab".into())));
        assert_eq!(bytes_of(b"\x5f\x41a\x41b\xff"), Some(Some(b"ab".into())));
        assert_eq!(bytes_of(b"\xf6"), Some(None));
        assert_eq!(bytes_of(b"\x62ab"), None);
    }
}
