use super::*;

#[test]
fn the_callee_hangs_up() {
    let mut world = World::new();
    let Up {
        key, mut callee, ..
    } = up(&mut world);
    let bye = callee.request("BYE").set("Reason", "Q.850;cause=16");
    world.receive(CALLEE, bye);
    world.response(CALLEE, 200);
    let LegEvent::Ended(reason) = world.event(Side::Callee) else {
        panic!();
    };
    assert_eq!(reason, cause(0, 16));
    world.command(key, SipCommand::Bye(Side::Caller, reason));
    let bye = world.request(CALLER, Method::Bye);
    assert_eq!(bye.get(Header::Reason), Some("Q.850;cause=16"));
    assert_eq!(bye.call_id(), "caller-id@192.0.2.10");
    assert_eq!(bye.to_tag(), "callertag");
    assert_eq!(bye.cseq(), 1);
    world.receive(CALLER, respond(&bye, 200, ""));
    assert_eq!(world.gone(), cause(0, 16));
    world.assert_empty();
}

#[test]
fn byes_cross() {
    let mut world = World::new();
    let Up {
        key,
        mut caller,
        mut callee,
    } = up(&mut world);
    world.command(key, SipCommand::Bye(Side::Caller, cause(0, 31)));
    world.command(key, SipCommand::Bye(Side::Callee, cause(0, 31)));
    let to_caller = world.request(CALLER, Method::Bye);
    let to_callee = world.request(CALLEE, Method::Bye);
    world.receive(CALLER, caller.request("BYE"));
    world.response(CALLER, 200);
    world.receive(CALLEE, callee.request("BYE"));
    world.response(CALLEE, 200);
    world.quiet();
    world.receive(CALLER, respond(&to_caller, 481, ""));
    world.receive(CALLEE, respond(&to_callee, 200, ""));
    world.gone();
    world.assert_empty();
}

#[test]
fn a_bye_for_a_call_that_is_gone_is_481() {
    let mut world = World::new();
    let call = up(&mut world);
    let (mut caller, mut callee) = (call.caller.clone(), call.callee.clone());
    caller.branches += 50;
    caller.cseq += 50;
    hang_up(&mut world, call);
    world.receive(CALLER, caller.request("BYE"));
    world.response(CALLER, 481);
    world.receive(CALLEE, callee.request("BYE"));
    world.response(CALLEE, 481);
    world.receive(CALLER, caller.ack());
    world.quiet(); // an ACK is never answered
}

#[test]
fn a_repeated_bye_gets_its_answer_again() {
    let mut world = World::new();
    let Up { mut caller, .. } = up(&mut world);
    let bye: Bytes = caller.request("BYE").into();
    world.receive(CALLER, bye.clone());
    world.response(CALLER, 200);
    world.event(Side::Caller);
    world.receive(CALLER, bye);
    world.response(CALLER, 200);
    world.quiet();
}

#[test]
fn bye_waits_for_the_ack() {
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
    let answer = world.response(CALLER, 200);
    caller.learn(&answer);
    world.command(key, SipCommand::Bye(Side::Caller, cause(0, 16)));
    world.quiet();
    world.receive(CALLER, caller.ack());
    assert!(matches!(
        world.event(Side::Caller),
        LegEvent::Confirmed(None) // the call is charged for it
    ));
    world.request(CALLER, Method::Bye);
    world.quiet();
}

#[test]
fn bye_goes_when_the_ack_is_given_up() {
    let mut world = World::new();
    let Ringing { key, fork, .. } = ringing(&mut world);
    world.command(
        key,
        SipCommand::Accept {
            fork,
            body: Some(OFFER.into()),
        },
    );
    world.command(key, SipCommand::Bye(Side::Caller, cause(0, 16)));
    world.pass_millis(32_100);
    assert!(matches!(
        world.event(Side::Caller),
        LegEvent::Unconfirmed // so that the call costs nothing
    ));
    let last = std::iter::from_fn(|| world.next(CALLER)).last().unwrap();
    assert_eq!((last.method(), last.status()), (Method::Bye, None));
}

#[test]
fn a_bye_before_the_ack_ends_the_repeats() {
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
    world.response(CALLER, 200);
    world.receive(CALLER, caller.request("BYE"));
    let ok = world.response(CALLER, 200);
    assert_eq!(ok.method(), Method::Bye);
    assert!(matches!(world.event(Side::Caller), LegEvent::Ended(_)));
    world.pass(Duration::from_secs(3));
    assert!(world.next(CALLER).is_none());
}

#[test]
fn an_unanswered_bye_is_given_up() {
    let mut world = World::new();
    let Up { key, .. } = up(&mut world);
    world.command(key, SipCommand::Bye(Side::Caller, cause(0, 16)));
    world.command(key, SipCommand::Bye(Side::Callee, cause(0, 16)));
    world.pass(Duration::from_secs(33));
    world.gone();
    world.assert_empty();
}

