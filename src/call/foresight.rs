//! How long credit will last (sip-bridging 7): when the caller is to be warned that it ends.
//!
//! ```text
//!   200 sent                                    end of what credit covers
//!      |<-- block 1 -->|<-- block 2 -->|<-- block 3 -->|
//!                                   ^  |
//!      Look(4) ---------------------+  warning, where the answer is still 3
//!                                   |<- credit_warning ->|
//! ```
//!
//! The books are asked how far credit would reach; nothing is held for it. While it reaches farther
//! than the warning's time, the next look is due that time before the end that it then has.

use std::time::{Duration, Instant};

/// So much more than is needed is asked about: short blocks are looked at in runs.
const BEYOND: Duration = Duration::from_secs(5);

/// What the caller is to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warning {
    /// Credit is about to end.
    Begin,
    /// It lasts after all.
    Stop,
}

/// Looks ahead for one prepaid call.
#[derive(Debug)]
pub struct Foresight {
    ahead: Duration,
    block: Duration,
    started: Instant,
    /// Blocks that credit covers, as far as is known.
    covered: u64,
    /// An answer of the books is awaited.
    asked: bool,
    /// The caller was warned when so many blocks were covered.
    warned: Option<u64>,
}

impl Foresight {
    /// From the 200 on, with the first block held.
    #[must_use]
    pub const fn start(ahead: Duration, block: Duration, started: Instant) -> Self {
        Self {
            ahead,
            block,
            started,
            covered: 1,
            asked: false,
            warned: None,
        }
    }

    /// When the books are to be asked; `None` while they are, and after a warning.
    #[must_use]
    pub fn look_at(&self) -> Option<Instant> {
        if self.asked || self.warned.is_some() {
            return None;
        }
        let end = self.end()?;
        Some(end.checked_sub(self.ahead).unwrap_or(self.started))
    }

    /// Up to which block they are to be asked at `now`.
    pub fn look(&mut self, now: Instant) -> u64 {
        self.asked = true;
        let until = now.saturating_duration_since(self.started) + self.ahead + BEYOND;
        let blocks = until.as_nanos().div_ceil(self.block.as_nanos().max(1));
        let blocks = u64::try_from(blocks).unwrap_or(u64::MAX);
        blocks.max(self.covered.saturating_add(1))
    }

    /// Their answer. The caller is warned where what is covered ends within the warning's time.
    pub fn covered(&mut self, count: u64, now: Instant) -> Option<Warning> {
        if !std::mem::take(&mut self.asked) || self.warned.is_some() {
            return None;
        }
        self.covered = self.covered.max(count);
        let near = self.look_at().is_some_and(|at| at <= now);
        near.then(|| self.warn())
    }

    /// Blocks up to this count are held: more than the caller was told, perhaps.
    pub fn held(&mut self, count: u64) -> Option<Warning> {
        self.covered = self.covered.max(count);
        let lasts = self.warned.is_some_and(|warned| count > warned);
        if lasts {
            self.warned = None;
        }
        lasts.then_some(Warning::Stop)
    }

    /// The next block is refused for want of credit: it ends with what is held.
    pub fn refused(&mut self, held: u64) -> Option<Warning> {
        self.covered = held;
        self.warned.is_none().then(|| self.warn())
    }

    fn warn(&mut self) -> Warning {
        self.warned = Some(self.covered);
        Warning::Begin
    }

    fn end(&self) -> Option<Instant> {
        let seconds = self.block.as_secs().saturating_mul(self.covered);
        self.started.checked_add(Duration::from_secs(seconds))
    }
}
