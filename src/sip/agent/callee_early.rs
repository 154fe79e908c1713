//! Early dialogs of the callee's leg: who answers an attempt's INVITE before the 2xx, one for each
//! To-tag, and the PRACKs that are owed there (RFC 3262 §4).
//!
//! ```text
//!   18x, Require: 100rel, RSeq in order --> PRACK at once     (no description, or the answer)
//!                                      \--> PRACK with the answer, once the call has it
//!                                           (the INVITE had no offer: the description is one)
//!   RSeq taken before, or one missing ----> nothing: the PRACK repeats itself, or must not be
//! ```
//!
//! Each PRACK goes to the target and by the route set of its own dialog, and none goes once the
//! attempt is given up.

use super::LegEvent;
use super::body;
use super::callee_leg::{Attempt, CalleeLeg};
use super::compose::{self, Refusal};
use super::core::{Owner, Wire};
use super::early_media;
use super::session::{Phase, Session};
use crate::call::event::{Cause, DialFailure, Fork};
use crate::domain::Side;
use crate::sip::dialog::reliable::{self, Arrival, RAck, Taken};
use crate::sip::dialog::{Dialog, Tag};
use crate::sip::message::{Header, Message, Method, Path};
use crate::sip::transaction::TransactionId;
use bytes::Bytes;

/// One early dialog.
#[derive(Debug)]
pub(super) struct CalleeEarly {
    pub(super) fork: Fork,
    /// Their tag.
    pub(super) tag: Box<str>,
    /// Its state, once a response in it was reliable.
    pub(super) reliable: Option<Box<Reliable>>,
    /// The trunk's word on early media counts.
    trusted: bool,
    /// Its last word: early media is not to be heard (RFC 5009).
    muted: bool,
}

/// An early dialog with a reliable response.
#[derive(Debug)]
pub(super) struct Reliable {
    pub(super) session: Session,
    taken: Taken,
    /// The response whose PRACK waits for the answer to its offer.
    owed: Option<RAck>,
    /// The PRACK that carried an answer.
    answering: Option<TransactionId>,
    /// The PRACK that went last.
    pracked: Option<TransactionId>,
}

/// What an attempt's dialogs are made from: our tag and From, the URI that was dialled, the path.
pub(super) type Origin<'a> = ((Tag, &'a str), &'a str, Path);

impl CalleeEarly {
    pub(super) fn new(fork: Fork, tag: &str, trusted: bool) -> Self {
        Self {
            fork,
            tag: tag.into(),
            reliable: None,
            trusted,
            muted: false,
        }
    }

    /// Takes a trusted trunk's word on early media: true if it may be heard now and might not before.
    fn hear(&mut self, message: &Message) -> bool {
        let Some(authorised) = early_media::authorised(message).filter(|_| self.trusted) else {
            return false;
        };
        std::mem::replace(&mut self.muted, !authorised) && authorised
    }

    /// A reliable response with this RSeq: acknowledges it unless it carries an `offer`. False where
    /// it must not be processed.
    pub(super) fn take(
        &mut self,
        rseq: u32,
        (message, offers): (&Message, bool),
        (local, uri, path): Origin<'_>,
        wire: &mut Wire<'_>,
    ) -> bool {
        let fork = self.fork;
        let reliable = self.reliable.get_or_insert_with(|| {
            let dialog = Dialog::from_success(message, local, uri, path);
            Box::new(Reliable {
                session: Session::early(Side::Callee, fork, dialog),
                taken: Taken::default(),
                owed: None,
                answering: None,
                pracked: None,
            })
        });
        if reliable.taken.take(rseq) != Arrival::InOrder {
            return false;
        }
        let session = &mut reliable.session;
        session.refresh_target(message, wire);
        session.learn_allow(message);
        session.refresh.note_remote(message);
        let rack = RAck {
            rseq,
            cseq: message.cseq(),
        };
        if offers && !session.settled {
            reliable.owed = Some(rack);
        } else {
            reliable.pracked = prack(session, rack, None, wire);
        }
        true
    }

