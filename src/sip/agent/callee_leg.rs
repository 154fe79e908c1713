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

use super::LegEvent;
use super::body;
use super::caller_id::{self, Shown};
use super::compose;
use super::core::{Core, Owner, Timer, Wire};
use super::reason;
use super::session::Session;
use super::transports::LONGEST_BY_UDP;
use crate::call::event::{Cause, Dial, DialFailure, Fork};
use crate::domain::Side;
use crate::sip::dialog::{Dialog, Tag, branch, call_id};
use crate::sip::message::{Header, Message, Method, Path, Transport};
use crate::sip::transaction::{self, TransactionId};
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
    attempts: SmallVec<[Box<Attempt>; 1]>,
    session: Option<Box<Session>>,
    /// Number of the next fork: never used twice in a call.
    next_fork: u16,
    /// BYEs to forks that lost, still unanswered.
    losers: usize,
    /// Forks that lost, by our tag (each attempt has its own) and theirs: their repeated 2xx get
    /// their ACK and no second BYE.
    lost: SmallVec<[(Tag, Box<str>); 0]>,
}

/// An INVITE of ours without a final response.
#[derive(Debug)]
struct Attempt {
    id: TransactionId,
    branch: Box<str>,
    uri: Box<str>,
    tag: Tag,
    /// From with its tag.
    local: Box<str>,
    to: Box<str>,
    call_id: Box<str>,
    path: Path,
    /// Its INVITE was too long for UDP: what to send if TCP cannot be had (branch, bytes, path).
    by_udp: Option<Box<(Box<str>, Bytes, Path)>>,
    forks: SmallVec<[(Fork, Box<str>); 1]>,
    /// A provisional response has come: a CANCEL may go (§9.1).
    provisional: bool,
    given_up: Option<GivenUp>,
}

#[derive(Clone, Copy, Debug)]
struct GivenUp {
    cause: Cause,
    /// Set once the CANCEL has gone: when the attempt is forgotten.
    forget_at: Option<Instant>,
}

