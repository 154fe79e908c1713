//! Indexes over leases. Sharded, because a hash table that doubles moves all it holds at once: a
//! shard of a few ten thousand moves in milliseconds, ten million would take a second.

use super::compact::Lease;
use super::slab::Slab;
use crate::domain::{E164, ReferenceId};
use hashbrown::{HashMap, HashTable};
use std::hash::{BuildHasherDefault, Hasher};

const SHARDS: usize = 256;

/// Places of leases by reference. Holds places only; references are read in the slab.
#[derive(Debug)]
pub struct References {
    shards: Vec<HashTable<u32>>,
}

impl Default for References {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| HashTable::new()).collect(),
        }
    }
}

impl References {
    pub fn find(&self, leases: &Slab<Lease>, reference: &ReferenceId) -> Option<u32> {
        let hash = hash_reference(reference);
        self.shards
            .get(shard(hash))?
            .find(hash, |place| holds(leases, *place, reference))
            .copied()
    }

    pub fn insert(&mut self, leases: &Slab<Lease>, place: u32) {
        let Some(lease) = leases.get(place) else {
            return;
        };
        let hash = hash_reference(&lease.reference);
        if let Some(table) = self.shards.get_mut(shard(hash)) {
            table.insert_unique(hash, place, |place| {
                leases
                    .get(*place)
                    .map_or(0, |lease| hash_reference(&lease.reference))
            });
        }
    }

    pub fn remove(&mut self, leases: &Slab<Lease>, place: u32) {
        let Some(lease) = leases.get(place) else {
            return;
        };
        let hash = hash_reference(&lease.reference);
        if let Some(table) = self.shards.get_mut(shard(hash))
            && let Ok(entry) = table.find_entry(hash, |other| *other == place)
        {
            entry.remove();
        }
    }

    pub fn memory(&self) -> usize {
        self.shards.iter().map(HashTable::allocation_size).sum()
    }
}

fn holds(leases: &Slab<Lease>, place: u32, reference: &ReferenceId) -> bool {
    leases
        .get(place)
        .is_some_and(|lease| lease.reference == *reference)
}

fn hash_reference(reference: &ReferenceId) -> u64 {
    let (high, low) = reference.0.as_u64_pair();
    mix(high ^ mix(low))
}

/// Top bits pick the shard; tables use the bits below and the top seven within.
fn shard(hash: u64) -> usize {
    usize::try_from((hash >> 40) % 256).unwrap_or(0)
}

/// Concurrent leases by subscriber's number.
#[derive(Debug)]
pub struct PhoneCounts {
    shards: Vec<HashMap<u64, u32, BuildNumberHasher>>,
}

impl Default for PhoneCounts {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| HashMap::default()).collect(),
        }
    }
}

impl PhoneCounts {
    pub fn get(&self, phone: E164) -> u32 {
        self.shards
            .get(shard(mix(phone.packed())))
            .and_then(|map| map.get(&phone.packed()))
            .copied()
            .unwrap_or(0)
    }

    pub fn add(&mut self, phone: E164) {
        if let Some(map) = self.shards.get_mut(shard(mix(phone.packed()))) {
            let count = map.entry(phone.packed()).or_insert(0);
            *count = count.saturating_add(1);
        }
    }

    pub fn remove(&mut self, phone: E164) {
        if let Some(map) = self.shards.get_mut(shard(mix(phone.packed())))
            && let Some(count) = map.get_mut(&phone.packed())
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                map.remove(&phone.packed());
            }
        }
    }

    pub fn memory(&self) -> usize {
        self.shards.iter().map(HashMap::allocation_size).sum()
    }
}

/// Hashes packed numbers; nothing else goes in.
#[derive(Clone, Copy, Debug, Default)]
pub struct NumberHasher(u64);

/// Makes [`NumberHasher`]s.
pub type BuildNumberHasher = BuildHasherDefault<NumberHasher>;

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = mix(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = mix(value);
    }
}

/// A bijection that spreads every bit over all others (the finaliser of SplitMix64).
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
