//! Early dialogs towards the caller, one for each fork of the callee's leg, and the provisional
//! responses in them: reliable ones (RFC 3262 §3) where the caller wants or takes them.
//!
//! | the caller's INVITE | 18x without SDP | 18x with SDP |
//! |---|---|---|
//! | says nothing of 100rel | unreliable | unreliable |
//! | Supported: 100rel | unreliable (reliable where the trunk is `required`) | reliable |
//! | Require: 100rel | reliable | reliable |
//!
//! Without an offer in the INVITE the first reliable response must carry one (§5): what comes before
//! it is unreliable, or not sent where the caller would not take it so.

use super::caller_leg::{CallerLeg, Invited};
use super::compose::{self, Refusal};
use super::core::{Timer, Wire};
use super::early_media;
use super::refresh::Refresh;
use super::reinvite::Incoming;
use super::session::{Accept, Phase, Session};
use super::settings::{Reliability, Trunk};
use super::{LegEvent, body, screening};
use crate::call::event::{Cause, Fork};
use crate::domain::Side;
use crate::sip::dialog::reliable::{self, Due, Provisionals, RAck, Waiting};
use crate::sip::dialog::{Dialog, Tag};
use crate::sip::message::{Header, Message, Path};
use crate::sip::transaction::TransactionId;
use bytes::Bytes;

/// First RSeq: one of so many. Few digits, so that it is nobody's number (sip-bridging 4).
const FIRST_RSEQ: u64 = 9_999;

/// Nobody acknowledges a reliable provisional response (RFC 3262 §3: a 5xx).
const NO_PRACK: Cause = Cause { sip: 504, q850: 0 };

/// One early dialog.
#[derive(Debug)]
pub(super) struct CallerEarly {
    pub(super) fork: Fork,
    pub(super) tag: Tag,
    /// Its state, where PRACK or UPDATE need it.
    pub(super) live: Option<Box<Live>>,
}

/// An early dialog that takes requests.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) session: Session,
    pub(super) provisionals: Provisionals,
    /// The answer to the offer of a provisional response is to come with its PRACK.
    offering: bool,
}

/// How provisional responses go to a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Manner {
    /// What its INVITE says.
    caller: Reliability,
    /// The trunk wants all of them reliable.
    always: bool,
    /// It is told of early media (RFC 5009).
    early_media: bool,
}

impl Manner {
    /// For an INVITE that came by this trunk.
    pub(super) fn of(invite: &Message, trunk: Option<&Trunk>) -> Self {
        let policy = trunk.map_or(Reliability::Off, |trunk| trunk.reliable);
        let caller = if policy == Reliability::Off {
            Reliability::Off
        } else if reliable::is_required(invite) {
            Reliability::Required
        } else if reliable::is_supported(invite) {
            Reliability::Supported
        } else {
            Reliability::Off
        };
        Self {
            caller,
            always: policy == Reliability::Required,
            early_media: trunk.is_some_and(|trunk| trunk.trusted)
                && early_media::is_asked_for(invite),
        }
    }

    /// Whether an offer can go to the caller before the answer.
    pub(super) fn takes_offers(self) -> bool {
        self.caller != Reliability::Off
    }
}

impl Invited {
    /// Sends a provisional response in the early dialog of a tag, as the caller takes it.
    pub(super) fn provide(
        &mut self,
        tag: Tag,
        (status, body): (u16, Option<Bytes>),
        wire: &mut Wire<'_>,
    ) {
        let Some(place) = self.forks.iter().position(|early| early.tag == tag) else {
            return;
        };
        let described = body.is_some();
        let started = self.forks.get(place).is_some_and(|early| {
            early
                .live
                .as_ref()
                .is_some_and(|live| live.offering || live.session.settled)
        });
        let reliably = match self.manner.caller {
            Reliability::Off => false,
            Reliability::Supported => described || self.manner.always,
            Reliability::Required => true,
        };
        // §5: the first reliable response to an INVITE without an offer carries one.
        let offerless = self.is_delayed() && !described && !started;
        if reliably && !(offerless && self.manner.caller == Reliability::Supported) {
            if !offerless {
                self.provide_reliably(place, Waiting { status, body }, wire);
            }
            return;
        }
        if self.is_delayed() && described {
            // An offer cannot go unreliably: its answer could not come (RFC 6337 §2.2).
            let fork = self.forks.get(place).map_or(Fork(0), |early| early.fork);
            let cause = Cause { sip: 488, q850: 88 };
            return wire.event(Side::Caller, LegEvent::EarlyUnanswered(fork, cause));
        }
        let bytes = self.compose((status, body.as_ref()), tag, None, wire);
        if let Some(bytes) = wire.respond(Side::Caller, self.id, status, bytes) {
            self.refresh_later((tag, status, Some(bytes)), wire);
        }
    }

    fn provide_reliably(&mut self, place: usize, response: Waiting, wire: &mut Wire<'_>) {
        self.enliven(place, wire);
        let Some((_, live)) = self.live_at(place) else {
            return;
        };
        if response.body.is_some() && !live.provisionals.owes_description() {
            let fork = live.session.fork;
            wire.event(Side::Caller, LegEvent::Pending(fork));
        }
        self.send_reliably(place, response, wire);
    }

