//! One signalling worker: its agent, its calls, their media sessions. Still without sockets and
//! clocks, so that the simulation drives the same worker as the threads do.

use super::books_adapter::Directory;
use crate::books::command::{CallCommand, CallNotice};
use crate::call::event::{Input, TrunkNews};
use crate::call::routing::Trunks;
use crate::call::{self, Call};
use crate::domain::{CallId, CallKey, Now, Passport, TrunkId, Verdict};
use crate::media::ports::Ports;
use crate::media::session::Session;
use crate::media::settings::Settings as MediaSettings;
use crate::relay::Relay;
use crate::sip::agent::{self, Agent};
use crate::sip::locate;
use crate::sip::message::Path;
use bytes::Bytes;
use hashbrown::HashMap;
use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

/// What a worker is made of.
pub struct Parts {
    /// Its number.
    pub index: u16,
    /// The user agent.
    pub agent: Agent,
    /// The call core's settings.
    pub settings: call::Settings,
    /// Outbound trunks and caps.
    pub trunks: Trunks,
    /// Media rules.
    pub media: MediaSettings,
    /// Media ports.
    pub ports: Ports,
    /// Packets.
    pub relay: Box<dyn Relay>,
    /// The lease directory and the numbering plan.
    pub directory: Directory,
    /// Randomness for the choice of trunks.
    pub entropy: Box<dyn agent::Entropy>,
}

/// What a worker asks of its shell.
#[derive(Debug)]
pub enum Output {
    /// Send these bytes.
    Transmit(Bytes, Path),
    /// Ask the books.
    Books(CallCommand),
    /// A call ended, for the metrics: its record as it was sent to the books.
    Ended(Box<crate::domain::CallRecord>),
    /// Check a passport: [`Worker::verdict`] takes the answer.
    Verify(CallKey, Box<Passport>),
    /// Something to count: name and label.
    Count(&'static str, &'static str),
    /// Something of a trunk that other workers are to know.
    Heard(TrunkId, Heard),
    /// Of a hop: until when it rests, or that it does not.
    HopNews(Path, Option<Instant>),
}

/// What a worker learns of a trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// By a call.
    Call(TrunkNews),
    /// By OPTIONS: whether it answered.
    Probe(bool),
}

impl Heard {
    fn tell(self, trunk: TrunkId, trunks: &mut Trunks, now: Now) {
        match self {
            Self::Call(news) => trunks.news(trunk, news, now.mono),
            Self::Probe(answered) => trunks.probe(trunk, answered, now.mono),
        }
    }

    /// A trunk that is well and stays well: nothing to tell anybody.
    const fn is_good(self) -> bool {
        matches!(self, Self::Call(TrunkNews::Alive) | Self::Probe(true))
    }
}

/// The worker.
pub struct Worker {
    pub(super) parts: Parts,
    pub(super) calls: HashMap<CallKey, Entry>,
    pub(super) outputs: VecDeque<Output>,
    due: BTreeSet<(Instant, CallKey)>,
}

/// One call and what belongs to it.
pub(super) struct Entry {
    pub(super) call: Call,
    pub(super) session: Session,
    pub(super) id: CallId,
    /// That it rings was logged.
    pub(super) rang: bool,
    due: Option<Instant>,
}

