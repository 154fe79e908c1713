//! Why calls end: one table of our reason names with their SIP status and Q.850 cause, for refusals
//! (sip-bridging 2), failures of the callee's leg (sip-bridging 3, last bullet) and ends.

use super::event::{Cause, DialFailure, Refusal};
use crate::domain::{EndedBy, Verdict};

/// Why a call ended. Its [`name`](Self::name) stands in the call record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // each one's meaning stands in the table below
pub enum Reason {
    // Ends of answered calls.
    Completed,
    CreditExhausted,
    MaxDuration,
    MediaTimeout,
    NoAck,
    Lost,
    Shutdown,
    Crash,
    // Ends before the answer.
    Cancelled,
    NoAnswer,
    LeaseEnded,
    StoreFailed,
    MediaFailed,
    // The callee's side.
    Busy,
    Declined,
    Unavailable,
    NotFound,
    MediaRefused,
    RouteFailed,
    // Refusals.
    SipRefused,
    TrunkBusy,
    Emergency,
    UnknownNumber,
    NoLease,
    NotAllowed,
    NoIdentity,
    Suspended,
    ServiceDisabled,
    TargetNotAllowed,
    NoCredit,
    LeaseBusy,
    CustomerBusy,
    NoMedia,
    NoPort,
    NoTrunk,
    Overloaded,
    IdentityMissing,
    IdentityStale,
    IdentityUnavailable,
    IdentityUntrusted,
    IdentityInvalid,
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Name in the call record.
    pub name: &'static str,
    /// SIP status that the caller gets where the call was not answered yet; 0: it varies.
    pub sip: u16,
    /// Q.850 cause on what we send, and in the record where the other side gave none.
    pub q850: u8,
    /// For `docs/billing.md`.
    pub meaning: &'static str,
}

const fn row(name: &'static str, sip: u16, q850: u8, meaning: &'static str) -> Row {
    Row {
        name,
        sip,
        q850,
        meaning,
    }
}

