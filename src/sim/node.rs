//! One life of the gateway: its worker, its books and what drives them. It ends by a crash, and the
//! next one finds what the store has.
//!
//! The shells of [`crate::engine`] are threads and read clocks; this one does in one thread what
//! they do: commits take their time, and what comes meanwhile waits.

use super::chance::Chance;
use super::identity::Verdicts;
use super::phone::digest::{CARRIERS_OWN, GATEWAYS_OWN};
use super::plan::{POOL, Weather, number};
use super::relay::SharedRelay;
use crate::books::command::{CallCommand, Command, Idempotency, NumberStyle, PoolRange, Reply};
use crate::books::{self, Books, Ticket};
use crate::call::context::SingleCallerId;
use crate::call::{self, routing};
use crate::domain::numbering::{NumberForm, Plan};
use crate::domain::{CallRecord, Now, TrunkId};
use crate::engine::books_adapter::Directory;
use crate::engine::worker::{Output, Parts, Update, Worker};
use crate::media::ports::{PortPool, Ports};
use crate::media::recording::{Recording, Recordings};
use crate::media::settings as media;
use crate::sip::agent::{self, Agent};
use crate::sip::locate;
use crate::sip::message::{Path, Transport};
use crate::store::memory::MemoryStore;
use crate::store::{Change, Key, Store, StoreError, Table};
use bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

pub const GATEWAY: &str = "10.0.0.1:5060";
pub const MEDIA: [&str; 2] = ["10.0.0.3", "fd00::3"];
/// Where calls come from, and the two places where they go to.
pub const CARRIERS: [&str; 3] = ["10.1.0.1:5060", "10.2.0.1:5060", "10.3.0.1:5060"];
/// A server of the first of these two that never says anything.
pub const DEAD: &str = "10.4.0.1:5060";
const FIRST_PORT: u16 = 20_000;
/// The place of the trunk that a reload takes away and brings back.
const SPARE: usize = 2;

const LINGER: Duration = Duration::from_millis(20);
const CALL_LINGER: Duration = Duration::from_millis(4);
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// What a node has for the world.
pub enum Said {
    Transmit(Bytes, Path),
    /// An answer, and whether it was given with nothing under way.
    Reply(Ticket, Reply, bool),
    Ended(Box<CallRecord>),
    GuardHit,
    Committed(Vec<Change>),
    Failed,
    /// The store stopped the process in the middle of this commit.
    Stopped(Vec<Change>),
}

enum Work {
    Call(CallCommand),
    Request(Ticket, Box<Command>, Option<Idempotency>),
}

/// The process.
pub struct Node {
    pub worker: Worker,
    pub books: Books,
    pub relay: SharedRelay,
    weather: Weather,
    /// The spare trunk is configured.
    spare: bool,
    latency: Chance,
    inbox: VecDeque<Work>,
    waiting: BTreeSet<Ticket>,
    committing: Option<(Instant, Vec<Change>)>,
    linger_until: Option<Instant>,
    retry_at: Option<Instant>,
    pause: Duration,
    housekeeping_at: Instant,
    said: Vec<Said>,
    verdicts: Verdicts,
}

impl Node {
    /// A datagram; under overload, one that has waited for too long.
    pub fn hear(&mut self, bytes: Bytes, path: Path, overloaded: bool, now: Now) {
        if overloaded {
            self.worker.shed(bytes, path, now);
        } else {
            self.worker.datagram(bytes, path, now);
        }
    }

