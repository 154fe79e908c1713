//! The callee's leg: user agent client of our INVITE (RFC 3261 §13.2), one attempt after another,
//! then one end of the dialog that was answered first.
//!
//! ```text
//!                                      .----- 1xx (a fork for each To-tag) ---.
//!                                      v                                      |
//!   Dial --> attempt: Calling --1xx--> Proceeding ----------------------------'
//!               |  \                     |      \
//!          2xx  |   \ Cancel             |       \ Cancel
//!     (first)   |    v                   | 2xx    v
//!               |  GivenUp --1xx--> [CANCEL] -> GivenUp --- 3xx-6xx, 64×T1 --> gone
//!               |     \                  |        |
//!               |      \ 2xx             |        | 2xx: ACK + BYE
//!               v       `----------------)--------'
//!            session <-------------------'      (2xx of other forks: ACK + BYE)
//! ```
//!
//! Its early dialogs are in [`super::callee_early`].

use super::LegEvent;
use super::body;
use super::callee_early::CalleeEarly;
use super::caller_id::{self, Shown};
use super::compose;
use super::core::{Core, Owner, Timer, Wire};
use super::early_media;
use super::hops::{SILENCE, Tried};
use super::reason;
use super::refresh::Refresh;
use super::session::Session;
use super::settings::Reliability;
use super::transports::LONGEST_BY_UDP;
use super::vouching;
use crate::call::event::{Cause, Dial, DialFailure, Fork};
use crate::domain::Side;
use crate::sip::dialog::session_timer::SessionTimer;
use crate::sip::dialog::{Dialog, Tag, branch, reliable};
use crate::sip::message::{Header, Message, Method, NameAddr, Path, Transport};
use crate::sip::transaction::TransactionId;
use bytes::Bytes;
use smallvec::SmallVec;
use std::time::Instant;

/// Most early dialogs of one attempt; further ones are not reported.
const MOST_FORKS: usize = 32;

/// Most answered forks that are remembered as ended.
const MOST_LOSERS: usize = 64;

/// What an attempt failed with when the guard kept its INVITE: no other trunk would do better.
const WITHHELD: u16 = 606;

/// The callee's leg.
#[derive(Debug, Default)]
pub(super) struct CalleeLeg {
    pub(super) attempts: SmallVec<[Box<Attempt>; 1]>,
    /// Hops tried of the trunk under way.
    tried: Tried,
    pub(super) session: Option<Box<Session>>,
    /// Number of the next fork: never used twice in a call.
    next_fork: u16,
    /// BYEs to forks that lost, still unanswered.
    losers: usize,
    /// Forks that lost, by our tag (each attempt has its own) and theirs: their repeated 2xx get
    /// their ACK and no second BYE.
    lost: SmallVec<[(Tag, Box<str>); 0]>,
    /// The highest sequence number that a PRACK or UPDATE of an early dialog had.
    highest_cseq: u32,
}

/// An INVITE of ours without a final response.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) id: TransactionId,
    pub(super) branch: Box<str>,
    pub(super) timer: SessionTimer,
    /// What was asked for, to ask again.
    dial: Box<Dial>,
    pub(super) uri: Box<str>,
    pub(super) tag: Tag,
    /// From with its tag.
    pub(super) local: Box<str>,
    to: Box<str>,
    pub(super) call_id: Box<str>,
    pub(super) cseq: u32,
    pub(super) path: Path,
    /// The trunk's hop that it goes to.
    hop: Path,
    /// By TCP instead, if its INVITE is too long for UDP.
    by_tcp: Option<Path>,
    dialled_at: Instant,
    pub(super) forks: SmallVec<[CalleeEarly; 1]>,
    /// Whether our INVITE lists 100rel.
    pub(super) reliable: bool,
    /// It carried no offer.
    pub(super) delayed: bool,
    /// The trunk's word on early media counts (RFC 5009).
    trusted: bool,
    /// A provisional response has come: a CANCEL may go (§9.1).
    pub(super) provisional: bool,
    pub(super) given_up: Option<GivenUp>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct GivenUp {
    cause: Cause,
    /// Set once the CANCEL has gone: when the attempt is forgotten.
    forget_at: Option<Instant>,
}

