//! Re-INVITE in a session, theirs and ours (RFC 3261 §14): at most one at a time, and no UPDATE
//! beside it ([`super::update`]).
//!
//! ```text
//!   theirs:  Offered --AnswerOffer--> 2xx repeated --ACK--> idle        (64×T1: Lost, BYE)
//!               \-----RefuseOffer--> idle
//!   ours:    sent --2xx--> [Confirm] ACK --> idle
//!               \---491--> waits (§14.1) --> sent again
//!               \---other--> idle
//! ```

use super::body;
use super::compose::{self, Refusal};
use super::core::{Owner, Timer, Wire};
use super::session::{Accept, Phase, Session, response_path};
use super::update::is_without_ack;
use super::{LegEvent, looping, reason, refresh, screening};
use crate::call::event::Cause;
use crate::domain::Side;
use crate::sip::message::{Header, Message, Method, Path};
use crate::sip::transaction::TransactionId;
use bytes::Bytes;
use std::time::{Duration, Instant};

/// How often a re-INVITE is tried again after 491.
const MOST_RETRIES: u8 = 3;

/// Their re-INVITE that is owed a final response.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) id: TransactionId,
    pub(super) message: Message,
    pub(super) path: Path,
}

/// Our re-INVITE.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// `None` while it waits: for the end of theirs, or for the time after a 491.
    pub(super) id: Option<TransactionId>,
    pub(super) body: Option<Bytes>,
    pub(super) tries: u8,
    pub(super) retry_at: Option<Instant>,
    /// By UPDATE.
    update: bool,
    /// It only refreshes the session: the call knows nothing of it.
    pub(super) refresh: bool,
}

impl Outgoing {
    /// An offer that waits to be sent.
    pub(super) fn new(body: Option<Bytes>, update: bool) -> Self {
        Self {
            id: None,
            body,
            tries: 0,
            retry_at: None,
            update,
            refresh: false,
        }
    }

    /// A re-INVITE that only refreshes the session, with what is in force.
    pub(super) fn refreshing(body: Bytes) -> Self {
        Self {
            refresh: true,
            ..Self::new(Some(body), false)
        }
    }

    /// Whether it may be tried once more.
    pub(super) fn may_retry(&self) -> bool {
        self.tries < MOST_RETRIES
    }

    /// The peer takes no UPDATE, or none now: a re-INVITE it is.
    pub(super) fn by_reinvite(&mut self) {
        self.update = false;
        self.id = None;
        self.tries = 0;
    }
}

impl Session {
    pub(super) fn on_invite(
        &mut self,
        (id, message, path): (TransactionId, Message, Path),
        wire: &mut Wire<'_>,
    ) {
        if self.incoming.is_some() {
            // §14.2: a second INVITE before the final response to the first.
            let seconds = wire.core.below(10).saturating_add(1);
            let refusal = Refusal {
                retry_after: u32::try_from(seconds).unwrap_or(1),
                ..Refusal::of(500)
            };
            return self.refuse((id, &message, path), &refusal, wire);
        }
        let ours_under_way = self.outgoing.as_ref().is_some_and(|ours| ours.id.is_some());
        if ours_under_way || self.owed.is_some() || self.accept.is_some() {
            // Glare, or the exchange before is not over (§14.2, RFC 6337 §4).
            return self.refuse((id, &message, path), &Refusal::of(491), wire);
        }
        let screened =
            screening::contact(&message).and_then(|()| looping::takeover_inside(&message));
        if let Err(refusal) = screened {
            return self.refuse((id, &message, path), &refusal, wire);
        }
        let offer = match body::session(&message) {
            Ok(offer) => offer,
            Err(body::Unacceptable) => {
                return self.refuse((id, &message, path), &Refusal::of(415), wire);
            }
        };
        if let Err(refusal) = refresh::screen(&message, wire.session_policy(self.side)) {
            return self.refuse((id, &message, path), &refusal, wire);
        }
        self.refresh_target(&message, wire);
        self.learn_allow(&message);
        let change = self.on_refresh_invite((id, message, path), offer.as_ref(), wire);
        let Some((id, message, path)) = change else {
            return;
        };
        let trying = compose::response(&message, path, 100, None).finish(None);
        wire.respond(self.side, id, 100, trying);
        self.incoming = Some(Box::new(Incoming { id, message, path }));
        wire.event(self.side, LegEvent::Offered(offer));
    }

