//! One call's SIP: both legs, its guard, and its places in the tables that all calls share.

use super::callee_leg::CalleeLeg;
use super::caller_early::Manner;
use super::caller_leg::CallerLeg;
use super::compose::Refusal;
use super::core::{Core, Owner, Timer, Wire};
use super::credentials::Proofs;
use super::peers::Peers;
use super::session::Session;
use super::sources::Source;
use super::{LegEvent, Output, Settings, SipCommand, learning};
use crate::call::event::{Cause, Dial, DialFailure, Fork};
use crate::domain::{CallKey, Side, TrunkId};
use crate::sip::dialog::Tag;
use crate::sip::guard::{Echo, Guard, Verdict};
use crate::sip::message::{Message, Method, Path};
use crate::sip::transaction::TransactionId;
use bytes::Bytes;
use smallvec::SmallVec;
use std::net::IpAddr;
use std::time::Instant;

/// One call's SIP.
#[derive(Debug)]
pub(super) struct Legs {
    key: CallKey,
    caller: CallerLeg,
    callee: CalleeLeg,
    guard: Guard,
    /// Our tags, for the table of dialogs.
    tags: SmallVec<[Tag; 2]>,
    /// Who its ends are.
    peers: Peers,
    /// Our INFOs that are unanswered, by side.
    infos: [u8; 2],
    /// Credentials of our INVITEs.
    proofs: Proofs,
    /// Hash of the INVITE's Call-ID.
    pub(super) hash: u64,
    /// What ended it.
    last: Cause,
}

impl Legs {
    /// Takes the INVITE that makes the call: 100 goes out.
    pub(super) fn new(
        key: CallKey,
        (id, message, path): (TransactionId, Message, Path),
        hash: u64,
        core: &mut Core,
        now: Instant,
    ) -> Self {
        let tag = core.tag(message.call_id());
        let trunk = match core.sources.find(path.remote.ip()) {
            Source::Inbound(trunk) => Some(trunk),
            Source::Peer | Source::Unknown => None,
        };
        let mut legs = Self {
            key,
            caller: CallerLeg::Done,
            callee: CalleeLeg::default(),
            guard: Guard::new(core.own.addresses()),
            tags: SmallVec::new(),
            peers: Peers::of_caller(trunk),
            infos: [0; 2],
            proofs: Proofs::default(),
            hash,
            last: Cause::default(),
        };
        learning::learn(&mut legs.guard, Side::Caller, &message, path, core);
        legs.register(Some(tag), Side::Caller, core);
        let manner = Manner::of(&message, trunk.and_then(|trunk| core.settings.trunk(trunk)));
        legs.with(core, now, |caller, _, wire| {
            *caller = CallerLeg::new((id, message, path), tag, manner, wire);
        });
        legs
    }

    /// Refuses the INVITE as SIP itself has it.
    pub(super) fn refuse(&mut self, refusal: &Refusal, core: &mut Core, now: Instant) {
        self.last = refusal.cause();
        self.with(core, now, |caller, _, wire| caller.refuse(refusal, wire));
    }

