//! Challenges and credentials: what was read is printed and read again, what we answer is believed,
//! and nothing else is, nor twice.

use super::steps::Steps;
use bytes::Bytes;
use leasebridge::sip::codec;
use leasebridge::sip::dialog::Entropy;
use leasebridge::sip::digest::{
    Account, Algorithm, Challenge, Credentials, Fault, Gate, Login, Password, Verdict, challenges,
    find,
};
use leasebridge::sip::message::{Header, Message};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Most header fields, and steps, of one input.
const MOST: usize = 40;
/// Most challenges of one response.
const MOST_CHALLENGES: usize = 16;
/// Longest text that credentials of ours may hold, bytes.
const LONGEST: usize = 256;
/// Seconds that a nonce of ours is good for.
const LIFE: u64 = 300;
const METHODS: [&str; 2] = ["INVITE", "BYE"];
const URIS: [&str; 4] = [
    "sip:+4930123456@192.0.2.1:5060",
    "sip:%2b4930123456@192.0.2.1:5060;user=phone",
    "sip:192.0.2.1",
    "sips:a@example.com",
];
const WAITS: [u64; 6] = [0, 1, 10, 299, 300, 301];

pub fn run(input: &[u8]) {
    let mut steps = Steps::new(input);
    match steps.byte() % 3 {
        0 => theirs(&mut steps),
        1 => given(&mut steps),
        _ => Door::new(&mut steps).run(&mut steps),
    }
}

/// A text of the input without what no header value of a message holds.
fn value(steps: &mut Steps<'_>) -> String {
    let text = String::from_utf8_lossy(steps.text());
    text.replace(['\r', '\n', '\0'], " ").trim().to_owned()
}

/// A text of the input as a configuration has it.
fn configured(steps: &mut Steps<'_>) -> Box<str> {
    let text = String::from_utf8_lossy(steps.text());
    let text: String = text.chars().filter(|c| !c.is_control()).take(60).collect();
    if text.is_empty() { "x" } else { &*text }.into()
}

fn login(user: &str, realm: &str) -> Login {
    Login {
        user: user.into(),
        password: Password::new("secret"),
        realm: realm.into(),
        algorithms: Algorithm::STRONGEST_FIRST.into(),
    }
}

/// Challenges of theirs: each can be printed and read again, and our answer to it can be read.
fn theirs(steps: &mut Steps<'_>) {
    let user = configured(steps);
    let mut values = Vec::new();
    while !steps.is_over() && values.len() < MOST {
        values.push(value(steps));
    }
    let all = challenges(values.iter().map(String::as_str));
    assert!(all.len() <= MOST_CHALLENGES);
    for one in &all {
        assert!(!one.nonce.is_empty());
        let printed = one.to_string();
        assert_eq!(challenges([&*printed]).first(), Some(one));
        assert_eq!(challenges([&*printed]).len(), 1);
        let login = login(&user, &one.realm);
        let chosen = login.choose(all.clone()).expect("its own realm");
        assert!(chosen.realm == one.realm && chosen.algorithm >= one.algorithm);
        let answer = login.answer(one, ("INVITE", URIS[0]), (7, "0a1b"));
        assert!(!answer.contains(['\r', '\n', '\0']), "{answer:?}");
        let ours = find([&*answer], &one.realm);
        let short = |text: &str| (1..=LONGEST).contains(&text.len());
        if !one.qop || !short(&one.realm) || !short(&one.nonce) {
            assert_eq!(ours, Err(Fault::Malformed));
            continue;
        }
        let ours = ours.expect("our answer cannot be read");
        let same = ours.user == user && ours.nonce == one.nonce && ours.realm == one.realm;
        assert!(same && ours.algorithm == one.algorithm && ours.count == 7);
        assert_eq!(&*ours.uri, URIS[0]);
    }
}

