//! What a call is told and what it asks for. The call knows nothing of SIP messages, sockets, SDP
//! grammar, leases or the store: its neighbours speak to it in these words, and the engine's
//! adapters carry them, deciding nothing.

use crate::domain::{
    Attestation, CallId, CallQuality, CallRecord, CustomerId, E164, LeaseKind, MediaFigures,
    Passport, Presented, ReferenceId, Side, Tariff, TrunkId, Verdict,
};
use bytes::Bytes;

/// One of the callee leg's early dialogs (RFC 3261 §12.1: one for each To-tag). Each is shown to
/// the caller as an early dialog of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fork(pub u16);

/// Why a leg ended or is to end: a SIP status and a Q.850 cause, where there are any
/// (RFC 3326, RFC 6432).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// SIP status code, 0 if none.
    pub sip: u16,
    /// ITU-T Q.850 cause value, 0 if none.
    pub q850: u8,
}

/// Everything that can happen to a call.
#[derive(Debug)]
pub enum Input {
    /// The INVITE that makes the call. Always the first input, and the only one of its kind.
    Invite(Box<Invite>),
    /// From a leg. Events of a dial attempt that the call has given up do not come.
    Leg(Side, LegEvent),
    /// From the books.
    Books(BooksEvent),
    /// From the media session.
    Media(MediaEvent),
    /// Call-ID of the callee's leg of the attempt under way, for the record.
    CalleeLeg(Box<str>),
    /// What the certificate says of the passport of [`Output::Verify`], and whose it is (empty if
    /// unknown).
    Verdict(Verdict, Box<str>),
    /// The privacy guard kept something out of one of the call's messages, for the record.
    GuardHit,
    /// The node ends every call: its drain time is over.
    Shutdown,
}

/// A new call as the caller's leg reports it.
#[derive(Clone, Debug)]
pub struct Invite {
    /// Our id for it.
    pub call_id: CallId,
    /// Trunk that its source address belongs to.
    pub trunk: TrunkId,
    /// Its Call-ID header, for the record.
    pub leg_call_id: Box<str>,
    /// User part of the Request-URI (or the `tel:` number) as sent, percent-decoded.
    pub dialled: Box<str>,
    /// Who calls, by the trunk's trust rule.
    pub identity: Identity,
    /// Max-Forwards as received, less one; for the other leg (RFC 7332).
    pub max_forwards: u8,
    /// The SDP offer; `None` for a delayed offer (RFC 3261 §13.2.1).
    pub offer: Option<Bytes>,
    /// Set where the SIP layer has refused the INVITE already (405, 416, 420, 415, 483, 482, ...):
    /// the call makes a record and ends.
    pub refused: Option<Cause>,
    /// Who vouches for the caller; `None` where the trunk's policy does not ask.
    pub presented: Option<Presented>,
}

/// The caller's identity as the trunk gave it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// User part of the header that counts (P-Asserted-Identity of a trusted trunk, else From),
    /// percent-decoded; empty where it names nobody.
    pub user: Box<str>,
    /// Display name, unquoted; empty if none. Dropped on group calls.
    pub display_name: Box<str>,
    /// The caller asked that it be withheld (Privacy: id/header/user, or an anonymous From).
    pub withheld: bool,
    /// Whether `user` came from a trusted P-Asserted-Identity (usable though withheld).
    pub asserted: bool,
}

