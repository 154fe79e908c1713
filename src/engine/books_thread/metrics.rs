//! Figures of the books thread, read by the metrics page at any time.

use crate::books::Figures;
use crate::store::StoreError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A number that goes up, or that stands at something.
#[derive(Debug, Default)]
pub struct Figure(AtomicU64);

impl Figure {
    /// Raises it.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Sets it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Reads it.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the commit time's buckets, microseconds.
pub const COMMIT_MICROS: [u64; 12] = [
    250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 512_000, 2_000_000,
];
/// Upper bounds of the batch size's buckets, changes.
pub const BATCH_CHANGES: [u64; 12] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 5_000, 20_000];

/// Counts by bucket; the last is for what lies above all bounds.
#[derive(Debug)]
pub struct Buckets {
    bounds: &'static [u64; 12],
    counts: [Figure; 13],
    sum: Figure,
}

impl Buckets {
    fn new(bounds: &'static [u64; 12]) -> Self {
        Self {
            bounds,
            counts: Default::default(),
            sum: Figure::default(),
        }
    }

    fn observe(&self, value: u64) {
        let bucket = self
            .bounds
            .iter()
            .take_while(|&&bound| bound < value)
            .count();
        if let Some(count) = self.counts.get(bucket) {
            count.add(1);
        }
        self.sum.add(value);
    }

    /// Bound and count of each bucket (not cumulative); `None` bounds the last.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> + '_ {
        let bounds = self.bounds.iter().copied().map(Some).chain([None]);
        bounds.zip(self.counts.iter().map(Figure::get))
    }

    /// Sum of all values observed.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum.get()
    }

    /// How many values were observed.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().map(Figure::get).sum()
    }
}

/// See the module.
#[derive(Debug)]
pub struct BooksMetrics {
    /// Commits that went well.
    pub commits: Figure,
    /// Changes in them.
    pub changes: Figure,
    /// Commits refused because the disk is full.
    pub commits_full: Figure,
    /// Commits that failed on the medium, or found the store damaged.
    pub commits_failed: Figure,
    /// Commits whose preconditions did not hold: never, unless something is wrong.
    pub commits_conflicting: Figure,
    /// Times the store was tried again after a failure.
    pub retries: Figure,
    /// Time of each commit that went well, microseconds, [`COMMIT_MICROS`].
    pub commit_micros: Buckets,
    /// Changes of each commit tried, [`BATCH_CHANGES`].
    pub batch_changes: Buckets,
    /// Requests that the newest round found waiting.
    pub requests_waiting: Figure,
    /// Commands of calls that the newest round found waiting.
    pub calls_waiting: Figure,
    /// Requests that found the queue full.
    pub requests_refused: Figure,
    /// Commands of calls that found the queue full.
    pub calls_refused: Figure,
    /// Bytes of the store on disk.
    pub store_bytes: Figure,
    /// 1 once something is wrong with the store that will not mend itself.
    pub store_faults: Figure,
    /// 1 while commits go well, else 0.
    pub healthy: Figure,
    /// Comparisons of all balances with the sums of their entries and open calls.
    pub ledger_checks: Figure,
    /// Those that did not agree.
    pub ledger_mismatches: Figure,
    books: Mutex<Figures>,
}

impl BooksMetrics {
    /// What the books last counted of themselves.
    #[must_use]
    pub fn books(&self) -> Figures {
        *self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, figures: Figures) {
        self.ledger_checks.add(1);
        if figures.ledger_imbalance != 0 {
            self.ledger_mismatches.add(1);
            tracing::error!(
                credits = %figures.ledger_imbalance,
                "the balances are not the sums of their entries"
            );
        }
        *self.books.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }
}

impl Default for BooksMetrics {
    fn default() -> Self {
        Self {
            commits: Figure::default(),
            changes: Figure::default(),
            commits_full: Figure::default(),
            commits_failed: Figure::default(),
            commits_conflicting: Figure::default(),
            retries: Figure::default(),
            commit_micros: Buckets::new(&COMMIT_MICROS),
            batch_changes: Buckets::new(&BATCH_CHANGES),
            requests_waiting: Figure::default(),
            calls_waiting: Figure::default(),
            requests_refused: Figure::default(),
            calls_refused: Figure::default(),
            store_bytes: Figure::default(),
            store_faults: Figure::default(),
            healthy: Figure::default(),
            ledger_checks: Figure::default(),
            ledger_mismatches: Figure::default(),
            books: Mutex::default(),
        }
    }
}

impl BooksMetrics {
    pub(super) fn count(&self, changes: usize, took: Duration, outcome: &Result<(), StoreError>) {
        let changes = u64::try_from(changes).unwrap_or(u64::MAX);
        self.batch_changes.observe(changes);
        match outcome {
            Ok(()) => {
                self.commits.add(1);
                self.changes.add(changes);
                let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                self.commit_micros.observe(micros);
            }
            Err(StoreError::Full) => self.commits_full.add(1),
            Err(StoreError::Conflict(_)) => self.commits_conflicting.add(1),
            Err(StoreError::Failed(_) | StoreError::Damaged(_)) => self.commits_failed.add(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_into_their_buckets() {
        let buckets = Buckets::new(&BATCH_CHANGES);
        for value in [1, 2, 3, 5, 6, 1_000_000] {
            buckets.observe(value);
        }
        let counts: Vec<u64> = buckets.buckets().map(|(_, count)| count).collect();
        assert_eq!(counts, [1, 1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(buckets.count(), 6);
        assert_eq!(buckets.sum(), 1_000_017);
        assert_eq!(buckets.buckets().last(), Some((None, 1)));
    }
}
