//! The lease book: who holds which number until when. A plain core: commands change memory and
//! return [`Step`]s that undo them; nothing here knows of stores, calls or money.
//!
//! Ten million leases are normal, so a lease is some 60 bytes in a `slab`, its number 32, and
//! every index refers to them by place. Expiry is an ordered set, not a scan.
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

mod compact;
pub mod directory;
mod index;
pub mod pool;
mod slab;

#[cfg(test)]
mod tests;

pub use directory::Directory;
pub use pool::{NumberRecord, Pool};

use crate::domain::{CustomerId, E164, LeaseKind, Now, Phone, ReferenceId, UnixMillis};
use compact::{Lease, Spellings};
use index::{PhoneCounts, References};
use serde::{Deserialize, Serialize};
use slab::Slab;
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A running lease as it is stored, by reference, and as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// Whose.
    pub customer: CustomerId,
    /// Kind: one member or two.
    pub kind: LeaseKind,
    /// End.
    pub expires: UnixMillis,
    /// The members in the order of the request.
    pub members: SmallVec<[Member; 2]>,
    /// Single: only these may call; empty: anyone.
    pub whitelist: Vec<E164>,
}

/// A subscriber and the number that stands for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Leased number.
    pub number: E164,
    /// Subscriber.
    pub phone: Phone,
}

/// Leases by kind: a customer's, for the limits of lease-api 4.1 and 4.2, or everybody's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Single leases.
    pub single: u32,
    /// Group leases.
    pub group: u32,
}

impl Holdings {
    /// Leases of `kind`.
    #[must_use]
    pub fn of(self, kind: LeaseKind) -> u32 {
        match kind {
            LeaseKind::Single => self.single,
            LeaseKind::Group => self.group,
        }
    }

    fn count_mut(&mut self, kind: LeaseKind) -> &mut u32 {
        match kind {
            LeaseKind::Single => &mut self.single,
            LeaseKind::Group => &mut self.group,
        }
    }
}

/// What was done to the book; [`LeaseBook::undo`] takes it back, latest first.
#[derive(Debug)]
pub enum Step {
    /// A lease began.
    Began(u32),
    /// A lease ended; its numbers had rested since these stamps.
    Ended(u32, Box<Lease>, SmallVec<[(u32, u64); 2]>),
    /// A number's reservation changed from this.
    Assigned(u32, Option<CustomerId>),
    /// A number was retired; this was its reservation.
    Retired(u32, Option<CustomerId>),
    /// So many numbers from this one on were added.
    Added(E164, u32),
}

/// The lease book.
#[derive(Debug)]
pub struct LeaseBook {
    pool: Pool,
    leases: Slab<Lease>,
    references: References,
    phones: PhoneCounts,
    holdings: BTreeMap<CustomerId, Holdings>,
    /// Of all customers.
    total: Holdings,
    expiry: BTreeSet<(UnixMillis, u32)>,
    spellings: Spellings,
    directory: Arc<Directory>,
}

impl LeaseBook {
    /// An empty book; numbers rest for `cooldown` between leases.
    #[must_use]
    pub fn new(cooldown: Duration) -> Self {
        Self {
            pool: Pool::new(cooldown),
            leases: Slab::default(),
            references: References::default(),
            phones: PhoneCounts::default(),
            holdings: BTreeMap::new(),
            total: Holdings::default(),
            expiry: BTreeSet::new(),
            spellings: Spellings::default(),
            directory: Arc::new(Directory::default()),
        }
    }

    /// The numbers.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The numbers, to count calls and time on them.
    pub fn pool_mut(&mut self) -> &mut Pool {
        &mut self.pool
    }

