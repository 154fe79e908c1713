//! A confirmed dialog of either leg: what the peer asks for in it, what we ask for, and how the
//! two meet.
//!
//! ```text
//!                 our BYE                    its final response
//!   Confirmed ----------------> Closing ------------------------> Closed
//!       |                          |                                ^
//!       |  their BYE; dialog lost  |   (their BYE is answered 200)  |
//!       +--------------------------)--------------------------------+
//! ```
//!
//! INVITEs inside it are in [`super::reinvite`], UPDATEs in [`super::update`]. An early dialog is one
//! too, in phase `Early`, as long as UPDATE and PRACK need it; its end is its INVITE's.

use super::compose::{self, Refusal};
use super::core::{Owner, Timer, Wire};
use super::refresh::Refresh;
use super::reinvite::{Incoming, Outgoing};
use super::{LegEvent, body, reason};
use crate::call::event::{Cause, Fork};
use crate::domain::Side;
use crate::sip::dialog::Dialog;
use crate::sip::dialog::reliable::RAck;
use crate::sip::message::{Header, Message, Method, Path};
use crate::sip::transaction::TransactionId;
use bytes::Bytes;
use smallvec::SmallVec;
use std::time::{Duration, Instant};

/// A confirmed dialog.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) side: Side,
    pub(super) dialog: Dialog,
    pub(super) phase: Phase,
    /// Our 2xx that waits for its ACK.
    pub(super) accept: Option<Box<Accept>>,
    /// Their re-INVITE that is owed a final response.
    pub(super) incoming: Option<Box<Incoming>>,
    /// Our re-INVITE.
    pub(super) outgoing: Option<Box<Outgoing>>,
    /// Their 2xx that waits for [`Session::confirm`]: its CSeq.
    pub(super) owed: Option<u32>,
    /// Our ACKs to 2xx that may come again, the latest last.
    acks: SmallVec<[Sent; 1]>,
    /// A BYE that waits for the ACK to our 2xx (§15).
    bye: Option<Cause>,
    /// Of an early dialog: which.
    pub(super) fork: Fork,
    /// The first offer of the dialog has its answer, for good (RFC 3262 §5): others may follow.
    pub(super) settled: bool,
    /// The peer's Allow lists UPDATE.
    pub(super) peer_updates: bool,
    /// Our last provisional response, had no PRACK when our 2xx went: one may come yet (RFC 3262 §3).
    pub(super) unacknowledged: Option<RAck>,
    /// Its session timer.
    pub(super) refresh: Box<Refresh>,
}

/// Most ACKs kept in one leg: re-INVITEs of ours that were answered within half a minute.
const MOST_ACKS: usize = 8;

/// An ACK to a 2xx, for repeats of that 2xx (§13.2.2.4).
#[derive(Debug)]
struct Sent {
    /// CSeq of the INVITE.
    cseq: u32,
    bytes: Bytes,
    path: Path,
    /// The 2xx comes no more (§13.3.1.4: its sender gives up after 64×T1).
    until: Instant,
}

/// Most INFOs of ours that may be unanswered in one leg.
const MOST_INFOS: u8 = 16;

/// Where it is in the drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Early,
    Confirmed,
    Closing,
    Closed,
}

/// A 2xx of ours to an INVITE, repeated until its ACK (§13.3.1.4).
#[derive(Debug)]
pub(super) struct Accept {
    bytes: Bytes,
    path: Path,
    cseq: u32,
    /// It answers the INVITE that made the call, no re-INVITE.
    initial: bool,
    /// It carries the offer, its ACK the answer.
    delayed: bool,
    interval: Duration,
    next: Instant,
    deadline: Instant,
}

impl Accept {
    /// A 2xx that has just gone out once.
    pub(super) fn new(
        wire: &Wire<'_>,
        (bytes, path): (Bytes, Path),
        cseq: u32,
        (initial, delayed): (bool, bool),
    ) -> Self {
        let interval = wire.core.t1();
        Self {
            bytes,
            path,
            cseq,
            initial,
            delayed,
            interval,
            next: wire.now + interval,
            deadline: wire.now + wire.core.patience(),
        }
    }
}

impl Session {
    /// The caller's leg, whose 2xx has just been sent.
    pub(super) fn accepted(
        dialog: Dialog,
        (accept, refresh): (Accept, Box<Refresh>),
        wire: &mut Wire<'_>,
    ) -> Self {
        let mut session = Self::new(Side::Caller, dialog, refresh);
        session.await_ack(accept, wire);
        session.rearm(wire);
        session
    }

