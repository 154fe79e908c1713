//! A store in memory that fails on demand: for simulation, tests and benches. What a real medium
//! does to a gateway happens here at the write that was asked for, and nothing else.

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

use super::{Change, Direction, Key, Reader, Store, StoreError, Table};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

/// What happens at a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The disk is full: nothing is changed. Essential commits pass.
    Full,
    /// The disk is full and what was set aside is spent: nothing is changed.
    Spent,
    /// The medium fails. Whether the change is there is unknown until [`Store::breathe`], which
    /// undoes it.
    Fail,
    /// The process ends here, the change made or not: every later call fails until
    /// [`MemoryStore::restart`].
    Stop {
        /// Whether the change is there after the restart.
        written: bool,
    },
}

/// Which commits fail: the first commit has number 0, refused ones count.
#[derive(Clone, Debug, Default)]
pub struct FaultPlan {
    faults: BTreeMap<u64, Fault>,
}

impl FaultPlan {
    /// No fault at all.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// With one more fault.
    #[must_use]
    pub fn with(mut self, commit: u64, fault: Fault) -> Self {
        self.faults.insert(commit, fault);
        self
    }

    /// About `per_mille` of the first `commits` commits fail, the same ones for the same seed.
    #[must_use]
    pub fn from_seed(seed: u64, commits: u64, per_mille: u64) -> Self {
        let faults = (0..commits)
            .filter_map(|commit| {
                let draw = mix(seed ^ mix(commit));
                let fault = match (draw >> 32) % 5 {
                    0 => Fault::Full,
                    1 => Fault::Spent,
                    2 => Fault::Fail,
                    kind => Fault::Stop { written: kind == 3 },
                };
                (draw % 1000 < per_mille).then_some((commit, fault))
            })
            .collect();
        Self { faults }
    }
}

/// One round of `splitmix64`: spreads a counter over all bits.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

type Records = BTreeMap<(Table, Bytes), Bytes>;

#[derive(Default)]
struct Shared {
    records: RwLock<Records>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Working,
    Failed,
    Stopped,
}

/// See the module.
pub struct MemoryStore {
    shared: Arc<Shared>,
    plan: FaultPlan,
    commits: u64,
    state: State,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(FaultPlan::none())
    }
}

impl MemoryStore {
    /// An empty store with these faults ahead.
    #[must_use]
    pub fn new(plan: FaultPlan) -> Self {
        Self {
            shared: Arc::default(),
            plan,
            commits: 0,
            state: State::Working,
        }
    }

    /// Whether a [`Fault::Stop`] has come: the process is to be thought of as ended.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.state == State::Stopped
    }

    /// What a new process finds: the same records, the same faults still ahead. Readers of the old
    /// one read on from what was there.
    #[must_use]
    pub fn restart(&self) -> Self {
        let records = self.shared.read(Clone::clone);
        Self {
            shared: Arc::new(Shared {
                records: RwLock::new(records),
            }),
            plan: self.plan.clone(),
            commits: self.commits,
            state: State::Working,
        }
    }

    /// Number of commits tried so far, refused ones included.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.commits
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.read(BTreeMap::len)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn commit_as(&mut self, changes: &[Change], essential: bool) -> Result<(), StoreError> {
        match self.state {
            State::Working => {}
            State::Failed => return Err(StoreError::Failed("not opened again yet".into())),
            State::Stopped => return Err(StoreError::Failed("stopped".into())),
        }
        if changes.is_empty() {
            return Ok(());
        }
        let fault = self.plan.faults.get(&self.commits).copied();
        self.commits = self.commits.saturating_add(1);
        match fault {
            Some(Fault::Full) if !essential => return Err(StoreError::Full),
            Some(Fault::Spent) => return Err(StoreError::Full),
            _ => {}
        }
        let mut records = self
            .shared
            .records
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        check(&records, changes)?;
        match fault {
            Some(Fault::Fail) => {
                self.state = State::Failed;
                Err(StoreError::Failed("a fault was asked for".into()))
            }
            Some(Fault::Stop { written }) => {
                self.state = State::Stopped;
                if written {
                    apply(&mut records, changes);
                }
                Err(StoreError::Failed("a stop was asked for".into()))
            }
            _ => {
                apply(&mut records, changes);
                Ok(())
            }
        }
    }
}

fn check(records: &Records, changes: &[Change]) -> Result<(), StoreError> {
    for change in changes {
        let now = records.get(&(change.key.table, change.key.bytes.clone()));
        if now != change.before.as_ref() {
            return Err(StoreError::Conflict(change.key.clone()));
        }
    }
    Ok(())
}

