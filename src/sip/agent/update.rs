//! UPDATE in a dialog, early or confirmed, theirs and ours (RFC 3311), and the offers of an early
//! dialog whatever carries them. Ours share their place with re-INVITEs ([`super::reinvite`]): one
//! offer at a time.
//!
//! ```text
//!   theirs, no offer:  200, target refreshed
//!   theirs:            Offered --answer--> 200     (\--refusal--> 488, 491, 504)
//!                      500 + Retry-After: an offer of theirs is unanswered
//!                      491: an offer of ours is
//!   ours:              sent --2xx--> answered
//!                        \---491 (§14.1 of RFC 3261), 500 + Retry-After--> waits --> sent again
//!                        \---405, 501, 504, confirmed dialog--> re-INVITE
//!                        \---other--> unanswered
//! ```

use super::body;
use super::compose::{self, Refusal};
use super::core::Wire;
use super::refresh::{self, Refresh};
use super::reinvite::{Incoming, Outgoing};
use super::screening;
use super::session::{Phase, Session};
use super::{LegEvent, reason};
use crate::call::event::{Cause, Fork};
use crate::domain::Side;
use crate::sip::dialog::Dialog;
use crate::sip::message::{Header, Message, Method, Path};
use crate::sip::transaction::TransactionId;
use bytes::Bytes;
use std::time::Duration;

/// Longest Retry-After of a 500 that is waited for (RFC 3311 §5.2: 0 to 10 s).
const LONGEST_RETRY: u32 = 10;

/// No offer can go that way now; it may later, in the confirmed dialog (RFC 3311 §5.2).
const NOT_NOW: Cause = Cause { sip: 504, q850: 0 };

impl Session {
    /// An early dialog of either leg (RFC 3261 §12.1).
    pub(super) fn early(side: Side, fork: Fork, dialog: Dialog) -> Self {
        let mut session = Self::new(side, dialog, Refresh::early());
        session.phase = Phase::Early;
        session.fork = fork;
        session.settled = false;
        session
    }

    /// The callee's early dialog was answered: the 2xx has its route set and target anew (§13.2.2.4
    /// of RFC 3261), the sequence numbers go on.
    pub(super) fn answered_by(&mut self, dialog: Dialog) {
        let invite = dialog.local_cseq;
        let early = std::mem::replace(&mut self.dialog, dialog);
        self.dialog.local_cseq = early.local_cseq.max(invite);
        self.dialog.remote_cseq = early.remote_cseq;
        self.phase = Phase::Confirmed;
        self.settled = true;
        self.owed = Some(invite);
    }

    /// Notes whether the peer takes UPDATE: by the Allow that it sent last.
    pub(super) fn learn_allow(&mut self, message: &Message) {
        let mut methods = message
            .all(Header::Allow)
            .flat_map(|value| value.split(','))
            .peekable();
        if methods.peek().is_some() {
            self.peer_updates = methods.any(|method| method.trim() == "UPDATE");
        }
    }

    /// Whether an offer of the peer's that came by UPDATE waits for its answer.
    pub(super) fn is_updated(&self) -> bool {
        let theirs = self.incoming.as_ref();
        theirs.is_some_and(|theirs| theirs.message.method() == Method::Update)
    }

    /// Whether an offer of ours is under way in this transaction.
    pub(super) fn is_offering(&self, id: TransactionId) -> bool {
        self.outgoing
            .as_ref()
            .is_some_and(|ours| ours.id == Some(id))
    }

    /// An UPDATE in an early dialog.
    pub(super) fn on_early_update(
        &mut self,
        (id, message, path): (TransactionId, Message, Path),
        wire: &mut Wire<'_>,
    ) {
        if !self.is_in_order(&message) {
            return self.refuse((id, &message, path), &Refusal::of(500), wire);
        }
        if let Some(refusal) = screening::unsupported(&message) {
            return self.refuse((id, &message, path), &refusal, wire);
        }
        self.on_update((id, message, path), wire);
    }

    /// Whether a request is a new one: its number is above the last (§12.2.2 of RFC 3261).
    pub(super) fn is_in_order(&mut self, message: &Message) -> bool {
        let dialog = &mut self.dialog;
        if message.cseq() <= dialog.remote_cseq && dialog.remote_cseq != 0 {
            return false;
        }
        dialog.remote_cseq = message.cseq();
        true
    }

    /// An UPDATE.
    pub(super) fn on_update(
        &mut self,
        (id, message, path): (TransactionId, Message, Path),
        wire: &mut Wire<'_>,
    ) {
        let offer = match body::session(&message) {
            Ok(offer) => offer,
            Err(body::Unacceptable) => {
                return self.refuse((id, &message, path), &Refusal::of(415), wire);
            }
        };
        if let Some(refusal) = self.refusal_of_offer(offer.is_some(), wire) {
            return self.refuse((id, &message, path), &refusal, wire);
        }
        if let Err(refusal) = refresh::screen(&message, wire.session_policy(self.side)) {
            return self.refuse((id, &message, path), &refusal, wire);
        }
        if message.get(Header::Contact).is_some() {
            if let Err(refusal) = screening::contact(&message) {
                return self.refuse((id, &message, path), &refusal, wire);
            }
            self.refresh_target(&message, wire);
        }
        self.learn_allow(&message);
        match offer {
            Some(offer) => {
                self.incoming = Some(Box::new(Incoming { id, message, path }));
                self.say_offered(offer, wire);
            }
            None if self.phase == Phase::Confirmed => {
                self.on_refresh_update((id, &message, path), wire);
            }
            None => {
                let bytes = compose::dialog_response(wire.core, (&message, path), 200, None, None);
                wire.respond(self.side, id, 200, bytes);
            }
        }
    }

