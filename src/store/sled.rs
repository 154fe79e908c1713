//! The embedded engine: one sled tree, one commit at a time.
//!
//! What sled 0.34 leaves open is closed here:
//! - its flush is `sync_file_range`, no fsync: every commit ends with `fdatasync` of its file;
//! - it recovers to *a* prefix of its log and says nothing of what it dropped: the head's sums
//!   ([`super::record`]) and the witness ([`super::files`]) say what must be there;
//! - a full disk poisons it until it is opened again: commits are refused before that happens;
//! - pages with long values go to files of their own that are never synced: values lie in pieces;
//! - an unfinished snapshot left by a kill during start stops the next start: it is removed;
//! - it asserts on what it does not expect to read: its panics are caught and become errors.
//!
//! ```text
//!            open                 commit fails (I/O)            sync fails
//!   ─────────▶ Open ──────────────────────▶ Closed ───┐    Open ─────────▶ Broken
//!               ▲     breathe: opened again,          │                    (until restart:
//!               └──── checked, the commit in doubt ◀──┘                     the kernel may have
//!                     undone                                                dropped the pages)
//! ```

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

mod check;
mod engine;
mod history;

use super::files::{self, FreeSpace, Lock, Reserve, Witness};
use super::record::{self, Head};
use super::schema::{self, Evidence};
use super::{Change, Direction, Key, Reader, Store, StoreError, Table, Visit};
use bytes::Bytes;
use check::verify;
use engine::{Engine, Fault, guarded_item, open_checked, open_value, prepare, read, write};
pub(super) use engine::{guarded, open_engine};
use history::HistoryCheck;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// How the store is to be opened. Sizes in bytes.
#[derive(Clone)]
pub struct Options {
    /// Where everything lies.
    pub data_dir: PathBuf,
    /// sled's page cache.
    pub cache_bytes: u64,
    /// Set aside for running calls when the disk is full (sip-bridging 7).
    pub ballast_bytes: u64,
    /// Ordinary commits wait while less than this is free.
    pub margin_bytes: u64,
    /// Nothing is written while less than this is free.
    pub floor_bytes: u64,
    /// Records and ledger entries are checked at start while there are no more than this, and
    /// beside the running gateway when there are more.
    pub check_history_up_to: u64,
    /// The files are copied before each start while they are no larger than this.
    pub copy_up_to_bytes: u64,
    /// How room is measured.
    pub free_space: FreeSpace,
    /// Leaves out the sync that makes a commit durable: for the proof that its absence is noticed.
    #[cfg(test)]
    pub skip_sync: bool,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("data_dir", &self.data_dir)
            .field("cache_bytes", &self.cache_bytes)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// The defaults, in this directory.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        const MIB: u64 = 1 << 20;
        Self {
            data_dir: data_dir.to_path_buf(),
            cache_bytes: 64 * MIB,
            ballast_bytes: 16 * MIB,
            margin_bytes: 32 * MIB,
            floor_bytes: 8 * MIB,
            check_history_up_to: 1_000_000,
            copy_up_to_bytes: 2048 * MIB,
            free_space: Arc::new(files::free_space),
            #[cfg(test)]
            skip_sync: false,
        }
    }
}

/// What readers and the store share: taken out while the engine is closed.
#[derive(Default)]
struct Shared {
    engine: RwLock<Option<Engine>>,
    /// A record of history was replaced or removed since the start.
    shrank: AtomicBool,
}

/// See the module.
pub struct SledStore {
    options: Options,
    dir: PathBuf,
    shared: Arc<Shared>,
    head: Head,
    witness: Witness,
    reserve: Reserve,
    /// The commit that failed while sled had hold of it: there or not, nobody knows.
    in_doubt: Option<Vec<Change>>,
    /// A sync failed: nothing that this process reads proves what the disk holds.
    broken: Option<String>,
    evidence: Option<Evidence>,
    /// Under way where history is too long for the start scan.
    history: Option<HistoryCheck>,
    _lock: Lock,
}

