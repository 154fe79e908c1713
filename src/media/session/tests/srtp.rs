//! SRTP by keys in the descriptions, each leg by itself.

use super::*;
use crate::domain::srtp::Suite;
use crate::media::flow::{Crypto, End};
use crate::sdp;

const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
const OTHER_KEY: &str = "PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR";

/// A line of a peer's by the suite that everybody has.
fn line(tag: u32, key: &str) -> String {
    format!("a=crypto:{tag} AES_CM_128_HMAC_SHA1_80 inline:{key}\r\n")
}

fn body(host: &str, protocol: &str, crypto: &str) -> Vec<u8> {
    sdp(&format!(
        "c=IN IP4 {host}\r\nm=audio 4000 {protocol} 8\r\n{crypto}"
    ))
}

fn caller_says(protocol: &str, crypto: &str) -> Vec<u8> {
    body("192.0.2.1", protocol, crypto)
}

fn callee_says(protocol: &str, crypto: &str) -> Vec<u8> {
    body("203.0.113.9", protocol, crypto)
}

/// Our lines in what a side was sent: tag, suite, key and salt.
fn lines(body: &str) -> Vec<(u32, Suite, Vec<u8>)> {
    let description = sdp::parse(body.as_bytes()).unwrap();
    let lines = description.media[0].crypto.iter();
    lines
        .map(|line| (line.tag, line.suite, line.key_and_salt().unwrap().to_vec()))
        .collect()
}

fn key_of(text: &str) -> Vec<u8> {
    let body = callee_says("RTP/SAVP", &line(1, text));
    lines(std::str::from_utf8(&body).unwrap()).remove(0).2
}

fn crypto(end: &End) -> &Crypto {
    end.crypto.as_deref().expect("SRTP")
}

struct Secure {
    bench: Bench,
}

impl Secure {
    /// A call between trunks that say this of SRTP; `None` where its offer is refused.
    fn offered(caller: Srtp, callee: Srtp, offer: &[u8]) -> Option<(Self, String)> {
        let mut bench = Bench::new();
        for (place, srtp) in [(0, caller), (1, callee)] {
            bench.settings.trunks[place].as_mut().unwrap().srtp = srtp;
        }
        bench.command(MediaCommand::Open {
            trunk: IN,
            offer: Some(Bytes::copy_from_slice(offer)),
        });
        if !matches!(bench.outputs()[..], [Output::Event(MediaEvent::Opened)]) {
            return None;
        }
        bench.command(MediaCommand::Route(OUT));
        let (offer, _) = bench.describe(Side::Caller, 0, Role::Offer, offer);
        Some((Self { bench }, offer.expect("an offer")))
    }

    fn answered(&mut self, answer: &[u8]) -> Option<(String, Flow)> {
        let (answer, flow) = self.bench.describe(Side::Callee, 1, Role::Answer, answer);
        let answer = answer?;
        self.bench.command(MediaCommand::Start);
        self.bench.outputs();
        Some((answer, flow.expect("a flow")))
    }

    /// Offer and answer within the call: what each side was sent, and the flow.
    fn again(&mut self, from: Side, offer: &[u8], answer: &[u8]) -> (String, String, Flow) {
        let (offer, _) = self.bench.describe(from, 1, Role::Offer, offer);
        let to = from.other();
        let (answer, flow) = self.bench.describe(to, 1, Role::Answer, answer);
        (
            offer.expect("an offer"),
            answer.expect("an answer"),
            flow.expect("a flow"),
        )
    }
}

#[test]
fn srtp_on_the_callers_leg_alone() {
    let offer = caller_says("RTP/SAVP", &line(3, KEY));
    let (mut call, sent) = Secure::offered(Srtp::Required, Srtp::None, &offer).unwrap();
    assert!(sent.contains("m=audio 20002 RTP/AVP 8\r\n"), "{sent}");
    assert!(!sent.contains("crypto"), "{sent}");
    let (answer, flow) = call.answered(&callee_says("RTP/AVP", "")).unwrap();
    assert!(answer.contains("m=audio 20000 RTP/SAVP 8\r\n"), "{answer}");
    let ours = lines(&answer);
    assert_eq!(ours.len(), 1, "an answer has one line");
    assert_eq!((ours[0].0, ours[0].1), (3, Suite::Cm128Sha1_80));
    let crypto = crypto(&flow.caller);
    assert_eq!(crypto.send.key_and_salt(), ours[0].2);
    assert_eq!(crypto.receive.key_and_salt(), key_of(KEY));
    assert_ne!(crypto.send, crypto.receive);
    assert_eq!(flow.callee.crypto, None);
    assert!(flow.has_crypto());
}

