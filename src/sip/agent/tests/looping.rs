//! INVITEs of ours that come back, and such as would take another call over.

use super::*;

fn refused(world: &mut World, draft: Draft) -> (Message, Cause) {
    world.receive(CALLER, draft);
    world.response(CALLER, 100);
    let refusal = world
        .next(CALLER)
        .unwrap_or_else(|| panic!("no final response: {:?} {:?}", world.said, world.sent));
    let (_, invite) = world.invited();
    world.gone();
    (refusal, invite.refused.expect("refused"))
}

/// RFC 3261 §8.2.2.2, §16.3: what left by the callee's leg comes back by the caller's trunk, our Via
/// below the proxy's; or without it, but with our tag.
#[test]
fn an_invite_of_ours_that_comes_back_is_482() {
    let mut world = World::new();
    let (_, _, ours) = dialled(&mut world);
    let end = End {
        call_id: ours.call_id().into(),
        local: ours.get(Header::From).unwrap().into(),
        branches: 100, // no repeat of the caller's own INVITE
        ..End::caller()
    };
    let (refusal, reason) = refused(&mut world, end.invite());
    assert_eq!(reason, cause(482, 25));
    assert_eq!(refusal.get(Header::Reason), Some("Q.850;cause=25"));
    for via in [
        "SIP/2.0/UDP 203.0.113.1:5060;branch=z9hG4bKours;rport",
        "SIP/2.0/TCP 198.51.100.3:5060;branch=z9hG4bKx, SIP/2.0/UDP 203.0.113.1:5060 ;branch=z9hG4bKy",
    ] {
        let mut world = World::new();
        let spiral = End::caller().invite().add("Via", via);

        assert_eq!(refused(&mut world, spiral).1, cause(482, 25), "{via}");
    }
    // Somebody else on our host, or a neighbour whose name begins like ours, is no loop.
    for via in ["203.0.113.1:5099", "203.0.113.10:5060", "203.0.113.1:50600"] {
        let mut world = World::new();
        let line = format!("SIP/2.0/UDP {via};branch=z9hG4bKx");
        world.receive(CALLER, End::caller().invite().add("Via", &line));
        world.response(CALLER, 100);
        assert_eq!(world.invited().1.refused, None, "{via}");
    }
}

/// RFC 3891, RFC 3911: nobody is put into a call that is there. It makes no difference whether the
/// dialog is.
#[test]
fn replaces_and_join_are_refused_and_never_acted_upon() {
    let mut world = World::new();
    let Up {
        caller, mut callee, ..
    } = up(&mut world);
    let ours = caller.remote.split("tag=").nth(1).unwrap();
    let there = format!("{};to-tag={ours};from-tag=callertag", caller.call_id);
    let mut number = 0;
    let mut draft = |headers: &[(&str, &str)]| {
        number += 1;
        let end = End {
            call_id: format!("taker-{number}@192.0.2.10"),
            branches: 100 + number,
            ..End::caller()
        };
        headers
            .iter()
            .fold(end.invite(), |draft, (name, value)| draft.add(name, value))
    };
    let gone = "nowhere@x;to-tag=a;from-tag=b";
    for name in ["Replaces", "Join"] {
        for value in [&*there, gone, "garbage"] {
            let (_, reason) = refused(&mut world, draft(&[(name, value)]));
            assert_eq!(reason, cause(481, 0), "{name}: {value}");
        }
        let (_, reason) = refused(&mut world, draft(&[(name, &there), (name, gone)]));
        assert_eq!(reason, cause(400, 0));
        let tag = name.to_ascii_lowercase();
        let required = draft(&[(name, &there), ("Require", &tag)]);
        let (refusal, reason) = refused(&mut world, required);
        assert_eq!(reason, cause(420, 0));
        assert_eq!(refusal.get(Header::Unsupported), Some(&*tag));
    }
    let (_, reason) = refused(&mut world, draft(&[("Replaces", &there), ("Join", &there)]));
    assert_eq!(reason, cause(400, 0));
    // In a re-INVITE, too: the dialog stays as it is.
    let inside = callee.request("INVITE").add("Replaces", &there);
    world.receive(CALLEE, inside.sdp(CALLEE_SDP));
    let refusal = world.response(CALLEE, 400);
    world.receive(CALLEE, callee.ack_failure(&refusal));
    world.quiet();
    world.receive(CALLEE, callee.request("BYE"));
    world.response(CALLEE, 200);
}

/// RFC 5806, RFC 7044: who diverted a call to us is neither read nor told. A diversion from a number
/// of ours is a call as any other, not a loop: forwarding to a leased number is what they are for.
#[test]
fn diversions_are_consumed() {
    let mut world = World::new();
    let diverted = End::caller()
        .invite()
        .add(
            "Diversion",
            &format!("<sip:+{LEASED}@carrier.example>;reason=no-answer"),
        )
        .add(
            "History-Info",
            &format!("<sip:+{LEASED}@carrier.example>;index=1"),
        )
        .add("Privacy", "history");
    world.receive(CALLER, diverted);
    world.response(CALLER, 100);
    let (key, invite) = world.invited();
    assert_eq!(invite.refused, None);
    assert!(
        !invite.identity.withheld,
        "Privacy: history hides no caller"
    );
    protect(&mut world, key);
    world.command(key, SipCommand::Dial(Box::new(dial())));
    world.said();
    let (bytes, _) = world.sent.back().unwrap();
    let text = String::from_utf8_lossy(bytes).into_owned();
    assert!(text.starts_with("INVITE "));
    for name in ["Diversion", "History-Info", "Privacy"] {
        assert!(!text.contains(name), "{text}");
    }
}
