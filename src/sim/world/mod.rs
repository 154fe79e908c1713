//! The simulated world: what happens when, in one queue of events.

mod end;
mod future;
mod hearing;
mod life;
mod network;

use super::chance::Chance;
use super::checks::api::Answers;
use super::checks::books::Ledger;
use super::checks::message::Messages;
use super::checks::wire::Wire;
use super::node::{CARRIERS, Node, addr, path};
use super::phone::{CallerPlan, Phones};
use super::plan::{Weather, srtp};
use super::summary::Summary;
use crate::books::Ticket;
use crate::books::command::Command;
use crate::domain::srtp::Srtp;
use crate::domain::{CallId, CallRecord, LeaseKind, Now, ReferenceId, UnixMillis};
use crate::ledger::Fault;
use crate::store::Change;
use crate::store::memory::MemoryStore;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Something that is broken on purpose, to see that the checks notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The ledger.
    Ledger(Fault),
    /// A message to the wrong side says a number.
    Leak,
    /// A lease is answered with a number that another one has.
    DoubleLease,
    /// The relay never says that a flow is gone.
    PortLeak,
    /// A commit is acknowledged and lost.
    LostCommit,
    /// Records are kept from the store.
    LostRecord,
}

enum Event {
    Datagram {
        from: SocketAddr,
        to: SocketAddr,
        bytes: Bytes,
    },
    Call(CallerPlan),
    Request(Request),
    Sound,
    Crash,
    Restart,
    Pool,
    Reload,
    Drain(bool),
    Overload(bool),
    Clock(i64),
    EndCalls,
    Unreachable(usize),
    Dns(u64),
}

/// A request of an API client, which asks again where it got no final answer, if it may.
#[derive(Clone)]
struct Request {
    command: Command,
    key: Option<[u8; 16]>,
    tries: u32,
}

pub struct World {
    chance: Chance,
    /// For what came to be drawn later.
    late: Chance,
    weather: Weather,
    now: Instant,
    origin: Instant,
    events: BTreeMap<(Instant, u64), Event>,
    /// When the last message of a connection arrives: none overtakes it.
    arrivals: BTreeMap<(SocketAddr, SocketAddr), Instant>,
    counter: u64,
    node: Option<Node>,
    store: MemoryStore,
    phones: Vec<Phones>,
    requests: BTreeMap<Ticket, Request>,
    references: Vec<(LeaseKind, ReferenceId)>,
    planned_until: Instant,
    /// By how much the wall clock was set, milliseconds.
    clock_shift: i64,
    probing: bool,
    draining: bool,
    /// New INVITEs are shed.
    overloaded: bool,
    /// INVITEs of this life, and how often each came to an end.
    invites: BTreeMap<String, u32>,
    ended: BTreeSet<CallId>,
    /// When the last life ended, while its calls have no records yet.
    crashed_at: Option<Instant>,
    /// Calls that were open when the last life ended: their blocks.
    left_open: BTreeMap<CallId, u64>,
    /// A commit whose fate only the store knows.
    uncertain: Option<Vec<Change>>,
    /// A commit has failed.
    faulted: bool,
    /// The gateway was told that a carrier cannot be reached.
    cut_off: bool,
    /// The gateway was told to end its calls and wait for nothing.
    hurried: bool,
    records: Vec<CallRecord>,
    /// Pairs of lines that heard each other, in a life.
    heard: BTreeSet<(u64, String, String)>,
    ledger: Ledger,
    wire: Wire,
    messages: Messages,
    answers: Answers,
    summary: Summary,
    loud: bool,
    broken: Option<Broken>,
}

/// No run takes longer: steps, and simulated time.
const STEPS: u64 = 400_000;
const LONGEST: Duration = Duration::from_secs(3600);

type Checked = Result<(), String>;

