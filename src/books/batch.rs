//! What one commit will hold, and what hangs on it: who waits for it, and how it is undone.

use super::Ticket;
use super::calls::{Close, HoldRequest, Up};
use super::command::{CallCommand, CallNotice, Command, Reply};
use super::records::KeptAnswer;
use crate::domain::{CallId, CustomerId, ReferenceId, UnixMillis};
use crate::store::{Change, Key};
use crate::{lease, ledger};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// The changes since the last commit.
#[derive(Default)]
pub(super) struct Batch {
    /// First `before` and last `after` of every record touched.
    changes: BTreeMap<Key, Pending>,
    /// How memory is put back, latest last.
    pub undo: Vec<Undo>,
    /// Who hears of the commit, in the order of asking.
    pub waiting: Vec<Waiting>,
    /// What is done again if the commit fails.
    pub kept: Vec<Kept>,
    /// What must not be judged by uncommitted state: done after the commit, or its failure.
    pub deferred: Vec<Deferred>,
    /// Slots of numbers that the directory must be told of.
    pub publish: Vec<u32>,
    /// Answers that are kept with this commit.
    pub answers: BTreeMap<[u8; 16], KeptAnswer>,
    /// Rows of the expiry index that go with this commit.
    pub forgotten: Vec<(UnixMillis, [u8; 16])>,
    /// Accounts that a request has changed.
    pub dirty: BTreeSet<CustomerId>,
    /// Heartbeat's value after this commit.
    pub alive: Option<Bytes>,
    /// Whether somebody waits.
    pub urgent: bool,
    /// Whether it holds anything that an API request asked for.
    pub ordinary: bool,
}

struct Pending {
    before: Option<Bytes>,
    after: Option<Bytes>,
}

/// One thing to take back.
pub(super) enum Undo {
    Lease(lease::Step),
    Ledger(ledger::Step),
    /// A call was forgotten.
    Call(CallId, Box<Up>),
}

/// Who waits for a commit.
pub(super) enum Waiting {
    /// An API request.
    Request(Ticket, Reply),
    /// A call that is to be answered.
    Answer(CallNotice),
    /// A call whose command is done again if the commit fails ([`Kept`]).
    Notice(CallNotice),
    /// The calls of a lease that was released.
    LeaseEnded(ReferenceId),
}

/// What a failed commit must not lose.
pub(super) enum Kept {
    Close(Close),
    Hold(HoldRequest),
}

/// What waits for state to be committed.
pub(super) enum Deferred {
    Read(Ticket, Box<Command>),
    Admit(CallCommand),
}

impl Batch {
    /// Records a change. `before` is the record as it was before this change; only the first one
    /// of a key counts.
    pub fn put(&mut self, key: Key, before: Option<Bytes>, after: Option<Bytes>) {
        self.changes
            .entry(key)
            .and_modify(|pending| pending.after.clone_from(&after))
            .or_insert(Pending { before, after });
    }

    /// Whether a record has an uncommitted change.
    pub fn touches(&self, key: &Key) -> bool {
        self.changes.contains_key(key)
    }

    /// Changes in it.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether there is nothing to commit and nobody who waits for a commit.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.waiting.is_empty()
    }

    /// The changes, but for those that came to nothing.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
            .into_iter()
            .filter(|(_, pending)| pending.before != pending.after)
            .map(|(key, pending)| Change {
                key,
                before: pending.before,
                after: pending.after,
            })
            .collect()
    }
}
