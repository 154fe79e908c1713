//! The session timer of a leg at work (RFC 4028): the requests that refresh it, theirs and ours,
//! and what it ends. When and by whom is [`crate::sip::dialog::session_timer`]'s to say.
//!
//! A refresh concerns one leg alone: the call is told nothing, the other leg hears nothing, media
//! and meter stay as they are. Ours is an UPDATE without a body where the peer takes UPDATE, else a
//! re-INVITE with the description that is in force, byte for byte. Theirs is told from an offer by
//! the same: a re-INVITE whose description is the one in force is answered here.

use super::compose::{self, Refusal};
use super::core::{Owner, Wire};
use super::reinvite::Outgoing;
use super::session::{Accept, Phase, Session, response_path};
use super::{body, reason};
use crate::call::event::Cause;
use crate::domain::{CallKey, Side};
use crate::sip::dialog::session_timer::{BUSY, Due, Malformed, Policy, SessionTimer, Terms, Words};
use crate::sip::message::{Header, Message, Method, Path};
use crate::sip::transaction::TransactionId;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

/// What an expired session ends with: Q.850's "recovery on timer expiry".
const EXPIRED: Cause = Cause {
    sip: 408,
    q850: 102,
};

/// When session timers are due. Unlike other timers they are taken back: they are set for longer
/// than most calls last.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    due: BTreeSet<(Instant, CallKey, Side)>,
}

impl Schedule {
    /// Moves a leg's timer.
    fn set(&mut self, (key, side): (CallKey, Side), from: Option<Instant>, to: Option<Instant>) {
        if let Some(at) = from {
            self.due.remove(&(at, key, side));
        }
        if let Some(at) = to {
            self.due.insert((at, key, side));
        }
    }

    /// When the next is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _, _)| *at)
    }

    /// Takes the next.
    pub(super) fn pop(&mut self) -> Option<(CallKey, Side)> {
        self.due.pop_first().map(|(_, key, side)| (key, side))
    }

    /// How many are set.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.due.len()
    }
}

/// Screens what a request says of session timers: 400 or 422 (§9).
pub(super) fn screen(message: &Message, policy: Policy) -> Result<(), Refusal> {
    let terms = Terms::read(message).map_err(|Malformed(name)| Refusal {
        phrase: Some(match name {
            Header::MinSe => "Malformed Min-SE",
            _ => "Malformed Session-Expires",
        }),
        ..Refusal::of(400)
    })?;
    match terms.too_short(policy) {
        Some(least) => Err(Refusal {
            least_interval: least,
            ..Refusal::of(422)
        }),
        None => Ok(()),
    }
}

/// A leg's session timer, and what its refreshes need.
#[derive(Debug)]
pub(super) struct Refresh {
    timer: SessionTimer,
    /// Its place in the [`Schedule`].
    armed: Option<Instant>,
    /// Our description in force.
    local: Option<Bytes>,
    /// A hash of theirs.
    remote: Option<u64>,
    /// Our UPDATE without a response.
    update: Option<TransactionId>,
    /// The call's re-INVITE, which waits for ours to be over.
    waiting: Option<Option<Bytes>>,
}

impl Refresh {
    /// Of a leg whose INVITE was `timer`'s to word, or is to be answered by it.
    pub(super) fn new(timer: SessionTimer) -> Box<Self> {
        Box::new(Self {
            timer,
            armed: None,
            local: None,
            remote: None,
            update: None,
            waiting: None,
        })
    }

    /// Of an early dialog: no timer runs yet.
    pub(super) fn early() -> Box<Self> {
        Self::new(SessionTimer::new(Policy::default()))
    }

    /// The INVITE that made the call gets its 2xx with `body`: what that says.
    pub(super) fn accept(&mut self, invite: &Message, body: Option<&Bytes>, now: Instant) -> Words {
        self.note_local(body);
        self.note_remote(invite);
        self.timer.grant(Terms::of_response(invite), now)
    }

    /// Our INVITE, which carried `offer`, got its 2xx.
    pub(super) fn answered(&mut self, success: &Message, offer: Option<&Bytes>, now: Instant) {
        self.note_local(offer);
        self.note_success(success, now);
    }

    fn note_success(&mut self, success: &Message, now: Instant) {
        self.note_remote(success);
        self.timer.granted(Terms::of_response(success), now);
    }

    /// Our description that is now in force.
    pub(super) fn note_local(&mut self, body: Option<&Bytes>) {
        if let Some(body) = body {
            self.local = Some(body.clone());
        }
    }

    /// Their description that is now in force.
    pub(super) fn note_remote(&mut self, message: &Message) {
        if let Some(body) = body::session_if_any(message) {
            self.remote = Some(xxh3_64(&body));
        }
    }

