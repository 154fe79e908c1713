//! The agent between a scripted caller and a scripted callee: no socket, no clock, every message
//! as bytes.

mod admission;
mod answering;
mod cancelling;
mod certifying;
mod challenging;
mod ending;
mod foreigners;
mod forking;
mod hops;
mod hostile;
mod identities;
mod looping;
mod losing;
mod privacy;
mod probing;
mod refreshing;
mod reinviting;
mod reliable_callee;
mod reliable_caller;
mod routes;
mod setting_up;
mod stray_answers;
mod streaming;
mod updating;
mod vouching;

use super::{
    Agent, Alive, Entropy, IdentityPolicy, Input, Listening, NumberForm, Output, Reliability,
    SessionPolicy, Settings, Target, Trunk,
};
use crate::call::event::{CallerId, Cause, Dial, DialFailure, Fork, Invite, LegEvent, SipCommand};
use crate::domain::{CallKey, E164, Now, Side, TrunkId, UnixMillis};
use crate::sip::codec;
use crate::sip::message::{Header, Message, Method, Path, Transport};
use bytes::Bytes;
use std::collections::VecDeque;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

const CALLER: &str = "192.0.2.10:5060";
const CALLEE: &str = "198.51.100.20:5070";
const US: &str = "203.0.113.1:5060";
const IN: TrunkId = TrunkId(0);
const OUT: TrunkId = TrunkId(1);
const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 203.0.113.1\r\ns=-\r\nc=IN IP4 203.0.113.1\r\nt=0 0\r\n\
                     m=audio 4000 RTP/AVP 0\r\n";
/// The same as the caller writes it.
const CALLER_SDP: &str = "v=0\r\no=joe 1 1 IN IP4 192.0.2.11\r\ns=-\r\nc=IN IP4 192.0.2.11\r\n\
                          t=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
/// And as the callee.
const CALLEE_SDP: &str = "v=0\r\no=bob 1 1 IN IP4 198.51.100.21\r\ns=-\r\n\
                          c=IN IP4 198.51.100.21\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\n";
/// What the caller describes later: a description that changes nothing is a refresh.
const CALLER_CHANGED: &str = "v=0\r\no=joe 1 2 IN IP4 192.0.2.11\r\ns=-\r\nc=IN IP4 192.0.2.11\r\n\
                              t=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
/// And the callee.
const CALLEE_CHANGED: &str = "v=0\r\no=bob 1 2 IN IP4 198.51.100.21\r\ns=-\r\n\
                              c=IN IP4 198.51.100.21\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\n";
/// A description as a call begins with it: what comes later is another, no refresh of it.
fn first(sdp: &str) -> String {
    sdp.replacen(" 1 1 ", " 1 0 ", 1)
}

const CALLEE_NUMBER: &str = "60123456789";
const CALLER_NUMBER: &str = "60111111111";
const LEASED: &str = "60388880001";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn from_there(from: &str) -> Path {
    Path {
        transport: Transport::Udp,
        local: address(US),
        remote: address(from),
    }
}

fn number(digits: &str) -> E164 {
    E164::from_digits(digits).unwrap()
}

fn cause(sip: u16, q850: u8) -> Cause {
    Cause { sip, q850 }
}

struct Seeded(u64);