impl SledStore {
    /// Opens the store of a data directory, or makes one. [`Store::scan`] must follow: it is what
    /// checks the records.
    ///
    /// # Errors
    /// [`StoreError::Failed`] where another instance has it or the files cannot be opened;
    /// [`StoreError::Damaged`] says what and where.
    pub fn open(mut options: Options) -> Result<Self, StoreError> {
        let named = options.data_dir.clone();
        options.data_dir = fs::create_dir_all(&named)
            .and_then(|()| fs::canonicalize(&named))
            .map_err(|error| files::failed(&named, &error))?;
        let data_dir = options.data_dir.as_path();
        let lock = Lock::take(data_dir)?;
        let dir = schema::locate(data_dir, options.cache_bytes)?;
        let witness = Witness::open(&data_dir.join("witness"))?;
        let fresh = !dir.exists();
        let free = (options.free_space)(data_dir).unwrap_or(u64::MAX);
        let evidence = Evidence::take(data_dir, &dir, options.copy_up_to_bytes, free)?;
        let (engine, head) = match open_checked(&dir, &options, fresh, witness.newest()) {
            Ok(opened) => opened,
            Err(StoreError::Damaged(what)) => return Err(evidence.keep(&what)),
            Err(error) => {
                evidence.discard();
                return Err(error);
            }
        };
        files::sync_tree(&dir)?;
        files::sync_directory(data_dir)?;
        if let Some(parent) = data_dir.parent() {
            files::sync_directory(parent)?;
        }
        let reserve = Reserve::new(
            data_dir,
            options.ballast_bytes,
            options.margin_bytes,
            options.floor_bytes,
            Arc::clone(&options.free_space),
        );
        Ok(Self {
            options,
            dir,
            shared: Arc::new(Shared {
                engine: RwLock::new(Some(engine)),
                shrank: AtomicBool::new(false),
            }),
            head,
            witness,
            reserve,
            in_doubt: None,
            broken: None,
            evidence: Some(evidence),
            history: None,
            _lock: lock,
        })
    }

    /// The number of the newest commit.
    #[must_use]
    pub fn newest_commit(&self) -> u64 {
        self.head.commit
    }

    fn commit_as(&mut self, changes: &[Change], essential: bool) -> Result<(), StoreError> {
        if let Some(why) = &self.broken {
            return Err(StoreError::Failed(why.clone()));
        }
        if changes.is_empty() {
            return Ok(());
        }
        if !self.reserve.admits(essential, weight(changes)) {
            return Err(StoreError::Full);
        }
        let shrinks = |change: &Change| !change.key.table.is_scanned() && change.before.is_some();
        if changes.iter().any(shrinks) {
            self.shared.shrank.store(true, Ordering::Relaxed);
        }
        let (batch, head) = self
            .shared
            .with(|engine| prepare(engine, self.head, changes))?;
        #[cfg(test)]
        let sync = !self.options.skip_sync;
        #[cfg(not(test))]
        let sync = true;
        match self.shared.with(|engine| write(engine, batch, sync)) {
            Ok(()) => {
                self.head = head;
                if let Err(error) = self.witness.note(head.commit) {
                    tracing::warn!(%error, "the witness of commits cannot be written");
                }
                Ok(())
            }
            Err(Fault::Engine(error)) => {
                self.in_doubt = Some(changes.to_vec());
                self.shared.close();
                Err(error)
            }
            Err(Fault::Sync(error)) => {
                let why = format!("{error}; restart when the disk is sound");
                self.broken = Some(why.clone());
                self.shared.close();
                Err(StoreError::Failed(why))
            }
        }
    }

    /// Opens the engine again after it failed, and puts the store where its owner thinks it is.
    fn reopen(&mut self) -> Result<(), StoreError> {
        let (engine, found) = open_checked(&self.dir, &self.options, false, self.head.commit)?;
        verify(
            &engine,
            &found,
            self.checks_history(&found),
            &mut |_, _, _| {},
        )?;
        files::sync_tree(&self.dir)?;
        self.shared.replace(engine);
        let doubtful = self.in_doubt.clone().unwrap_or_default();
        let there = found.commit.checked_sub(self.head.commit);
        match there {
            Some(0) => {}
            Some(1) => {
                let undo: Vec<Change> = doubtful.into_iter().map(reversed).collect();
                let (batch, head) = self.shared.with(|engine| prepare(engine, found, &undo))?;
                self.shared
                    .with(|engine| write(engine, batch, true))
                    .map_err(Fault::into_error)?;
                self.head = head;
            }
            _ => {
                return Err(StoreError::Damaged(format!(
                    "{}: commit {} where {} was the last",
                    self.dir.display(),
                    found.commit,
                    self.head.commit
                )));
            }
        }
        self.in_doubt = None;
        Ok(())
    }

