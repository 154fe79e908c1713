use super::*;

#[test]
fn cancel_while_ringing() {
    let mut world = World::new();
    let Ringing {
        key,
        caller,
        invite,
        ..
    } = ringing(&mut world);
    let mut cancel = caller
        .cancel()
        .set("Reason", "SIP;cause=200, Q.850;cause=26");
    cancel = cancel.set("To", &format!("<sip:+{LEASED}@203.0.113.1>"));
    world.receive(CALLER, cancel);
    let ok = world.response(CALLER, 200);
    assert_eq!(ok.method(), Method::Cancel);
    assert!(!ok.to_tag().is_empty());
    let LegEvent::Cancelled(reason) = world.event(Side::Caller) else {
        panic!();
    };
    assert_eq!(reason, cause(200, 26));
    world.command(
        key,
        SipCommand::Reject {
            cause: cause(487, 0),
            retry_after: 0,
        },
    );
    let terminated = world.response(CALLER, 487);
    assert_eq!(terminated.to_tag(), ok.to_tag());
    world.command(key, SipCommand::Cancel(cause(0, 16)));
    let cancel = world.request(CALLEE, Method::Cancel);
    assert_eq!(cancel.top_via().branch, invite.top_via().branch);
    assert_eq!(cancel.uri(), invite.uri());
    assert_eq!(cancel.get(Header::To), invite.get(Header::To));
    assert_eq!(cancel.get(Header::From), invite.get(Header::From));
    assert_eq!(cancel.cseq(), invite.cseq());
    assert_eq!(cancel.get(Header::Reason), Some("Q.850;cause=16"));
    world.receive(CALLEE, respond(&cancel, 200, "bob"));
    world.receive(CALLEE, respond(&invite, 487, "bob"));
    world.request(CALLEE, Method::Ack);
    world.gone();
    world.quiet();
    world.assert_empty();
}

#[test]
fn cancel_waits_for_a_provisional_response() {
    let mut world = World::new();
    let (key, _, invite) = dialled(&mut world);
    world.command(key, SipCommand::Cancel(cause(0, 16)));
    world.quiet();
    world.receive(CALLEE, respond(&invite, 100, ""));
    let cancel = world.request(CALLEE, Method::Cancel);
    world.receive(CALLEE, respond(&invite, 180, "bob"));
    world.receive(CALLEE, respond(&cancel, 200, "bob"));
    world.quiet(); // one CANCEL, no news of an attempt given up
    world.receive(CALLEE, respond(&invite, 487, "bob"));
    world.request(CALLEE, Method::Ack);
    world.quiet();
}

#[test]
fn cancel_crosses_the_answer() {
    let mut world = World::new();
    let Ringing {
        key,
        caller,
        invite,
        ..
    } = ringing(&mut world);
    world.command(key, SipCommand::Cancel(cause(0, 16)));
    world.request(CALLEE, Method::Cancel);
    world.receive(CALLEE, respond(&invite, 200, "bob").sdp(CALLEE_SDP));
    let ack = world.request(CALLEE, Method::Ack);
    assert_eq!(ack.to_tag(), "bob");
    let bye = world.request(CALLEE, Method::Bye);
    assert_eq!(bye.cseq(), ack.cseq() + 1);
    assert_eq!(bye.get(Header::Reason), Some("Q.850;cause=16"));
    world.quiet(); // not reported
    world.receive(CALLEE, respond(&invite, 200, "bob").sdp(CALLEE_SDP));
    world.request(CALLEE, Method::Ack);
    world.quiet(); // the repeat gets no second BYE
    world.command(
        key,
        SipCommand::Reject {
            cause: cause(487, 0),
            retry_after: 0,
        },
    );
    world.response(CALLER, 487);
    world.receive(CALLEE, respond(&bye, 200, ""));
    world.gone();
    drop(caller);
    world.assert_empty();
}

