//! Ours for them: an outbound trunk that asks who we are (RFC 3261 §22.2, §22.3).

use super::*;
use crate::sip::digest::{Algorithm, Login, Password, find};

fn login() -> Login {
    Login {
        user: "gateway".into(),
        password: Password::new("secret"),
        realm: "carrier.example".into(),
        algorithms: Algorithm::STRONGEST_FIRST.into(),
    }
}

fn world() -> World {
    let mut settings = settings();
    settings.trunks[1].as_mut().unwrap().login = Some(login());
    World::with(settings)
}

const ASKED: &str = "Digest realm=\"carrier.example\", nonce=\"one\", algorithm=SHA-256, \
                     qop=\"auth\", opaque=\"o\"";

fn asking(request: &Message, value: &str) -> Draft {
    respond(request, 401, "ua").add("WWW-Authenticate", value)
}

/// The count that a request's credentials give, if they are right.
fn count(request: &Message, nonce: &str, header: Header) -> Option<u32> {
    let value = request.get(header)?;
    let found = find([value], "carrier.example").unwrap();
    assert_eq!((&*found.user, &*found.nonce), ("gateway", nonce));
    let challenge = crate::sip::digest::Challenge {
        realm: "carrier.example".into(),
        nonce: nonce.into(),
        opaque: None,
        algorithm: found.algorithm,
        qop: true,
        stale: false,
    };
    let cnonce = value
        .split("cnonce=\"")
        .nth(1)
        .unwrap()
        .trim_end_matches('"');
    let right = login().answer(
        &challenge,
        (request.method().as_str(), request.uri()),
        (found.count, cnonce),
    );
    let figure = |text: &str| text.split("response=\"").nth(1).unwrap()[..32].to_owned();
    assert_eq!(figure(value), figure(&right));
    Some(found.count)
}

/// Asks for credentials; gives back the INVITE that has them.
fn answered(world: &mut World, invite: &Message, value: &str) -> Message {
    world.receive(CALLEE, asking(invite, value));
    let ack = world.request(CALLEE, Method::Ack);
    assert_eq!(ack.cseq(), invite.cseq());
    if invite.to_tag().is_empty() {
        assert_eq!(ack.to_tag(), "ua");
    }
    assert_eq!(ack.top_via(), invite.top_via());
    world.request(CALLEE, Method::Invite)
}

fn failed(world: &mut World) -> Cause {
    match world.event(Side::Callee) {
        LegEvent::Failed(DialFailure::Response { cause, .. }) => cause,
        other => panic!("{other:?}"),
    }
}

/// Rejects the caller after the callee has failed, and sees that nothing is left.
fn give_up(world: &mut World, key: CallKey, caller: &End) {
    world.command(
        key,
        SipCommand::Reject {
            cause: cause(500, 0),
            retry_after: 0,
        },
    );
    let response = world.response(CALLER, 500);
    world.receive(CALLER, caller.ack_failure(&response));
    world.gone();
    world.assert_empty();
    assert_eq!(world.agent.core.logins.waiting(), 0);
}

#[test]
fn a_401_is_acknowledged_and_answered_once() {
    let mut world = world();
    let (key, caller, invite) = dialled(&mut world);
    assert_eq!(invite.get(Header::Authorization), None);
    let again = answered(&mut world, &invite, ASKED);
    world.quiet();
    assert_eq!(again.cseq(), invite.cseq() + 1);
    assert_eq!(again.call_id(), invite.call_id());
    assert_eq!(again.from_tag(), invite.from_tag());
    assert_eq!(again.to_tag(), "");
    assert_ne!(again.top_via().branch, invite.top_via().branch);
    assert_eq!(again.body(), invite.body());
    assert_eq!(count(&again, "one", Header::Authorization), Some(1));
    assert!(
        again
            .get(Header::Authorization)
            .unwrap()
            .contains("opaque=\"o\"")
    );
    // Asked once more, it was the wrong password.
    world.receive(CALLEE, asking(&again, &ASKED.replace("one", "two")));
    let ack = world.request(CALLEE, Method::Ack);
    assert_eq!(ack.cseq(), again.cseq());
    assert_eq!(
        ack.get(Header::Authorization),
        again.get(Header::Authorization)
    );
    assert_eq!(failed(&mut world), cause(401, 0));
    world.quiet();
    give_up(&mut world, key, &caller);
}

