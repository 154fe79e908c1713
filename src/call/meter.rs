//! Paid time of one call (sip-bridging 7): which blocks are held, when the next must be, when the
//! call has used up what it may, and what it is charged.
//!
//! ```text
//!   200 sent                                              lead
//!      |<------ block 1 ------>|<------ block 2 ------>|  time
//!      |                   ^   |                   ^   |
//!      held at admission   |                       |   paid end, if Hold(3) is refused: the call
//!      and made durable    Hold(2)                 Hold(3)   ends here, to the nanosecond
//!      by Answer
//! ```

use super::event::BlocksRefusal;
use super::foresight::{Foresight, Warning};
use crate::domain::Tariff;
use std::time::{Duration, Instant};

/// The longest time before a block begins at which it is asked for; half a block where that is
/// less.
const LEAD: Duration = Duration::from_secs(2);
/// Blocks shorter than this are held in runs of up to this.
const RUN: Duration = Duration::from_secs(5);
/// How long a postpaid call goes on past what is held while the books have not answered. A prepaid
/// one ends with what is held (sip-bridging 7).
pub const OVERDUE: Duration = Duration::from_secs(5);

/// Counts one call's blocks.
#[derive(Debug)]
pub struct Meter {
    /// Length of a block.
    block: Duration,
    /// What is charged never goes beyond what is held.
    prepaid: bool,
    /// When the 200 was sent.
    started: Instant,
    /// When `calls.max_duration` is over.
    limit: Option<Instant>,
    /// Blocks held, durably.
    held: u64,
    /// What was asked for last and is not answered yet: count, and when.
    asked: Option<(u64, Instant)>,
    /// Blocks asked for at once.
    run: u64,
    /// Nothing more will be held.
    refused: Option<BlocksRefusal>,
    /// How long credit lasts, where the caller is to be warned of its end.
    foresight: Option<Foresight>,
    /// What the caller is to hear and does not yet.
    warning: Option<Warning>,
}

/// What a meter's timer brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// Ask the books to hold blocks up to this count.
    Hold(u64),
    /// Ask the books how far up to this count credit would reach.
    Look(u64),
    /// The paid time is over; the call ended at this instant.
    Exhausted(Exhausted),
}

/// Why paid time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// No credit for the next block.
    Credit,
    /// The books cannot hold it, or have not answered for too long.
    Store,
    /// `calls.max_duration`.
    Limit,
}

/// What a call costs in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// Charged time.
    pub duration: Duration,
    /// Blocks begun in it, at least 1.
    pub blocks: u64,
}

impl Meter {
    /// Starts it: the 200 is being sent, the first block is held. `max_duration` zero: no bound.
    #[must_use]
    pub fn start(tariff: Tariff, prepaid: bool, max_duration: Duration, now: Instant) -> Self {
        let block = Duration::from_secs(u64::from(tariff.block_seconds.max(1)));
        let run = RUN.as_secs() / block.as_secs().max(1);
        Self {
            block,
            prepaid,
            started: now,
            limit: if max_duration.is_zero() {
                None
            } else {
                now.checked_add(max_duration)
            },
            held: 1,
            asked: None,
            run: run.max(1),
            refused: None,
            foresight: None,
            warning: None,
        }
    }

    /// The same, and the caller of a prepaid call is warned so long before credit ends; zero: never.
    #[must_use]
    pub fn warning_ahead(mut self, ahead: Duration) -> Self {
        if self.prepaid && !ahead.is_zero() {
            self.foresight = Some(Foresight::start(ahead, self.block, self.started));
        }
        self
    }

    /// What the caller is to hear from now on; once.
    pub fn warning(&mut self) -> Option<Warning> {
        self.warning.take()
    }

    /// What the books said to [`Tick::Look`].
    pub fn covered(&mut self, count: u64, now: Instant) {
        // A limit that comes first is no matter of credit.
        let paid = self.started.checked_add(span(self.block, count));
        let limited = self
            .limit
            .is_some_and(|limit| paid.is_none_or(|paid| limit <= paid));
        if let Some(foresight) = &mut self.foresight {
            let warning = foresight.covered(count, now);
            self.warning = warning.filter(|_| !limited).or(self.warning);
        }
    }

    /// Blocks held, durably.
    #[must_use]
    pub const fn held(&self) -> u64 {
        self.held
    }

    /// Blocks up to `count` are held.
    pub fn blocks_held(&mut self, count: u64) {
        if count > self.held {
            self.held = count;
            self.asked = None;
            let stop = self.foresight.as_mut().and_then(|one| one.held(count));
            self.warning = stop.or(self.warning);
        }
    }

