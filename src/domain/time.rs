//! The two clocks: a monotonic one for durations and timers, a wall clock for what people read.

use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Wall-clock time: milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// This instant plus `duration`, saturating at the end of time.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// Time from `earlier` to this instant; zero if `earlier` is later (the clock was stepped).
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// What a core is told of the time with each input: one reading of both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Monotonic: all timers and durations.
    pub mono: Instant,
    /// Wall clock: stamps in records and lease expiry only.
    pub wall: UnixMillis,
}
