//! A trunk that comes back takes its load step by step: what took it down may have been that load,
//! and all of it at once would do so again.

use std::time::{Duration, Instant};

/// So long after its return a trunk takes its whole share again.
pub const RAMP: Duration = Duration::from_secs(10);
/// Share that it takes at once, of [`WHOLE`].
const FIRST: u64 = 50;
/// Everything.
const WHOLE: u64 = 1000;

/// How much of its share a trunk takes.
///
/// ```text
///   share   1 |          .------
///             |      .-'
///        0.05 |__.-'
///             +-----------------> time
///            back        RAMP
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ramp {
    since: Option<Instant>,
}

impl Ramp {
    /// It came back now.
    pub(super) const fn begin(now: Instant) -> Self {
        Self { since: Some(now) }
    }

    /// Whether it takes a call for which `draw` was drawn.
    pub(super) fn takes(self, draw: u64, now: Instant) -> bool {
        let Some(since) = self.since else { return true };
        let passed = now.saturating_duration_since(since);
        if passed >= RAMP {
            return true;
        }
        let whole = RAMP.as_millis().max(1);
        let grown = passed.as_millis().saturating_mul(u128::from(WHOLE - FIRST)) / whole;
        let share = u64::try_from(grown).unwrap_or(WHOLE).saturating_add(FIRST);
        draw % WHOLE < share
    }
}

/// A figure of a trunk's own from the one that was drawn for the choice (the finalizer of
/// SplitMix64).
pub(super) fn own_draw(random: u64, place: u16) -> u64 {
    let mixed = random ^ (u64::from(place) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
