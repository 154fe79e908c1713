//! The embedded engine: a journal for what must be durable now, one sled tree for what there is.
//!
//! A commit is a frame of the journal ([`super::journal`]), written and synced; readers find it in
//! memory (`layers`) until a thread beside has brought it to the tree (`spread`), in bulk. So a
//! commit costs the disk one write and one sync, and the tree sees a record that changes a thousand
//! times a minute once.
//!
//! What sled 0.34 leaves open is closed here:
//! - its flush is `sync_file_range`, no fsync: what is spread ends with `fdatasync` of its file,
//!   and only then is the journal's copy given up;
//! - it recovers to *a* prefix of its log and says nothing of what it dropped: the head's sums
//!   ([`super::record`]), the journal's numbers and the witness ([`super::files`]) say what must be
//!   there;
//! - a full disk poisons it until it is opened again: commits are refused before that happens;
//! - pages with long values go to files of their own that are never synced: values lie in pieces;
//! - an unfinished snapshot left by a kill during start stops the next start: it is removed;
//! - it asserts on what it does not expect to read: its panics are caught and become errors.
//!
//! ```text
//!            open                 spreading fails           sync fails
//!   ─────────▶ Open ─────────────────────▶ Closed ───┐    Open ─────────▶ Broken
//!      journal  ▲     breathe: opened again,         │                    (until restart:
//!      replayed └──── spread again, checked ◀────────┘                     the kernel may have
//!                                                                          dropped the pages)
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
mod layers;
mod spread;

use super::files::{self, FreeSpace, Lock, Reserve, Witness};
use super::journal::{self, Journal};
use super::record::{self, Head};
use super::schema::{self, Evidence};
use super::{Change, Direction, Key, Reader, Store, StoreError, Table, Visit};
use bytes::Bytes;
use check::verify;
use engine::{Engine, Fault, guarded_item, open_value, open_with_head, read};
pub(super) use engine::{guarded, open_engine};
use history::HistoryCheck;
use layers::{Layers, Merge};
use spread::Spreader;
use std::fs;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

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
    /// A generation of the journal: what is spread at a time.
    pub generation_bytes: u64,
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
            generation_bytes: 8 * MIB,
            check_history_up_to: 1_000_000,
            copy_up_to_bytes: 2048 * MIB,
            free_space: files::watched_free_space(),
            #[cfg(test)]
            skip_sync: false,
        }
    }
}

/// The journal grows to so many generations before a commit waits for the tree.
const GENERATIONS: u64 = 8;

/// What readers, the spreading thread and the store share.
#[derive(Default)]
struct Shared {
    /// Taken out while it is closed.
    engine: RwLock<Option<Engine>>,
    /// What is committed and not yet in the engine.
    layers: RwLock<Layers>,
    /// Held by who spreads.
    spreading: Mutex<()>,
    /// Why nothing is written any more: damage, or a sync that failed, after which nothing that
    /// this process reads proves what the disk holds.
    broken: Mutex<Option<String>>,
    /// The newest commit that lies in the engine, durably, with all before it.
    spread_to: AtomicU64,
    /// Generations that have gathered in the journal while another is on its way to the tree.
    behind: AtomicU64,
    /// A record of history was replaced or removed since the start.
    shrank: AtomicBool,
}

/// See the module.
pub struct SledStore {
    options: Options,
    dir: PathBuf,
    shared: Arc<Shared>,
    head: Head,
    journal: Journal,
    /// The frame being written; kept for its room.
    frame: Vec<u8>,
    witness: Witness,
    reserve: Reserve,
    evidence: Option<Evidence>,
    /// Under way where history is too long for the start scan.
    history: Option<HistoryCheck>,
    spreader: Spreader,
    _lock: Lock,
}