/// What a leg reports.
#[derive(Clone, Debug)]
pub enum LegEvent {
    /// Callee: the first 100 Trying of an attempt: the next hop is there, and the 3 s after which
    /// a silent trunk is given up (sip-bridging 1) no longer count.
    Trying,
    /// Callee: a provisional response above 100 in early dialog `fork`, with SDP where there is
    /// some.
    Progress {
        /// Early dialog.
        fork: Fork,
        /// 101 to 199.
        status: u16,
        /// SDP.
        body: Option<Bytes>,
        /// It was sent reliably (RFC 3262): its SDP is the answer for good or, where the INVITE had
        /// no offer, the offer, which is owed an [`SipCommand::EarlyAnswer`].
        reliable: bool,
        /// A trusted trunk says that this dialog's early media is not to be heard (RFC 5009).
        muted: bool,
    },
    /// Callee: the first 2xx. It waits for [`SipCommand::Confirm`]; 2xx of other forks are
    /// acknowledged and ended by the SIP layer itself.
    Answered {
        /// Dialog that was answered (one not seen before is possible).
        fork: Fork,
        /// SDP: the answer, or the offer where the INVITE had none.
        body: Option<Bytes>,
    },
    /// Callee: the attempt failed.
    Failed(DialFailure),
    /// Caller: CANCEL (already answered 200). The call still owes the INVITE its final response.
    Cancelled(Cause),
    /// Caller: ACK to the 2xx, with SDP where the 2xx carried the offer. Comes after the call's BYE
    /// too, which waits for it.
    Confirmed(Option<Bytes>),
    /// Caller: 64×T1 passed after the 2xx without ACK. Comes after the call's BYE too.
    Unconfirmed,
    /// Either: a re-INVITE, `None` where it carries no offer. Owed an [`SipCommand::AnswerOffer`]
    /// or [`SipCommand::RefuseOffer`]. Glare and overlaps are refused by the SIP layer itself.
    Offered(Option<Bytes>),
    /// Either: ACK to our 2xx of a re-INVITE that came without an offer, with their answer.
    OfferConfirmed(Option<Bytes>),
    /// Either: 2xx to our re-INVITE. Waits for [`SipCommand::Confirm`] if the re-INVITE carried no
    /// offer (then this is theirs); acknowledged by the SIP layer itself otherwise.
    Reanswered(Option<Bytes>),
    /// Either: our re-INVITE was refused; the dialog goes on. Glare (491) is retried by the SIP
    /// layer before this comes.
    Unanswered(Cause),
    /// Either: an offer in an early dialog, by UPDATE or PRACK (RFC 3311, RFC 3262 §5). Owed an
    /// [`SipCommand::EarlyAnswer`] or [`SipCommand::EarlyRefuse`].
    EarlyOffered(Fork, Bytes),
    /// Either: the answer to an offer of ours in an early dialog; `None` where it failed to come.
    EarlyReanswered(Fork, Option<Bytes>),
    /// Either: our offer in an early dialog was refused, or there is no way to make one there now;
    /// the dialog goes on.
    EarlyUnanswered(Fork, Cause),
    /// Caller: a reliable provisional response with SDP in this early dialog waits for its PRACK:
    /// until [`LegEvent::Settled`] there must be no [`SipCommand::Accept`] (RFC 3262 §3).
    Pending(Fork),
    /// Caller: its PRACK came.
    Settled(Fork),
    /// Either: BYE, already answered.
    Ended(Cause),
    /// Either: the dialog is gone without a BYE: 408 or 481 to a request of ours, no answer to a
    /// re-INVITE, no ACK to a re-INVITE's 2xx, transport gone.
    Lost(Cause),
    /// Either: INFO with DTMF, already answered 200. Content type and body.
    Dtmf(Box<str>, Bytes),
}

/// Why a dial attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialFailure {
    /// A final response from 300 up (already ACKed), with the Q.850 cause of its Reason header.
    Response {
        /// Its status and cause.
        cause: Cause,
        /// Seconds of its Retry-After, 0 if none.
        retry_after: u32,
    },
    /// No final response in time (timer B, RFC 3261 §17.1.1.2).
    Timeout,
    /// It could not be sent (socket error, ICMP).
    Transport,
}

