//! Messages of those who are no party of the dialog that they name.

use super::*;

/// Of an inbound trunk that has no part in the call.
const RIVAL: &str = "198.51.100.66:5060";
/// Of nobody's.
const STRANGER: &str = "198.51.100.67:5060";
/// Another address of the caller's trunk.
const CALLER_TOO: &str = "192.0.2.11:5060";

fn three_trunks() -> Settings {
    let mut settings = settings();
    settings.trunks.push(Some(Trunk {
        id: TrunkId(2),
        sources: vec![("198.51.100.66".parse().unwrap(), 32)],
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
    }));
    settings
}

#[test]
fn requests_in_a_dialog_are_its_peers_alone() {
    let mut world = World::with(three_trunks());
    let mut call = up(&mut world);
    for end in [&mut call.caller, &mut call.callee] {
        for method in ["BYE", "INVITE", "INFO", "OPTIONS"] {
            let home = std::mem::replace(&mut end.at, RIVAL);
            world.receive(RIVAL, end.request(method));
            world.response(RIVAL, 481);
            assert_eq!(
                world.counted.pop(),
                Some(("sip_refused", "foreign-dialog")),
                "{method}"
            );
            end.at = STRANGER;
            world.receive(STRANGER, end.request(method));
            assert_eq!(
                world.counted.pop(),
                Some(("sip_dropped", "unknown-source")),
                "{method}"
            );
            end.at = home;
            world.quiet();
        }
    }
    // Each side is no party of the other's dialog either.
    world.receive(CALLEE, call.caller.request("BYE").set("Via", VIA_OF_CALLEE));
    world.response(CALLEE, 481);
    world.quiet();
    hang_up(&mut world, call);
}

const VIA_OF_CALLEE: &str = "SIP/2.0/UDP 198.51.100.20:5070;branch=z9hG4bK-crossed";

#[test]
fn another_address_of_the_same_trunk_is_no_foreigner() {
    let mut world = World::with(three_trunks());
    let mut call = up(&mut world);
    call.caller.at = CALLER_TOO;
    world.receive(CALLER_TOO, call.caller.request("BYE"));
    world.response(CALLER_TOO, 200);
    assert!(matches!(world.event(Side::Caller), LegEvent::Ended(_)));
}

#[test]
fn a_peer_stays_one_when_its_trunk_is_gone() {
    let mut world = World::with(three_trunks());
    let mut call = up(&mut world);
    let mut fewer = three_trunks();
    fewer.trunks[0] = None;
    fewer.trunks[1] = None;
    world.input(Input::Settings(Box::new(fewer)));
    call.caller.at = CALLER_TOO;
    world.receive(CALLER_TOO, call.caller.request("BYE"));
    world.quiet();
    call.caller.at = CALLER;
    hang_up(&mut world, call);
}

#[test]
fn an_ack_from_elsewhere_confirms_nothing() {
    let mut world = World::with(three_trunks());
    let Ringing {
        key,
        mut caller,
        fork,
        ..
    } = ringing(&mut world);
    let body = Some(OFFER.into());
    world.command(key, SipCommand::Accept { fork, body });
    let answer = world.response(CALLER, 200);
    caller.learn(&answer);
    caller.at = RIVAL;
    world.receive(RIVAL, caller.ack());
    world.quiet();
    assert_eq!(world.counted.pop(), Some(("sip_dropped", "foreign-dialog")));
    caller.at = CALLER;
    world.receive(CALLER, caller.ack());
    assert!(matches!(world.event(Side::Caller), LegEvent::Confirmed(_)));
}

