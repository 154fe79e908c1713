//! The simulation's only source of randomness: one seed, one sequence (SplitMix64).

use std::time::Duration;

/// The sequence.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to `bound` - 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// True `percent` times of a hundred.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// `Some` time up to `bound` milliseconds, `percent` times of a hundred. Half of them are round,
    /// so that different things happen at nearly the same time.
    pub fn maybe_millis(&mut self, percent: u64, bound: u64) -> Option<Duration> {
        let millis = self.below(bound);
        let round = self.percent(50);
        let millis = if round { millis / 500 * 500 } else { millis };
        self.percent(percent).then(|| Duration::from_millis(millis))
    }
}