/// What the books report.
#[derive(Clone, Debug)]
pub enum BooksEvent {
    /// The call may go on: credit for the first block is held.
    Admitted(Box<Admission>),
    /// It may not.
    Refused(Refusal),
    /// The open-call record with its first block is durable: the 200 may be sent.
    AnswerDurable,
    /// It could not be made durable, now or ever: the call must not be answered.
    AnswerFailed,
    /// Blocks up to this count are held, durably.
    BlocksHeld(u64),
    /// The next blocks cannot be held: the call ends when those it has are used up.
    BlocksRefused(BlocksRefusal),
    /// What [`LedgerCommand::Look`] asked: credit covers blocks up to this count, as things are.
    Covered(u64),
    /// The lease ended (released or expired). A ringing call is cancelled; an answered one goes on
    /// or ends by `hang_up`.
    LeaseEnded {
        /// `leases.calls_at_end = "hang-up"`.
        hang_up: bool,
    },
    /// The record is durable: the call may be forgotten.
    Recorded,
}

/// Why no further block is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlocksRefusal {
    /// The balance less other holds does not cover it.
    NoCredit,
    /// The store takes no more.
    Store,
}

/// What an admitted call may do and what it costs; fixed for the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The lease.
    pub reference: ReferenceId,
    /// Its customer.
    pub customer: CustomerId,
    /// Its kind.
    pub kind: LeaseKind,
    /// The subscriber to dial.
    pub callee: E164,
    /// Group: the caller's leased number, which the callee is shown. Single: `None`.
    pub shown: Option<E164>,
    /// Block size and rate.
    pub tariff: Tariff,
    /// Prepaid: every block must be held before it begins. Postpaid blocks are held all the same
    /// (that is how they become durable) but never refused for credit.
    pub prepaid: bool,
    /// Spellings of the callee's number that are not its E.164 or national digits (as the client
    /// wrote it), for the privacy guard.
    pub callee_spelling: Box<str>,
    /// The same of the caller's number, group only.
    pub caller_spelling: Box<str>,
}

/// Why the books, or the call itself, refuse a call. `call::cause` has the codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Trunk over its caps.
    TrunkBusy,
    /// Emergency number dialled.
    Emergency,
    /// Number not in our pool.
    UnknownNumber,
    /// No lease holds the number now.
    NoLease,
    /// Single lease with a whitelist, caller not on it.
    NotOnWhitelist,
    /// The trunk's policy wants a valid passport, and this is what it got.
    Unvouched(Verdict),
    /// Group lease and no usable caller identity.
    NoIdentity,
    /// Group lease and the caller is not the other member.
    NotMember,
    /// Account suspended.
    Suspended,
    /// Service disabled for the account.
    ServiceDisabled,
    /// Target no longer allowed.
    TargetNotAllowed,
    /// Prepaid and the first block is not covered.
    NoCredit,
    /// `calls.per_lease` reached.
    LeaseBusy,
    /// `calls.per_customer` reached.
    CustomerBusy,
    /// No acceptable media.
    NoMedia,
    /// No media port free.
    NoPort,
    /// No outbound trunk up.
    NoTrunk,
    /// The books take no more (queue full, store full).
    BooksUnavailable,
}

/// What a caller whose call is refused can be told by a recording (sip-bridging 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Announcement {
    /// The number is not in service.
    NoLease,
    /// The caller may not call it.
    NotAllowed,
    /// Credit does not cover the call.
    CreditExhausted,
}

impl Announcement {
    /// Its key in `[announce]`, and the metrics' label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoLease => "no_lease",
            Self::NotAllowed => "not_allowed",
            Self::CreditExhausted => "credit_exhausted",
        }
    }

    /// Which one goes with a refusal; `None`: none does.
    #[must_use]
    pub const fn of(refusal: Refusal) -> Option<Self> {
        match refusal {
            Refusal::UnknownNumber | Refusal::NoLease => Some(Self::NoLease),
            Refusal::NotOnWhitelist | Refusal::NotMember | Refusal::NoIdentity => {
                Some(Self::NotAllowed)
            }
            Refusal::NoCredit => Some(Self::CreditExhausted),
            _ => None,
        }
    }
}

