use super::*;

#[test]
fn each_fork_is_an_early_dialog_of_its_own() {
    let mut world = World::new();
    let (key, mut caller, invite) = dialled(&mut world);
    let mut tags = Vec::new();
    for (tag, status) in [("one", 180), ("two", 183), ("one", 183), ("two", 180)] {
        world.receive(CALLEE, respond(&invite, status, tag));
        let LegEvent::Progress { fork, .. } = world.event(Side::Callee) else {
            panic!();
        };
        assert_eq!(fork, Fork(if tag == "one" { 0 } else { 1 }));
        world.command(
            key,
            SipCommand::Progress {
                fork,
                status,
                body: None,
            },
        );
        tags.push(world.response(CALLER, status).to_tag().to_owned());
    }
    assert_eq!(tags[0], tags[2]);
    assert_eq!(tags[1], tags[3]);
    assert_ne!(tags[0], tags[1]);

    // Two answers: the first wins, under its fork's tag; the second gets ACK and BYE.
    world.receive(CALLEE, respond(&invite, 200, "two").sdp(CALLEE_SDP));
    let LegEvent::Answered { fork, .. } = world.event(Side::Callee) else {
        panic!();
    };
    assert_eq!(fork, Fork(1));
    world.command(key, SipCommand::Confirm(Side::Callee, None));
    assert_eq!(world.request(CALLEE, Method::Ack).to_tag(), "two");
    world.receive(CALLEE, respond(&invite, 200, "one").sdp(CALLEE_SDP));
    assert_eq!(world.request(CALLEE, Method::Ack).to_tag(), "one");
    let bye = world.request(CALLEE, Method::Bye);
    assert_eq!(bye.to_tag(), "one");
    world.quiet();
    world.receive(CALLEE, respond(&invite, 200, "one").sdp(CALLEE_SDP));
    assert_eq!(world.request(CALLEE, Method::Ack).to_tag(), "one");
    world.quiet();

    world.command(
        key,
        SipCommand::Accept {
            fork,
            body: Some(OFFER.into()),
        },
    );
    let answer = world.response(CALLER, 200);
    assert_eq!(answer.to_tag(), tags[1]);
    caller.learn(&answer);
    world.receive(CALLER, caller.ack());
    world.event(Side::Caller);
    world.receive(CALLEE, respond(&bye, 200, ""));
    let callee = End::callee(&invite, "two");
    hang_up(
        &mut world,
        Up {
            key,
            caller,
            callee,
        },
    );
}

/// Both attempts reach the same telephone, which gives the same tag to both.
#[test]
fn a_fork_of_the_second_attempt_is_ended_though_one_of_the_first_had_its_tag() {
    let mut world = World::new();
    let (key, _, first) = dialled(&mut world);
    world.command(key, SipCommand::Cancel(cause(0, 16)));
    world.command(key, SipCommand::Dial(Box::new(dial())));
    assert!(matches!(world.said(), Output::CalleeLeg(..)));
    let second = world.request(CALLEE, Method::Invite);
    world.receive(CALLEE, respond(&first, 200, "one").sdp(CALLEE_SDP));
    world.request(CALLEE, Method::Ack);
    let bye = world.request(CALLEE, Method::Bye);
    assert_eq!(bye.call_id(), first.call_id());
    world.receive(CALLEE, respond(&bye, 200, ""));
    world.receive(CALLEE, respond(&second, 200, "two").sdp(CALLEE_SDP));
    assert!(matches!(
        world.event(Side::Callee),
        LegEvent::Answered { .. }
    ));
    world.receive(CALLEE, respond(&second, 200, "one").sdp(CALLEE_SDP));
    world.request(CALLEE, Method::Ack);
    let bye = world.request(CALLEE, Method::Bye);
    assert_eq!(bye.call_id(), second.call_id());
    assert_eq!(bye.to_tag(), "one");
}

#[test]
fn a_fork_that_answers_unseen_gets_a_number() {
    let mut world = World::new();
    let Ringing { invite, .. } = ringing(&mut world);
    world.receive(CALLEE, respond(&invite, 200, "other").sdp(CALLEE_SDP));
    let LegEvent::Answered { fork, .. } = world.event(Side::Callee) else {
        panic!();
    };
    assert_eq!(fork, Fork(1));
}

