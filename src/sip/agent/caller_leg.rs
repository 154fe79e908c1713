//! The caller's leg: user agent server of the INVITE that makes the call (RFC 3261 §13.3), then
//! one end of its dialog.
//!
//! ```text
//!            Progress (one To-tag a fork), PRACK, UPDATE: super::caller_early
//!              .----.
//!              v    |
//!   INVITE --> Invited --Accept--> Up (session: 2xx repeated until ACK, ...) --> Done
//!                  \---Reject--------------------------------------------------> Done
//! ```

use super::LegEvent;
use super::body;
use super::caller_early::{CallerEarly, Manner};
use super::compose::{self, Refusal};
use super::core::{Owner, Timer, Wire};
use super::reason;
use super::refresh::Refresh;
use super::session::{Accept, Session, response_path};
use crate::call::event::{Cause, Fork};
use crate::domain::Side;
use crate::sip::dialog::session_timer::SessionTimer;
use crate::sip::dialog::{Dialog, Tag};
use crate::sip::message::{Message, Method, Path};
use crate::sip::transaction::TransactionId;
use bytes::Bytes;
use smallvec::SmallVec;
use std::time::{Duration, Instant};

/// Most early dialogs shown to one caller; the media of further forks comes under the first tag.
const MOST_FORKS: usize = 32;

/// A provisional response is repeated so often, lest proxies give the call up (§13.3.1.1).
const REFRESH: Duration = Duration::from_secs(60);

/// The caller's leg.
#[derive(Debug)]
pub(super) enum CallerLeg {
    /// The INVITE is owed its final response.
    Invited(Box<Invited>),
    /// It had a 2xx.
    Up(Box<Session>),
    /// It is over.
    Done,
}

/// An INVITE without a final response.
#[derive(Debug)]
pub(super) struct Invited {
    pub(super) id: TransactionId,
    pub(super) message: Message,
    pub(super) path: Path,
    /// Our tag in the first early dialog and in failures.
    tag: Tag,
    pub(super) forks: SmallVec<[CallerEarly; 1]>,
    /// How its provisional responses go.
    pub(super) manner: Manner,
    /// The last provisional response, and when it is repeated.
    progress: Option<(Last, Instant)>,
}

/// The last provisional response: its dialog, its status and, where it was no reliable one, itself.
type Last = (Tag, u16, Option<Bytes>);

impl CallerLeg {
    /// Takes an INVITE: 100 goes out at once (sip-bridging 2).
    pub(super) fn new(
        (id, message, path): (TransactionId, Message, Path),
        tag: Tag,
        manner: Manner,
        wire: &mut Wire<'_>,
    ) -> Self {
        let trying = compose::response(&message, path, 100, None).finish(None);
        wire.respond(Side::Caller, id, 100, trying);
        wire.core.owners.insert(id, Owner::Invited(wire.key));
        wire.add_peer(Side::Caller, path.remote.ip());
        Self::Invited(Box::new(Invited {
            id,
            message,
            path,
            tag,
            forks: SmallVec::new(),
            manner,
            progress: None,
        }))
    }

    /// Whether nothing more will come of it.
    pub(super) fn is_done(&self) -> bool {
        match self {
            Self::Invited(_) => false,
            Self::Up(session) => session.is_closed(),
            Self::Done => true,
        }
    }

    /// Its dialog, once there is one.
    pub(super) fn session(&mut self) -> Option<&mut Session> {
        match self {
            Self::Up(session) => Some(session),
            _ => None,
        }
    }

    /// A provisional response in the early dialog of `fork`. Gives back a tag that is new.
    pub(super) fn progress(
        &mut self,
        (fork, status): (Fork, u16),
        body: Option<&Bytes>,
        wire: &mut Wire<'_>,
    ) -> Option<Tag> {
        let Self::Invited(invited) = self else {
            return None;
        };
        let (tag, new) = invited.tag_of(fork, wire);
        invited.provide(tag, (status, body.cloned()), wire);
        new.then_some(tag)
    }

