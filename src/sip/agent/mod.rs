//! The user agent core: speaks SIP for both legs of every call, in the words of
//! [`crate::call::event`].
//!
//! ```text
//!   datagram --> sources --> shedding --> codec --> transaction --> dispatch
//!                (whose?)   (503 unread)  (400)                       |
//!        new INVITE: challenge --> screening --> legs                 |
//!        in a dialog, response, ACK, CANCEL, timeout: legs <----------'
//!
//!   legs = caller_leg (UAS) + callee_leg (UAC), each then a session (one dialog)
//!          everything they send: compose --> wire (guard) --> transaction --> Transmit
//! ```
//!
//! What the call must know comes out as [`Output::Event`]; what it wants comes in as
//! [`Input::Command`].
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::panic
    )
)]

mod body;
mod callee_early;
mod callee_leg;
mod caller_early;
mod caller_id;
mod caller_leg;
mod calls;
mod certified;
mod challenge;
mod compose;
mod core;
mod credentials;
mod dispatch;
mod early_media;
mod hops;
mod identity;
mod learning;
mod legs;
mod looping;
mod parting;
mod peers;
mod probe;
mod reason;
mod refresh;
mod reinvite;
mod resending;
mod resubmission;
mod screening;
mod session;
mod settings;
mod shedding;
mod sources;
mod strays;
#[cfg(test)]
mod tests;
mod transports;
mod update;
mod vouching;

use super::codec::{self, Peek};
use super::locate;
use super::message::{Header, Message, Method, Path};
use super::transaction::{self, TransactionId};
use crate::call::event::{Cause, Invite, LegEvent, SipCommand};
use crate::domain::{CallKey, Now, Side, TrunkId};
use crate::sip::dialog::Tag;
use crate::sip::digest::Gate;
use crate::sip::steering::Shard;
use bytes::Bytes;
use compose::Refusal;
use hashbrown::HashMap;
use legs::Legs;
use sources::Source;
use std::net::IpAddr;
use std::time::Instant;

pub use super::dialog::Entropy;
pub use super::dialog::session_timer::Policy as SessionPolicy;
pub use super::digest::{Account, Algorithm, Login, Password};
pub use settings::{Listening, NumberForm, Reliability, Settings, Target, Trunk};
pub use vouching::IdentityPolicy;

/// What the agent is told.
#[derive(Debug)]
pub enum Input {
    /// A message came: a datagram, or a whole one of a stream.
    Datagram(Bytes, Path),
    /// What came by a stream is no message.
    Broken(codec::ParseError, Path),
    /// The path failed.
    PathFailed(Path),
    /// From a call.
    Command(CallKey, SipCommand),
    /// New settings.
    Settings(Box<Settings>),
    /// Draining (no new INVITE is taken; OPTIONS answer 503) or no longer.
    Draining(bool),
    /// What the DNS says of a target: its hops in the order of their ranks; none: it has none.
    Hops(Box<(locate::Target, Vec<locate::Hop>)>),
    /// Another worker's [`Output::HopNews`].
    HopNews(Path, Option<Instant>),
    /// A datagram came that is an INVITE and has waited for too long: 503 with Retry-After, unless
    /// it belongs to a call that is there.
    Shed(Bytes, Path),
}

/// What the agent reports and asks for.
#[derive(Debug)]
pub enum Output {
    /// Send these bytes: they have passed the guard.
    Transmit(Bytes, Path),
    /// A new call. Its key is fresh.
    Invite(CallKey, Box<Invite>),
    /// The next description that this leg reports came from there; after an INVITE, its own.
    Peer(CallKey, Side, IpAddr),
    /// From a leg.
    Event(CallKey, Side, LegEvent),
    /// Call-ID that the callee's leg of this call uses, for the record.
    CalleeLeg(CallKey, Box<str>),
    /// A trunk answered OPTIONS (anything but 408 and 503), or did not (408, 503, timeout,
    /// transport).
    TrunkProbe(TrunkId, bool),
    /// How many hops an outbound trunk has, how many of them do not rest, and, if they were found
    /// by name, whether the first of these has an IPv6 address.
    #[allow(missing_docs)]
    TrunkHops {
        trunk: TrunkId,
        total: usize,
        usable: usize,
        v6: Option<bool>,
    },
    /// A hop rests until then, for its requests failed; or was heard of again. For the agents of
    /// other workers, which have the same hops.
    HopNews(Path, Option<Instant>),
    /// The guard found something: header or part, and what was done.
    GuardHit(CallKey, Box<str>),
    /// Something to count (name, label).
    Count(&'static str, &'static str),
    /// All dialogs of the call are gone, and all transactions that it could still learn from: no
    /// event of it will come, no command to it does anything. The cause is the last one known.
    Gone(CallKey, Cause),
}