/// The engine with all of the journal in it, and what goes with it.
struct Recovered {
    shared: Arc<Shared>,
    journal: Journal,
    head: Head,
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
        let free = (options.free_space)(data_dir).unwrap_or(u64::MAX);
        let evidence = Evidence::take(data_dir, &dir, options.copy_up_to_bytes, free)?;
        let recovered = match recover(&dir, &options, witness.newest()) {
            Ok(recovered) => recovered,
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
        let Recovered {
            shared,
            journal,
            head,
        } = recovered;
        Ok(Self {
            options,
            dir,
            spreader: Spreader::start(Arc::clone(&shared))?,
            shared,
            head,
            journal,
            frame: Vec::new(),
            witness,
            reserve,
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
        if let Some(why) = self.shared.broken() {
            return Err(StoreError::Failed(why));
        }
        if changes.is_empty() {
            return Ok(());
        }
        if !self.reserve.admits(essential, weight(changes)) {
            return Err(StoreError::Full);
        }
        let longest = self.options.generation_bytes.saturating_mul(GENERATIONS);
        if self.journal.written() >= longest {
            self.spreader.spread_now(&self.shared)?;
            self.turn_over();
        }
        let shrinks = |change: &Change| !change.key.table.is_scanned() && change.before.is_some();
        if changes.iter().any(shrinks) {
            self.shared.shrank.store(true, Ordering::Relaxed);
        }
        let head = self.shared.advance(self.head, changes)?;
        self.journal.encode(&head, changes, &mut self.frame)?;
        match self.journal.append(&self.frame) {
            Ok(()) => {}
            Err(journal::Fault::Write(error)) => return Err(unwritten(&error)),
            Err(journal::Fault::Sync(error)) => {
                let why = format!("the disk does not sync: {error}");
                return Err(self.shared.unsynced(&why));
            }
        }
        self.shared
            .layers_mut(|layers| layers.commit(changes, head.commit));
        self.head = head;
        if let Err(error) = self.witness.note(head.commit) {
            tracing::warn!(%error, "the witness of commits cannot be written");
        }
        let generation = self.options.generation_bytes.max(1);
        if self.journal.written() >= generation {
            self.turn_over();
        }
        let behind = self.journal.written() / generation;
        self.shared.behind.store(behind, Ordering::Relaxed);
        Ok(())
    }

    /// Begins a new generation, if the one before lies in the tree.
    fn turn_over(&mut self) {
        let head = self.head;
        if self.shared.layers_mut(|layers| layers.freeze(head)) {
            self.journal.turn_over();
            self.spreader.ring();
        }
    }

    /// Brings everything to the tree, now.
    fn checkpoint(&mut self) -> Result<(), StoreError> {
        self.spreader.spread_now(&self.shared)?;
        if self.shared.layers(Layers::is_empty) {
            return Ok(());
        }
        self.turn_over();
        self.spreader.spread_now(&self.shared)
    }

    /// Opens the engine again after it failed, and brings to it what it may have lost.
    fn reopen(&mut self) -> Result<(), StoreError> {
        let (engine, found) = open_with_head(&self.dir, &self.options)?;
        let spread = self.shared.spread_to.load(Ordering::Relaxed);
        if found.commit < spread {
            return Err(StoreError::Damaged(format!(
                "gap: the newest commit of the engine is {}, but it had {spread}",
                found.commit
            )));
        }
        self.shared.replace(engine);
        let frozen = self.shared.layers(Layers::frozen);
        self.spreader.spread_now(&self.shared)?;
        let head = frozen.map_or(found, |frozen| frozen.head);
        let history = self.checks_history(&head);
        self.shared
            .with(|engine| verify(engine, &head, history, &mut |_, _, _| {}))?;
        files::sync_tree(&self.dir)
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

/// Opens engine and journal, brings to the one what is only in the other, and holds the outcome
/// against what was acknowledged.
fn recover(dir: &Path, options: &Options, acknowledged: u64) -> Result<Recovered, StoreError> {
    if !dir.exists() && acknowledged > 0 {
        return Err(StoreError::Damaged(format!(
            "it is not there, but commit {acknowledged} was acknowledged"
        )));
    }
    let (engine, found) = open_with_head(dir, options)?;
    let longest = options.generation_bytes.saturating_mul(2);
    #[cfg_attr(not(test), expect(unused_mut))]
    let (mut journal, frames) = Journal::open(dir, found.commit, longest)?;
    #[cfg(test)]
    {
        journal.skip_sync = options.skip_sync;
    }
    let head = frames.last().map_or(found, |frame| frame.head);
    if head.commit < acknowledged {
        return Err(StoreError::Damaged(format!(
            "gap: the newest commit is {}, but {acknowledged} was acknowledged",
            head.commit
        )));
    }
    if !frames.is_empty() {
        let (commits, newest) = (frames.len(), head.commit);
        tracing::info!(commits, newest, "the journal is brought to the store");
    }
    let shared = Arc::new(Shared::default());
    shared.replace(engine);
    shared.spread_to.store(found.commit, Ordering::Relaxed);
    shared.layers_mut(|layers| layers.replay(frames));
    shared.spread(&AtomicBool::new(true))?;
    Ok(Recovered {
        shared,
        journal,
        head,
    })
}

/// Why a frame could not be written.
fn unwritten(error: &std::io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::Failed(format!("the journal cannot be written: {error}")),
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
        let checked = self.checkpoint().and_then(|()| {
            self.shared
                .with(|engine| verify(engine, &head, history, each))
        });
        match (checked, self.evidence.take()) {
            (Err(StoreError::Damaged(what)), Some(evidence)) => {
                self.shared.breaks(&what);
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
        if self.shared.broken().is_some() || !room {
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
                    self.shared.breaks(&what);
                }
                false
            }
        }
    }

    fn has_room(&self) -> bool {
        self.reserve.has_room()
    }

    fn size(&self) -> u64 {
        files::tree_bytes(&self.dir)
    }

    fn fault(&self) -> Option<String> {
        let found = self.history.as_ref().and_then(HistoryCheck::fault);
        found.or_else(|| self.shared.broken())
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        self.history = None;
        let mut sound = self.shared.is_open() && self.evidence.is_none();
        if self.shared.is_open()
            && let Err(error) = self.checkpoint()
        {
            tracing::warn!(%error, "the journal is left to the next start");
            sound = false;
        }
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

    fn layers_mut<T>(&self, job: impl FnOnce(&mut Layers) -> T) -> T {
        job(&mut self.layers.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn layers<T>(&self, job: impl FnOnce(&Layers) -> T) -> T {
        job(&self.layers.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Checks every precondition and says what head the changes lead to.
    fn advance(&self, mut head: Head, changes: &[Change]) -> Result<Head, StoreError> {
        head.commit = head.commit.saturating_add(1);
        let mut step = |engine: &Engine, layers: &Layers| {
            for change in changes {
                let Change { key, before, after } = change;
                let stored = record::stored_key(key.table, &key.bytes);
                let holds = match layers.get(key) {
                    Some(row) => row.value == *before,
                    None => read(engine, &stored)? == *before,
                };
                if !holds {
                    return Err(StoreError::Conflict(key.clone()));
                }
                head.count(key.table, &stored, before.as_ref(), after.as_ref());
            }
            Ok(head)
        };
        self.with(|engine| self.layers(|layers| step(engine, layers)))
    }

    /// Brings the frozen generation to the tree, if there is one; says how many records it had.
    fn spread(&self, hurry: &AtomicBool) -> Result<usize, StoreError> {
        let _one = self
            .spreading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(frozen) = self.layers(Layers::frozen) else {
            return Ok(0);
        };
        match spread::spread(self, &frozen, hurry) {
            Ok(rows) => {
                self.spread_to.store(frozen.head.commit, Ordering::Relaxed);
                self.layers_mut(Layers::thaw);
                Ok(rows)
            }
            Err(Fault::Engine(error)) => {
                self.close();
                Err(error)
            }
            Err(Fault::Sync(error)) => Err(self.unsynced(&error.to_string())),
        }
    }

    /// A sync failed, and with it everything.
    fn unsynced(&self, why: &str) -> StoreError {
        let why = format!("{why}; restart when the disk is sound");
        self.breaks(&why);
        StoreError::Failed(why)
    }

    /// Ends all writing, for this reason.
    fn breaks(&self, why: &str) {
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
        self.close();
    }

    fn broken(&self) -> Option<String> {
        self.broken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
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
        if let Some(known) = self.layers(|layers| Some(layers.get(key)?.value.clone())) {
            return Ok(known);
        }
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
        let known =
            self.layers(|layers| layers.range(&layers::bounds(table, from, to), direction, limit));
        // Each record known here hides one of the tree's at most.
        let wanted = limit.saturating_add(known.len());
        let bounds = record::stored_key(table, from)..record::stored_key(table, to);
        let tree = self.with(|engine| {
            let mut rows = Vec::new();
            let mut iter = engine.tree.range(bounds);
            while rows.len() < wanted {
                let next = guarded_item(|| match direction {
                    Direction::Forward => iter.next(),
                    Direction::Backward => iter.next_back(),
                })?;
                let Some((key, stored)) = next else { break };
                // Removed since: a range is no snapshot.
                if let Some(value) = open_value(engine, &key, &stored)? {
                    let bytes = Bytes::copy_from_slice(key.get(1..).unwrap_or_default());
                    rows.push((Key { table, bytes }, Some(value)));
                }
            }
            Ok::<_, StoreError>(rows)
        })?;
        Ok(Merge::new(known.into_iter(), tree.into_iter(), direction)
            .filter_map(|(key, value)| Some((key.bytes, value?)))
            .take(limit)
            .collect())
    }
}

fn weight(changes: &[Change]) -> u64 {
    let bytes = changes
        .iter()
        .map(|change| change.key.bytes.len() + change.after.as_ref().map_or(0, Bytes::len))
        .fold(0usize, usize::saturating_add);
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
