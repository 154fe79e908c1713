//! The whole of what decides: agent, calls and books, as a worker joins them, between a caller's
//! carrier, a callee's carrier and a stranger that the input plays.

use super::codec::HEADERS_OF_OURS;
use super::steps::Steps;
use bytes::Bytes;
use leasebridge::app::places::Places;
use leasebridge::app::settings;
use leasebridge::books::command::Command;
use leasebridge::books::{self, Books, Ticket};
use leasebridge::config::{Config, Environment};
use leasebridge::domain::{
    ChargeMethod, Credit, Customer, CustomerId, E164, Now, Phone, ReferenceId, Tariff, UnixMillis,
};
use leasebridge::engine::books_adapter::Directory;
use leasebridge::engine::worker::{Output, Parts, Worker};
use leasebridge::media::recording::Recordings;
use leasebridge::media::{PortPool, Ports};
use leasebridge::relay::MemoryRelay;
use leasebridge::sip::agent::{Agent, Entropy};
use leasebridge::sip::codec;
use leasebridge::sip::message::{Header, Message, Method, Path, Transport};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const CONFIG: &str = r#"
[node]
data_dir = "/nowhere"
[http]
listen = "127.0.0.1:0"
[sip]
listen = ["udp:10.0.0.1:5060"]
[media]
address = "10.0.0.1"
ports = "20000-20031"
timeout = "30s"
[numbering]
timezone = "UTC"
default_country = "MY"
pool = ["+60388880000-+60388880007"]
cooldown = "0s"
allowed_targets = ["MY"]
emergency = ["999"]
[calls]
ring_timeout = "20s"
max_duration = "60s"
[[trunk]]
name = "in"
direction = "inbound"
sources = ["10.1.0.1/32"]
numbers = "+e164"
trusted = true
[[trunk]]
name = "out"
direction = "outbound"
target = "sip:10.2.0.1:5060"
numbers = "+e164"
options_interval = "0s"
"#;

const US: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)),
    5060,
);
/// The caller's carrier, the callee's, and nobody.
const HOSTS: [[u8; 4]; 3] = [[10, 1, 0, 1], [10, 2, 0, 1], [10, 9, 0, 1]];
/// Whom the calls go to, and who may make them.
const SUBSCRIBER: &str = "60122223333";
const CALLER: &str = "60199990001";
/// Steps of one input, and messages kept to be repeated.
const MOST_STEPS: usize = 200;
const MOST_KEPT: usize = 64;
/// What may be alive of one input: each step begins one call at most.
const MOST_ALIVE: usize = 4 * MOST_STEPS;

