//! Answers to dials that are gone, and those that only look like it.

use super::*;

/// A dial that is gone: its INVITE.
fn gone(world: &mut World) -> Message {
    let Ringing { key, invite, .. } = ringing(world);
    world.command(key, SipCommand::Cancel(cause(0, 16)));
    let reject = SipCommand::Reject {
        cause: cause(480, 19),
        retry_after: 0,
    };
    world.command(key, reject);
    world.pass(Duration::from_secs(100));
    world.sent.clear();
    world.said.clear();
    invite
}

fn sent(world: &World) -> usize {
    world.sent.len()
}

#[test]
fn an_answer_to_nothing_of_ours_gets_nothing() {
    let mut world = World::new();
    let invite = gone(&mut world);
    let victim = "<sip:v@192.0.2.166:5060>";
    let own = invite.get(Header::From).unwrap().to_owned();
    let forged = own.replace(
        invite.from_tag(),
        &crate::sip::dialog::Tag(0x0123_4567_89ab_cdef).to_string(),
    );
    let answer = || respond(&invite, 200, "bob").set("Contact", victim);
    let cases = [
        (CALLEE, answer().set("From", &forged)),
        (CALLEE, answer().set("Call-ID", "bcdfghjklmnpqrst")),
        // Ours, from another trunk, which it does not lead back to.
        (CALLER, answer()),
    ];
    for (from, case) in cases {
        world.counted.clear();
        for _ in 0..10 {
            world.receive(from, case_copy(&case));
        }
        assert_eq!(sent(&world), 0);
        assert_eq!(world.counted, [("sip_dropped", "stray-response"); 10]);
    }
    world.assert_empty();
}

fn case_copy(draft: &Draft) -> Draft {
    Draft {
        start: draft.start.clone(),
        lines: draft.lines.clone(),
        body: draft.body.clone(),
    }
}

#[test]
fn an_answer_of_the_process_before_gets_nothing() {
    let invite = gone(&mut World::new());
    let mut world = World::new();
    world.agent = Agent::new(settings(), Box::new(Seeded(2)));
    world.receive(CALLEE, respond(&invite, 200, "bob"));
    assert_eq!(sent(&world), 0);
}

#[test]
fn acks_to_one_answer_and_to_all_of_an_invite_are_bounded() {
    let mut world = World::new();
    let invite = gone(&mut world);
    for _ in 0..100 {
        world.receive(CALLEE, respond(&invite, 200, "bob"));
    }
    assert_eq!(sent(&world), 16 + 1, "ACKs, one BYE");
    world.sent.clear();
    for fork in 0..100 {
        world.receive(CALLEE, respond(&invite, 200, &format!("fork-{fork}")));
    }
    assert_eq!(sent(&world), 15 * 2, "sixteen forks in all");
    assert!(world.counted.contains(&("sip_bounds", "strays")));
}
