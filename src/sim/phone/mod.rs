//! The telephones of one carrier, at its side of the simulated network. They speak SIP by
//! themselves, from text, so that a fault in the gateway's own codec or transactions cannot hide in
//! the peer; they repeat what UDP may lose, and misbehave by plan. Their number and address stand
//! wherever a real device might put them.
//!
//! - here: lines, timers, what is repeated, dispatch;
//! - `caller`, `callee`: the first INVITE from either end;
//! - `digest`: passwords, asked for and given;
//! - `reliable`: PRACK and UPDATE;
//! - `session`: what both do once a call is up;
//! - `timer`: how they keep it up.

mod callee;
mod caller;
pub mod digest;
mod reliable;
mod session;
pub mod srtp;
mod timer;

pub use session::Sound;
pub use timer::Timer;

use super::chance::Chance;
use super::plan;
use super::text::{body, cseq, header, reply, status, tag};
use crate::rtp::srtp::Sender;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
const TIMEOUT: Duration = Duration::from_secs(32);

/// What a telephone does with a call that is up.
#[derive(Clone, Debug, Default)]
pub struct UpPlan {
    /// BYE so long after the answer.
    pub hang_up_after: Option<Duration>,
    /// Hold (and resume a second later) so long after the answer.
    pub hold_after: Option<Duration>,
    /// How it is held.
    pub hold: Hold,
    /// Stop doing anything at all so long after the answer.
    pub vanish_after: Option<Duration>,
    /// Send no sound.
    pub silent: bool,
    /// Ask for something unusual so long after the answer.
    pub odd_after: Option<Duration>,
    /// By this method.
    pub odd: &'static str,
    /// Its session timer.
    pub timer: Timer,
}

/// Ways of putting somebody on hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hold {
    /// `a=sendonly` (RFC 3264 §8.4).
    #[default]
    SendOnly,
    /// `a=inactive`.
    Inactive,
    /// `c=0.0.0.0` (RFC 2543's way).
    ZeroAddress,
    /// No hold: a re-INVITE without a description.
    Empty,
}

/// What a caller does with its call.
#[derive(Clone, Debug, Default)]
pub struct CallerPlan {
    /// Whose number it gives.
    pub number: String,
    /// It asks that the number be withheld.
    pub withheld: bool,
    /// CANCEL so long after the INVITE, if not answered by then.
    pub cancel_after: Option<Duration>,
    /// Never ACK a 2xx.
    pub never_ack: bool,
    /// INVITE without an offer.
    pub delayed_offer: bool,
    /// Once it is up.
    pub up: UpPlan,
}

/// What a callee does with a call.
#[derive(Clone, Debug, Default)]
pub struct CalleePlan {
    /// Refuse with this status.
    pub refuse: Option<u16>,
    /// Early dialogs.
    pub forks: u8,
    /// A second fork answers a moment after the first.
    pub second_answer: bool,
    /// SDP in the 18x.
    pub early_media: bool,
    /// 100 before anything else.
    pub trying: bool,
    /// 200 so long after the INVITE; never if `None`.
    pub answer_after: Option<Duration>,
    /// Never respond at all.
    pub dead: bool,
    /// Once it is up.
    pub up: UpPlan,
}

/// The telephones of one carrier.
pub struct Phones {
    pub address: SocketAddr,
    media: IpAddr,
    pub outbox: VecDeque<(SocketAddr, String)>,
    pub lines: BTreeMap<String, Line>,
    repeats: BTreeMap<(String, String), Repeat>,
    todo: BTreeMap<(Instant, u64), (String, Todo)>,
    counter: u64,
    /// New calls must prove the gateway's password.
    pub asks: bool,
    /// They have SRTP.
    pub srtp: bool,
    /// Requests that have.
    let_in: u64,
    pub seen: Seen,
}

/// What telephones lived through, to be sure that enough did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub cancels: u64,
    pub holds: u64,
    pub sounds: u64,
    pub odd: u64,
    /// Requests that came, or went once more, with the right password.
    pub proven: u64,
    /// PRACKs of callers, and those that callees took.
    pub pracks: u64,
    pub pracked: u64,
    /// Offers of callees before the answer, and UPDATEs that were taken.
    pub early_updates: u64,
    pub updated: u64,
    /// Refreshes of theirs, and re-INVITEs of the gateway's to those that wait for some.
    pub refreshes: u64,
    pub refreshed: u64,
    /// Sessions that the gateway should have refreshed and did not.
    pub expired: u64,
    /// Calls that the gateway ended where a telephone forgot to refresh.
    pub forgotten: u64,
    /// Answers that were not acknowledged, by plan, or because who was to do it had vanished.
    pub ignored: u64,
    /// Requests and final responses that nobody ever answered.
    pub unanswered: u64,
}

