//! What a call reads of the world around it while it handles one input.

use super::event::Announcement;
use super::routing::Trunks;
use crate::domain::{CustomerId, E164, LeaseKind, TrunkId};
use std::time::Duration;

/// Given with every input. Nothing in it outlives the input.
pub struct Context<'a> {
    /// Configuration in force.
    pub settings: &'a Settings,
    /// The worker's outbound choice and trunk caps, shared by its calls.
    pub trunks: &'a mut Trunks,
    /// The directory of leased numbers.
    pub directory: &'a dyn Directory,
    /// The numbering plan, by trunk.
    pub numbering: &'a dyn Numbering,
    /// 64 random bits, fresh with every input: the weighted choice of a trunk.
    pub random: u64,
}

/// Configuration of calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `calls.ring_timeout`: no answer for so long ends the attempt; a trunk may have its own.
    pub ring_timeout: Duration,
    /// `calls.max_duration`: no call is up for longer; zero: no bound.
    pub max_duration: Duration,
    /// `calls.single_caller_id`; a trunk may have its own.
    pub single_caller_id: SingleCallerId,
    /// `calls.no_lease`: SIP status for a pool number without a lease: 404, 410 or 480.
    pub no_lease: u16,
    /// `calls.no_credit`: SIP status where credit does not cover the first block: 480 or 402.
    pub no_credit: u16,
    /// `identity.verdict_timeout`: how long a call waits to hear of its passport.
    pub verdict_timeout: Duration,
    /// `[announce]`: which recordings there are.
    pub announcements: Announcements,
    /// `billing.credit_warning`: how long before its credit ends a caller is warned; zero: never.
    pub credit_warning: Duration,
}

/// How long the recordings for refused calls are; `None`: there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Announcements {
    /// The number is not in service.
    pub no_lease: Option<Duration>,
    /// The caller may not call it.
    pub not_allowed: Option<Duration>,
    /// Credit does not cover the call.
    pub credit_exhausted: Option<Duration>,
}

impl Announcements {
    /// Of one of them.
    #[must_use]
    pub const fn length(&self, which: Announcement) -> Option<Duration> {
        match which {
            Announcement::NoLease => self.no_lease,
            Announcement::NotAllowed => self.not_allowed,
            Announcement::CreditExhausted => self.credit_exhausted,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ring_timeout: Duration::from_secs(120),
            max_duration: Duration::from_secs(4 * 3600),
            single_caller_id: SingleCallerId::Pass,
            no_lease: 404,
            no_credit: 480,
            verdict_timeout: Duration::from_secs(2),
            announcements: Announcements::default(),
            credit_warning: Duration::ZERO,
        }
    }
}

/// What the callee of a single lease sees (sip-bridging 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SingleCallerId {
    /// The caller's own number, as the trunk gave it.
    #[default]
    Pass,
    /// The leased number.
    Leased,
}

/// A dialled number as the directory knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialled {
    /// Not in our pool.
    Unknown,
    /// In the pool, but no lease holds it now.
    NotLeased,
    /// Leased.
    Leased {
        /// Kind.
        kind: LeaseKind,
        /// Whose.
        customer: CustomerId,
        /// Group: the only number that may call it.
        only_caller: Option<E164>,
        /// Single: whether a whitelist must be asked.
        whitelist: bool,
    },
}

/// The directory of leased numbers, read without asking the books.
pub trait Directory {
    /// What `number` is now.
    fn lookup(&self, number: E164) -> Dialled;
    /// Whether `caller` is on the whitelist of the single lease that holds `number`.
    fn whitelisted(&self, number: E164, caller: Option<E164>) -> bool;
}

/// Telephone numbers as trunks write them.
pub trait Numbering {
    /// Dialled digits to E.164 by the number form of `trunk`; `None` where they are no number. Any
    /// 7 to 15 digits do (sip-bridging 2).
    fn normalise(&self, trunk: TrunkId, digits: &str) -> Option<E164>;
    /// A caller's digits likewise; forms may write callers otherwise than what is dialled.
    fn normalise_identity(&self, trunk: TrunkId, digits: &str) -> Option<E164>;
    /// Whether the number form of `trunk` has a way to write `number`: else no call to it goes out
    /// there.
    fn can_dial(&self, trunk: TrunkId, number: E164) -> bool;
    /// Whether what was dialled on `trunk` is an emergency number, compared as dialled.
    fn is_emergency(&self, trunk: TrunkId, dialled: &str) -> bool;
    /// National spellings of `number`, for the privacy guard.
    fn national(&self, number: E164) -> Vec<Box<str>>;
}