    /// Starts a process on what the store has. What it said so far: commits of what a crash left.
    ///
    /// # Errors
    /// The outer one is a broken promise: the store's contents do not make books. The inner one is
    /// a start that failed for a fault of the store, as it may.
    pub fn boot(
        store: &mut MemoryStore,
        weather: &Weather,
        chance: &mut Chance,
        relay: SharedRelay,
        ledger_fault: Option<crate::ledger::Fault>,
        now: Now,
    ) -> Result<Result<Self, Vec<Said>>, String> {
        let mut books = Books::new(books_settings(weather));
        let mut fault = None;
        store
            .scan(&mut |table, key, value| {
                if let Err(error) = books.load(table, key, value) {
                    fault.get_or_insert(error);
                }
            })
            .map_err(|error| format!("the store cannot be read: {error}"))?;
        if let Some(error) = fault {
            return Err(format!("the books refuse what the store has: {error}"));
        }
        books
            .loaded(now)
            .map_err(|error| format!("the books do not add up: {error}"))?;
        if let Some(fault) = ledger_fault {
            books.set_fault(fault);
        }
        let mut said = Vec::new();
        while books.batch_is_urgent().is_some() {
            let batch = books.take_batch();
            match store.commit_essential(&batch) {
                Ok(()) => said.push(Said::Committed(batch)),
                Err(StoreError::Conflict(key)) => return Err(format!("two owners of {key:?}")),
                Err(_) => {
                    said.push(Said::Stopped(batch));
                    return Ok(Err(said));
                }
            }
            books.committed(now);
        }
        let mut worker = worker(weather, chance, &books, relay.clone());
        worker.start(now);
        let named = weather.named;
        let mut node = Self {
            worker,
            books,
            relay,
            weather: weather.clone(),
            verdicts: Verdicts::new(weather.commit ^ (weather.delay << 8)),
            latency: Chance::new(chance.next()),
            inbox: VecDeque::new(),
            waiting: BTreeSet::new(),
            spare: true,
            committing: None,
            linger_until: None,
            retry_at: None,
            pause: RETRY_MIN,
            housekeeping_at: now.mono,
            said,
        };
        if named {
            node.resolve(0, now);
        }
        Ok(Ok(node))
    }

    /// A request of the API.
    pub fn request(&mut self, ticket: Ticket, command: Command, key: Option<Idempotency>) {
        self.inbox
            .push_back(Work::Request(ticket, Box::new(command), key));
    }

    /// The configured pool, as the gateway adds it at every start.
    pub fn pool() -> Command {
        Command::AddNumbers(vec![PoolRange {
            first: number("60388880000"),
            last: number(&format!("6038888{:04}", POOL - 1)),
            style: NumberStyle {
                strip: 0,
                prefix: "+".into(),
            },
        }])
    }

    /// The configuration once more, with or without probes of the trunks. Each time the spare trunk
    /// is gone, or there again.
    pub fn reload(&mut self, probes: bool, now: Now) {
        let weather = Weather {
            probes,
            ..self.weather.clone()
        };
        let mut update = Update {
            agent: agent_settings(&weather),
            settings: call_settings(&weather),
            trunks: trunks(&weather),
            media: media_settings(&weather),
            directory: directory(&self.books),
        };
        self.spare = !self.spare;
        if !self.spare {
            update.agent.trunks[SPARE] = None;
            update.trunks[SPARE] = None;
            update.media.trunks[SPARE] = None;
        }
        self.worker.reload(update, now);
        self.books.reload(books_settings(&weather));
    }

    /// The DNS says something of the first outbound trunk's name.
    pub fn resolve(&mut self, choice: u64, now: Now) {
        let servers: &[&str] = match choice {
            0 => &[CARRIERS[1]],
            1 => &[CARRIERS[1], DEAD],
            2 => &[DEAD, CARRIERS[1]],
            3 => &[DEAD],
            _ => &[],
        };
        let reliable = self.weather.reliable;
        let hop = |(rank, server): (u16, &&str)| locate::Hop {
            rank,
            server: rank,
            ..locate::Hop::only(path(addr(server), reliable))
        };
        let hops = (0u16..).zip(servers).map(hop).collect();
        self.worker.hops(Box::new((trunk_name(), hops)), now);
    }

    /// Whether nothing is left to be committed or answered.
    pub fn is_settled(&self) -> bool {
        self.inbox.is_empty() && self.committing.is_none() && self.books.batch_is_urgent().is_none()
    }