    /// What an early dialog described before it was confirmed.
    pub(super) fn inherit(&mut self, early: &Self) {
        if early.local.is_some() {
            self.local.clone_from(&early.local);
        }
        self.remote = early.remote.or(self.remote);
    }

    /// What our INVITE or UPDATE says.
    pub(super) fn ask(&self) -> Words {
        self.timer.ask()
    }

    /// The dialog is over, or its INVITEs are given up.
    fn stop(&mut self) {
        self.timer.stop();
        self.update = None;
        self.waiting = None;
        self.local = None;
    }

    /// The description to answer theirs with, if theirs is the one in force: nothing is changed,
    /// and the call need not know.
    fn unchanged(&self, offer: Option<&Bytes>) -> Option<Bytes> {
        let (offer, local) = (offer?, self.local.as_ref()?);
        (self.remote == Some(xxh3_64(offer)) && fits(offer, local)).then(|| local.clone())
    }
}

/// Whether a description's direction may answer that of an offer (RFC 3264 §6.1). Ours may have
/// been the offer that theirs answered with less.
fn fits(offer: &[u8], answer: &[u8]) -> bool {
    let answer = direction(answer);
    match direction(offer) {
        b"a=sendonly" => matches!(answer, b"a=recvonly" | b"a=inactive"),
        b"a=recvonly" => matches!(answer, b"a=sendonly" | b"a=inactive"),
        b"a=inactive" => answer == b"a=inactive",
        _ => true,
    }
}

/// The line of a description that says its direction.
fn direction(description: &[u8]) -> &[u8] {
    let lines = description.split(|byte| *byte == b'\n');
    lines
        .map(<[u8]>::trim_ascii_end)
        .find(|line| matches!(*line, b"a=sendonly" | b"a=recvonly" | b"a=inactive"))
        .unwrap_or(b"a=sendrecv")
}

impl Session {
    /// Sets the timer anew, after anything that may have moved it.
    pub(super) fn rearm(&mut self, wire: &mut Wire<'_>) {
        if self.phase != Phase::Confirmed {
            self.refresh.stop();
        }
        let due = self.refresh.timer.poll_timeout();
        if due != self.refresh.armed {
            let leg = (wire.key, self.side);
            wire.core.sessions.set(leg, self.refresh.armed, due);
            self.refresh.armed = due;
        }
    }

    /// Refreshes, or gives the session up.
    pub(super) fn on_session_timer(&mut self, wire: &mut Wire<'_>) {
        self.refresh.armed = None;
        if self.accept.is_some() && self.phase == Phase::Confirmed {
            // Whether our 2xx is acknowledged decides about the charge, and has an end of its own.
            let at = wire.now.checked_add(BUSY);
            wire.core.sessions.set((wire.key, self.side), None, at);
            self.refresh.armed = at;
            return;
        }
        match self.refresh.timer.due(wire.now) {
            Some(Due::Refresh) => self.send_refresh(wire),
            Some(Due::Expired) => {
                wire.core.count("sip_session_timers", "expired");
                self.lose(EXPIRED, true, wire);
            }
            None => {}
        }
        self.rearm(wire);
    }

    fn send_refresh(&mut self, wire: &mut Wire<'_>) {
        let busy = self.incoming.is_some()
            || self.outgoing.is_some()
            || self.owed.is_some()
            || self.accept.is_some()
            || self.refresh.update.is_some();
        if busy || self.phase != Phase::Confirmed {
            return self.refresh.timer.put_off(wire.now);
        }
        if self.peer_updates {
            return self.send_update(wire);
        }
        let Some(body) = self.refresh.local.clone() else {
            return; // nothing was ever described: the session ends, if the peer minds
        };
        self.outgoing = Some(Box::new(Outgoing::refreshing(body)));
        self.start_waiting(wire);
    }

    /// UPDATE without a description (§7.4, RFC 3311).
    fn send_update(&mut self, wire: &mut Wire<'_>) {
        let branch = wire.branch();
        let cseq = self.dialog.next_cseq();
        let dialog = &self.dialog;
        let mut writer = compose::in_dialog(wire.core, dialog, Method::Update, cseq, &branch);
        let secure = super::transports::is_secure(&dialog.target);
        compose::contact(wire.core, &mut writer, dialog.path, secure);
        writer.header(Header::Allow, compose::ALLOW);
        writer.header(Header::Supported, compose::SUPPORTED);
        self.refresh.ask().write(&mut writer);
        self.refresh.update = wire.request(
            (self.side, Owner::Refresh(wire.key, self.side)),
            (Method::Update, branch),
            (writer.finish(None), dialog.path),
            &dialog.echoed(),
        );
    }