    /// An UPDATE in it. Where nothing in it was reliable our first offer has no answer yet: another
    /// offer crosses it (RFC 3311 §5.2).
    pub(super) fn on_update(
        &mut self,
        (id, message, path): (TransactionId, Message, Path),
        wire: &mut Wire<'_>,
    ) {
        if self.hear(&message) {
            let event = LegEvent::Progress {
                fork: self.fork,
                status: 183,
                body: None,
                reliable: false,
                muted: false,
            };
            wire.event(Side::Callee, event);
        }
        if let Some(reliable) = &mut self.reliable {
            return reliable.session.on_early_update((id, message, path), wire);
        }
        let status = if message.body().is_empty() { 200 } else { 491 };
        let bytes = Refusal::of(status).write(&message, path, None);
        wire.respond(Side::Callee, id, status, bytes);
    }

    fn pracked(&self) -> Option<TransactionId> {
        self.reliable.as_ref()?.pracked
    }

    /// Whether the first offer of this dialog has its answer for good.
    pub(super) fn is_settled(&self) -> bool {
        let reliable = self.reliable.as_ref();
        reliable.is_some_and(|reliable| reliable.session.settled)
    }

    /// It has.
    pub(super) fn settle(&mut self) {
        if let Some(reliable) = &mut self.reliable {
            reliable.session.settled = true;
        }
    }

    /// Ends it: nothing more is sent in it. Gives back the last of our sequence numbers in it.
    pub(super) fn end(&mut self, wire: &mut Wire<'_>) -> u32 {
        let Some(mut reliable) = self.reliable.take() else {
            return 0;
        };
        reliable.session.phase = Phase::Closed;
        reliable.session.drop_offers(wire);
        reliable.session.dialog.local_cseq
    }
}

impl Reliable {
    /// The answer to the offer of a provisional response, which goes with its PRACK; or else to an
    /// UPDATE.
    pub(super) fn answer(&mut self, body: &Bytes, wire: &mut Wire<'_>) {
        match self.owed.take() {
            Some(rack) => {
                self.session.settled = true;
                self.session.refresh.note_local(Some(body));
                self.answering = prack(&mut self.session, rack, Some(body), wire);
                self.pracked = self.answering;
            }
            None => self.session.answer_offer(Some(body), wire),
        }
    }

    /// A PRACK has gone once more, with credentials.
    fn resubmitted(&mut self, old: TransactionId, new: TransactionId) {
        for sent in [&mut self.answering, &mut self.pracked] {
            if *sent == Some(old) {
                *sent = Some(new);
            }
        }
    }

    /// Whether a PRACK that failed carried an answer: the two sides do not agree then.
    pub(super) fn is_answering(&self, id: TransactionId) -> bool {
        self.answering == Some(id)
    }
}

/// Acknowledges a provisional response in its own dialog.
fn prack(
    session: &mut Session,
    rack: RAck,
    body: Option<&Bytes>,
    wire: &mut Wire<'_>,
) -> Option<TransactionId> {
    let branch = wire.branch();
    let cseq = session.dialog.next_cseq();
    let dialog = &session.dialog;
    let mut writer = compose::in_dialog(wire.core, dialog, Method::Prack, cseq, &branch);
    writer.header(Header::RAck, &rack.write());
    wire.request(
        (Side::Callee, Owner::Prack(wire.key)),
        (Method::Prack, branch),
        (compose::finish(writer, body), dialog.path),
        &dialog.echoed(),
    )
}

impl Attempt {
    /// What a provisional response in an early dialog says; `None` where it says nothing new, or
    /// must not be heard.
    pub(super) fn progress(
        &mut self,
        fork: Fork,
        message: &Message,
        wire: &mut Wire<'_>,
    ) -> Option<LegEvent> {
        let early = self.forks.iter_mut().find(|early| early.fork == fork)?;
        early.hear(message);
        let rseq = reliable::sequence(message).filter(|_| self.reliable);
        let mut body = body::session_if_any(message);
        if let Some(rseq) = rseq {
            let local = (self.tag, &*self.local);
            let offers = self.delayed && body.is_some();
            let origin = (local, &*self.uri, self.path);
            if !early.take(rseq, (message, offers), origin, wire) {
                return None;
            }
        }
        if early.is_settled() {
            body = None; // the first answer counts (RFC 3261 §13.2.1)
        } else if rseq.is_some() && body.is_some() && !self.delayed {
            early.settle();
        }
        Some(LegEvent::Progress {
            fork,
            status: message.status().unwrap_or_default(),
            body,
            reliable: rseq.is_some(),
            muted: early.muted,
        })
    }

