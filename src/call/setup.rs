//! From the INVITE to the callee's answer: states `Idle`, `AwaitingHold`, `AwaitingMedia`,
//! `Dialling` and `Ringing`. `AwaitingVerdict` is in `vouching`.

use super::admission::{self, Candidate};
use super::bridge::{Call, Media, Purpose, State, ended_by};
use super::cause::{self, End, Reason};
use super::context::Context;
use super::event::{
    Admission, BooksEvent, Cause, Dial, DialFailure, Fork, Identity, Input, LegEvent, MediaCommand,
    MediaEvent, Output, Refusal, Role, SipCommand, TrunkNews,
};
use super::leg::Leg;
use crate::domain::{E164, EndedBy, LeaseKind, Now, Side, TrunkId};
use bytes::Bytes;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A trunk that says nothing for so long is given up for the next (sip-bridging 1).
pub const SILENT_TRUNK: Duration = Duration::from_secs(3);
/// At most so many INVITEs are sent for one call.
pub const MAX_ATTEMPTS: usize = 8;
/// Early dialogs whose SDP is kept for a 2xx without its own; further ones lose it.
const MAX_FORKS: usize = 8;

/// What a call needs until it is answered.
#[derive(Debug)]
pub(super) struct Setup {
    /// The caller's offer; `None` if delayed.
    pub offer: Option<Bytes>,
    pub identity: Identity,
    pub max_forwards: u8,
    /// Set by admission.
    pub candidate: Option<Candidate>,
    /// Set by the books.
    pub admission: Option<Box<Admission>>,
    /// Trunks tried, the one under way included.
    pub tried: SmallVec<[TrunkId; 2]>,
    /// INVITEs sent, to whatever trunk and hop.
    pub attempts: usize,
    /// The attempt under way has been heard of.
    pub heard: bool,
    /// The attempt under way was reported silent already.
    pub told_dead: bool,
    /// A provisional with media came: no failover any more.
    pub media_seen: bool,
    /// SDP of provisional responses by fork, as it came.
    pub early: SmallVec<[(Fork, Bytes); 1]>,
    /// A trunk's network had no port left.
    pub no_port: bool,
    /// Forks whose media is not to be heard yet: what they described is in `early`.
    pub muted: SmallVec<[Fork; 1]>,
    /// Forks whose reliable description waits for the caller's PRACK.
    pub pending: SmallVec<[Fork; 1]>,
    /// The record is durable: the 200 waits for that PRACK alone.
    pub durable: bool,
    /// The fork whose first description both sides have for good, and perhaps others after it: its
    /// 2xx brings none.
    pub agreed: Option<Fork>,
    /// Offers of forks (the INVITE had none) that wait for the exchange under way, each with the
    /// status that it came by.
    pub offers: VecDeque<(Fork, u16, Bytes)>,
    /// The fork whose media is passed.
    pub selected: Option<Fork>,
    /// Failure of the attempt before, which counts if there is no next trunk.
    pub last_failure: Option<DialFailure>,
    /// The first dial.
    pub dialled_at: Option<Instant>,
    /// When the trunk under way is given up unless it is heard of.
    pub silent_at: Option<Instant>,
    /// When nobody has answered.
    pub ring_until: Option<Instant>,
    /// Described answer (delayed offer: the callee's offer) that waits for durability.
    pub answer: Option<Bytes>,
    /// Without a valid passport the call is refused.
    pub must_be_vouched: bool,
    /// When the verdict about the passport is waited for no longer.
    pub verdict_until: Option<Instant>,
}

impl Setup {
    pub(super) fn delayed(&self) -> bool {
        self.offer.is_none()
    }

    pub(super) fn early_body(&self, fork: Fork) -> Option<&Bytes> {
        self.early
            .iter()
            .find(|(known, _)| *known == fork)
            .map(|(_, body)| body)
    }