impl Reason {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 41] = [
        Self::Completed,
        Self::CreditExhausted,
        Self::MaxDuration,
        Self::MediaTimeout,
        Self::NoAck,
        Self::Lost,
        Self::Shutdown,
        Self::Crash,
        Self::Cancelled,
        Self::NoAnswer,
        Self::LeaseEnded,
        Self::StoreFailed,
        Self::MediaFailed,
        Self::Busy,
        Self::Declined,
        Self::Unavailable,
        Self::NotFound,
        Self::MediaRefused,
        Self::RouteFailed,
        Self::SipRefused,
        Self::TrunkBusy,
        Self::Emergency,
        Self::UnknownNumber,
        Self::NoLease,
        Self::NotAllowed,
        Self::NoIdentity,
        Self::Suspended,
        Self::ServiceDisabled,
        Self::TargetNotAllowed,
        Self::NoCredit,
        Self::LeaseBusy,
        Self::CustomerBusy,
        Self::NoMedia,
        Self::NoPort,
        Self::NoTrunk,
        Self::Overloaded,
        Self::IdentityMissing,
        Self::IdentityStale,
        Self::IdentityUnavailable,
        Self::IdentityUntrusted,
        Self::IdentityInvalid,
    ];

    /// Its row.
    #[must_use]
    pub const fn row(self) -> Row {
        match self {
            Self::Completed
            | Self::CreditExhausted
            | Self::MaxDuration
            | Self::MediaTimeout
            | Self::NoAck
            | Self::Lost
            | Self::Shutdown
            | Self::Crash
            | Self::Cancelled
            | Self::NoAnswer
            | Self::LeaseEnded
            | Self::StoreFailed
            | Self::MediaFailed => self.end_row(),
            Self::Busy
            | Self::Declined
            | Self::Unavailable
            | Self::NotFound
            | Self::MediaRefused
            | Self::RouteFailed => self.callee_row(),
            _ => self.refusal_row(),
        }
    }

    #[rustfmt::skip]
    const fn end_row(self) -> Row {
        match self {
            Self::CreditExhausted => row("credit_exhausted", 480, 31, "no credit for the next block: the call ended with the last one paid"),
            Self::MaxDuration => row("max_duration", 480, 31, "`calls.max_duration` was reached"),
            Self::MediaTimeout => row("media_timeout", 480, 41, "no RTP in either direction for `media.timeout`"),
            Self::NoAck => row("no_ack", 408, 102, "the caller never acknowledged the answer; not charged"),
            Self::Lost => row("lost", 500, 41, "a leg was gone without a BYE"),
            Self::Shutdown => row("shutdown", 503, 42, "the node was stopped and its drain time was over"),
            Self::Crash => row("crash", 500, 41, "the node died while the call was up; its end is the last instant known to be up"),
            Self::Cancelled => row("cancelled", 487, 16, "the caller gave up before the answer"),
            Self::NoAnswer => row("no_answer", 480, 19, "nobody answered within the ring timeout"),
            Self::LeaseEnded => row("lease_ended", 480, 31, "the lease was released or expired"),
            Self::StoreFailed => row("store_failed", 503, 41, "the store took no more"),
            Self::MediaFailed => row("media_failed", 500, 88, "the two sides' descriptions came to no usable exchange"),
            _ => row("completed", 200, 16, "one of the two hung up"),
        }
    }

    #[rustfmt::skip]
    const fn callee_row(self) -> Row {
        match self {
            Self::Busy => row("busy", 486, 17, "the callee is busy (486, 600)"),
            Self::Declined => row("declined", 603, 21, "the callee declined (603)"),
            Self::Unavailable => row("unavailable", 480, 18, "the callee cannot be reached now (3xx, 408, 480, 487, or hung up before the caller was connected)"),
            Self::NotFound => row("not_found", 404, 1, "the callee's network does not know the number (404, 410, 484, 604)"),
            Self::MediaRefused => row("media_refused", 488, 88, "the callee refused the media (488)"),
            _ => row("route_failed", 500, 41, "the outbound trunks failed: no answer, transport error, or any other refusal"),
        }
    }

    #[rustfmt::skip]
    const fn refusal_row(self) -> Row {
        match self {
            Self::TrunkBusy => row("trunk_busy", 503, 34, "the inbound trunk is over its caps"),
            Self::Emergency => row("emergency", 403, 21, "an emergency number was dialled"),
            Self::UnknownNumber => row("unknown_number", 404, 1, "the number is not in the pool"),
            Self::NoLease => row("no_lease", 404, 1, "no lease holds the number now"),
            Self::NotAllowed => row("not_allowed", 403, 21, "the caller may not call this lease (whitelist, or not the other member)"),
            Self::NoIdentity => row("no_identity", 433, 24, "a group lease, and the caller's number is not known"),
            Self::Suspended => row("suspended", 403, 21, "the account is suspended"),
            Self::ServiceDisabled => row("service_disabled", 403, 21, "the service is disabled for the account"),
            Self::TargetNotAllowed => row("target_not_allowed", 403, 21, "the subscriber's number is no longer an allowed target"),
            Self::NoCredit => row("no_credit", 480, 18, "credit does not cover the first block"),
            Self::LeaseBusy => row("lease_busy", 486, 17, "`calls.per_lease` is reached"),
            Self::CustomerBusy => row("customer_busy", 486, 17, "`calls.per_customer` is reached"),
            Self::NoMedia => row("no_media", 488, 88, "nothing acceptable in the offer"),
            Self::NoPort => row("no_port", 503, 34, "no media port was free"),
            Self::NoTrunk => row("no_trunk", 503, 34, "no outbound trunk was up, or all were at their caps"),
            Self::Overloaded => row("overloaded", 503, 41, "the books took no more (queue or disk full)"),
            Self::IdentityMissing => row("identity_missing", 428, 21, "the trunk's policy wants an Identity header, and there was none"),
            Self::IdentityStale => row("identity_stale", 403, 21, "the Identity header's PASSporT is too old, or from the future"),
            Self::IdentityUnavailable => row("identity_unavailable", 436, 21, "the certificate of the Identity header could not be had in time"),
            Self::IdentityUntrusted => row("identity_untrusted", 437, 21, "the certificate of the Identity header leads to no root, is out of its time, or does not cover the number"),
            Self::IdentityInvalid => row("identity_invalid", 438, 21, "the Identity header is malformed, signed wrongly, or about another caller or number"),
            _ => row("sip_refused", 0, 0, "refused by SIP's own rules (400, 405, 406, 415, 416, 420, 482, 483); `sip_code` says which"),
        }
    }

    /// Name in the call record.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// SIP status and Q.850 cause of its row.
    #[must_use]
    pub const fn cause(self) -> Cause {
        let row = self.row();
        Cause {
            sip: row.sip,
            q850: row.q850,
        }
    }
}

impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::TrunkBusy => Self::TrunkBusy,
            Refusal::Emergency => Self::Emergency,
            Refusal::UnknownNumber => Self::UnknownNumber,
            Refusal::NoLease => Self::NoLease,
            Refusal::NotOnWhitelist | Refusal::NotMember => Self::NotAllowed,
            Refusal::Unvouched(Verdict::Missing) => Self::IdentityMissing,
            Refusal::Unvouched(Verdict::Stale) => Self::IdentityStale,
            Refusal::Unvouched(Verdict::Unavailable) => Self::IdentityUnavailable,
            Refusal::Unvouched(Verdict::Untrusted) => Self::IdentityUntrusted,
            Refusal::Unvouched(Verdict::Invalid | Verdict::Valid) => Self::IdentityInvalid,
            Refusal::NoIdentity => Self::NoIdentity,
            Refusal::Suspended => Self::Suspended,
            Refusal::ServiceDisabled => Self::ServiceDisabled,
            Refusal::TargetNotAllowed => Self::TargetNotAllowed,
            Refusal::NoCredit => Self::NoCredit,
            Refusal::LeaseBusy => Self::LeaseBusy,
            Refusal::CustomerBusy => Self::CustomerBusy,
            Refusal::NoMedia => Self::NoMedia,
            Refusal::NoPort => Self::NoPort,
            Refusal::NoTrunk => Self::NoTrunk,
            Refusal::BooksUnavailable => Self::Overloaded,
        }
    }
}