impl Worker {
    /// A worker without calls.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self {
            parts,
            calls: HashMap::new(),
            outputs: VecDeque::new(),
            due: BTreeSet::new(),
        }
    }

    /// Calls that are not finished.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// The user agent, for its figures.
    #[must_use]
    pub fn agent(&self) -> &Agent {
        &self.parts.agent
    }

    /// Trunks, for their figures.
    #[must_use]
    pub fn trunks(&self) -> &Trunks {
        &self.parts.trunks
    }

    /// Media ports, for their figures.
    #[must_use]
    pub fn ports(&self) -> &Ports {
        &self.parts.ports
    }

    /// A datagram came.
    pub fn datagram(&mut self, bytes: Bytes, path: Path, now: Now) {
        self.parts
            .agent
            .handle(agent::Input::Datagram(bytes, path), now);
        self.drain_agent(now);
    }

    /// What came by a stream is no message.
    pub fn broken(&mut self, error: crate::sip::codec::ParseError, path: Path, now: Now) {
        self.parts
            .agent
            .handle(agent::Input::Broken(error, path), now);
        self.drain_agent(now);
    }

    /// The cores are told the time before anything comes: trunks are probed from then on.
    pub fn start(&mut self, now: Now) {
        self.parts.agent.handle_timeout(now);
        self.drain_agent(now);
    }

    /// A path failed.
    pub fn path_failed(&mut self, path: Path, now: Now) {
        self.parts.agent.handle(agent::Input::PathFailed(path), now);
        self.drain_agent(now);
    }

    /// The DNS says where a target is.
    pub fn hops(&mut self, found: Box<(locate::Target, Vec<locate::Hop>)>, now: Now) {
        self.parts.agent.handle(agent::Input::Hops(found), now);
        self.drain_agent(now);
    }

    /// The books have something for a call.
    pub fn notice(&mut self, notice: CallNotice, now: Now) {
        self.tell(notice.key, Input::Books(notice.event), now);
        self.drain_agent(now);
    }

    /// What came of a call's passport, and who signed it.
    pub fn verdict(&mut self, key: CallKey, verdict: Verdict, signer: Box<str>, now: Now) {
        self.tell(key, Input::Verdict(verdict, signer), now);
        self.drain_agent(now);
    }

    /// No new calls from now on (or again).
    pub fn draining(&mut self, draining: bool, now: Now) {
        self.parts
            .agent
            .handle(agent::Input::Draining(draining), now);
        self.drain_agent(now);
    }

    /// An INVITE came that has waited for too long: refused unless it belongs to a call.
    pub fn shed(&mut self, bytes: Bytes, path: Path, now: Now) {
        self.parts
            .agent
            .handle(agent::Input::Shed(bytes, path), now);
        self.drain_agent(now);
    }

    /// Whether new calls may come from there.
    pub fn is_inbound(&mut self, address: std::net::IpAddr) -> bool {
        self.parts.agent.is_inbound(address)
    }

    /// Another worker has learnt something of a trunk.
    pub fn heard(&mut self, trunk: TrunkId, heard: Heard, now: Now) {
        self.watch_trunk(trunk, now, |trunks| heard.tell(trunk, trunks, now));
    }

    /// Another worker has learnt something of a hop.
    pub fn hop_news(&mut self, path: Path, until: Option<Instant>, now: Now) {
        let news = agent::Input::HopNews(path, until);
        self.parts.agent.handle(news, now);
        self.drain_agent(now);
    }

    /// Ends every call.
    pub fn end_calls(&mut self, now: Now) {
        let mut keys: Vec<CallKey> = self.calls.keys().copied().collect();
        keys.sort_unstable();
        for key in keys {
            self.tell(key, Input::Shutdown, now);
        }
        self.drain_agent(now);
    }

    /// New configuration; calls go on.
    pub fn reload(&mut self, update: Update, now: Now) {
        self.parts.settings = update.settings;
        self.parts.trunks.reload(update.trunks);
        self.parts.media.reload(update.media);
        self.parts.directory = update.directory;
        self.parts
            .agent
            .handle(agent::Input::Settings(Box::new(update.agent)), now);
        self.drain_agent(now);
    }

    /// When [`Self::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let call = self.due.first().map(|(at, _)| *at);
        [
            self.parts.agent.poll_timeout(),
            call,
            self.parts.relay.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// What is due is done.
    pub fn handle_timeout(&mut self, now: Now) {
        if self
            .parts
            .agent
            .poll_timeout()
            .is_some_and(|at| at <= now.mono)
        {
            self.parts.agent.handle_timeout(now);
            // What it knows of hops counts for the calls whose time comes with it.
            self.drain_agent(now);
        }
        while let Some((at, key)) = self.due.first().copied()
            && at <= now.mono
        {
            self.due.remove(&(at, key));
            if let Some(entry) = self.calls.get_mut(&key) {
                entry.due = None;
                let mut context = call_context(&mut self.parts);
                entry.call.handle_timeout(now, &mut context);
                self.drain_call(key, now);
            }
        }
        self.drain_agent(now);
    }

    /// The next thing to do outside.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Hands the relay what the last inputs made.
    pub fn flush_relay(&mut self, now: Instant) {
        self.parts.relay.flush(now);
    }

    /// A call's key is new: makes the call and tells it of its INVITE.
    pub(super) fn begin(&mut self, key: CallKey, invite: Box<call::event::Invite>, now: Now) {
        let session = Session::new(
            super::media_adapter::flow_of(key),
            self.parts.entropy.next(),
        );
        let id = invite.call_id;
        let trunk = self.parts.trunks.get(invite.trunk);
        super::life::started(id, trunk.map_or("", |trunk| &trunk.name));
        self.calls.insert(
            key,
            Entry {
                call: Call::new(key),
                session,
                id,
                rang: false,
                due: None,
            },
        );
        self.tell(key, Input::Invite(invite), now);
    }

    /// Gives a call an input and does what comes of it. Inputs of calls that are gone are nothing.
    pub(super) fn tell(&mut self, key: CallKey, input: Input, now: Now) {
        if let Some(entry) = self.calls.get_mut(&key) {
            let mut context = call_context(&mut self.parts);
            entry.call.handle(input, now, &mut context);
            self.drain_call(key, now);
        }
    }

    fn drain_call(&mut self, key: CallKey, now: Now) {
        while let Some(entry) = self.calls.get_mut(&key) {
            let Some(output) = entry.call.poll_output() else {
                break;
            };
            match output {
                call::event::Output::Sip(command) => self.ask_agent(key, command, now),
                call::event::Output::Media(command) => self.ask_media(key, command, now),
                call::event::Output::Ledger(command) => self.ask_books(key, command),
                call::event::Output::Trunk(trunk, news) => {
                    self.learn(trunk, Heard::Call(news), now);
                }
                call::event::Output::Verify(passport) => {
                    self.outputs.push_back(Output::Verify(key, passport));
                }
                call::event::Output::Finished => self.forget(key),
            }
        }
        self.schedule(key);
    }

    /// Takes what was learnt of a trunk, and lets the other workers know. While all is well, nothing
    /// passes between them.
    pub(super) fn learn(&mut self, trunk: TrunkId, heard: Heard, now: Now) {
        let told =
            self.parts.trunks.is_shared() && !(heard.is_good() && self.parts.trunks.is_well(trunk));
        self.heard(trunk, heard, now);
        if told {
            self.outputs.push_back(Output::Heard(trunk, heard));
        }
    }

    /// Tells the trunks something of one of them, and the log if that took it down or brought it back.
    pub(super) fn watch_trunk(&mut self, trunk: TrunkId, now: Now, tell: impl FnOnce(&mut Trunks)) {
        let trunks = &mut self.parts.trunks;
        let was_up = trunks.is_up(trunk, now.mono);
        tell(trunks);
        let is_up = trunks.is_up(trunk, now.mono);
        // All workers learn of it; one says so.
        if was_up != is_up && self.parts.index == 0 {
            super::life::trunk(trunks.get(trunk).map_or("", |trunk| &trunk.name), is_up);
        }
    }

    fn schedule(&mut self, key: CallKey) {
        let Some(entry) = self.calls.get_mut(&key) else {
            return;
        };
        let wanted = entry.call.poll_timeout();
        if wanted == entry.due {
            return;
        }
        if let Some(at) = entry.due {
            self.due.remove(&(at, key));
        }
        if let Some(at) = wanted {
            self.due.insert((at, key));
        }
        entry.due = wanted;
    }

    fn forget(&mut self, key: CallKey) {
        if let Some(entry) = self.calls.remove(&key)
            && let Some(at) = entry.due
        {
            self.due.remove(&(at, key));
        }
    }
}

/// What a reload changes in a worker.
pub struct Update {
    /// The user agent's.
    pub agent: agent::Settings,
    /// The call core's.
    pub settings: call::Settings,
    /// Trunks.
    pub trunks: Vec<Option<call::routing::Trunk>>,
    /// Media rules.
    pub media: MediaSettings,
    /// Numbering plan and trunk forms.
    pub directory: Directory,
}

/// What a call reads while it handles an input.
pub(super) fn call_context(parts: &mut Parts) -> call::Context<'_> {
    let random = parts.entropy.next();
    call::Context {
        settings: &parts.settings,
        trunks: &mut parts.trunks,
        directory: &parts.directory,
        numbering: &parts.directory,
        random,
    }
}