    /// Repeats the last provisional response.
    pub(super) fn on_progress_timer(&mut self, wire: &mut Wire<'_>) {
        let Self::Invited(invited) = self else { return };
        let Some((last, at)) = invited.progress.as_mut() else {
            return;
        };
        let due = *at <= wire.now;
        if due {
            *at = wire.now + REFRESH;
        }
        wire.core.arm(*at, Timer::Progress(wire.key));
        match last.clone() {
            _ if !due => {}
            (_, status, Some(bytes)) => {
                wire.respond(Side::Caller, invited.id, status, bytes);
            }
            // A reliable one has its PRACK: another, with a number of its own.
            (tag, status, None) => invited.provide(tag, (status, None), wire),
        }
    }

    /// 200 in the dialog of `fork`. Gives back a tag that is new.
    pub(super) fn accept(
        &mut self,
        fork: Fork,
        body: Option<&Bytes>,
        wire: &mut Wire<'_>,
    ) -> Option<Tag> {
        let Self::Invited(invited) = self else {
            return None;
        };
        let (tag, new) = invited.tag_of(fork, wire);
        let request = (&invited.message, invited.path);
        let mut refresh = Refresh::new(SessionTimer::new(wire.session_policy(Side::Caller)));
        let words = refresh.accept(&invited.message, body, wire.now);
        let mut writer = compose::dialog_head(wire.core, request, 200, Some(tag));
        words.write(&mut writer);
        let bytes = compose::finish(writer, body);
        let live = invited.take_live(tag, wire);
        let dialog = Dialog::from_invite(&invited.message, tag, invited.path);
        let sent = wire.respond(Side::Caller, invited.id, 200, bytes);
        let (Some(bytes), Some(dialog)) = (sent, dialog) else {
            return new.then_some(tag); // withheld: the leg is given up by whoever watches the wire
        };
        wire.core.owners.remove(&invited.id);
        wire.add_peer(Side::Caller, dialog.path.remote.ip());
        let delayed = invited.is_delayed() && body.is_some();
        let path = response_path(&invited.message, invited.path);
        let accept = Accept::new(wire, (bytes, path), invited.message.cseq(), (true, delayed));
        let session = match live {
            Some(live) => live.accepted((accept, refresh), wire),
            None => {
                let mut session = Session::accepted(dialog, (accept, refresh), wire);
                session.learn_allow(&invited.message);
                session
            }
        };
        *self = Self::Up(Box::new(session));
        new.then_some(tag)
    }

    /// Final failure.
    pub(super) fn reject(&mut self, cause: Cause, retry_after: u32, wire: &mut Wire<'_>) {
        let refusal = Refusal {
            status: if (300..700).contains(&cause.sip) {
                cause.sip
            } else {
                500
            },
            q850: cause.q850,
            retry_after,
            ..Refusal::default()
        };
        self.refuse(&refusal, wire);
    }

    /// Final failure as SIP itself has it.
    pub(super) fn refuse(&mut self, refusal: &Refusal, wire: &mut Wire<'_>) {
        let Self::Invited(invited) = self else { return };
        invited.end_early(wire);
        let bytes = refusal.write(&invited.message, invited.path, Some(invited.tag));
        wire.respond(Side::Caller, invited.id, refusal.status, bytes);
        wire.core.owners.remove(&invited.id);
        *self = Self::Done;
    }

    /// CANCEL (§9.2): answered 200 with the tag of the INVITE's own response. The call owes the
    /// INVITE its 487.
    pub(super) fn on_cancel(
        &mut self,
        (id, message, path): (TransactionId, &Message, Path),
        wire: &mut Wire<'_>,
    ) {
        let invited = matches!(self, Self::Invited(_));
        let tag = match self {
            Self::Invited(invited) => invited.tag,
            Self::Up(session) => session.dialog.local_tag,
            Self::Done => Tag::draw(&mut *wire.core.entropy),
        };
        let bytes = compose::response(message, path, 200, Some(tag)).finish(None);
        wire.respond(Side::Caller, id, 200, bytes);
        if invited {
            wire.event(Side::Caller, LegEvent::Cancelled(reason::read(message)));
        }
    }

