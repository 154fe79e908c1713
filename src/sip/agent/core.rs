//! What all calls of an agent share: transactions, look-up tables, timers, the queue of outputs.

use super::credentials::{Logins, Proofs};
use super::hops::Hops;
use super::peers::Peers;
use super::refresh::Schedule;
use super::settings::Settings;
use super::sources::Sources;
use super::{Entropy, LegEvent, Output, SessionPolicy};
use crate::call::event::Cause;
use crate::domain::{CallKey, Side, TrunkId, UnixMillis};
use crate::sip::dialog::{Seal, Tag, branch};
use crate::sip::digest::Gate;
use crate::sip::guard::{Echo, Guard, Verdict};
use crate::sip::message::{Method, Path};
use crate::sip::steering::Shard;
use crate::sip::transaction::{self, TransactionId, Transactions};
use bytes::Bytes;
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// 64×T1 in units of T1 (RFC 3261 §17.1.1.2).
const GIVE_UP: u32 = 64;

/// T2 in units of T1: 4 s where T1 is 500 ms.
const LONGEST_REPEAT: u32 = 8;

/// Whose transaction it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// Client: the INVITE of a dial attempt.
    Dial(CallKey),
    /// Client: a re-INVITE or an UPDATE.
    Reinvite(CallKey, Side),
    /// Client: the BYE that ends a leg.
    Bye(CallKey, Side),
    /// Client: PRACK in an early dialog of the callee's leg.
    Prack(CallKey),
    /// Client: another request in a leg's dialog (INFO).
    Inside(CallKey, Side),
    /// Client: an UPDATE that refreshes a session.
    Refresh(CallKey, Side),
    /// Client: BYE to a fork that lost.
    Loser(CallKey),
    /// Client: CANCEL, whose response says nothing.
    Cancel,
    /// Client: BYE to a 2xx of a call long gone.
    Stray,
    /// Client: OPTIONS to a trunk.
    Probe(TrunkId),
    /// Client: OPTIONS to a hop that failed.
    HopProbe(Path),
    /// Server: the INVITE that made the call.
    Invited(CallKey),
}

/// What a timer is for. It is checked with its owner when it fires, so a timer need not be taken
/// back: the owner knows better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Repeat our 2xx, or give up waiting for its ACK (RFC 3261 §13.3.1.4).
    Accept(CallKey, Side),
    /// Try the re-INVITE again after a 491 (§14.1).
    Reinvite(CallKey, Side),
    /// Refresh the session, or give it up (RFC 4028).
    Session(CallKey, Side),
    /// Give up waiting for the end of a cancelled INVITE (§9.1).
    Cancel(CallKey),
    /// Repeat a reliable provisional response until its PRACK is there (RFC 3262 §3).
    Provisional(CallKey),
    /// Repeat the last provisional response (§13.3.1.1).
    Progress(CallKey),
    /// OPTIONS to a trunk.
    Probe(TrunkId),
    /// Nothing was heard of an attempt's hop.
    Silence(CallKey),
    /// A hop of the trunk has rested.
    Hops(TrunkId),
}

/// What all calls share.
pub(super) struct Core {
    pub(super) settings: Settings,
    /// Our own hosts and addresses.
    pub(super) own: Own,
    pub(super) sources: Sources,
    /// Hops that rest.
    pub(super) hops: Hops,
    /// Which of several workers this is.
    pub(super) shard: Shard,
    pub(super) entropy: Box<dyn Entropy>,
    pub(super) transactions: Transactions,
    pub(super) owners: HashMap<TransactionId, Owner>,
    /// Legs by our tag.
    pub(super) dialogs: HashMap<Tag, (CallKey, Side)>,
    pub(super) outputs: VecDeque<Output>,
    /// Theirs for us: given, or made when a trunk first asks for it.
    pub(super) gate: Option<Box<Gate>>,
    /// Ours for them.
    pub(super) logins: Logins,
    /// Where the message in work came from.
    pub(super) sender: Option<IpAddr>,
    /// Time of day, for what we sign.
    pub(super) wall: UnixMillis,
    /// Peers of calls that are gone.
    pub(super) parting: super::parting::Parting,
    /// Proves the tags of our dialogs.
    pub(super) seal: Seal,
    pub(super) strays: super::strays::Strays,
    timers: BinaryHeap<Reverse<(Instant, Timer)>>,
    /// Session timers of all legs.
    pub(super) sessions: Schedule,
}

