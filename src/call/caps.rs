//! Caps of trunks over several workers (sip-bridging 1: `max_calls`, `max_cps` are the trunk's, not
//! a worker's).
//!
//! Each worker counts its calls in a row of its own, which nobody else writes. Only where a trunk
//! has a cap are the others' rows read, once a call.

use super::routing::Trunk;
use crate::domain::TrunkId;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

/// What a full bucket holds: one second's calls.
const BUCKET: u64 = 1_000_000_000;

/// The counts of all workers.
#[derive(Debug)]
pub struct Counts {
    epoch: Instant,
    /// By worker, then by place of the trunk.
    calls: Box<[Box<[AtomicU32]>]>,
    /// By place: when its bucket will be full again, nanoseconds since `epoch`.
    full_at: Box<[AtomicU64]>,
}

impl Counts {
    /// For so many workers and places of trunks. `epoch` is any moment before the first call.
    #[must_use]
    pub fn new(workers: usize, places: usize, epoch: Instant) -> Arc<Self> {
        let row = || (0..places).map(|_| AtomicU32::new(0)).collect();
        Arc::new(Self {
            epoch,
            calls: (0..workers).map(|_| row()).collect(),
            full_at: (0..places).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    fn sum(&self, id: TrunkId) -> u32 {
        let of = |row: &[AtomicU32]| {
            row.get(usize::from(id.0))
                .map_or(0, |calls| calls.load(Ordering::SeqCst))
        };
        self.calls
            .iter()
            .fold(0, |sum, row| sum.saturating_add(of(row)))
    }

    fn nanos(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.epoch);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX / 2)
    }

    /// When the bucket will be full if a call is taken now; `None` if none may be.
    fn after(full_at: u64, per_second: u32, now: u64) -> Option<u64> {
        let missing = full_at.saturating_sub(now);
        let cost = BUCKET / u64::from(per_second.max(1));
        let missing = missing.saturating_add(cost);
        (missing <= BUCKET).then(|| now.saturating_add(missing))
    }
}

/// One worker's part.
#[derive(Clone, Debug)]
pub struct Share {
    counts: Arc<Counts>,
    worker: usize,
}

impl Share {
    /// Of the worker of that number.
    #[must_use]
    pub const fn new(counts: Arc<Counts>, worker: usize) -> Self {
        Self { counts, worker }
    }

    /// Whether a call more would be below the caps of all workers.
    pub(super) fn allows(&self, id: TrunkId, trunk: &Trunk, now: Instant) -> bool {
        if trunk.max_calls > 0 && self.counts.sum(id) >= trunk.max_calls {
            return false;
        }
        let full_at = self.counts.full_at.get(usize::from(id.0));
        let full_at = full_at.filter(|_| trunk.max_cps > 0);
        let allowed = |at: &AtomicU64| {
            let now = self.counts.nanos(now);
            Counts::after(at.load(Ordering::SeqCst), trunk.max_cps, now).is_some()
        };
        full_at.is_none_or(allowed)
    }

    /// Counts a call, unless that passes a cap. Two workers at once may both find the last place
    /// taken; they never both take it.
    pub(super) fn take(&self, id: TrunkId, trunk: &Trunk, now: Instant) -> bool {
        self.add(id);
        let below = trunk.max_calls == 0 || self.counts.sum(id) <= trunk.max_calls;
        if below && self.take_token(id, trunk, now) {
            return true;
        }
        self.release(id);
        false
    }

    /// A call is over.
    pub(super) fn release(&self, id: TrunkId) {
        if let Some(calls) = self.own(id) {
            // Nobody else writes here.
            let calls_before = calls.load(Ordering::SeqCst);
            calls.store(calls_before.saturating_sub(1), Ordering::SeqCst);
        }
    }

    fn add(&self, id: TrunkId) {
        if let Some(calls) = self.own(id) {
            calls.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn own(&self, id: TrunkId) -> Option<&AtomicU32> {
        self.counts.calls.get(self.worker)?.get(usize::from(id.0))
    }

    fn take_token(&self, id: TrunkId, trunk: &Trunk, now: Instant) -> bool {
        let Some(full_at) = self.counts.full_at.get(usize::from(id.0)) else {
            return true;
        };
        if trunk.max_cps == 0 {
            return true;
        }
        let now = self.counts.nanos(now);
        let (order, per_second) = (Ordering::SeqCst, trunk.max_cps);
        full_at
            .fetch_update(order, order, |at| Counts::after(at, per_second, now))
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::routing::{Trunk, Trunks};
    use super::*;
    use std::time::Duration;

    fn workers(count: usize, trunk: &Trunk) -> (Vec<Trunks>, Instant) {
        let epoch = Instant::now();
        let counts = Counts::new(count, 4, epoch);
        let trunks = (0..count).map(|worker| {
            let mut trunks = Trunks::new(vec![Some(trunk.clone())]);
            trunks.share(Share::new(Arc::clone(&counts), worker));
            trunks
        });
        (trunks.collect(), epoch)
    }

    #[test]
    fn max_calls_holds_over_all_workers() {
        let capped = Trunk {
            max_calls: 3,
            ..Trunk::default()
        };
        let (mut workers, now) = workers(2, &capped);
        let id = TrunkId(0);
        assert!(workers[0].admit(id, now));
        assert!(workers[1].admit(id, now));
        assert_eq!(workers[1].choose(&[], 0, now), Some(id));
        assert!(!workers[0].admit(id, now));
        assert!(!workers[1].has_another(&[], now));
        assert_eq!(workers[0].choose(&[], 0, now), None);
        workers[1].release(id);
        assert!(workers[0].admit(id, now));
        assert!(!workers[1].admit(id, now));
    }

    #[test]
    fn max_cps_holds_over_all_workers() {
        let capped = Trunk {
            max_cps: 4,
            ..Trunk::default()
        };
        let (mut workers, start) = workers(2, &capped);
        let id = TrunkId(0);
        let mut admitted = 0;
        for millis in 0..3000_u64 {
            let now = start + Duration::from_millis(millis);
            for worker in &mut workers {
                admitted += u32::from(worker.admit(id, now));
            }
        }
        // A full bucket, and then four a second.
        assert!((15..=17).contains(&admitted), "{admitted}");
    }

    #[test]
    fn threads_at_once_never_pass_a_cap() {
        let capped = Trunk {
            max_calls: 10,
            ..Trunk::default()
        };
        let (workers, now) = workers(4, &capped);
        let counts = std::thread::scope(|scope| {
            let run = |mut trunks: Trunks| {
                let mut held = 0_u32;
                for _ in 0..1000 {
                    held += u32::from(trunks.admit(TrunkId(0), now));
                }
                held
            };
            let threads: Vec<_> = workers
                .into_iter()
                .map(|trunks| scope.spawn(move || run(trunks)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum::<u32>()
        });
        assert!(counts <= 10, "{counts}");
        assert!(counts > 0);
    }

    #[test]
    fn a_place_beyond_the_table_is_not_capped_but_counted_by_its_worker() {
        let (mut workers, now) = workers(2, &Trunk::default());
        workers[0].reload(vec![None, None, None, None, Some(Trunk::default())]);
        assert!(workers[0].admit(TrunkId(4), now));
        assert_eq!(workers[0].calls(TrunkId(4)), 1);
    }
}
