//! Calls into sled: what it returns is checked, what it writes is synced, what it panics about
//! becomes an error.

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

use super::Options;
use crate::store::record::{self, Body, Head, HeadFault, Sealed, Space};
use crate::store::schema::hex;
use crate::store::{StoreError, files};
use bytes::Bytes;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long sled's own lock is waited for, and how often it is tried.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// An open engine and a descriptor of ours for its file.
pub(super) struct Engine {
    pub tree: ::sled::Db,
    pub file: File,
}

/// Where a write failed.
pub(super) enum Fault {
    Engine(StoreError),
    Sync(StoreError),
}

impl Fault {
    pub fn into_error(self) -> StoreError {
        match self {
            Self::Engine(error) | Self::Sync(error) => error,
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Engine(error)
    }
}

/// Runs a call into sled; its errors and panics become ours.
pub(in crate::store) fn guarded<T>(
    call: impl FnOnce() -> ::sled::Result<T>,
) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error @ ::sled::Error::Corruption { .. })) => {
            Err(StoreError::Damaged(error.to_string()))
        }
        Ok(Err(error)) => Err(StoreError::Failed(error.to_string())),
        Err(panic) => {
            let said = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no reason given");
            Err(StoreError::Damaged(format!("the engine gave up: {said}")))
        }
    }
}

type Item = (::sled::IVec, ::sled::IVec);

pub(super) fn guarded_item(
    next: impl FnOnce() -> Option<::sled::Result<Item>>,
) -> Result<Option<Item>, StoreError> {
    guarded(|| next().transpose())
}

/// Opens sled's files in a directory.
pub(in crate::store) fn open_engine(
    dir: &Path,
    cache_bytes: u64,
) -> Result<::sled::Db, StoreError> {
    if dir.exists() {
        for entry in files::entries(dir)? {
            let name = entry.file_name();
            if name.to_string_lossy().ends_with(".generating") {
                let path = entry.path();
                fs::remove_file(&path).map_err(|error| files::failed(&path, &error))?;
            }
        }
    }
    let given_up = Instant::now() + LOCK_PATIENCE;
    loop {
        let opened = guarded(|| {
            ::sled::Config::new()
                .path(dir)
                .cache_capacity(cache_bytes)
                .flush_every_ms(None)
                .mode(::sled::Mode::LowSpace)
                .open()
        });
        match opened {
            // The right to these files is ours (`files::Lock`): what still holds sled's own lock is
            // a thread of the engine that was just closed, or a child that is about to exec.
            Err(StoreError::Failed(why))
                if why.contains("could not acquire lock") && Instant::now() < given_up =>
            {
                std::thread::sleep(LOCK_PAUSE);
            }
            opened => return opened,
        }
    }
}

/// Opens the engine and reads its head, making an empty one where there is nothing yet.
pub(super) fn open_with_head(dir: &Path, options: &Options) -> Result<(Engine, Head), StoreError> {
    let path = dir.join("db");
    if path.exists() {
        write_through(&path);
    }
    let tree = open_engine(dir, options.cache_bytes)?;
    let file = File::options()
        .read(true)
        .write(true)
        .open(&path)
        .map_err(|error| files::failed(&path, &error))?;
    write_through(&path);
    let engine = Engine { tree, file };
    let head = match guarded(|| engine.tree.get(record::HEAD_KEY))? {
        Some(stored) => Head::decode(&stored).map_err(|fault| head_fault(&fault))?,
        None if guarded_item(|| engine.tree.iter().next())?.is_none() => {
            let head = Head::empty();
            let mut batch = ::sled::Batch::default();
            batch.insert(&record::HEAD_KEY, head.encode());
            write(&engine, batch).map_err(Fault::into_error)?;
            head
        }
        None => return Err(StoreError::Damaged("there are records but no head".into())),
    };
    Ok((engine, head))
}