impl Entropy for Seeded {
    fn next(&mut self) -> u64 {
        // SplitMix64's constants.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn settings() -> Settings {
    let path = Path {
        transport: Transport::Udp,
        local: address(US),
        remote: address(CALLEE),
    };
    Settings {
        trunks: vec![
            Some(Trunk {
                id: IN,
                sources: vec![("192.0.2.0".parse().unwrap(), 28)],
                target: None,
                trusted: true,
                reliable: Reliability::Supported,
                form: NumberForm::PlusE164,
                options_interval: Duration::ZERO,
                account: None,
                login: None,
                identity: IdentityPolicy::Off,
                certified: false,
                sign: true,
                tls_only: false,
                session_policy: SessionPolicy::default(),
            }),
            Some(Trunk {
                id: OUT,
                sources: vec![],
                target: Some(Target::at("carrier.example", path)),
                trusted: true,
                reliable: Reliability::Supported,
                form: NumberForm::PlusE164,
                options_interval: Duration::ZERO,
                account: None,
                login: None,
                identity: IdentityPolicy::Off,
                certified: false,
                sign: true,
                tls_only: false,
                session_policy: SessionPolicy::default(),
            }),
        ],
        refuse_unknown: false,
        advertised: vec![(address(US), "203.0.113.1:5060".into())],
        streams: vec![],
        own: vec![],
        t1: Duration::from_millis(500),
        signer: None,
        passport_max_age: Duration::from_secs(60),
    }
}

/// The agent and what is around it.
struct World {
    agent: Agent,
    start: Instant,
    now: Instant,
    sent: VecDeque<(Bytes, Path)>,
    said: VecDeque<Output>,
    counted: Vec<(&'static str, &'static str)>,
    /// What was said of trunks' hops: trunk, how many, how many usable.
    hops: Vec<(TrunkId, usize, usize)>,
    /// What other workers are to know of hops.
    news: Vec<(Path, Option<Instant>)>,
    /// Where descriptions came from, oldest first.
    peers: Vec<(Side, IpAddr)>,
}

impl World {
    fn new() -> Self {
        Self::with(settings())
    }

    fn with(settings: Settings) -> Self {
        let now = Instant::now();
        Self {
            agent: Agent::new(settings, Box::new(Seeded(1))),
            start: now,
            now,
            sent: VecDeque::new(),
            said: VecDeque::new(),
            counted: Vec::new(),
            hops: Vec::new(),
            news: Vec::new(),
            peers: Vec::new(),
        }
    }

    fn time(&self) -> Now {
        let elapsed = (self.now - self.start).as_millis();
        Now {
            mono: self.now,
            wall: UnixMillis(1_700_000_000_000 + u64::try_from(elapsed).unwrap()),
        }
    }

    fn input(&mut self, input: Input) {
        let now = self.time();
        self.agent.handle(input, now);
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(output) = self.agent.poll_output() {
            match output {
                Output::Transmit(bytes, path) => self.sent.push_back((bytes, path)),
                Output::Count(name, label) => self.counted.push((name, label)),
                Output::TrunkHops {
                    trunk,
                    total,
                    usable,
                    ..
                } => self.hops.push((trunk, total, usable)),
                Output::HopNews(path, until) => self.news.push((path, until)),
                Output::Peer(_, side, address) => self.peers.push((side, address)),
                other => self.said.push_back(other),
            }
        }
    }

    fn receive(&mut self, from: &str, bytes: impl Into<Bytes>) {
        self.input(Input::Datagram(bytes.into(), from_there(from)));
    }

    /// What has waited for too long.
    fn shed(&mut self, from: &str, bytes: impl Into<Bytes>) {
        self.input(Input::Shed(bytes.into(), from_there(from)));
    }

    fn command(&mut self, key: CallKey, command: SipCommand) {
        self.input(Input::Command(key, command));
    }