impl Core {
    pub(super) fn new(settings: Settings, mut entropy: Box<dyn Entropy>) -> Self {
        let seal = Seal::draw(&mut *entropy);
        let mut sources = Sources::default();
        sources.configure(&settings);
        Self {
            transactions: transactions(&settings),
            own: Own::of(&settings),
            settings,
            sources,
            hops: Hops::default(),
            shard: Shard::default(),
            entropy,
            owners: HashMap::new(),
            dialogs: HashMap::new(),
            outputs: VecDeque::new(),
            gate: None,
            logins: Logins::default(),
            sender: None,
            wall: UnixMillis(0),
            seal,
            strays: super::strays::Strays::default(),
            parting: super::parting::Parting::default(),
            timers: BinaryHeap::new(),
            sessions: Schedule::default(),
        }
    }

    /// Says something to the outside.
    pub(super) fn emit(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    /// Counts something.
    pub(super) fn count(&mut self, name: &'static str, label: &'static str) {
        self.emit(Output::Count(name, label));
    }

    /// Sets a timer.
    pub(super) fn arm(&mut self, at: Instant, timer: Timer) {
        self.timers.push(Reverse((at, timer)));
    }

    /// When the next timer fires.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        let first = self.timers.peek().map(|Reverse((at, _))| *at);
        first.into_iter().chain(self.sessions.next()).min()
    }

    /// A timer whose time has come.
    pub(super) fn due(&mut self, now: Instant) -> Option<Timer> {
        if self.next_timer()? > now {
            return None;
        }
        if self.sessions.next().is_some_and(|at| at <= now) {
            let leg = self.sessions.pop();
            return leg.map(|(key, side)| Timer::Session(key, side));
        }
        self.timers.pop().map(|Reverse((_, timer))| timer)
    }

    /// Timers set and not yet fired.
    #[cfg(test)]
    pub(super) fn timers(&self) -> usize {
        self.timers.len() + self.sessions.len()
    }

    /// A Call-ID for a leg or a question of ours.
    pub(super) fn call_id(&mut self) -> Box<str> {
        self.shard.call_id(&mut *self.entropy)
    }

    /// A tag of ours for dialogs with this Call-ID.
    pub(super) fn tag(&mut self, call_id: &str) -> Tag {
        self.seal.tag(call_id, &mut *self.entropy)
    }

    /// T1.
    pub(super) fn t1(&self) -> Duration {
        self.settings.t1
    }

    /// T2.
    pub(super) fn t2(&self) -> Duration {
        self.settings.t1.saturating_mul(LONGEST_REPEAT)
    }

    /// 64×T1.
    pub(super) fn patience(&self) -> Duration {
        self.settings.t1.saturating_mul(GIVE_UP)
    }

    /// A random figure below `bound` (which is small beside 2^64).
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.entropy.next().checked_rem(bound).unwrap_or(0)
    }

    /// Host and port that Via and Contact name for one of our sockets.
    pub(super) fn advertised(&self, local: SocketAddr) -> std::borrow::Cow<'_, str> {
        self.settings
            .advertised
            .iter()
            .find(|(address, _)| *address == local)
            .map_or_else(|| local.to_string().into(), |(_, host)| (&**host).into())
    }

    /// Whether a Via's sent-by is ours.
    pub(super) fn is_advertised(&self, sent_by: &str) -> bool {
        let settings = &self.settings;
        let udp = settings.advertised.iter().map(|(_, host)| host);
        let mut all = udp.chain(settings.streams.iter().map(|one| &one.advertised));
        all.any(|host| host.eq_ignore_ascii_case(sent_by))
    }

    /// Takes new settings. T1 stays what it was.
    pub(super) fn configure(&mut self, mut settings: Settings) {
        settings.keep_hops(&self.settings);
        self.sources.configure(&settings);
        self.own = Own::of(&settings);
        self.settings = settings;
    }
}