/// Has each write to a file reach the disk before it returns (the file's attribute `S`), where the file
/// system knows how. sled uses room of its log again once what was there lies elsewhere, and to its
/// mind it does when it is written and `sync_file_range` has returned; a power cut can take it even so,
/// and the old copy has been overwritten. It writes half a MiB at a time, so a sync for each costs next
/// to nothing.
fn write_through(path: &Path) {
    const SYNC: libc::c_int = 0x8;
    let attribute = || -> std::io::Result<()> {
        let file = File::open(path)?;
        let mut flags: libc::c_int = 0;
        // SAFETY: an open descriptor, and a live int that the kernel writes.
        let got = unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_GETFLAGS, &raw mut flags) };
        flags |= SYNC;
        // SAFETY: an open descriptor, and a live int that the kernel reads.
        let set = unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_SETFLAGS, &raw const flags) };
        if got == 0 && set == 0 {
            Ok(())
        } else {
            Err(std::io::Error::last_os_error())
        }
    };
    if let Err(error) = attribute() {
        tracing::info!(path = %path.display(), %error, "the file system has no synchronous files");
    }
}

fn head_fault(fault: &HeadFault) -> StoreError {
    StoreError::Damaged(match fault {
        HeadFault::Broken => "the head record is not whole".to_owned(),
        HeadFault::Schema(found) => format!("the head is of schema {found}"),
    })
}

/// Hands the batch to sled, to the kernel and to the disk.
pub(super) fn write(engine: &Engine, batch: ::sled::Batch) -> Result<(), Fault> {
    guarded(|| {
        engine.tree.apply_batch(batch)?;
        engine.tree.flush().map(|_| ())
    })?;
    engine.file.sync_data().map_err(|error| {
        Fault::Sync(StoreError::Failed(format!(
            "the disk does not sync: {error}"
        )))
    })
}

pub(super) fn read(engine: &Engine, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
    match guarded(|| engine.tree.get(key))? {
        Some(stored) => open_value(engine, key, &stored),
        None => Ok(None),
    }
}

/// Opens a stored value and checks it. `None` where a commit has removed it since it was read.
pub(super) fn open_value(
    engine: &Engine,
    key: &[u8],
    stored: &[u8],
) -> Result<Option<Bytes>, StoreError> {
    let mut stored = ::sled::IVec::from(stored);
    loop {
        let sealed = Sealed::split(&stored).ok_or_else(|| damaged(key, "not a sealed value"))?;
        let value = match sealed.body() {
            Body::Whole(value) => Some(Bytes::copy_from_slice(value)),
            Body::Pieces(length) => gather(engine, key, length)?,
        };
        if let Some(value) = value.filter(|value| sealed.vouches_for(key, value)) {
            return Ok(Some(value));
        }
        // A commit may have replaced the pieces between two reads: then the seal is another too.
        match guarded(|| engine.tree.get(key))? {
            Some(again) if again == stored => return Err(damaged(key, "checksum mismatch")),
            Some(again) => stored = again,
            None => return Ok(None),
        }
    }
}

pub(super) fn gather(
    engine: &Engine,
    key: &[u8],
    length: usize,
) -> Result<Option<Bytes>, StoreError> {
    if length > record::VALUE_LIMIT {
        return Err(damaged(key, "impossible length"));
    }
    let mut value = Vec::with_capacity(length);
    for index in 0..record::piece_count(length) {
        match guarded(|| engine.tree.get(record::piece_key(key, index)))? {
            Some(piece) => value.extend_from_slice(&piece),
            None => return Ok(None),
        }
    }
    Ok(Some(Bytes::from(value)))
}

pub(super) fn damaged(key: &[u8], what: &str) -> StoreError {
    let table = match record::space(key) {
        Space::Record(table) => format!("{table:?}"),
        other => format!("{other:?}"),
    };
    let bytes = key.get(1..).unwrap_or_default();
    StoreError::Damaged(format!("table {table}, key {}: {what}", hex(bytes)))
}