    /// When something is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let books = match &self.committing {
            Some((at, _)) => Some(*at),
            None => {
                let linger = self.linger_until.filter(|_| self.retry_at.is_none());
                let due = [self.books.poll_timeout(), linger, self.retry_at];
                due.into_iter().flatten().min()
            }
        };
        let verdict = self.verdicts.poll_timeout();
        [self.worker.poll_timeout(), books, verdict]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due and all that comes of it.
    pub fn turn(&mut self, store: &mut MemoryStore, now: Now) -> Result<Vec<Said>, String> {
        if self.worker.poll_timeout().is_some_and(|at| at <= now.mono) {
            self.worker.handle_timeout(now);
        }
        while let Some((key, verdict)) = self.verdicts.due(now.mono) {
            self.worker.verdict(key, verdict, "12AB".into(), now);
        }
        loop {
            self.worker.relay_events(now);
            let moved = self.worker_says(now.mono) | self.books_turn(store, now)?;
            if !moved || store.is_stopped() {
                return Ok(std::mem::take(&mut self.said));
            }
        }
    }

    fn worker_says(&mut self, now: Instant) -> bool {
        let mut moved = false;
        while let Some(output) = self.worker.poll_output() {
            moved = true;
            match output {
                Output::Transmit(bytes, path) => self.said.push(Said::Transmit(bytes, path)),
                Output::Books(command) => self.inbox.push_back(Work::Call(command)),
                Output::Ended(record) => self.said.push(Said::Ended(record)),
                Output::Verify(key, _) => self.verdicts.ask(key, now),
                Output::Count("guard_hits", _) => self.said.push(Said::GuardHit),
                Output::Count(..) | Output::Heard(..) | Output::HopNews(..) => {}
            }
        }
        moved
    }

    /// The books' thread, for as long as it does not wait for the disk.
    fn books_turn(&mut self, store: &mut MemoryStore, now: Now) -> Result<bool, String> {
        if let Some((at, _)) = &self.committing {
            if *at > now.mono {
                return Ok(false);
            }
            if let Some((_, batch)) = self.committing.take() {
                self.commit(batch, store, now)?;
            }
            return Ok(true);
        }
        let mut fed = false;
        if self.books.poll_timeout().is_some_and(|at| at <= now.mono) {
            self.books.handle_timeout(now);
            fed = true;
        }
        while let Some(work) = self.inbox.pop_front() {
            fed = true;
            match work {
                Work::Call(command) => {
                    if command.is_admission() {
                        let room = store.has_room();
                        if !room || self.retry_at.is_none() {
                            self.books.set_room(room, now.mono);
                        }
                    }
                    self.books.call(command, now);
                }
                Work::Request(ticket, command, key) => {
                    self.waiting.insert(ticket);
                    let kept = key.as_ref().and_then(|key| kept_answer(store, key));
                    self.books.request(ticket, *command, key, kept, now);
                }
            }
        }
        // By its own clock the real one does it every second, whatever else happens.
        if self.housekeeping_at <= now.mono {
            self.housekeeping_at = now.mono + Duration::from_secs(1);
            store.breathe();
            for key in self.books.stale_answers(now, 100) {
                let stored = store.reader().get(&key).unwrap();
                self.books.forget_answer(&key, stored, now);
            }
        }
        self.deliver(now);
        Ok(self.settle(fed, store, now)? || fed)
    }

    /// Begins a commit where one is due; whether it did.
    fn settle(&mut self, fed: bool, store: &mut MemoryStore, now: Now) -> Result<bool, String> {
        let retry_due = self.retry_at.is_some_and(|at| at <= now.mono);
        if retry_due {
            self.retry(store, now);
        }
        let Some(urgent) = self.books.batch_is_urgent() else {
            self.linger_until = None;
            return Ok(false);
        };
        if self.retry_at.is_some() && !fed && !retry_due {
            return Ok(false);
        }
        let linger = now.mono + if urgent { CALL_LINGER } else { LINGER };
        let due = self.linger_until.unwrap_or(linger).min(linger);
        self.linger_until = Some(due);
        let asked = urgent && !self.waiting.is_empty();
        if !asked && !retry_due && due > now.mono {
            return Ok(false);
        }
        self.linger_until = None;
        let batch = self.books.take_batch();
        let wait = Duration::from_micros(self.latency.below(1000 * self.weather.commit + 1));
        if wait.is_zero() {
            self.commit(batch, store, now)?;
        } else {
            self.committing = Some((now.mono + wait, batch));
        }
        Ok(true)
    }

    fn retry(&mut self, store: &mut MemoryStore, now: Now) {
        let room = store.breathe();
        self.books.set_room(room, now.mono);
        if room {
            self.retry_at = None;
            self.pause = RETRY_MIN;
        } else {
            self.pause = (self.pause * 2).min(RETRY_MAX);
            self.retry_at = Some(now.mono + self.pause);
        }
    }

    fn commit(
        &mut self,
        batch: Vec<Change>,
        store: &mut MemoryStore,
        now: Now,
    ) -> Result<(), String> {
        let mut batch = batch;
        let mut outcome = store.commit(&batch);
        if let Err(error @ StoreError::Full) = &outcome {
            self.failed(error, now);
            if self.books.batch_is_urgent().is_none() {
                return Ok(());
            }
            batch = self.books.take_batch();
            outcome = store.commit_essential(&batch);
        }
        match outcome {
            Ok(()) => {
                self.said.push(Said::Committed(batch));
                self.books.committed(now);
            }
            Err(StoreError::Conflict(key)) => return Err(format!("two owners of {key:?}")),
            Err(_) if store.is_stopped() => self.said.push(Said::Stopped(batch)),
            Err(error) => self.failed(&error, now),
        }
        self.deliver(now);
        Ok(())
    }

    fn failed(&mut self, error: &StoreError, now: Now) {
        self.said.push(Said::Failed);
        self.books.failed(error, now);
        self.deliver(now);
        self.retry_at.get_or_insert(now.mono + self.pause);
    }

    fn deliver(&mut self, now: Now) {
        while let Some(output) = self.books.poll_output() {
            match output {
                books::Output::Reply(ticket, reply) => {
                    self.waiting.remove(&ticket);
                    let settled = self.books.batch_is_urgent().is_none();
                    self.said.push(Said::Reply(ticket, reply, settled));
                }
                books::Output::Notice(notice) => self.worker.notice(notice, now),
            }
        }
    }
}