/// What is alive in an agent, for metrics and leak tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alive {
    /// Calls with a leg that is not over.
    pub calls: usize,
    /// Tags of ours in dialogs, early ones included.
    pub dialogs: usize,
    /// Client transactions.
    pub client_transactions: usize,
    /// Server transactions.
    pub server_transactions: usize,
}

/// Seconds of Retry-After when we shed load: this, and up to as much again, lest all come back at
/// once.
const RETRY_AFTER: u64 = 5;

/// Timers that one call of `handle_timeout` runs; the rest are due at once again, so that messages
/// get their turn.
const TIMER_BUDGET: usize = 512;

/// The agent: the sans-IO contract of every core.
pub struct Agent {
    core: core::Core,
    calls: calls::Calls,
    probes: probe::Probes,
    /// Calls by the hash of their INVITE's Call-ID.
    invites: HashMap<u64, CallKey>,
    /// Keeps outsiders from choosing Call-IDs that meet in `invites`.
    seed: u64,
    draining: bool,
    /// When an INVITE was last answered 503 unread.
    last_shed: Option<Instant>,
    started: bool,
    /// The leg that the message in work belongs to, and its To, if it is a failure response to an
    /// INVITE of ours: the transaction layer answers it by an ACK of its own.
    failing: Option<(CallKey, Side, Box<str>)>,
}

impl Agent {
    /// An agent without calls. Trunks are first probed when it is first told the time.
    #[must_use]
    pub fn new(settings: Settings, entropy: Box<dyn Entropy>) -> Self {
        let mut core = core::Core::new(settings, entropy);
        let seed = core.entropy.next();
        Self {
            core,
            calls: calls::Calls::default(),
            probes: probe::Probes::default(),
            invites: HashMap::new(),
            seed,
            draining: false,
            last_shed: None,
            started: false,
            failing: None,
        }
    }

    /// The same agent as one of several workers: its Call-IDs lead to it, and the first one asks the
    /// trunks for all.
    #[must_use]
    pub fn at(mut self, shard: Shard) -> Self {
        self.core.shard = shard;
        self
    }

    /// The same agent with a gate whose key and memory it shares with the other workers.
    #[must_use]
    pub fn behind(mut self, gate: Gate) -> Self {
        self.core.gate = Some(Box::new(gate));
        self
    }

    /// Whether new calls may come from there.
    pub fn is_inbound(&mut self, address: IpAddr) -> bool {
        matches!(self.core.sources.find(address), Source::Inbound(_))
    }

    /// Takes what happened. [`Agent::poll_output`] then has what comes of it.
    pub fn handle(&mut self, input: Input, now: Now) {
        self.core.wall = now.wall;
        self.start(now.mono);
        self.forget_parted(now.mono);
        match input {
            Input::Datagram(bytes, path) => self.on_datagram(bytes, path, false, now),
            Input::HopNews(path, until) => self.core.hop_news(path, until, now.mono),
            Input::Shed(bytes, path) => self.on_datagram(bytes, path, true, now),
            Input::Broken(error, path) => self.on_broken(&error, path),
            Input::PathFailed(path) => {
                let input = transaction::Input::PathFailed(path);
                self.core.transactions.handle(input, now.mono);
            }
            Input::Command(key, command) => self.in_call(key, now.mono, |legs, core, now| {
                legs.command(command, core, now);
            }),
            Input::Settings(settings) => {
                self.core.configure(*settings);
                self.core.tell_all_hops(now.mono);
                self.probes.configure(&mut self.core, now.mono);
            }
            Input::Hops(found) => self.core.take_hops(&found.0, &found.1, now.mono),
            Input::Draining(draining) => self.draining = draining,
        }
        self.drain(now);
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.core.outputs.pop_front()
    }