    /// Lets time pass, timer by timer.
    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.agent.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            let now = self.time();
            self.agent.handle_timeout(now);
            self.collect();
        }
        self.now = end;
    }

    fn pass_millis(&mut self, millis: u64) {
        self.pass(Duration::from_millis(millis));
    }

    /// The next message sent to an address.
    fn next(&mut self, to: &str) -> Option<Message> {
        let place = self
            .sent
            .iter()
            .position(|(_, path)| path.remote == address(to))?;
        let (bytes, path) = self.sent.remove(place).unwrap();
        assert_eq!(path.local, address(US));
        Some(codec::parse(bytes).expect("what we write can be read"))
    }

    fn request(&mut self, to: &str, method: Method) -> Message {
        let message = self.next(to).unwrap_or_else(|| panic!("no {method:?}"));
        assert_eq!((message.method(), message.status()), (method, None));
        message
    }

    fn response(&mut self, to: &str, status: u16) -> Message {
        let message = self.next(to).unwrap_or_else(|| panic!("no {status}"));
        assert_eq!(message.status(), Some(status), "{message:?}");
        message
    }

    fn quiet(&mut self) {
        let left: Vec<_> = self
            .sent
            .iter()
            .map(|(bytes, path)| (String::from_utf8_lossy(bytes), path.remote))
            .collect();
        assert!(left.is_empty(), "{left:#?}");
        assert!(self.said.is_empty(), "{:#?}", self.said);
    }

    fn said(&mut self) -> Output {
        self.said.pop_front().expect("something said")
    }

    fn event(&mut self, side: Side) -> LegEvent {
        match self.said() {
            Output::Event(_, from, event) if from == side => event,
            other => panic!("no event of {side:?} but {other:?}"),
        }
    }

    fn gone(&mut self) -> Cause {
        match self.said() {
            Output::Gone(_, cause) => cause,
            other => panic!("not gone but {other:?}"),
        }
    }

    /// After a while nothing is left of any call.
    fn assert_empty(&mut self) {
        self.pass(Duration::from_secs(200));
        self.sent.clear();
        self.said.clear();
        assert_eq!(self.agent.alive(), Alive::default());
        assert!(
            self.agent.core.owners.is_empty(),
            "{:?}",
            self.agent.core.owners
        );
        assert!(self.agent.invites.is_empty());
        assert_eq!(self.agent.core.sources.peers(), 0);
        assert_eq!(self.agent.core.timers(), 0);
    }

    fn invited(&mut self) -> (CallKey, Box<Invite>) {
        match self.said() {
            Output::Invite(key, invite) => (key, invite),
            other => panic!("no INVITE but {other:?}"),
        }
    }
}

/// A request as a peer writes it.
struct Draft {
    start: String,
    lines: Vec<(String, String)>,
    body: String,
}

impl Draft {
    fn set(mut self, name: &str, value: &str) -> Self {
        match self.lines.iter_mut().find(|(known, _)| known == name) {
            Some(line) => line.1 = value.to_owned(),
            None => self.lines.push((name.to_owned(), value.to_owned())),
        }
        self
    }