/// The seed's randomness for the cores.
struct Dice(Chance);

impl agent::Entropy for Dice {
    fn next(&mut self) -> u64 {
        self.0.next()
    }
}

pub fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn kept_answer(store: &MemoryStore, key: &Idempotency) -> Option<Bytes> {
    let key = Key {
        table: Table::Answer,
        bytes: Bytes::copy_from_slice(&key.key),
    };
    store.reader().get(&key).unwrap()
}

fn numbering() -> Arc<Plan> {
    static PLAN: OnceLock<Arc<Plan>> = OnceLock::new();
    let make = || Plan::new(Some("MY"), &["MY".to_owned()], &["999".to_owned()]).unwrap();
    Arc::clone(PLAN.get_or_init(|| Arc::new(make())))
}

fn worker(weather: &Weather, chance: &mut Chance, books: &Books, relay: SharedRelay) -> Worker {
    let start = chance.next();
    let pool = |at: &str| PortPool::new(ip(at), FIRST_PORT, weather.last_port, 1, start);
    Worker::new(Parts {
        index: 0,
        agent: Agent::new(
            agent_settings(weather),
            Box::new(Dice(Chance::new(chance.next()))),
        ),
        settings: call_settings(weather),
        trunks: routing::Trunks::new(trunks(weather)),
        media: media_settings(weather),
        ports: Ports::new(MEDIA.map(pool).into()),
        relay: Box::new(relay),
        directory: directory(books),
        entropy: Box::new(Dice(Chance::new(chance.next()))),
    })
}

fn directory(books: &Books) -> Directory {
    Directory {
        leases: books.directory(),
        plan: numbering(),
        forms: vec![NumberForm::PlusE164, NumberForm::PlusE164, NumberForm::E164],
        emergency: vec![Vec::new(); 3],
    }
}

fn books_settings(weather: &Weather) -> books::Settings {
    books::Settings {
        cooldown: weather.cooldown,
        max_per_phone: 100,
        hang_up_at_end: weather.hang_up_at_end,
        calls_per_lease: weather.calls_per_lease,
        calls_per_customer: 0,
        keep_answers: weather.keep_answers,
        target_allowed: Plan::target_allowed,
        plan: numbering(),
    }
}

fn call_settings(weather: &Weather) -> call::Settings {
    let recordings = recordings_of(weather);
    let length = |one: &Option<Arc<Recording>>| one.as_ref().map(|one| one.length());
    call::Settings {
        ring_timeout: Duration::from_secs(20),
        max_duration: Duration::from_secs(60),
        single_caller_id: if weather.single_leased {
            SingleCallerId::Leased
        } else {
            SingleCallerId::Pass
        },
        announcements: call::Announcements {
            no_lease: length(&recordings.no_lease),
            not_allowed: length(&recordings.not_allowed),
            credit_exhausted: length(&recordings.credit_exhausted),
        },
        credit_warning: Duration::from_secs(if weather.announces { 3 } else { 0 }),
        ..Default::default()
    }
}

fn trunks(weather: &Weather) -> Vec<Option<routing::Trunk>> {
    let trunk = |name: &str, place: u16| {
        Some(routing::Trunk {
            name: Arc::from(name),
            outbound: place > 0,
            priority: place,
            probed: weather.probes && place > 0,
            max_calls: weather.caps.get(usize::from(place)).copied().unwrap_or(0),
            ..Default::default()
        })
    };
    vec![trunk("in", 0), trunk("out", 1), trunk("spare", 2)]
}