    /// The callee's leg, whose 2xx has just come and waits for [`Session::confirm`].
    pub(super) fn answered(dialog: Dialog, refresh: Box<Refresh>, wire: &mut Wire<'_>) -> Self {
        let cseq = dialog.local_cseq;
        let mut session = Self::new(Side::Callee, dialog, refresh);
        session.owed = Some(cseq);
        session.rearm(wire);
        session
    }

    /// An early dialog is confirmed: its session timer begins, with what was described so far.
    pub(super) fn begin_timer(&mut self, mut refresh: Box<Refresh>, wire: &mut Wire<'_>) {
        refresh.inherit(&self.refresh);
        self.refresh = refresh;
        self.rearm(wire);
    }

    /// Takes a new target, whose requests will come from there.
    pub(super) fn refresh_target(&mut self, message: &Message, wire: &mut Wire<'_>) {
        self.dialog.refresh_target(message);
        wire.add_peer(self.side, self.dialog.path.remote.ip());
    }

    pub(super) fn new(side: Side, dialog: Dialog, refresh: Box<Refresh>) -> Self {
        Self {
            side,
            dialog,
            phase: Phase::Confirmed,
            accept: None,
            incoming: None,
            outgoing: None,
            owed: None,
            acks: SmallVec::new(),
            bye: None,
            fork: Fork(0),
            settled: true,
            peer_updates: false,
            unacknowledged: None,
            refresh,
        }
    }

    /// Whether nothing more will come of it.
    pub(super) fn is_closed(&self) -> bool {
        self.phase == Phase::Closed && self.accept.is_none()
    }

    pub(super) fn await_ack(&mut self, accept: Accept, wire: &mut Wire<'_>) {
        wire.core
            .arm(accept.next, Timer::Accept(wire.key, self.side));
        self.accept = Some(Box::new(accept));
    }

    // ---- what the peer sends ----

    /// A request inside the dialog; its tags and Call-ID have been checked.
    pub(super) fn on_request(
        &mut self,
        (id, message, path): (TransactionId, Message, Path),
        wire: &mut Wire<'_>,
    ) {
        if self.phase == Phase::Closed {
            return self.refuse((id, &message, path), &Refusal::of(481), wire);
        }
        if !self.is_in_order(&message) {
            return self.refuse((id, &message, path), &Refusal::of(500), wire);
        }
        if let Some(refusal) = super::screening::unsupported(&message) {
            return self.refuse((id, &message, path), &refusal, wire);
        }
        if self.phase == Phase::Closing && message.method() != Method::Bye {
            return self.refuse((id, &message, path), &Refusal::of(481), wire);
        }
        match message.method() {
            Method::Invite => self.on_invite((id, message, path), wire),
            Method::Bye => self.on_bye((id, &message, path), wire),
            Method::Info => self.on_info((id, &message, path), wire),
            Method::Update => self.on_update((id, message, path), wire),
            Method::Prack => self.on_late_prack((id, &message, path), wire),
            Method::Options => {
                let mut writer = compose::response(&message, path, 200, None);
                writer.header(Header::Allow, compose::ALLOW);
                writer.header(Header::Accept, compose::ACCEPT);
                writer.header(Header::Supported, compose::SUPPORTED);
                wire.respond(self.side, id, 200, writer.finish(None));
            }
            other => self.refuse(
                (id, &message, path),
                &super::screening::not_ours(other),
                wire,
            ),
        }
    }

    fn on_bye(
        &mut self,
        (id, message, path): (TransactionId, &Message, Path),
        wire: &mut Wire<'_>,
    ) {
        let bytes = compose::response(message, path, 200, None).finish(None);
        wire.respond(self.side, id, 200, bytes);
        if self.phase == Phase::Closing {
            return; // both BYEs crossed; ours still waits for its response
        }
        let cause = reason::read(message);
        // Who hangs up need not have seen our 2xx to its re-INVITE: that is owed until its ACK.
        let owed = self.accept.take_if(|accept| !accept.initial);
        self.close(wire);
        self.accept = owed;
        wire.event(self.side, LegEvent::Ended(cause));
    }

    /// A PRACK that crossed our 2xx.
    fn on_late_prack(
        &mut self,
        (id, message, path): (TransactionId, &Message, Path),
        wire: &mut Wire<'_>,
    ) {
        let wanted = self
            .unacknowledged
            .take_if(|rack| RAck::read(message) == Some(*rack));
        let status = if wanted.is_some() { 200 } else { 481 };
        self.refuse((id, message, path), &Refusal::of(status), wire);
    }

    /// Whether a 2xx of ours carried an offer whose answer is to come with its ACK.
    pub(super) fn awaits_answer(&self) -> bool {
        self.accept.as_ref().is_some_and(|accept| accept.delayed)
    }