    /// What was asked for last is not to be had. A run that credit does not cover is asked for
    /// again block by block: then the count to ask for.
    pub fn blocks_refused(&mut self, why: BlocksRefusal, now: Instant) -> Option<u64> {
        let (count, _) = self.asked.take()?;
        let one = self.held.saturating_add(1);
        if why == BlocksRefusal::NoCredit && count > one {
            self.run = 1;
            self.asked = Some((one, now));
            return Some(one);
        }
        self.refused = Some(why);
        if why == BlocksRefusal::NoCredit
            && let Some(foresight) = &mut self.foresight
        {
            self.warning = foresight.refused(self.held).or(self.warning);
        }
        None
    }

    /// When [`Self::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let exhausted = self.exhausted_at().map(|(at, _)| at);
        [self.next_hold(), self.next_look(), exhausted]
            .into_iter()
            .flatten()
            .min()
    }

    /// What is due at `now`, one thing at a time.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Tick> {
        if let Some((at, why)) = self.exhausted_at()
            && at <= now
        {
            return Some(Tick::Exhausted(why));
        }
        if self.next_hold().is_some_and(|at| at <= now) {
            let count = self.held.saturating_add(self.run);
            self.asked = Some((count, now));
            return Some(Tick::Hold(count));
        }
        if self.next_look().is_some_and(|at| at <= now)
            && let Some(foresight) = &mut self.foresight
        {
            return Some(Tick::Look(foresight.look(now)));
        }
        None
    }

    /// What the call costs if it ends at `now`. It ended no later than its paid time or its limit,
    /// however late the timer was.
    #[must_use]
    pub fn charge(&self, now: Instant) -> Charge {
        let mut end = now;
        if let Some(limit) = self.limit {
            end = end.min(limit);
        }
        if self.refused.is_some()
            && let Some(paid) = self.paid_end()
        {
            end = end.min(paid);
        }
        let mut duration = end.saturating_duration_since(self.started);
        let mut blocks = blocks(duration, self.block);
        if self.prepaid && blocks > self.held {
            blocks = self.held;
            duration = duration.min(span(self.block, blocks));
        }
        Charge { duration, blocks }
    }

    /// When the next blocks must be asked for; `None` while an answer is awaited, after a refusal,
    /// and where the limit comes first.
    fn next_hold(&self) -> Option<Instant> {
        let paid = self.paid_end()?;
        let covered = self.limit.is_some_and(|limit| limit <= paid);
        if self.asked.is_some() || self.refused.is_some() || covered {
            return None;
        }
        Some(paid.checked_sub(self.lead()).unwrap_or(paid))
    }

    /// When the books must be asked how long credit lasts; not where they said already that it is at
    /// its end.
    fn next_look(&self) -> Option<Instant> {
        let foresight = self.foresight.as_ref()?;
        let at = foresight.look_at()?;
        let late = self.limit.is_some_and(|limit| limit <= at);
        (self.refused.is_none() && !late).then_some(at)
    }

    /// How long before a block begins it is asked for.
    fn lead(&self) -> Duration {
        LEAD.min(self.block / 2)
    }

    /// When the call must end if nothing changes, and why.
    fn exhausted_at(&self) -> Option<(Instant, Exhausted)> {
        let unpaid = match (self.refused, self.asked) {
            (Some(BlocksRefusal::NoCredit), _) => self.paid_end().map(|at| (at, Exhausted::Credit)),
            (Some(BlocksRefusal::Store), _) => self.paid_end().map(|at| (at, Exhausted::Store)),
            (None, Some((_, asked))) => self.overdue_at(asked).map(|at| (at, Exhausted::Store)),
            (None, None) => None,
        };
        let limit = self.limit.map(|at| (at, Exhausted::Limit));
        match (unpaid, limit) {
            (Some(unpaid), Some(limit)) if limit.0 <= unpaid.0 => Some(limit),
            (Some(unpaid), _) => Some(unpaid),
            (None, limit) => limit,
        }
    }

    /// When the books' answer to what was asked at `asked` comes too late. Prepaid time is never
    /// exceeded for want of an answer; only where we ourselves asked too late (the process stood
    /// still) do the books get the time that they would have had.
    fn overdue_at(&self, asked: Instant) -> Option<Instant> {
        let paid = self.paid_end()?;
        if !self.prepaid {
            return paid.max(asked).checked_add(OVERDUE);
        }
        if asked <= paid {
            return Some(paid);
        }
        asked.checked_add(self.lead())
    }

    fn paid_end(&self) -> Option<Instant> {
        self.started.checked_add(span(self.block, self.held))
    }
}

/// Length of `count` blocks.
fn span(block: Duration, count: u64) -> Duration {
    Duration::from_secs(block.as_secs().saturating_mul(count))
}

/// Blocks begun in `duration`: at least 1, and exactly k in exactly k blocks.
fn blocks(duration: Duration, block: Duration) -> u64 {
    let count = duration.as_nanos().div_ceil(block.as_nanos().max(1));
    u64::try_from(count).unwrap_or(u64::MAX).max(1)
}
