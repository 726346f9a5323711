//! The KPL record format: several events as one record of the stream, and back.
//!
//! Four bytes of magic, a protobuf message, the MD5 of the message:
//!
//! ```text
//! message AggregatedRecord {
//!     repeated string partition_key_table = 1;
//!     repeated string explicit_hash_key_table = 2;
//!     repeated Record records = 3;      // { uint64 partition_key_index = 1;
//! }                                     //   optional uint64 explicit_hash_key_index = 2;
//!                                       //   bytes data = 3; }
//! ```
//!
//! (KPL's `aggregation-format.md`.) Pure, and by hand: three fields, written on an event's path. It
//! never decides what travels together, and it imports nothing but the vocabulary: what it reads
//! may come from anybody.

use md5::{Digest, Md5};

use crate::limits::PARTITION_KEY_CHARS_MAX;
use crate::model::{HashKey, Record};

/// What a packed record begins with.
const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];
const DIGEST_BYTES: usize = 16;

/// Bytes of a packed record besides its members.
pub const FRAME_BYTES: usize = MAGIC.len() + DIGEST_BYTES;

/// Bytes that a member takes at most besides its data and keys: two lengths, two indices, and the
/// tags and lengths of its keys in their tables.
const MEMBER_FRAME_BYTES: usize = 32;

// Tags of protobuf: the field's number and, in the lower three bits, whether a number (0) or a
// length (2) follows.
const KEY_TABLE: u8 = 0b0000_1010;
const HASH_TABLE: u8 = 0b0001_0010;
const RECORDS: u8 = 0b0001_1010;
const KEY_INDEX: u8 = 0b0000_1000;
const HASH_INDEX: u8 = 0b0001_0000;
const DATA: u8 = 0b0001_1010;

/// Where the keys and the members stand in a packed record, of which every byte was looked at: so
/// that members can be taken out one by one, in any order, each at the cost of itself alone.
///
/// By offsets of four bytes: a packed record may hold millions of keys, of a byte each, and a key
/// that many members name is not copied for any.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    keys: Vec<u32>,
    hashes: Vec<u32>,
    members: Vec<u32>,
}

/// The members of a packed record that was read, in their order. They lie in its bytes.
#[derive(Debug, Clone)]
pub struct Members<'a> {
    data: &'a [u8],
    layout: Layout,
    next: usize,
}

/// One event in a packed record that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    pub partition_key: &'a str,
    /// The hash key as it was written: decimal, if the writer kept to the format.
    pub explicit_hash_key: Option<&'a str>,
    pub data: &'a [u8],
}

/// Bytes that a record takes in a packed record, at most.
pub fn member_bytes_max(record: &Record) -> usize {
    record.size() + MEMBER_FRAME_BYTES + record.explicit_hash().map_or(0, |_| HashKey::DIGITS_MAX)
}

/// Packs these records into one, in their order. A key is named once for neighbours that share it.
///
/// Either every one of them has an explicit hash key or none has: two public readers give a member
/// without one the first of the table.
pub fn encode(records: &[&Record]) -> Vec<u8> {
    debug_assert!(
        records
            .iter()
            .all(|record| record.explicit_hash().is_some() == records[0].explicit_hash().is_some())
    );
    let mut aggregate = Vec::with_capacity(
        FRAME_BYTES + records.iter().map(|record| member_bytes_max(record)).sum::<usize>(),
    );
    let out = &mut aggregate;
    out.extend_from_slice(&MAGIC);
    let mut last_key = None;
    for record in records {
        if last_key.replace(record.key.as_str()) != Some(record.key.as_str()) {
            put_bytes(KEY_TABLE, record.key.as_str().as_bytes(), out);
        }
    }
    let mut last_hash = None;
    for HashKey(hash) in records.iter().filter_map(|record| record.explicit_hash()) {
        if last_hash.replace(hash) != Some(hash) {
            put_bytes(HASH_TABLE, hash.to_string().as_bytes(), out);
        }
    }
    let (mut key_index, mut hash_index) = (0, 0);
    for (index, record) in records.iter().enumerate() {
        if let Some(before) = index.checked_sub(1).map(|before| &records[before]) {
            key_index += u64::from(before.key != record.key);
            hash_index += u64::from(before.explicit_hash() != record.explicit_hash());
        }
        let hash_bytes = record.explicit_hash().map_or(0, |_| 1 + varint_bytes(hash_index));
        let data_bytes = 1 + varint_bytes(record.data.len() as u64) + record.data.len();
        put_length(RECORDS, 1 + varint_bytes(key_index) + hash_bytes + data_bytes, out);
        put_number(KEY_INDEX, key_index, out);
        if record.explicit_hash().is_some() {
            put_number(HASH_INDEX, hash_index, out);
        }
        put_bytes(DATA, &record.data, out);
    }
    let digest = Md5::digest(&out[MAGIC.len()..]);
    out.extend_from_slice(&digest);
    aggregate
}

