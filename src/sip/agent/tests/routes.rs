//! Where requests in a dialog go: route set, remote target, and whose dialog they are.

use super::*;

/// Bug class: ACK to a stale route set. A 180 may have come by other proxies than the 2xx, or name
/// another Contact: the dialog that counts is the 2xx's (RFC 3261 §13.2.2.4).
#[test]
fn the_ack_follows_the_route_set_of_the_2xx_and_not_of_the_180() {
    let mut world = World::new();
    let (key, _, invite) = dialled(&mut world);
    let ringing = respond(&invite, 180, "bob")
        .set("Contact", "<sip:early@198.51.100.77:5099>")
        .add("Record-Route", "<sip:198.51.100.66:5066;lr>");
    world.receive(CALLEE, ringing);
    assert!(matches!(
        world.event(Side::Callee),
        LegEvent::Progress { .. }
    ));
    let answer = respond(&invite, 200, "bob")
        .sdp(CALLEE_SDP)
        .add("Record-Route", "<sip:198.51.100.9:5062;lr=on>");
    world.receive(CALLEE, answer);
    world.command(key, SipCommand::Confirm(Side::Callee, None));
    let ack = world.request("198.51.100.9:5062", Method::Ack);
    assert_eq!(ack.uri(), format!("sip:bob@{CALLEE}"));
    let routes: Vec<_> = ack.all(Header::Route).collect();
    assert_eq!(routes, ["<sip:198.51.100.9:5062;lr=on>"]);
    world.command(key, SipCommand::Bye(Side::Callee, cause(0, 16)));
    let bye = world.request("198.51.100.9:5062", Method::Bye);
    assert_eq!(bye.uri(), format!("sip:bob@{CALLEE}"));
}

/// The same in a re-INVITE: its ACK goes to the Contact of its 2xx by the route set of old, and the
/// 2xx that comes again gets the same ACK, wherever the target is by then.
#[test]
fn the_ack_of_a_reinvite_goes_to_the_target_of_its_2xx_by_the_old_routes() {
    let mut world = World::new();
    let (key, _, invite) = dialled(&mut world);
    let route = "<sip:198.51.100.9:5062;lr>";
    let answer = respond(&invite, 200, "bob")
        .sdp(CALLEE_SDP)
        .add("Record-Route", route);
    world.receive(CALLEE, answer);
    world.said();
    world.command(key, SipCommand::Confirm(Side::Callee, None));
    world.request("198.51.100.9:5062", Method::Ack);
    world.command(key, SipCommand::Reoffer(Side::Callee, Some(OFFER.into())));
    let invite = world.request("198.51.100.9:5062", Method::Invite);
    let answer = respond(&invite, 200, "")
        .sdp(CALLEE_SDP)
        .set("Contact", "<sip:moved@198.51.100.21:5071>")
        .add("Record-Route", "<sip:198.51.100.66;lr>");
    let answer: Bytes = answer.into();
    world.receive(CALLEE, answer.clone());
    let ack = world.request("198.51.100.9:5062", Method::Ack);
    assert_eq!(ack.uri(), "sip:moved@198.51.100.21:5071");
    assert_eq!(ack.all(Header::Route).collect::<Vec<_>>(), [route]);
    world.receive(CALLEE, answer);
    let again = world.request("198.51.100.9:5062", Method::Ack);
    assert_eq!(again.uri(), ack.uri());
    assert_eq!(again.top_via(), ack.top_via());
}