impl World {
    pub fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let mut late = Chance::new(seed.wrapping_add(1 << 48));
        // Any instant does: only differences count.
        let origin = Instant::now() + Duration::from_secs(3600);
        let mut later = Chance::new(seed.wrapping_add(1 << 49));
        let mut weather = Weather::new(&mut chance, &mut late, &mut later);
        // Of a sequence of its own, so that seeds without it go on doing what they did.
        weather.reliable = Chance::new(seed.wrapping_add(3 << 48)).percent(25);
        let media = [
            ["10.1.0.2", "fd00:1::2"],
            ["10.2.0.2", "fd00:2::2"],
            ["10.3.0.2", "fd00:3::2"],
        ];
        weather.srtp = srtp(seed);
        let habits = weather.ipv6.into_iter().zip(weather.srtp);
        let phones = CARRIERS.iter().zip(media).zip(habits);
        let phones = phones.map(|((sip, media), (ipv6, srtp))| {
            let media = media[usize::from(ipv6)];
            let mut phones = Phones::new(addr(sip), media.parse().unwrap());
            phones.asks = weather.asks;
            phones.srtp = srtp != Srtp::None;
            phones
        });
        let mut world = Self {
            now: origin,
            origin,
            arrivals: BTreeMap::new(),
            events: BTreeMap::new(),
            counter: 0,
            node: None,
            store: MemoryStore::new(weather.faults.clone()),
            phones: phones.collect(),
            requests: BTreeMap::new(),
            references: Vec::new(),
            planned_until: origin,
            clock_shift: 0,
            probing: weather.probes,
            draining: false,
            overloaded: false,
            invites: BTreeMap::new(),
            ended: BTreeSet::new(),
            crashed_at: None,
            left_open: BTreeMap::new(),
            uncertain: None,
            faulted: false,
            cut_off: false,
            hurried: false,
            records: Vec::new(),
            heard: BTreeSet::new(),
            ledger: Ledger::default(),
            wire: Wire::default(),
            messages: Messages::default(),
            answers: Answers::new(
                weather.cooldown,
                weather.is_steady(),
                weather.keeps_answers(),
            ),
            summary: Summary::default(),
            loud: false,
            broken: None,
            weather,
            chance,
            late,
        };
        world.plan();
        world
    }

    /// Says what goes over the wire.
    pub fn loud(mut self) -> Self {
        self.loud = true;
        self
    }

    pub fn broken(mut self, broken: Broken) -> Self {
        self.broken = Some(broken);
        self
    }

    /// Runs until nothing is left to happen.
    ///
    /// # Errors
    /// The first promise that was broken.
    pub fn run(mut self) -> Result<Summary, String> {
        let outcome = self.run_to_end();
        outcome.map_err(|fault| format!("{fault} [{}]", self.state()))?;
        for phones in &self.phones {
            self.summary.add("cancels", phones.seen.cancels);
            self.summary.add("holds", phones.seen.holds);
            self.summary.add("sounds", phones.seen.sounds);
            self.summary.add("odd", phones.seen.odd);
            self.summary.add("proven", phones.seen.proven);
            self.summary.add("pracks", phones.seen.pracks);
            self.summary.add("pracked", phones.seen.pracked);
            self.summary.add("early updates", phones.seen.early_updates);
            self.summary.add("updated", phones.seen.updated);
            self.summary.add("unanswered", phones.seen.unanswered);
            self.summary.add("refreshes", phones.seen.refreshes);
            self.summary.add("refreshed", phones.seen.refreshed);
            self.summary.add("expired", phones.seen.expired);
            self.summary.add("forgotten", phones.seen.forgotten);
        }
        Ok(self.summary)
    }

    fn run_to_end(&mut self) -> Checked {
        self.at(self.origin, Event::Restart);
        while let Some(at) = self.next_instant() {
            self.summary.count("steps");
            if self.summary.of("steps") > STEPS || at > self.origin + LONGEST {
                return Err("it never comes to rest".to_owned());
            }
            self.now = self.now.max(at);
            self.step()?;
            self.stop_probing();
        }
        self.finish()
    }

    fn now(&self) -> Now {
        let since = self.now.duration_since(self.origin);
        let wall = UnixMillis(1_800_000_000_000).plus(since);
        Now {
            mono: self.now,
            wall: UnixMillis(wall.0.saturating_add_signed(self.clock_shift)),
        }
    }

    fn at(&mut self, when: Instant, event: Event) {
        self.counter += 1;
        self.events.insert((when, self.counter), event);
    }

    // ---- one step

    fn next_instant(&self) -> Option<Instant> {
        let event = self.events.keys().next().map(|(at, _)| *at);
        let phones = self.phones.iter().filter_map(Phones::poll_timeout).min();
        let node = self.node.as_ref().and_then(Node::poll_timeout);
        [event, phones, node].into_iter().flatten().min()
    }

    fn step(&mut self) -> Checked {
        if let Some(((at, _), _)) = self.events.first_key_value()
            && *at <= self.now
            && let Some((_, event)) = self.events.pop_first()
        {
            self.happen(event)?;
        }
        for phones in &mut self.phones {
            if phones.poll_timeout().is_some_and(|at| at <= self.now) {
                phones.handle_timeout(self.now);
            }
        }
        let now = self.now();
        if let Some(node) = &mut self.node {
            let said = node.turn(&mut self.store, now)?;
            self.hear(said)?;
            if self.store.is_stopped() {
                self.faulted = true;
                self.crash();
            }
        }
        self.phones_send();
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Checked {
        let now = self.now();
        match event {
            Event::Datagram { from, to, bytes } => self.deliver(from, to, bytes),
            Event::Call(plan) => self.call(plan),
            Event::Request(request) => self.request(request),
            Event::Sound => return self.sound(),
            Event::Crash if self.node.is_some() => {
                if self.loud {
                    println!("{:9.3} CRASH", self.seconds());
                }
                self.uncertain = None;
                self.crash();
            }
            Event::Restart => return self.boot(),
            Event::Clock(shift) => {
                if self.loud {
                    println!("{:9.3} CLOCK {shift} ms", self.seconds());
                }
                self.summary.count("clock_steps");
                self.clock_shift += shift;
            }
            event => {
                if let Some(node) = &mut self.node {
                    match event {
                        Event::Pool => node.request(Ticket(0), Node::pool(), None),
                        Event::Reload => node.reload(self.probing, now),
                        Event::EndCalls => {
                            self.hurried = true;
                            node.worker.end_calls(now);
                        }
                        Event::Unreachable(carrier) => {
                            self.cut_off = true;
                            let path = path(addr(CARRIERS[carrier]), self.weather.reliable);
                            node.worker.path_failed(path, now);
                        }
                        Event::Dns(choice) => node.resolve(choice, now),
                        Event::Drain(draining) => {
                            node.worker.draining(draining, now);
                            self.draining = draining;
                        }
                        Event::Overload(overloaded) => {
                            self.overloaded = overloaded;
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }

    fn seconds(&self) -> f64 {
        self.now.duration_since(self.origin).as_secs_f64()
    }

    fn state(&self) -> String {
        let at = self.seconds();
        match &self.node {
            None => format!("{at:.3} s, down"),
            Some(node) => format!(
                "{at:.3} s, commits of {} ms, clock {} ms, {} calls, {:?}, {} events, phones idle: {:?}",
                self.weather.commit,
                self.clock_shift,
                node.worker.calls(),
                node.worker.agent().alive(),
                self.events.len(),
                self.phones.iter().map(Phones::idle).collect::<Vec<_>>()
            ),
        }
    }
}
