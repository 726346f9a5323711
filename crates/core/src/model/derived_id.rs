//! Ids for what its caller names otherwise than by a uuid: the same names give the same id, so that
//! what is sent again is known again. Nothing is remembered here.

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The id of what these parts name together: the first 128 bits of a SHA-256, less the six that say
/// that it is a uuid of version 8 (RFC 9562), which no caller draws. So names that differ have
/// different ids, whatever a caller tries, until some 2^61 of them were tried. Each part goes in
/// with its length: `["ab", "c"]` and `["a", "bc"]` are two names.
pub fn derived_id(parts: &[&str]) -> Uuid {
    let mut sum = Sha256::new();
    for part in parts {
        sum.update((part.len() as u64).to_be_bytes());
        sum.update(part);
    }
    let first = sum.finalize().first_chunk().copied().expect("a SHA-256 has 32 bytes");
    uuid::Builder::from_custom_bytes(first).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_parts_give_the_same_id_in_every_release_and_others_give_another() {
        let id = derived_id(&["/orders", "1"]);
        assert_eq!(id.to_string(), "3acc145d-a944-846e-aea7-798c4e97e642");
        assert_eq!(id.get_version_num(), 8);
        for other in [&["/orders1"][..], &["/orders", "1", ""], &["/order", "s1"], &[]] {
            assert_ne!(derived_id(other), id, "{other:?}");
        }
    }
}