/// CSeq of an attempt's first INVITE.
const FIRST_CSEQ: u32 = 1;

impl CalleeLeg {
    /// Whether nothing more will come of it.
    pub(super) fn is_done(&self) -> bool {
        self.attempts.is_empty()
            && self.losers == 0
            && self
                .session
                .as_ref()
                .is_none_or(|session| session.is_closed())
    }

    /// Its dialog, once there is one.
    pub(super) fn session(&mut self) -> Option<&mut Session> {
        self.session.as_deref_mut()
    }

    /// Where the next attempt goes.
    pub(super) fn next_hop(&self, dial: &Dial, core: &mut Core, now: Instant) -> Option<Path> {
        core.pick_hop(dial.trunk, &self.tried, now)
    }

    /// A new attempt; `early_offers`: an offer in a reliable provisional response could be passed on.
    /// Gives back its tag.
    pub(super) fn dial(
        &mut self,
        dial: &Dial,
        early_offers: bool,
        hop: Option<Path>,
        wire: &mut Wire<'_>,
    ) -> Option<Tag> {
        if self.session.is_some() {
            return None;
        }
        let made = hop.and_then(|hop| Attempt::new(dial, hop, early_offers, wire));
        let Some(mut attempt) = made else {
            wire.event(Side::Callee, LegEvent::Failed(DialFailure::Transport));
            return None;
        };
        self.tried.add(dial.trunk, attempt.hop);
        if wire.core.has_several_hops(dial.trunk) {
            wire.core.arm(wire.now + SILENCE, Timer::Silence(wire.key));
        }
        if !attempt.send(wire) {
            return None;
        }
        let leg = super::Output::CalleeLeg(wire.key, attempt.call_id.clone());
        wire.core.emit(leg);
        let tag = attempt.tag;
        wire.add_peer(Side::Callee, attempt.path.remote.ip());
        self.attempts.push(Box::new(attempt));
        Some(tag)
    }

    /// The spelling of the callee's number on the wire of a trunk, for the guard.
    pub(super) fn spelling(dial: &Dial, core: &Core) -> Option<String> {
        let trunk = core.settings.trunk(dial.trunk)?;
        trunk.form.write(dial.number)
    }

    /// Gives up what is under way, or ends what has just been answered.
    pub(super) fn cancel(&mut self, cause: Cause, wire: &mut Wire<'_>) {
        for attempt in &mut self.attempts {
            let cseq = attempt.give_up(cause, wire);
            self.highest_cseq = self.highest_cseq.max(cseq);
        }
        if let Some(session) = &mut self.session {
            session.end(cause, wire);
        }
    }

    /// Where an attempt's messages go and come from.
    pub(super) fn path_of(&self, id: TransactionId) -> Option<Path> {
        let attempt = self.attempts.iter().find(|attempt| attempt.id == id)?;
        Some(attempt.path)
    }

    /// Whether an attempt's INVITE is still wanted.
    pub(super) fn awaits(&self, id: TransactionId) -> bool {
        let mut attempts = self.attempts.iter();
        attempts.any(|attempt| attempt.id == id && attempt.given_up.is_none())
    }

    /// An attempt's INVITE was challenged and sent again: a CANCEL is for that one, and waits for
    /// its first response.
    pub(super) fn resubmitted(
        &mut self,
        old: TransactionId,
        (id, branch): (TransactionId, Box<str>),
        cseq: u32,
    ) {
        if let Some(attempt) = self.attempts.iter_mut().find(|one| one.id == old) {
            attempt.id = id;
            attempt.branch = branch;
            attempt.cseq = cseq.saturating_add(1);
            attempt.provisional = false;
        }
    }

    /// A response to an attempt's INVITE.
    pub(super) fn on_response(
        &mut self,
        id: TransactionId,
        message: &Message,
        wire: &mut Wire<'_>,
    ) {
        let Some(place) = self.attempts.iter().position(|attempt| attempt.id == id) else {
            return;
        };
        let status = message.status().unwrap_or_default();
        if let Some(attempt) = self.attempts.get(place) {
            attempt.note_hop(message, wire);
        }
        if status < 200 {
            return self.on_provisional(place, message, wire);
        }
        let attempt = self.attempts.remove(place);
        wire.core.owners.remove(&id);
        let Some(mut attempt) = self.ask_again(attempt, message, wire) else {
            return;
        };
        if status >= 300 {
            attempt.end_early(wire);
            if attempt.given_up.is_none() {
                let mut cause = reason::read(message);
                cause.sip = status;
                let failure = DialFailure::Response {
                    cause,
                    retry_after: retry_after(message),
                };
                wire.event(Side::Callee, LegEvent::Failed(failure));
            }
            return;
        }
        wire.detach(id);
        self.on_success(attempt, message, wire);
    }