#[test]
fn an_answered_leg_is_acknowledged_before_its_bye() {
    let mut world = World::new();
    let Ringing { key, invite, .. } = ringing(&mut world);
    world.receive(CALLEE, respond(&invite, 200, "bob"));
    world.event(Side::Callee);
    world.command(key, SipCommand::Bye(Side::Callee, cause(0, 41)));
    world.request(CALLEE, Method::Ack);
    world.request(CALLEE, Method::Bye);
}

#[test]
fn commands_to_a_call_that_is_gone_do_nothing() {
    let mut world = World::new();
    let call = up(&mut world);
    let key = call.key;
    hang_up(&mut world, call);
    world.command(key, SipCommand::Bye(Side::Caller, cause(0, 16)));
    world.command(key, SipCommand::Dial(Box::new(dial())));
    world.quiet();
    let next = up(&mut world);
    assert_ne!(next.key, key);
}

#[test]
fn dtmf_passes_by_info() {
    let mut world = World::new();
    let Up {
        key, mut caller, ..
    } = up(&mut world);
    let body = "Signal= 5\r\nDuration= 240\r\nX-Leak: 60111111111\r\n";
    world.receive(
        CALLER,
        caller.request("INFO").body("application/dtmf-relay", body),
    );
    world.response(CALLER, 200);
    let LegEvent::Dtmf(kind, body) = world.event(Side::Caller) else {
        panic!();
    };
    assert_eq!(&*kind, "application/dtmf-relay");
    assert_eq!(body, "Signal=5\r\nDuration=240\r\n");
    world.command(key, SipCommand::Dtmf(Side::Callee, kind, body));
    let info = world.request(CALLEE, Method::Info);
    assert_eq!(info.body(), "Signal=5\r\nDuration=240\r\n");
    assert_eq!(
        info.get(Header::ContentType),
        Some("application/dtmf-relay")
    );
    world.receive(CALLEE, respond(&info, 200, ""));
    world.quiet();
    world.receive(CALLER, caller.request("INFO").body("text/plain", "hello"));
    let refused = world.response(CALLER, 415);
    assert!(
        refused
            .get(Header::Accept)
            .unwrap()
            .contains("application/dtmf-relay")
    );
    world.receive(CALLER, caller.request("INFO"));
    world.response(CALLER, 200);
    world.quiet();
}

#[test]
fn a_lost_dialog_is_reported() {
    for (status, bye) in [(481, false), (408, true)] {
        let mut world = World::new();
        let Up { key, .. } = up(&mut world);
        let body = Bytes::from("Signal=5\r\n");
        let dtmf = SipCommand::Dtmf(Side::Callee, "application/dtmf-relay".into(), body);
        world.command(key, dtmf);
        let info = world.request(CALLEE, Method::Info);
        world.receive(CALLEE, respond(&info, status, ""));
        let LegEvent::Lost(reason) = world.event(Side::Callee) else {
            panic!();
        };
        assert_eq!(reason.sip, status);
        if bye {
            let bye = world.request(CALLEE, Method::Bye);
            world.receive(CALLEE, respond(&bye, 481, ""));
        }
        world.quiet();
        world.command(key, SipCommand::Bye(Side::Callee, reason));
        world.command(key, SipCommand::Bye(Side::Caller, reason));
        let bye = world.request(CALLER, Method::Bye);
        world.receive(CALLER, respond(&bye, 200, ""));
        world.gone();
        world.assert_empty();
    }
}

#[test]
fn cseq_must_rise() {
    let mut world = World::new();
    let Up { mut caller, .. } = up(&mut world);
    world.receive(CALLER, caller.request("INFO"));
    world.response(CALLER, 200);
    caller.cseq -= 2;
    world.receive(CALLER, caller.request("BYE"));
    world.response(CALLER, 500);
    world.quiet();
}

#[test]
fn other_methods_in_a_dialog_are_refused() {
    let mut world = World::new();
    let Up {
        mut caller,
        mut callee,
        ..
    } = up(&mut world);
    for method in ["SUBSCRIBE", "NOTIFY", "MESSAGE", "PUBLISH", "FOO"] {
        world.receive(CALLER, caller.request(method));
        let refused = world.response(CALLER, 405);
        assert!(refused.get(Header::Allow).is_some());
        world.receive(CALLEE, callee.request(method));
        world.response(CALLEE, 405);
    }
    // It acknowledges nothing (RFC 3262 §3).
    world.receive(CALLER, caller.request("PRACK").set("RAck", "1 1 INVITE"));
    world.response(CALLER, 481);
    world.receive(CALLEE, callee.request("REFER"));
    world.response(CALLEE, 603);
    world.receive(CALLEE, callee.request("OPTIONS"));
    world.response(CALLEE, 200);
    world.receive(CALLEE, callee.request("INVITE").set("Require", "teleport"));
    world.response(CALLEE, 420);
    world.quiet();
}

