use super::*;
use crate::sip::codec;
use crate::sip::dialog::Entropy;
use crate::sip::message::Message;
use proptest::prelude::*;
use std::net::IpAddr;
use std::time::{Duration, Instant};

fn challenge(text: &str) -> Challenge {
    let all = challenges([text]);
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

fn login(user: &str, password: &str, realm: &str) -> Login {
    Login {
        user: user.into(),
        password: Password::new(password),
        realm: realm.into(),
        algorithms: Algorithm::STRONGEST_FIRST.into(),
    }
}

fn response(answer: &str) -> &str {
    let (_, rest) = answer.split_once("response=\"").unwrap();
    rest.split('"').next().unwrap()
}

#[test]
fn the_example_of_rfc_2617_section_3_5() {
    let challenge = challenge(
        "Digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", \
         nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"",
    );
    let login = login("Mufasa", "Circle Of Life", "testrealm@host.com");
    let answer = login.answer(&challenge, ("GET", "/dir/index.html"), (1, "0a4f113b"));
    assert_eq!(response(&answer), "6629fae49393a05397450978507c4ef1");
    assert!(answer.contains("opaque=\"5ccc069c403ebaf9f0171e9517f40e41\""));
    assert!(answer.contains("qop=auth, nc=00000001, cnonce=\"0a4f113b\""));
}

#[test]
fn the_examples_of_rfc_7616_section_3_9_1() {
    const NONCE: &str = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
    const CNONCE: &str = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
    let login = login("Mufasa", "Circle of Life", "http-auth@example.org");
    for (algorithm, expected) in [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        (
            "SHA-256",
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        ),
    ] {
        let challenge = challenge(&format!(
            "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", \
             algorithm={algorithm}, nonce=\"{NONCE}\""
        ));
        let answer = login.answer(&challenge, ("GET", "/dir/index.html"), (1, CNONCE));
        assert_eq!(response(&answer), expected);
    }
}

/// RFC 2069 §2.4 with its erratum, for who offers no `qop` (RFC 3261 §22.4).
#[test]
fn a_challenge_without_qop_is_answered_the_old_way() {
    let challenge = challenge(
        "Digest realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\"",
    );
    let login = login("Mufasa", "CircleOfLife", "testrealm@host.com");
    let answer = login.answer(&challenge, ("GET", "/dir/index.html"), (1, "x"));
    assert_eq!(response(&answer), "1949323746fe6a43ef61f9606e7febea");
    assert!(!answer.contains("nc="), "{answer}");
}

#[test]
fn of_several_challenges_the_strongest_that_is_known_is_taken() {
    let all = challenges([
        "Digest realm=\"a\", nonce=\"1\", algorithm=MD5, qop=\"auth\"",
        "Basic realm=\"a\"",
        "Digest realm=\"a\", nonce=\"2\", algorithm=SHA-512-256, qop=\"auth\"",
        "Digest realm=\"a\", nonce=\"3\", algorithm=sha-256, qop=\"auth\", \
         Digest realm=\"b\", nonce=\"4\", algorithm=SHA-256, qop=\"auth\"",
        "Digest realm=\"a\", nonce=\"5\", algorithm=SHA-256, qop=\"auth-int\"",
        "Digest realm=\"a\", nonce=\"6\", algorithm=MD5-sess, qop=\"auth\"",
        "Digest realm=\"a\", realm=\"b\", nonce=\"7\", algorithm=SHA-256",
    ]);
    let nonces: Vec<&str> = all.iter().map(|one| &*one.nonce).collect();
    assert_eq!(nonces, ["1", "3", "4"]);
    let mut login = login("u", "p", "a");
    assert_eq!(&*login.choose(all.clone()).unwrap().nonce, "3");
    login.algorithms = [Algorithm::Md5].into();
    assert_eq!(&*login.choose(all.clone()).unwrap().nonce, "1");
    login.realm = "c".into();
    assert_eq!(login.choose(all), None);
}

#[test]
fn quoted_strings_are_read_and_written_with_their_escapes() {
    let read = challenge("digest  realm=\"a \\\"b\\\\, c=d\" , nonce=\"n,\"\t,stale=TRUE");
    assert_eq!(&*read.realm, "a \"b\\, c=d");
    assert!(read.stale && !read.qop);
    assert_eq!(challenge(&read.to_string()), read);
}

const GOOD: &str = "Digest username=\"u\", realm=\"r\", nonce=\"n\", uri=\"sip:a@b\", qop=auth, \
                    nc=00000001, cnonce=\"c\", response=\"00112233445566778899aabbccddeeff\"";

#[test]
fn credentials_are_read_strictly() {
    let good = find([GOOD], "r").unwrap();
    assert_eq!((&*good.user, good.count), ("u", 1));
    assert_eq!(find([GOOD], "other"), Err(Fault::Absent));
    assert_eq!(find(["Basic dTpw"], "r"), Err(Fault::Absent));
    assert_eq!(find([], "r"), Err(Fault::Absent));
    assert_eq!(find([GOOD, GOOD], "r"), Err(Fault::Malformed));
    let long = "x".repeat(600);
    for (part, other) in [
        ("username=\"u\"", "username=\"u\", username=\"v\""),
        ("username=\"u\", ", ""),
        ("username=\"u\"", "username*=UTF-8''u, username=\"u\""),
        ("username=\"u\"", "username=\"u\", userhash=true"),
        ("username=\"u\"", "username=\"\""),
        ("username=\"u\"", &format!("username=\"{long}\"")),
        ("nonce=\"n\", ", ""),
        ("nonce=\"n\"", "nonce=\"n"),
        ("uri=\"sip:a@b\", ", ""),
        ("qop=auth, ", ""),
        ("qop=auth", "qop=auth-int"),
        ("qop=auth", "qop=auth, algorithm=SHA-512-256"),
        ("qop=auth", "qop=auth, algorithm=SHA-256"),
        ("nc=00000001", "nc=1"),
        ("nc=00000001", "nc=00000000"),
        ("nc=00000001", "nc=+0000001"),
        ("nc=00000001", "nc=000000001"),
        ("nc=00000001, ", ""),
        ("cnonce=\"c\", ", ""),
        ("00112233", "0011223g"),
        ("00112233", "001122"),
        ("Digest ", "Digest ,"),
        ("qop=auth,", "qop=auth;"),
        ("qop=auth", "qop auth"),
    ] {
        let wrong = GOOD.replacen(part, other, 1);
        assert_ne!(wrong, GOOD);
        assert_eq!(
            find([wrong.as_str()], "r"),
            Err(Fault::Malformed),
            "{wrong}"
        );
    }
}

struct Counting(u64);

impl Entropy for Counting {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(99);
        self.0
    }
}