#[test]
fn credentials_go_to_the_configured_realm_alone() {
    for other in [
        ASKED.replace("carrier.example", "evil.example"),
        ASKED.replace("carrier.example", "CARRIER.example"),
        ASKED.replace("SHA-256", "MD5-sess"),
        "Digest broken".to_owned(),
    ] {
        let mut world = world();
        let (key, caller, invite) = dialled(&mut world);
        world.receive(CALLEE, asking(&invite, &other));
        world.request(CALLEE, Method::Ack);
        assert_eq!(failed(&mut world), cause(401, 0));
        world.quiet();
        give_up(&mut world, key, &caller);
    }
}

#[test]
fn a_trunk_without_a_login_is_not_answered() {
    let mut world = World::new();
    let (key, caller, invite) = dialled(&mut world);
    world.receive(CALLEE, asking(&invite, ASKED));
    world.request(CALLEE, Method::Ack);
    assert_eq!(failed(&mut world), cause(401, 0));
    give_up(&mut world, key, &caller);
}

#[test]
fn a_stale_nonce_is_answered_once_more() {
    let mut world = world();
    let (key, caller, invite) = dialled(&mut world);
    let again = answered(&mut world, &invite, ASKED);
    let stale = format!("{}, stale=true", ASKED.replace("one", "two"));
    let third = answered(&mut world, &again, &stale);
    assert_eq!(third.cseq(), invite.cseq() + 2);
    assert_eq!(count(&third, "two", Header::Authorization), Some(1));
    world.receive(CALLEE, asking(&third, &stale.replace("two", "three")));
    world.request(CALLEE, Method::Ack);
    assert_eq!(failed(&mut world), cause(401, 0));
    give_up(&mut world, key, &caller);
}

#[test]
fn a_proxy_and_a_user_agent_are_both_answered() {
    let mut world = world();
    let (_, _, invite) = dialled(&mut world);
    world.receive(
        CALLEE,
        respond(&invite, 407, "p").add("Proxy-Authenticate", ASKED),
    );
    world.request(CALLEE, Method::Ack);
    let again = world.request(CALLEE, Method::Invite);
    assert_eq!(count(&again, "one", Header::ProxyAuthorization), Some(1));
    world.receive(CALLEE, respond(&again, 180, "bob"));
    assert!(matches!(
        world.event(Side::Callee),
        LegEvent::Progress { .. }
    ));
    let third = answered(&mut world, &again, &ASKED.replace("one", "two"));
    assert_eq!(count(&third, "two", Header::Authorization), Some(1));
    assert_eq!(count(&third, "one", Header::ProxyAuthorization), Some(2));
    world.quiet();
}

/// A call that is up behind a trunk that asked for credentials.
fn proven(world: &mut World) -> Up {
    let (key, mut caller, invite) = dialled(world);
    let invite = answered(world, &invite, ASKED);
    world.receive(CALLEE, respond(&invite, 200, "bob").sdp(CALLEE_SDP));
    let LegEvent::Answered { fork, .. } = world.event(Side::Callee) else {
        panic!("no answer");
    };
    world.command(key, SipCommand::Confirm(Side::Callee, None));
    let ack = world.request(CALLEE, Method::Ack);
    assert_eq!(ack.cseq(), invite.cseq());
    // RFC 3261 §22.1: the INVITE's own.
    assert_eq!(
        ack.get(Header::Authorization),
        invite.get(Header::Authorization)
    );
    assert!(ack.get(Header::Authorization).is_some());
    let body = Some(OFFER.into());
    world.command(key, SipCommand::Accept { fork, body });
    let answer = world.response(CALLER, 200);
    caller.learn(&answer);
    world.receive(CALLER, caller.ack());
    world.event(Side::Caller);
    world.quiet();
    let callee = End::callee(&invite, "bob");
    Up {
        key,
        caller,
        callee,
    }
}