    /// A request with one of our tags.
    pub(super) fn on_request(
        &mut self,
        (id, message, path): (TransactionId, Message, Path),
        wire: &mut Wire<'_>,
    ) {
        match self {
            Self::Up(session) if session.dialog.matches_request(&message) => {
                session.on_request((id, message, path), wire);
            }
            Self::Invited(invited) if invited.matches(&message) => match message.method() {
                Method::Prack => invited.on_prack((id, message, path), wire),
                Method::Update => invited.on_update((id, message, path), wire),
                _ => Self::on_early_request((id, &message, path), wire),
            },
            _ => {
                let bytes = Refusal::of(481).write(&message, path, None);
                wire.respond(Side::Caller, id, 481, bytes);
            }
        }
    }

    /// In an early dialog: BYE gives the call up (§15), a further INVITE comes too soon (§14.2).
    fn on_early_request((id, message, path): (TransactionId, &Message, Path), wire: &mut Wire<'_>) {
        let refusal = match message.method() {
            Method::Bye => {
                let bytes = compose::response(message, path, 200, None).finish(None);
                wire.respond(Side::Caller, id, 200, bytes);
                return wire.event(Side::Caller, LegEvent::Cancelled(reason::read(message)));
            }
            Method::Info if body::dtmf(message).is_some() => {
                let bytes = compose::response(message, path, 200, None).finish(None);
                wire.respond(Side::Caller, id, 200, bytes);
                return;
            }
            Method::Info => Refusal::of(415),
            Method::Invite => Refusal {
                retry_after: u32::try_from(wire.core.below(10).saturating_add(1)).unwrap_or(1),
                ..Refusal::of(500)
            },
            Method::Options => Refusal::of(200),
            other => super::screening::not_ours(other),
        };
        let bytes = refusal.write(message, path, None);
        wire.respond(Side::Caller, id, refusal.status, bytes);
    }

    /// What was to be sent to it must not be: it cannot go on.
    pub(super) fn give_up(&mut self, wire: &mut Wire<'_>) {
        let cause = Cause { sip: 500, q850: 0 };
        match self {
            Self::Invited(_) => {
                self.reject(cause, 0, wire);
                *self = Self::Done;
                wire.event(Side::Caller, LegEvent::Lost(cause));
            }
            Self::Up(session) => session.lose(cause, true, wire),
            Self::Done => {}
        }
    }

    /// Ends it, in whatever state it is.
    pub(super) fn end(&mut self, cause: Cause, wire: &mut Wire<'_>) {
        match self {
            Self::Invited(_) => self.reject(cause, 0, wire),
            Self::Up(session) => session.end(cause, wire),
            Self::Done => {}
        }
    }
}

impl Invited {
    /// The To-tag that stands for a fork, and whether it has just been made.
    fn tag_of(&mut self, fork: Fork, wire: &mut Wire<'_>) -> (Tag, bool) {
        if let Some(early) = self.forks.iter().find(|early| early.fork == fork) {
            return (early.tag, false);
        }
        let tag = match self.forks.len() {
            0 => self.tag,
            MOST_FORKS.. => {
                wire.core.count("sip_bounds", "caller-forks");
                return (self.tag, false);
            }
            _ => wire.core.tag(self.message.call_id()),
        };
        self.forks.push(CallerEarly {
            fork,
            tag,
            live: None,
        });
        (tag, true)
    }

    /// Whether it came without an offer.
    pub(super) fn is_delayed(&self) -> bool {
        body::session_if_any(&self.message).is_none()
    }

    /// Has a provisional response repeated after a while.
    pub(super) fn refresh_later(&mut self, last: Last, wire: &mut Wire<'_>) {
        let at = wire.now + REFRESH;
        if self.progress.is_none() {
            wire.core.arm(at, Timer::Progress(wire.key));
        }
        self.progress = Some((last, at));
    }

    /// Whether a request belongs to one of its early dialogs.
    fn matches(&self, request: &Message) -> bool {
        request.call_id() == self.message.call_id() && request.from_tag() == self.message.from_tag()
    }
}