    fn checks_history(&self, head: &Head) -> bool {
        let records = Table::ALL
            .into_iter()
            .filter(|table| !table.is_scanned())
            .map(|table| head.table(table).count)
            .fold(0, u64::saturating_add);
        records <= self.options.check_history_up_to
    }
}

impl Store for SledStore {
    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        self.commit_as(changes, false)
    }

    fn commit_essential(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        self.commit_as(changes, true)
    }

    fn scan(&mut self, each: &mut Visit<'_>) -> Result<(), StoreError> {
        let history = self.checks_history(&self.head);
        let head = self.head;
        let checked = self
            .shared
            .with(|engine| verify(engine, &head, history, each));
        match (checked, self.evidence.take()) {
            (Err(StoreError::Damaged(what)), Some(evidence)) => {
                self.broken = Some(what.clone());
                self.shared.close();
                Err(evidence.keep(&what))
            }
            (checked, evidence) => {
                if let Some(evidence) = evidence {
                    evidence.discard();
                }
                if checked.is_ok() && !history && self.history.is_none() {
                    self.history = Some(HistoryCheck::start(Arc::clone(&self.shared), head)?);
                }
                checked
            }
        }
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::clone(&self.shared) as Arc<dyn Reader>
    }

    fn breathe(&mut self) -> bool {
        let room = self.reserve.breathe();
        if self.broken.is_some() || !room {
            return false;
        }
        if self.shared.is_open() {
            return true;
        }
        match self.reopen() {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "the store does not open again");
                self.shared.close();
                if let StoreError::Damaged(what) = error {
                    self.broken = Some(what);
                }
                false
            }
        }
    }

    fn size(&self) -> u64 {
        files::tree_bytes(&self.dir)
    }

    fn fault(&self) -> Option<String> {
        let found = self.history.as_ref().and_then(HistoryCheck::fault);
        found.or_else(|| self.broken.clone())
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        self.history = None;
        let sound = self.shared.is_open() && self.evidence.is_none();
        self.shared.close();
        if let Err(error) = self.witness.sync() {
            tracing::warn!(%error, "the witness of commits cannot be synced");
        }
        if sound && let Err(error) = schema::mark_closed(&self.options.data_dir, &self.dir) {
            tracing::warn!(%error, "the end in order cannot be noted");
        }
    }
}

impl Shared {
    fn with<T, E: From<StoreError>>(
        &self,
        job: impl FnOnce(&Engine) -> Result<T, E>,
    ) -> Result<T, E> {
        let engine = self.engine.read().unwrap_or_else(PoisonError::into_inner);
        match engine.as_ref() {
            Some(engine) => job(engine),
            None => Err(StoreError::Failed("the store is closed after a failure".into()).into()),
        }
    }

    fn history_shrank(&self) -> bool {
        self.shrank.load(Ordering::Relaxed)
    }

    fn is_open(&self) -> bool {
        self.engine
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    fn replace(&self, engine: Engine) {
        *self.engine.write().unwrap_or_else(PoisonError::into_inner) = Some(engine);
    }

    /// Waits for readers, then lets the engine go; what its end panics about is no longer ours.
    fn close(&self) {
        let engine = self
            .engine
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(engine)));
    }
}

impl Reader for Shared {
    fn get(&self, key: &Key) -> Result<Option<Bytes>, StoreError> {
        let stored = record::stored_key(key.table, &key.bytes);
        self.with(|engine| read(engine, &stored))
    }

    fn range(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let bounds = record::stored_key(table, from)..record::stored_key(table, to);
        self.with(|engine| {
            let mut rows = Vec::new();
            let mut iter = engine.tree.range(bounds);
            while rows.len() < limit {
                let next = guarded_item(|| match direction {
                    Direction::Forward => iter.next(),
                    Direction::Backward => iter.next_back(),
                })?;
                let Some((key, stored)) = next else { break };
                // Removed since: a range is no snapshot.
                if let Some(value) = open_value(engine, &key, &stored)? {
                    let bytes = key.get(1..).unwrap_or_default();
                    rows.push((Bytes::copy_from_slice(bytes), value));
                }
            }
            Ok(rows)
        })
    }
}

fn weight(changes: &[Change]) -> u64 {
    let bytes = changes
        .iter()
        .map(|change| change.key.bytes.len() + change.after.as_ref().map_or(0, Bytes::len))
        .fold(0usize, usize::saturating_add);
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn reversed(change: Change) -> Change {
    Change {
        key: change.key,
        before: change.after,
        after: change.before,
    }
}

#[cfg(test)]
mod tests;