    /// Why an UPDATE cannot be taken now (RFC 3311 §5.2), or an offer in a PRACK.
    pub(super) fn refusal_of_offer(&self, offers: bool, wire: &mut Wire<'_>) -> Option<Refusal> {
        let theirs_unanswered = !self.settled && self.side == Side::Caller;
        if self.incoming.is_some() || (offers && theirs_unanswered) {
            let seconds = wire.core.below(u64::from(LONGEST_RETRY)).saturating_add(1);
            return Some(Refusal {
                retry_after: u32::try_from(seconds).unwrap_or(1),
                ..Refusal::of(500)
            });
        }
        let sent = self.outgoing.as_ref().is_some_and(|ours| ours.id.is_some());
        let ours_unanswered = sent || !self.settled || self.owed.is_some() || self.awaits_answer();
        (offers && ours_unanswered).then(|| Refusal::of(491))
    }

    /// 200 to their UPDATE or PRACK.
    pub(super) fn answer_update(
        &mut self,
        (id, message, path): (TransactionId, &Message, Path),
        body: Option<&Bytes>,
        wire: &mut Wire<'_>,
    ) {
        let mut writer = compose::dialog_head(wire.core, (message, path), 200, None);
        if message.method() == Method::Update && self.phase == Phase::Confirmed {
            self.grant(message, wire).write(&mut writer);
        }
        wire.respond(self.side, id, 200, compose::finish(writer, body));
        self.start_waiting(wire);
    }

    /// An offer in an early dialog. Where it cannot go, that is said at once.
    pub(super) fn reoffer_early(&mut self, body: Bytes, wire: &mut Wire<'_>) {
        if self.phase == Phase::Confirmed {
            return self.reoffer(Some(body), true, wire);
        }
        let ready = self.settled && self.peer_updates;
        if self.phase != Phase::Early || !ready || self.outgoing.is_some() {
            return self.say_unanswered(NOT_NOW, wire);
        }
        if self.incoming.is_some() {
            return self.say_unanswered(Cause { sip: 491, q850: 0 }, wire);
        }
        self.outgoing = Some(Box::new(Outgoing::new(Some(body), true)));
        self.start_waiting(wire);
    }

    /// A final response to our UPDATE.
    pub(super) fn on_update_response(
        &mut self,
        mut ours: Box<Outgoing>,
        message: &Message,
        wire: &mut Wire<'_>,
    ) {
        let status = message.status().unwrap_or_default();
        self.learn_allow(message);
        if status < 300 {
            self.refresh_target(message, wire);
            self.note_reanswer(message, ours.body.as_ref(), wire);
            return self.say_reanswered(body::session_if_any(message), wire);
        }
        let mut cause = reason::read(message);
        cause.sip = status;
        let wait = match (status, retry_after(message)) {
            (491, _) => Some(self.glare_time(wire)),
            (500, Some(seconds)) if seconds <= LONGEST_RETRY => {
                Some(Duration::from_secs(u64::from(seconds)))
            }
            _ => None,
        };
        if let Some(wait) = wait.filter(|_| ours.may_retry()) {
            return self.retry(ours, wait, wire);
        }
        match (status, self.phase) {
            (422, Phase::Confirmed) if self.raise(message) => {
                ours.id = None;
                self.outgoing = Some(ours);
                self.start_waiting(wire);
            }
            (405 | 501 | 504, Phase::Confirmed) => {
                self.peer_updates &= status == 504;
                ours.by_reinvite();
                self.outgoing = Some(ours);
                self.start_waiting(wire);
            }
            (408 | 481, Phase::Confirmed) => self.lose(cause, status == 408, wire),
            _ => self.say_unanswered(cause, wire),
        }
    }

    // ---- what is reported, by the phase ----

    pub(super) fn say_offered(&self, offer: Bytes, wire: &mut Wire<'_>) {
        let event = match self.phase {
            Phase::Early => LegEvent::EarlyOffered(self.fork, offer),
            _ => LegEvent::Offered(Some(offer)),
        };
        wire.event(self.side, event);
    }

    pub(super) fn say_reanswered(&self, answer: Option<Bytes>, wire: &mut Wire<'_>) {
        let event = match self.phase {
            Phase::Early => LegEvent::EarlyReanswered(self.fork, answer),
            _ => LegEvent::Reanswered(answer),
        };
        wire.event(self.side, event);
    }

    pub(super) fn say_unanswered(&self, cause: Cause, wire: &mut Wire<'_>) {
        let event = match self.phase {
            Phase::Early => LegEvent::EarlyUnanswered(self.fork, cause),
            _ => LegEvent::Unanswered(cause),
        };
        wire.event(self.side, event);
    }
}

/// Whole seconds of Retry-After.
fn retry_after(message: &Message) -> Option<u32> {
    let text = message.get(Header::RetryAfter)?;
    let digits = text.split([';', '(', ' ']).next().unwrap_or_default();
    digits.trim().parse().ok()
}

/// Whether a request carries an offer by UPDATE or PRACK, which has no ACK.
pub(super) fn is_without_ack(message: &Message) -> bool {
    message.method() != Method::Invite
}
