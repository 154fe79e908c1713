//! The call record (sip-bridging 8, lease-api 4.10): one a call, refused ones too.

use super::{CallId, Credit, CustomerId, E164, LeaseKind, ReferenceId, UnixMillis, Vouching};
use serde::{Deserialize, Serialize};

/// Who ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndedBy {
    /// The caller's leg: BYE, CANCEL, or its failure.
    Caller,
    /// The callee's leg.
    Callee,
    /// The gateway itself: refusal, credit, timeouts, drain, crash.
    Gateway,
}

/// Media figures of one direction, from the packets relayed (RFC 3550 A.3, A.8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaFigures {
    /// Packets passed on.
    pub packets: u64,
    /// Payload and header bytes passed on.
    pub bytes: u64,
    /// Packets missing by sequence number.
    pub lost: u64,
    /// Packets that came out of order.
    pub reordered: u64,
    /// Interarrival jitter at the end, microseconds.
    pub jitter_micros: u32,
}

/// How one direction sounded, from the packets relayed and the reports of the ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaQuality {
    /// Mean opinion score (ITU-T G.107), in hundredths: 100 to 450. `None`: nothing passed.
    pub score_hundredths: Option<u16>,
    /// From the gateway to the receiving end and back, microseconds, smoothed; `None` where it
    /// answered no sender report.
    pub round_trip_micros: Option<u32>,
    /// What the receiving end reported of the stream; `None`: nothing.
    pub reported: Option<Reported>,
}

/// A stream as its receiver had it (RFC 3550 §6.4.1): what was lost before the gateway and after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    /// Packets lost; no more than there were.
    pub lost: u64,
    /// Interarrival jitter in its last report, microseconds.
    pub jitter_micros: u32,
}

/// How a call sounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallQuality {
    /// Caller to callee.
    pub to_callee: MediaQuality,
    /// Callee to caller.
    pub to_caller: MediaQuality,
}

impl CallQuality {
    /// Whether anything is known.
    #[must_use]
    pub fn is_known(&self) -> bool {
        *self != Self::default()
    }
}

/// Everything kept of one call. Names as in the CSV's header, but for units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRecord {
    /// Our id of the call.
    pub call_id: CallId,
    /// Call-ID of the caller's leg, as received.
    pub caller_leg_call_id: Box<str>,
    /// Call-ID of the callee's leg, as sent; empty if none was made.
    pub callee_leg_call_id: Box<str>,
    /// The lease called, if the number held one.
    pub reference_id: Option<ReferenceId>,
    /// Whose lease it was.
    pub customer_id: Option<CustomerId>,
    /// Its kind.
    pub lease_kind: Option<LeaseKind>,
    /// Caller's real number, where usable.
    pub caller: Option<E164>,
    /// Callee's real number, where there was a lease.
    pub callee: Option<E164>,
    /// Number dialled, normalised if it could be, else as dialled (cut at 32 characters).
    pub leased_number: Box<str>,
    /// Number that the callee saw.
    pub shown_number: Box<str>,
    /// Trunk the call came by.
    pub trunk_in: Box<str>,
    /// Trunk it was sent out by; empty if none.
    pub trunk_out: Box<str>,
    /// Arrival of the INVITE.
    pub received_at: UnixMillis,
    /// First 18x sent to the caller.
    pub ringing_at: Option<UnixMillis>,
    /// 200 sent to the caller.
    pub answered_at: Option<UnixMillis>,
    /// End.
    pub ended_at: UnixMillis,
    /// Charged time in milliseconds, by the monotonic clock.
    pub duration_millis: u64,
    /// Blocks charged.
    pub blocks: u64,
    /// Seconds per block at admission.
    pub block_seconds: u32,
    /// Credits per block at admission.
    pub rate: Credit,
    /// Credits charged in all.
    pub charge: Credit,
    /// Who ended it.
    pub ended_by: EndedBy,
    /// Our reason name (docs/billing.md): `completed`, `no_lease`, ...
    pub reason: Box<str>,
    /// Final SIP status towards the caller (200 for an answered call).
    pub sip_code: u16,
    /// ITU-T Q.850 cause, 0 if none.
    pub q850_cause: u8,
    /// Media from caller to callee.
    pub to_callee: MediaFigures,
    /// Media from callee to caller.
    pub to_caller: MediaFigures,
    /// Privacy guard hits in the call's messages and RTCP.
    pub guard_hits: u32,
    /// What became of the caller's Identity header; `None` where nobody asked (policy off, or refused
    /// before). Records of version 1 end before it.
    pub vouching: Option<Vouching>,
    /// How it sounded; `None` where no media passed. Stands last: records of version 2 end before it.
    pub quality: Option<CallQuality>,
}
