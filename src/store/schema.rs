//! The data directory: which schema lies there, how an older one becomes the present one, and what
//! is kept of a store that turned out damaged.
//!
//! ```text
//!   data_dir/
//!     lock  witness  ballast        see files
//!     clean                         how the files were when they were last closed in order
//!     store.2/                      the present schema's engine files
//!     store.1/                      an older schema's, left as they were after migration
//!     store.2.building/             a migration under way; thrown away and begun anew
//!     opening/                      the files as they were before this start; gone once checked
//!     damaged-1700000000/           the files as they were before a start that found damage
//! ```
//! A migration is one rename: until then the old directory is the store, from then on the new one.

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

use super::StoreError;
use super::files;
use super::record::{self, Head, SCHEMA, Space};
use super::sled::{guarded, open_engine};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// So many damaged copies are kept; a restart loop must not fill the disk.
const DAMAGED_COPIES: usize = 3;
/// Records a batch while migrating.
const MIGRATION_BATCH: usize = 1000;

/// Where the engine's files of a schema lie.
#[must_use]
pub fn store_dir(data_dir: &Path, schema: u32) -> PathBuf {
    data_dir.join(format!("store.{schema}"))
}

/// Finds the store, bringing an older schema to the present one first. The directory returned need
/// not exist: then the store is new.
///
/// # Errors
/// [`StoreError::Failed`] for a newer schema; [`StoreError::Damaged`] where the older store does
/// not check.
pub fn locate(data_dir: &Path, cache_bytes: u64) -> Result<PathBuf, StoreError> {
    let present = store_dir(data_dir, SCHEMA);
    if let Some(newer) = schemas(data_dir)?.into_iter().find(|&found| found > SCHEMA) {
        return Err(StoreError::Failed(format!(
            "{} was written by a newer version (schema {newer}; this one knows up to {SCHEMA})",
            store_dir(data_dir, newer).display()
        )));
    }
    if present.exists() {
        return Ok(present);
    }
    let building = data_dir.join(format!("store.{SCHEMA}.building"));
    if building.exists() {
        fs::remove_dir_all(&building).map_err(|error| files::failed(&building, &error))?;
    }
    let oldest = store_dir(data_dir, 1);
    if oldest.exists() {
        tracing::info!(from = 1, to = SCHEMA, "migrating the store");
        migrate_from_1(&oldest, &building, cache_bytes)?;
        files::sync_tree(&building)?;
        fs::rename(&building, &present).map_err(|error| files::failed(&present, &error))?;
        files::sync_directory(data_dir)?;
    }
    Ok(present)
}

fn schemas(data_dir: &Path) -> Result<Vec<u32>, StoreError> {
    let names = files::entries(data_dir)?;
    Ok(names
        .iter()
        .filter_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .strip_prefix("store.")?
                .parse()
                .ok()
        })
        .collect())
}

/// Copies every record, each checked by the old schema's rules and sealed by the present one's.
fn migrate_from_1(old: &Path, new: &Path, cache_bytes: u64) -> Result<(), StoreError> {
    let damaged = |what: &str| StoreError::Damaged(format!("{}: {what}", old.display()));
    let source = open_engine(old, cache_bytes)?;
    let target = open_engine(new, cache_bytes)?;
    let stored = guarded(|| source.get(record::HEAD_KEY))?;
    let (commit, count) = stored
        .as_deref()
        .and_then(schema_1_head)
        .ok_or_else(|| damaged("no head"))?;
    let mut head = Head::empty();
    head.commit = commit;
    let mut batch = ::sled::Batch::default();
    let mut seen = 0u64;
    for item in source.iter() {
        let (key, stored) = guarded(|| item)?;
        let Space::Record(table) = record::space(&key) else {
            continue;
        };
        let (written, value) = schema_1_value(&key, &stored)
            .ok_or_else(|| damaged(&format!("{table:?} {}: bad checksum", hex(&key))))?;
        let (sealed, pieces) = record::seal(&key, written, value);
        batch.insert(key.as_ref(), sealed);
        for (index, piece) in (0u32..).zip(&pieces) {
            let at = record::piece_key(&key, index);
            if let Some(sum) = head.pieces_mut() {
                sum.add(&at, piece);
            }
            batch.insert(at, piece.as_ref());
        }
        if let Some(sum) = head.table_mut(table) {
            sum.add(&key, value);
        }
        seen = seen.saturating_add(1);
        if seen.is_multiple_of(MIGRATION_BATCH as u64) {
            let full = std::mem::take(&mut batch);
            guarded(|| target.apply_batch(full))?;
        }
    }
    if seen != count {
        return Err(damaged(&format!("{seen} records where there were {count}")));
    }
    batch.insert(&record::HEAD_KEY, head.encode());
    guarded(|| target.apply_batch(batch))?;
    guarded(|| target.flush().map(|_| ()))
}

/// Schema 1's head: commit u64, count of all records u64, checksum u64.
fn schema_1_head(stored: &[u8]) -> Option<(u64, u64)> {
    let (content, checksum) = stored.split_last_chunk::<8>()?;
    let (commit, rest) = content.split_first_chunk::<8>()?;
    let (count, rest) = rest.split_first_chunk::<8>()?;
    let good = xxh3_64_with_seed(content, 1) == u64::from_be_bytes(*checksum) && rest.is_empty();
    good.then(|| (u64::from_be_bytes(*commit), u64::from_be_bytes(*count)))
}