    /// The early dialog that was answered.
    pub(super) fn take_early(&mut self, tag: &str) -> Option<Session> {
        let early = self.forks.iter_mut().find(|early| *early.tag == *tag)?;
        early.reliable.take().map(|reliable| reliable.session)
    }

    /// Ends its early dialogs. Gives back the last sequence number of ours in any.
    pub(super) fn end_early(&mut self, wire: &mut Wire<'_>) -> u32 {
        let ended = self.forks.iter_mut().map(|early| early.end(wire));
        ended.max().unwrap_or(0)
    }
}

impl CalleeLeg {
    /// The dialog that an early one of this fork is, or has become.
    pub(super) fn early(&mut self, fork: Fork) -> Option<&mut Session> {
        if self.session.is_some() {
            return self.session.as_deref_mut();
        }
        self.reliable_of(|early| early.fork == fork)
            .map(|reliable| &mut reliable.session)
    }

    /// The early dialog that a request names.
    pub(super) fn early_of(&mut self, message: &Message) -> Option<&mut CalleeEarly> {
        let tag = Tag::read(message.to_tag());
        self.attempts
            .iter_mut()
            .filter(|attempt| Some(attempt.tag) == tag && *attempt.call_id == *message.call_id())
            .flat_map(|attempt| attempt.forks.iter_mut())
            .find(|early| *early.tag == *message.from_tag())
    }

    /// The dialog in which an offer of ours is under way in this transaction.
    pub(super) fn session_of(&mut self, id: TransactionId) -> Option<&mut Session> {
        if self.session.is_some() {
            return self.session.as_deref_mut();
        }
        self.reliable_of(|early| {
            let reliable = early.reliable.as_ref();
            reliable.is_some_and(|reliable| reliable.session.is_offering(id))
        })
        .map(|reliable| &mut reliable.session)
    }

    /// Next sequence number where a PRACK went, if it is the last one there.
    pub(super) fn cseq_of_prack(&mut self, id: TransactionId) -> Option<u32> {
        let reliable = self.reliable_of(|early| early.pracked() == Some(id))?;
        Some(reliable.session.dialog.next_cseq())
    }

    /// A PRACK has gone once more, with credentials.
    pub(super) fn prack_resubmitted(&mut self, old: TransactionId, new: TransactionId) {
        if let Some(reliable) = self.reliable_of(|early| early.pracked() == Some(old)) {
            reliable.resubmitted(old, new);
        }
    }

    /// The answer to an offer in an early dialog, which may have become the leg's.
    pub(super) fn answer_early(&mut self, fork: Fork, body: &Bytes, wire: &mut Wire<'_>) {
        if let Some(session) = &mut self.session {
            return session.answer_offer(Some(body), wire);
        }
        if let Some(reliable) = self.reliable_of(|early| early.fork == fork) {
            reliable.answer(body, wire);
        }
    }

    /// The time after a 491 may be over in any early dialog.
    pub(super) fn on_early_retry(&mut self, wire: &mut Wire<'_>) {
        let early = self
            .attempts
            .iter_mut()
            .flat_map(|attempt| &mut attempt.forks);
        for reliable in early.filter_map(|early| early.reliable.as_mut()) {
            reliable.session.on_reinvite_timer(wire);
        }
    }

    /// A PRACK failed. The callee itself gives up what is not acknowledged (§3); but where the PRACK
    /// carried an answer the two sides do not agree, and the attempt has failed.
    pub(super) fn on_prack_failure(&mut self, id: TransactionId, wire: &mut Wire<'_>) {
        let answering = self.reliable_of(|early| {
            let reliable = early.reliable.as_ref();
            reliable.is_some_and(|reliable| reliable.is_answering(id))
        });
        if answering.is_some() {
            self.cancel(Cause { sip: 0, q850: 88 }, wire);
            let cause = Cause { sip: 488, q850: 88 };
            let failure = DialFailure::Response {
                cause,
                retry_after: 0,
            };
            wire.event(Side::Callee, LegEvent::Failed(failure));
        }
    }

    fn reliable_of(&mut self, wanted: impl Fn(&CalleeEarly) -> bool) -> Option<&mut Reliable> {
        let mut early = self
            .attempts
            .iter_mut()
            .flat_map(|attempt| &mut attempt.forks);
        early
            .find(|early| early.reliable.is_some() && wanted(early))
            .and_then(|early| early.reliable.as_deref_mut())
    }
}