#[test]
fn cancel_before_any_response_meets_an_answer() {
    let mut world = World::new();
    let (key, _, invite) = dialled(&mut world);
    world.command(key, SipCommand::Cancel(cause(0, 16)));
    world.receive(CALLEE, respond(&invite, 200, "bob"));
    world.request(CALLEE, Method::Ack);
    world.request(CALLEE, Method::Bye);
    world.quiet();
}

#[test]
fn an_answer_that_was_reported_is_ended_by_cancel() {
    let mut world = World::new();
    let Ringing { key, invite, .. } = ringing(&mut world);
    world.receive(CALLEE, respond(&invite, 200, "bob"));
    assert!(matches!(
        world.event(Side::Callee),
        LegEvent::Answered { .. }
    ));
    world.command(key, SipCommand::Cancel(cause(0, 16)));
    world.request(CALLEE, Method::Ack);
    let bye = world.request(CALLEE, Method::Bye);
    world.receive(CALLEE, respond(&bye, 200, ""));
    world.command(
        key,
        SipCommand::Reject {
            cause: cause(487, 0),
            retry_after: 0,
        },
    );
    world.response(CALLER, 487);
    world.gone();
    world.assert_empty();
}

#[test]
fn a_cancelled_invite_without_end_is_forgotten() {
    let mut world = World::new();
    let Ringing { key, caller, .. } = ringing(&mut world);
    world.command(key, SipCommand::Cancel(cause(0, 16)));
    world.command(
        key,
        SipCommand::Reject {
            cause: cause(480, 19),
            retry_after: 0,
        },
    );
    let failure = world.response(CALLER, 480);
    world.receive(CALLER, caller.ack_failure(&failure));
    world.pass(Duration::from_secs(33));
    world.gone();
    world.assert_empty();
}

#[test]
fn cancel_after_the_answer_has_no_effect() {
    let mut world = World::new();
    let Ringing {
        key, caller, fork, ..
    } = ringing(&mut world);
    world.command(
        key,
        SipCommand::Accept {
            fork,
            body: Some(OFFER.into()),
        },
    );
    world.response(CALLER, 200);
    let to = format!("<sip:+{LEASED}@203.0.113.1>");
    world.receive(CALLER, caller.cancel().set("To", &to));
    let ok = world.response(CALLER, 200);
    assert_eq!(ok.method(), Method::Cancel);
    assert!(!ok.to_tag().is_empty(), "RFC 3261 §8.2.6.2");
    world.quiet();
}

#[test]
fn cancel_of_nothing_is_481() {
    let mut world = World::new();
    world.receive(CALLER, End::caller().cancel());
    world.response(CALLER, 481);
    world.quiet();
}

#[test]
fn bye_in_an_early_dialog_is_a_cancel() {
    let mut world = World::new();
    let Ringing {
        key, mut caller, ..
    } = ringing(&mut world);
    world.receive(CALLER, caller.request("BYE"));
    world.response(CALLER, 200);
    assert!(matches!(world.event(Side::Caller), LegEvent::Cancelled(_)));
    world.command(
        key,
        SipCommand::Reject {
            cause: cause(487, 0),
            retry_after: 0,
        },
    );
    world.response(CALLER, 487);
}

#[test]
fn a_2xx_long_after_the_call_gets_ack_and_bye() {
    let mut world = World::new();
    let Ringing {
        key,
        invite,
        caller,
        ..
    } = ringing(&mut world);
    world.command(key, SipCommand::Cancel(cause(0, 16)));
    world.command(
        key,
        SipCommand::Reject {
            cause: cause(480, 19),
            retry_after: 0,
        },
    );
    let failure = world.response(CALLER, 480);
    world.receive(CALLER, caller.ack_failure(&failure));
    world.pass(Duration::from_secs(100));
    world.sent.clear();
    world.said.clear();
    world.receive(CALLEE, respond(&invite, 200, "bob"));
    let ack = world.request(CALLEE, Method::Ack);
    assert_eq!(ack.uri(), "sip:bob@198.51.100.20:5070");
    let bye = world.request(CALLEE, Method::Bye);
    world.receive(CALLEE, respond(&bye, 200, ""));
    world.quiet();
    world.assert_empty();
}