/// Schema 1's value: commit u64, checksum u64 of value under key, value.
fn schema_1_value<'a>(key: &[u8], stored: &'a [u8]) -> Option<(u64, &'a [u8])> {
    let (commit, rest) = stored.split_first_chunk::<8>()?;
    let (checksum, value) = rest.split_first_chunk::<8>()?;
    let good = xxh3_64_with_seed(value, xxh3_64_with_seed(key, 1)) == u64::from_be_bytes(*checksum);
    good.then(|| (u64::from_be_bytes(*commit), value))
}

/// A key as it is shown in what is said of damage.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The files as they were before a start: the engine's own recovery trims and clears what it does
/// not understand, which is just what somebody would want to look at afterwards. Files that were
/// closed in order and have not been touched since are not copied at every start: there is nothing
/// for the recovery to trim.
#[derive(Debug)]
pub struct Evidence {
    data_dir: PathBuf,
    store: PathBuf,
    copy: Option<PathBuf>,
    /// Whether there was anything to copy.
    there: bool,
    /// Whether a copy may still be made once damage is found.
    room: bool,
}

impl Evidence {
    /// Copies the store, if it was not closed in order, is no larger than `limit` bytes, and there
    /// is room for it.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn take(data_dir: &Path, store: &Path, limit: u64, free: u64) -> Result<Self, StoreError> {
        let copy = data_dir.join("opening");
        if copy.exists() {
            fs::remove_dir_all(&copy).map_err(|error| files::failed(&copy, &error))?;
        }
        let mark = data_dir.join("clean");
        let closed_as = fs::read_to_string(&mark).ok();
        if closed_as.is_some() {
            fs::remove_file(&mark).map_err(|error| files::failed(&mark, &error))?;
        }
        let untouched = closed_as.is_some() && closed_as == fingerprint(store);
        let size = files::tree_bytes(store);
        let copies = files::entries(data_dir)?
            .iter()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("damaged-"))
            .count();
        let there = store.exists();
        let room =
            there && size <= limit && size.saturating_mul(2) <= free && copies < DAMAGED_COPIES;
        let copied = room && !untouched;
        if copied {
            files::copy_tree(store, &copy)?;
        }
        Ok(Self {
            data_dir: data_dir.to_path_buf(),
            store: store.to_path_buf(),
            copy: copied.then_some(copy),
            there,
            room,
        })
    }

    /// All is well: lets the copy go.
    pub fn discard(self) {
        if let Some(copy) = self.copy
            && let Err(error) = fs::remove_dir_all(&copy)
        {
            tracing::warn!(path = %copy.display(), %error, "a copy of the store stays behind");
        }
    }

    /// The store is damaged: keeps the copy, and says so.
    #[must_use]
    pub fn keep(self, what: &str) -> StoreError {
        if !self.there {
            return StoreError::Damaged(format!("{}: {what}", self.store.display()));
        }
        let seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let kept = self.data_dir.join(format!("damaged-{seconds}"));
        let made = match &self.copy {
            Some(copy) => fs::rename(copy, &kept).map_err(|error| files::failed(&kept, &error)),
            None if self.room => files::copy_tree(&self.store, &kept),
            None => Err(StoreError::Failed(
                "too large, no room, or earlier copies are still there".into(),
            )),
        };
        let where_kept = match made.and_then(|()| files::sync_tree(&kept)) {
            Ok(()) => format!("the files as they were are kept in {}", kept.display()),
            Err(error) => format!("no copy could be kept of the files as they were ({error})"),
        };
        StoreError::Damaged(format!("{}: {what}; {where_kept}", self.store.display()))
    }
}

/// Notes that the files were closed in order and how they were left.
///
/// # Errors
/// The write's.
pub fn mark_closed(data_dir: &Path, store: &Path) -> std::io::Result<()> {
    match fingerprint(store) {
        Some(fingerprint) => fs::write(data_dir.join("clean"), fingerprint),
        None => Ok(()),
    }
}

/// Names, lengths and times of change of a directory's files.
fn fingerprint(store: &Path) -> Option<String> {
    let mut text = String::new();
    for entry in files::entries(store).ok()? {
        let file = entry.metadata().ok()?;
        let (length, seconds, nanoseconds) = (file.len(), file.mtime(), file.mtime_nsec());
        let name = entry.file_name();
        text.push_str(&format!("{name:?} {length} {seconds}.{nanoseconds:09}\n"));
    }
    Some(text)
}

/// Writes a store of schema 1, as its last release did.
#[cfg(test)]
pub(super) fn write_schema_1(
    data_dir: &Path,
    commit: u64,
    records: &[(super::Table, Vec<u8>, Vec<u8>)],
) {
    let db = open_engine(&store_dir(data_dir, 1), 1 << 20).unwrap();
    for (table, key, value) in records {
        let key = record::stored_key(*table, key);
        let checksum = xxh3_64_with_seed(value, xxh3_64_with_seed(&key, 1));
        let stored = [&commit.to_be_bytes()[..], &checksum.to_be_bytes(), value].concat();
        db.insert(key, stored).unwrap();
    }
    let content = [commit.to_be_bytes(), (records.len() as u64).to_be_bytes()].concat();
    let checksum = xxh3_64_with_seed(&content, 1).to_be_bytes();
    db.insert(record::HEAD_KEY, [&content[..], &checksum].concat())
        .unwrap();
    db.flush().unwrap();
}