#[test]
fn only_who_called_may_cancel() {
    let mut world = World::with(three_trunks());
    let Ringing {
        key, caller, fork, ..
    } = ringing(&mut world);
    let cancel = || {
        caller
            .cancel()
            .set("To", &format!("<sip:+{LEASED}@203.0.113.1>"))
    };
    // The Via is the caller's: without rport the response goes to the source all the same.
    world.receive("198.51.100.66:5060", cancel());
    world.response(RIVAL, 481);
    world.quiet();
    assert_eq!(world.counted.pop(), Some(("sip_refused", "foreign-dialog")));
    world.receive(STRANGER, cancel());
    world.quiet();
    // Nor does one that comes after the answer learn that there is a call.
    world.command(key, SipCommand::Accept { fork, body: None });
    world.response(CALLER, 200);
    world.receive(RIVAL, cancel());
    world.response(RIVAL, 481);
    world.quiet();
    world.receive(CALLER, cancel());
    let ok = world.response(CALLER, 200);
    assert_eq!(ok.method(), Method::Cancel);
    world.quiet();
}

#[test]
fn a_foreign_cancel_does_not_shadow_the_callers_own() {
    let mut world = World::with(three_trunks());
    let Ringing { caller, .. } = ringing(&mut world);
    let cancel = || {
        caller
            .cancel()
            .set("To", &format!("<sip:+{LEASED}@203.0.113.1>"))
    };
    // Nor does a call of the same Call-ID by another trunk.
    let mut double = caller.clone();
    (double.at, double.branches) = (RIVAL, 50);
    double.remote = format!("<sip:+{LEASED}@203.0.113.1>");
    let via = "SIP/2.0/UDP 198.51.100.66:5060;branch=z9hG4bK-double";
    world.receive(
        RIVAL,
        double.invite().set("Via", via).set("CSeq", "9 INVITE"),
    );
    world.response(RIVAL, 100);
    world.invited();
    world.receive(RIVAL, cancel());
    world.response(RIVAL, 481);
    world.quiet();
    world.receive(CALLER, cancel());
    world.response(CALLER, 200);
    assert!(matches!(world.event(Side::Caller), LegEvent::Cancelled(_)));
}

#[test]
fn the_callers_trunk_may_cancel_from_another_address() {
    let mut world = World::with(three_trunks());
    let Ringing { caller, .. } = ringing(&mut world);
    let to = format!("<sip:+{LEASED}@203.0.113.1>");
    world.receive(CALLER_TOO, caller.cancel().set("To", &to));
    world.response(CALLER_TOO, 200);
    assert!(matches!(world.event(Side::Caller), LegEvent::Cancelled(_)));
}

#[test]
fn a_response_from_elsewhere_is_dropped() {
    let mut world = World::with(three_trunks());
    let (key, _, invite) = dialled(&mut world);
    for status in [180, 200, 486] {
        world.receive(STRANGER, respond(&invite, status, "bob"));
        world.quiet();
        assert_eq!(
            world.counted.pop(),
            Some(("sip_dropped", "foreign-response"))
        );
    }
    // Neither is a 2xx that repeats heard from there.
    world.receive(CALLEE, respond(&invite, 200, "bob").sdp(CALLEE_SDP));
    world.event(Side::Callee);
    world.command(key, SipCommand::Confirm(Side::Callee, None));
    world.request(CALLEE, Method::Ack);
    world.receive(STRANGER, respond(&invite, 200, "bob").sdp(CALLEE_SDP));
    world.quiet();
    world.receive(CALLEE, respond(&invite, 200, "bob").sdp(CALLEE_SDP));
    world.request(CALLEE, Method::Ack);
    world.quiet();
}

/// RFC 3261 §8.1.3.3, §8.2.6.2: the branch alone makes no answer.
#[test]
fn a_response_that_repeats_its_request_wrongly_is_dropped() {
    let mut world = World::new();
    let (_, _, invite) = dialled(&mut world);
    let from = invite.get(Header::From).unwrap();
    let other = format!("{}x", from);
    let short = from.split(";tag=").next().unwrap();
    for status in [100, 180, 200, 486] {
        let answer = || respond(&invite, status, "bob").sdp(CALLEE_SDP);
        let cases = [
            answer().add("Via", "SIP/2.0/UDP 192.0.2.66;branch=z9hG4bKother"),
            answer().set("CSeq", "2 INVITE"),
            answer().set("From", &other),
            answer().set("From", short),
        ];
        for case in cases {
            world.receive(CALLEE, case);
            world.quiet();
            assert_eq!(world.counted.pop(), Some(("sip_dropped", "unfit-response")));
        }
    }
    // A tag is a token: any case will do.
    let upper = from.replace(invite.from_tag(), &invite.from_tag().to_ascii_uppercase());
    world.receive(CALLEE, respond(&invite, 180, "bob").set("From", &upper));
    world.event(Side::Callee);
    world.quiet();
}