#[test]
fn srtp_on_the_callees_leg_alone() {
    let (mut call, sent) = Secure::offered(Srtp::None, Srtp::Required, OFFER).unwrap();
    assert!(
        sent.contains("m=audio 20002 RTP/SAVP 8 0 101\r\n"),
        "{sent}"
    );
    let ours = lines(&sent);
    let suites: Vec<_> = ours.iter().map(|line| line.1).collect();
    assert_eq!(suites[0], Suite::Cm128Sha1_80, "the one that all have");
    assert!(suites.contains(&Suite::Gcm256), "{suites:?}");
    let mut keys: Vec<_> = ours.iter().map(|line| line.2.clone()).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), ours.len(), "each line has a key of its own");
    let answer = callee_says("RTP/SAVP", &line(1, KEY));
    let (answer, flow) = call.answered(&answer).unwrap();
    assert!(answer.contains("m=audio 20000 RTP/AVP 8\r\n"), "{answer}");
    assert!(!answer.contains("crypto"), "{answer}");
    assert_eq!(crypto(&flow.callee).send.key_and_salt(), ours[0].2);
    assert_eq!(crypto(&flow.callee).receive.key_and_salt(), key_of(KEY));
    assert_eq!(flow.caller.crypto, None);
}

#[test]
fn each_leg_has_its_own_keys() {
    let offer = caller_says("RTP/SAVP", &line(1, KEY));
    let (mut call, sent) = Secure::offered(Srtp::Required, Srtp::Required, &offer).unwrap();
    assert!(!sent.contains(KEY));
    let (answer, flow) = call
        .answered(&callee_says("RTP/SAVP", &line(1, OTHER_KEY)))
        .unwrap();
    assert!(!answer.contains(OTHER_KEY));
    let (caller, callee) = (crypto(&flow.caller), crypto(&flow.callee));
    assert_eq!(caller.receive.key_and_salt(), key_of(KEY));
    assert_eq!(callee.receive.key_and_salt(), key_of(OTHER_KEY));
    let mut keys = [&caller.send, &caller.receive, &callee.send, &callee.receive]
        .map(|key| key.key_and_salt().to_vec())
        .to_vec();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 4);
    // Neither in what is shown of the flow.
    let shown = format!("{flow:?} {:?}", call.bench.session);
    for key in keys {
        let bytes = format!("{key:?}");
        assert!(!shown.contains(bytes.trim_matches(['[', ']'])), "{shown}");
    }
    assert!(!shown.contains("inline"), "{shown}");
}

#[test]
fn the_first_line_that_can_be_used_is_taken() {
    let crypto = format!(
        "a=crypto:1 F8_128_HMAC_SHA1_80 inline:{KEY}\r\na=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:4\r\n\
         a=crypto:7 AES_CM_128_HMAC_SHA1_32 inline:{OTHER_KEY}|2^31\r\na=crypto:8 AES_CM_128_HMAC_SHA1_80 inline:{KEY}\r\n"
    );
    let offer = caller_says("RTP/SAVP", &crypto);
    let (mut call, _) = Secure::offered(Srtp::Offered, Srtp::None, &offer).unwrap();
    let (answer, flow) = call.answered(&callee_says("RTP/AVP", "")).unwrap();
    let ours = lines(&answer);
    assert_eq!((ours.len(), ours[0].0), (1, 7));
    assert_eq!(ours[0].1, Suite::Cm128Sha1_32);
    let receive = &super::srtp::crypto(&flow.caller).receive;
    assert_eq!(receive.key_and_salt(), key_of(OTHER_KEY));
}

