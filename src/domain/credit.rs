//! Money. One credit is $0.0001 and every figure is an integer (lease-api, head).

use serde::{Deserialize, Serialize};
use std::fmt;

/// An amount of credits, or a balance; may be negative.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Credit(pub i64);

impl Credit {
    /// No credit.
    pub const ZERO: Self = Self(0);
    /// No balance goes beyond this either way (lease-api 4.7).
    pub const BALANCE_LIMIT: i64 = 1_000_000_000_000_000_000;
    /// No single top-up goes beyond this either way (lease-api 4.7).
    pub const TOPUP_LIMIT: i64 = 1_000_000_000_000_000;

    /// Sum, or `None` on overflow.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// Difference, or `None` on overflow.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// `rate` credits for each of `blocks` blocks, or `None` on overflow.
    #[must_use]
    pub fn for_blocks(rate: Self, blocks: u64) -> Option<Self> {
        i64::try_from(blocks)
            .ok()
            .and_then(|n| rate.0.checked_mul(n))
            .map(Self)
    }
}

impl fmt::Display for Credit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