fn apply(records: &mut Records, changes: &[Change]) {
    for change in changes {
        let key = (change.key.table, change.key.bytes.clone());
        match &change.after {
            Some(after) => records.insert(key, after.clone()),
            None => records.remove(&key),
        };
    }
}

impl Store for MemoryStore {
    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        self.commit_as(changes, false)
    }

    fn commit_essential(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        self.commit_as(changes, true)
    }

    fn scan(&mut self, each: &mut super::Visit<'_>) -> Result<(), StoreError> {
        self.shared.read(|records| {
            records
                .iter()
                .filter(|((table, _), _)| table.is_scanned() || *table == Table::Entry)
                .for_each(|((table, key), value)| each(*table, key, value));
        });
        Ok(())
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::clone(&self.shared) as Arc<dyn Reader>
    }

    fn breathe(&mut self) -> bool {
        if self.state == State::Failed {
            self.state = State::Working;
        }
        self.state == State::Working
    }

    /// A disk that is full at the next commit is full now.
    fn has_room(&self) -> bool {
        let next = self.plan.faults.get(&self.commits);
        !matches!(next, Some(Fault::Full | Fault::Spent))
    }

    fn size(&self) -> u64 {
        let bytes = self.shared.read(|records| {
            records
                .iter()
                .map(|((_, key), value)| key.len().saturating_add(value.len()))
                .fold(0usize, usize::saturating_add)
        });
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

impl Shared {
    fn read<T>(&self, job: impl FnOnce(&Records) -> T) -> T {
        job(&self.records.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Reader for Shared {
    fn get(&self, key: &Key) -> Result<Option<Bytes>, StoreError> {
        Ok(self.read(|records| records.get(&(key.table, key.bytes.clone())).cloned()))
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
        let bounds = (
            Bound::Included((table, Bytes::copy_from_slice(from))),
            Bound::Excluded((table, Bytes::copy_from_slice(to))),
        );
        Ok(self.read(|records| {
            let rows = records.range(bounds);
            let row = |((_, key), value): (&(Table, Bytes), &Bytes)| (key.clone(), value.clone());
            match direction {
                Direction::Forward => rows.take(limit).map(row).collect(),
                Direction::Backward => rows.rev().take(limit).map(row).collect(),
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::{self, change};

    #[test]
    fn it_conforms() {
        conformance::run(&mut || Box::new(MemoryStore::default()));
    }

    #[test]
    fn it_conforms_when_restarted() {
        conformance::persistence(MemoryStore::default(), |store| store.restart());
    }

    #[test]
    fn each_fault_does_what_it_says() {
        let plan = FaultPlan::none()
            .with(1, Fault::Full)
            .with(2, Fault::Full)
            .with(3, Fault::Spent)
            .with(4, Fault::Fail)
            .with(6, Fault::Stop { written: true })
            .with(7, Fault::Stop { written: false });
        let mut store = MemoryStore::new(plan);
        let put = |n: u8| [change(Table::Meta, &[n], None, Some(b"x"))];
        assert!(store.has_room());
        store.commit(&put(0)).unwrap();
        assert!(!store.has_room());
        assert!(matches!(store.commit(&put(1)), Err(StoreError::Full)));
        store.commit_essential(&put(2)).unwrap();
        assert!(matches!(
            store.commit_essential(&put(3)),
            Err(StoreError::Full)
        ));
        assert!(matches!(store.commit(&put(4)), Err(StoreError::Failed(_))));
        assert!(matches!(store.commit(&put(4)), Err(StoreError::Failed(_))));
        assert!(store.breathe());
        store.commit(&put(5)).unwrap();
        assert!(store.commit(&put(6)).is_err() && store.is_stopped() && !store.breathe());
        let mut store = store.restart();
        assert!(store.commit(&put(7)).is_err() && store.is_stopped());
        let store = store.restart();
        let mut seen = Vec::new();
        let mut scanned = store;
        scanned.scan(&mut |_, key, _| seen.push(key[0])).unwrap();
        assert_eq!(seen, [0, 2, 5, 6]);
    }

    #[test]
    fn a_seed_gives_the_same_faults_again() {
        let plan = FaultPlan::from_seed(9, 10_000, 50);
        assert_eq!(plan.faults, FaultPlan::from_seed(9, 10_000, 50).faults);
        assert_ne!(plan.faults, FaultPlan::from_seed(10, 10_000, 50).faults);
        assert!(
            (300..700).contains(&plan.faults.len()),
            "{}",
            plan.faults.len()
        );
        for kind in 0..5 {
            let found = plan.faults.values().any(|fault| match fault {
                Fault::Full => kind == 0,
                Fault::Spent => kind == 1,
                Fault::Fail => kind == 2,
                Fault::Stop { written } => kind == if *written { 3 } else { 4 },
            });
            assert!(found, "kind {kind}");
        }
    }
}