/// CSeq of every first request of ours.
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

    /// A new attempt. Gives back its tag.
    pub(super) fn dial(&mut self, dial: &Dial, wire: &mut Wire<'_>) -> Option<Tag> {
        if self.session.is_some() {
            return None;
        }
        let Some((mut attempt, bytes)) = Attempt::compose(dial, wire.core) else {
            wire.event(Side::Callee, LegEvent::Failed(DialFailure::Transport));
            return None;
        };
        let sent = wire.request(
            (Side::Callee, Owner::Dial(wire.key)),
            (Method::Invite, attempt.branch.clone()),
            (bytes, attempt.path),
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
            return None;
        };
        attempt.id = id;
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
            attempt.give_up(cause, wire);
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
        if status < 200 {
            return self.on_provisional(place, message, wire);
        }
        let attempt = self.attempts.remove(place);
        wire.core.owners.remove(&id);
        if status >= 300 {
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
        let dialog = Dialog::from_success(message, local, &attempt.uri, attempt.path);
        let known = attempt.fork(message.to_tag());
        let fork = known.unwrap_or_else(|| self.draw_fork());
        wire.add_peer(Side::Callee, dialog.path.remote.ip());
        if let Some(address) = wire.core.sender {
            wire.add_peer(Side::Callee, address);
        }
        self.session = Some(Box::new(Session::answered(dialog)));
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
                attempt.forks.push((fork, message.to_tag().into()));
                fork
            }
        };
        let body = body::session_if_any(message);
        let event = LegEvent::Progress { fork, status, body };
        wire.event(Side::Callee, event);
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
        if attempt.given_up.is_some() {
            return;
        }
        if failure == DialFailure::Transport && attempt.fall_back(wire) {
            return self.attempts.push(attempt);
        }
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
        self.release(message, (tag, local), ("", path), Cause::default(), wire);
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
                attempt.give_up(cause, wire);
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
    /// Writes the INVITE of an attempt; `None` if the trunk is gone, not an outbound one, or has no
    /// way to write the number.
    fn compose(dial: &Dial, core: &mut Core) -> Option<(Self, Bytes)> {
        let tag = Tag::draw(&mut *core.entropy);
        let trunk = core.settings.trunk(dial.trunk)?;
        let by_tcp = trunk.target.as_ref()?.long;
        let by_tcp = by_tcp.map(|path| (path, branch(&mut *core.entropy)));
        let branch = branch(&mut *core.entropy);
        let call_id = call_id(&mut *core.entropy);
        let core = &*core;
        let trunk = core.settings.trunk(dial.trunk)?;
        let target = trunk.target.as_ref()?;
        let number = trunk.form.write(dial.number)?;
        let user = caller_id::escaped(&number);
        let (uri, path) = (target.uri(Some(&user)), target.path);
        let domain = core.domain(path);
        let shown = Shown::new(&dial.caller_id, (&trunk.form, trunk.trusted), &domain);
        let attempt = Self {
            id: TransactionId(0),
            branch,
            tag,
            local: format!("{};tag={tag}", shown.from).into(),
            to: format!("<{}>", target.name(Some(&user))).into(),
            uri: uri.into(),
            call_id,
            path,
            by_udp: None,
            forks: SmallVec::new(),
            provisional: false,
            given_up: None,
        };
        let write = |attempt: &Self| {
            let mut writer = attempt.start(Method::Invite, Some(dial.max_forwards), core);
            compose::contact(core, &mut writer, attempt.path, target.secure);
            writer.header(Header::Allow, compose::ALLOW);
            shown.write(&mut writer);
            compose::finish(writer, dial.body.as_ref())
        };
        let bytes = write(&attempt);
        match by_tcp {
            Some((by_tcp, long_branch))
                if bytes.len() > LONGEST_BY_UDP && path.transport == Transport::Udp =>
            {
                let mut long = attempt;
                let of_udp = std::mem::replace(&mut long.branch, long_branch);
                long.path = by_tcp;
                long.by_udp = Some(Box::new((of_udp, bytes, path)));
                let bytes = write(&long);
                Some((long, bytes))
            }
            _ => Some((attempt, bytes)),
        }
    }

    /// A request that was too long for UDP and could not be sent by TCP goes by UDP after all
    /// (RFC 3261 §18.1.1). Gives back whether it did.
    fn fall_back(&mut self, wire: &mut Wire<'_>) -> bool {
        let Some((branch, bytes, path)) = self.by_udp.take().map(|by_udp| *by_udp) else {
            return false;
        };
        let sent = wire.request(
            (Side::Callee, Owner::Dial(wire.key)),
            (Method::Invite, branch.clone()),
            (bytes, path),
            &[],
        );
        let Some(id) = sent else { return false };
        (self.id, self.branch, self.path) = (id, branch, path);
        true
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
            format_args!("{FIRST_CSEQ} {}", method.as_str()),
        );
        writer
    }

    /// The fork that a To-tag stands for.
    fn fork(&self, tag: &str) -> Option<Fork> {
        let (fork, _) = self.forks.iter().find(|(_, known)| **known == *tag)?;
        Some(*fork)
    }

    /// Nobody waits for it any more: CANCEL now, or when the first provisional response is there.
    fn give_up(&mut self, cause: Cause, wire: &mut Wire<'_>) {
        if self.given_up.is_some() {
            return;
        }
        self.given_up = Some(GivenUp {
            cause,
            forget_at: None,
        });
        if self.provisional {
            self.send_cancel(cause, wire);
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

/// ACK and BYE to a 2xx of a call that is gone (its CANCEL crossed, or its ACK was lost).
pub(super) fn release_stray(
    message: &Message,
    tag: Tag,
    path: Path,
    core: &mut Core,
    now: Instant,
) {
    let local = message.get(Header::From).unwrap_or_default();
    let mut dialog = Dialog::from_success(message, (tag, local), "", path);
    if dialog.target.is_empty() {
        return core.count("sip_dropped", "stray-response");
    }
    let ack_branch = branch(&mut *core.entropy);
    let cseq = message.cseq();
    let writer = compose::in_dialog(core, &dialog, Method::Ack, cseq, &ack_branch);
    let ack = transaction::Input::Send {
        bytes: writer.finish(None),
        path: core.settings.settle(dialog.path),
    };
    core.transactions.handle(ack, now);
    if !core.note_stray(tag, message.to_tag(), now) {
        return;
    }
    let branch = branch(&mut *core.entropy);
    let cseq = dialog.next_cseq();
    let mut writer = compose::in_dialog(core, &dialog, Method::Bye, cseq, &branch);
    writer.header(Header::Reason, &reason::of_request(Cause::default()));
    let id = core.transactions.next_id();
    core.owners.insert(id, Owner::Stray);
    let bye = transaction::Input::Request {
        id,
        method: Method::Bye,
        branch,
        bytes: writer.finish(None),
        path: core.settings.settle(dialog.path),
    };
    core.transactions.handle(bye, now);
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
