use super::*;

#[test]
fn a_call_is_set_up_and_ends_and_nothing_is_left() {
    let mut world = World::new();
    let call = up(&mut world);
    hang_up(&mut world, call);
}

#[test]
fn the_invite_is_reported_whole() {
    let mut world = World::new();
    world.receive(CALLER, End::caller().invite());
    world.response(CALLER, 100);
    let (_, invite) = world.invited();
    assert_eq!(invite.trunk, IN);
    assert_eq!(&*invite.leg_call_id, "caller-id@192.0.2.10");
    assert_eq!(&*invite.dialled, "+60388880001");
    assert_eq!(&*invite.identity.user, "+60111111111");
    assert_eq!(&*invite.identity.display_name, "Joe");
    assert_eq!(invite.max_forwards, 69);
    assert_eq!(invite.offer.as_deref(), Some(first(CALLER_SDP).as_bytes()));
    assert_eq!(invite.refused, None);
    assert_eq!(invite.call_id.0.get_version_num(), 7);
}

#[test]
fn the_new_leg_shares_nothing_with_the_old() {
    let mut world = World::new();
    let (_, caller, invite) = dialled(&mut world);
    assert_eq!(invite.uri(), "sip:+60123456789@carrier.example");
    assert_eq!(invite.get(Header::MaxForwards), Some("69"));
    assert_eq!(invite.all(Header::Via).count(), 1);
    assert_eq!(invite.get(Header::Contact), Some("<sip:203.0.113.1:5060>"));
    assert_eq!(invite.body(), OFFER);
    assert_ne!(invite.call_id(), caller.call_id);
    for own in [
        invite.call_id(),
        invite.from_tag(),
        &invite.top_via().branch.unwrap()[7..],
    ] {
        assert!(own.bytes().all(|byte| byte.is_ascii_lowercase()), "{own}");
    }
    assert!(
        invite
            .get(Header::From)
            .unwrap()
            .starts_with("<sip:+60388880001@203.0.113.1>")
    );
    assert_eq!(
        invite.get(Header::PAssertedIdentity),
        Some("<sip:+60388880001@203.0.113.1>")
    );
    assert_eq!(invite.get(Header::UserAgent), None);
}

#[test]
fn record_routes_are_kept_on_each_leg() {
    let mut world = World::new();
    let mut caller = End::caller();
    let invite = caller
        .invite()
        .add("Record-Route", "<sip:192.0.2.3;lr=on>, <sip:p2.example;lr>");
    world.receive(CALLER, invite);
    world.response(CALLER, 100);
    let (key, _) = world.invited();
    world.command(key, SipCommand::Dial(Box::new(dial())));
    let invite = world.request(CALLEE, Method::Invite);
    let answer = respond(&invite, 200, "bob")
        .sdp(CALLEE_SDP)
        .add("Record-Route", "<sip:q1.example;lr>")
        .add("Record-Route", "<sip:198.51.100.9:5062;lr>");
    world.receive(CALLEE, answer);
    world.command(key, SipCommand::Confirm(Side::Callee, None));
    let ack = world.request("198.51.100.9:5062", Method::Ack);
    assert_eq!(ack.uri(), "sip:bob@198.51.100.20:5070");
    let routes: Vec<_> = ack.all(Header::Route).collect();
    assert_eq!(
        routes,
        ["<sip:198.51.100.9:5062;lr>", "<sip:q1.example;lr>"]
    );
    let body = Some(OFFER.into());
    world.command(
        key,
        SipCommand::Accept {
            fork: Fork(0),
            body,
        },
    );
    let answer = world.response(CALLER, 200);
    let routes: Vec<_> = answer.all(Header::RecordRoute).collect();
    assert_eq!(routes, ["<sip:192.0.2.3;lr=on>", "<sip:p2.example;lr>"]);
    caller.learn(&answer);
    world.receive(CALLER, caller.ack());
    world.command(key, SipCommand::Bye(Side::Caller, cause(0, 31)));
    let bye = world.request("192.0.2.3:5060", Method::Bye);
    assert_eq!(bye.uri(), "sip:joe@192.0.2.10:5060");
    let routes: Vec<_> = bye.all(Header::Route).collect();
    assert_eq!(routes, ["<sip:192.0.2.3;lr=on>", "<sip:p2.example;lr>"]);
    assert_eq!(bye.get(Header::Reason), Some("Q.850;cause=31"));
}

#[test]
fn a_strict_router_gets_the_request_uri() {
    let mut world = World::new();
    let (key, _, invite) = dialled(&mut world);
    let answer = respond(&invite, 200, "bob").add("Record-Route", "<sip:198.51.100.9>");
    world.receive(CALLEE, answer);
    world.command(key, SipCommand::Confirm(Side::Callee, None));
    let ack = world.request("198.51.100.9:5060", Method::Ack);
    assert_eq!(ack.uri(), "sip:198.51.100.9");
    assert_eq!(ack.get(Header::Route), Some("<sip:bob@198.51.100.20:5070>"));
}

