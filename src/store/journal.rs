//! The journal: what each commit changed, one frame a commit, written and synced before anybody is
//! told of it. The engine's tree is brought up to it later and in bulk, so that a commit costs one
//! write and one sync whatever it holds, and a record that comes and goes between two such times
//! never reaches the tree.
//!
//! ```text
//!   journal.0, journal.1     take turns; a file is written anew from its beginning once all that is
//!                            in it lies in the engine, durably
//!   file    magic u64 · salt u64 · frames
//!   frame   magic u32 · length u32 · head · count u32 · rows · checksum u64     (big-endian)
//!   row     table u8 · key length u8 · key · value length u32 · value
//!                                            (length 0xFFFFFFFF: the record is removed)
//! ```
//! The head ([`super::record::Head`]) is the one that the commit led to: its number says where the
//! frame belongs, its sums what all records then added up to.
//!
//! What is read at a start are the frames that follow each other without a gap. One that is not
//! whole ends a file: the commit that was under way at the crash. A whole one of a later commit
//! behind it means damage instead: it was written only when the one before was durable. The salt
//! goes into every frame's checksum, so that no value that a stranger had stored looks like a frame.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::panic
    )
)]

use super::record::{self, HEAD_BYTES, Head};
use super::{Change, Key, StoreError, Table, files};
use bytes::{Buf, Bytes};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What a file begins with, before its salt.
const FILE_MAGIC: [u8; 8] = *b"lbjrnl\0\x01";
/// Where the first frame goes.
const FIRST: u64 = 16;
const FIRST_INDEX: usize = 16;
const MAGIC: [u8; 4] = *b"lbj\x01";
/// Magic, length, head, count of rows.
const PREFIX: usize = 4 + 4 + HEAD_BYTES + 4;
const CHECKSUM: usize = 8;
/// What a file grows by, ahead of its frames: a frame that goes where the file has been written before
/// is synced without the file's own length and blocks.
const STEP: usize = 256 << 10;
/// Length of a value that says that there is none.
const REMOVED: u32 = u32::MAX;
const NAMES: [&str; 2] = ["journal.0", "journal.1"];

/// Why a frame could not be written.
#[derive(Debug)]
pub enum Fault {
    /// The write failed: the frame is not there, and may be tried again.
    Write(io::Error),
    /// The sync failed: what the disk holds is unknown until the store is opened again.
    Sync(io::Error),
}

/// The two files, open, and where the next frame goes.
pub struct Journal {
    files: [Opened; 2],
    turn: usize,
    offset: u64,
    /// A file longer than this is cut when its turn comes again.
    keep_bytes: u64,
    /// Leaves out the sync: for the proof that its absence is noticed.
    #[cfg(test)]
    pub skip_sync: bool,
}

struct Opened {
    path: PathBuf,
    file: File,
    salt: u64,
    /// Bytes that have been written, from its beginning.
    length: u64,
}

/// A frame that was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// The head that its commit led to.
    pub head: Head,
    /// What it changed: the records as they were afterwards.
    pub rows: Vec<(Key, Option<Bytes>)>,
}

impl Journal {
    /// Opens the files in `dir`, making them if there are none, and reads the frames of all commits
    /// after `newest`, the engine's own. The next frame goes to the beginning of a file, so what was
    /// read is to be brought to the engine first.
    ///
    /// # Errors
    /// [`StoreError::Failed`] where the files cannot be read, [`StoreError::Damaged`] where a
    /// commit is missing among them.
    pub fn open(
        dir: &Path,
        newest: u64,
        keep_bytes: u64,
    ) -> Result<(Self, Vec<Frame>), StoreError> {
        let [first, second] = NAMES.map(|name| Opened::open(&dir.join(name)));
        let (first, first_content) = first?;
        let (second, second_content) = second?;
        let mut frames = Vec::new();
        let first_rest = first.read(&first_content, &mut frames);
        let second_rest = second.read(&second_content, &mut frames);
        frames.retain(|frame| frame.head.commit > newest);
        frames.sort_by_key(|frame| frame.head.commit);
        let mut newest = newest;
        for frame in &frames {
            let (found, wanted) = (frame.head.commit, newest.saturating_add(1));
            if found != wanted {
                return Err(StoreError::Damaged(format!(
                    "gap: commit {wanted} is missing, but {found} is in the journal"
                )));
            }
            newest = wanted;
        }
        first.refuse_later(&first_rest, newest)?;
        second.refuse_later(&second_rest, newest)?;
        let journal = Self {
            files: [first, second],
            turn: 0,
            offset: FIRST,
            keep_bytes,
            #[cfg(test)]
            skip_sync: false,
        };
        Ok((journal, frames))
    }