/// The members of a packed record; `None` if `data` is none, as [`Layout::of`] has it.
pub fn decode(data: &[u8]) -> Option<Members<'_>> {
    Some(Members { data, layout: Layout::of(data)?, next: 0 })
}

impl Layout {
    /// Where everything stands in a packed record; `None` if `data` is none: whatever is not right
    /// in every byte is some other record, and so is one with a key that Kinesis would not take.
    pub fn of(data: &[u8]) -> Option<Self> {
        let (message, digest) = data.strip_prefix(&MAGIC)?.split_last_chunk::<DIGEST_BYTES>()?;
        if Md5::digest(message)[..] != digest[..] {
            return None;
        }
        let mut layout = Self::default();
        let mut rest = message;
        while !rest.is_empty() {
            let offset = u32::try_from(MAGIC.len() + message.len() - rest.len()).ok()?;
            match take_field(&mut rest)? {
                (KEY_TABLE, Value::Bytes(key)) if is_short(str::from_utf8(key).ok()?) => {
                    layout.keys.push(offset)
                }
                (KEY_TABLE, Value::Bytes(_)) => return None,
                (HASH_TABLE, Value::Bytes(hash)) if hash.len() <= HashKey::DIGITS_MAX => {
                    str::from_utf8(hash).ok()?;
                    layout.hashes.push(offset);
                }
                // A member reads the keys that it names: a long one would be read for each of them.
                (HASH_TABLE, Value::Bytes(_)) => return None,
                (RECORDS, Value::Bytes(_)) => layout.members.push(offset),
                _ => {} // a newer field
            }
        }
        // Only now: a key may stand behind the members that name it.
        let mut members = 0..layout.members.len();
        let are_right = !members.is_empty() && members.all(|at| layout.member(data, at).is_some());
        are_right.then_some(layout)
    }

    /// How many members there are.
    pub fn count(&self) -> usize {
        self.members.len()
    }

    /// The member of this number, from 0, in the record that this is the layout of; `None` behind
    /// the last.
    pub fn member<'a>(&self, data: &'a [u8], number: usize) -> Option<Member<'a>> {
        let mut rest = bytes_at(data, *self.members.get(number)?)?;
        let (mut key_index, mut hash_index, mut member_data) = (None, None, None);
        while !rest.is_empty() {
            match take_field(&mut rest)? {
                (KEY_INDEX, Value::Number(index)) => key_index = Some(index),
                (HASH_INDEX, Value::Number(index)) => hash_index = Some(index),
                (DATA, Value::Bytes(bytes)) => member_data = Some(bytes),
                _ => {}
            }
        }
        Some(Member {
            partition_key: text(data, &self.keys, key_index?)?,
            explicit_hash_key: match hash_index {
                Some(index) => Some(text(data, &self.hashes, index)?),
                None => None,
            },
            data: member_data?,
        })
    }
}

fn is_short(key: &str) -> bool {
    key.len() <= PARTITION_KEY_CHARS_MAX || key.chars().count() <= PARTITION_KEY_CHARS_MAX
}

/// The text of this number in a table.
fn text<'a>(data: &'a [u8], table: &[u32], index: u64) -> Option<&'a str> {
    let offset = *table.get(usize::try_from(index).ok()?)?;
    str::from_utf8(bytes_at(data, offset)?).ok()
}

/// What the field holds that begins there.
fn bytes_at(data: &[u8], offset: u32) -> Option<&[u8]> {
    match take_field(&mut data.get(offset as usize..)?)? {
        (_, Value::Bytes(bytes)) => Some(bytes),
        _ => None,
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        let member = self.layout.member(self.data, self.next)?;
        self.next += 1;
        Some(member)
    }
}

