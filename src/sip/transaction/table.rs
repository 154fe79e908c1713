//! The table of all transactions of one worker.

use super::client::Client;
use super::invite_client::InviteClient;
use super::invite_server::InviteServer;
use super::key::{self, Key};
use super::server::Server;
use super::timer::{Settings, Timer, Timers, Turn};
use super::{Counters, Input, Output, TransactionId};
use crate::sip::codec;
use crate::sip::dialog::Tag;
use crate::sip::message::{Header, Message, Method, Path};
use bytes::Bytes;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::fmt;
use std::hash::BuildHasher;
use std::time::Instant;

/// Transactions whose timers one call of `handle_timeout` runs: the rest are due at once again, so
/// that messages get their turn.
const TIMEOUT_BUDGET: usize = 512;

/// The table: the sans-IO contract of every core.
///
/// Transactions lie in an arena. Three indexes lead there: by id (commands), by matching key
/// (messages), by next deadline (timers). A deadline that has moved back is found out when it
/// comes up, so that a timer costs one heap entry, not one for each time it is armed or stopped.
pub struct Transactions {
    settings: Settings,
    next_id: u64,
    arena: Arena,
    by_id: HashMap<TransactionId, u32>,
    by_key: HashTable<u32>,
    hasher: DefaultHashBuilder,
    deadlines: BinaryHeap<Reverse<(Instant, TransactionId)>>,
    /// Client transactions without a response, by where their request went.
    unanswered: HashMap<Path, BTreeSet<TransactionId>>,
    /// Server transactions that a merged request would meet, counted by hash.
    mergeable: HashMap<u64, u32>,
    outputs: VecDeque<Output>,
    counters: Counters,
    clients: usize,
    servers: usize,
}

/// One transaction: its machine and what the table needs to find it.
struct Entry {
    id: TransactionId,
    hash: u64,
    key: Box<[u8]>,
    path: Path,
    timers: Timers,
    /// The earliest deadline that stands in the heap for it.
    queued: Option<Instant>,
    machine: Machine,
    /// Its count in `mergeable`.
    merge: Option<u64>,
    merged: bool,
    /// Whether it stands in `unanswered`.
    unanswered: bool,
    /// What responses to it must repeat; of client transactions.
    asked: Option<codec::Asked>,
}

#[derive(Debug)]
enum Machine {
    InviteClient(InviteClient),
    Client(Client),
    InviteServer(InviteServer),
    Server(Server),
}

impl Machine {
    fn is_client(&self) -> bool {
        matches!(self, Self::InviteClient(_) | Self::Client(_))
    }

    fn is_terminated(&self) -> bool {
        match self {
            Self::InviteClient(machine) => machine.is_terminated(),
            Self::Client(machine) => machine.is_terminated(),
            Self::InviteServer(machine) => machine.is_terminated(),
            Self::Server(machine) => machine.is_terminated(),
        }
    }

    fn awaits_response(&self) -> bool {
        match self {
            Self::InviteClient(machine) => machine.awaits_response(),
            Self::Client(machine) => machine.awaits_response(),
            Self::InviteServer(_) | Self::Server(_) => false,
        }
    }

    fn expire(&mut self, timer: Timer, turn: &mut Turn<'_>) {
        match self {
            Self::InviteClient(machine) => machine.expire(timer, turn),
            Self::Client(machine) => machine.expire(timer, turn),
            Self::InviteServer(machine) => machine.expire(timer, turn),
            Self::Server(machine) => machine.expire(timer, turn),
        }
    }
}