#[test]
fn early_media_passes_with_its_description() {
    let mut world = World::new();
    let (key, _, invite) = dialled(&mut world);
    world.receive(CALLEE, respond(&invite, 183, "bob").sdp(CALLEE_SDP));
    let LegEvent::Progress {
        fork, status, body, ..
    } = world.event(Side::Callee)
    else {
        panic!();
    };
    assert_eq!((status, body), (183, Some(CALLEE_SDP.into())));
    let body = Some(OFFER.into());
    world.command(key, SipCommand::Progress { fork, status, body });
    let response = world.response(CALLER, 183);
    assert_eq!(response.body(), OFFER);
    assert_eq!(response.get(Header::ContentType), Some("application/sdp"));
    assert!(!response.to_tag().is_empty());
}

#[test]
fn a_delayed_offer_goes_both_ways() {
    let mut world = World::new();
    let mut caller = End::caller();
    let invite = caller.invite().without("Content-Type");
    world.receive(
        CALLER,
        Draft {
            body: String::new(),
            ..invite
        },
    );
    world.response(CALLER, 100);
    let (key, invite) = world.invited();
    assert_eq!(invite.offer, None);
    let offerless = Dial {
        body: None,
        ..dial()
    };
    world.command(key, SipCommand::Dial(Box::new(offerless)));
    world.said();
    let invite = world.request(CALLEE, Method::Invite);
    assert!(invite.body().is_empty());
    world.receive(CALLEE, respond(&invite, 200, "bob").sdp(CALLEE_SDP));
    let LegEvent::Answered { fork, body } = world.event(Side::Callee) else {
        panic!();
    };
    assert_eq!(body, Some(CALLEE_SDP.into()));
    world.quiet(); // no ACK before the answer is there
    let body = Some(OFFER.into());
    world.command(key, SipCommand::Accept { fork, body });
    let answer = world.response(CALLER, 200);
    caller.learn(&answer);
    world.receive(CALLER, caller.ack().sdp(CALLER_SDP));
    let LegEvent::Confirmed(Some(body)) = world.event(Side::Caller) else {
        panic!();
    };
    assert_eq!(body, CALLER_SDP);
    world.command(key, SipCommand::Confirm(Side::Callee, Some(OFFER.into())));
    let ack = world.request(CALLEE, Method::Ack);
    assert_eq!(ack.body(), OFFER);
}

#[test]
fn the_sdp_of_a_multipart_body_is_used() {
    let mut world = World::new();
    let body = format!(
        "preamble\r\n--b1\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b1\r\n\
         Content-Type: application/sdp\r\nContent-Disposition: session\r\n\r\n{CALLER_SDP}\r\n--b1--\r\n"
    );
    let invite = End::caller()
        .invite()
        .body("multipart/mixed; boundary=\"b1\"", &body);
    world.receive(CALLER, invite);
    world.response(CALLER, 100);
    let (_, invite) = world.invited();
    assert_eq!(invite.offer.as_deref(), Some(CALLER_SDP.as_bytes()));
}

#[test]
fn the_2xx_is_repeated_until_its_ack() {
    let mut world = World::new();
    let Ringing {
        key,
        mut caller,
        fork,
        ..
    } = ringing(&mut world);
    world.command(
        key,
        SipCommand::Accept {
            fork,
            body: Some(OFFER.into()),
        },
    );
    let first = world.response(CALLER, 200);
    let mut seen = Vec::new();
    let start = world.now;
    for _ in 0..200 {
        world.pass_millis(100);
        while let Some(again) = world.next(CALLER) {
            assert_eq!(again.status(), Some(200));
            assert_eq!(again.body(), first.body());
            seen.push((world.now - start).as_millis());
        }
    }
    assert_eq!(seen, [500, 1500, 3500, 7500, 11500, 15500, 19500]);
    world.receive(CALLER, caller.ack());
    assert!(matches!(
        world.event(Side::Caller),
        LegEvent::Confirmed(None)
    ));
    world.pass(Duration::from_secs(40));
    assert!(world.next(CALLER).is_none());
    world.receive(CALLER, caller.ack()); // late repeat of the ACK
    assert!(world.said.is_empty());
}

#[test]
fn no_ack_ends_the_leg() {
    let mut world = World::new();
    let Ringing {
        key, fork, invite, ..
    } = ringing(&mut world);
    world.receive(CALLEE, respond(&invite, 200, "bob").sdp(CALLEE_SDP));
    world.said();
    world.command(key, SipCommand::Confirm(Side::Callee, None));
    world.command(
        key,
        SipCommand::Accept {
            fork,
            body: Some(OFFER.into()),
        },
    );
    world.pass_millis(31_900);
    assert!(world.said.is_empty());
    world.pass_millis(200);
    assert!(matches!(world.event(Side::Caller), LegEvent::Unconfirmed));
    world.sent.clear();
    world.command(key, SipCommand::Bye(Side::Caller, cause(0, 102)));
    let bye = world.request(CALLER, Method::Bye);
    world.command(key, SipCommand::Bye(Side::Callee, cause(0, 102)));
    let other = world.request(CALLEE, Method::Bye);
    world.receive(CALLER, respond(&bye, 481, ""));
    world.receive(CALLEE, respond(&other, 200, ""));
    world.gone();
    world.assert_empty();
}