/// How a call ends: who, why, and with which codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Who ended it.
    pub by: EndedBy,
    /// Why.
    pub reason: Reason,
    /// Final status to a caller who still waits for one, and the Q.850 cause of everything sent.
    pub cause: Cause,
    /// Retry-After seconds with the final status; 0: none.
    pub retry_after: u32,
}

impl End {
    /// The gateway ends it, with the codes of the table.
    #[must_use]
    pub const fn gateway(reason: Reason) -> Self {
        Self::of(EndedBy::Gateway, reason)
    }

    /// `by` ends it, with the codes of the table.
    #[must_use]
    pub const fn of(by: EndedBy, reason: Reason) -> Self {
        Self {
            by,
            reason,
            cause: reason.cause(),
            retry_after: 0,
        }
    }

    /// The same with the Q.850 cause that came with it, where one did.
    #[must_use]
    pub const fn with_q850(mut self, q850: u8) -> Self {
        if q850 != 0 && q850 < 128 {
            self.cause.q850 = q850;
        }
        self
    }

    /// What a failed dial attempt means for the caller (sip-bridging 3, last bullet): some codes
    /// pass as bare codes, 3xx becomes 480, everything else 500 with its cause.
    #[must_use]
    pub fn of_callee(failure: DialFailure) -> Self {
        let cause = match failure {
            DialFailure::Response { cause, .. } => cause,
            // RFC 3261 §8.1.3.1: a timeout counts as 408, a transport error as 503.
            DialFailure::Timeout => Cause { sip: 408, q850: 0 },
            DialFailure::Transport => Cause { sip: 503, q850: 38 },
        };
        let reason = match (failure, cause.sip) {
            (DialFailure::Timeout | DialFailure::Transport, _) => Reason::RouteFailed,
            (_, 486 | 600) => Reason::Busy,
            (_, 603) => Reason::Declined,
            (_, 300..=399 | 408 | 480 | 487) => Reason::Unavailable,
            (_, 404 | 410 | 484 | 604) => Reason::NotFound,
            (_, 488) => Reason::MediaRefused,
            _ => Reason::RouteFailed,
        };
        let by = match reason {
            Reason::RouteFailed => EndedBy::Gateway,
            _ => EndedBy::Callee,
        };
        let passed = bare_code(cause.sip);
        // "Everything else" keeps the cause of what it was; a redirection is not ours to explain.
        let standard = match cause.sip {
            300..=399 => q850(480),
            other => q850(other),
        };
        Self {
            by,
            reason,
            cause: Cause {
                sip: passed,
                q850: standard,
            },
            retry_after: 0,
        }
        .with_q850(cause.q850)
    }
}

/// The code that reaches one side for a failure of the other side's request.
#[must_use]
pub const fn bare_code(status: u16) -> u16 {
    match status {
        404 | 408 | 410 | 480 | 484 | 486 | 487 | 488 | 600 | 603 | 604 => status,
        300..=399 => 480,
        _ => 500,
    }
}

/// What the offerer of a re-INVITE gets where the other side refused it: 488 and the bare codes as
/// they are, glare as glare, everything else 488: the session goes on as it was.
#[must_use]
pub const fn refused_offer(status: u16) -> u16 {
    match status {
        491 => 491,
        488 | 606 => 488,
        _ => match bare_code(status) {
            500 => 488,
            code => code,
        },
    }
}

/// Q.850 cause that stands for a SIP failure status without a Reason header (RFC 3398 §8.2.6.1).
#[must_use]
pub const fn q850(status: u16) -> u8 {
    match status {
        404 | 485 | 604 => 1,
        486 | 600 => 17,
        480 => 18,
        401 | 402 | 403 | 407 | 603 => 21,
        410 => 22,
        433 => 24,
        482 | 483 => 25,
        484 => 28,
        487 => 31,
        502 => 38,
        405 => 63,
        406 | 415 | 501 => 79,
        488 | 606 => 88,
        408 | 504 => 102,
        413 | 414 | 416 | 420 | 421 | 423 | 505 | 513 => 127,
        _ => 41,
    }
}

/// Whether an attempt that failed so failed for its hop, and another of the same trunk may do
/// better (RFC 3263 §4.3).
#[must_use]
pub const fn fails_hop(failure: &DialFailure) -> bool {
    match failure {
        DialFailure::Timeout | DialFailure::Transport => true,
        DialFailure::Response { cause, .. } => cause.sip == 503,
    }
}

/// Whether an attempt that failed so may be followed by one over the next trunk (sip-bridging 1).
#[must_use]
pub const fn fails_over(failure: &DialFailure) -> bool {
    match failure {
        DialFailure::Timeout | DialFailure::Transport => true,
        DialFailure::Response { cause, .. } => {
            matches!(cause.sip, 408 | 500 | 502 | 503 | 504)
        }
    }
}