const WAITS: [u64; 8] = [1, 100, 500, 2_000, 5_000, 20_000, 33_000, 61_000];
const STATUSES: [u16; 16] = [
    100, 180, 183, 199, 200, 202, 302, 401, 404, 408, 422, 486, 487, 491, 503, 603,
];
const REQUESTS: [&str; 12] = [
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "OPTIONS",
    "INFO",
    "PRACK",
    "UPDATE",
    "REFER",
    "MESSAGE",
    "SUBSCRIBE",
    "NOTIFY",
];
/// Headers that a message may have beside the usual ones.
const EXTRAS: [&str; 16] = [
    "",
    "Require: 100rel\r\n",
    "Supported: timer, 100rel, replaces\r\n",
    "Session-Expires: 90;refresher=uac\r\nMin-SE: 90\r\n",
    "RSeq: 1\r\nRequire: 100rel\r\n",
    "RAck: 1 1 INVITE\r\n",
    "Record-Route: <sip:10.1.0.1;lr>, <sip:10.2.0.1>\r\n",
    "Route: <sip:10.0.0.1;lr=on>\r\n",
    "Retry-After: 3600\r\n",
    "Reason: Q.850;cause=16\r\n",
    "P-Asserted-Identity: <tel:+60199990001>\r\nPrivacy: id\r\n",
    "Replaces: a;to-tag=b;from-tag=c\r\n",
    "Content-Encoding: gzip\r\n",
    "WWW-Authenticate: Digest realm=\"a\", nonce=\"b\", algorithm=MD5\r\n",
    "Authorization: Digest username=\"a\", realm=\"b\", nonce=\"c\", uri=\"sip:a\", response=\"d\"\r\n",
    "X-Name : v\r\n",
];
const BODIES: [(&str, &str); 7] = [
    ("", ""),
    (
        "application/sdp",
        "v=0\r\no=- 1 1 IN IP4 10.1.0.1\r\ns=-\r\nc=IN IP4 10.1.0.1\r\nt=0 0\r\nm=audio 6000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n",
    ),
    (
        "application/sdp",
        "v=0\r\no=- 1 2 IN IP4 10.2.0.1\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=audio 7000 RTP/AVP 8\r\na=sendonly\r\n",
    ),
    (
        "application/sdp",
        "v=0\r\no=- 1 3 IN IP4 10.2.0.1\r\ns=-\r\nc=IN IP4 10.2.0.1\r\nt=0 0\r\nm=audio 0 RTP/AVP 8\r\nm=video 9000 RTP/AVP 96\r\n",
    ),
    (
        "multipart/mixed;boundary=b",
        "--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\no=- 1 1 IN IP4 10.1.0.1\r\ns=-\r\nc=IN IP4 10.1.0.1\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\n--b--\r\n",
    ),
    ("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n"),
    ("text/plain", "hello"),
];

struct Dice(u64);

