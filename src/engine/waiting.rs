//! Where new INVITEs wait, and which of them have waited for too long.
//!
//! Everything else (what belongs to a call, responses, ACK, BYE) is worked off as it is read. So a
//! worker that cannot keep up finishes the calls that it has, and takes as many new ones as there is
//! time left for. The rest must be told so while that is cheap and the caller still listens: a queue
//! that only grows serves nobody, since all that it holds is repeated or given up by the time it is
//! read.
//!
//! ```text
//!                the first one has waited more than TARGET
//!   keeping up ─────────── for INTERVAL on end ───────────► behind
//!   (serves all)               ▲                            (refuses what has
//!                              └──────── nobody waits ─────  waited TARGET)
//! ```
//!
//! How long one has waited counts from when the kernel took it from the network. A machine that
//! stood still, or that is given its processor in slices, is not behind: nobody waits soon after.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// An INVITE may wait so long when the worker is behind.
pub const TARGET: Duration = Duration::from_millis(50);
/// For so long the first in line must have waited more than [`TARGET`] before the worker is behind:
/// with it well below T1 (500 ms), when an INVITE is repeated. Longer than the period in which a control group is given its share of a processor (100 ms).
pub const INTERVAL: Duration = Duration::from_millis(150);
/// INVITEs that wait at most; beyond it the oldest is refused.
pub const MOST: usize = 4096;

/// What is to be done with one that waited.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate<T> {
    /// It is served.
    Serve(T),
    /// It is refused.
    Refuse(T),
}

struct Waiter<T> {
    since: Instant,
    call: u64,
    what: T,
}

/// The queue.
pub struct Waiting<T> {
    queue: VecDeque<Waiter<T>>,
    /// Since when the first in line has always waited more than [`TARGET`].
    late_since: Option<Instant>,
    behind: bool,
    began: u64,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            late_since: None,
            behind: false,
            began: 0,
        }
    }
}

impl<T> Waiting<T> {
    /// Puts a new INVITE in line: `call` is the hash of its Call-ID, `since` when it came.
    pub fn push(&mut self, call: u64, since: Instant, what: T) {
        self.queue.push_back(Waiter { since, call, what });
    }

    /// Whether an INVITE of that call waits: what comes after it (its CANCEL) must not pass it.
    #[must_use]
    pub fn holds(&self, call: u64) -> bool {
        self.queue.iter().any(|waiter| waiter.call == call)
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether the worker is behind.
    #[must_use]
    pub const fn is_behind(&self) -> bool {
        self.behind
    }

    /// How often it fell behind so far.
    #[must_use]
    pub const fn began(&self) -> u64 {
        self.began
    }

    /// The next of those that wait, and its fate; `may_refuse` says which may be refused at all.
    /// Without `room` none is served: those that have waited for too long are refused all the same.
    pub fn next(
        &mut self,
        now: Instant,
        room: bool,
        may_refuse: impl FnOnce(&T) -> bool,
    ) -> Option<Fate<T>> {
        let Some(first) = self.queue.front() else {
            self.rest();
            return None;
        };
        let waited = now.saturating_duration_since(first.since);
        let full = self.queue.len() > MOST;
        let may_refuse = may_refuse(&first.what);
        self.observe(waited, now);
        if may_refuse && (full || (self.behind && waited > TARGET)) {
            return self.queue.pop_front().map(|one| Fate::Refuse(one.what));
        }
        if !room {
            return None;
        }
        self.queue.pop_front().map(|one| Fate::Serve(one.what))
    }

    /// Nobody waits: what was behind has been caught up with.
    fn rest(&mut self) {
        self.late_since = None;
        self.behind = false;
    }

    fn observe(&mut self, waited: Duration, now: Instant) {
        if waited <= TARGET {
            self.late_since = None;
            return;
        }
        let since = *self.late_since.get_or_insert(now);
        if !self.behind && now.saturating_duration_since(since) >= INTERVAL {
            self.behind = true;
            self.began = self.began.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests;