    /// The frame of a commit, for [`Self::append`].
    ///
    /// # Errors
    /// [`StoreError::Failed`] where a key or value, or all of them, is too long.
    pub fn encode(
        &self,
        head: &Head,
        changes: &[Change],
        frame: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        encode(head, changes, self.present().salt, frame)
    }

    /// Writes a frame and syncs it.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn append(&mut self, frame: &[u8]) -> Result<(), Fault> {
        let length = u64::try_from(frame.len()).unwrap_or(u64::MAX);
        let (offset, end) = (self.offset, self.offset.saturating_add(length));
        let present = self.present_mut();
        if let Err(error) = present.file.write_all_at(frame, offset) {
            // Should it be whole after all, the next start must not find it.
            let _ = present.file.write_all_at(&[0; 8], offset);
            return Err(Fault::Write(error));
        }
        present.grow(end);
        if self.syncs() {
            self.present().file.sync_data().map_err(Fault::Sync)?;
        }
        self.offset = end;
        Ok(())
    }

    /// Goes on at the beginning of the other file. All that is in it must lie in the engine.
    pub fn turn_over(&mut self) {
        self.turn = usize::from(self.turn == 0);
        self.offset = FIRST;
        let keep_bytes = self.keep_bytes;
        let present = self.present_mut();
        if present.length > keep_bytes {
            match present.file.set_len(FIRST) {
                Ok(()) => present.length = FIRST,
                Err(error) => {
                    let path = present.path.display();
                    tracing::warn!(%path, %error, "a long journal file cannot be cut");
                }
            }
        }
    }

    /// Bytes of frames in the present file.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.offset.saturating_sub(FIRST)
    }

    fn present(&self) -> &Opened {
        let [first, second] = &self.files;
        if self.turn == 0 { first } else { second }
    }

    fn present_mut(&mut self) -> &mut Opened {
        let [first, second] = &mut self.files;
        if self.turn == 0 { first } else { second }
    }

    fn syncs(&self) -> bool {
        #[cfg(test)]
        return !self.skip_sync;
        #[cfg(not(test))]
        true
    }
}

impl Opened {
    /// Opens a file and reads what is in it behind its beginning.
    fn open(path: &Path) -> Result<(Self, Bytes), StoreError> {
        let read = || -> io::Result<(File, Vec<u8>)> {
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)?;
            let mut bytes = Vec::new();
            (&file).read_to_end(&mut bytes)?;
            Ok((file, bytes))
        };
        let (file, bytes) = read().map_err(|error| files::failed(path, &error))?;
        let path = path.to_path_buf();
        if let Some(salt) = salt(&bytes) {
            let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let opened = Self {
                path,
                file,
                salt,
                length,
            };
            return Ok((opened, Bytes::from(bytes).slice(FIRST_INDEX..)));
        }
        if bytes.len() > FIRST_INDEX {
            let path = path.display();
            let what = format!("{path}: its beginning is not whole");
            return Err(StoreError::Damaged(what));
        }
        // New, or cut off while it was made.
        let salt = rand::random();
        let mut beginning = FILE_MAGIC.to_vec();
        beginning.extend_from_slice(&u64::to_be_bytes(salt));
        file.set_len(0)
            .and_then(|()| file.write_all_at(&beginning, 0))
            .and_then(|()| file.sync_all())
            .map_err(|error| files::failed(&path, &error))?;
        let opened = Self {
            path,
            file,
            salt,
            length: FIRST,
        };
        Ok((opened, Bytes::new()))
    }

    /// Frames now go up to `end`. Where that is the end of the file, it is written some way ahead;
    /// where there is no room for it, the next frames do without.
    fn grow(&mut self, end: u64) {
        if end <= self.length {
            return;
        }
        self.length = end;
        if self.file.write_all_at(&[0; STEP], end).is_ok() {
            self.length = end.saturating_add(STEP as u64);
        }
    }

    /// Reads the frames that follow each other; returns what lies behind them.
    fn read(&self, content: &Bytes, frames: &mut Vec<Frame>) -> Bytes {
        let mut rest = content.clone();
        let mut next = None;
        while let Some((frame, length)) = decode(&rest, self.salt) {
            let commit = frame.head.commit;
            // Behind the newest frame lies what the file held before its turn came.
            if next.is_some_and(|next| commit != next) {
                break;
            }
            next = Some(commit.saturating_add(1));
            frames.push(frame);
            rest.advance(length);
        }
        rest
    }

    /// Looks behind the last frame for a whole one of a commit after the newest.
    fn refuse_later(&self, rest: &Bytes, newest: u64) -> Result<(), StoreError> {
        let later = memchr::memmem::find_iter(rest, &MAGIC).find_map(|at| {
            let (frame, _) = decode(&rest.slice(at..), self.salt)?;
            Some(frame.head.commit).filter(|&commit| commit > newest)
        });
        later.map_or(Ok(()), |later| {
            Err(StoreError::Damaged(format!(
                "{}: commit {} is not whole, but commit {later} behind it is",
                self.path.display(),
                newest.saturating_add(1),
            )))
        })
    }
}