    fn on_info(
        &mut self,
        (id, message, path): (TransactionId, &Message, Path),
        wire: &mut Wire<'_>,
    ) {
        let dtmf = body::dtmf(message);
        if dtmf.is_none() && !message.body().is_empty() {
            return self.refuse((id, message, path), &Refusal::of(415), wire);
        }
        if dtmf.is_some() && *wire.infos(self.side.other()) >= MOST_INFOS {
            // The other leg does not keep up: one that is answered 200 here would be lost there.
            wire.core.count("sip_bounds", "info");
            let refusal = Refusal {
                retry_after: 1,
                ..Refusal::of(503)
            };
            return self.refuse((id, message, path), &refusal, wire);
        }
        let bytes = compose::response(message, path, 200, None).finish(None);
        wire.respond(self.side, id, 200, bytes);
        if let Some((kind, body)) = dtmf {
            wire.event(self.side, LegEvent::Dtmf(kind.into(), body));
        }
    }

    /// ACK to a 2xx of ours.
    pub(super) fn on_ack(&mut self, message: &Message, wire: &mut Wire<'_>) {
        if self
            .accept
            .as_ref()
            .is_none_or(|accept| accept.cseq != message.cseq())
        {
            return; // repeated, or of something long over
        }
        let Some(accept) = self.accept.take() else {
            return;
        };
        let bye = self.bye.take();
        let answer = body::session_if_any(message).filter(|_| accept.delayed);
        if answer.is_some() {
            self.refresh.note_remote(message);
        }
        if accept.initial {
            // The call is charged for it, over or not.
            wire.event(self.side, LegEvent::Confirmed(answer));
        } else if accept.delayed && bye.is_none() && self.phase == Phase::Confirmed {
            wire.event(self.side, LegEvent::OfferConfirmed(answer));
        }
        match bye {
            Some(cause) => self.send_bye(cause, wire),
            None => self.start_waiting(wire),
        }
    }

    /// A 2xx that comes again, outside its transaction; or to a re-INVITE that was given up when
    /// the dialog ended, which is owed its ACK all the same (§13.2.2.4).
    pub(super) fn on_repeated_success(&mut self, message: &Message, wire: &mut Wire<'_>) {
        let cseq = message.cseq();
        if let Some(ack) = self.acks.iter().find(|ack| ack.cseq == cseq) {
            wire.repeat(ack.bytes.clone(), ack.path);
        } else if self.phase != Phase::Confirmed {
            self.owed = Some(cseq);
            self.confirm(None, wire);
        }
    }

    /// The response to our INFO: only whether the dialog is still there.
    pub(super) fn on_inside_response(&mut self, message: &Message, wire: &mut Wire<'_>) {
        let status = message.status().unwrap_or_default();
        if matches!(status, 408 | 481) && self.phase == Phase::Confirmed {
            let mut cause = reason::read(message);
            cause.sip = status;
            self.lose(cause, status == 408, wire);
        }
    }

    /// No response to a request of ours in it, or the transport failed under it.
    pub(super) fn on_no_response(&mut self, id: TransactionId, sip: u16, wire: &mut Wire<'_>) {
        let ours = self.outgoing.take_if(|ours| ours.id == Some(id));
        match self.phase {
            Phase::Confirmed => self.lose(Cause { sip, q850: 0 }, true, wire),
            Phase::Early if ours.is_some() => self.say_unanswered(Cause { sip, q850: 0 }, wire),
            _ => {}
        }
    }

    /// Our BYE was answered, or never will be.
    pub(super) fn on_bye_done(&mut self) {
        self.phase = Phase::Closed;
    }

    // ---- what time does ----

    /// Repeats the 2xx, or gives its ACK up.
    pub(super) fn on_accept_timer(&mut self, wire: &mut Wire<'_>) {
        let Some(accept) = self.accept.as_mut() else {
            return;
        };
        if accept.next > wire.now {
            return;
        }
        if wire.now < accept.deadline {
            accept.interval = accept.interval.saturating_mul(2).min(wire.core.t2());
            accept.next = (wire.now + accept.interval).min(accept.deadline);
            wire.core
                .arm(accept.next, Timer::Accept(wire.key, self.side));
            let (bytes, path) = (accept.bytes.clone(), accept.path);
            wire.core.count("sip_repeats", "invite-2xx");
            return wire.repeat(bytes, path);
        }
        let initial = accept.initial;
        self.accept = None;
        let bye = self.bye.take();
        if initial {
            // The call ends it with a BYE (§13.3.1.4), if it has not yet.
            wire.event(self.side, LegEvent::Unconfirmed);
        }
        if let Some(cause) = bye {
            self.send_bye(cause, wire);
        } else if !initial {
            self.lose(Cause { sip: 408, q850: 0 }, true, wire);
        }
    }

    // ---- what the call asks for ----