#[test]
fn what_a_trunk_cannot_have_is_not_acceptable() {
    let secure = caller_says("RTP/SAVP", &line(1, KEY));
    let keyless = caller_says("RTP/SAVP", "");
    let unusable = caller_says("RTP/SAVP", &line(1, &format!("{KEY}|2^20|1:4")));
    let best_effort = caller_says("RTP/AVP", &line(1, KEY));
    let plain = caller_says("RTP/AVP", "");
    let dtls = caller_says("UDP/TLS/RTP/SAVPF", &line(1, KEY));
    for (srtp, offer, expected) in [
        (Srtp::None, &secure, false),
        (Srtp::None, &best_effort, true),
        (Srtp::None, &plain, true),
        (Srtp::Offered, &secure, true),
        (Srtp::Offered, &keyless, false),
        (Srtp::Offered, &unusable, false),
        (Srtp::Offered, &best_effort, true),
        (Srtp::Offered, &plain, true),
        (Srtp::Required, &secure, true),
        (Srtp::Required, &keyless, false),
        (Srtp::Required, &unusable, false),
        (Srtp::Required, &best_effort, true),
        (Srtp::Required, &plain, false),
        (Srtp::Required, &dtls, false),
    ] {
        let found = Secure::offered(srtp, Srtp::None, offer).is_some();
        assert_eq!(
            found,
            expected,
            "{srtp:?}: {}",
            String::from_utf8_lossy(offer)
        );
    }
}

#[test]
fn best_effort_is_answered_as_it_was_asked_for() {
    let offer = caller_says("RTP/AVP", &line(1, KEY));
    for (srtp, secured) in [
        (Srtp::None, false),
        (Srtp::Offered, true),
        (Srtp::Required, true),
    ] {
        let (mut call, _) = Secure::offered(srtp, Srtp::None, &offer).unwrap();
        let (answer, flow) = call.answered(&callee_says("RTP/AVP", "")).unwrap();
        assert!(answer.contains("m=audio 20000 RTP/AVP 8\r\n"), "{answer}");
        assert_eq!(lines(&answer).len(), usize::from(secured), "{srtp:?}");
        assert_eq!(flow.caller.crypto.is_some(), secured, "{srtp:?}");
    }
}

#[test]
fn a_trunk_that_offers_takes_either_answer() {
    let answers = [
        (callee_says("RTP/AVP", &line(1, KEY)), Some(true)),
        (callee_says("RTP/AVP", ""), Some(false)),
        (callee_says("RTP/SAVP", &line(1, KEY)), Some(true)),
        (callee_says("RTP/SAVP", ""), None),
    ];
    for (answer, expected) in answers {
        let (mut call, sent) = Secure::offered(Srtp::None, Srtp::Offered, OFFER).unwrap();
        assert!(sent.contains("m=audio 20002 RTP/AVP 8 0 101\r\n"), "{sent}");
        assert!(lines(&sent).len() > 1, "{sent}");
        let found = call.answered(&answer);
        let secured = found.map(|(_, flow)| flow.callee.crypto.is_some());
        assert_eq!(secured, expected, "{}", String::from_utf8_lossy(&answer));
    }
}