/// The salt that a file begins with.
fn salt(bytes: &[u8]) -> Option<u64> {
    let (magic, rest) = bytes.split_first_chunk::<8>()?;
    let (salt, _) = rest.split_first_chunk::<8>()?;
    (*magic == FILE_MAGIC).then(|| u64::from_be_bytes(*salt))
}

fn encode(
    head: &Head,
    changes: &[Change],
    salt: u64,
    frame: &mut Vec<u8>,
) -> Result<(), StoreError> {
    frame.clear();
    frame.extend_from_slice(&MAGIC);
    frame.extend_from_slice(&[0; 4]);
    head.encode_into(frame);
    let count = u32::try_from(changes.len()).unwrap_or(u32::MAX);
    frame.extend_from_slice(&count.to_be_bytes());
    for change in changes {
        let table = change.key.table;
        let too_long = || StoreError::Failed(format!("{table:?}: key or value too long"));
        let key = &change.key.bytes;
        let long = |value: &Bytes| value.len() > record::VALUE_LIMIT;
        if key.len() >= record::KEY_LIMIT || change.after.as_ref().is_some_and(long) {
            return Err(too_long());
        }
        frame.push(table.number());
        frame.push(u8::try_from(key.len()).map_err(|_| too_long())?);
        frame.extend_from_slice(key);
        match &change.after {
            None => frame.extend_from_slice(&REMOVED.to_be_bytes()),
            Some(value) => {
                let length = u32::try_from(value.len()).map_err(|_| too_long())?;
                frame.extend_from_slice(&length.to_be_bytes());
                frame.extend_from_slice(value);
            }
        }
    }
    let length = u32::try_from(frame.len().saturating_add(CHECKSUM))
        .map_err(|_| StoreError::Failed("a commit of 4 GiB".into()))?;
    if let Some(place) = frame.get_mut(4..8) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    let checksum = xxh3_64_with_seed(frame, salt);
    frame.extend_from_slice(&checksum.to_be_bytes());
    Ok(())
}

/// The frame at the beginning of `bytes` and its length; `None` where there is no whole one.
fn decode(bytes: &Bytes, salt: u64) -> Option<(Frame, usize)> {
    let (magic, rest) = bytes.split_first_chunk::<4>()?;
    let (length, _) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    if *magic != MAGIC || length < PREFIX + CHECKSUM {
        return None;
    }
    let (content, checksum) = bytes.get(..length)?.split_last_chunk::<CHECKSUM>()?;
    if xxh3_64_with_seed(content, salt) != u64::from_be_bytes(*checksum) {
        return None;
    }
    let head = Head::decode(content.get(8..8 + HEAD_BYTES)?).ok()?;
    let mut rest = bytes.slice(8 + HEAD_BYTES..content.len());
    let count = take_u32(&mut rest)?;
    let mut rows = Vec::new();
    for _ in 0..count {
        rows.push(take_row(&mut rest)?);
    }
    rest.is_empty().then_some((Frame { head, rows }, length))
}

fn take_row(rest: &mut Bytes) -> Option<(Key, Option<Bytes>)> {
    let (&[table, length], _) = rest.split_first_chunk::<2>()?;
    rest.advance(2);
    let key = Key {
        table: Table::from_number(table)?,
        bytes: take(rest, usize::from(length))?,
    };
    let value = match take_u32(rest)? {
        REMOVED => None,
        length => Some(take(rest, usize::try_from(length).ok()?)?),
    };
    Some((key, value))
}

fn take_u32(rest: &mut Bytes) -> Option<u32> {
    let (number, _) = rest.split_first_chunk::<4>()?;
    let number = u32::from_be_bytes(*number);
    rest.advance(4);
    Some(number)
}

fn take(rest: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= rest.len()).then(|| rest.split_to(length))
}

#[cfg(test)]
mod tests;
