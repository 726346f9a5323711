//! The reader of aggregates: whatever bytes a stream holds, sealed with a right digest so that they
//! are read at all.
//!
//! An input is the message between magic and digest. What is read must lie in the message, and be
//! read the same after it was written by our own writer; as it stands, unsealed, the input is no
//! aggregate or the same as its sealed self.
#![no_main]

use bytes::Bytes;
use dispatchd_core::model::{HashKey, PartitionKey, Record};
use dispatchd_core::wire::packed::{FRAME_BYTES, Member, decode, encode, member_bytes_max};
use libfuzzer_sys::fuzz_target;
use md5::{Digest, Md5};

const MAGIC: &[u8] = b"\xf3\x89\x9a\xc2";

fuzz_target!(|message: &[u8]| {
    decode(message);
    let sealed = [MAGIC, message, &Md5::digest(message)].concat();
    let Some(members) = decode(&sealed).map(Iterator::collect::<Vec<_>>) else { return };
    assert!(!members.is_empty());
    for member in &members {
        for part in [
            Some(member.data),
            Some(member.partition_key.as_bytes()),
            member.explicit_hash_key.map(str::as_bytes),
        ] {
            let Some(part) = part else { continue };
            assert!(
                part.is_empty() || message.windows(part.len()).any(|window| window == part),
                "{part:?} was made up"
            );
        }
    }
    let unlike = |pair: &[Member]| {
        pair[0].explicit_hash_key.is_some() != pair[1].explicit_hash_key.is_some()
    };
    if members.windows(2).any(unlike) {
        return; // we never write such a mixture
    }
    // Nor keys that Kinesis does not take.
    let Some(records) = members.iter().map(record).collect::<Option<Vec<_>>>() else { return };
    let written = encode(&records.iter().collect::<Vec<_>>());
    assert!(written.len() <= FRAME_BYTES + records.iter().map(member_bytes_max).sum::<usize>());
    assert_eq!(decode(&written).map(Iterator::collect::<Vec<_>>), Some(members));
});

fn record(member: &Member) -> Option<Record> {
    let key = PartitionKey::new(member.partition_key).ok()?;
    let explicit_hash = member.explicit_hash_key.map(HashKey::parse).transpose().ok()?;
    Some(Record::new(key, explicit_hash, Bytes::copy_from_slice(member.data)))
}