    /// The 2xx to an attempt's INVITE: the leg's answer, or one too many.
    fn on_success(&mut self, mut attempt: Box<Attempt>, message: &Message, wire: &mut Wire<'_>) {
        let local = (attempt.tag, &*attempt.local);
        if let Some(given_up) = attempt.given_up {
            return self.release(
                message,
                local,
                (&attempt.uri, attempt.path),
                given_up.cause,
                wire,
            );
        }
        if self.session.is_some() {
            let cause = Cause::default();
            return self.release(message, local, (&attempt.uri, attempt.path), cause, wire);
        }
        let known = attempt.fork(message.to_tag());
        let fork = known.unwrap_or_else(|| self.draw_fork());
        let early = attempt.take_early(message.to_tag());
        let target = early.as_ref().map(|session| session.dialog.target.clone());
        let target = target.unwrap_or_else(|| attempt.uri.clone());
        let local = (attempt.tag, &*attempt.local);
        let dialog = Dialog::from_success(message, local, &target, attempt.path);
        let cseq = attempt.end_early(wire);
        self.highest_cseq = self.highest_cseq.max(cseq);
        wire.add_peer(Side::Callee, dialog.path.remote.ip());
        if let Some(address) = wire.core.sender {
            wire.add_peer(Side::Callee, address);
        }
        let mut refresh = Refresh::new(attempt.timer.clone());
        refresh.answered(message, attempt.dial.body.as_ref(), wire.now);
        let mut session = match early {
            Some(mut session) => {
                session.answered_by(dialog);
                session.begin_timer(refresh, wire);
                session
            }
            None => Session::answered(dialog, refresh, wire),
        };
        session.learn_allow(message);
        self.session = Some(Box::new(session));
        let body = body::session_if_any(message);
        wire.event(Side::Callee, LegEvent::Answered { fork, body });
    }

    fn on_provisional(&mut self, place: usize, message: &Message, wire: &mut Wire<'_>) {
        let Some(attempt) = self.attempts.get_mut(place) else {
            return;
        };
        attempt.provisional = true;
        if let Some(given_up) = attempt.given_up {
            if given_up.forget_at.is_none() {
                attempt.send_cancel(given_up.cause, wire);
            }
            return;
        }
        let status = message.status().unwrap_or_default();
        if status <= 100 {
            return wire.event(Side::Callee, LegEvent::Trying);
        }
        let fork = match attempt.fork(message.to_tag()) {
            Some(fork) => fork,
            None if attempt.forks.len() >= MOST_FORKS => {
                return wire.core.count("sip_bounds", "callee-forks");
            }
            None => {
                let fork = Fork(self.next_fork);
                self.next_fork = self.next_fork.saturating_add(1);
                attempt
                    .forks
                    .push(CalleeEarly::new(fork, message.to_tag(), attempt.trusted));
                fork
            }
        };
        if let Some(event) = attempt.progress(fork, message, wire) {
            wire.event(Side::Callee, event);
        }
    }

    /// Attempts of which nothing was heard: their hops have failed, whatever becomes of the attempt.
    pub(super) fn on_silence(&self, wire: &mut Wire<'_>) {
        for attempt in &self.attempts {
            if attempt.given_up.is_none() {
                attempt.note_silence(wire);
            }
        }
    }

    fn draw_fork(&mut self) -> Fork {
        let fork = Fork(self.next_fork);
        self.next_fork = self.next_fork.saturating_add(1);
        fork
    }