#[test]
fn another_tag_is_another_dialog() {
    let mut world = World::new();
    let Up { caller, callee, .. } = up(&mut world);
    let mut wrong = caller.clone();
    wrong.local = "<sip:x@y>;tag=wrong".into();
    world.receive(CALLER, wrong.request("BYE"));
    world.response(CALLER, 481);
    let mut wrong = caller;
    wrong.call_id = "other".into();
    world.receive(CALLER, wrong.request("BYE"));
    world.response(CALLER, 481);
    let mut wrong = callee;
    wrong.local = "<sip:x@y>;tag=wrong".into();
    world.receive(CALLEE, wrong.request("BYE"));
    world.response(CALLEE, 481);
    world.quiet();
}

#[test]
fn a_peer_that_moved_may_hang_up_from_there() {
    let mut world = World::new();
    let Up {
        mut callee, key, ..
    } = up(&mut world);
    let moved = callee.request("INVITE").sdp(CALLEE_CHANGED);
    world.receive(CALLEE, moved.set("Contact", "<sip:bob@198.51.100.99:5060>"));
    world.response(CALLEE, 100);
    world.event(Side::Callee);
    world.command(key, SipCommand::RefuseOffer(Side::Callee, cause(488, 0)));
    world.response(CALLEE, 488);
    world.receive("198.51.100.99:5060", callee.request("BYE"));
    world.response("198.51.100.99:5070", 200); // the port its Via names
    world.event(Side::Callee);
}

/// Sends INFO after INFO of the caller that the callee leaves unanswered, until one is refused.
/// Gives back ours.
fn flooded(world: &mut World, call: &mut Up) -> Vec<Message> {
    let body = "Signal=5\r\nDuration=100\r\n";
    let mut sent = Vec::new();
    for _ in 0..16 {
        let info = call.caller.request("INFO");
        world.receive(CALLER, info.body("application/dtmf-relay", body));
        world.response(CALLER, 200);
        let LegEvent::Dtmf(kind, signal) = world.event(Side::Caller) else {
            panic!();
        };
        world.command(call.key, SipCommand::Dtmf(Side::Callee, kind, signal));
        sent.push(world.request(CALLEE, Method::Info));
    }
    let info = call.caller.request("INFO");
    world.receive(CALLER, info.body("application/dtmf-relay", body));
    let refused = world.response(CALLER, 503);
    assert_eq!(refused.get(Header::RetryAfter), Some("1"));
    assert_eq!(world.counted.last(), Some(&("sip_bounds", "info")));
    world.quiet();
    sent
}

#[test]
fn unanswered_info_is_bounded() {
    let mut world = World::new();
    let mut call = up(&mut world);
    let sent = flooded(&mut world, &mut call);
    // Nor does the call get more through by itself.
    let (kind, signal) = ("application/dtmf-relay", "Signal=5\r\nDuration=100\r\n");
    let dtmf = SipCommand::Dtmf(Side::Callee, kind.into(), signal.into());
    world.command(call.key, dtmf);
    world.quiet();
    // One answer, one more.
    world.receive(CALLEE, respond(&sent[0], 200, ""));
    let info = call.caller.request("INFO").body(kind, signal);
    world.receive(CALLER, info);
    world.response(CALLER, 200);
    world.event(Side::Caller);
    let dtmf = SipCommand::Dtmf(Side::Callee, kind.into(), signal.into());
    world.command(call.key, dtmf);
    world.request(CALLEE, Method::Info);
    // The other way is not closed by it.
    world.receive(CALLEE, call.callee.request("INFO").body(kind, signal));
    world.response(CALLEE, 200);
    world.event(Side::Callee);
    hang_up(&mut world, call);
}

#[test]
fn info_answered_after_the_call_leaves_nothing() {
    let mut world = World::new();
    let mut call = up(&mut world);
    let sent = flooded(&mut world, &mut call);
    world.receive(CALLER, call.caller.request("BYE"));
    world.response(CALLER, 200);
    world.event(Side::Caller);
    world.command(call.key, SipCommand::Bye(Side::Callee, cause(0, 16)));
    let bye = world.request(CALLEE, Method::Bye);
    world.receive(CALLEE, respond(&bye, 200, ""));
    world.gone();
    for info in &sent {
        world.receive(CALLEE, respond(info, 200, ""));
    }
    world.assert_empty();
}
