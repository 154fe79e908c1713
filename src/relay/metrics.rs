//! What the relay counts: each thread writes its own counters, anybody reads the sums.

use crate::media::flow::DropReason;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one relay thread. It alone writes them, so that no instruction is locked; they
/// stand on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ThreadCounters {
    pub(super) packets: Counter,
    pub(super) bytes: Counter,
    pub(super) dropped: [Counter; DropReason::ALL.len()],
    pub(super) removed_items: Counter,
    pub(super) flows: Counter,
    pub(super) ports: Counter,
    pub(super) commands: Counter,
    pub(super) queue_full: Counter,
}

/// A counter with one writer.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub(super) fn add(&self, amount: u64) {
        let value = self.0.load(Ordering::Relaxed).wrapping_add(amount);
        self.0.store(value, Ordering::Relaxed);
    }

    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl ThreadCounters {
    #[inline]
    pub(super) fn refuse(&self, reason: DropReason) {
        if let Some(counter) = self.dropped.get(reason.index()) {
            counter.add(1);
        }
    }
}

/// All threads' counters; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct RelayMetrics {
    threads: Arc<[Arc<ThreadCounters>]>,
}

/// Sums at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Packets sent on.
    pub packets: u64,
    /// Bytes of them, from the RTP or RTCP header on.
    pub bytes: u64,
    /// Packets not sent on, by [`DropReason::index`].
    pub dropped: [u64; DropReason::ALL.len()],
    /// RTCP items and header extensions kept from the other side, in flows that have ended.
    pub removed_items: u64,
    /// Flows now.
    pub flows: u64,
    /// Port pairs bound now, in use or kept for the next call.
    pub ports: u64,
    /// Commands carried out.
    pub commands: u64,
    /// Reports that had to wait because a worker had not read the ones before.
    pub queue_full: u64,
}

impl RelayMetrics {
    pub(super) fn new(threads: Vec<Arc<ThreadCounters>>) -> Self {
        Self {
            threads: threads.into(),
        }
    }

    /// The sums now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut sum = Snapshot::default();
        for thread in self.threads.iter() {
            sum.packets += thread.packets.get();
            sum.bytes += thread.bytes.get();
            for (sum, counter) in sum.dropped.iter_mut().zip(&thread.dropped) {
                *sum += counter.get();
            }
            sum.removed_items += thread.removed_items.get();
            sum.flows += thread.flows.get();
            sum.ports += thread.ports.get();
            sum.commands += thread.commands.get();
            sum.queue_full += thread.queue_full.get();
        }
        sum
    }
}

impl Snapshot {
    /// Packets dropped for `reason`.
    #[must_use]
    pub fn dropped_for(&self, reason: DropReason) -> u64 {
        self.dropped.get(reason.index()).copied().unwrap_or(0)
    }
}