    /// No final response to an attempt in time, or its transport failed.
    pub(super) fn on_failure(
        &mut self,
        id: TransactionId,
        failure: DialFailure,
        wire: &mut Wire<'_>,
    ) {
        wire.core.owners.remove(&id);
        let Some(place) = self.attempts.iter().position(|attempt| attempt.id == id) else {
            return;
        };
        let mut attempt = self.attempts.remove(place);
        attempt.end_early(wire);
        if attempt.given_up.is_some() {
            return;
        }
        if failure == DialFailure::Transport && attempt.fall_back(wire) {
            return self.attempts.push(attempt);
        }
        wire.core.hop_failed(attempt.hop, 0, wire.now);
        wire.event(Side::Callee, LegEvent::Failed(failure));
    }

    /// A 2xx outside its transaction: repeated, or of a further fork.
    pub(super) fn on_late_success(&mut self, message: &Message, path: Path, wire: &mut Wire<'_>) {
        if let Some(session) = &mut self.session
            && *session.dialog.remote_tag == *message.to_tag()
            && *session.dialog.call_id == *message.call_id()
        {
            return session.on_repeated_success(message, wire);
        }
        let Some(tag) = Tag::read(message.from_tag()) else {
            return;
        };
        let local = message.get(Header::From).unwrap_or_default();
        let uri = dialled(message);
        self.release(message, (tag, local), (uri, path), Cause::default(), wire);
    }

    /// ACK and BYE to a 2xx that nobody wants (§13.2.2.4).
    fn release(
        &mut self,
        message: &Message,
        local: (Tag, &str),
        (uri, path): (&str, Path),
        cause: Cause,
        wire: &mut Wire<'_>,
    ) {
        let fork = (local.0, message.to_tag());
        let again = self.lost.iter().any(|(own, tag)| (*own, &**tag) == fork);
        if !again && self.lost.len() >= MOST_LOSERS {
            return wire.core.count("sip_bounds", "lost-forks");
        }
        let mut dialog = Dialog::from_success(message, local, uri, path);
        // PRACKs may have gone in it.
        dialog.local_cseq = dialog.local_cseq.max(self.highest_cseq);
        let branch = wire.branch();
        let cseq = message.cseq();
        let writer = compose::in_dialog(wire.core, &dialog, Method::Ack, cseq, &branch);
        let ack = (writer.finish(None), dialog.path);
        wire.acknowledge(Side::Callee, ack, &dialog.echoed());
        if again {
            return;
        }
        self.lost.push((local.0, message.to_tag().into()));
        let branch = wire.branch();
        let cseq = dialog.next_cseq();
        let mut writer = compose::in_dialog(wire.core, &dialog, Method::Bye, cseq, &branch);
        writer.header(Header::Reason, &reason::of_request(cause));
        let sent = wire.request(
            (Side::Callee, Owner::Loser(wire.key)),
            (Method::Bye, branch),
            (writer.finish(None), dialog.path),
            &dialog.echoed(),
        );
        if sent.is_some() {
            self.losers = self.losers.saturating_add(1);
        }
    }

    /// A BYE to a fork that lost is over.
    pub(super) fn on_loser_done(&mut self) {
        self.losers = self.losers.saturating_sub(1);
    }

    /// Forgets cancelled attempts whose end never came (§9.1).
    pub(super) fn on_cancel_timer(&mut self, wire: &mut Wire<'_>) {
        let mut place = 0;
        while let Some(attempt) = self.attempts.get(place) {
            let over = attempt
                .given_up
                .and_then(|given_up| given_up.forget_at)
                .is_some_and(|at| at <= wire.now);
            if over {
                let attempt = self.attempts.remove(place);
                wire.detach(attempt.id);
            } else {
                place = place.saturating_add(1);
            }
        }
    }

    /// What was to be sent to it must not be: it cannot go on.
    pub(super) fn give_up(&mut self, wire: &mut Wire<'_>) {
        let cause = Cause { sip: 500, q850: 0 };
        if let Some(session) = &mut self.session {
            session.lose(cause, true, wire);
        }
        for attempt in &mut self.attempts {
            if attempt.given_up.is_none() {
                let cseq = attempt.give_up(cause, wire);
                self.highest_cseq = self.highest_cseq.max(cseq);
                let cause = Cause {
                    sip: WITHHELD,
                    q850: 0,
                };
                let failure = DialFailure::Response {
                    cause,
                    retry_after: 0,
                };
                wire.event(Side::Callee, LegEvent::Failed(failure));
            }
        }
    }