    fn add(mut self, name: &str, value: &str) -> Self {
        self.lines.push((name.to_owned(), value.to_owned()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.lines.retain(|(known, _)| known != name);
        self
    }

    fn uri(mut self, uri: &str) -> Self {
        let method = self.start.split(' ').next().unwrap();
        self.start = format!("{method} {uri} SIP/2.0");
        self
    }

    fn body(mut self, kind: &str, body: &str) -> Self {
        self.body = body.to_owned();
        self.set("Content-Type", kind)
    }

    fn sdp(self, body: &str) -> Self {
        self.body("application/sdp", body)
    }
}

impl From<Draft> for Bytes {
    fn from(draft: Draft) -> Self {
        let mut text = format!("{}\r\n", draft.start);
        for (name, value) in &draft.lines {
            write!(text, "{name}: {value}\r\n").unwrap();
        }
        write!(
            text,
            "Content-Length: {}\r\n\r\n{}",
            draft.body.len(),
            draft.body
        )
        .unwrap();
        text.into()
    }
}

/// A peer's end of a dialog with us.
#[derive(Clone)]
struct End {
    at: &'static str,
    call_id: String,
    /// Its own name-addr with tag.
    local: String,
    /// Ours, with tag once known.
    remote: String,
    target: String,
    cseq: u32,
    branches: u32,
}

impl End {
    fn caller() -> Self {
        Self {
            at: CALLER,
            call_id: "caller-id@192.0.2.10".into(),
            local: format!("\"Joe\" <sip:+{CALLER_NUMBER}@192.0.2.10>;tag=callertag"),
            remote: format!("<sip:+{LEASED}@203.0.113.1>"),
            target: format!("sip:+{LEASED}@203.0.113.1"),
            cseq: 1,
            branches: 0,
        }
    }

    /// The callee's, from our INVITE, with its tag.
    fn callee(invite: &Message, tag: &str) -> Self {
        let contact = invite.get(Header::Contact).unwrap();
        Self {
            at: CALLEE,
            call_id: invite.call_id().into(),
            local: format!("{};tag={tag}", invite.get(Header::To).unwrap()),
            remote: invite.get(Header::From).unwrap().into(),
            target: contact.trim_matches(['<', '>']).into(),
            cseq: 100,
            branches: 0,
        }
    }

    fn host(&self) -> &'static str {
        self.at.split(':').next().unwrap()
    }

    fn draft(&self, method: &str) -> Draft {
        let Self { at, branches, .. } = self;
        Draft {
            start: format!("{method} {} SIP/2.0", self.target),
            lines: Vec::new(),
            body: String::new(),
        }
        .set(
            "Via",
            &format!("SIP/2.0/UDP {at};branch=z9hG4bK-{}-{branches}", self.host()),
        )
        .set("Max-Forwards", "70")
        .set("From", &self.local)
        .set("To", &self.remote)
        .set("Call-ID", &self.call_id)
        .set("CSeq", &format!("{} {method}", self.cseq))
    }

    /// A new request in the dialog.
    fn request(&mut self, method: &str) -> Draft {
        self.cseq += 1;
        self.branches += 1;
        let contact = format!("<sip:{}>", self.at);
        self.draft(method).set("Contact", &contact)
    }

    /// The INVITE that makes a call.
    fn invite(&self) -> Draft {
        let contact = format!("<sip:joe@{}>", self.at);
        self.draft("INVITE")
            .set("Contact", &contact)
            .sdp(&first(CALLER_SDP))
    }

    /// ACK to a 2xx: a transaction of its own, the INVITE's CSeq.
    fn ack(&mut self) -> Draft {
        self.branches += 1;
        self.draft("ACK")
    }

    /// ACK to a failure.
    fn ack_failure(&self, response: &Message) -> Draft {
        self.draft("ACK")
            .set("To", response.get(Header::To).unwrap())
    }

    fn cancel(&self) -> Draft {
        self.draft("CANCEL").without("Contact")
    }

    /// Takes our tag (and target) from a response.
    fn learn(&mut self, response: &Message) {
        self.remote = response.get(Header::To).unwrap().into();
        if let Some(contact) = response.get(Header::Contact) {
            self.target = contact.trim_matches(['<', '>']).into();
        }
    }
}

/// A response as a peer writes it.
fn respond(request: &Message, status: u16, tag: &str) -> Draft {
    let mut draft = Draft {
        start: format!("SIP/2.0 {status} Whatever"),
        lines: Vec::new(),
        body: String::new(),
    };
    for via in request.all(Header::Via) {
        draft = draft.add("Via", via);
    }
    for name in [Header::From, Header::To, Header::CallId, Header::CSeq] {
        let mut value = request.get(name).unwrap().to_owned();
        if name == Header::To && !tag.is_empty() && request.to_tag().is_empty() {
            write!(value, ";tag={tag}").unwrap();
        }
        draft = draft.set(name.as_str(), &value);
    }
    if request.method() == Method::Invite && (101..300).contains(&status) {
        draft = draft.set("Contact", &format!("<sip:bob@{CALLEE}>"));
    }
    draft
}

fn dial() -> Dial {
    Dial {
        call_id: crate::domain::CallId(uuid::Uuid::from_u128(7)),
        attestation: crate::domain::Attestation::Full,
        trunk: OUT,
        number: number(CALLEE_NUMBER),
        caller_id: CallerId::Number {
            number: number(LEASED),
            display_name: "".into(),
        },
        max_forwards: 69,
        early_offers: true,
        body: Some(OFFER.into()),
    }
}

/// What the call core says before it dials on a group call.
fn protect(world: &mut World, key: CallKey) {
    let callee = vec![CALLEE_NUMBER.into(), "0123456789".into()];
    let caller = vec![CALLER_NUMBER.into(), "0111111111".into()];
    world.command(key, SipCommand::Protect(Side::Caller, callee));
    world.command(key, SipCommand::Protect(Side::Callee, caller));
}

/// A call that rings.
struct Ringing {
    key: CallKey,
    caller: End,
    callee: End,
    /// Our INVITE to the callee.
    invite: Message,
    fork: Fork,
}

/// Both ends of a call that is up.
struct Up {
    key: CallKey,
    caller: End,
    callee: End,
}

fn dialled(world: &mut World) -> (CallKey, End, Message) {
    let caller = End::caller();
    world.receive(CALLER, caller.invite());
    world.response(CALLER, 100);
    let (key, _) = world.invited();
    protect(world, key);
    world.command(key, SipCommand::Dial(Box::new(dial())));
    assert!(matches!(world.said(), Output::CalleeLeg(..)));
    let invite = world.request(CALLEE, Method::Invite);
    world.quiet();
    (key, caller, invite)
}

fn ringing(world: &mut World) -> Ringing {
    let (key, mut caller, invite) = dialled(world);
    world.receive(CALLEE, respond(&invite, 100, ""));
    assert!(matches!(world.event(Side::Callee), LegEvent::Trying));
    world.quiet();
    world.receive(CALLEE, respond(&invite, 180, "bob"));
    let LegEvent::Progress {
        fork, status, body, ..
    } = world.event(Side::Callee)
    else {
        panic!("no progress");
    };
    assert_eq!((status, body), (180, None));
    let progress = SipCommand::Progress {
        fork,
        status,
        body: None,
    };
    world.command(key, progress);
    let response = world.response(CALLER, 180);
    caller.learn(&response);
    world.quiet();
    let callee = End::callee(&invite, "bob");
    Ringing {
        key,
        caller,
        callee,
        invite,
        fork,
    }
}

fn up(world: &mut World) -> Up {
    let Ringing {
        key,
        mut caller,
        callee,
        invite,
        fork,
    } = ringing(world);
    let sdp = first(CALLEE_SDP);
    world.receive(CALLEE, respond(&invite, 200, "bob").sdp(&sdp));
    let LegEvent::Answered {
        fork: answered,
        body,
    } = world.event(Side::Callee)
    else {
        panic!("no answer");
    };
    assert_eq!((answered, body), (fork, Some(sdp.into())));
    world.command(key, SipCommand::Confirm(Side::Callee, None));
    let ack = world.request(CALLEE, Method::Ack);
    assert_eq!((ack.cseq(), ack.to_tag()), (invite.cseq(), "bob"));
    let body = Some(OFFER.into());
    world.command(key, SipCommand::Accept { fork, body });
    let answer = world.response(CALLER, 200);
    assert_eq!(answer.body(), OFFER);
    assert_eq!(caller.remote, answer.get(Header::To).unwrap());
    caller.learn(&answer);
    world.receive(CALLER, caller.ack());
    assert!(matches!(
        world.event(Side::Caller),
        LegEvent::Confirmed(None)
    ));
    world.quiet();
    Up {
        key,
        caller,
        callee,
    }
}

/// Ends a call from the caller's side, both legs, and sees that nothing is left.
fn hang_up(world: &mut World, mut call: Up) {
    world.receive(CALLER, call.caller.request("BYE"));
    world.response(CALLER, 200);
    assert!(matches!(world.event(Side::Caller), LegEvent::Ended(_)));
    world.command(call.key, SipCommand::Bye(Side::Callee, cause(0, 16)));
    let bye = world.request(CALLEE, Method::Bye);
    world.receive(CALLEE, respond(&bye, 200, ""));
    world.gone();
    world.quiet();
    world.assert_empty();
}

/// A call that is up holds one session a side, and nothing of the messages that made it but its
/// last ACK.
#[test]
fn a_held_call_is_small() {
    use super::legs::Legs;
    use super::session::Session;
    let fixed = size_of::<Legs>() + 2 * size_of::<Session>();
    assert!(fixed <= 1_600, "{fixed}");
}