struct Bench {
    gate: Gate,
    entropy: Counting,
    account: Account,
    now: Instant,
}

const HERE: &str = "192.0.2.1";

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        let mut entropy = Counting(3);
        Self {
            gate: Gate::draw(&mut entropy, now),
            entropy,
            account: Account {
                realm: "us".into(),
                users: [("u".into(), Password::new("p"))].into(),
                algorithms: Algorithm::STRONGEST_FIRST.into(),
            },
            now,
        }
    }

    fn challenge(&mut self) -> Challenge {
        let (account, now) = (&self.account, self.now);
        let all = self
            .gate
            .challenges(account, (7, false), &mut self.entropy, now);
        let all: Vec<Challenge> = all.collect();
        assert_eq!(all[0].algorithm, Algorithm::Sha256);
        assert_eq!(all[1].algorithm, Algorithm::Md5);
        all[0].clone()
    }

    fn check_as(&mut self, method: &str, value: &str, trunk: u16, from: &str) -> Verdict {
        let from: IpAddr = from.parse().unwrap();
        let request = request(method, value);
        let (account, now) = (&self.account, self.now);
        self.gate
            .check((&request, method), account, (trunk, from), now)
    }

    fn check(&mut self, value: &str) -> Verdict {
        self.check_as("INVITE", value, 7, HERE)
    }
}

fn request(method: &str, value: &str) -> Message {
    let text = format!(
        "{method} sip:+1@b:5060;x=y SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\n\
         Max-Forwards: 70\r\nFrom: <sip:a@b>;tag=t\r\nTo: <sip:a@b>\r\nCall-ID: c\r\n\
         CSeq: 1 {method}\r\nAuthorization: {value}\r\n\r\n"
    );
    codec::parse(text.into()).unwrap()
}

fn signed(challenge: &Challenge, password: &str, uri: &str, count: u32) -> String {
    login("u", password, "us").answer(challenge, ("INVITE", uri), (count, "c"))
}

#[test]
fn what_is_right_is_accepted_once() {
    let mut bench = Bench::new();
    let challenge = bench.challenge();
    let value = signed(&challenge, "p", "sip:%2B1@B:5060", 1);
    assert_eq!(bench.check(&value), Verdict::Accepted);
    assert_eq!(bench.check(&value), Verdict::Replayed);
    let next = signed(&challenge, "p", "sip:+1@b:5060;x=y", 2);
    assert_eq!(bench.check(&next), Verdict::Accepted);
}

/// A count may be used up by nobody but who knows the password.
#[test]
fn a_count_is_taken_only_after_the_digest_was_right() {
    let mut bench = Bench::new();
    let challenge = bench.challenge();
    for count in [1, 2, 50] {
        let wrong = signed(&challenge, "guess", "sip:+1@b:5060", count);
        assert_eq!(bench.check(&wrong), Verdict::Wrong);
    }
    let right = signed(&challenge, "p", "sip:+1@b:5060", 1);
    assert_eq!(bench.check(&right), Verdict::Accepted);
}