    /// A response to our re-INVITE.
    pub(super) fn on_reinvite_response(
        &mut self,
        id: TransactionId,
        message: &Message,
        wire: &mut Wire<'_>,
    ) {
        let status = message.status().unwrap_or_default();
        if status < 200 {
            return;
        }
        let mine = self.outgoing.take_if(|ours| ours.id == Some(id));
        let Some(mut ours) = mine else { return };
        if ours.update {
            wire.core.owners.remove(&id);
            return self.on_update_response(ours, message, wire);
        }
        if status < 300 {
            wire.detach(id);
            return self.on_reanswer(&ours, message, wire);
        }
        wire.core.owners.remove(&id);
        let mut cause = reason::read(message);
        cause.sip = status;
        match status {
            491 if ours.may_retry() => {
                let wait = self.glare_time(wire);
                self.retry(ours, wait, wire);
            }
            422 if self.raise(message) => {
                ours.id = None;
                self.outgoing = Some(ours);
                self.start_waiting(wire);
            }
            _ if ours.refresh => self.on_refreshed(message, wire),
            408 | 481 => self.lose(cause, status == 408, wire),
            _ => wire.event(self.side, LegEvent::Unanswered(cause)),
        }
    }

    /// Our re-INVITE was challenged and sent again.
    pub(super) fn resubmitted(&mut self, old: TransactionId, new: TransactionId) {
        if let Some(ours) = self.outgoing.as_mut().filter(|one| one.id == Some(old)) {
            ours.id = Some(new);
        }
    }

    fn on_reanswer(&mut self, ours: &Outgoing, message: &Message, wire: &mut Wire<'_>) {
        self.refresh_target(message, wire);
        self.learn_allow(message);
        self.note_reanswer(message, ours.body.as_ref(), wire);
        let body = body::session_if_any(message);
        self.owed = Some(message.cseq());
        if ours.body.is_some() {
            self.confirm(None, wire);
        }
        if ours.refresh {
            return self.on_refreshed(message, wire);
        }
        wire.event(self.side, LegEvent::Reanswered(body));
    }

    /// Sends it again after a while.
    pub(super) fn retry(&mut self, mut ours: Box<Outgoing>, wait: Duration, wire: &mut Wire<'_>) {
        let at = wire.now + wait;
        ours.id = None;
        ours.retry_at = Some(at);
        self.outgoing = Some(ours);
        wire.core.arm(at, Timer::Reinvite(wire.key, self.side));
    }

    /// §14.1: 2.1 to 4 s for who made the Call-ID, 0 to 2 s for the other, in units of 10 ms.
    pub(super) fn glare_time(&self, wire: &mut Wire<'_>) -> Duration {
        let units = match self.side {
            Side::Callee => wire.core.below(191).saturating_add(210),
            Side::Caller => wire.core.below(201),
        };
        Duration::from_millis(units.saturating_mul(10))
    }

    /// Tries a re-INVITE again.
    pub(super) fn on_reinvite_timer(&mut self, wire: &mut Wire<'_>) {
        let due = self
            .outgoing
            .as_mut()
            .is_some_and(|ours| ours.retry_at.take_if(|at| *at <= wire.now).is_some());
        if due {
            self.start_waiting(wire);
        }
    }