    /// Sends one, or has it wait for the one before.
    fn send_reliably(&mut self, place: usize, response: Waiting, wire: &mut Wire<'_>) {
        let Some((tag, live)) = self.live_at(place) else {
            return;
        };
        let Some(rseq) = live.provisionals.number() else {
            if !live.provisionals.wait(response) {
                wire.core.count("sip_bounds", "provisionals");
            }
            return;
        };
        let Waiting { status, body } = response;
        let described = body.is_some();
        let bytes = self.compose((status, body.as_ref()), tag, Some(rseq), wire);
        let sent = wire.respond(Side::Caller, self.id, status, bytes);
        let delayed = self.is_delayed();
        let (Some(bytes), Some((_, live))) = (sent, self.live_at(place)) else {
            return; // withheld: the leg is given up by whoever watches the wire
        };
        live.offering |= delayed && described && !live.session.settled;
        live.session.refresh.note_local(body.as_ref());
        let times = (wire.core.t1(), wire.core.patience());
        let sent = (bytes, described);
        let at = live
            .provisionals
            .sent((rseq, status), sent, wire.now, times);
        wire.core.arm(at, Timer::Provisional(wire.key));
        self.refresh_later((tag, status, None), wire);
    }

    fn compose(
        &self,
        (status, body): (u16, Option<&Bytes>),
        tag: Tag,
        rseq: Option<u32>,
        wire: &Wire<'_>,
    ) -> Bytes {
        let request = (&self.message, self.path);
        let mut writer = compose::dialog_head(wire.core, request, status, Some(tag));
        if let Some(rseq) = rseq {
            writer.header(Header::Require, reliable::OPTION);
            writer.header_fmt(Header::RSeq, format_args!("{rseq}"));
        }
        if body.is_some() && self.manner.early_media {
            writer.header(Header::PEarlyMedia, early_media::AUTHORISED);
        }
        compose::finish(writer, body)
    }

    /// Makes the state of an early dialog, if it has none.
    fn enliven(&mut self, place: usize, wire: &mut Wire<'_>) {
        let first = wire.core.below(FIRST_RSEQ).saturating_add(1);
        let first = u32::try_from(first).unwrap_or(1);
        let Some(early) = self
            .forks
            .get_mut(place)
            .filter(|early| early.live.is_none())
        else {
            return;
        };
        let Some(dialog) = Dialog::from_invite(&self.message, early.tag, self.path) else {
            return;
        };
        wire.add_peer(Side::Caller, dialog.path.remote.ip());
        let mut session = Session::early(Side::Caller, early.fork, dialog);
        session.learn_allow(&self.message);
        early.live = Some(Box::new(Live {
            session,
            provisionals: Provisionals::new(self.message.cseq(), first),
            offering: false,
        }));
    }

    fn live_at(&mut self, place: usize) -> Option<(Tag, &mut Live)> {
        let early = self.forks.get_mut(place)?;
        Some((early.tag, early.live.as_deref_mut()?))
    }

    /// The early dialog that a request names.
    fn place_of(&self, message: &Message) -> Option<usize> {
        let tag = Tag::read(message.to_tag())?;
        self.forks.iter().position(|early| early.tag == tag)
    }

    /// An UPDATE in an early dialog.
    pub(super) fn on_update(
        &mut self,
        (id, message, path): (TransactionId, Message, Path),
        wire: &mut Wire<'_>,
    ) {
        let place = self.place_of(&message);
        if let Some(place) = place {
            self.enliven(place, wire);
        }
        match place.and_then(|place| self.live_at(place)) {
            Some((_, live)) => live.session.on_early_update((id, message, path), wire),
            None => turn_down((id, &message, path), &Refusal::of(481), wire),
        }
    }

    /// A PRACK: 481 unless it acknowledges what is outstanding (§3).
    pub(super) fn on_prack(
        &mut self,
        (id, message, path): (TransactionId, Message, Path),
        wire: &mut Wire<'_>,
    ) {
        let place = self.place_of(&message);
        let Some((place, live)) = place.and_then(|place| Some((place, self.live_at(place)?.1)))
        else {
            return turn_down((id, &message, path), &Refusal::of(481), wire);
        };
        if let Some(refusal) = live.screen_prack(&message) {
            return turn_down((id, &message, path), &refusal, wire);
        }
        let rack = RAck::read(&message);
        let Some(described) = rack.and_then(|rack| live.provisionals.acknowledge(rack)) else {
            return turn_down((id, &message, path), &Refusal::of(481), wire);
        };
        live.on_acknowledged((id, message, path), described, wire);
        if described && !live.provisionals.owes_description() {
            wire.event(Side::Caller, LegEvent::Settled(live.session.fork));
        }
        if let Some(next) = live.provisionals.take_waiting() {
            self.send_reliably(place, next, wire);
        }
    }