impl Transactions {
    /// An empty table.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            next_id: 0,
            arena: Arena::default(),
            by_id: HashMap::new(),
            by_key: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            deadlines: BinaryHeap::new(),
            unanswered: HashMap::new(),
            mergeable: HashMap::new(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
            clients: 0,
            servers: 0,
        }
    }

    /// Draws an id for [`Input::Request`].
    pub fn next_id(&mut self) -> TransactionId {
        self.next_id += 1;
        TransactionId(self.next_id)
    }

    /// Takes one input; its outputs wait in [`Self::poll_output`].
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Receive(message, path) if message.status().is_some() => {
                self.receive_response(message, path, now);
            }
            Input::Receive(message, path) => self.receive_request(message, path, now),
            Input::PathFailed(path) => self.path_failed(path, now),
            Input::Request {
                id,
                method,
                branch,
                bytes,
                path,
            } => self.request(id, method, &branch, bytes, path, now),
            Input::Respond { id, status, bytes } => self.respond(id, status, bytes, now),
            Input::Send { bytes, path } => self.outputs.push_back(Output::Transmit {
                bytes,
                path,
                repeat: false,
            }),
            Input::Detach { id } => self.detach(id, now),
        }
    }

    /// The next output, in the order they arose.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called; it may find nothing to do then.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.peek().map(|Reverse((at, _))| *at)
    }

    /// Runs the timers that are due, a bounded number at once.
    pub fn handle_timeout(&mut self, now: Instant) {
        for _ in 0..TIMEOUT_BUDGET {
            match self.deadlines.peek() {
                Some(Reverse((at, _))) if *at <= now => {}
                _ => return,
            }
            let Some(Reverse((at, id))) = self.deadlines.pop() else {
                return;
            };
            let Some(slot) = self.by_id.get(&id).copied() else {
                continue;
            };
            match self.arena.get_mut(slot) {
                Some(entry) if entry.queued == Some(at) => entry.queued = None,
                _ => continue,
            }
            self.turn_entry(slot, now, |entry, turn| {
                while let Some(timer) = turn.timers.take_due(now) {
                    entry.expire(timer, turn);
                }
            });
        }
    }

    /// Transactions alive: client, server.
    #[must_use]
    pub fn alive(&self) -> (usize, usize) {
        (self.clients, self.servers)
    }

    /// Whether a transaction is alive.
    #[must_use]
    pub fn is_alive(&self, id: TransactionId) -> bool {
        self.by_id.contains_key(&id)
    }

    /// Whether a request came by two ways (RFC 3261 §8.2.2.2): when its transaction began there
    /// was another with its From tag, Call-ID and CSeq that had not failed. It is answered 482.
    #[must_use]
    pub fn is_merged(&self, id: TransactionId) -> bool {
        self.by_id
            .get(&id)
            .and_then(|slot| self.arena.get(*slot))
            .is_some_and(|entry| entry.merged)
    }

    /// The INVITE transaction that a CANCEL is for (RFC 3261 §9.2), and where its responses go.
    #[must_use]
    pub fn invite_of(&self, cancel: &Message) -> Option<(TransactionId, Path)> {
        let slot = self.find(&key::server(Method::Invite, cancel))?;
        let entry = self.arena.get(slot)?;
        Some((entry.id, entry.path))
    }

    /// Whether this is the repeat of a request whose responses go to that address.
    #[must_use]
    pub fn is_repeat(&self, request: &Message, from: std::net::IpAddr) -> bool {
        let slot = self.find(&key::server(request.method(), request));
        let entry = slot.and_then(|slot| self.arena.get(slot));
        entry.is_some_and(|entry| entry.path.remote.ip().to_canonical() == from.to_canonical())
    }

    /// Where the request went that a response is for; `None` if it belongs to no transaction.
    #[must_use]
    pub fn sent_to(&self, response: &Message) -> Option<Path> {
        let via = response.top_via();
        let key = key::client(response.method(), via.branch.unwrap_or_default(), &via);
        let entry = self.arena.get(self.find(&key)?)?;
        Some(entry.path)
    }

    /// Whether a response can be to what we asked: one Via alone, which is ours (RFC 3261 §8.1.3.3),
    /// and, where its request is known, that one's CSeq and From tag (§8.2.6.2).
    #[must_use]
    pub fn fits(&self, response: &Message) -> bool {
        let via = response.top_via();
        let key = key::client(response.method(), via.branch.unwrap_or_default(), &via);
        let entry = self.find(&key).and_then(|slot| self.arena.get(slot));
        let asked = entry.and_then(|entry| entry.asked);
        response.all(Header::Via).nth(1).is_none()
            && asked.is_none_or(|asked| {
                asked.cseq == response.cseq() && asked.tag == Tag::read(response.from_tag())
            })
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn request(
        &mut self,
        id: TransactionId,
        method: Method,
        branch: &str,
        bytes: Bytes,
        path: Path,
        now: Instant,
    ) {
        let via = codec::top_via(&bytes);
        let known = via.as_ref().map(|via| key::client(method, branch, via));
        let (Some(key), false) = (known, self.is_full()) else {
            self.counters.refused += 1;
            self.outputs.push_back(Output::TransportFailed { id });
            return;
        };
        let asked = codec::asked(&bytes);
        self.insert(id, &key, path, (None, asked), now, |turn| {
            if method == Method::Invite {
                Machine::InviteClient(InviteClient::start(bytes, turn))
            } else {
                Machine::Client(Client::start(bytes, turn))
            }
        });
    }

    fn respond(&mut self, id: TransactionId, status: u16, bytes: Bytes, now: Instant) {
        let Some(slot) = self.by_id.get(&id).copied() else {
            self.counters.late_commands += 1;
            return;
        };
        if status >= 300 {
            self.forget_merge(slot);
        }
        self.turn_entry(slot, now, |machine, turn| match machine {
            Machine::InviteServer(machine) => machine.respond(status, bytes, turn),
            Machine::Server(machine) => machine.respond(status, bytes, turn),
            Machine::InviteClient(_) | Machine::Client(_) => turn.counters.late_commands += 1,
        });
    }

    fn detach(&mut self, id: TransactionId, now: Instant) {
        let Some(slot) = self.by_id.get(&id).copied() else {
            return;
        };
        self.turn_entry(slot, now, |machine, turn| match machine {
            Machine::InviteClient(machine) => machine.detach(turn),
            Machine::Client(machine) => machine.detach(),
            Machine::InviteServer(_) | Machine::Server(_) => turn.counters.late_commands += 1,
        });
    }

    fn receive_response(&mut self, message: Message, path: Path, now: Instant) {
        let via = message.top_via();
        let key = key::client(message.method(), via.branch.unwrap_or_default(), &via);
        let Some(slot) = self.find(&key) else {
            self.counters.strays += 1;
            self.outputs.push_back(Output::Stray { message, path });
            return;
        };
        self.turn_entry(slot, now, |machine, turn| match machine {
            Machine::InviteClient(machine) => machine.receive(message, path, turn),
            Machine::Client(machine) => machine.receive(message, turn),
            Machine::InviteServer(_) | Machine::Server(_) => {}
        });
    }

    fn receive_request(&mut self, message: Message, path: Path, now: Instant) {
        let method = message.method();
        if method == Method::Ack {
            return self.receive_ack(message, path, now);
        }
        let key = key::server(method, &message);
        if let Some(slot) = self.find(&key) {
            return self.turn_entry(slot, now, |machine, turn| match machine {
                Machine::InviteServer(machine) => machine.receive_again(turn),
                Machine::Server(machine) => machine.receive_again(turn),
                Machine::InviteClient(_) | Machine::Client(_) => {}
            });
        }
        if self.is_full() {
            self.counters.refused += 1;
            return;
        }
        let invite = (method == Method::Cancel)
            .then(|| self.invite_of(&message))
            .flatten()
            .map(|(id, _)| id);
        let id = self.next_id();
        let reply = codec::reply_path(&message.top_via(), path);
        let merge = key::merge(&message).map(|key| self.hasher.hash_one(key.as_slice()));
        self.insert(id, &key, reply, (merge, None), now, |turn| {
            if method == Method::Invite {
                Machine::InviteServer(InviteServer::new())
            } else {
                Machine::Server(Server::start(turn))
            }
        });
        self.outputs.push_back(Output::Request {
            id,
            message,
            path,
            invite,
        });
    }

    fn receive_ack(&mut self, message: Message, path: Path, now: Instant) {
        let mut pass = true;
        if let Some(slot) = self.find(&key::server(Method::Invite, &message)) {
            self.turn_entry(slot, now, |machine, turn| {
                if let Machine::InviteServer(machine) = machine {
                    pass = machine.acknowledge(turn);
                }
            });
        }
        if pass {
            self.outputs.push_back(Output::Ack { message, path });
        }
    }

    fn path_failed(&mut self, path: Path, now: Instant) {
        for id in self.unanswered.remove(&path).unwrap_or_default() {
            let Some(slot) = self.by_id.get(&id).copied() else {
                continue;
            };
            if let Some(entry) = self.arena.get_mut(slot) {
                entry.unanswered = false;
            }
            self.turn_entry(slot, now, |machine, turn| match machine {
                Machine::InviteClient(machine) => machine.transport_failed(turn),
                Machine::Client(machine) => machine.transport_failed(turn),
                Machine::InviteServer(_) | Machine::Server(_) => {}
            });
        }
    }

    /// Whether no transaction more can begin: a new request would be dropped.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.by_id.len() >= self.settings.max_transactions
    }

    /// Sets the bound, which nobody waits for a million requests to reach.
    #[cfg(test)]
    pub(in crate::sip) fn set_bound(&mut self, most: usize) {
        self.settings.max_transactions = most;
    }

    fn find(&self, key: &Key) -> Option<u32> {
        let hash = self.hasher.hash_one(key.as_slice());
        self.by_key
            .find(hash, |slot| {
                self.arena
                    .get(*slot)
                    .is_some_and(|entry| *entry.key == **key)
            })
            .copied()
    }

    /// Begins a transaction; `start` makes its machine.
    fn insert(
        &mut self,
        id: TransactionId,
        key: &Key,
        path: Path,
        (merge, asked): (Option<u64>, Option<codec::Asked>),
        now: Instant,
        start: impl FnOnce(&mut Turn<'_>) -> Machine,
    ) {
        let mut timers = Timers::default();
        let machine = start(&mut Turn {
            id,
            path,
            now,
            settings: &self.settings,
            timers: &mut timers,
            outputs: &mut self.outputs,
            counters: &mut self.counters,
        });
        let merged = merge.is_some_and(|hash| {
            let count = self.mergeable.entry(hash).or_insert(0);
            *count = count.saturating_add(1);
            *count > 1
        });
        let unanswered = machine.awaits_response();
        if unanswered {
            self.unanswered.entry(path).or_default().insert(id);
        }
        if machine.is_client() {
            self.clients += 1;
        } else {
            self.servers += 1;
        }
        let hash = self.hasher.hash_one(key.as_slice());
        let slot = self.arena.insert(Entry {
            id,
            hash,
            key: key.as_slice().into(),
            path,
            timers,
            queued: None,
            machine,
            merge,
            merged,
            unanswered,
            asked,
        });
        self.by_id.insert(id, slot);
        let arena = &self.arena;
        self.by_key.insert_unique(hash, slot, |slot| {
            arena.get(*slot).map_or(0, |entry| entry.hash)
        });
        self.settle(slot);
    }

    /// Gives one machine its turn and sees to what follows from it.
    fn turn_entry(
        &mut self,
        slot: u32,
        now: Instant,
        act: impl FnOnce(&mut Machine, &mut Turn<'_>),
    ) {
        if let Some(entry) = self.arena.get_mut(slot) {
            let mut turn = Turn {
                id: entry.id,
                path: entry.path,
                now,
                settings: &self.settings,
                timers: &mut entry.timers,
                outputs: &mut self.outputs,
                counters: &mut self.counters,
            };
            act(&mut entry.machine, &mut turn);
        }
        self.settle(slot);
    }

    /// After a turn: the indexes follow the machine's state.
    fn settle(&mut self, slot: u32) {
        let Some(entry) = self.arena.get_mut(slot) else {
            return;
        };
        if entry.unanswered && !entry.machine.awaits_response() {
            entry.unanswered = false;
            let (id, path) = (entry.id, entry.path);
            forget_unanswered(&mut self.unanswered, path, id);
        }
        if entry.machine.is_terminated() {
            return self.remove(slot);
        }
        if let Some(next) = entry.timers.next()
            && entry.queued.is_none_or(|queued| next < queued)
        {
            entry.queued = Some(next);
            self.deadlines.push(Reverse((next, entry.id)));
        }
    }

    fn remove(&mut self, slot: u32) {
        self.forget_merge(slot);
        let Some(entry) = self.arena.remove(slot) else {
            return;
        };
        if let Ok(found) = self.by_key.find_entry(entry.hash, |other| *other == slot) {
            found.remove();
        }
        self.by_id.remove(&entry.id);
        if entry.machine.is_client() {
            self.clients = self.clients.saturating_sub(1);
        } else {
            self.servers = self.servers.saturating_sub(1);
        }
    }

    /// A transaction that has failed is no obstacle to the same request by another way: a carrier
    /// that goes on to its next route keeps From tag, Call-ID and CSeq.
    fn forget_merge(&mut self, slot: u32) {
        let Some(hash) = self
            .arena
            .get_mut(slot)
            .and_then(|entry| entry.merge.take())
        else {
            return;
        };
        if let Some(count) = self.mergeable.get_mut(&hash) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.mergeable.remove(&hash);
            }
        }
    }
}