/// A nonce that let us in is used from then on, and its count rises.
#[test]
fn what_is_known_is_sent_at_once_and_counted() {
    let mut world = world();
    let call = proven(&mut world);
    let info = SipCommand::Dtmf(
        Side::Callee,
        "application/dtmf-relay".into(),
        "Signal=1\r\nDuration=160\r\n".into(),
    );
    world.command(call.key, info);
    let info = world.request(CALLEE, Method::Info);
    assert_eq!(count(&info, "one", Header::Authorization), Some(2));
    world.receive(CALLEE, respond(&info, 200, ""));
    world.command(
        call.key,
        SipCommand::Reoffer(Side::Callee, Some(OFFER.into())),
    );
    let reinvite = world.request(CALLEE, Method::Invite);
    assert_eq!(count(&reinvite, "one", Header::Authorization), Some(3));
    // Too old: asked for a fresh one.
    let stale = format!("{}, stale=true", ASKED.replace("one", "two"));
    let reinvite = answered(&mut world, &reinvite, &stale);
    assert_eq!(count(&reinvite, "two", Header::Authorization), Some(1));
    world.receive(CALLEE, respond(&reinvite, 200, "bob").sdp(CALLEE_SDP));
    let ack = world.request(CALLEE, Method::Ack);
    assert_eq!(
        ack.get(Header::Authorization),
        reinvite.get(Header::Authorization)
    );
    assert!(matches!(world.event(Side::Callee), LegEvent::Reanswered(_)));
    // And the next call begins with it.
    let mut other = End::caller();
    other.call_id = "second".into();
    other.branches = 77;
    world.receive(CALLER, other.invite());
    world.response(CALLER, 100);
    let (key, _) = world.invited();
    world.command(key, SipCommand::Dial(Box::new(dial())));
    world.said();
    let invite = world.request(CALLEE, Method::Invite);
    assert_eq!(count(&invite, "two", Header::Authorization), Some(2));
    world.quiet();
}

#[test]
fn a_bye_is_answered_for_as_well() {
    let mut world = world();
    let mut call = proven(&mut world);
    world.receive(CALLER, call.caller.request("BYE"));
    world.response(CALLER, 200);
    world.event(Side::Caller);
    world.command(call.key, SipCommand::Bye(Side::Callee, cause(0, 16)));
    let bye = world.request(CALLEE, Method::Bye);
    assert_eq!(count(&bye, "one", Header::Authorization), Some(2));
    // The nonce is not taken any more, and nobody says why: it is answered once.
    world.receive(CALLEE, asking(&bye, &ASKED.replace("one", "two")));
    let again = world.request(CALLEE, Method::Bye);
    assert_eq!(again.cseq(), bye.cseq() + 1);
    assert_eq!(again.to_tag(), "bob");
    assert_eq!(again.get(Header::Reason), bye.get(Header::Reason));
    assert_eq!(count(&again, "two", Header::Authorization), Some(1));
    world.receive(CALLEE, respond(&again, 200, ""));
    world.gone();
    world.quiet();
    world.assert_empty();
    assert_eq!(world.agent.core.logins.waiting(), 0);
}