    /// A re-INVITE. While another INVITE is under way it waits; while theirs waits for the call
    /// itself, it is refused at once. `update`: by UPDATE, where the peer takes it.
    pub(super) fn reoffer(&mut self, body: Option<Bytes>, update: bool, wire: &mut Wire<'_>) {
        if self.phase != Phase::Confirmed || self.joins_refresh(body.as_ref()) {
            return;
        }
        if self.incoming.is_some() || self.outgoing.is_some() {
            let cause = Cause { sip: 491, q850: 0 };
            return wire.event(self.side, LegEvent::Unanswered(cause));
        }
        let update = update && self.peer_updates && body.is_some();
        self.outgoing = Some(Box::new(Outgoing::new(body, update)));
        self.start_waiting(wire);
    }

    /// Sends the re-INVITE that waits, if nothing stands in its way.
    pub(super) fn start_waiting(&mut self, wire: &mut Wire<'_>) {
        let blocked = self.incoming.is_some() || self.accept.is_some() || self.owed.is_some();
        if blocked || !matches!(self.phase, Phase::Confirmed | Phase::Early) {
            return;
        }
        let Some(ours) = self
            .outgoing
            .as_mut()
            .filter(|ours| ours.id.is_none() && ours.retry_at.is_none())
        else {
            return;
        };
        ours.tries = ours.tries.saturating_add(1);
        let branch = wire.branch();
        let cseq = self.dialog.next_cseq();
        let dialog = &self.dialog;
        let method = if ours.update {
            Method::Update
        } else {
            Method::Invite
        };
        let mut writer = compose::in_dialog(wire.core, dialog, method, cseq, &branch);
        let secure = super::transports::is_secure(&dialog.target);
        compose::contact(wire.core, &mut writer, dialog.path, secure);
        writer.header(Header::Allow, compose::ALLOW);
        writer.header(Header::Supported, compose::SUPPORTED);
        self.refresh.ask().write(&mut writer);
        let bytes = compose::finish(writer, ours.body.as_ref());
        let owner = Owner::Reinvite(wire.key, self.side);
        ours.id = wire.request(
            (self.side, owner),
            (method, branch),
            (bytes, dialog.path),
            &dialog.echoed(),
        );
        if ours.id.is_none() {
            self.outgoing = None;
        }
    }

    /// 200 to their re-INVITE.
    pub(super) fn answer_offer(&mut self, body: Option<&Bytes>, wire: &mut Wire<'_>) {
        let Some(theirs) = self.incoming.take() else {
            return;
        };
        let Incoming { id, message, path } = *theirs;
        self.refresh.note_local(body);
        self.refresh.note_remote(&message);
        if is_without_ack(&message) {
            return self.answer_update((id, &message, path), body, wire);
        }
        let words = self.grant(&message, wire);
        let mut writer = compose::dialog_head(wire.core, (&message, path), 200, None);
        words.write(&mut writer);
        let bytes = compose::finish(writer, body);
        let Some(bytes) = wire.respond(self.side, id, 200, bytes) else {
            return;
        };
        let delayed = body::session_if_any(&message).is_none();
        let sent_to = response_path(&message, path);
        let accept = Accept::new(wire, (bytes, sent_to), message.cseq(), (false, delayed));
        self.await_ack(accept, wire);
    }

    /// Failure to their re-INVITE.
    pub(super) fn refuse_offer(&mut self, cause: Cause, wire: &mut Wire<'_>) {
        if let Some(theirs) = self.incoming.take() {
            let status = if cause.sip >= 300 { cause.sip } else { 488 };
            let refusal = Refusal::because(status, cause.q850);
            self.refuse((theirs.id, &theirs.message, theirs.path), &refusal, wire);
            self.start_waiting(wire);
        }
    }

    /// Ends what INVITE transactions are under way: theirs gets its 487 (§15.1.2), ours is left to
    /// itself.
    pub(super) fn drop_offers(&mut self, wire: &mut Wire<'_>) {
        if let Some(theirs) = self.incoming.take() {
            let refusal = Refusal::of(487);
            self.refuse((theirs.id, &theirs.message, theirs.path), &refusal, wire);
        }
        if let Some(id) = self.outgoing.take().and_then(|ours| ours.id) {
            wire.detach(id);
        }
    }
}
