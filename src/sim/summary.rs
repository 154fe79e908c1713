//! What seeds came to, to be sure that enough happens in them.

use std::collections::BTreeMap;

/// Counts of one seed, or of many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    counts: BTreeMap<&'static str, u64>,
    /// Calls by the reason in their record.
    reasons: BTreeMap<String, u64>,
    /// Of everything that was sent: the same seed gives the same.
    trace: u64,
}

impl Summary {
    /// Counts one.
    pub fn count(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    /// Counts more.
    pub fn add(&mut self, what: &'static str, amount: u64) {
        *self.counts.entry(what).or_default() += amount;
    }

    /// Counts the end of a call.
    pub fn reason(&mut self, reason: &str) {
        *self.reasons.entry(reason.to_owned()).or_default() += 1;
    }

    /// Something was sent.
    pub fn sent(&mut self, bytes: &[u8]) {
        self.trace = self.trace.rotate_left(5) ^ xxhash_rust::xxh3::xxh3_64(bytes);
    }

    /// How often something happened.
    pub fn of(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    /// How many reasons calls ended for.
    pub fn reasons(&self) -> usize {
        self.reasons.len()
    }

    /// Takes another's counts.
    pub fn merge(&mut self, other: &Self) {
        for (what, count) in &other.counts {
            self.add(what, *count);
        }
        for (reason, count) in &other.reasons {
            *self.reasons.entry(reason.clone()).or_default() += count;
        }
    }
}