#[test]
fn a_repeated_invite_makes_no_second_call() {
    let mut world = World::new();
    let caller = End::caller();
    world.receive(CALLER, caller.invite());
    world.response(CALLER, 100);
    world.invited();
    world.receive(CALLER, caller.invite());
    assert_eq!(world.next(CALLER).unwrap().status(), Some(100));
    world.quiet();
}

#[test]
fn a_repeated_2xx_gets_its_ack_again() {
    let mut world = World::new();
    let Ringing { key, invite, .. } = ringing(&mut world);
    world.receive(CALLEE, respond(&invite, 200, "bob").sdp(CALLEE_SDP));
    world.said();
    world.receive(CALLEE, respond(&invite, 200, "bob").sdp(CALLEE_SDP));
    world.quiet(); // the ACK is the call's to give
    world.command(key, SipCommand::Confirm(Side::Callee, None));
    let ack = world.request(CALLEE, Method::Ack);
    for _ in 0..3 {
        world.receive(CALLEE, respond(&invite, 200, "bob").sdp(CALLEE_SDP));
        let again = world.request(CALLEE, Method::Ack);
        assert_eq!(again.top_via(), ack.top_via());
        world.quiet();
    }
}

#[test]
fn a_provisional_response_is_refreshed() {
    let mut world = World::new();
    let _call = ringing(&mut world);
    world.pass(Duration::from_secs(61));
    world.response(CALLER, 180);
    world.pass(Duration::from_secs(60));
    world.response(CALLER, 180);
    world.quiet();
}

#[test]
fn failures_are_reported_with_their_cause() {
    let mut world = World::new();
    let (key, caller, invite) = dialled(&mut world);
    let failure = respond(&invite, 486, "bob").set("Reason", "Q.850 ;cause=17;text=\"busy\"");
    world.receive(CALLEE, failure);
    let LegEvent::Failed(failure) = world.event(Side::Callee) else {
        panic!();
    };
    let expected = DialFailure::Response {
        cause: cause(486, 17),
        retry_after: 0,
    };
    assert_eq!(failure, expected);
    world.request(CALLEE, Method::Ack);
    world.command(
        key,
        SipCommand::Reject {
            cause: cause(486, 17),
            retry_after: 0,
        },
    );
    let response = world.response(CALLER, 486);
    assert_eq!(response.get(Header::Reason), Some("Q.850;cause=17"));
    assert!(!response.to_tag().is_empty());
    assert_eq!(world.gone(), cause(486, 17));
    world.receive(CALLER, caller.ack_failure(&response));
    world.quiet();
    world.assert_empty();
}

#[test]
fn a_second_trunk_is_tried_under_new_ids() {
    let mut world = World::new();
    let (key, _, first) = dialled(&mut world);
    world.receive(
        CALLEE,
        respond(&first, 503, "x").set("Retry-After", "7 (later)"),
    );
    let LegEvent::Failed(failure) = world.event(Side::Callee) else {
        panic!();
    };
    let expected = DialFailure::Response {
        cause: cause(503, 0),
        retry_after: 7,
    };
    assert_eq!(failure, expected);
    world.request(CALLEE, Method::Ack);
    world.command(key, SipCommand::Dial(Box::new(dial())));
    let second = world.request(CALLEE, Method::Invite);
    assert_ne!(first.call_id(), second.call_id());
    assert_ne!(first.from_tag(), second.from_tag());
}

#[test]
fn silence_is_a_timeout() {
    let mut world = World::new();
    dialled(&mut world);
    world.pass(Duration::from_secs(33));
    let LegEvent::Failed(failure) = world.event(Side::Callee) else {
        panic!();
    };
    assert_eq!(failure, DialFailure::Timeout);
}

#[test]
fn a_socket_error_fails_the_attempt() {
    let mut world = World::new();
    dialled(&mut world);
    let path = settings().trunks[1]
        .as_ref()
        .unwrap()
        .target
        .as_ref()
        .unwrap()
        .hops[0]
        .path;
    world.input(Input::PathFailed(path));
    let LegEvent::Failed(failure) = world.event(Side::Callee) else {
        panic!();
    };
    assert_eq!(failure, DialFailure::Transport);
}

#[test]
fn a_redirection_is_a_failure() {
    let mut world = World::new();
    let (_, _, invite) = dialled(&mut world);
    let moved = respond(&invite, 302, "x").set("Contact", "<sip:else@198.51.100.99>");
    world.receive(CALLEE, moved);
    world.request(CALLEE, Method::Ack);
    let LegEvent::Failed(DialFailure::Response { cause, .. }) = world.event(Side::Callee) else {
        panic!();
    };
    assert_eq!(cause.sip, 302);
    world.quiet();
}