/// Credentials of theirs.
fn given(steps: &mut Steps<'_>) {
    let realm = configured(steps);
    let mut values = Vec::new();
    while !steps.is_over() && values.len() < MOST {
        values.push(value(steps));
    }
    let values = || values.iter().map(String::as_str);
    if let Ok(credentials) = find(values(), &realm) {
        assert_eq!(credentials.realm, realm);
        sound(&credentials);
        // It is in one of the fields, and alone; and twice the fields are never taken.
        let single = values().filter(|value| find([*value], &realm).is_ok());
        assert_eq!(single.count(), 1);
        assert_eq!(
            find(values().chain(values()), &realm),
            Err(Fault::Malformed)
        );
    }
}

fn sound(credentials: &Credentials) {
    for text in [&credentials.user, &credentials.nonce, &credentials.uri] {
        assert!((1..=LONGEST).contains(&text.len()));
        assert!(!text.contains(['\r', '\n', '\0']));
    }
    assert_ne!(credentials.count, 0);
}

struct Counter(u64);

impl Entropy for Counter {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0 ^ self.0 >> 29
    }
}

/// Credentials that our own login made.
struct Made {
    value: String,
    method: &'static str,
    uri: &'static str,
    trunk: u16,
    nonce: Box<str>,
    count: u32,
    /// Second in which the nonce was made.
    at: u64,
}

/// The gate with an account, and who knows its password.
struct Door {
    gate: Gate,
    account: Account,
    login: Login,
    entropy: Counter,
    start: Instant,
    /// Seconds since.
    now: u64,
    challenges: Vec<(Challenge, u16, u64)>,
    made: Vec<Made>,
    /// Nonce and count of what was accepted, by trunk.
    accepted: BTreeSet<(u16, Box<str>, u32)>,
}

impl Door {
    fn new(steps: &mut Steps<'_>) -> Self {
        let (user, realm) = (configured(steps), configured(steps));
        let mut entropy = Counter(1);
        let start = Instant::now();
        Self {
            gate: Gate::draw(&mut entropy, start),
            account: Account {
                realm: realm.clone(),
                users: [(user.clone(), Password::new("secret"))].into(),
                algorithms: Algorithm::STRONGEST_FIRST.into(),
            },
            login: login(&user, &realm),
            entropy,
            start,
            now: 0,
            challenges: Vec::new(),
            made: Vec::new(),
            accepted: BTreeSet::new(),
        }
    }

    fn instant(&self) -> Instant {
        self.start + Duration::from_secs(self.now)
    }

    fn run(mut self, steps: &mut Steps<'_>) {
        for _ in 0..MOST {
            if steps.is_over() {
                break;
            }
            match steps.byte() % 8 {
                0 => self.now += steps.pick(&WAITS),
                1 => self.challenge(steps),
                2 | 3 => self.answer(steps),
                4 => self.send_as_made(steps),
                5 | 6 => self.send_changed(steps),
                _ => {
                    let value = value(steps);
                    self.send(steps, &value, METHODS[0], URIS[0], 1);
                }
            }
        }
    }

    fn challenge(&mut self, steps: &mut Steps<'_>) {
        let (trunk, stale) = (u16::from(steps.byte() % 2), steps.below(2) == 1);
        let now = self.instant();
        let all = self
            .gate
            .challenges(&self.account, (trunk, stale), &mut self.entropy, now);
        let all: Vec<Challenge> = all.collect();
        let printed: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(challenges(printed.iter().map(String::as_str)), all);
        let now = self.now;
        self.challenges
            .extend(all.into_iter().map(|one| (one, trunk, now)));
    }

    fn answer(&mut self, steps: &mut Steps<'_>) {
        let place = usize::from(steps.byte()) % self.challenges.len().max(1);
        let (method, uri) = (steps.pick(&METHODS), steps.pick(&URIS));
        let count = 1 + u32::from(steps.byte());
        let Some((challenge, trunk, at)) = self.challenges.get(place) else {
            return;
        };
        self.made.push(Made {
            value: self.login.answer(challenge, (method, uri), (count, "0a1b")),
            method,
            uri,
            trunk: *trunk,
            nonce: challenge.nonce.clone(),
            count,
            at: *at,
        });
    }