/// What the media session reports.
#[derive(Clone, Debug)]
pub enum MediaEvent {
    /// Ports are reserved for both legs (and the offer, if one was given, is acceptable).
    Opened,
    /// They are not: [`Refusal::NoMedia`] or [`Refusal::NoPort`].
    Refused(Refusal),
    /// The description to send to the *other* side than [`MediaCommand::Describe::from`].
    Described(Bytes),
    /// The network of the trunk that was routed to has no port left: what is described for it will be
    /// `Undescribed`.
    Unrouted,
    /// The description is not acceptable: nothing is to be sent.
    Undescribed,
    /// No RTP in either direction for `media.timeout`, and no leg on hold.
    Silent,
    /// The recording of [`MediaCommand::Announce`] begins: the description that the caller gets.
    Announcing(Bytes),
    /// It cannot be played: nothing is held.
    Unannounced,
    /// It is over.
    Played,
    /// Closed; final figures.
    Closed {
        /// Caller to callee.
        to_callee: MediaFigures,
        /// Callee to caller.
        to_caller: MediaFigures,
        /// How both sounded.
        quality: CallQuality,
        /// RTCP items kept from the other side.
        guard_hits: u32,
    },
}

/// What the call asks for.
#[derive(Debug)]
pub enum Output {
    /// Of the SIP layer.
    Sip(SipCommand),
    /// Of the media session.
    Media(MediaCommand),
    /// Of the books.
    Ledger(LedgerCommand),
    /// News of a trunk, for [`super::routing::Trunks::news`] and for whoever counts. The call
    /// itself does not apply it.
    Trunk(TrunkId, TrunkNews),
    /// Check this passport's signature against its certificate; answered by [`Input::Verdict`],
    /// sooner or later or never.
    Verify(Box<Passport>),
    /// Nothing more will come: forget the call.
    Finished,
}

/// What a call learnt about an outbound trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrunkNews {
    /// It responded (anything but the failures below).
    Alive,
    /// Nothing came for 3 s, or a transport error.
    Dead,
    /// 503 with Retry-After of so many seconds.
    Rest(u32),
}

/// To the SIP layer.
#[derive(Clone, Debug)]
pub enum SipCommand {
    /// Caller: provisional response in the early dialog that stands for `fork`.
    Progress {
        /// The callee's early dialog; decides the To-tag.
        fork: Fork,
        /// 180, 181, 182, 183.
        status: u16,
        /// SDP.
        body: Option<Bytes>,
    },
    /// Caller: 200 in the dialog that stands for `fork`; repeated until the ACK by the SIP layer.
    Accept {
        /// The dialog that won.
        fork: Fork,
        /// SDP.
        body: Option<Bytes>,
    },
    /// Caller: final failure, with Reason by RFC 6432 where the cause is not 0.
    Reject {
        /// Status and cause.
        cause: Cause,
        /// Retry-After seconds, 0 for none.
        retry_after: u32,
    },
    /// Numbers that must not leave towards `Side` from now on. Comes before anything is dialled.
    /// Addresses the SIP layer protects by itself.
    Protect(Side, Vec<Box<str>>),
    /// Callee: a new attempt (the one before has failed or was given up by `Cancel`).
    Dial(Box<Dial>),
    /// Callee: give the attempt up. CANCEL where one is owed, ACK and BYE where a 2xx comes all
    /// the same, by the SIP layer itself; no more events of this attempt.
    Cancel(Cause),
    /// ACK the 2xx that was reported (`Answered`, `Reanswered`), with SDP where the 2xx had the
    /// offer.
    Confirm(Side, Option<Bytes>),
    /// Send a re-INVITE, without SDP for a delayed offer.
    Reoffer(Side, Option<Bytes>),
    /// 200 to the re-INVITE of `Side`.
    AnswerOffer(Side, Option<Bytes>),
    /// Refuse the re-INVITE of `Side`.
    RefuseOffer(Side, Cause),
    /// Offer in an early dialog, by UPDATE.
    EarlyReoffer(Side, Fork, Bytes),
    /// Answer the offer of an early dialog: in the 200 to its UPDATE or PRACK, or in the PRACK to the
    /// provisional response that carried it.
    EarlyAnswer(Side, Fork, Bytes),
    /// Refuse the offer of an early dialog.
    EarlyRefuse(Side, Fork, Cause),
    /// End the leg: BYE (once the ACK is there or given up, where RFC 3261 §15 wants that).
    Bye(Side, Cause),
    /// Pass DTMF on: INFO to `Side`.
    Dtmf(Side, Box<str>, Bytes),
}