impl Entropy for Dice {
    fn next(&mut self) -> u64 {
        // SplitMix64's constants.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// A call as its two carriers know it.
#[derive(Default)]
struct Line {
    call_id: String,
    dialled: String,
    /// The newest response to the caller, and the newest request to the callee.
    response: Option<Message>,
    invited: Option<Message>,
    cseq: u32,
}

struct World {
    worker: Worker,
    books: Books,
    start: Instant,
    now: Instant,
    leased: Vec<String>,
    lines: Vec<Line>,
    kept: VecDeque<(Bytes, Path)>,
    /// New INVITEs have waited for too long.
    overloaded: bool,
    /// What the callee's carrier was asked and may still answer.
    asked: VecDeque<Message>,
    /// Records by call id.
    ended: BTreeMap<String, u32>,
}

pub fn run(input: &[u8]) {
    let mut steps = Steps::new(input);
    let mut world = World::new(u64::from(steps.byte()));
    for _ in 0..MOST_STEPS {
        if steps.is_over() {
            break;
        }
        world.step(&mut steps);
        let alive = world.worker.agent().alive();
        let all =
            alive.calls + alive.dialogs + alive.client_transactions + alive.server_transactions;
        assert!(all <= MOST_ALIVE, "{alive:?}");
    }
    world.finish();
}

impl World {
    fn new(seed: u64) -> Self {
        let environment = Environment {
            variable: &|_| None,
            file: &|_| Err(String::new()),
            descriptor_limit: None,
        };
        let config = Config::parse("fuzz", CONFIG, &environment).expect("a sound configuration");
        let plan = settings::plan(&config).expect("a plan");
        let mut books = Books::new(settings::books(&config, &plan));
        let start = Instant::now();
        let now = Now {
            mono: start,
            wall: UnixMillis(1_700_000_000_000),
        };
        books.loaded(now).expect("empty books");
        let mut places = Places::default();
        let placed = places.seat(&config.trunks).expect("two trunks");
        let agent = settings::agent(&config, &placed, &[US]).expect("literal addresses");
        let media = settings::media(&config, &placed, &Recordings::default());
        let pools = media.networks.iter();
        let pools =
            pools.map(|one| PortPool::new(one.bind, one.first_port, one.last_port, 1, seed));
        let ports = Ports::new(pools.collect());
        let worker = Worker::new(Parts {
            index: 0,
            agent: Agent::new(agent, Box::new(Dice(seed))),
            settings: settings::call(&config, &Recordings::default()),
            trunks: leasebridge::call::routing::Trunks::new(settings::trunks(&placed)),
            media,
            ports,
            relay: Box::new(MemoryRelay::new()),
            directory: Directory {
                leases: books.directory(),
                plan: plan.clone(),
                forms: settings::wire_forms(&config, &placed),
                emergency: settings::trunk_emergency(&placed),
            },
            entropy: Box::new(Dice(!seed)),
        });
        let mut world = Self {
            worker,
            books,
            start,
            now: start,
            leased: Vec::new(),
            lines: Vec::new(),
            kept: VecDeque::new(),
            overloaded: false,
            asked: VecDeque::new(),
            ended: BTreeMap::new(),
        };
        world.lend(settings::pool(&config).expect("a pool"));
        world
    }

    /// A prepaid customer with a single and a group lease.
    fn lend(&mut self, pool: Vec<leasebridge::domain::numbering::PoolRange>) {
        let tariff = Tariff {
            block_seconds: 5,
            rate: Credit(1),
        };
        let customer = Customer {
            id: CustomerId(0),
            first_name: String::new(),
            last_name: String::new(),
            suspended: false,
            charge_method: ChargeMethod::Prepaid,
            enable_single: true,
            enable_group: true,
            tariff_single: tariff,
            tariff_group: tariff,
            max_lease_single: 0,
            max_lease_group: 0,
            date_created: UnixMillis(0),
            date_suspended: None,
        };
        let phone = |digits: &str| Phone {
            number: E164::from_digits(digits).expect("a number"),
            spelling: digits.into(),
        };
        let customer_id = CustomerId(1);
        let expires = UnixMillis(1_700_000_000_000).plus(Duration::from_secs(100_000));
        let commands = [
            Command::AddNumbers(pool),
            Command::CreateCustomer {
                customer: Box::new(customer),
                opening: Credit(40),
            },
            Command::LeaseSingle {
                reference: ReferenceId(uuid::Uuid::from_u128(1)),
                customer: customer_id,
                phone: phone(SUBSCRIBER),
                expires,
                whitelist: Vec::new(),
            },
            Command::LeaseGroup {
                reference: ReferenceId(uuid::Uuid::from_u128(2)),
                customer: customer_id,
                phones: [phone(CALLER), phone(SUBSCRIBER)],
                expires,
            },
        ];
        for (ticket, command) in (0u64..).zip(commands) {
            let now = self.time();
            self.books.request(Ticket(ticket), command, None, None, now);
            self.settle();
        }
        assert_eq!(self.leased.len(), 3, "three numbers are lent");
    }

    fn time(&self) -> Now {
        let elapsed = u64::try_from((self.now - self.start).as_millis()).unwrap_or(u64::MAX);
        Now {
            mono: self.now,
            wall: UnixMillis(1_700_000_000_000 + elapsed),
        }
    }

    // ---- steps

    fn step(&mut self, steps: &mut Steps<'_>) {
        match steps.below(12) {
            0 => self.raw(steps),
            1 | 2 => self.call(steps),
            3 | 4 => self.ask(steps),
            5..=7 => self.answer(steps),
            8 => self.repeat(steps),
            9 => {
                let remote = host(steps);
                let now = self.time();
                self.worker.path_failed(path(remote), now);
                self.settle();
            }
            10 => {
                let (what, on) = (steps.byte(), steps.byte() & 1 == 1);
                let now = self.time();
                match what & 1 {
                    0 => self.worker.draining(on, now),
                    _ => self.overloaded = on,
                }
                self.settle();
            }
            _ => self.wait(Duration::from_millis(steps.pick(&WAITS))),
        }
    }

    /// Any bytes from anywhere; what stands for a number or a tag of ours is put in.
    fn raw(&mut self, steps: &mut Steps<'_>) {
        let from = host(steps);
        let text = self.filled(steps.text());
        self.receive(Bytes::from(text), from);
    }

    /// `@L` is a number that is lent, `@T` the newest tag of ours.
    fn filled(&self, text: &[u8]) -> Vec<u8> {
        let tag = self
            .lines
            .iter()
            .rev()
            .find_map(|line| line.response.as_ref());
        let tag = tag.map_or("", |response| response.to_tag());
        let mut out = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some((first, after)) = rest.split_first() {
            match (first, after.first()) {
                (b'@', Some(b'L')) => {
                    out.extend_from_slice(self.leased[0].as_bytes());
                    rest = &after[1..];
                }
                (b'@', Some(b'T')) => {
                    out.extend_from_slice(tag.as_bytes());
                    rest = &after[1..];
                }
                _ => {
                    out.push(*first);
                    rest = after;
                }
            }
        }
        out
    }

    /// A new call.
    fn call(&mut self, steps: &mut Steps<'_>) {
        let dialled = self.leased[steps.below(3)].clone();
        let line = Line {
            call_id: format!("c{}", self.lines.len()),
            dialled,
            cseq: 1,
            ..Line::default()
        };
        let place = self.lines.len();
        self.lines.push(line);
        self.caller_sends(place, "INVITE", steps);
    }

    /// A request in a call, of the caller or of the callee.
    fn ask(&mut self, steps: &mut Steps<'_>) {
        if self.lines.is_empty() {
            return;
        }
        let place = steps.below(self.lines.len());
        let method = steps.pick(&REQUESTS);
        let same = matches!(method, "ACK" | "CANCEL") || steps.byte() & 7 == 7;
        if !same {
            self.lines[place].cseq = self.lines[place].cseq.saturating_add(1);
        }
        if steps.byte() & 1 == 0 {
            self.caller_sends(place, method, steps);
        } else {
            self.callee_sends(place, method, steps);
        }
    }

    fn caller_sends(&mut self, place: usize, method: &str, steps: &mut Steps<'_>) {
        let line = &self.lines[place];
        let tag = line.response.as_ref().map_or("", Message::to_tag);
        let new = method == "CANCEL" || tag.is_empty() || steps.byte() & 15 == 15;
        let to = if new {
            String::new()
        } else {
            format!(";tag={tag}")
        };
        let cseq = if method == "ACK" || method == "CANCEL" {
            line.response.as_ref().map_or(1, Message::cseq)
        } else {
            line.cseq
        };
        let branch = if method == "CANCEL" { cseq } else { line.cseq };
        let text = format!(
            "{method} sip:{}@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.1.0.1;branch=z9hG4bK{}x{branch}\r\n\
             From: <sip:+{CALLER}@10.1.0.1>;tag=a{place}\r\nTo: <sip:{}@10.0.0.1>{to}\r\n\
             Call-ID: {}\r\nCSeq: {cseq} {method}\r\nMax-Forwards: 70\r\nContact: <sip:x@10.1.0.1>\r\n",
            line.dialled, line.call_id, line.dialled, line.call_id
        );
        self.send(text, HOSTS[0], steps);
    }

    fn callee_sends(&mut self, place: usize, method: &str, steps: &mut Steps<'_>) {
        let line = &self.lines[place];
        let Some(invited) = &line.invited else {
            return;
        };
        let (from, to) = (invited.get(Header::To), invited.get(Header::From));
        let text = format!(
            "{method} sip:x@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.2.0.1;branch=z9hG4bKb{place}x{}\r\n\
             From: {};tag=b{place}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} {method}\r\n\
             Max-Forwards: 70\r\nContact: <sip:y@10.2.0.1>\r\n",
            line.cseq,
            from.unwrap_or_default(),
            to.unwrap_or_default(),
            invited.call_id(),
            line.cseq
        );
        self.send(text, HOSTS[1], steps);
    }

    /// The callee's carrier answers one of the requests that it has.
    fn answer(&mut self, steps: &mut Steps<'_>) {
        if self.asked.is_empty() {
            return;
        }
        let place = steps.below(self.asked.len());
        let status = steps.pick(&STATUSES);
        let request = &self.asked[place];
        let tag = match (request.to_tag(), steps.below(6)) {
            ("", 5) => ";tag=other".to_owned(),
            ("", 4) => String::new(),
            ("", _) => format!(";tag=b{}", self.line_of(request).unwrap_or_default()),
            _ => String::new(),
        };
        let mut text = format!("SIP/2.0 {status} X\r\n");
        for via in request.all(Header::Via) {
            text += &format!("Via: {via}\r\n");
        }
        let field = |name| request.get(name).unwrap_or_default();
        text += &format!(
            "From: {}\r\nTo: {}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: <sip:y@10.2.0.1>\r\n",
            field(Header::From),
            field(Header::To),
            field(Header::CallId),
            field(Header::CSeq)
        );
        if status >= 200 && steps.byte() & 3 != 3 {
            let _ = self.asked.remove(place);
        }
        self.send(text, HOSTS[1], steps);
    }

    fn line_of(&self, request: &Message) -> Option<usize> {
        let same = |line: &Line| {
            line.invited
                .as_ref()
                .is_some_and(|one| one.call_id() == request.call_id())
        };
        self.lines.iter().position(same)
    }

    /// Ends a message with a header, a body and a few bytes that are others.
    fn send(&mut self, head: String, from: [u8; 4], steps: &mut Steps<'_>) {
        let extra = steps.pick(&EXTRAS);
        let (kind, body) = steps.pick(&BODIES);
        let kind = if kind.is_empty() {
            String::new()
        } else {
            format!("Content-Type: {kind}\r\n")
        };
        let text = format!(
            "{head}{extra}{kind}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut bytes = text.into_bytes();
        for _ in 0..steps.byte().saturating_sub(200) % 4 {
            let at = usize::from(steps.byte()) * 256 + usize::from(steps.byte());
            let at = at % bytes.len();
            match steps.byte() {
                0 => bytes.truncate(at.max(1)),
                1 => bytes.insert(at, b','),
                2 => drop(bytes.remove(at)),
                other => bytes[at] = other,
            }
            if bytes.is_empty() {
                return;
            }
        }
        let from = if steps.byte() == 255 { HOSTS[2] } else { from };
        self.receive(Bytes::from(bytes), from);
    }

    fn repeat(&mut self, steps: &mut Steps<'_>) {
        if self.kept.is_empty() {
            return;
        }
        let (bytes, from) = self.kept[steps.below(self.kept.len())].clone();
        self.hear(bytes, from);
        self.settle();
    }

    fn receive(&mut self, bytes: Bytes, from: [u8; 4]) {
        let from = path(from);
        if self.kept.len() == MOST_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back((bytes.clone(), from));
        self.hear(bytes, from);
        self.settle();
    }

    /// Hands a datagram over; while overloaded, an INVITE as one that has waited for too long.
    fn hear(&mut self, bytes: Bytes, from: Path) {
        let now = self.time();
        if self.overloaded && bytes.starts_with(b"INVITE ") {
            self.worker.shed(bytes, from, now);
        } else {
            self.worker.datagram(bytes, from, now);
        }
    }

    // ---- what comes of it

    /// Worker and books have their say until both are silent; the store takes everything at once.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 10_000, "it never comes to rest");
            let now = self.time();
            self.worker.relay_events(now);
            let mut moved = false;
            while let Some(output) = self.worker.poll_output() {
                moved = true;
                match output {
                    Output::Transmit(bytes, to) => self.sent(&bytes, to),
                    Output::Books(command) => self.books.call(command, now),
                    Output::Ended(record) => {
                        *self.ended.entry(record.call_id.0.to_string()).or_default() += 1;
                    }
                    _ => {}
                }
            }
            self.worker.flush_relay(self.now);
            while self.books.batch_is_urgent().is_some() {
                let _ = self.books.take_batch();
                self.books.committed(now);
                moved = true;
            }
            while let Some(output) = self.books.poll_output() {
                moved = true;
                match output {
                    books::Output::Notice(notice) => self.worker.notice(notice, now),
                    books::Output::Reply(_, reply) => self.replied(reply),
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn replied(&mut self, reply: books::command::Reply) {
        if let books::command::Reply::Outcome(Ok(books::command::Answer::Lease(lease))) = reply {
            let shown = lease.pairs.into_iter().map(|(number, _)| number);
            self.leased.extend(shown);
        }
    }

    /// Everything that leaves can be read, but for what echoes a message that could not be.
    fn sent(&mut self, bytes: &Bytes, to: Path) {
        assert!(bytes.len() <= codec::MAX_DATAGRAM);
        let message = match codec::parse(bytes.clone()) {
            Ok(message) => message,
            Err(error) => {
                let refusal = [
                    &b"SIP/2.0 400 "[..],
                    b"SIP/2.0 503 ",
                    b"SIP/2.0 505 ",
                    b"SIP/2.0 403 ",
                ];
                let known = refusal.iter().any(|start| bytes.starts_with(start));
                assert!(known, "{error:?}: {}", String::from_utf8_lossy(bytes));
                return;
            }
        };
        assert!(
            to.remote.ip() != std::net::IpAddr::from(HOSTS[2]),
            "a stranger is answered"
        );
        for header in HEADERS_OF_OURS {
            assert!(message.all(header).count() <= 1, "{header:?} twice");
        }
        match message.status() {
            Some(_) => {
                let line = self
                    .lines
                    .iter_mut()
                    .find(|line| line.call_id == message.call_id());
                if let Some(line) = line
                    && message.method() == Method::Invite
                {
                    line.response = Some(message);
                }
            }
            None => {
                if message.method() == Method::Invite && message.to_tag().is_empty() {
                    let line = self
                        .lines
                        .iter_mut()
                        .rev()
                        .find(|line| line.invited.is_none());
                    if let Some(line) = line {
                        line.invited = Some(message.clone());
                    }
                }
                if message.method() != Method::Ack && self.asked.len() < MOST_KEPT {
                    self.asked.push_back(message);
                }
            }
        }
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        for round in 0.. {
            assert!(round < 100_000, "time stands still");
            let due = [self.worker.poll_timeout(), self.books.poll_timeout()];
            let Some(at) = due.into_iter().flatten().min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(at);
            let now = self.time();
            if self.worker.poll_timeout().is_some_and(|at| at <= self.now) {
                self.worker.handle_timeout(now);
            }
            if self.books.poll_timeout().is_some_and(|at| at <= self.now) {
                self.books.handle_timeout(now);
            }
            self.settle();
        }
        self.now = end;
    }

    /// Nobody answers any more: whatever is up must come to its end by itself.
    fn finish(mut self) {
        for _ in 0..10 {
            self.wait(Duration::from_secs(60));
        }
        let alive = self.worker.agent().alive();
        assert_eq!(
            alive,
            leasebridge::sip::agent::Alive::default(),
            "SIP is left"
        );
        let figures = self.books.figures();
        assert_eq!(self.worker.calls(), 0, "calls are left");
        assert_eq!(
            (figures.calls, figures.open_calls),
            (0, 0),
            "the books have calls left"
        );
        assert_eq!(figures.ledger_imbalance, 0, "the ledger does not add up");
        assert_eq!(self.worker.ports().count().used, 0, "ports are left");
        assert!(
            self.ended.values().all(|count| *count == 1),
            "two records of one call"
        );
    }
}

fn host(steps: &mut Steps<'_>) -> [u8; 4] {
    steps.pick(&HOSTS)
}

fn path(host: [u8; 4]) -> Path {
    Path {
        transport: Transport::Udp,
        local: US,
        remote: (host, 5060).into(),
    }
}