    /// What was made comes as it is: it is believed once, while it is of age.
    fn send_as_made(&mut self, steps: &mut Steps<'_>) {
        let place = usize::from(steps.byte()) % self.made.len().max(1);
        let Some(made) = self.made.get(place) else {
            return;
        };
        let (value, method, uri, trunk) = (made.value.clone(), made.method, made.uri, made.trunk);
        let key = (trunk, made.nonce.clone(), made.count);
        let is_old = self.now - made.at > LIFE;
        let highest = self.accepted.iter().filter(|one| one.1 == key.1);
        let highest = highest.map(|one| one.2).max().unwrap_or_default();
        let is_used = self.accepted.contains(&key);
        let expected = match () {
            () if is_old => &[Verdict::Stale][..],
            () if is_used => &[Verdict::Replayed],
            () if key.2 > highest => &[Verdict::Accepted],
            // Below the highest that has come, and perhaps too far below.
            () => &[Verdict::Accepted, Verdict::Replayed],
        };
        let verdict = self.send(steps, &value, method, uri, trunk);
        assert!(
            verdict == Verdict::Guessing || expected.contains(&verdict),
            "{verdict:?} where {expected:?} is due"
        );
    }

    /// What was made comes with another text in it, or on another trunk or URI.
    fn send_changed(&mut self, steps: &mut Steps<'_>) {
        let place = usize::from(steps.byte()) % self.made.len().max(1);
        let Some(made) = self.made.get(place) else {
            return;
        };
        let (method, uri) = (steps.pick(&METHODS), steps.pick(&URIS));
        let trunk = u16::from(steps.byte() % 2);
        let from = usize::from(steps.byte()) * 2 % (made.value.len() + 1);
        let to = (from + usize::from(steps.byte() % 80)).min(made.value.len());
        let other = value(steps);
        let mut bytes = made.value.clone().into_bytes();
        bytes.splice(from..to, other.into_bytes());
        let value = String::from_utf8_lossy(&bytes).into_owned();
        self.send(steps, &value, method, uri, trunk);
    }

    /// Whatever comes: what is accepted was made by who knows the password, and comes once.
    fn send(
        &mut self,
        steps: &mut Steps<'_>,
        value: &str,
        method: &'static str,
        uri: &'static str,
        trunk: u16,
    ) -> Verdict {
        let address = IpAddr::from([192, 0, 2, steps.byte() % 2]);
        let request = request(method, uri, value);
        let realm = &self.account.realm;
        let found = find(request.all(Header::Authorization), realm);
        let now = self.instant();
        let verdict = self
            .gate
            .check((&request, method), &self.account, (trunk, address), now);
        match (&found, verdict) {
            (Err(Fault::Absent), Verdict::Absent) | (Err(Fault::Malformed), Verdict::Malformed) => {
            }
            (Ok(credentials), Verdict::Accepted) => {
                sound(credentials);
                let made = self.made.iter().find(|made| {
                    (made.trunk, &made.nonce, made.count, made.method)
                        == (trunk, &credentials.nonce, credentials.count, method)
                });
                let made = made.expect("nobody made it");
                assert!(self.now - made.at <= LIFE, "it is too old");
                let key = (trunk, made.nonce.clone(), made.count);
                assert!(self.accepted.insert(key), "it is believed twice");
            }
            (Ok(_), Verdict::Absent | Verdict::Malformed) | (Err(_), _) => {
                panic!("{found:?} is {verdict:?}")
            }
            _ => {}
        }
        verdict
    }
}

fn request(method: &str, uri: &str, value: &str) -> Message {
    let text = format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKa\r\nFrom: <sip:c@d>;tag=1\r\n\
         To: <sip:a@b>\r\nCall-ID: a\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\n\
         Authorization: {value}\r\nContent-Length: 0\r\n\r\n"
    );
    codec::parse(Bytes::from(text)).expect("a request")
}