#[test]
fn where_a_request_went_is_heard_though_its_trunk_is_gone() {
    let mut world = World::with(three_trunks());
    let (_, _, invite) = dialled(&mut world);
    let mut fewer = three_trunks();
    fewer.trunks[1] = None;
    world.input(Input::Settings(Box::new(fewer)));
    world.receive(CALLEE, respond(&invite, 200, "bob").sdp(CALLEE_SDP));
    assert!(matches!(
        world.event(Side::Callee),
        LegEvent::Answered { .. }
    ));
}

#[test]
fn who_answers_from_another_listed_address_is_the_peer() {
    let mut world = World::with(three_trunks());
    let (key, _, invite) = dialled(&mut world);
    world.receive(RIVAL, respond(&invite, 200, "bob").sdp(CALLEE_SDP));
    world.event(Side::Callee);
    world.command(key, SipCommand::Confirm(Side::Callee, None));
    world.request(CALLEE, Method::Ack);
    let mut callee = End::callee(&invite, "bob");
    callee.at = RIVAL;
    world.receive(RIVAL, callee.request("BYE"));
    world.response(RIVAL, 200);
    assert!(matches!(world.event(Side::Callee), LegEvent::Ended(_)));
}

#[test]
fn descriptions_are_told_with_where_they_came_from() {
    let mut world = World::with(three_trunks());
    let told = |world: &mut World| {
        let peers = std::mem::take(&mut world.peers);
        let text = |(side, address): (Side, IpAddr)| format!("{side:?} {address}");
        peers.into_iter().map(text).collect::<Vec<_>>()
    };
    let (key, mut caller, invite) = dialled(&mut world);
    assert_eq!(told(&mut world), ["Caller 192.0.2.10"]);
    world.receive(CALLEE, respond(&invite, 180, "bob"));
    world.event(Side::Callee);
    assert!(told(&mut world).is_empty(), "nothing was described");
    world.receive(CALLEE, respond(&invite, 183, "bob").sdp(CALLEE_SDP));
    world.event(Side::Callee);
    assert_eq!(told(&mut world), ["Callee 198.51.100.20"]);
    world.receive(RIVAL, respond(&invite, 200, "bob").sdp(CALLEE_SDP));
    world.event(Side::Callee);
    assert_eq!(told(&mut world), ["Callee 198.51.100.66"]);
    world.command(key, SipCommand::Confirm(Side::Callee, None));
    let accept = SipCommand::Accept {
        fork: Fork(0),
        body: Some(OFFER.into()),
    };
    world.command(key, accept);
    let answer = world.response(CALLER, 200);
    caller.learn(&answer);
    world.receive(CALLER, caller.ack());
    world.event(Side::Caller);
    assert!(told(&mut world).is_empty(), "an ACK without an answer");
    caller.at = CALLER_TOO;
    world.receive(CALLER_TOO, caller.request("OPTIONS"));
    assert!(told(&mut world).is_empty(), "no description");
    world.receive(CALLER_TOO, caller.request("INVITE").sdp(CALLER_CHANGED));
    world.event(Side::Caller);
    assert_eq!(told(&mut world), ["Caller 192.0.2.11"]);
    caller.at = CALLER;
    world.receive(CALLER, caller.request("INVITE").sdp(CALLER_CHANGED));
    assert!(told(&mut world).is_empty(), "an offer that was refused");
}
