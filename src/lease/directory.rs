//! What the signalling workers read of the lease book without asking it: every pool number and
//! who may call it. Written by the books' thread alone, after each commit.

use super::index::BuildNumberHasher;
use crate::domain::{CustomerId, E164, LeaseKind};
use dashmap::DashMap;

/// Shards: enough that the map never moves more than some ten thousand entries at once.
const SHARDS: usize = 256;

/// Pool numbers by packed E.164.
#[derive(Debug)]
pub struct Directory {
    numbers: DashMap<u64, Entry, BuildNumberHasher>,
    /// Whitelists of those that have one, sorted.
    whitelists: DashMap<u64, Box<[E164]>, BuildNumberHasher>,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            numbers: DashMap::with_capacity_and_hasher_and_shard_amount(
                0,
                BuildNumberHasher::default(),
                SHARDS,
            ),
            whitelists: DashMap::with_capacity_and_hasher_and_shard_amount(
                0,
                BuildNumberHasher::default(),
                SHARDS,
            ),
        }
    }
}

/// Sixteen bytes: the only caller's number (50 bits), two flags, and the customer (0 = not
/// leased).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    bits: u64,
    customer: u32,
}

const GROUP: u64 = 1 << 62;
const WHITELIST: u64 = 1 << 63;
const NUMBER: u64 = (1 << 50) - 1;

/// A leased number as the directory knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leased {
    /// Kind.
    pub kind: LeaseKind,
    /// Whose.
    pub customer: CustomerId,
    /// Group: the only number that may call it.
    pub only_caller: Option<E164>,
    /// Whether there is a whitelist.
    pub whitelist: bool,
}

impl Directory {
    /// `None`: not in the pool; `Some(None)`: not leased.
    #[must_use]
    pub fn get(&self, number: E164) -> Option<Option<Leased>> {
        // Copied out: the guard lives for this line only.
        let entry = self.numbers.get(&number.packed()).map(|entry| *entry)?;
        if entry.customer == 0 {
            return Some(None);
        }
        Some(Some(Leased {
            kind: if entry.bits & GROUP == 0 {
                LeaseKind::Single
            } else {
                LeaseKind::Group
            },
            customer: CustomerId(entry.customer),
            only_caller: E164::from_packed(entry.bits & NUMBER),
            whitelist: entry.bits & WHITELIST != 0,
        }))
    }

    /// Whether `caller` is on the whitelist of `number`; false where it has none.
    #[must_use]
    pub fn on_whitelist(&self, number: E164, caller: E164) -> bool {
        self.whitelists
            .get(&number.packed())
            .is_some_and(|list| list.binary_search(&caller).is_ok())
    }

    /// Numbers in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Bytes allocated, from the capacity of its tables (a byte of control for each cell).
    #[must_use]
    pub fn memory(&self) -> usize {
        // hashbrown keeps an eighth of its cells empty.
        self.numbers.capacity() * 8 / 7 * (size_of::<(u64, Entry)>() + 1)
    }

    pub(super) fn set_leased(
        &self,
        number: E164,
        customer: CustomerId,
        kind: LeaseKind,
        only_caller: Option<E164>,
        whitelist: &[E164],
    ) {
        let mut bits = only_caller.map_or(0, E164::packed) & NUMBER;
        if kind == LeaseKind::Group {
            bits |= GROUP;
        }
        if !whitelist.is_empty() {
            bits |= WHITELIST;
            let mut sorted = whitelist.to_vec();
            sorted.sort_unstable();
            // The list stands before the flag that sends readers to it.
            self.whitelists
                .insert(number.packed(), sorted.into_boxed_slice());
        }
        let entry = Entry {
            bits,
            customer: customer.0,
        };
        self.numbers.insert(number.packed(), entry);
        if whitelist.is_empty() {
            self.drop_whitelist(number);
        }
    }

    pub(super) fn set_not_leased(&self, number: E164) {
        let entry = Entry {
            bits: 0,
            customer: 0,
        };
        self.numbers.insert(number.packed(), entry);
        self.drop_whitelist(number);
    }

    fn drop_whitelist(&self, number: E164) {
        self.whitelists.remove(&number.packed());
    }
}
