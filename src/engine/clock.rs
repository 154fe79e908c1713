//! The only place where the shells read the clocks.

use crate::domain::{Now, UnixMillis};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Reads both clocks.
#[must_use]
pub fn now() -> Now {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Now {
        mono: Instant::now(),
        wall: UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
    }
}