    /// Whether a request's dialog is one of its, early ones included.
    pub(super) fn is_early(&self, message: &Message) -> bool {
        let tag = Tag::read(message.to_tag());
        self.attempts.iter().any(|attempt| {
            Some(attempt.tag) == tag
                && *attempt.call_id == *message.call_id()
                && attempt.fork(message.from_tag()).is_some()
        })
    }
}

impl Attempt {
    /// An attempt; `None` if the trunk is gone, not an outbound one, or has no way to write the
    /// number.
    fn new(dial: &Dial, path: Path, early_offers: bool, wire: &mut Wire<'_>) -> Option<Self> {
        let now = wire.now;
        let core = &mut *wire.core;
        let trunk = core.settings.trunk(dial.trunk)?;
        let free = trunk.target.as_ref()?.free;
        let by_tcp = free.then(|| core.settings.by_tcp(path)).flatten();
        let branch = branch(&mut *core.entropy);
        let call_id = core.call_id();
        let tag = core.tag(&call_id);
        let core = &*core;
        let trunk = core.settings.trunk(dial.trunk)?;
        let target = trunk.target.as_ref()?;
        let number = trunk.form.write(dial.number)?;
        let user = caller_id::escaped(&number);
        let uri = target.uri(Some(&user), path.transport);
        let domain = core.domain(path);
        let shown = Shown::new(&dial.caller_id, (&trunk.form, trunk.trusted), &domain);
        Some(Self {
            id: TransactionId(0),
            branch,
            timer: SessionTimer::new(trunk.session_policy),
            dial: Box::new(dial.clone()),
            tag,
            local: format!("{};tag={tag}", shown.from).into(),
            to: format!("<{}>", target.name(Some(&user))).into(),
            uri: uri.into(),
            call_id,
            cseq: FIRST_CSEQ,
            path,
            hop: path,
            by_tcp,
            dialled_at: now,
            forks: SmallVec::new(),
            reliable: trunk.reliable != Reliability::Off && (dial.body.is_some() || early_offers),
            delayed: dial.body.is_none(),
            trusted: trunk.trusted,
            provisional: false,
            given_up: None,
        })
    }

    /// Its INVITE; `None` if the trunk is gone since.
    fn invite(&self, core: &Core) -> Option<Bytes> {
        let trunk = core.settings.trunk(self.dial.trunk)?;
        let domain = core.domain(self.path);
        let form = (&trunk.form, trunk.trusted);
        let shown = Shown::new(&self.dial.caller_id, form, &domain);
        let mut writer = self.start(Method::Invite, Some(self.dial.max_forwards), core);
        let secure = trunk.target.as_ref().is_some_and(|target| target.secure);
        compose::contact(core, &mut writer, self.path, secure);
        writer.header(Header::Allow, compose::ALLOW);
        let required = trunk.reliable == Reliability::Required;
        let supported = if self.reliable && !required {
            compose::ALL_SUPPORTED
        } else {
            compose::SUPPORTED
        };
        writer.header(Header::Supported, supported);
        if self.reliable && required {
            writer.header(Header::Require, reliable::OPTION);
        }
        if self.trusted {
            writer.header(Header::PEarlyMedia, early_media::SUPPORTED);
        }
        self.timer.ask().write(&mut writer);
        shown.write(&mut writer);
        vouching::sign(&self.dial, trunk, core, &mut writer);
        Some(compose::finish(writer, self.dial.body.as_ref()))
    }

    /// Sends its INVITE; gives back whether it went. A failure is reported.
    pub(super) fn send(&mut self, wire: &mut Wire<'_>) -> bool {
        let mut invite = self.invite(wire.core);
        let length = invite.as_ref().map_or(0, Bytes::len);
        if length > LONGEST_BY_UDP
            && self.path.transport == Transport::Udp
            && let Some(by_tcp) = self.by_tcp
        {
            self.path = by_tcp;
            invite = self.invite(wire.core);
        }
        let Some(bytes) = invite else {
            wire.event(Side::Callee, LegEvent::Failed(DialFailure::Transport));
            return false;
        };
        let sent = wire.request(
            (Side::Callee, Owner::Dial(wire.key)),
            (Method::Invite, self.branch.clone()),
            (bytes, self.path),
            &[],
        );
        let Some(id) = sent else {
            let cause = Cause {
                sip: WITHHELD,
                q850: 0,
            };
            let failure = DialFailure::Response {
                cause,
                retry_after: 0,
            };
            wire.event(Side::Callee, LegEvent::Failed(failure));
            return false;
        };
        self.id = id;
        true
    }