    /// ACK to the 2xx that was reported.
    pub(super) fn confirm(&mut self, answer: Option<&Bytes>, wire: &mut Wire<'_>) {
        let Some(cseq) = self.owed.take() else {
            return;
        };
        let branch = wire.branch();
        let writer = compose::in_dialog(wire.core, &self.dialog, Method::Ack, cseq, &branch);
        self.refresh.note_local(answer);
        let bytes = compose::finish(writer, answer);
        let path = self.dialog.path;
        let sent = wire.acknowledge(self.side, (bytes, path), &self.dialog.echoed());
        if let Some(bytes) = sent {
            self.keep_ack(cseq, bytes, wire);
        }
    }

    /// Keeps an ACK for as long as its 2xx may come again.
    fn keep_ack(&mut self, cseq: u32, bytes: Bytes, wire: &mut Wire<'_>) {
        self.acks.retain(|ack| ack.until > wire.now);
        if self.acks.len() >= MOST_ACKS {
            wire.core.count("sip_bounds", "acks");
            self.acks.remove(0);
        }
        self.acks.push(Sent {
            cseq,
            bytes,
            path: self.dialog.path,
            until: wire.now + wire.core.patience(),
        });
    }

    /// DTMF by INFO.
    pub(super) fn dtmf(&mut self, kind: &str, signal: &[u8], wire: &mut Wire<'_>) {
        if self.phase != Phase::Confirmed {
            return;
        }
        let Some((kind, signal)) =
            body::dtmf_type(kind).and_then(|kind| Some((kind, body::dtmf_body(kind, signal)?)))
        else {
            return;
        };
        if *wire.infos(self.side) >= MOST_INFOS {
            return wire.core.count("sip_bounds", "info");
        }
        let branch = wire.branch();
        let cseq = self.dialog.next_cseq();
        let writer = compose::in_dialog(wire.core, &self.dialog, Method::Info, cseq, &branch);
        let bytes = writer.finish(Some((kind, &signal)));
        let sent = wire.request(
            (self.side, Owner::Inside(wire.key, self.side)),
            (Method::Info, branch),
            (bytes, self.dialog.path),
            &self.dialog.echoed(),
        );
        if sent.is_some() {
            let infos = wire.infos(self.side);
            *infos = infos.saturating_add(1);
        }
    }

    /// Ends the leg: now, or once the ACK to our 2xx is there or given up (§15).
    pub(super) fn end(&mut self, cause: Cause, wire: &mut Wire<'_>) {
        if self.phase != Phase::Confirmed {
            return;
        }
        if self.accept.is_some() {
            self.bye.get_or_insert(cause);
        } else {
            self.send_bye(cause, wire);
        }
    }

    fn send_bye(&mut self, cause: Cause, wire: &mut Wire<'_>) {
        self.confirm(None, wire); // a 2xx of theirs is acknowledged first
        self.drop_offers(wire);
        let branch = wire.branch();
        let cseq = self.dialog.next_cseq();
        let mut writer = compose::in_dialog(wire.core, &self.dialog, Method::Bye, cseq, &branch);
        writer.header(Header::Reason, &reason::of_request(cause));
        let sent = wire.request(
            (self.side, Owner::Bye(wire.key, self.side)),
            (Method::Bye, branch),
            (writer.finish(None), self.dialog.path),
            &self.dialog.echoed(),
        );
        self.phase = match sent {
            Some(_) => Phase::Closing,
            None => Phase::Closed,
        };
        self.rearm(wire);
    }

    /// Reports that the dialog is gone, with a BYE where the peer may not know.
    pub(super) fn lose(&mut self, cause: Cause, bye: bool, wire: &mut Wire<'_>) {
        if self.phase != Phase::Confirmed {
            return;
        }
        if bye {
            self.accept = None;
            self.send_bye(cause, wire);
        } else {
            self.close(wire);
        }
        wire.event(self.side, LegEvent::Lost(cause));
    }

    fn close(&mut self, wire: &mut Wire<'_>) {
        self.drop_offers(wire);
        self.accept = None;
        self.bye = None;
        self.owed = None;
        self.phase = Phase::Closed;
        self.rearm(wire);
    }

    pub(super) fn refuse(
        &self,
        (id, message, path): (TransactionId, &Message, Path),
        refusal: &Refusal,
        wire: &mut Wire<'_>,
    ) {
        let bytes = refusal.write(message, path, None);
        wire.respond(self.side, id, refusal.status, bytes);
    }
}

/// Where responses to a request go (RFC 3261 §18.2.2, RFC 3581 §4).
pub(super) fn response_path(request: &Message, path: Path) -> Path {
    crate::sip::codec::reply_path(&request.top_via(), path)
}