/// Hosts and addresses that are ours: messages may name them to anybody.
#[derive(Debug, Default)]
pub(super) struct Own {
    addresses: Arc<[IpAddr]>,
    names: SmallVec<[Box<str>; 2]>,
}

impl Own {
    fn of(settings: &Settings) -> Self {
        let mut addresses = settings.own.clone();
        let mut names = SmallVec::new();
        let streams = settings.streams.iter();
        let streams = streams.map(|one| (one.local, &one.advertised));
        let datagrams = settings
            .advertised
            .iter()
            .map(|(local, host)| (*local, host));
        for (local, host) in datagrams.chain(streams) {
            addresses.push(local.ip());
            let host = without_port(host).trim_matches(['[', ']']);
            match host.parse() {
                Ok(address) => addresses.push(address),
                Err(_) => names.push(host.to_ascii_lowercase().into()),
            }
        }
        addresses.sort_unstable();
        addresses.dedup();
        Self {
            addresses: addresses.into(),
            names,
        }
    }

    /// All of them, for the guard of a call.
    pub(super) fn addresses(&self) -> Arc<[IpAddr]> {
        Arc::clone(&self.addresses)
    }

    /// Whether an address is ours.
    pub(super) fn has_ip(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
    }

    /// Whether a host, literal or name, is ours.
    pub(super) fn has_host(&self, host: &str) -> bool {
        let host = host.trim_matches(['[', ']']);
        match host.parse() {
            Ok(address) => self.has_ip(address),
            Err(_) => self
                .names
                .iter()
                .any(|name| name.eq_ignore_ascii_case(host)),
        }
    }
}

/// `host` of `host:port`; an IPv6 literal keeps its brackets.
pub(super) fn without_port(host: &str) -> &str {
    let end = match host.rfind(']') {
        Some(bracket) => bracket.saturating_add(1),
        None => host.find(':').unwrap_or(host.len()),
    };
    host.get(..end).unwrap_or(host)
}

/// The transaction table for these settings.
fn transactions(settings: &Settings) -> Transactions {
    Transactions::new(transaction::Settings {
        t1: settings.t1,
        ..transaction::Settings::default()
    })
}

/// One call's way to the wire: everything that it sends passes its guard here.
pub(super) struct Wire<'a> {
    /// What all calls share.
    pub(super) core: &'a mut Core,
    /// The call.
    pub(super) key: CallKey,
    /// Its protected values.
    pub(super) guard: &'a mut Guard,
    /// Sides whose message was withheld: their leg cannot go on.
    pub(super) withheld: [bool; 2],
    /// Who its ends are.
    pub(super) peers: &'a mut Peers,
    /// Our INFOs that are unanswered, by side.
    pub(super) infos: &'a mut [u8; 2],
    /// Credentials of its INVITEs.
    pub(super) proofs: &'a mut Proofs,
    /// What ended it, as far as is known.
    pub(super) last: &'a mut Cause,
    /// The time.
    pub(super) now: Instant,
}