fn forget_unanswered(
    unanswered: &mut HashMap<Path, BTreeSet<TransactionId>>,
    path: Path,
    id: TransactionId,
) {
    if let Some(ids) = unanswered.get_mut(&path) {
        ids.remove(&id);
        if ids.is_empty() {
            unanswered.remove(&path);
        }
    }
}

impl Default for Transactions {
    fn default() -> Self {
        Self::new(Settings::default())
    }
}

impl fmt::Debug for Transactions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transactions")
            .field("alive", &self.alive())
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

/// Entries in place, freed places used again.
#[derive(Default)]
struct Arena {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
}

impl Arena {
    fn get(&self, slot: u32) -> Option<&Entry> {
        self.entries.get(usize::try_from(slot).ok()?)?.as_ref()
    }

    fn get_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(slot).ok()?)?.as_mut()
    }

    fn insert(&mut self, entry: Entry) -> u32 {
        if let Some(slot) = self.free.pop()
            && let Some(place) = usize::try_from(slot)
                .ok()
                .and_then(|slot| self.entries.get_mut(slot))
        {
            *place = Some(entry);
            return slot;
        }
        let slot = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        self.entries.push(Some(entry));
        slot
    }

    fn remove(&mut self, slot: u32) -> Option<Entry> {
        let entry = self.entries.get_mut(usize::try_from(slot).ok()?)?.take()?;
        self.free.push(slot);
        Some(entry)
    }
}

#[cfg(test)]
mod size {
    /// What 200,000 live transactions cost is this, their keys, and what they may have to repeat.
    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Option<super::Entry>>() <= 320);
    }
}