/// Everything that can be played, or nothing.
fn recordings_of(weather: &Weather) -> Recordings {
    let one = || {
        weather
            .announces
            .then(|| Arc::new(Recording::warning_tone()))
    };
    Recordings {
        no_lease: one(),
        not_allowed: one(),
        credit_exhausted: one(),
        credit_warning: one(),
    }
}

fn media_settings(weather: &Weather) -> media::Settings {
    let trunk = |place: usize, prefix: &str, prefix6: &str| {
        Some(media::Trunk {
            network: usize::from(weather.ipv6[place]),
            source: weather.source,
            prefixes: vec![(ip(prefix), 16), (ip(prefix6), 32)],
            srtp: weather.srtp[place],
            ..Default::default()
        })
    };
    let network = |at: &str| media::Network {
        named: 0,
        bind: ip(at),
        advertised: ip(at),
        first_port: FIRST_PORT,
        last_port: weather.last_port,
    };
    media::Settings {
        networks: MEDIA.map(network).into(),
        trunks: vec![
            trunk(0, "10.1.0.0", "fd00:1::"),
            trunk(1, "10.2.0.0", "fd00:2::"),
            trunk(2, "10.3.0.0", "fd00:3::"),
        ],
        timeout: Duration::from_secs(10),
        recordings: recordings_of(weather),
    }
}

/// Interval of session timers, and the least that is taken: refreshes happen within a call.
pub const SESSION_SECONDS: u32 = 12;
pub const LEAST_SESSION_SECONDS: u32 = 6;

fn agent_settings(weather: &Weather) -> agent::Settings {
    let forms = [NumberForm::PlusE164, NumberForm::PlusE164, NumberForm::E164];
    let trunk = |place: u16| {
        let remote = addr(CARRIERS[usize::from(place)]);
        let mut target = agent::Target::at(&remote.to_string(), path(remote, weather.reliable));
        if weather.named && place == 1 {
            target.hops.clear();
            target.name = Some(trunk_name());
        }
        Some(agent::Trunk {
            id: TrunkId(place),
            sources: if place == 0 {
                vec![(remote.ip(), 32)]
            } else {
                Vec::new()
            },
            target: (place > 0).then_some(target),
            trusted: place < 2,
            reliable: agent::Reliability::Supported,
            form: forms[usize::from(place)].clone(),
            options_interval: Duration::from_secs(if weather.probes && place > 0 { 7 } else { 0 }),
            account: (weather.proves && place == 0).then(|| agent::Account {
                realm: GATEWAYS_OWN[0].into(),
                users: [(
                    GATEWAYS_OWN[1].into(),
                    agent::Password::new(GATEWAYS_OWN[2]),
                )]
                .into(),
                algorithms: agent::Algorithm::STRONGEST_FIRST.into(),
            }),
            login: (weather.asks && place > 0).then(|| agent::Login {
                realm: CARRIERS_OWN[0].into(),
                user: CARRIERS_OWN[1].into(),
                password: agent::Password::new(CARRIERS_OWN[2]),
                algorithms: agent::Algorithm::STRONGEST_FIRST.into(),
            }),
            identity: weather.identity,
            certified: false,
            sign: true,
            tls_only: false,
            session_policy: agent::SessionPolicy {
                expires_seconds: SESSION_SECONDS,
                least_seconds: LEAST_SESSION_SECONDS,
            },
        })
    };
    agent::Settings {
        trunks: (0..3).map(trunk).collect(),
        refuse_unknown: false,
        advertised: vec![(addr(GATEWAY), GATEWAY.into())],
        streams: vec![agent::Listening {
            transport: Transport::Tcp,
            local: addr(GATEWAY),
            advertised: GATEWAY.into(),
        }],
        own: MEDIA.map(ip).into(),
        t1: Duration::from_millis(500),
        signer: weather.signs.then(super::identity::signer),
        // Whoever sets the clock makes no passport old.
        passport_max_age: Duration::from_secs(u64::MAX),
    }
}

fn trunk_name() -> locate::Target {
    locate::Target {
        host: "carrier.example".into(),
        port: None,
        transport: None,
        secure: false,
    }
}

/// The gateway's socket and somebody else's.
pub fn path(remote: SocketAddr, reliable: bool) -> Path {
    Path {
        transport: if reliable {
            Transport::Tcp
        } else {
            Transport::Udp
        },
        local: addr(GATEWAY),
        remote,
    }
}