impl Wire<'_> {
    /// Reports something of a leg.
    pub(super) fn event(&mut self, side: Side, event: LegEvent) {
        if let Some(cause) = super::legs::end_of(&event) {
            *self.last = cause;
        }
        if super::legs::describes(&event)
            && let Some(address) = self.core.sender
        {
            self.core.emit(Output::Peer(self.key, side, address));
        }
        self.core.emit(Output::Event(self.key, side, event));
    }

    /// An end of the call is there: its requests inside a dialog are taken from there.
    pub(super) fn add_peer(&mut self, side: Side, address: IpAddr) {
        if !self.peers.add(side, address, &mut self.core.sources) {
            self.core.count("sip_bounds", "peers");
        }
    }

    /// How that side's trunk has its session timers.
    pub(super) fn session_policy(&self, side: Side) -> SessionPolicy {
        let trunk = self.peers.trunk(side);
        self.core.settings.session_policy(trunk)
    }

    /// Our INFOs that are unanswered on one side.
    pub(super) fn infos(&mut self, side: Side) -> &mut u8 {
        let [caller, callee] = &mut *self.infos;
        match side {
            Side::Caller => caller,
            Side::Callee => callee,
        }
    }

    /// Starts a client transaction; `None` if the guard keeps the request.
    pub(super) fn request(
        &mut self,
        (side, owner): (Side, Owner),
        (method, branch): (Method, Box<str>),
        (bytes, path): (Bytes, Path),
        echoed: &[&str],
    ) -> Option<TransactionId> {
        let path = self.core.settings.settle(path);
        let (bytes, added) = self.proven(side, (method, bytes, path), None, echoed)?;
        let kept = added.is_asked().then(|| (branch.clone(), bytes.clone()));
        let id = self.start(owner, (method, branch), (bytes, path));
        if let Some((branch, bytes)) = kept {
            self.await_challenge(id, (method, &branch), (&bytes, path), (added, echoed));
        }
        Some(id)
    }

    /// Starts a client transaction with what the guard has seen.
    pub(super) fn start(
        &mut self,
        owner: Owner,
        (method, branch): (Method, Box<str>),
        (bytes, path): (Bytes, Path),
    ) -> TransactionId {
        let id = self.core.transactions.next_id();
        self.core.owners.insert(id, owner);
        let input = transaction::Input::Request {
            id,
            method,
            branch,
            bytes,
            path,
        };
        self.core.transactions.handle(input, self.now);
        id
    }

    /// Responds in a server transaction. Gives back what was sent.
    pub(super) fn respond(
        &mut self,
        side: Side,
        id: TransactionId,
        status: u16,
        bytes: Bytes,
    ) -> Option<Bytes> {
        let bytes = self.checked(side, bytes, Echo::Response)?;
        let input = transaction::Input::Respond {
            id,
            status,
            bytes: bytes.clone(),
        };
        self.core.transactions.handle(input, self.now);
        Some(bytes)
    }

    /// Sends an ACK to a 2xx. Gives back what was sent.
    pub(super) fn acknowledge(
        &mut self,
        side: Side,
        (bytes, path): (Bytes, Path),
        echoed: &[&str],
    ) -> Option<Bytes> {
        let (bytes, own) = self.proven_ack(bytes, path);
        let mut known: SmallVec<[&str; 16]> = echoed.iter().copied().collect();
        known.extend(own.iter().map(|text| &**text));
        let bytes = self.checked(side, bytes, Echo::Request(&known))?;
        self.repeat(bytes.clone(), path);
        Some(bytes)
    }

    /// Sends once more what the guard has seen.
    pub(super) fn repeat(&mut self, bytes: Bytes, path: Path) {
        let path = self.core.settings.settle(path);
        let input = transaction::Input::Send { bytes, path };
        self.core.transactions.handle(input, self.now);
    }

    /// Wants nothing more of a client INVITE transaction.
    pub(super) fn detach(&mut self, id: TransactionId) {
        self.core.owners.remove(&id);
        self.core.logins.forget(id);
        let input = transaction::Input::Detach { id };
        self.core.transactions.handle(input, self.now);
    }

    /// A branch for a new request.
    pub(super) fn branch(&mut self) -> Box<str> {
        branch(&mut *self.core.entropy)
    }

    /// What the guard lets pass of a message.
    pub(super) fn checked(&mut self, side: Side, bytes: Bytes, echo: Echo<'_>) -> Option<Bytes> {
        match self.guard.check(&bytes, side, echo) {
            Verdict::Clean => Some(bytes),
            Verdict::Cleaned { bytes, fields } => {
                for field in fields {
                    let text = format!("{field}: removed");
                    self.core.emit(Output::GuardHit(self.key, text.into()));
                }
                Some(bytes)
            }
            Verdict::Withheld(field) => {
                let text = format!("{field}: message withheld");
                self.core.emit(Output::GuardHit(self.key, text.into()));
                match side {
                    Side::Caller => self.withheld[0] = true,
                    Side::Callee => self.withheld[1] = true,
                }
                None
            }
        }
    }
}