    /// When [`Agent::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let own = self.core.next_timer();
        let theirs = self.core.transactions.poll_timeout();
        match (own, theirs) {
            (Some(own), Some(theirs)) => Some(own.min(theirs)),
            (own, theirs) => own.or(theirs),
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.start(now.mono);
        self.forget_parted(now.mono);
        self.core.transactions.handle_timeout(now.mono);
        self.drain(now);
        for _ in 0..TIMER_BUDGET {
            let Some(timer) = self.core.due(now.mono) else {
                return;
            };
            match timer {
                core::Timer::Probe(trunk) => self.probes.on_timer(trunk, &mut self.core, now.mono),
                core::Timer::Hops(trunk) => self.core.tell_hops(trunk, now.mono),
                core::Timer::Accept(key, _)
                | core::Timer::Reinvite(key, _)
                | core::Timer::Session(key, _)
                | core::Timer::Cancel(key)
                | core::Timer::Silence(key)
                | core::Timer::Provisional(key)
                | core::Timer::Progress(key) => self.in_call(key, now.mono, |legs, core, now| {
                    legs.on_timer(timer, core, now);
                }),
            }
            self.drain(now);
        }
    }

    /// Whether an address is a trunk's, or that of a party of a call.
    #[must_use]
    pub fn knows(&self, address: IpAddr) -> bool {
        self.core.sources.find(address) != Source::Unknown
    }

    /// The inbound trunk at an address, if there are others beside it.
    #[must_use]
    pub fn sharer(&self, address: IpAddr) -> Option<TrunkId> {
        match self.core.sources.find(address) {
            Source::Inbound(trunk) if self.core.sources.has_several() => Some(trunk),
            _ => None,
        }
    }

    /// Whether strangers get an answer.
    #[must_use]
    pub fn answers_strangers(&self) -> bool {
        self.core.settings.refuse_unknown
    }

