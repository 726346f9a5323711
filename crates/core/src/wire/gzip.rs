//! Data that was compressed before it was sent, as some producers do (CloudWatch's subscriptions
//! among them): inflated for whoever shows it or looks into it. What goes on, to a target or back
//! into a stream, stays as it is in the stream.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::MultiGzDecoder;

/// What every member of gzip begins with: two bytes of magic, and deflate as the method.
const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];

/// The most that is made of one record: three times the largest there is. Deflate makes a thousand
/// bytes of one, so a record of 10 MiB could fill a machine.
pub const INFLATED_BYTES_MAX: usize = 32 << 20;

/// The data as it was before it was compressed. As it is, if it is not gzip, is not whole, or would
/// become more than 32 MiB.
pub fn inflated(data: &[u8]) -> Cow<'_, [u8]> {
    if !data.starts_with(&MAGIC) {
        return data.into();
    }
    let mut inflated = Vec::new();
    let mut decoder = MultiGzDecoder::new(data).take(INFLATED_BYTES_MAX as u64 + 1);
    match decoder.read_to_end(&mut inflated) {
        Ok(bytes) if bytes <= INFLATED_BYTES_MAX => inflated.into(),
        _ => data.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).expect("a Vec takes every write");
        encoder.finish().expect("so it does")
    }

    #[test]
    fn what_is_not_gzip_or_broken_stays_as_it_is() {
        let whole = gzip(b"{}");
        let cut = &whole[..whole.len() - 1];
        for data in [&b"{}"[..], b"", &MAGIC, cut] {
            assert!(matches!(inflated(data), Cow::Borrowed(same) if same == data));
        }
    }

    #[test]
    fn a_bomb_is_not_made_into_what_it_would_become() {
        let fits = vec![0; 32 << 20];
        assert_eq!(inflated(&gzip(&fits)).len(), fits.len());
        let bomb = gzip(&vec![0; (32 << 20) + 1]);
        assert_eq!(inflated(&bomb), bomb);
    }

    proptest! {
        #[test]
        fn what_was_compressed_comes_back(data: Vec<u8>, more: Vec<u8>) {
            let (one, two) = (gzip(&data), gzip(&more));
            prop_assert_eq!(inflated(&one).into_owned(), &*data);
            let members = [one, two].concat();
            prop_assert_eq!(inflated(&members).into_owned(), [data, more].concat());
        }

        #[test]
        fn no_bytes_break_it(data: Vec<u8>) {
            inflated(&[&MAGIC, &*data].concat());
        }
    }
}