/// RFC 3261 §12.2: only INVITE and UPDATE move the target. Contact in anything else says nothing.
#[test]
fn the_target_moves_by_target_refresh_requests_alone() {
    let mut world = World::new();
    let Up {
        key, mut callee, ..
    } = up(&mut world);
    let elsewhere = "<sip:thief@198.51.100.20:5999>";
    for (method, status) in [("INFO", 200), ("OPTIONS", 200), ("MESSAGE", 405)] {
        let request = callee.request(method).set("Contact", elsewhere);
        world.receive(CALLEE, request);
        world.response(CALLEE, status);
    }
    let refused = callee
        .request("INVITE")
        .set("Contact", elsewhere)
        .set("Require", "100rel-not")
        .sdp(CALLEE_SDP);
    world.receive(CALLEE, refused);
    let refusal = world.response(CALLEE, 420);
    world.receive(CALLEE, callee.ack_failure(&refusal));
    world.command(
        key,
        SipCommand::Dtmf(
            Side::Callee,
            "application/dtmf-relay".into(),
            "Signal=1\r\nDuration=160\r\n".into(),
        ),
    );
    let info = world.request(CALLEE, Method::Info);
    assert_eq!(info.uri(), format!("sip:bob@{CALLEE}"));
    let update = callee
        .request("UPDATE")
        .set("Contact", "<sip:bob@198.51.100.20:5998>");
    world.receive(CALLEE, update);
    world.response(CALLEE, 200);
    world.command(key, SipCommand::Bye(Side::Callee, cause(0, 16)));
    let bye = world.request("198.51.100.20:5998", Method::Bye);
    assert_eq!(bye.uri(), "sip:bob@198.51.100.20:5998");
}

/// Bug class: in-dialog requests routed by socket instead of dialog. Two calls from one socket of
/// one carrier, to one socket of another.
#[test]
fn requests_from_one_socket_find_their_own_dialogs() {
    let mut world = World::new();
    let mut first = End::caller();
    let mut second = End {
        call_id: "another@192.0.2.10".into(),
        local: first.local.replace("callertag", "othertag"),
        branches: 1_000,
        ..End::caller()
    };
    let mut keys = Vec::new();
    for caller in [&mut first, &mut second] {
        world.receive(CALLER, caller.invite());
        world.response(CALLER, 100);
        let (key, _) = world.invited();
        world.command(key, SipCommand::Dial(Box::new(dial())));
        world.said();
        let invite = world.request(CALLEE, Method::Invite);
        world.receive(CALLEE, respond(&invite, 200, "bob").sdp(CALLEE_SDP));
        let LegEvent::Answered { fork, .. } = world.event(Side::Callee) else {
            panic!();
        };
        world.command(key, SipCommand::Confirm(Side::Callee, None));
        world.request(CALLEE, Method::Ack);
        let body = Some(OFFER.into());
        world.command(key, SipCommand::Accept { fork, body });
        let answer = world.response(CALLER, 200);
        caller.learn(&answer);
        world.receive(CALLER, caller.ack());
        world.event(Side::Caller);
        keys.push(key);
    }
    // The second hangs up first, from another port of its host than either INVITE came from.
    for (end, expected) in [(&mut second, keys[1]), (&mut first, keys[0])] {
        world.receive("192.0.2.10:40000", end.request("BYE"));
        let ok = world.sent.pop_front().expect("a response").0;
        assert!(ok.starts_with(b"SIP/2.0 200 "));
        match world.said() {
            Output::Event(key, Side::Caller, LegEvent::Ended(_)) => assert_eq!(key, expected),
            other => panic!("{other:?}"),
        }
    }
}

/// A 2xx without Contact, against the rules, after its INVITE had failed: ACK and BYE go to what was
/// dialled.
#[test]
fn a_late_answer_without_contact_gets_ack_and_bye() {
    let mut world = World::new();
    let (key, _, invite) = dialled(&mut world);
    world.receive(CALLEE, respond(&invite, 503, "one"));
    world.request(CALLEE, Method::Ack);
    assert!(matches!(world.event(Side::Callee), LegEvent::Failed(_)));
    let late = respond(&invite, 200, "two").without("Contact");
    world.receive(CALLEE, late);
    let ack = world.request(CALLEE, Method::Ack);
    assert_eq!((ack.uri(), ack.to_tag()), (invite.uri(), "two"));
    assert_eq!(world.request(CALLEE, Method::Bye).uri(), invite.uri());
    let reject = SipCommand::Reject {
        cause: cause(500, 0),
        retry_after: 0,
    };
    world.command(key, reject);
    let _ = world.next(CALLER);
    // And when the call is gone, too.
    world.pass(Duration::from_secs(100));
    world.sent.clear();
    let late = respond(&invite, 200, "three").without("Contact");
    world.receive(CALLEE, late);
    assert_eq!(world.request(CALLEE, Method::Ack).uri(), invite.uri());
    assert_eq!(world.request(CALLEE, Method::Bye).uri(), invite.uri());
}