/// A request or final response that is sent until something answers it.
struct Repeat {
    to: SocketAddr,
    text: String,
    next: Instant,
    interval: Duration,
    end: Instant,
}

#[derive(Clone, Debug)]
enum Todo {
    Cancel,
    HangUp,
    Hold(bool),
    Vanish,
    Answer,
    SecondAnswer,
    Odd,
    EarlyUpdate,
    Refresh,
    Expire,
}

/// One call at a telephone.
pub struct Line {
    caller: bool,
    number: String,
    /// Where it sends and takes sound.
    pub media: SocketAddr,
    peer: SocketAddr,
    target: String,
    local: String,
    remote: String,
    sequence: u32,
    invite: String,
    pub state: State,
    never_ack: bool,
    delayed_offer: bool,
    habit: reliable::Habit,
    /// The offer that the INVITE did not have was answered before the 200.
    answered_early: bool,
    callee_plan: CalleePlan,
    up: UpPlan,
    /// A provisional response came: a CANCEL may go.
    ringing: bool,
    cancel_wanted: bool,
    /// Our re-INVITE that has no final response yet.
    reinviting: Option<u32>,
    /// What it described last.
    described: String,
    /// When its session began, or was refreshed.
    refreshed_at: Option<Instant>,
    /// Where the gateway wants this side's sound.
    sound_to: Option<SocketAddr>,
    pub sounds: u16,
    /// Protects them.
    sender: Option<Sender>,
    /// Forks of ours that answered though another goes on, until they are ended.
    pub losers: Vec<String>,
    /// What was last replied to each request of theirs.
    replies: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Calling,
    Up,
    Over,
    Vanished,
}

impl Phones {
    pub fn new(address: SocketAddr, media: IpAddr) -> Self {
        Self {
            address,
            media,
            outbox: VecDeque::new(),
            lines: BTreeMap::new(),
            repeats: BTreeMap::new(),
            todo: BTreeMap::new(),
            counter: 0,
            asks: false,
            srtp: false,
            let_in: 0,
            seen: Seen::default(),
        }
    }

    /// Whether nothing is left to do or to repeat.
    pub fn idle(&self) -> bool {
        self.todo.is_empty() && self.repeats.is_empty()
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let todo = self.todo.keys().next().map(|(at, _)| *at);
        let repeat = self.repeats.values().map(|repeat| repeat.next).min();
        [todo, repeat].into_iter().flatten().min()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(((at, _), _)) = self.todo.first_key_value()
            && *at <= now
        {
            if let Some((_, (id, todo))) = self.todo.pop_first() {
                self.act(&id, &todo, now);
            }
        }
        let due = self.repeats.iter().filter(|(_, repeat)| repeat.next <= now);
        let due: Vec<(String, String)> = due.map(|(key, _)| key.clone()).collect();
        for key in due {
            self.repeat_again(&key, now);
        }
    }

    fn repeat_again(&mut self, key: &(String, String), now: Instant) {
        let Some(repeat) = self.repeats.get_mut(key) else {
            return;
        };
        if now >= repeat.end {
            self.repeats.remove(key);
            self.seen.unanswered += 1;
            // Nobody answers: the call is over for this side.
            self.over(&key.0);
            return;
        }
        repeat.interval = (repeat.interval * 2).min(T2);
        repeat.next = (now + repeat.interval).min(repeat.end);
        self.outbox.push_back((repeat.to, repeat.text.clone()));
    }