#[test]
fn a_trunk_that_requires_takes_no_answer_without_a_key_of_its_offer() {
    for answer in [
        callee_says("RTP/AVP", ""),
        callee_says("RTP/SAVP", ""),
        callee_says("RTP/SAVP", &line(99, KEY)),
        callee_says("RTP/SAVP", &line(2, KEY)),
        callee_says("RTP/SAVP", &line(1, KEY).replace("_80", "_32")),
    ] {
        let (mut call, _) = Secure::offered(Srtp::None, Srtp::Required, OFFER).unwrap();
        assert!(
            call.answered(&answer).is_none(),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
}

#[test]
fn of_two_audio_lines_the_one_that_fits_is_taken() {
    let both = sdp(&format!(
        "c=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 8\r\nm=audio 4002 RTP/SAVP 8\r\n{}",
        line(1, KEY)
    ));
    for (srtp, port) in [
        (Srtp::None, 4000),
        (Srtp::Offered, 4002),
        (Srtp::Required, 4002),
    ] {
        let (mut call, sent) = Secure::offered(srtp, Srtp::None, &both).unwrap();
        assert!(
            sent.contains(" 0 RTP/"),
            "the other line is refused: {sent}"
        );
        let place = sent.matches("m=audio").count();
        assert_eq!(place, 2);
        let answer = if port == 4000 {
            "c=IN IP4 203.0.113.9\r\nm=audio 6000 RTP/AVP 8\r\nm=audio 0 RTP/SAVP 8\r\n"
        } else {
            "c=IN IP4 203.0.113.9\r\nm=audio 0 RTP/AVP 8\r\nm=audio 6000 RTP/AVP 8\r\n"
        };
        let (_, flow) = call.answered(&sdp(answer)).unwrap();
        assert_eq!(flow.caller.rtp.unwrap().port(), port, "{srtp:?}");
        assert_eq!(flow.caller.crypto.is_some(), srtp != Srtp::None);
    }
}

/// A call with SRTP on both legs.
fn up() -> (Secure, Flow) {
    let offer = caller_says("RTP/SAVP", &line(1, KEY));
    let (mut call, _) = Secure::offered(Srtp::Required, Srtp::Required, &offer).unwrap();
    let (_, flow) = call
        .answered(&callee_says("RTP/SAVP", &line(1, KEY)))
        .unwrap();
    (call, flow)
}

#[test]
fn a_session_refresh_keeps_every_key() {
    let (mut call, before) = up();
    let (offer, answer, flow) = call.again(
        Side::Caller,
        &caller_says("RTP/SAVP", &line(1, KEY)),
        &callee_says("RTP/SAVP", &line(1, KEY)),
    );
    assert_eq!(flow.caller.crypto, before.caller.crypto);
    assert_eq!(flow.callee.crypto, before.callee.crypto);
    assert_eq!(lines(&offer).len(), 1, "the leg has its key already");
    assert_eq!(
        lines(&offer)[0].2,
        crypto(&before.callee).send.key_and_salt()
    );
    assert_eq!(
        lines(&answer)[0].2,
        crypto(&before.caller).send.key_and_salt()
    );
}

#[test]
fn new_keys_are_followed_from_either_side() {
    let (mut call, before) = up();
    let (_, _, flow) = call.again(
        Side::Caller,
        &caller_says("RTP/SAVP", &line(5, OTHER_KEY)),
        &callee_says("RTP/SAVP", &line(1, KEY)),
    );
    let caller = crypto(&flow.caller);
    assert_eq!(caller.receive.key_and_salt(), key_of(OTHER_KEY));
    assert_eq!(caller.send, crypto(&before.caller).send, "ours stays");
    assert_eq!(flow.callee.crypto, before.callee.crypto);
    let (offer, answer, flow) = call.again(
        Side::Callee,
        &callee_says("RTP/SAVP", &line(2, OTHER_KEY)),
        &caller_says("RTP/SAVP", &line(5, KEY)),
    );
    assert_eq!(
        crypto(&flow.callee).receive.key_and_salt(),
        key_of(OTHER_KEY)
    );
    assert_eq!(crypto(&flow.caller).receive.key_and_salt(), key_of(KEY));
    assert_eq!(crypto(&flow.caller).send, crypto(&before.caller).send);
    assert_eq!(lines(&offer)[0].0, 5, "by the number that was agreed");
    assert_eq!(lines(&answer)[0].0, 2);
}

#[test]
fn a_leg_that_has_srtp_keeps_it_when_its_trunk_says_otherwise() {
    let (mut call, before) = up();
    for trunk in call.bench.settings.trunks.iter_mut().flatten() {
        trunk.srtp = Srtp::None;
    }
    let (_, _, flow) = call.again(
        Side::Caller,
        &caller_says("RTP/SAVP", &line(1, KEY)),
        &callee_says("RTP/SAVP", &line(1, KEY)),
    );
    assert_eq!(flow.caller.crypto, before.caller.crypto);
    assert_eq!(flow.callee.crypto, before.callee.crypto);
}

#[test]
fn another_host_gets_another_key_of_ours() {
    let (mut call, before) = up();
    let moved = body("192.0.2.77", "RTP/SAVP", &line(1, KEY));
    let answer = callee_says("RTP/SAVP", &line(1, KEY));
    let (_, answer, flow) = call.again(Side::Caller, &moved, &answer);
    assert_ne!(crypto(&flow.caller).send, crypto(&before.caller).send);
    assert_eq!(
        lines(&answer)[0].2,
        crypto(&flow.caller).send.key_and_salt()
    );
    assert_eq!(flow.callee.crypto, before.callee.crypto);
}

#[test]
fn another_suite_gets_another_key_of_ours() {
    let (mut call, before) = up();
    let short = line(1, KEY).replace("_80", "_32");
    let (_, answer, flow) = call.again(
        Side::Caller,
        &caller_says("RTP/SAVP", &short),
        &callee_says("RTP/SAVP", &line(1, KEY)),
    );
    assert_eq!(lines(&answer)[0].1, Suite::Cm128Sha1_32);
    assert_ne!(
        crypto(&flow.caller).send.key_and_salt(),
        crypto(&before.caller).send.key_and_salt()
    );
}

#[test]
fn a_required_leg_does_not_fall_back_within_the_call() {
    let (mut call, before) = up();
    let plain = caller_says("RTP/AVP", "");
    let (offer, _) = call.bench.describe(Side::Caller, 1, Role::Offer, &plain);
    assert_eq!(offer, None);
    // What was agreed stands.
    call.bench.command(MediaCommand::Rollback);
    let (_, _, flow) = call.again(
        Side::Caller,
        &caller_says("RTP/SAVP", &line(1, KEY)),
        &callee_says("RTP/SAVP", &line(1, KEY)),
    );
    assert_eq!(flow.caller.crypto, before.caller.crypto);
}

#[test]
fn another_attempt_has_other_keys() {
    let (mut call, sent) = Secure::offered(Srtp::None, Srtp::Required, OFFER).unwrap();
    let early = callee_says("RTP/SAVP", &line(1, KEY));
    call.bench
        .describe(Side::Callee, 1, Role::Provisional, &early);
    call.bench.command(MediaCommand::Route(OUT));
    let muted = call.bench.flow().expect("a flow");
    assert_eq!(muted.callee.crypto, None);
    let (again, _) = call.bench.describe(Side::Caller, 0, Role::Offer, OFFER);
    let (first, second) = (lines(&sent), lines(&again.unwrap()));
    for (first, second) in first.iter().zip(&second) {
        assert_ne!(first.2, second.2);
    }
}

#[test]
fn forks_share_our_key_and_have_their_own() {
    let (mut call, sent) = Secure::offered(Srtp::None, Srtp::Required, OFFER).unwrap();
    let early = callee_says("RTP/SAVP", &line(1, KEY));
    let (_, first) = call
        .bench
        .describe(Side::Callee, 1, Role::Provisional, &early);
    let other = callee_says("RTP/SAVP", &line(1, OTHER_KEY));
    call.bench.describe(Side::Callee, 2, Role::Answer, &other);
    call.bench.command(MediaCommand::Start);
    let flow = call.bench.flow().unwrap();
    assert_eq!(
        crypto(&first.unwrap().callee).receive.key_and_salt(),
        key_of(KEY)
    );
    assert_eq!(
        crypto(&flow.callee).receive.key_and_salt(),
        key_of(OTHER_KEY)
    );
    assert_eq!(crypto(&flow.callee).send.key_and_salt(), lines(&sent)[0].2);
}

#[test]
fn delayed_offers_carry_keys_too() {
    let mut bench = Bench::new();
    for place in [0, 1] {
        bench.settings.trunks[place].as_mut().unwrap().srtp = Srtp::Required;
    }
    bench.command(MediaCommand::Open {
        trunk: IN,
        offer: None,
    });
    bench.command(MediaCommand::Route(OUT));
    bench.outputs();
    let offer = callee_says("RTP/SAVP", &line(4, KEY));
    let (offer, _) = bench.describe(Side::Callee, 4, Role::Offer, &offer);
    let ours = lines(&offer.unwrap());
    assert!(ours.len() > 1);
    let answer = caller_says("RTP/SAVP", &line(1, OTHER_KEY));
    let (answer, _) = bench.describe(Side::Caller, 4, Role::Answer, &answer);
    assert_eq!(lines(&answer.unwrap())[0].0, 4);
    bench.command(MediaCommand::Select(Fork(4)));
    let flow = bench.flow().unwrap();
    assert_eq!(crypto(&flow.caller).send.key_and_salt(), ours[0].2);
    assert_eq!(
        crypto(&flow.caller).receive.key_and_salt(),
        key_of(OTHER_KEY)
    );
    assert_eq!(crypto(&flow.callee).receive.key_and_salt(), key_of(KEY));
}

#[test]
fn no_key_of_ours_spells_a_number() {
    for draws in 0..200 {
        let mut bench = Bench::new();
        bench.draws = draws;
        bench.settings.trunks[1].as_mut().unwrap().srtp = Srtp::Required;
        bench.command(MediaCommand::Open {
            trunk: IN,
            offer: Some(Bytes::from_static(OFFER)),
        });
        bench.command(MediaCommand::Route(OUT));
        bench.outputs();
        let (offer, _) = bench.describe(Side::Caller, 0, Role::Offer, OFFER);
        for (_, _, key) in lines(&offer.unwrap()) {
            assert!(sdp::crypto::spells_no_number(&key));
        }
    }
}

fn fax(host: &str, port: u16) -> Vec<u8> {
    // A key in it is nobody's.
    let crypto = line(1, OTHER_KEY);
    sdp(&format!(
        "c=IN IP4 {host}\r\nm=image {port} udptl t38\r\na=T38FaxVersion:0\r\n{crypto}"
    ))
}

#[test]
fn no_fax_on_a_leg_that_requires_srtp() {
    for (caller, callee) in [
        (Srtp::Required, Srtp::None),
        (Srtp::None, Srtp::Required),
        (Srtp::Required, Srtp::Required),
    ] {
        let says = |srtp| match srtp {
            Srtp::Required => ("RTP/SAVP", line(1, KEY)),
            _ => ("RTP/AVP", String::new()),
        };
        let (protocol, crypto) = says(caller);
        let offer = caller_says(protocol, &crypto);
        let (mut call, _) = Secure::offered(caller, callee, &offer).unwrap();
        let (protocol, crypto) = says(callee);
        call.answered(&callee_says(protocol, &crypto)).unwrap();
        for (from, host) in [(Side::Caller, "192.0.2.1"), (Side::Callee, "203.0.113.9")] {
            let refused = call.bench.describe(from, 1, Role::Offer, &fax(host, 4010));
            assert_eq!(refused, (None, None), "{caller:?} {callee:?} {from:?}");
        }
    }
}

#[test]
fn a_fax_is_in_the_clear_and_the_voice_comes_back_by_its_keys() {
    let offer = caller_says("RTP/SAVP", &line(1, KEY));
    for (host, port) in [("203.0.113.9", 4012), ("203.0.113.9", 0)] {
        let (mut call, _) = Secure::offered(Srtp::Offered, Srtp::Offered, &offer).unwrap();
        let answer = callee_says("RTP/AVP", &line(1, KEY));
        let (_, before) = call.answered(&answer).unwrap();
        let taken = fax(host, port);
        let (offer, answer, flow) = call.again(Side::Caller, &fax("192.0.2.1", 4010), &taken);
        assert!(flow.content.fax);
        for body in [&offer, &answer] {
            assert!(body.contains("m=image ") && !body.contains("crypto"));
        }
        assert_eq!(flow.caller.crypto, before.caller.crypto);
        assert_eq!(flow.callee.crypto, before.callee.crypto);
        let voice = caller_says("RTP/SAVP", &line(1, KEY));
        let back = callee_says("RTP/AVP", &line(1, KEY));
        let (offer, _, flow) = call.again(Side::Caller, &voice, &back);
        assert!(!flow.content.fax);
        let ours = crypto(&before.callee).send.key_and_salt();
        assert_eq!(lines(&offer)[0].2, ours, "the leg is offered what it had");
        assert_eq!(flow.caller.crypto, before.caller.crypto);
        assert_eq!(flow.callee.crypto, before.callee.crypto);
    }
}
