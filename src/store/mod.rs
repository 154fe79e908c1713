//! What the books need of a store, in two verbs: *one atomic commit of changes with their
//! preconditions*, and *one ordered scan at start*; beside them plain reads of what memory does not
//! hold (records, ledger entries, kept answers). Nothing here knows what the bytes mean.
//!
//! ```text
//!   engine::books_thread                    the one owner; batches, commits, retries
//!     Store, Reader (here)                  what any engine must do; conformance.rs says it in tests
//!       sled::SledStore                     the embedded engine
//!         journal  one frame a commit, durable at once; sled follows in bulk
//!         schema   data directory, kept copies, migration from older schemas
//!         record   checksums, sequence numbers, digests: what sled itself does not promise
//!         files    lock, witness, reserve, fsync: what sled itself does not do
//!       memory::MemoryStore                 in memory, fails on demand: for simulation
//! ```

use bytes::Bytes;

pub mod files;
pub mod journal;
pub mod memory;
pub mod record;
pub mod schema;
pub mod sled;

#[cfg(test)]
pub(crate) mod conformance;
#[cfg(test)]
mod powercut;

/// Tables. The number is the first byte of a stored key and never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// Node-wide counters and marks (next customer id, last heartbeat).
    Meta = 1,
    /// Customers and their balances, by customer id.
    Account = 2,
    /// Numbers of the pool, by packed E.164.
    Number = 3,
    /// Running leases, by reference.
    Lease = 4,
    /// Calls that are up, by call id.
    OpenCall = 5,
    /// Ledger entries, by customer and consecutive position.
    Entry = 6,
    /// Call records, by arrival and call id.
    Record = 7,
    /// Call records by customer, arrival, call id (empty values).
    RecordByCustomer = 8,
    /// Call records by reference, arrival, call id (empty values).
    RecordByReference = 9,
    /// Kept answers of idempotent requests, by hash of client, operation and key.
    Answer = 10,
    /// Kept answers by time of expiry (empty values).
    AnswerExpiry = 11,
}

impl Table {
    /// Every table, in order.
    pub const ALL: [Self; 11] = [
        Self::Meta,
        Self::Account,
        Self::Number,
        Self::Lease,
        Self::OpenCall,
        Self::Entry,
        Self::Record,
        Self::RecordByCustomer,
        Self::RecordByReference,
        Self::Answer,
        Self::AnswerExpiry,
    ];

    /// The table with this number, if there is one.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.number() == number)
    }

    /// First byte of its stored keys.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Whether the start scan reports its records ([`Store::scan`]); the others only grow and are
    /// read where they are.
    #[must_use]
    pub const fn is_scanned(self) -> bool {
        !matches!(
            self,
            Self::Entry | Self::Record | Self::RecordByCustomer | Self::RecordByReference
        )
    }
}

/// A key: its table and big-endian bytes, so that order of bytes is order of meaning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Table.
    pub table: Table,
    /// Bytes after the table's.
    pub bytes: Bytes,
}

/// One record's change. `before` is both the precondition (the record is exactly that, `None` =
/// there is none) and what undoes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which record.
    pub key: Key,
    /// What must be there now.
    pub before: Option<Bytes>,
    /// What is there afterwards; `None` removes it.
    pub after: Option<Bytes>,
}

/// Why a commit or a read failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A precondition does not hold: somebody else owns these records too. Nothing was changed.
    #[error("precondition failed on {0:?}")]
    Conflict(Key),
    /// No room. Nothing was changed; it may be tried again.
    #[error("the store's disk is full")]
    Full,
    /// The medium failed. Whether the commit is there is unknown until the store is opened again.
    #[error("store failed: {0}")]
    Failed(String),
    /// What is stored is damaged: says what and where.
    #[error("store damaged: {0}")]
    Damaged(String),
}

/// What is done with each record of a scan: its table, its key's bytes, its value.
pub type Visit<'a> = dyn FnMut(Table, &[u8], &[u8]) + 'a;

/// Direction of a range read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Ascending keys.
    Forward,
    /// Descending keys.
    Backward,
}

/// Reads, from any thread, of what is committed.
pub trait Reader: Send + Sync {
    /// One record.
    ///
    /// # Errors
    /// [`StoreError::Failed`], [`StoreError::Damaged`].
    fn get(&self, key: &Key) -> Result<Option<Bytes>, StoreError>;

    /// Up to `limit` records of `table` with `from <= key < to` (bytes after the table's byte).
    ///
    /// # Errors
    /// [`StoreError::Failed`], [`StoreError::Damaged`].
    fn range(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError>;
}

/// An engine. One owner: the books thread.
pub trait Store: Send {
    /// All of `changes` or none, durable against power loss when this returns. At most one change
    /// a key.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError>;

    /// As [`Self::commit`], for what running calls cannot do without (blocks begun, ends of calls):
    /// may use the room that is set aside for them when the disk is full (sip-bridging 7).
    ///
    /// # Errors
    /// See [`StoreError`].
    fn commit_essential(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        self.commit(changes)
    }

    /// Every record of the tables that memory holds, in order of tables and keys, checked
    /// (checksums, counts, sequence): called once, at start. Among them, in their place, the ledger
    /// entries too, all of them or none: an engine may find them too many to read at every start.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] says what and where.
    fn scan(&mut self, each: &mut Visit<'_>) -> Result<(), StoreError>;

    /// A handle for reads.
    fn reader(&self) -> std::sync::Arc<dyn Reader>;

    /// Releases what was set aside for running calls when the disk filled up, or sets it aside
    /// again when there is room; after [`StoreError::Failed`] opens the medium again, undoing the
    /// commit whose fate was unknown. To be called now and then while commits fail. Returns whether
    /// ordinary commits may be tried now.
    fn breathe(&mut self) -> bool;

    /// Whether there is room for ordinary commits, as the disk is at this moment. Changes nothing,
    /// and costs so little that it may be asked for each call.
    fn has_room(&self) -> bool {
        true
    }

    /// Bytes on disk, for the metric.
    fn size(&self) -> u64;

    /// What is wrong with the store since its start scan, if anything is, and will not mend itself.
    fn fault(&self) -> Option<String> {
        None
    }
}