/// The value that follows a tag.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Four or eight bytes, which no field of ours has.
    Fixed,
}

/// Takes one field off the front. Fields beyond those of one byte's tag are known by none: their
/// tag reads as 0.
fn take_field<'a>(rest: &mut &'a [u8]) -> Option<(u8, Value<'a>)> {
    let tag = take_number(rest)?;
    let value = match tag & 7 {
        0 => Value::Number(take_number(rest)?),
        1 => take(rest, 8).map(|_| Value::Fixed)?,
        2 => {
            let length = usize::try_from(take_number(rest)?).ok()?;
            Value::Bytes(take(rest, length)?)
        }
        5 => take(rest, 4).map(|_| Value::Fixed)?,
        _ => return None,
    };
    Some((u8::try_from(tag).unwrap_or(0), value))
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

/// A varint: seven bits a byte, the lowest first, at most ten bytes.
fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            return None; // more than 64 bits
        }
        number |= bits << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn put_bytes(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    put_length(tag, bytes.len(), out);
    out.extend_from_slice(bytes);
}

fn put_length(tag: u8, length: usize, out: &mut Vec<u8>) {
    put_number(tag, length as u64, out);
}

fn put_number(tag: u8, mut number: u64, out: &mut Vec<u8>) {
    out.push(tag);
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn varint_bytes(number: u64) -> usize {
    let bits = 64 - (number | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PartitionKey;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn record(key: &str, explicit_hash: Option<u128>, data: &[u8]) -> Record {
        let key = PartitionKey::new(key).expect("a test's key is short");
        Record::new(key, explicit_hash.map(HashKey), Bytes::copy_from_slice(data))
    }

    fn sealed(message: &[u8]) -> Vec<u8> {
        [&MAGIC[..], message, &Md5::digest(message)[..]].concat()
    }

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let records =
            [record("a", Some(7), b"x"), record("a", Some(7), b"y"), record("b", Some(8), b"")];
        let message = b"\x0a\x01a\x0a\x01b\x12\x017\x12\x018\x1a\x07\x08\x00\x10\x00\x1a\x01x\x1a\x07\x08\x00\x10\x00\x1a\x01y\x1a\x06\x08\x01\x10\x01\x1a\x00";
        assert_eq!(encode(&records.each_ref()), sealed(message));
    }

    #[test]
    fn what_is_not_right_in_every_byte_is_no_aggregate() {
        let whole = encode(&[&record("a", None, b"x"), &record("b", None, b"y")]);
        assert_eq!(decode(&whole).map(Iterator::count), Some(2));
        for at in 0..whole.len() {
            let mut bent = whole.clone();
            bent[at] ^= 1;
            assert!(decode(&bent).is_none(), "byte {at}");
            assert!(decode(&whole[..at]).is_none(), "cut at {at}");
        }
        assert!(decode(&[&whole[..], b"\0"].concat()).is_none(), "nothing may follow the digest");
    }

    #[test]
    fn a_right_digest_does_not_make_a_message_right() {
        for (what, message) in [
            ("no member", &b""[..]),
            ("an index past the table", b"\x0a\x01a\x1a\x05\x08\x01\x1a\x01x"),
            ("a hash index past the table", b"\x0a\x01a\x1a\x07\x08\x00\x10\x00\x1a\x01x"),
            ("no key index", b"\x0a\x01a\x1a\x03\x1a\x01x"),
            ("no data", b"\x0a\x01a\x1a\x02\x08\x00"),
            ("a key that is not UTF-8", b"\x0a\x01\xff\x1a\x05\x08\x00\x1a\x01x"),
            ("a length past the end", b"\x0a\x05a"),
            ("a number of more than 64 bits", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
            ("a group, which proto2 has and nobody writes", b"\x0b"),
        ] {
            assert!(decode(&sealed(message)).is_none(), "{what}");
        }
    }

    #[test]
    fn a_key_that_kinesis_would_not_take_makes_it_no_aggregate() {
        let with_key = |key: &str| {
            let mut message = Vec::new();
            put_bytes(KEY_TABLE, key.as_bytes(), &mut message);
            message.extend_from_slice(b"\x1a\x05\x08\x00\x1a\x01x");
            sealed(&message)
        };
        let longest = "\u{fc}".repeat(PARTITION_KEY_CHARS_MAX);
        assert_eq!(
            decode(&with_key(&longest))
                .and_then(|mut members| members.next())
                .map(|member| member.data),
            Some(&b"x"[..])
        );
        assert!(decode(&with_key(&format!("{longest}a"))).is_none());
        // What could go wrong: a text of 5 MiB is read for each of a million members.
        let with_hash = |digits: usize| {
            let mut message = b"\x0a\x01a".to_vec();
            put_bytes(HASH_TABLE, "1".repeat(digits).as_bytes(), &mut message);
            message.extend_from_slice(b"\x1a\x07\x08\x00\x10\x00\x1a\x01x");
            sealed(&message)
        };
        assert!(decode(&with_hash(HashKey::DIGITS_MAX)).is_some());
        assert!(decode(&with_hash(HashKey::DIGITS_MAX + 1)).is_none());
    }

    #[test]
    fn members_are_taken_out_in_any_order_and_a_key_may_stand_behind_them() {
        let message = b"\x1a\x05\x08\x01\x1a\x01x\x0a\x01a\x1a\x05\x08\x00\x1a\x01y\x0a\x01b";
        let record = sealed(message);
        let layout = Layout::of(&record).expect("it is one");
        let found = [1, 0, 1].map(|at| layout.member(&record, at));
        let found = found.map(|member| member.map(|member| (member.partition_key, member.data)));
        let (x, y) = (Some(("b", &b"x"[..])), Some(("a", &b"y"[..])));
        assert_eq!((layout.count(), found), (2, [y, x, y]));
        assert_eq!(layout.member(&record, 2), None, "behind the last");
        assert_eq!(layout.member(&record[..9], 1), None, "of other bytes, and nothing breaks");
    }

    #[test]
    fn fields_of_later_versions_are_passed_over() {
        // KPL's own schema has tags in a record's field 4.
        let message = b"\x0a\x01a\x20\x05\x29\x00\x00\x00\x00\x00\x00\x00\x00\x35\x00\x00\x00\x00\xa2\x06\x01z\x1a\x09\x08\x00\x1a\x01x\x22\x02\x0a\x00";
        let members = [Member { partition_key: "a", explicit_hash_key: None, data: b"x" }];
        assert!(decode(&sealed(message)).is_some_and(|read| read.eq(members)));
    }

    #[test]
    fn a_record_is_reckoned_with_at_most_64_bytes_more_than_it_takes() {
        for data_bytes in [0, 1, 127, 128, 20_000] {
            for explicit_hash in [None, Some(0), Some(u128::MAX)] {
                let record = record("key", explicit_hash, &vec![b'x'; data_bytes]);
                let taken = encode(&[&record]).len() - FRAME_BYTES;
                let reckoned = member_bytes_max(&record);
                assert!(
                    (taken..=taken + 64).contains(&reckoned),
                    "{data_bytes} bytes of data, {explicit_hash:?}: {taken} bytes, {reckoned} reckoned"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_takes_no_more_than_is_reckoned(
            members in prop::collection::vec(
                (any::<String>(), prop::collection::vec(any::<u8>(), 0..300), 0..4u128),
                1..40,
            ),
            hashed in any::<bool>(),
        ) {
            let records: Vec<_> = members
                .iter()
                .map(|(key, data, hash)| {
                    let key: String = key.chars().take(3).collect();
                    record(&format!("k{key}"), hashed.then_some(hash << 126), data)
                })
                .collect();
            let data = encode(&records.iter().collect::<Vec<_>>());
            let most = records.iter().map(member_bytes_max).sum::<usize>();
            prop_assert!(data.len() <= FRAME_BYTES + most);
            let read: Vec<_> = decode(&data).expect("it was written so").collect();
            prop_assert_eq!(read.len(), records.len());
            for (member, record) in read.iter().zip(&records) {
                prop_assert_eq!(member.partition_key, record.key.as_str());
                let explicit_hash = member.explicit_hash_key.map(HashKey::parse);
                prop_assert_eq!(explicit_hash, record.explicit_hash().map(Ok));
                prop_assert_eq!(member.data, &record.data[..]);
            }
        }

        #[test]
        fn nothing_that_is_sealed_makes_it_panic(
            message in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            decode(&sealed(&message)).into_iter().flatten().for_each(drop);
        }
    }
}