    /// A datagram came.
    pub fn receive(&mut self, from: SocketAddr, text: &str, chance: &mut Chance, now: Instant) {
        let id = header(text, "Call-ID").to_owned();
        let state = self.lines.get(&id).map(|line| line.state);
        if state == Some(State::Vanished) {
            // Who waits for what it should have said of an offer waits as long as the gateway does.
            let offered = cseq(text).1 == "UPDATE" && status(text).is_none();
            self.seen.ignored += u64::from(offered && !body(text).is_empty());
            return;
        }
        if let Some(status) = status(text) {
            return self.response(&id, status, text, now);
        }
        let (sequence, method) = cseq(text);
        if self.asks_for_a_password(from, text) {
            return;
        }
        match method {
            "INVITE" if tag(header(text, "To")).is_empty() => {
                self.invited(&id, from, text, plan::callee(chance), now);
            }
            "INVITE" => self.reinvited(&id, from, text, now),
            "ACK" => self.acknowledged(&id, sequence, text),
            "BYE" => self.hung_up(&id, from, text),
            "CANCEL" => self.cancelled(&id, from, text, now),
            "OPTIONS" => {
                let answer = reply(text, "200 OK", "o", "", "");
                self.outbox.push_back((from, answer));
            }
            "PRACK" => self.pracked(&id, from, text, now),
            "UPDATE" => self.updated(&id, from, text),
            "INFO" => {
                let answer = reply(text, "200 OK", "", "", "");
                self.outbox.push_back((from, answer));
            }
            _ => {
                let answer = reply(text, "405 No", "n", "", "");
                self.outbox.push_back((from, answer));
            }
        }
    }

    fn response(&mut self, id: &str, status: u16, text: &str, now: Instant) {
        let (number, method) = cseq(text);
        let first = |line: &Line| line.caller && cseq(&line.invite).0 == number;
        let first = self.lines.get(id).is_some_and(first);
        match method {
            "INVITE" if first => self.invite_response(id, status, text, now),
            "INVITE" if status >= 200 => self.reinvite_response(id, number, status, text, now),
            "INVITE" => self.wait_for_final(id, &format!("INVITE {number}"), now),
            "UPDATE" if status >= 200 => self.update_response(id, number, status, text),
            _ if status >= 200 => {
                self.repeats
                    .remove(&(id.to_owned(), format!("{method} {number}")));
            }
            _ => {}
        }
    }

    fn act(&mut self, id: &str, todo: &Todo, now: Instant) {
        let Some(line) = self.lines.get_mut(id) else {
            return;
        };
        match (todo, line.state) {
            (Todo::Vanish, _) => {
                // Who asked for an offer owes the answer, and the other side waits for it.
                let owed = line.reinviting.is_some() && line.up.hold == Hold::Empty;
                self.seen.ignored += u64::from(owed);
                line.state = State::Vanished;
                self.repeats.retain(|(call, _), _| call != id);
                self.todo.retain(|_, (call, _)| call != id);
            }
            (Todo::Cancel, State::Calling) => {
                line.cancel_wanted = true;
                self.cancel_if_ready(id, now);
            }
            // RFC 3261 §15: a callee waits for the ACK, or for its end.
            (Todo::HangUp, State::Up) if self.is_unacknowledged(id) => {
                self.plan(id, Todo::HangUp, now + T1);
            }
            (Todo::HangUp, State::Up) => {
                self.in_dialog(id, "BYE", "", now);
                self.over(id);
            }
            (Todo::Hold(hold), State::Up) => self.hold(id, *hold, now),
            (Todo::Answer, State::Calling) if self.is_unpracked(id) => {
                self.plan(id, Todo::Answer, now + T1);
            }
            (Todo::Answer, State::Calling) => self.answer(id, now),
            (Todo::EarlyUpdate, State::Calling) => self.update_early(id, now),
            (Todo::Odd, State::Up) => self.ask_oddly(id, now),
            (Todo::Refresh, State::Up) => self.refresh(id, now),
            (Todo::Expire, State::Up) => self.expire(id, now),
            (Todo::SecondAnswer, State::Up) => self.answer_again(id, now),
            _ => {}
        }
    }

    // ---- for all of them

    fn line(&mut self, caller: bool, number: &str, peer: SocketAddr) -> Line {
        self.counter += 1;
        let first = if self.srtp { srtp::FIRST_PORT } else { 4000 };
        let port = first + u16::try_from(2 * (self.counter % 10_000)).unwrap_or(0);
        Line {
            caller,
            number: number.to_owned(),
            media: SocketAddr::new(self.media, port),
            peer,
            target: String::new(),
            local: String::new(),
            remote: String::new(),
            sequence: 1,
            invite: String::new(),
            state: State::Calling,
            never_ack: false,
            delayed_offer: false,
            habit: reliable::Habit::of(self.counter),
            answered_early: false,
            callee_plan: CalleePlan::default(),
            up: UpPlan::default(),
            ringing: false,
            cancel_wanted: false,
            reinviting: None,
            described: String::new(),
            refreshed_at: None,
            sound_to: None,
            sender: None,
            sounds: 0,
            losers: Vec::new(),
            replies: BTreeMap::new(),
        }
    }