    /// What signalling workers read. Changed by [`Self::publish`] alone.
    #[must_use]
    pub fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.directory)
    }

    /// Running leases.
    #[must_use]
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.leases.len() == 0
    }

    /// A lease's place, by reference.
    #[must_use]
    pub fn find(&self, reference: &ReferenceId) -> Option<u32> {
        self.references.find(&self.leases, reference)
    }

    /// The lease at a place.
    #[must_use]
    pub fn lease(&self, place: u32) -> Option<&Lease> {
        self.leases.get(place)
    }

    /// The lease at a place, as it is stored.
    #[must_use]
    pub fn record(&self, place: u32) -> Option<LeaseRecord> {
        let lease = self.leases.get(place)?;
        lease.record(&self.pool, &self.spellings)
    }

    /// A number, as it is stored.
    #[must_use]
    pub fn number_record(&self, slot: u32) -> Option<NumberRecord> {
        let mut record = self.pool.record(slot)?;
        record.lease = self
            .pool
            .lease(slot)
            .and_then(|place| self.leases.get(place))
            .map(|lease| lease.reference);
        Some(record)
    }

    /// Leases of a customer.
    #[must_use]
    pub fn holdings(&self, customer: CustomerId) -> Holdings {
        self.holdings.get(&customer).copied().unwrap_or_default()
    }

    /// Running leases of all customers.
    #[must_use]
    pub fn total(&self) -> Holdings {
        self.total
    }

    /// Concurrent leases for a subscriber's number.
    #[must_use]
    pub fn leases_of_phone(&self, phone: E164) -> u32 {
        self.phones.get(phone)
    }

    /// The earliest end of a lease.
    #[must_use]
    pub fn next_expiry(&self) -> Option<UnixMillis> {
        self.expiry.first().map(|(expires, _)| *expires)
    }

    /// A lease that has ended by `wall`, if there is one.
    #[must_use]
    pub fn expired(&self, wall: UnixMillis) -> Option<u32> {
        self.expiry
            .first()
            .filter(|(expires, _)| *expires <= wall)
            .map(|(_, place)| *place)
    }

    /// Begins a lease on free numbers (from [`Pool::draw`]). `None` where the reference is taken
    /// or a number is not in the pool.
    pub fn begin(&mut self, reference: ReferenceId, record: &LeaseRecord) -> Option<Step> {
        if self.find(&reference).is_some() {
            return None;
        }
        let lease = Lease::new(reference, record, &self.pool, &mut self.spellings)?;
        let place = self.leases.insert(lease)?;
        self.index(place);
        self.occupy(place);
        Some(Step::Began(place))
    }

    /// Ends a lease; its numbers rest from now on.
    pub fn end(&mut self, place: u32, now: Now) -> Option<Step> {
        let slots = self.leases.get(place)?.slots();
        self.unindex(place);
        let lease = self.leases.remove(place)?;
        let stamps = slots
            .iter()
            .map(|slot| (*slot, self.pool.vacate(*slot, now)))
            .collect();
        Some(Step::Ended(place, Box::new(lease), stamps))
    }

    /// Adds the numbers of a range that are not in the pool yet, as free ones; one step for each
    /// unbroken run of new numbers.
    pub fn add(&mut self, range: &crate::domain::numbering::PoolRange) -> Vec<Step> {
        self.pool
            .add(range)
            .into_iter()
            .map(|(first, count)| Step::Added(first, count))
            .collect()
    }

    /// Reserves a free number for a customer, or gives it back to the general pool.
    pub fn assign(&mut self, slot: u32, customer: Option<CustomerId>) -> Step {
        Step::Assigned(slot, self.pool.assign(slot, customer))
    }

    /// Takes a number out of use; a running lease keeps it to its end.
    pub fn retire(&mut self, slot: u32) -> Step {
        Step::Retired(slot, self.pool.retire(slot))
    }

    /// Takes a step back. Steps must be taken back latest first.
    pub fn undo(&mut self, step: Step) {
        match step {
            Step::Began(place) => {
                self.unindex(place);
                if let Some(lease) = self.leases.remove(place) {
                    for slot in lease.slots() {
                        self.pool.unoccupy(slot);
                    }
                }
            }
            Step::Ended(place, lease, stamps) => {
                for (slot, stamp) in stamps {
                    self.pool.unvacate(slot, stamp);
                }
                self.leases.restore(place, *lease);
                self.index(place);
                self.occupy(place);
            }
            Step::Assigned(slot, before) => {
                self.pool.assign(slot, before);
            }
            Step::Retired(slot, before) => self.pool.unretire(slot, before),
            Step::Added(first, count) => self.pool.remove_last(first, count),
        }
    }

    /// Puts what a number is now into the directory.
    pub fn publish(&self, slot: u32) {
        let Some(number) = self.pool.number(slot) else {
            return;
        };
        let lease = self
            .pool
            .lease(slot)
            .and_then(|place| self.leases.get(place));
        match lease {
            Some(lease) => self.directory.set_leased(
                number,
                lease.customer,
                lease.kind,
                lease.other_member(slot).map(|(_, phone)| phone),
                lease.whitelist(),
            ),
            None => self.directory.set_not_leased(number),
        }
    }

    /// Puts every number into the directory: once, at start.
    pub fn publish_all(&self) {
        for slot in 0..self.pool.len() {
            self.publish(slot);
        }
    }

    /// A number of the start scan.
    ///
    /// # Errors
    /// Says how it contradicts another.
    pub fn load_number(&mut self, number: E164, record: &NumberRecord) -> Result<(), String> {
        self.pool.load(number, record)
    }

    /// A lease of the start scan, after all numbers.
    ///
    /// # Errors
    /// Says how it contradicts a number or another lease.
    pub fn load_lease(
        &mut self,
        reference: ReferenceId,
        record: &LeaseRecord,
    ) -> Result<(), String> {
        for member in &record.members {
            let found = self.pool.find(member.number);
            if !found.is_some_and(|slot| self.pool.claim(slot, reference)) {
                return Err(format!(
                    "lease {reference} holds {:?}, which does not know of it",
                    member.number
                ));
            }
        }
        match self.begin(reference, record) {
            Some(_) => Ok(()),
            None => Err(format!("lease {reference} cannot be read")),
        }
    }

    /// After the start scan: rests and frees what is not leased.
    ///
    /// # Errors
    /// Says which number is leased by no lease.
    pub fn loaded(&mut self, now: Now) -> Result<(), String> {
        self.pool.loaded(now)
    }

    /// The subscriber whom a number of a lease stands for, with the client's spelling.
    #[must_use]
    pub fn spelling(&self, lease: &Lease, slot: u32) -> Option<Phone> {
        lease.phone_at(slot, &self.spellings)
    }

    /// Bytes in memory of all indexes and leases, without the directory's map overhead.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.leases.memory()
            + self.pool.memory()
            + self.references.memory()
            + self.phones.memory()
            + self.directory.memory()
            // A B-tree node of 11 entries is at least half full.
            + self.expiry.len() * size_of::<(UnixMillis, u32)>() * 2
    }

    fn index(&mut self, place: u32) {
        let Some(lease) = self.leases.get(place) else {
            return;
        };
        let (customer, kind, expires) = (lease.customer, lease.kind, lease.expires);
        for phone in lease.phones() {
            self.phones.add(phone);
        }
        let holdings = self.holdings.entry(customer).or_default();
        for count in [holdings.count_mut(kind), self.total.count_mut(kind)] {
            *count = count.saturating_add(1);
        }
        self.expiry.insert((expires, place));
        self.references.insert(&self.leases, place);
    }

    fn unindex(&mut self, place: u32) {
        let Some(lease) = self.leases.get(place) else {
            return;
        };
        let (customer, kind, expires) = (lease.customer, lease.kind, lease.expires);
        for phone in lease.phones() {
            self.phones.remove(phone);
        }
        let total = self.total.count_mut(kind);
        *total = total.saturating_sub(1);
        if let Some(holdings) = self.holdings.get_mut(&customer) {
            let count = holdings.count_mut(kind);
            *count = count.saturating_sub(1);
            if *holdings == Holdings::default() {
                self.holdings.remove(&customer);
            }
        }
        self.expiry.remove(&(expires, place));
        self.references.remove(&self.leases, place);
    }

    fn occupy(&mut self, place: u32) {
        let Some(lease) = self.leases.get(place) else {
            return;
        };
        for slot in lease.slots() {
            self.pool.occupy(slot, place);
        }
    }
}