    /// Does something with the legs; what the guard withheld on the way ends the leg it was for.
    pub(super) fn with<R>(
        &mut self,
        core: &mut Core,
        now: Instant,
        act: impl FnOnce(&mut CallerLeg, &mut CalleeLeg, &mut Wire<'_>) -> R,
    ) -> R {
        let mut wire = Wire {
            core,
            key: self.key,
            guard: &mut self.guard,
            withheld: [false; 2],
            peers: &mut self.peers,
            infos: &mut self.infos,
            proofs: &mut self.proofs,
            now,
            last: &mut self.last,
        };
        let result = act(&mut self.caller, &mut self.callee, &mut wire);
        let [caller, callee] = wire.withheld;
        if caller {
            self.caller.give_up(&mut wire);
        }
        if callee {
            self.callee.give_up(&mut wire);
        }
        result
    }

    fn register(&mut self, tag: Option<Tag>, side: Side, core: &mut Core) {
        let Some(tag) = tag else { return };
        core.dialogs.insert(tag, (self.key, side));
        if !self.tags.contains(&tag) {
            self.tags.push(tag);
        }
    }

    /// Whether both legs are over.
    pub(super) fn is_done(&self) -> bool {
        self.caller.is_done() && self.callee.is_done()
    }

    /// Takes it out of the tables that all calls share, and says that it is gone.
    pub(super) fn unregister(&self, core: &mut Core, now: Instant) {
        for tag in &self.tags {
            core.dialogs.remove(tag);
        }
        for address in self.peers.addresses() {
            core.part(address, now);
        }
        core.emit(Output::Gone(self.key, self.last));
    }

    /// The trunk of a side, if one is known.
    pub(super) fn trunk(&self, side: Side) -> Option<TrunkId> {
        self.peers.trunk(side)
    }

    /// Whether an end of the call is there: only from there are messages of its dialogs taken.
    pub(super) fn is_peer(&self, side: Side, address: IpAddr, settings: &Settings) -> bool {
        self.peers.has(side, address, settings)
    }

    /// Something that the call wants.
    pub(super) fn command(&mut self, command: SipCommand, core: &mut Core, now: Instant) {
        match command {
            SipCommand::Progress { fork, status, body } => {
                let progress = (fork, status);
                let tag = self.with(core, now, |caller, _, wire| {
                    caller.progress(progress, body.as_ref(), wire)
                });
                self.register(tag, Side::Caller, core);
            }
            SipCommand::Accept { fork, body } => {
                let tag = self.with(core, now, |caller, _, wire| {
                    caller.accept(fork, body.as_ref(), wire)
                });
                self.register(tag, Side::Caller, core);
            }
            SipCommand::Reject { cause, retry_after } => {
                self.last = cause;
                self.with(core, now, |caller, _, wire| {
                    caller.reject(cause, retry_after, wire);
                });
            }
            SipCommand::Protect(side, numbers) => {
                for number in numbers {
                    self.guard.protect(side, &number);
                }
            }
            SipCommand::Dial(dial) => self.dial(&dial, core, now),
            SipCommand::Cancel(cause) => {
                self.with(core, now, |_, callee, wire| callee.cancel(cause, wire));
            }
            SipCommand::Bye(side, cause) => self.bye(side, cause, core, now),
            SipCommand::EarlyReoffer(side, fork, body) => {
                self.early(side, fork, core, now, |session, wire| {
                    session.reoffer_early(body, wire);
                });
            }
            SipCommand::EarlyAnswer(Side::Callee, fork, body) => {
                self.with(core, now, |_, callee, wire| {
                    callee.answer_early(fork, &body, wire)
                });
            }
            SipCommand::EarlyAnswer(side, fork, body) => {
                self.early(side, fork, core, now, |session, wire| {
                    session.answer_offer(Some(&body), wire);
                });
            }
            SipCommand::EarlyRefuse(side, fork, cause) => {
                self.early(side, fork, core, now, |session, wire| {
                    session.refuse_offer(cause, wire);
                });
            }
            inside => self.inside(inside, core, now),
        }
    }

    /// What the call wants in a dialog.
    fn inside(&mut self, command: SipCommand, core: &mut Core, now: Instant) {
        let side = match &command {
            SipCommand::Confirm(side, _)
            | SipCommand::Reoffer(side, _)
            | SipCommand::AnswerOffer(side, _)
            | SipCommand::RefuseOffer(side, _)
            | SipCommand::Dtmf(side, _, _) => *side,
            _ => return,
        };
        self.with(core, now, |caller, callee, wire| {
            let (session, other) = match side {
                Side::Caller => (caller.session(), callee.session()),
                Side::Callee => (callee.session(), caller.session()),
            };
            let Some(session) = session else { return };
            // As the other side asked, so is this one.
            let update = other.is_some_and(|other| other.is_updated());
            match command {
                SipCommand::Confirm(_, answer) => session.confirm(answer.as_ref(), wire),
                SipCommand::Reoffer(_, body) => session.reoffer(body, update, wire),
                SipCommand::AnswerOffer(_, body) => session.answer_offer(body.as_ref(), wire),
                SipCommand::RefuseOffer(_, cause) => session.refuse_offer(cause, wire),
                SipCommand::Dtmf(_, kind, signal) => session.dtmf(&kind, &signal, wire),
                _ => {}
            }
        });
    }

    /// Something in an early dialog, or in what it has become. Where it is gone, so is what was
    /// asked for; an offer that cannot go is told as such.
    fn early(
        &mut self,
        side: Side,
        fork: Fork,
        core: &mut Core,
        now: Instant,
        act: impl FnOnce(&mut Session, &mut Wire<'_>),
    ) {
        self.with(core, now, |caller, callee, wire| {
            let session = match side {
                Side::Caller => caller.early(fork),
                Side::Callee => callee.early(fork),
            };
            match session {
                Some(session) => act(session, wire),
                None => {
                    let cause = Cause { sip: 504, q850: 0 };
                    wire.event(side, LegEvent::EarlyUnanswered(fork, cause));
                }
            }
        });
    }

    fn dial(&mut self, dial: &Dial, core: &mut Core, now: Instant) {
        // A number that is written otherwise towards the trunk (tech prefix) is protected so too.
        if let Some(spelling) = CalleeLeg::spelling(dial, core) {
            self.guard.protect(Side::Caller, &spelling);
        }
        let hop = self.callee.next_hop(dial, core, now);
        let target = core
            .settings
            .trunk(dial.trunk)
            .and_then(|trunk| trunk.target.as_ref());
        if let Some(target) = target {
            learning::learn_target(&mut self.guard, target, hop, core);
        }
        if self.callee.session().is_none() {
            self.peers.redial(dial.trunk, &mut core.sources);
        }
        let tag = self.with(core, now, |caller, callee, wire| {
            let early_offers = dial.early_offers && caller.takes_offers();
            callee.dial(dial, early_offers, hop, wire)
        });
        self.register(tag, Side::Callee, core);
    }

    fn bye(&mut self, side: Side, cause: Cause, core: &mut Core, now: Instant) {
        self.last = cause;
        self.with(core, now, |caller, callee, wire| match side {
            Side::Caller => caller.end(cause, wire),
            Side::Callee => callee.cancel(cause, wire),
        });
    }

    /// A request with a tag of ours.
    pub(super) fn on_request(
        &mut self,
        side: Side,
        (id, message, path): (TransactionId, Message, Path),
        core: &mut Core,
        now: Instant,
    ) {
        learning::learn(&mut self.guard, side, &message, path, core);
        self.with(core, now, |caller, callee, wire| match side {
            Side::Caller => caller.on_request((id, message, path), wire),
            Side::Callee => {
                let known = callee
                    .session()
                    .filter(|session| session.dialog.matches_request(&message));
                if let Some(session) = known {
                    return session.on_request((id, message, path), wire);
                }
                let early = callee.early_of(&message);
                if let Some(early) = early.filter(|_| message.method() == Method::Update) {
                    return early.on_update((id, message, path), wire);
                }
                // An early dialog of ours takes nothing else but what any refusal says.
                let refusal = match message.method() {
                    Method::Options if callee.is_early(&message) => Refusal::of(200),
                    Method::Bye
                    | Method::Info
                    | Method::Options
                    | Method::Prack
                    | Method::Update => Refusal::of(481),
                    Method::Invite if callee.is_early(&message) => Refusal::of(491),
                    Method::Invite => Refusal::of(481),
                    other => super::screening::not_ours(other),
                };
                let bytes = refusal.write(&message, path, None);
                wire.respond(Side::Callee, id, refusal.status, bytes);
            }
        });
    }

    /// CANCEL of the INVITE that made the call.
    pub(super) fn on_cancel(
        &mut self,
        (id, message, path): (TransactionId, &Message, Path),
        core: &mut Core,
        now: Instant,
    ) {
        self.with(core, now, |caller, _, wire| {
            caller.on_cancel((id, message, path), wire);
        });
    }

    /// An ACK with a tag of ours.
    pub(super) fn on_ack(
        &mut self,
        side: Side,
        message: &Message,
        path: Path,
        core: &mut Core,
        now: Instant,
    ) {
        learning::learn(&mut self.guard, side, message, path, core);
        self.with(core, now, |caller, callee, wire| {
            let session = match side {
                Side::Caller => caller.session(),
                Side::Callee => callee.session(),
            };
            let same = |session: &&mut Session| session.dialog.matches_request(message);
            if let Some(session) = session.filter(same) {
                session.on_ack(message, wire);
            }
        });
    }

    /// A response in a transaction of ours.
    pub(super) fn on_response(
        &mut self,
        (id, owner): (TransactionId, Owner),
        message: &Message,
        core: &mut Core,
        now: Instant,
    ) {
        let side = match owner {
            Owner::Reinvite(_, side)
            | Owner::Bye(_, side)
            | Owner::Inside(_, side)
            | Owner::Refresh(_, side) => side,
            _ => Side::Callee,
        };
        learning::learn_response(
            &mut self.guard,
            side,
            message,
            self.callee.path_of(id),
            core,
        );
        let last = message.status().is_some_and(|status| status >= 200);
        if last && !matches!(owner, Owner::Dial(_) | Owner::Reinvite(..)) {
            core.owners.remove(&id);
        }
        self.with(core, now, |caller, callee, wire| {
            if let Owner::Inside(_, side) = owner
                && last
            {
                let infos = wire.infos(side);
                *infos = infos.saturating_sub(1);
            }
            let failed = message.status().is_some_and(|status| status >= 300);
            let session = match side {
                Side::Caller => caller.session_of(id),
                Side::Callee => callee.session_of(id),
            };
            match (owner, session) {
                (Owner::Dial(_), _) => callee.on_response(id, message, wire),
                (Owner::Loser(_), _) if last => callee.on_loser_done(),
                (Owner::Prack(_), _) if failed => callee.on_prack_failure(id, wire),
                (Owner::Reinvite(..), Some(session)) => {
                    session.on_reinvite_response(id, message, wire);
                }
                (Owner::Bye(..), Some(session)) if last => session.on_bye_done(),
                (Owner::Inside(..), Some(session)) => session.on_inside_response(message, wire),
                (Owner::Refresh(..), Some(session)) => {
                    session.on_refresh_response(id, message, wire);
                }
                _ => {}
            }
        });
    }

    /// A transaction of ours came to nothing: `sip` is 408 for a timeout, 503 for the transport.
    pub(super) fn on_no_response(
        &mut self,
        (id, owner): (TransactionId, Owner),
        sip: u16,
        core: &mut Core,
        now: Instant,
    ) {
        core.owners.remove(&id);
        self.with(core, now, |caller, callee, wire| {
            if let Owner::Inside(_, side) = owner {
                let infos = wire.infos(side);
                *infos = infos.saturating_sub(1);
            }
            let failure = if sip == 408 {
                DialFailure::Timeout
            } else {
                DialFailure::Transport
            };
            match owner {
                Owner::Dial(_) => callee.on_failure(id, failure, wire),
                Owner::Loser(_) => callee.on_loser_done(),
                Owner::Prack(_) => callee.on_prack_failure(id, wire),
                Owner::Reinvite(_, side)
                | Owner::Inside(_, side)
                | Owner::Refresh(_, side)
                | Owner::Bye(_, side) => {
                    let session = match side {
                        Side::Caller => caller.session_of(id),
                        Side::Callee => callee.session_of(id),
                    };
                    match (owner, session) {
                        (Owner::Bye(..), Some(session)) => session.on_bye_done(),
                        (_, Some(session)) => session.on_no_response(id, sip, wire),
                        _ => {}
                    }
                }
                _ => {}
            }
        });
    }

    /// A 2xx outside its transaction.
    pub(super) fn on_late_success(
        &mut self,
        side: Side,
        message: &Message,
        path: Path,
        core: &mut Core,
        now: Instant,
    ) {
        self.with(core, now, |caller, callee, wire| match side {
            Side::Caller => {
                if let Some(session) = caller.session() {
                    session.on_repeated_success(message, wire);
                }
            }
            Side::Callee => callee.on_late_success(message, path, wire),
        });
    }

    /// A timer of this call.
    pub(super) fn on_timer(&mut self, timer: Timer, core: &mut Core, now: Instant) {
        self.with(core, now, |caller, callee, wire| {
            let session = match timer {
                Timer::Accept(_, side) | Timer::Reinvite(_, side) | Timer::Session(_, side) => {
                    match side {
                        Side::Caller => caller.session(),
                        Side::Callee => callee.session(),
                    }
                }
                Timer::Cancel(_) => return callee.on_cancel_timer(wire),
                Timer::Progress(_) => return caller.on_progress_timer(wire),
                Timer::Silence(_) => return callee.on_silence(wire),
                Timer::Provisional(_) => return caller.on_provisional_timer(wire),
                Timer::Probe(_) | Timer::Hops(_) => None,
            };
            match (timer, session) {
                (Timer::Accept(..), Some(session)) => session.on_accept_timer(wire),
                (Timer::Reinvite(..), Some(session)) => session.on_reinvite_timer(wire),
                (Timer::Reinvite(_, Side::Caller), None) => caller.on_early_retry(wire),
                (Timer::Reinvite(_, Side::Callee), None) => callee.on_early_retry(wire),
                (Timer::Session(..), Some(session)) => session.on_session_timer(wire),
                _ => {}
            }
        });
    }

    /// Whether the guard lets an ACK pass that the transaction made by itself; `to` is the To of
    /// the failure that it answers.
    pub(super) fn may_pass(&mut self, ack: &Bytes, side: Side, to: &str) -> bool {
        let session = match side {
            Side::Caller => self.caller.session(),
            Side::Callee => self.callee.session(),
        };
        let mut echoed = session.map_or_else(SmallVec::new, |session| session.dialog.echoed());
        echoed.push(to);
        echoed.extend(self.proofs.own(ack));
        let verdict = self.guard.check(ack, side, Echo::Request(&echoed));
        matches!(verdict, Verdict::Clean)
    }
}

/// What a leg's event says about the end of the call.
pub(super) fn end_of(event: &LegEvent) -> Option<Cause> {
    match event {
        LegEvent::Ended(cause) | LegEvent::Lost(cause) | LegEvent::Cancelled(cause) => Some(*cause),
        LegEvent::Failed(DialFailure::Response { cause, .. }) => Some(*cause),
        _ => None,
    }
}

/// Whether an event brings a description: who sent it may be where the media comes from.
pub(super) fn describes(event: &LegEvent) -> bool {
    match event {
        LegEvent::Progress { body, .. } | LegEvent::Answered { body, .. } => body.is_some(),
        LegEvent::Confirmed(body)
        | LegEvent::Offered(body)
        | LegEvent::OfferConfirmed(body)
        | LegEvent::EarlyReanswered(_, body)
        | LegEvent::Reanswered(body) => body.is_some(),
        LegEvent::EarlyOffered(..) => true,
        LegEvent::Trying
        | LegEvent::Failed(_)
        | LegEvent::Cancelled(_)
        | LegEvent::Unconfirmed
        | LegEvent::Unanswered(_)
        | LegEvent::EarlyUnanswered(..)
        | LegEvent::Pending(_)
        | LegEvent::Settled(_)
        | LegEvent::Ended(_)
        | LegEvent::Lost(_)
        | LegEvent::Dtmf(..) => false,
    }
}