    /// Repeats what is outstanding, or gives the call up for want of a PRACK: true then.
    fn on_provisional_timer(&mut self, wire: &mut Wire<'_>) -> bool {
        for early in &mut self.forks {
            let Some(live) = &mut early.live else {
                continue;
            };
            match live.provisionals.due(wire.now) {
                Due::Nothing => {}
                Due::GivenUp => return true,
                Due::Repeat(status, bytes) => {
                    if let Some(at) = live.provisionals.next_due() {
                        wire.core.arm(at, Timer::Provisional(wire.key));
                    }
                    wire.core.count("sip_repeats", "provisional");
                    wire.respond(Side::Caller, self.id, status, bytes);
                }
            }
        }
        false
    }

    /// Takes the state of the early dialog that is answered; the others end.
    pub(super) fn take_live(&mut self, tag: Tag, wire: &mut Wire<'_>) -> Option<Box<Live>> {
        let winner = self.forks.iter_mut().find(|early| early.tag == tag);
        let live = winner.and_then(|early| early.live.take());
        self.end_early(wire);
        live
    }

    /// Ends all early dialogs.
    pub(super) fn end_early(&mut self, wire: &mut Wire<'_>) {
        for early in &mut self.forks {
            if let Some(mut live) = early.live.take() {
                live.session.phase = Phase::Closed;
                live.session.drop_offers(wire);
            }
        }
    }
}

impl Live {
    /// It is answered: our 2xx has just been sent. A PRACK may still come (§3).
    pub(super) fn accepted(
        self: Box<Self>,
        (accept, refresh): (Accept, Box<Refresh>),
        wire: &mut Wire<'_>,
    ) -> Session {
        let Self {
            mut session,
            provisionals,
            ..
        } = *self;
        session.unacknowledged = provisionals.unacknowledged();
        session.phase = Phase::Confirmed;
        session.settled = true;
        session.begin_timer(refresh, wire);
        session.await_ack(accept, wire);
        session
    }

    fn screen_prack(&mut self, message: &Message) -> Option<Refusal> {
        if !self.session.is_in_order(message) {
            return Some(Refusal::of(500));
        }
        screening::unsupported(message).or_else(|| {
            body::session(message)
                .err()
                .map(|body::Unacceptable| Refusal::of(415))
        })
    }

    /// Answers a PRACK that acknowledges something. Its description is the answer to the offer that
    /// it acknowledges, or else an offer of its own (§5).
    fn on_acknowledged(
        &mut self,
        (id, message, path): (TransactionId, Message, Path),
        described: bool,
        wire: &mut Wire<'_>,
    ) {
        let body = body::session_if_any(&message);
        self.session.settled |= described;
        let answers = described && std::mem::take(&mut self.offering);
        let session = &mut self.session;
        match body {
            Some(offer) if !answers => match session.refusal_of_offer(true, wire) {
                Some(refusal) => session.refuse((id, &message, path), &refusal, wire),
                None => {
                    session.incoming = Some(Box::new(Incoming { id, message, path }));
                    session.say_offered(offer, wire);
                }
            },
            body => {
                session.refuse((id, &message, path), &Refusal::of(200), wire);
                if answers {
                    session.say_reanswered(body, wire);
                }
            }
        }
    }
}

impl CallerLeg {
    /// A reliable provisional response is due again.
    pub(super) fn on_provisional_timer(&mut self, wire: &mut Wire<'_>) {
        let Self::Invited(invited) = self else { return };
        if invited.on_provisional_timer(wire) {
            self.reject(NO_PRACK, 0, wire);
            wire.event(Side::Caller, LegEvent::Lost(NO_PRACK));
        }
    }

    /// Whether the caller can be sent an offer before the answer.
    pub(super) fn takes_offers(&self) -> bool {
        matches!(self, Self::Invited(invited) if invited.manner.takes_offers())
    }

    /// The dialog that an early one of this fork is, or has become.
    pub(super) fn early(&mut self, fork: Fork) -> Option<&mut Session> {
        match self {
            Self::Invited(invited) => {
                let early = invited.forks.iter_mut().find(|early| early.fork == fork)?;
                early.live.as_mut().map(|live| &mut live.session)
            }
            Self::Up(session) => Some(session),
            Self::Done => None,
        }
    }

    /// The dialog in which an offer of ours is under way in this transaction.
    pub(super) fn session_of(&mut self, id: TransactionId) -> Option<&mut Session> {
        let Self::Invited(invited) = self else {
            return self.session();
        };
        let mut live = invited
            .forks
            .iter_mut()
            .filter_map(|early| early.live.as_mut());
        live.find(|live| live.session.is_offering(id))
            .map(|live| &mut live.session)
    }

    /// The time after a 491 may be over in any early dialog.
    pub(super) fn on_early_retry(&mut self, wire: &mut Wire<'_>) {
        if let Self::Invited(invited) = self {
            for early in &mut invited.forks {
                if let Some(live) = &mut early.live {
                    live.session.on_reinvite_timer(wire);
                }
            }
        }
    }
}

/// Refuses a request of the caller's.
fn turn_down(
    (id, message, path): (TransactionId, &Message, Path),
    refusal: &Refusal,
    wire: &mut Wire<'_>,
) {
    let bytes = refusal.write(message, path, None);
    wire.respond(Side::Caller, id, refusal.status, bytes);
}
