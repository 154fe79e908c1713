//! Counters of the API: requests by operation and status, and how long they took. Plain atomics,
//! read by whoever shows them.

use super::operation::OPERATIONS;
use super::status::{STATUSES, position};
use crate::books::command::Code;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the duration histogram, microseconds; longer ones go into a last bucket.
pub const BUCKETS_MICROS: [u64; 13] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
    5_000_000,
];

/// Status codes that each operation shows before the first request had them: success, and those
/// that say how the gateway itself does. All 46 for all operations would be a thousand rows.
pub const SHOWN_AT_NOUGHT: [u16; 4] = [0, 38, 99, 100];

/// Label of requests that name no operation.
pub const NO_OPERATION: &str = "none";

/// Durations of one operation.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS_MICROS.len() + 1],
    sum_micros: AtomicU64,
}

impl Histogram {
    fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let place = BUCKETS_MICROS.partition_point(|bound| *bound < micros);
        if let Some(bucket) = self.buckets.get(place) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Requests in each bucket, not cumulative, the last one without an upper bound.
    #[must_use]
    pub fn counts(&self) -> [u64; BUCKETS_MICROS.len() + 1] {
        std::array::from_fn(|place| {
            self.buckets
                .get(place)
                .map_or(0, |bucket| bucket.load(Ordering::Relaxed))
        })
    }

    /// Sum of all durations, microseconds.
    #[must_use]
    pub fn sum_micros(&self) -> u64 {
        self.sum_micros.load(Ordering::Relaxed)
    }
}

/// Counters of the API.
#[derive(Debug)]
pub struct Metrics {
    /// By operation (the last row: none), then by status.
    requests: Vec<Vec<AtomicU64>>,
    durations: Vec<Histogram>,
    /// Connections open now.
    pub connections: AtomicU64,
    /// Connections closed at once because there were too many.
    pub connections_refused: AtomicU64,
    /// Connections closed at once because their source had its share.
    pub shares_refused: AtomicU64,
    /// TLS handshakes that failed or took too long.
    pub handshakes_failed: AtomicU64,
    /// Connections closed because their client took nothing of an answer any more.
    pub stalled: Arc<AtomicU64>,
}

impl Metrics {
    /// All zero.
    #[must_use]
    pub fn new() -> Self {
        let rows = OPERATIONS.len() + 1;
        let row = || STATUSES.iter().map(|_| AtomicU64::new(0)).collect();
        Self {
            requests: (0..rows).map(|_| row()).collect(),
            durations: (0..rows).map(|_| Histogram::default()).collect(),
            connections: AtomicU64::new(0),
            connections_refused: AtomicU64::new(0),
            shares_refused: AtomicU64::new(0),
            handshakes_failed: AtomicU64::new(0),
            stalled: Arc::default(),
        }
    }

    /// Counts one request of the operation at this place in [`OPERATIONS`].
    pub(super) fn count(&self, operation: Option<usize>, code: Code, took: Duration) {
        let row = operation.unwrap_or(OPERATIONS.len());
        if let Some(counter) = self
            .requests
            .get(row)
            .and_then(|row| row.get(position(code)))
        {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(histogram) = self.durations.get(row) {
            histogram.observe(took);
        }
    }

    /// Requests so far: operation, status, count. Noughts are left out but for those of answers that
    /// any gateway gives sooner or later.
    pub fn requests(&self) -> impl Iterator<Item = (String, u16, u64)> {
        self.requests
            .iter()
            .enumerate()
            .flat_map(|(row, counters)| {
                STATUSES
                    .iter()
                    .zip(counters)
                    .filter_map(move |(status, counter)| {
                        let count = counter.load(Ordering::Relaxed);
                        let shown = count > 0 || SHOWN_AT_NOUGHT.contains(&status.code);
                        shown.then(|| (label(row), status.code, count))
                    })
            })
    }

    /// Durations by operation.
    pub fn durations(&self) -> impl Iterator<Item = (String, &Histogram)> {
        self.durations
            .iter()
            .enumerate()
            .map(|(row, histogram)| (label(row), histogram))
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn label(row: usize) -> String {
    OPERATIONS.get(row).map_or_else(
        || NO_OPERATION.to_owned(),
        super::operation::Operation::label,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_is_counted_once() {
        let metrics = Metrics::new();
        metrics.count(Some(0), Code(0), Duration::from_micros(120));
        metrics.count(Some(0), Code(0), Duration::from_secs(60));
        metrics.count(None, Code(3), Duration::ZERO);
        assert_eq!(metrics.requests().count(), 4 * (OPERATIONS.len() + 1) + 1);
        let seen: Vec<_> = metrics.requests().filter(|row| row.2 > 0).collect();
        assert_eq!(
            seen,
            [
                ("leasesingle/request".to_owned(), 0, 2),
                (NO_OPERATION.to_owned(), 3, 1)
            ]
        );
        let (_, first) = metrics.durations().next().unwrap();
        assert_eq!(first.counts().iter().sum::<u64>(), 2);
        assert_eq!(first.counts()[1], 1);
        assert_eq!(first.counts()[BUCKETS_MICROS.len()], 1);
        assert_eq!(first.sum_micros(), 60_000_120);
    }
}