/// A Contact elsewhere: neither what is known nor an answer goes there.
#[test]
fn another_host_is_given_nothing() {
    let mut world = world();
    let (key, mut caller, invite) = dialled(&mut world);
    let invite = answered(&mut world, &invite, ASKED);
    let elsewhere = "198.51.100.99:5060";
    let answer = respond(&invite, 200, "bob")
        .set("Contact", &format!("<sip:bob@{elsewhere}>"))
        .sdp(CALLEE_SDP);
    world.receive(CALLEE, answer);
    let LegEvent::Answered { fork, .. } = world.event(Side::Callee) else {
        panic!("no answer");
    };
    world.command(key, SipCommand::Confirm(Side::Callee, None));
    let ack = world.request(elsewhere, Method::Ack);
    assert_eq!(ack.get(Header::Authorization), None);
    world.command(
        key,
        SipCommand::Accept {
            fork,
            body: Some(OFFER.into()),
        },
    );
    let response = world.response(CALLER, 200);
    caller.learn(&response);
    world.receive(CALLER, caller.ack());
    world.event(Side::Caller);
    world.command(key, SipCommand::Bye(Side::Callee, cause(0, 16)));
    let bye = world.request(elsewhere, Method::Bye);
    assert_eq!(bye.get(Header::Authorization), None);
    world.receive(elsewhere, asking(&bye, &ASKED.replace("one", "two")));
    world.quiet();
}

/// CANCEL is for the INVITE that has the credentials, and waits for its first response.
#[test]
fn a_cancel_is_for_the_invite_that_was_sent_again() {
    let mut world = world();
    let (key, caller, invite) = dialled(&mut world);
    world.receive(CALLEE, respond(&invite, 100, ""));
    world.event(Side::Callee);
    let again = answered(&mut world, &invite, ASKED);
    world.command(key, SipCommand::Cancel(cause(487, 0)));
    world.quiet();
    world.receive(CALLEE, respond(&again, 100, ""));
    let cancel = world.request(CALLEE, Method::Cancel);
    assert_eq!(cancel.top_via().branch, again.top_via().branch);
    assert_eq!(cancel.cseq(), again.cseq());
    assert_eq!(cancel.get(Header::Authorization), None);
    world.receive(CALLEE, respond(&cancel, 200, "bob"));
    world.receive(CALLEE, respond(&again, 487, "bob"));
    world.request(CALLEE, Method::Ack);
    give_up(&mut world, key, &caller);
}

/// Who has given up does not ask again.
#[test]
fn a_cancelled_invite_is_not_sent_again() {
    let mut world = world();
    let (key, caller, invite) = dialled(&mut world);
    world.command(key, SipCommand::Cancel(cause(487, 0)));
    world.receive(CALLEE, asking(&invite, ASKED));
    world.request(CALLEE, Method::Ack);
    world.quiet();
    give_up(&mut world, key, &caller);
}

#[test]
fn a_probe_is_answered_for_too() {
    let mut settings = settings();
    let trunk = settings.trunks[1].as_mut().unwrap();
    trunk.login = Some(login());
    trunk.options_interval = Duration::from_secs(30);
    let mut world = World::with(settings);
    world.input(Input::Draining(false));
    world.pass_millis(1);
    let options = world.request(CALLEE, Method::Options);
    world.receive(CALLEE, asking(&options, ASKED));
    let again = world.request(CALLEE, Method::Options);
    assert_eq!(count(&again, "one", Header::Authorization), Some(1));
    assert_eq!(again.cseq(), options.cseq() + 1);
    world.quiet();
    world.receive(CALLEE, respond(&again, 200, "c"));
    assert!(matches!(world.said(), Output::TrunkProbe(OUT, true)));
    world.pass(Duration::from_secs(30));
    let next = world.request(CALLEE, Method::Options);
    assert_eq!(count(&next, "one", Header::Authorization), Some(2));
    // With the wrong password it is there all the same.
    world.receive(CALLEE, asking(&next, ASKED));
    assert!(matches!(world.said(), Output::TrunkProbe(OUT, true)));
    world.quiet();
}

/// The callee's own challenge, and what was configured for it, are no leak; the caller's number is.
#[test]
fn the_guard_takes_the_callees_own_words_for_what_they_are() {
    let mut world = world();
    let (_, _, invite) = dialled(&mut world);
    let own = ASKED.replace("nonce=\"one\"", &format!("nonce=\"{CALLER_NUMBER}\""));
    let again = answered(&mut world, &invite, &own);
    assert_eq!(count(&again, CALLER_NUMBER, Header::Authorization), Some(1));
    world.quiet();
}