    /// The response to our UPDATE.
    pub(super) fn on_refresh_response(
        &mut self,
        id: TransactionId,
        message: &Message,
        wire: &mut Wire<'_>,
    ) {
        let status = message.status().unwrap_or_default();
        if status < 200 || self.refresh.update.take_if(|ours| *ours == id).is_none() {
            return;
        }
        match status {
            200..300 => {
                self.refresh_target(message, wire);
                self.learn_allow(message);
                let terms = Terms::of_response(message);
                self.refresh.timer.granted(terms, wire.now);
                wire.core.count("sip_session_timers", "refreshed");
            }
            408 | 481 => self.lose_by(message, wire),
            422 if self.raise(message) => self.send_refresh(wire),
            405 | 501 => {
                // Its Allow said otherwise: by re-INVITE, then.
                self.peer_updates = false;
                self.send_refresh(wire);
            }
            _ => self.refresh.timer.refused(wire.now),
        }
        self.rearm(wire);
    }

    /// The dialog is gone, says a response.
    fn lose_by(&mut self, message: &Message, wire: &mut Wire<'_>) {
        let mut cause = reason::read(message);
        cause.sip = message.status().unwrap_or_default();
        self.lose(cause, cause.sip == 408, wire);
    }

    /// Takes a 422 (§7.3); gives back whether to ask again.
    pub(super) fn raise(&mut self, message: &Message) -> bool {
        self.refresh.timer.raise(Terms::of_response(message).least)
    }

    /// A final response to our re-INVITE that only refreshes; it has no business with the call.
    pub(super) fn on_refreshed(&mut self, message: &Message, wire: &mut Wire<'_>) {
        let status = message.status().unwrap_or_default();
        match status {
            200..300 => wire.core.count("sip_session_timers", "refreshed"),
            408 | 481 => self.lose_by(message, wire),
            _ => self.refresh.timer.refused(wire.now),
        }
        self.rearm(wire);
        if let Some(body) = self.refresh.waiting.take() {
            self.reoffer(body, false, wire);
        }
    }

    /// A 2xx to any re-INVITE of ours, which carried `offer`.
    pub(super) fn note_reanswer(
        &mut self,
        message: &Message,
        offer: Option<&Bytes>,
        wire: &mut Wire<'_>,
    ) {
        self.refresh.note_local(offer);
        self.refresh.note_success(message, wire.now);
        self.rearm(wire);
    }

    /// Makes room for the call's re-INVITE: one of ours that only refreshes and waits takes its
    /// body, one that is under way is waited for. Gives back whether that is all.
    pub(super) fn joins_refresh(&mut self, body: Option<&Bytes>) -> bool {
        if self.incoming.is_some() {
            return false;
        }
        let Some(ours) = self.outgoing.as_mut().filter(|ours| ours.refresh) else {
            return false;
        };
        if ours.id.is_none() {
            ours.refresh = false;
            ours.body = body.cloned();
        } else {
            self.refresh.waiting = Some(body.cloned());
        }
        true
    }

    /// What the 2xx to their INVITE or UPDATE says of the timer, which begins anew.
    pub(super) fn grant(&mut self, message: &Message, wire: &mut Wire<'_>) -> Words {
        self.learn_allow(message);
        let terms = Terms::of_response(message);
        let words = self.refresh.timer.grant(terms, wire.now);
        self.rearm(wire);
        words
    }

    /// Their re-INVITE, if it changes nothing: answered here. Gives it back otherwise.
    pub(super) fn on_refresh_invite(
        &mut self,
        (id, message, path): (TransactionId, Message, Path),
        offer: Option<&Bytes>,
        wire: &mut Wire<'_>,
    ) -> Option<(TransactionId, Message, Path)> {
        let Some(local) = self.refresh.unchanged(offer) else {
            return Some((id, message, path));
        };
        let words = self.grant(&message, wire);
        let mut writer = compose::dialog_head(wire.core, (&message, path), 200, None);
        words.write(&mut writer);
        let bytes = compose::finish(writer, Some(&local));
        wire.core.count("sip_session_timers", "refreshed");
        if let Some(bytes) = wire.respond(self.side, id, 200, bytes) {
            let sent_to = response_path(&message, path);
            let accept = Accept::new(wire, (bytes, sent_to), message.cseq(), (false, false));
            self.await_ack(accept, wire);
        }
        None
    }

    /// Our UPDATE was challenged and sent again.
    pub(super) fn refresh_resubmitted(&mut self, old: TransactionId, new: TransactionId) {
        if self.refresh.update == Some(old) {
            self.refresh.update = Some(new);
        }
    }

    /// Their UPDATE without a description: a refresh (§8.2, §9).
    pub(super) fn on_refresh_update(
        &mut self,
        (id, message, path): (TransactionId, &Message, Path),
        wire: &mut Wire<'_>,
    ) {
        let words = self.grant(message, wire);
        let mut writer = compose::dialog_head(wire.core, (message, path), 200, None);
        words.write(&mut writer);
        wire.core.count("sip_session_timers", "refreshed");
        wire.respond(self.side, id, 200, writer.finish(None));
    }
}