#[test]
fn forks_are_bounded() {
    let mut world = World::new();
    let (_, _, invite) = dialled(&mut world);
    for n in 0..100 {
        world.receive(CALLEE, respond(&invite, 180, &format!("t{n}")));
    }
    assert_eq!(world.said.len(), 32);
    assert!(world.counted.contains(&("sip_bounds", "callee-forks")));
}

/// A proxy's best answer of all forks was a failure; then another fork answered all the same.
#[test]
fn an_answer_after_a_failure_gets_ack_and_bye() {
    let mut world = World::new();
    let Ringing {
        key,
        caller,
        invite,
        ..
    } = ringing(&mut world);
    world.receive(CALLEE, respond(&invite, 486, "bob"));
    world.request(CALLEE, Method::Ack);
    assert!(matches!(world.event(Side::Callee), LegEvent::Failed(_)));
    // While the call is there, each fork once.
    world.receive(CALLEE, respond(&invite, 200, "other").sdp(CALLEE_SDP));
    let ack = world.request(CALLEE, Method::Ack);
    assert_eq!((ack.to_tag(), ack.cseq()), ("other", invite.cseq()));
    let bye = world.request(CALLEE, Method::Bye);
    assert_eq!((bye.to_tag(), bye.call_id()), ("other", invite.call_id()));
    world.receive(CALLEE, respond(&invite, 200, "other").sdp(CALLEE_SDP));
    world.request(CALLEE, Method::Ack);
    world.quiet();
    world.receive(CALLEE, respond(&bye, 200, ""));
    let reject = SipCommand::Reject {
        cause: cause(486, 17),
        retry_after: 0,
    };
    world.command(key, reject);
    let refusal = world.response(CALLER, 486);
    world.receive(CALLER, caller.ack_failure(&refusal));
    world.pass_millis(10_000);
    world.said.clear();
    // And after it.
    world.receive(CALLEE, respond(&invite, 200, "third").sdp(CALLEE_SDP));
    assert_eq!(world.request(CALLEE, Method::Ack).to_tag(), "third");
    let bye = world.request(CALLEE, Method::Bye);
    assert_eq!(bye.to_tag(), "third");
    world.quiet();
    world.receive(CALLEE, respond(&invite, 200, "third").sdp(CALLEE_SDP));
    assert_eq!(world.request(CALLEE, Method::Ack).to_tag(), "third");
    world.quiet();
    world.receive(CALLEE, respond(&bye, 200, ""));
    // Of a flood of forks a few get ACK and BYE.
    let (mut acks, mut byes) = (1, 1);
    for fork in 0..100 {
        let tag = format!("fork{fork}");
        world.receive(CALLEE, respond(&invite, 200, &tag).sdp(CALLEE_SDP));
        while let Some(sent) = world.next(CALLEE) {
            assert_eq!(sent.to_tag(), tag);
            if sent.method() == Method::Ack {
                acks += 1;
                continue;
            }
            byes += 1;
            world.receive(CALLEE, respond(&sent, 200, ""));
        }
    }
    assert_eq!((acks, byes), (16, 16));
    world.said.clear();
    world.assert_empty();
}

/// The next trunk is tried already.
#[test]
fn an_answer_of_a_trunk_that_failed_does_not_touch_the_next() {
    let mut world = World::new();
    let (key, _, first) = dialled(&mut world);
    world.receive(CALLEE, respond(&first, 503, "one"));
    world.request(CALLEE, Method::Ack);
    assert!(matches!(world.event(Side::Callee), LegEvent::Failed(_)));
    world.command(key, SipCommand::Dial(Box::new(dial())));
    assert!(matches!(world.said(), Output::CalleeLeg(..)));
    let second = world.request(CALLEE, Method::Invite);
    world.receive(CALLEE, respond(&first, 200, "late").sdp(CALLEE_SDP));
    assert_eq!(
        world.request(CALLEE, Method::Ack).call_id(),
        first.call_id()
    );
    assert_eq!(
        world.request(CALLEE, Method::Bye).call_id(),
        first.call_id()
    );
    world.quiet();
    world.receive(CALLEE, respond(&second, 200, "two").sdp(CALLEE_SDP));
    assert!(matches!(
        world.event(Side::Callee),
        LegEvent::Answered { .. }
    ));
}
