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