/// A dial attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    /// Our id of the call.
    pub call_id: CallId,
    /// How far we vouch for the caller ID, where the leg is signed.
    pub attestation: Attestation,
    /// By which trunk.
    pub trunk: TrunkId,
    /// Whom.
    pub number: E164,
    /// What the callee sees.
    pub caller_id: CallerId,
    /// For the new INVITE.
    pub max_forwards: u8,
    /// Without a body: an offer in a reliable provisional response could be passed on.
    pub early_offers: bool,
    /// The offer; `None` for a delayed one.
    pub body: Option<Bytes>,
}

/// The caller ID shown to the callee (sip-bridging 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallerId {
    /// A number, by the trunk's number form.
    Number {
        /// The number.
        number: E164,
        /// Display name, single leases only; may be empty.
        display_name: Box<str>,
    },
    /// An identity that is no E.164 number, as the inbound trunk gave it.
    Verbatim {
        /// User part.
        user: Box<str>,
        /// Display name; may be empty.
        display_name: Box<str>,
    },
    /// Withheld: anonymous From; P-Asserted-Identity with Privacy towards a trusted trunk.
    Withheld(Option<E164>),
}

/// To the media session.
#[derive(Clone, Debug)]
pub enum MediaCommand {
    /// Reserve ports for a call that came by the first trunk; answered by `Opened` or `Refused`.
    Open {
        /// The caller's trunk.
        trunk: TrunkId,
        /// The caller's offer.
        offer: Option<Bytes>,
    },
    /// The trunk that is dialled now (media rules of the callee's leg).
    Route(TrunkId),
    /// A description came from `from`; answered at once by `Described` or `Undescribed` with what
    /// the other side gets.
    Describe {
        /// Who sent it.
        from: Side,
        /// The callee's early dialog, where it came from the callee.
        fork: Fork,
        /// Offer or answer (RFC 3264).
        role: Role,
        /// The SDP.
        body: Bytes,
    },
    /// This fork's media is the one to pass (the latest with early media; at last the winner).
    Select(Fork),
    /// The exchange under way came to nothing (re-INVITE refused): back to what was in force.
    Rollback,
    /// The call is answered: silence counts from now.
    Start,
    /// Play a recording to the caller instead of a call; answered by `Announcing` or `Unannounced`.
    Announce {
        /// The caller's trunk.
        trunk: TrunkId,
        /// The caller's offer.
        offer: Bytes,
        /// Which.
        which: Announcement,
    },
    /// Let the caller hear that credit is about to end, or (`false`) stop that.
    Warn(bool),
    /// Give the ports back; answered by `Closed`.
    Close,
}

/// Part of a description in the exchange (RFC 3264).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Offer.
    Offer,
    /// Answer, in a 2xx or ACK.
    Answer,
    /// Answer in a provisional response: may be followed by another.
    Provisional,
}

/// To the books.
#[derive(Clone, Debug)]
pub enum LedgerCommand {
    /// May this caller call this leased number now? Holds the first block.
    Admit {
        /// Number dialled.
        dialled: E164,
        /// Caller, where usable.
        caller: Option<E164>,
    },
    /// The callee answered: write the open-call record with its first block. The draft is what a
    /// crash would leave as the record.
    Answer(Box<CallRecord>),
    /// Hold blocks up to this count, durably, before the next begins.
    Hold(u64),
    /// How far up to this count would credit reach? Nothing is held; answered by `Covered`, or not
    /// at all.
    Look(u64),
    /// The call is over: charge `blocks` of the record (0: void all holds), write the ledger entry
    /// and the record. Also for calls that never were admitted.
    Close(Box<CallRecord>),
}