    fn plan(&mut self, id: &str, todo: Todo, at: Instant) {
        self.counter += 1;
        self.todo.insert((at, self.counter), (id.to_owned(), todo));
    }

    fn plan_up(&mut self, id: &str, now: Instant) {
        let Some(line) = self.lines.get(id) else {
            return;
        };
        let up = line.up.clone();
        let all = [
            (up.hang_up_after, Todo::HangUp),
            (up.hold_after, Todo::Hold(true)),
            (up.vanish_after, Todo::Vanish),
            (up.odd_after, Todo::Odd),
        ];
        for (after, todo) in all {
            if let Some(after) = after {
                self.plan(id, todo, now + after);
            }
        }
        self.plan_timer(id, now);
    }

    fn repeat(&mut self, id: &str, key: &str, to: SocketAddr, text: String, now: Instant) {
        self.outbox.push_back((to, text.clone()));
        let repeat = Repeat {
            to,
            text,
            next: now + T1,
            interval: T1,
            end: now + TIMEOUT,
        };
        self.repeats.insert((id.to_owned(), key.to_owned()), repeat);
    }

    /// A provisional response: the request is not repeated, but a call that never ends must not be
    /// waited for for ever.
    fn wait_for_final(&mut self, id: &str, key: &str, now: Instant) {
        let key = (id.to_owned(), key.to_owned());
        if let Some(repeat) = self.repeats.get_mut(&key) {
            repeat.end = now + Duration::from_secs(400);
            repeat.next = repeat.end;
        }
    }

    fn over(&mut self, id: &str) {
        if let Some(line) = self.lines.get_mut(id)
            && line.state != State::Vanished
        {
            line.state = State::Over;
        }
    }

    fn learn_media(&mut self, id: &str, text: &str) {
        if let Some(media) = super::text::media_of(text)
            && let Some(line) = self.lines.get_mut(id)
        {
            line.sound_to = Some(media);
        }
    }

    fn contact(&self, number: &str) -> String {
        format!(
            "Contact: <sip:{number}@{}>\r\nContent-Type: application/sdp\r\n",
            self.address
        )
    }

    fn request(&self, id: &str, line: &Line, method: &str, sequence: u32, body: &str) -> String {
        let (number, address) = (&line.number, self.address);
        let mut text = format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bK{sequence}{method}{id}\r\n\
             Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {id}\r\nCSeq: {sequence} {method}\r\n\
             Contact: <sip:{number}@{address}>\r\nSubject: from {number}\r\n\
             User-Agent: {number}@{address}\r\nReply-To: <sip:{number}@{address}>\r\n\
             X-Number: {number}\r\nReferred-By: <sip:{number}@{address}>\r\n",
            line.target, line.local, line.remote
        );
        if line.habit.updates {
            text.push_str(reliable::ALLOW);
        }
        if method == "INVITE" {
            text.push_str(&line.up.timer.lines(true));
        }
        if !body.is_empty() {
            text.push_str("Content-Type: application/sdp\r\n");
        }
        let _ = write!(text, "Content-Length: {}\r\n\r\n{body}", body.len());
        text
    }
}

/// A description with `direction`, sound at `media`, and the number wherever there is room for it.
fn description(number: &str, media: SocketAddr, direction: &str, version: u32) -> String {
    let ip = media.ip();
    let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
    let connection = match (direction, family) {
        ("zero", "IP4") => "IP4 0.0.0.0".to_owned(),
        ("zero", _) => "IP6 ::".to_owned(),
        _ => format!("{family} {ip}"),
    };
    let direction = if direction == "zero" {
        "sendrecv"
    } else {
        direction
    };
    format!(
        "v=0\r\no={number} 1 {version} IN {family} {ip}\r\ns=call of {number}\r\ni={number}\r\n\
         u=sip:{number}@{ip}\r\ne={number}@{ip}\r\np=+{number}\r\nc=IN {connection}\r\nt=0 0\r\n\
         m=audio {} RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
         a=rtcp:{} IN {family} {ip}\r\na=candidate:1 1 UDP 1 {ip} 9 typ host\r\n\
         a=ssrc:7 cname:{number}@{ip}\r\na={direction}\r\n{}",
        media.port(),
        media.port() + 1,
        srtp::line(media)
    )
}
