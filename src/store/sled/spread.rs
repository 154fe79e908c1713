//! Brings the frozen generation to the tree, record by record in order of keys, its head last:
//! sled recovers to a prefix of its log, so where the head is, all before it is too. Cut short, it
//! is begun anew, by the next start from the journal. Until it is whole, readers find its records
//! in the generation, not in the tree.
//!
//! ```text
//!   committer ── freeze, ring ──▶ spreading thread ── some, rest, some, … head, flush, sync ──▶
//!                                  thaw: the journal's other file is free
//! ```
//! A batch of sled's for every few records would cost twice as much: it locks out readers, and its
//! end wakes all threads that write the log.

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

use super::Shared;
use super::engine::{Engine, Fault, guarded, write};
use super::layers::{Frozen, Row, Was};
use crate::store::record::{self, Body, Sealed};
use crate::store::{Key, StoreError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Records between two rests.
const SOME: usize = 32;
const REST_MAX: Duration = Duration::from_millis(20);

/// The rest after some records, in times of what they took. Most of a processor stays with the calls;
/// but the more generations gather meanwhile the less, or commits would come to a stand in the end.
const fn rest(behind: u64) -> u32 {
    match behind {
        0 | 1 => 3,
        2 => 1,
        _ => 0,
    }
}

/// The thread that spreads beside the commits.
pub(super) struct Spreader {
    bell: Option<SyncSender<()>>,
    hurry: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Spreader {
    pub fn start(shared: Arc<Shared>) -> Result<Self, StoreError> {
        let (bell, rung) = sync_channel(1);
        let hurry = Arc::new(AtomicBool::new(false));
        let hurried = Arc::clone(&hurry);
        let thread = std::thread::Builder::new()
            .name("spread".into())
            .spawn(move || {
                for () in rung {
                    let started = Instant::now();
                    match shared.spread(&hurried) {
                        Ok(rows) => tracing::debug!(rows, took = ?started.elapsed(), "spread"),
                        Err(error) => tracing::error!(%error, "the engine takes no more"),
                    }
                }
            })
            .map_err(|error| StoreError::Failed(format!("no thread to spread: {error}")))?;
        Ok(Self {
            bell: Some(bell),
            hurry,
            thread: Some(thread),
        })
    }

    /// Tells the thread that there is something to spread.
    pub fn ring(&self) {
        match self.bell.as_ref().map(|bell| bell.try_send(())) {
            // Rung already: it comes round again.
            Some(Ok(()) | Err(TrySendError::Full(()))) | None => {}
            Some(Err(TrySendError::Disconnected(()))) => {
                tracing::error!("the spreading thread is gone");
            }
        }
    }

    /// Brings the frozen generation to the tree at once, without rests, or waits until the thread
    /// has.
    pub fn spread_now(&self, shared: &Shared) -> Result<(), StoreError> {
        self.hurry.store(true, Ordering::Relaxed);
        let done = shared.spread(&self.hurry);
        self.hurry.store(false, Ordering::Relaxed);
        done.map(|_| ())
    }
}

impl Drop for Spreader {
    fn drop(&mut self) {
        self.hurry.store(true, Ordering::Relaxed);
        self.bell = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the spreading thread ended in a panic");
        }
    }
}

/// Writes a generation to the tree, and makes it durable there. Returns how many records it had.
pub(super) fn spread(shared: &Shared, frozen: &Frozen, hurry: &AtomicBool) -> Result<usize, Fault> {
    let mut written = 0usize;
    let rows = frozen.rows.in_order();
    let mut rows = rows.iter().filter(|(_, row)| !row.is_nothing());
    loop {
        let started = Instant::now();
        let mut taken = 0usize;
        shared.with(|engine| {
            rows.by_ref().take(SOME).try_for_each(|(key, row)| {
                taken = taken.saturating_add(1);
                put(engine, key, row)
            })
        })?;
        if taken == 0 {
            break;
        }
        written = written.saturating_add(taken);
        if !hurry.load(Ordering::Relaxed) {
            let times = rest(shared.behind.load(Ordering::Relaxed));
            let pause = started.elapsed().saturating_mul(times).min(REST_MAX);
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
        }
    }
    let mut last = ::sled::Batch::default();
    last.insert(&record::HEAD_KEY, frozen.head.encode());
    shared.with(|engine| write(engine, last))?;
    Ok(written)
}

/// Brings one record to the tree. One in pieces goes there whole or not at all: who reads it piece by
/// piece must not find a seal that is not theirs.
fn put(engine: &Engine, key: &Key, row: &Row) -> Result<(), StoreError> {
    let stored = record::stored_key(key.table, &key.bytes);
    let old = match row.was {
        Was::Absent => 0,
        Was::There(pieces) => pieces,
        Was::Unknown => stored_pieces(engine, &stored)?,
    };
    let sealed = row
        .value
        .as_ref()
        .map(|value| record::seal(&stored, row.commit, value));
    match sealed {
        None if old == 0 => guarded(|| engine.tree.remove(stored.as_slice()).map(drop)),
        Some((sealed, parts)) if old == 0 && parts.is_empty() => {
            guarded(|| engine.tree.insert(stored.as_slice(), sealed).map(drop))
        }
        sealed => {
            let mut batch = ::sled::Batch::default();
            let mut pieces = 0u32;
            match sealed {
                None => batch.remove(stored.as_slice()),
                Some((sealed, parts)) => {
                    for part in &parts {
                        batch.insert(record::piece_key(&stored, pieces), part.as_ref());
                        pieces = pieces.saturating_add(1);
                    }
                    batch.insert(stored.as_slice(), sealed);
                }
            }
            for piece in pieces..old {
                batch.remove(record::piece_key(&stored, piece));
            }
            guarded(|| engine.tree.apply_batch(batch))
        }
    }
}

/// In how many pieces the tree holds a value.
fn stored_pieces(engine: &Engine, stored_key: &[u8]) -> Result<u32, StoreError> {
    let stored = guarded(|| engine.tree.get(stored_key))?;
    let body = stored
        .as_deref()
        .and_then(Sealed::split)
        .map(|sealed| sealed.body());
    Ok(match body {
        Some(Body::Pieces(length)) => record::piece_count(length),
        _ => 0,
    })
}
