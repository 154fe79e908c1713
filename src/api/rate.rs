//! The rate limit (lease-api 4.12): a token bucket per API client, kept as one number (the generic
//! cell rate algorithm, ITU-T I.371): the time at which the bucket will be full again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// So many requests a second on average, so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Average, from 1.
    pub per_second: u32,
    /// Bucket size, from 1.
    pub burst: u32,
}

impl Rate {
    /// `per_second` with a burst of two seconds' worth (200 a second: 400).
    #[must_use]
    pub fn per_second(per_second: u32) -> Self {
        Self {
            per_second,
            burst: per_second.saturating_mul(2),
        }
    }
}

impl Default for Rate {
    fn default() -> Self {
        Self::per_second(200)
    }
}

/// One client's bucket. It outlives a reload of the configuration.
#[derive(Debug)]
pub struct Bucket {
    origin: Instant,
    /// Nanoseconds after `origin` at which the bucket is full again.
    full_at: AtomicU64,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            origin: now,
            full_at: AtomicU64::new(0),
        }
    }

    /// Takes one token.
    ///
    /// # Errors
    /// The bucket is empty: when there is a token again, in whole seconds from 1 (`Retry-After`).
    pub fn take(&self, rate: Rate, now: Instant) -> Result<(), u64> {
        let now = nanos(now.saturating_duration_since(self.origin));
        let step = 1_000_000_000 / u64::from(rate.per_second.max(1));
        let depth = step.saturating_mul(u64::from(rate.burst.max(1)));
        let mut seen = self.full_at.load(Ordering::Relaxed);
        loop {
            let after = seen.max(now).saturating_add(step);
            let ahead = after - now;
            if ahead > depth {
                return Err((ahead - depth).div_ceil(1_000_000_000));
            }
            let swapped = self.full_at.compare_exchange_weak(
                seen,
                after,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match swapped {
                Ok(_) => return Ok(()),
                Err(other) => seen = other,
            }
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let start = Instant::now();
        let bucket = Bucket::new(start);
        let rate = Rate {
            per_second: 10,
            burst: 5,
        };
        for _ in 0..5 {
            assert_eq!(bucket.take(rate, start), Ok(()));
        }
        assert_eq!(bucket.take(rate, start), Err(1));
        let later = start + Duration::from_millis(100);
        assert_eq!(bucket.take(rate, later), Ok(()));
        assert_eq!(bucket.take(rate, later), Err(1));
        let much_later = start + Duration::from_secs(60);
        let taken = (0..100)
            .filter(|_| bucket.take(rate, much_later).is_ok())
            .count();
        assert_eq!(
            taken, 5,
            "never more than the burst, however long it rested"
        );
    }

    #[test]
    fn a_slow_bucket_says_how_long() {
        let start = Instant::now();
        let bucket = Bucket::new(start);
        let rate = Rate {
            per_second: 1,
            burst: 1,
        };
        assert_eq!(bucket.take(rate, start), Ok(()));
        assert_eq!(bucket.take(rate, start), Err(1));
    }
}