#[test]
fn credentials_are_for_one_request_of_one_trunk() {
    let mut bench = Bench::new();
    let challenge = bench.challenge();
    let right = signed(&challenge, "p", "sip:+1@b:5060", 1);
    assert_eq!(bench.check_as("MESSAGE", &right, 7, HERE), Verdict::Wrong);
    assert_eq!(bench.check_as("INVITE", &right, 8, HERE), Verdict::Stale);
    for uri in ["sip:+2@b:5060", "sip:+1@b", "sips:+1@b:5060", "tel:+1", "*"] {
        let wrong = signed(&challenge, "p", uri, 1);
        assert_eq!(bench.check(&wrong), Verdict::Wrong, "{uri}");
    }
    let unknown =
        login("nobody", "", "us").answer(&challenge, ("INVITE", "sip:+1@b:5060"), (1, "c"));
    assert_eq!(bench.check(&unknown), Verdict::Wrong);
    bench.account.algorithms = [Algorithm::Md5].into();
    assert_eq!(bench.check(&right), Verdict::Wrong);
}

#[test]
fn nonces_age_and_are_nobody_elses() {
    let mut bench = Bench::new();
    let challenge = bench.challenge();
    bench.now += Duration::from_secs(299);
    let value = signed(&challenge, "p", "sip:+1@b:5060", 1);
    assert_eq!(bench.check(&value), Verdict::Accepted);
    bench.now += Duration::from_secs(2);
    let value = signed(&challenge, "p", "sip:+1@b:5060", 2);
    assert_eq!(bench.check(&value), Verdict::Stale);
    let value = signed(&challenge, "guess", "sip:+1@b:5060", 3);
    assert_eq!(bench.check(&value), Verdict::Wrong);
    let mut forged = bench.challenge();
    let sound = forged.nonce.clone();
    for place in [0, 20, 40, 63] {
        let mut text = sound.to_string();
        let other = if &text[place..=place] == "b" {
            "c"
        } else {
            "b"
        };
        text.replace_range(place..=place, other);
        forged.nonce = text.into();
        let value = signed(&forged, "p", "sip:+1@b:5060", 1);
        assert_eq!(bench.check(&value), Verdict::Stale, "{place}");
    }
    for nonce in ["x".to_owned(), format!("{sound}b"), sound[..48].to_owned()] {
        forged.nonce = nonce.into();
        let value = signed(&forged, "p", "sip:+1@b:5060", 1);
        assert_eq!(bench.check(&value), Verdict::Stale);
    }
}

#[test]
fn guessing_is_bounded_by_name_and_address() {
    let mut bench = Bench::new();
    let challenge = bench.challenge();
    let wrong = signed(&challenge, "guess", "sip:+1@b:5060", 1);
    for _ in 0..10 {
        assert_eq!(bench.check(&wrong), Verdict::Wrong);
    }
    assert_eq!(bench.check(&wrong), Verdict::Guessing);
    let right = signed(&challenge, "p", "sip:+1@b:5060", 1);
    assert_eq!(bench.check(&right), Verdict::Guessing);
    let elsewhere = bench.check_as("INVITE", &right, 7, "192.0.2.2");
    assert_eq!(elsewhere, Verdict::Accepted);
    bench.now += Duration::from_secs(10);
    let right = signed(&challenge, "p", "sip:+1@b:5060", 2);
    assert_eq!(bench.check(&right), Verdict::Accepted);
}

#[test]
fn a_password_is_never_shown() {
    let text = format!(
        "{:?} {:?}",
        login("u", "hunter2", "r"),
        Bench::new().account
    );
    assert!(
        text.contains("Password(..)") && !text.contains("hunter2"),
        "{text}"
    );
}

#[test]
fn texts_are_compared_whole() {
    assert!(same("abc", "abc") && same("", ""));
    assert!(!same("abc", "abd") && !same("abc", "xbc") && !same("abc", "ab"));
}

proptest! {
    /// Nothing that stands in the fields makes it panic, or gets in.
    #[test]
    fn hostile_fields_are_refused(text in ".{0,300}", tail in "\\PC{0,200}") {
        prop_assert!(find([text.as_str(), tail.as_str()], "r").is_err());
        let _ = challenges([text.as_str(), tail.as_str()]);
        let digest = format!("Digest {tail}");
        prop_assert!(find([digest.as_str()], "r").is_err());
        let _ = challenges([digest.as_str()]);
    }

    /// Credentials with anything put in anywhere: read as they were, or refused.
    #[test]
    fn mangled_credentials_do_not_panic(at in 0usize..150, cut in 0usize..20, put in ".{0,8}") {
        let mut bytes: Vec<char> = GOOD.chars().collect();
        let at = at.min(bytes.len());
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, put.chars());
        let text: String = bytes.into_iter().collect();
        let _ = find([text.as_str()], "r");
        let _ = challenges([text.as_str()]);
    }

    /// What is written is read back.
    #[test]
    fn challenges_read_back(realm in "[ -~]{1,40}", nonce in "[ -~]{1,40}", stale: bool) {
        let one = Challenge {
            realm: realm.into(),
            nonce: nonce.into(),
            opaque: None,
            algorithm: Algorithm::Sha256,
            qop: true,
            stale,
        };
        prop_assert_eq!(challenges([one.to_string().as_str()]), vec![one]);
    }
}