    /// A request that was too long for UDP and could not be sent by TCP goes by UDP after all
    /// (RFC 3261 §18.1.1). Gives back whether it did.
    fn fall_back(&mut self, wire: &mut Wire<'_>) -> bool {
        if self.path == self.hop {
            return false;
        }
        (self.path, self.by_tcp) = (self.hop, None);
        self.branch = wire.branch();
        self.send(wire)
    }

    /// What INVITE and CANCEL share (§9.1).
    fn start(
        &self,
        method: Method,
        max_forwards: Option<u8>,
        core: &Core,
    ) -> crate::sip::message::Writer {
        let mut writer = compose::request(
            core,
            (method, &self.uri),
            &self.branch,
            self.path,
            max_forwards,
        );
        writer.header(Header::From, &self.local);
        writer.header(Header::To, &self.to);
        writer.header(Header::CallId, &self.call_id);
        writer.header_fmt(
            Header::CSeq,
            format_args!("{} {}", self.cseq, method.as_str()),
        );
        writer
    }

    /// The fork that a To-tag stands for.
    fn fork(&self, tag: &str) -> Option<Fork> {
        let early = self.forks.iter().find(|early| *early.tag == *tag)?;
        Some(early.fork)
    }

    /// Nobody waits for it any more: CANCEL now, or when the first provisional response is there.
    /// Its early dialogs end: gives back the last sequence number of ours in any.
    fn give_up(&mut self, cause: Cause, wire: &mut Wire<'_>) -> u32 {
        if self.given_up.is_some() {
            return 0;
        }
        let cseq = self.end_early(wire);
        self.given_up = Some(GivenUp {
            cause,
            forget_at: None,
        });
        if self.provisional {
            self.send_cancel(cause, wire);
        } else {
            self.note_silence(wire);
        }
        cseq
    }

    /// What a response says of the hop: 503 is a failure of it (RFC 3263 §4.3); 100 is not the word of
    /// whoever is behind it.
    fn note_hop(&self, message: &Message, wire: &mut Wire<'_>) {
        match message.status().unwrap_or_default() {
            0..=100 => {}
            503 => wire
                .core
                .hop_failed(self.hop, retry_after(message), wire.now),
            _ => wire.core.hop_heard(self.hop, wire.now),
        }
    }

    /// Nothing came back in time: the hop has failed.
    fn note_silence(&self, wire: &mut Wire<'_>) {
        if !self.provisional && wire.now >= self.dialled_at + SILENCE {
            wire.core.hop_failed(self.hop, 0, wire.now);
        }
    }

    fn send_cancel(&mut self, cause: Cause, wire: &mut Wire<'_>) {
        let mut writer = self.start(Method::Cancel, None, wire.core);
        writer.header(Header::Reason, &reason::of_request(cause));
        wire.request(
            (Side::Callee, Owner::Cancel),
            (Method::Cancel, self.branch.clone()),
            (writer.finish(None), self.path),
            &[],
        );
        let at = wire.now + wire.core.patience();
        self.given_up = Some(GivenUp {
            cause,
            forget_at: Some(at),
        });
        wire.core.arm(at, Timer::Cancel(wire.key));
    }
}

/// What the INVITE of a 2xx asked for, by its To: the target of a 2xx that names none.
pub(super) fn dialled(success: &Message) -> &str {
    let to = success.get(Header::To).and_then(NameAddr::parse);
    to.map_or("", |to| to.uri)
}

/// Seconds of Retry-After, 0 if none.
fn retry_after(message: &Message) -> u32 {
    let Some(text) = message.get(Header::RetryAfter) else {
        return 0;
    };
    let digits = text
        .trim()
        .split(|character: char| !character.is_ascii_digit())
        .next()
        .unwrap_or_default();
    digits.parse().unwrap_or(0)
}