    /// Whether nothing is alive.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.alive() == Alive::default()
    }

    /// Counters of the transaction table.
    #[must_use]
    pub fn counters(&self) -> transaction::Counters {
        self.core.transactions.counters()
    }

    /// What is alive.
    #[must_use]
    pub fn alive(&self) -> Alive {
        let (client, server) = self.core.transactions.alive();
        Alive {
            calls: self.calls.alive(),
            dialogs: self.core.dialogs.len(),
            client_transactions: client,
            server_transactions: server,
        }
    }

    fn start(&mut self, now: Instant) {
        if !self.started {
            self.started = true;
            self.core.tell_all_hops(now);
            self.probes.configure(&mut self.core, now);
        }
    }

    // ---- datagrams ----

    fn on_datagram(&mut self, datagram: Bytes, path: Path, shed: bool, now: Now) {
        match codec::first_line_peek(&datagram) {
            Peek::Request(method) => self.on_raw_request(method, (datagram, path), shed, now),
            Peek::Response => match codec::parse(datagram) {
                Ok(message) if !self.core.transactions.fits(&message) => {
                    self.core.count("sip_dropped", "unfit-response");
                }
                Ok(message) if self.is_heard(&message, path) => self.receive(message, path, now),
                Ok(_) => self.core.count("sip_dropped", "foreign-response"),
                Err(_) => self.core.count("sip_dropped", "malformed-response"),
            },
            Peek::Keepalive => self.core.count("sip_dropped", "keepalive"),
            Peek::Garbage => match self.core.sources.find(path.remote.ip()) {
                Source::Unknown => self.core.count("sip_dropped", "unknown-source"),
                _ => self.core.count("sip_dropped", "garbage"),
            },
        }
    }

    fn on_raw_request(
        &mut self,
        method: Method,
        (datagram, path): (Bytes, Path),
        shed: bool,
        now: Now,
    ) {
        let source = self.core.sources.find(path.remote.ip());
        if source == Source::Unknown {
            return self.on_unknown(method, &datagram, path);
        }
        if self.lacks_certificate(source, path) {
            return self.refuse_uncertified(method, &datagram, path);
        }
        let may_call = method == Method::Invite && matches!(source, Source::Inbound(_));
        let shedding = self.shedding(shed).filter(|_| may_call);
        if let Some(reason) = shedding
            && let Some(call_id) = self.may_be_shed(&datagram)
        {
            return self.shed(&datagram, (call_id, reason), path, now.mono);
        }
        if method == Method::Ack && self.is_ack_of_shed(&datagram, now.mono) {
            return self.core.count("sip_dropped", "shed-ack");
        }
        match codec::parse(datagram.clone()) {
            Ok(message) if !self.is_welcome(source, &message, path) => {
                self.on_unknown(method, &datagram, path);
            }
            Ok(message) if self.is_party(&message, path) == Some(false) => {
                self.turn_away(&message, path);
            }
            Ok(message) => match shedding.filter(|_| self.is_new_call(&message)) {
                Some(reason) => {
                    let call_id = message.call_id().as_bytes();
                    self.shed(&datagram, (call_id, reason), path, now.mono);
                }
                None => self.receive(message, path, now),
            },
            Err(error) => self.refuse_malformed(&error, path),
        }
    }

    fn refuse_malformed(&mut self, error: &codec::ParseError, path: Path) {
        self.core.count("sip_refused", "malformed");
        let tag = Tag::draw(&mut *self.core.entropy).to_string();
        if let Some((bytes, path)) = error.response(&tag, path) {
            self.core.emit(Output::Transmit(bytes, path));
        }
    }

    /// The front of a stream that cannot be read on (RFC 3261 §18.3): answered where it can be.
    fn on_broken(&mut self, error: &codec::ParseError, path: Path) {
        if self.core.sources.find(path.remote.ip()) == Source::Unknown {
            return self.core.count("sip_dropped", "unknown-source");
        }
        match error.peek() {
            Peek::Request(_) => self.refuse_malformed(error, path),
            Peek::Response => self.core.count("sip_dropped", "malformed-response"),
            Peek::Keepalive | Peek::Garbage => self.core.count("sip_dropped", "garbage"),
        }
    }

    /// Whether a request may come from there: anything from an inbound trunk; from an outbound
    /// one OPTIONS, and what names a dialog; from elsewhere only what belongs to a dialog whose
    /// peer is there (sip-bridging 1).
    fn is_welcome(&mut self, source: Source, message: &Message, path: Path) -> bool {
        match source {
            Source::Inbound(_) => true,
            Source::Unknown => false,
            Source::Peer if self.core.sources.is_target(path.remote.ip()) => {
                // A dialog that is gone is 481 to an outbound trunk: its BYE may be late.
                matches!(message.method(), Method::Options | Method::Cancel)
                    || Tag::read(message.to_tag()).is_some()
            }
            // The repeat of one that was answered: the call is over, and its trunk's name has
            // meanwhile led elsewhere.
            Source::Peer => {
                self.is_party(message, path) == Some(true)
                    || self.core.transactions.is_repeat(message, path.remote.ip())
            }
        }
    }

    /// Whether a response may come from there: a trunk's address, or where its request went, or
    /// the peer of the dialog that it names.
    fn is_heard(&mut self, message: &Message, path: Path) -> bool {
        let address = path.remote.ip().to_canonical();
        if self.core.sources.is_listed(address) {
            return true;
        }
        if let Some(sent) = self.core.transactions.sent_to(message) {
            return sent.remote.ip().to_canonical() == address;
        }
        let tag = Tag::read(message.from_tag());
        let place = tag.and_then(|tag| self.core.dialogs.get(&tag).copied());
        place.is_some_and(|place| self.is_peer(place, path))
    }

    /// Whether who sent a request is a party of the dialog, or of the INVITE to cancel, that it
    /// names; `None` if it names none that is there.
    fn is_party(&mut self, message: &Message, path: Path) -> Option<bool> {
        let tag = Tag::read(message.to_tag());
        let place = tag.and_then(|tag| self.core.dialogs.get(&tag).copied());
        if let Some(place) = place {
            return Some(self.is_peer(place, path) && self.has_shown(place, path));
        }
        if message.method() != Method::Cancel {
            return None;
        }
        let (id, back) = self.core.transactions.invite_of(message)?;
        Some(match self.core.owners.get(&id) {
            Some(core::Owner::Invited(key)) => {
                let place = (*key, Side::Caller);
                self.is_peer(place, path) && self.has_shown(place, path)
            }
            _ => {
                let sources = &self.core.sources;
                sources.is_same_end(back.remote.ip(), path.remote.ip())
            }
        })
    }

    /// Refuses who is no party of the dialog: it learns no more than if there were none. No
    /// transaction is made, which a party's own request with this branch would then meet.
    fn turn_away(&mut self, message: &Message, path: Path) {
        if message.method() == Method::Ack {
            return self.core.count("sip_dropped", "foreign-dialog");
        }
        self.core.count("sip_refused", "foreign-dialog");
        let tag = Tag::draw(&mut *self.core.entropy);
        let bytes = Refusal::of(481).write(message, path, Some(tag));
        let path = codec::reply_path(&message.top_via(), path);
        self.core.emit(Output::Transmit(bytes, path));
    }

    /// Whether that end of a call is where this path leads.
    fn is_peer(&mut self, (key, side): (CallKey, Side), path: Path) -> bool {
        let settings = &self.core.settings;
        let legs = self.calls.get(key);
        legs.is_some_and(|legs| legs.is_peer(side, path.remote.ip(), settings))
    }

    /// Nobody's request, or one that only an inbound trunk may bring: dropped or 403
    /// (sip-bridging 1).
    fn on_unknown(&mut self, method: Method, datagram: &[u8], path: Path) {
        if !self.core.settings.refuse_unknown || !codec::is_answerable(datagram) {
            return self.core.count("sip_dropped", "unknown-source");
        }
        if method == Method::Ack {
            return self.core.count("sip_dropped", "refused-ack");
        }
        self.core.count("sip_refused", "unknown-source");
        self.forbid(datagram, path);
    }

    /// 403, of which nothing is kept.
    fn forbid(&mut self, datagram: &[u8], path: Path) {
        let tag = Tag::draw(&mut *self.core.entropy).to_string();
        let refusal = codec::refuse(datagram, 403, codec::phrase(403), &[], &tag, path);
        if let Some((bytes, path)) = refusal {
            self.core.emit(Output::Transmit(bytes, path));
        }
    }

    /// Hands a message to the transactions.
    fn receive(&mut self, message: Message, path: Path, now: Now) {
        let failure = message.status().is_some_and(|status| status >= 300);
        if failure && message.method() == Method::Invite {
            let tag = Tag::read(message.from_tag());
            let place = tag.and_then(|tag| self.core.dialogs.get(&tag).copied());
            let to = message.get(Header::To).unwrap_or_default();
            self.failing = place.map(|(key, side)| (key, side, to.into()));
        }
        let input = transaction::Input::Receive(message, path);
        self.core.sender = Some(path.remote.ip());
        self.core.transactions.handle(input, now.mono);
        self.drain(now);
        self.core.sender = None;
        self.failing = None;
    }

    // ---- small things ----

    fn hash(&self, call_id: &[u8]) -> u64 {
        xxhash_rust::xxh3::xxh3_64_with_seed(call_id, self.seed)
    }

    /// Does something in a call, and forgets it if that was the last of it.
    fn in_call(
        &mut self,
        key: CallKey,
        now: Instant,
        act: impl FnOnce(&mut Legs, &mut core::Core, Instant),
    ) {
        let Some(legs) = self.calls.get(key) else {
            return;
        };
        act(legs, &mut self.core, now);
        if !legs.is_done() {
            return;
        }
        if let Some(legs) = self.calls.remove(key) {
            if self.invites.get(&legs.hash) == Some(&key) {
                self.invites.remove(&legs.hash);
            }
            legs.unregister(&mut self.core, now);
        }
    }

    /// Refuses a request that belongs to no call.
    fn refuse(
        &mut self,
        (id, message, path): (TransactionId, &Message, Path),
        refusal: &Refusal,
        now: Instant,
    ) {
        let tag = Tag::draw(&mut *self.core.entropy);
        let bytes = refusal.write(message, path, Some(tag));
        self.respond(id, refusal.status, bytes, now);
    }

    fn respond(&mut self, id: TransactionId, status: u16, bytes: Bytes, now: Instant) {
        let input = transaction::Input::Respond { id, status, bytes };
        self.core.transactions.handle(input, now);
    }
}