    /// Keeps the latest SDP of a fork.
    fn keep_early(&mut self, fork: Fork, body: Bytes) {
        if let Some(kept) = self.early.iter_mut().find(|(known, _)| *known == fork) {
            kept.1 = body;
        } else if self.early.len() < MAX_FORKS {
            self.early.push((fork, body));
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match (self.silent_at, self.ring_until) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

impl Call {
    /// Idle: the INVITE.
    pub(super) fn idle(&mut self, input: Input, now: Now, context: &mut Context<'_>) {
        let Input::Invite(invite) = input else {
            return;
        };
        let invite = *invite;
        self.record.received_at = now.wall;
        let dialled = admission::describe(&invite, &mut self.record, context);
        if let Some(cause) = invite.refused {
            // Answered already: nothing is owed but the record.
            let mut end = End::gateway(Reason::SipRefused);
            end.cause = cause;
            self.end(end, now, context);
            return;
        }
        self.caller_leg = Leg::Proceeding;
        if !context.trunks.admit(invite.trunk, now.mono) {
            self.refuse(Refusal::TrunkBusy, now, context);
            return;
        }
        self.trunk_in = Some(invite.trunk);
        match admission::check(&invite, dialled, &mut self.record, context) {
            Ok(candidate) => {
                self.setup = Some(Box::new(Setup {
                    offer: invite.offer,
                    identity: invite.identity,
                    max_forwards: invite.max_forwards,
                    candidate: Some(candidate),
                    admission: None,
                    tried: SmallVec::new(),
                    attempts: 0,
                    heard: false,
                    told_dead: false,
                    media_seen: false,
                    early: SmallVec::new(),
                    no_port: false,
                    muted: SmallVec::new(),
                    pending: SmallVec::new(),
                    durable: false,
                    agreed: None,
                    offers: VecDeque::new(),
                    selected: None,
                    last_failure: None,
                    dialled_at: None,
                    silent_at: None,
                    ring_until: None,
                    answer: None,
                    must_be_vouched: false,
                    verdict_until: None,
                }));
                self.vouch(invite.presented, now, context);
            }
            Err(refusal) => self.refuse_aloud(refusal, invite.offer, now, context),
        }
    }

    /// AwaitingHold: the books' verdict.
    pub(super) fn awaiting_hold(&mut self, input: Input, now: Now, context: &mut Context<'_>) {
        match input {
            Input::Books(BooksEvent::Admitted(admission)) => {
                self.note_admission(&admission);
                self.protect(&admission, context);
                let Some(setup) = &mut self.setup else { return };
                setup.admission = Some(admission);
                let offer = setup.offer.clone();
                let Some(trunk) = self.trunk_in else { return };
                self.state = State::AwaitingMedia;
                self.media = Media::Open;
                self.media(MediaCommand::Open { trunk, offer });
            }
            Input::Books(BooksEvent::Refused(refusal)) => {
                self.closing.awaits_books = false;
                let offer = self.setup.as_mut().and_then(|setup| setup.offer.take());
                self.refuse_aloud(refusal, offer, now, context);
            }
            other => self.unanswered(other, now, context),
        }
    }

    /// AwaitingMedia: ports, then the offer as the trunk chosen is to get it.
    pub(super) fn awaiting_media(&mut self, input: Input, now: Now, context: &mut Context<'_>) {
        match input {
            Input::Media(MediaEvent::Opened) => {
                if self.setup.as_ref().is_some_and(|s| s.tried.is_empty()) {
                    self.try_next(now, context);
                }
            }
            Input::Media(MediaEvent::Refused(refusal)) => {
                self.media = Media::None;
                self.refuse(refusal, now, context);
            }
            other => self.unanswered(other, now, context),
        }
    }

    /// Dialling and Ringing: the callee's leg makes its way.
    pub(super) fn dialling(&mut self, input: Input, now: Now, context: &mut Context<'_>) {
        match input {
            Input::Leg(Side::Callee, LegEvent::Trying) => self.heard(),
            Input::Leg(
                Side::Callee,
                LegEvent::Progress {
                    fork,
                    status,
                    body,
                    reliable,
                    muted,
                },
            ) => {
                self.heard();
                let unmuted = self.note_muted(fork, muted);
                self.progress((fork, status, reliable), (body, unmuted), now, context);
            }
            Input::Leg(Side::Callee, LegEvent::Answered { fork, body }) => {
                self.heard();
                self.callee_answered(fork, body, now, context);
            }
            Input::Leg(Side::Callee, LegEvent::Failed(failure)) => {
                self.dial_failed(failure, now, context);
            }
            Input::Leg(Side::Callee, LegEvent::Lost(_)) => {
                self.dial_failed(DialFailure::Transport, now, context);
            }
            Input::Leg(side, event) => {
                if let Some(event) = self.early_event(side, event, now, context) {
                    self.unanswered(Input::Leg(side, event), now, context);
                }
            }
            other => self.unanswered(other, now, context),
        }
    }

    /// What ends a call that is not answered, in any state.
    pub(super) fn unanswered(&mut self, input: Input, now: Now, context: &mut Context<'_>) {
        match input {
            Input::Leg(Side::Caller, LegEvent::Cancelled(cause) | LegEvent::Ended(cause)) => {
                // A BYE in the early dialog counts as a CANCEL: the INVITE gets 487 all the same
                // (RFC 3261 §15.1.2).
                let end = End::of(EndedBy::Caller, Reason::Cancelled).with_q850(cause.q850);
                self.end(end, now, context);
            }
            Input::Leg(side, LegEvent::Lost(cause)) => {
                *self.leg_mut(side) = Leg::Terminated;
                let end = End::of(ended_by(side), Reason::Lost).with_q850(cause.q850);
                self.end(end, now, context);
            }
            Input::Leg(side, LegEvent::Offered(_)) => {
                // Nothing is agreed yet that could be changed.
                self.sip(SipCommand::RefuseOffer(side, GLARE));
            }
            Input::Leg(side, LegEvent::EarlyOffered(fork, _)) => {
                self.sip(SipCommand::EarlyRefuse(side, fork, GLARE));
            }
            Input::Books(BooksEvent::LeaseEnded { .. }) => {
                self.end(End::gateway(Reason::LeaseEnded), now, context);
            }
            _ => {}
        }
    }

    /// A row of sip-bridging 2 failed.
    pub(super) fn refuse(&mut self, refusal: Refusal, now: Now, context: &mut Context<'_>) {
        self.end(Self::refusal(refusal, context), now, context);
    }

    /// How a refused call ends.
    pub(super) fn refusal(refusal: Refusal, context: &Context<'_>) -> End {
        let mut end = End::gateway(Reason::from(refusal));
        match refusal {
            Refusal::NoLease => end.cause = configured(end.cause, context.settings.no_lease),
            Refusal::NoCredit => end.cause = configured(end.cause, context.settings.no_credit),
            _ => {}
        }
        end
    }

    /// The record's part of an admission.
    pub(super) fn note_admission(&mut self, admission: &Admission) {
        self.closing.awaits_books = false;
        let record = &mut self.record;
        record.reference_id = Some(admission.reference);
        record.customer_id = Some(admission.customer);
        record.lease_kind = Some(admission.kind);
        record.callee = Some(admission.callee);
        record.block_seconds = admission.tariff.block_seconds;
        record.rate = admission.tariff.rate;
    }

    fn protect(&mut self, admission: &Admission, context: &Context<'_>) {
        let caller = self.record.caller;
        let subscriber = admission::protected(
            admission.callee,
            &admission.callee_spelling,
            caller,
            context,
        );
        self.sip(SipCommand::Protect(Side::Caller, subscriber));
        if let (LeaseKind::Group, Some(caller)) = (admission.kind, caller) {
            let set = admission::protected(
                caller,
                &admission.caller_spelling,
                Some(admission.callee),
                context,
            );
            self.sip(SipCommand::Protect(Side::Callee, set));
        }
    }

    /// Chooses a trunk and has the offer written for it; or ends the call if there is none left.
    fn try_next(&mut self, now: Now, context: &mut Context<'_>) {
        let Some(setup) = &mut self.setup else { return };
        let chosen = if setup.attempts < MAX_ATTEMPTS {
            let closed = closed(&setup.tried, self.record.callee, context);
            context.trunks.choose(&closed, context.random, now.mono)
        } else {
            None
        };
        let Some(trunk) = chosen else {
            match setup.last_failure {
                Some(failure) => self.end(End::of_callee(failure), now, context),
                None if setup.tried.is_empty() => self.refuse(Refusal::NoTrunk, now, context),
                None if setup.no_port => self.refuse(Refusal::NoPort, now, context),
                None => self.refuse(Refusal::NoMedia, now, context),
            }
            return;
        };
        setup.tried.push(trunk);
        self.attempt(trunk, now, context);
    }

    /// One more attempt by this trunk: the offer is written for it, and then it is dialled.
    fn attempt(&mut self, trunk: TrunkId, now: Now, context: &mut Context<'_>) {
        let Some(setup) = &mut self.setup else { return };
        setup.attempts = setup.attempts.saturating_add(1);
        setup.heard = false;
        setup.told_dead = false;
        setup.silent_at = None;
        setup.early.clear();
        setup.muted.clear();
        setup.pending.clear();
        setup.offers.clear();
        setup.agreed = None;
        setup.selected = None;
        let offer = setup.offer.clone();
        self.trunk_out = Some(trunk);
        self.state = State::AwaitingMedia;
        self.media(MediaCommand::Route(trunk));
        match offer {
            Some(body) => {
                self.describe(Purpose::Offer, Side::Caller, Fork(0), Role::Offer, body);
            }
            None => self.dial(trunk, None, now, context),
        }
    }

    /// The offer is written for the trunk chosen.
    pub(super) fn offer_described(
        &mut self,
        body: Option<Bytes>,
        now: Now,
        context: &mut Context<'_>,
    ) {
        let (State::AwaitingMedia, Some(trunk)) = (self.state, self.trunk_out) else {
            return;
        };
        match body {
            Some(body) => self.dial(trunk, Some(body), now, context),
            None => {
                // Nothing that this trunk may carry; another may.
                self.leave_trunk(context);
                self.try_next(now, context);
            }
        }
    }

    fn dial(&mut self, trunk: TrunkId, body: Option<Bytes>, now: Now, context: &mut Context<'_>) {
        let Some(setup) = &mut self.setup else { return };
        let (Some(admission), Some(candidate)) = (&setup.admission, setup.candidate) else {
            return;
        };
        let settings = context.trunks.get(trunk);
        let inbound = self.trunk_in.and_then(|id| context.trunks.get(id));
        let early_offers =
            passes_early(Some(trunk), context) && passes_early(self.trunk_in, context);
        let policy = settings
            .and_then(|t| t.single_caller_id)
            .or(inbound.and_then(|t| t.single_caller_id))
            .unwrap_or(context.settings.single_caller_id);
        let ring_timeout = settings
            .and_then(|t| t.ring_timeout)
            .or(inbound.and_then(|t| t.ring_timeout))
            .unwrap_or(context.settings.ring_timeout);
        let caller_id = admission::caller_id(admission, candidate, &setup.identity, policy);
        let dialled_at = *setup.dialled_at.get_or_insert(now.mono);
        setup.silent_at = now.mono.checked_add(SILENT_TRUNK);
        setup.ring_until = dialled_at.checked_add(ring_timeout);
        self.record.shown_number = admission::shown(&caller_id);
        self.record.trunk_out = settings.map_or_else(|| Box::from(""), |t| Box::from(&*t.name));
        self.record.callee_leg_call_id = Box::from("");
        let own = admission.shown.unwrap_or(candidate.dialled);
        let vouching = self.record.vouching.as_ref();
        let attestation = super::vouching::attestation(vouching, &caller_id, own, &setup.identity);
        let dial = Dial {
            call_id: self.record.call_id,
            attestation,
            trunk,
            number: admission.callee,
            caller_id,
            max_forwards: setup.max_forwards,
            early_offers,
            body,
        };
        self.callee_leg = Leg::Calling;
        self.state = State::Dialling;
        self.sip(SipCommand::Dial(Box::new(dial)));
    }

    /// The trunk under way is heard of for the first time in this attempt.
    fn heard(&mut self) {
        let Some(setup) = &mut self.setup else { return };
        if std::mem::replace(&mut setup.heard, true) {
            return;
        }
        setup.silent_at = None;
        self.trunk_news(TrunkNews::Alive);
    }

    fn trunk_news(&mut self, news: TrunkNews) {
        if let Some(trunk) = self.trunk_out {
            self.push(Output::Trunk(trunk, news));
        }
    }

    fn leave_trunk(&mut self, context: &mut Context<'_>) {
        if let Some(trunk) = self.trunk_out.take() {
            context.trunks.release(trunk);
        }
    }

    /// A provisional response: passed on, with its SDP where early media may pass.
    fn progress(
        &mut self,
        (fork, status, reliable): (Fork, u16, bool),
        (body, unmuted): (Option<Bytes>, bool),
        now: Now,
        context: &mut Context<'_>,
    ) {
        let told = matches!(status, 180..=183);
        if !(told || reliable && body.is_some()) {
            return;
        }
        let Some(setup) = &mut self.setup else { return };
        let muted = setup.muted.contains(&fork);
        let passed = passes_early(self.trunk_out, context) && passes_early(self.trunk_in, context);
        // SDP in an unreliable provisional response can be an answer, never an offer (RFC 6337
        // §2.2): with a delayed offer it says nothing.
        let body = body.filter(|_| reliable || !setup.delayed());
        if let (true, Some(body)) = (setup.delayed(), &body) {
            setup.media_seen = true;
            let offer = (fork, status, body.clone());
            return self.early_offer(offer, now, context);
        }
        // Heard at last: what was described before counts.
        let body = body.or_else(|| {
            let heard = unmuted && setup.selected != Some(fork);
            setup.early_body(fork).filter(|_| heard).cloned()
        });
        let Some(body) = body else {
            self.pass_progress(fork, status, None, now);
            return;
        };
        setup.media_seen = true;
        setup.keep_early(fork, body.clone());
        if !told {
            return; // the answer, in a response that says nothing to a caller
        }
        // While another exchange is under way it cannot be told whose answer this would be.
        let free = self.exchange.is_none();
        if passed && free && !muted && setup.early_body(fork).is_some() {
            self.describe(
                Purpose::Progress(fork, status),
                Side::Callee,
                fork,
                if reliable {
                    Role::Answer
                } else {
                    Role::Provisional
                },
                body,
            );
        } else {
            self.pass_progress(fork, bare_progress(status), None, now);
        }
    }

    /// Notes what a trusted trunk says of a fork's media (RFC 5009): whether it may be heard now and
    /// might not before.
    fn note_muted(&mut self, fork: Fork, muted: bool) -> bool {
        let Some(setup) = &mut self.setup else {
            return false;
        };
        let known = setup.muted.contains(&fork);
        if muted && !known && setup.muted.len() < MAX_FORKS {
            setup.muted.push(fork);
        } else if !muted && known {
            setup.muted.retain(|other| *other != fork);
            return true;
        }
        false
    }

    pub(super) fn progress_described(
        &mut self,
        fork: Fork,
        status: u16,
        body: Option<Bytes>,
        now: Now,
    ) {
        if !matches!(self.state, State::Dialling | State::Ringing) {
            return;
        }
        let Some(setup) = &mut self.setup else { return };
        let Some(body) = body else {
            setup.early.retain(|(known, _)| *known != fork);
            self.pass_progress(fork, bare_progress(status), None, now);
            return;
        };
        if setup.selected != Some(fork) {
            setup.selected = Some(fork);
            self.media(MediaCommand::Select(fork));
        }
        self.pass_progress(fork, status, Some(body), now);
    }

    pub(super) fn pass_progress(&mut self, fork: Fork, status: u16, body: Option<Bytes>, now: Now) {
        self.state = State::Ringing;
        self.record.ringing_at.get_or_insert(now.wall);
        self.sip(SipCommand::Progress { fork, status, body });
    }

    /// The trunk under way, if a hop of it that has not failed is left to be tried (RFC 3263 §4.3).
    fn trunk_with_another_hop(&self, context: &Context<'_>) -> Option<TrunkId> {
        let setup = self.setup.as_ref()?;
        let trunk = self
            .trunk_out
            .filter(|id| context.trunks.has_another_hop(*id))?;
        (setup.attempts < MAX_ATTEMPTS && !setup.media_seen).then_some(trunk)
    }

    /// The attempt failed: the next hop of the trunk, the next trunk, or the end.
    fn dial_failed(&mut self, failure: DialFailure, now: Now, context: &mut Context<'_>) {
        self.callee_leg = Leg::Idle;
        if cause::fails_hop(&failure)
            && let Some(trunk) = self.trunk_with_another_hop(context)
        {
            // It is the hop that failed: of the trunk nothing is known yet.
            if let Some(setup) = &mut self.setup {
                setup.last_failure = Some(failure);
            }
            return self.attempt(trunk, now, context);
        }
        let news = match failure {
            DialFailure::Response { cause, retry_after } if cause.sip == 503 && retry_after > 0 => {
                TrunkNews::Rest(retry_after)
            }
            DialFailure::Response { .. } => TrunkNews::Alive,
            DialFailure::Timeout | DialFailure::Transport => TrunkNews::Dead,
        };
        let told = self.setup.as_ref().is_some_and(|setup| match news {
            TrunkNews::Alive => setup.heard,
            TrunkNews::Dead => setup.told_dead,
            TrunkNews::Rest(_) => false,
        });
        if !told {
            self.trunk_news(news);
        }
        let Some(setup) = &mut self.setup else { return };
        setup.last_failure = Some(failure);
        if setup.media_seen || !cause::fails_over(&failure) {
            self.end(End::of_callee(failure), now, context);
            return;
        }
        self.leave_trunk(context);
        self.try_next(now, context);
    }

    pub(super) fn dial_timeout(&mut self, now: Now, context: &mut Context<'_>) {
        let Some(setup) = &mut self.setup else { return };
        if setup.ring_until.is_some_and(|at| at <= now.mono) {
            self.end(End::gateway(Reason::NoAnswer), now, context);
            return;
        }
        if setup.silent_at.is_some_and(|at| at <= now.mono) {
            setup.silent_at = None;
            if self.state == State::Dialling {
                self.trunk_silent(now, context);
            }
        }
    }

    /// Nothing was heard of the trunk for 3 s. Where another can be tried, the attempt is given up
    /// for it; else it goes on until it times out: a lost INVITE is still being repeated.
    fn trunk_silent(&mut self, now: Now, context: &mut Context<'_>) {
        if let Some(trunk) = self.trunk_with_another_hop(context) {
            self.leave_attempt();
            return self.attempt(trunk, now, context);
        }
        self.trunk_news(TrunkNews::Dead);
        let Some(setup) = &mut self.setup else { return };
        setup.told_dead = true;
        let closed = closed(&setup.tried, self.record.callee, context);
        let more = setup.attempts < MAX_ATTEMPTS && context.trunks.has_another(&closed, now.mono);
        if !more {
            return;
        }
        self.leave_attempt();
        self.leave_trunk(context);
        self.try_next(now, context);
    }

    /// Gives up the attempt under way for another.
    fn leave_attempt(&mut self) {
        if let Some(setup) = &mut self.setup {
            setup.last_failure = Some(DialFailure::Timeout);
        }
        self.callee_leg = Leg::Idle;
        self.sip(SipCommand::Cancel(Cause {
            sip: 0,
            q850: cause::q850(408),
        }));
    }
}

/// Whether a trunk lets early media pass.
pub(super) fn passes_early(trunk: Option<TrunkId>, context: &Context<'_>) -> bool {
    trunk
        .and_then(|id| context.trunks.get(id))
        .is_none_or(|trunk| trunk.early_media)
}

/// A request is under way that this one crosses (RFC 3261 §14.2).
pub(super) const GLARE: Cause = Cause { sip: 491, q850: 0 };

/// The status that the configuration wants instead of the table's.
fn configured(cause: Cause, status: u16) -> Cause {
    Cause {
        sip: status,
        ..cause
    }
}

/// A 183 that has lost its SDP would leave the caller in silence: 180 makes it ring.
const fn bare_progress(status: u16) -> u16 {
    if status == 183 { 180 } else { status }
}

/// Trunks that a call cannot go out by: those it has tried, and those whose number form has no way
/// to write the callee.
fn closed(
    tried: &[TrunkId],
    callee: Option<E164>,
    context: &Context<'_>,
) -> SmallVec<[TrunkId; 8]> {
    let mut closed = SmallVec::from_slice(tried);
    let Some(callee) = callee else { return closed };
    let places = (0..=u16::MAX).take(context.trunks.places());
    closed.extend(
        places
            .map(TrunkId)
            .filter(|trunk| !context.numbering.can_dial(*trunk, callee)),
    );
    closed
}
