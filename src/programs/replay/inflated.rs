//! What gzip compressed, inflated into one file without a name: events are read in the order of
//! their times, and a compressed file can only be read from its beginning.
//!
//! The file lies in the directory for temporary files, and is gone with the process.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Take};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use dispatchd_core::limits::{GIB, KIB, MIB};
use flate2::bufread::MultiGzDecoder;

/// What a file begins with that gzip wrote.
const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Bytes of all compressed files together, once they are inflated: a small file may be made of any
/// number of zeros.
const INFLATED_BYTES_MAX: u64 = 64 * GIB as u64;

/// Bytes that are inflated at once.
const PIECE_BYTES: usize = 256 * KIB;

/// The texts of compressed files, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Inflated {
    /// Made for the first of them.
    file: Option<File>,
    bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum InflateError {
    #[error(
        "it begins as gzip does, and is damaged or cut off ({0}): `gzip --test` says so too; get it \
         whole, or leave it out"
    )]
    Damaged(io::Error),
    #[error(
        "cannot keep what it inflates to in {} ({error}): see that there is room, or set TMPDIR to \
         where there is", folder.display()
    )]
    Kept { folder: PathBuf, error: io::Error },
    #[error(
        "with it, the files inflate to more than {} GiB: replay a part of the files at a time",
        INFLATED_BYTES_MAX / GIB as u64
    )]
    Large,
}

/// Whether gzip compressed a text.
pub(super) fn is_gzip(text: &[u8]) -> bool {
    text.starts_with(&MAGIC)
}

impl Inflated {
    /// Inflates a file to its end. Returns where its text begins, and a reader of that.
    ///
    /// # Errors
    /// If it is not whole, or its text cannot be kept.
    pub(super) fn add(
        &mut self,
        compressed: impl BufRead,
    ) -> Result<(u64, BufReader<Take<File>>), InflateError> {
        let begin = self.bytes;
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile().map_err(not_kept)?),
        };
        let mut inflating = MultiGzDecoder::new(compressed);
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = inflating.read(&mut piece).map_err(InflateError::Damaged)?;
            if read == 0 {
                break;
            }
            if self.bytes + read as u64 > INFLATED_BYTES_MAX {
                return Err(InflateError::Large);
            }
            file.write_all_at(&piece[..read], self.bytes).map_err(not_kept)?;
            self.bytes += read as u64;
        }
        let mut reader = file.try_clone().map_err(not_kept)?;
        reader.seek(SeekFrom::Start(begin)).map_err(not_kept)?;
        Ok((begin, BufReader::with_capacity(MIB, reader.take(self.bytes - begin))))
    }

    /// Reads what lies at this offset.
    pub(super) fn read_exact_at(&self, text: &mut [u8], offset: u64) -> io::Result<()> {
        let file = self.file.as_ref().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        file.read_exact_at(text, offset)
    }
}

fn not_kept(error: io::Error) -> InflateError {
    InflateError::Kept { folder: std::env::temp_dir(), error }
}
