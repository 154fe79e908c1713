//! PRACK towards the callee (RFC 3262 §4).

use super::*;

/// A reliable provisional response.
fn reliable(invite: &Message, status: u16, tag: &str, rseq: u32) -> Draft {
    respond(invite, status, tag)
        .set("Require", "100rel")
        .set("RSeq", &rseq.to_string())
}

fn progress(world: &mut World) -> (Fork, u16, Option<Bytes>, bool) {
    match world.event(Side::Callee) {
        LegEvent::Progress {
            fork,
            status,
            body,
            reliable,
            ..
        } => (fork, status, body, reliable),
        other => panic!("no progress but {other:?}"),
    }
}

/// An INVITE without an offer, from a caller that takes reliable responses or does not.
fn delayed(world: &mut World, supported: bool) -> (CallKey, End, Message) {
    let caller = End::caller();
    let mut invite = caller
        .invite()
        .body("application/sdp", "")
        .without("Content-Type");
    if supported {
        invite = invite.set("Supported", "timer, 100rel");
    }
    world.receive(CALLER, invite);
    world.response(CALLER, 100);
    let (key, _) = world.invited();
    let dial = Dial {
        body: None,
        ..dial()
    };
    world.command(key, SipCommand::Dial(Box::new(dial)));
    assert!(matches!(world.said(), Output::CalleeLeg(..)));
    let invite = world.request(CALLEE, Method::Invite);
    (key, caller, invite)
}

#[test]
fn our_invite_offers_100rel_and_lists_what_we_take() {
    let mut world = World::new();
    let (_, _, invite) = dialled(&mut world);
    let supported: Vec<_> = invite.all(Header::Supported).collect();
    assert_eq!(supported, ["timer", "100rel"]);
    assert_eq!(invite.get(Header::Require), None);
    let allow: Vec<_> = invite.all(Header::Allow).collect();
    for method in ["PRACK", "UPDATE", "INVITE", "INFO"] {
        assert!(allow.join(",").contains(method), "{allow:?}");
    }
    for (reliable, supported, required) in [
        (Reliability::Off, Some("timer"), None),
        (Reliability::Required, Some("timer"), Some("100rel")),
    ] {
        let mut settings = settings();
        settings.trunks[1].as_mut().unwrap().reliable = reliable;
        let (_, _, invite) = dialled(&mut World::with(settings));
        assert_eq!(invite.get(Header::Supported), supported);
        assert_eq!(invite.get(Header::Require), required);
    }
}

#[test]
fn a_reliable_response_is_acknowledged_in_its_own_dialog() {
    let mut world = World::new();
    let (_, _, invite) = dialled(&mut world);
    let ringing = reliable(&invite, 183, "bob", 77)
        .add("Record-Route", "<sip:198.51.100.30;lr>")
        .add("Record-Route", "<sip:198.51.100.31;lr>")
        .set("Contact", "<sip:bob@198.51.100.40:5072>")
        .sdp(CALLEE_SDP);
    world.receive(CALLEE, ringing);
    let prack = world.request("198.51.100.31:5060", Method::Prack);
    assert_eq!(prack.uri(), "sip:bob@198.51.100.40:5072");
    assert_eq!(prack.get(Header::RAck), Some("77 1 INVITE"));
    assert_eq!((prack.to_tag(), prack.cseq()), ("bob", 2));
    assert_eq!(prack.call_id(), invite.call_id());
    assert_eq!(prack.from_tag(), invite.from_tag());
    assert_eq!(prack.all(Header::Route).count(), 2);
    assert!(prack.body().is_empty());
    let (fork, status, body, reliably) = progress(&mut world);
    assert_eq!((fork, status, reliably), (Fork(0), 183, true));
    assert_eq!(body, Some(CALLEE_SDP.into()));
    world.receive("198.51.100.31:5060", respond(&prack, 200, ""));
    world.quiet();
}

#[test]
fn repeats_and_gaps_are_neither_acknowledged_nor_heard() {
    let mut world = World::new();
    let (_, _, invite) = dialled(&mut world);
    world.receive(CALLEE, reliable(&invite, 180, "bob", 5));
    let prack = world.request(CALLEE, Method::Prack);
    progress(&mut world);
    // The response comes again: the PRACK's own transaction repeats it, nothing else does.
    world.receive(CALLEE, reliable(&invite, 180, "bob", 5));
    world.quiet();
    world.receive(CALLEE, reliable(&invite, 183, "bob", 7).sdp(CALLEE_SDP));
    world.quiet();
    world.receive(CALLEE, reliable(&invite, 183, "bob", 6).sdp(CALLEE_SDP));
    let next = world.request(CALLEE, Method::Prack);
    assert_eq!(next.get(Header::RAck), Some("6 1 INVITE"));
    assert_eq!(next.cseq(), prack.cseq() + 1);
    assert_eq!(progress(&mut world).2, Some(CALLEE_SDP.into()));
    // A later description is not another answer (RFC 3261 §13.2.1).
    world.receive(CALLEE, reliable(&invite, 183, "bob", 7).sdp(OFFER));
    world.request(CALLEE, Method::Prack);
    assert_eq!(progress(&mut world).2, None);
    world.receive(CALLEE, respond(&prack, 200, ""));
    world.receive(CALLEE, respond(&next, 200, ""));
    world.quiet();
}

#[test]
fn a_lost_prack_repeats_itself() {
    let mut world = World::new();
    let (_, _, invite) = dialled(&mut world);
    world.receive(CALLEE, reliable(&invite, 180, "bob", 5));
    let prack = world.request(CALLEE, Method::Prack);
    progress(&mut world);
    world.pass_millis(499);
    world.quiet();
    world.pass_millis(1);
    let again = world.request(CALLEE, Method::Prack);
    assert_eq!(again.top_via(), prack.top_via());
    world.receive(CALLEE, respond(&prack, 200, ""));
    world.pass_millis(10_000);
    world.quiet();
}

/// Each fork has its own numbers, target and PRACKs; a 2xx of another goes to where its own Contact
/// says, with a number that none of them had.
#[test]
fn forks_are_acknowledged_each_for_itself() {
    let mut world = World::new();
    let (key, _, invite) = dialled(&mut world);
    let mut pracks = Vec::new();
    for (tag, rseq, at) in [("one", 900, "198.51.100.41"), ("two", 3, "198.51.100.42")] {
        let contact = format!("<sip:bob@{at}:5060>");
        world.receive(
            CALLEE,
            reliable(&invite, 180, tag, rseq).set("Contact", &contact),
        );
        let prack = world.request(&format!("{at}:5060"), Method::Prack);
        assert_eq!(prack.get(Header::RAck), Some(&*format!("{rseq} 1 INVITE")));
        assert_eq!((prack.to_tag(), prack.cseq()), (tag, 2));
        progress(&mut world);
        pracks.push(prack);
    }
    world.receive(CALLEE, reliable(&invite, 183, "one", 901).sdp(CALLEE_SDP));
    let prack = world.next(CALLEE).expect("to the new target");
    assert_eq!((prack.to_tag(), prack.cseq()), ("one", 3));
    progress(&mut world);
    world.receive(CALLEE, respond(&invite, 200, "two").sdp(CALLEE_SDP));
    assert!(matches!(
        world.event(Side::Callee),
        LegEvent::Answered { fork: Fork(1), .. }
    ));
    world.command(key, SipCommand::Confirm(Side::Callee, None));
    let ack = world.request(CALLEE, Method::Ack);
    assert_eq!((ack.to_tag(), ack.cseq()), ("two", 1));
    world.receive(CALLEE, respond(&invite, 200, "one").sdp(CALLEE_SDP));
    assert_eq!(world.request(CALLEE, Method::Ack).to_tag(), "one");
    let bye = world.request(CALLEE, Method::Bye);
    assert_eq!((bye.to_tag(), bye.cseq()), ("one", 4));
    world.command(key, SipCommand::Bye(Side::Callee, cause(0, 16)));
    let bye = world.request(CALLEE, Method::Bye);
    assert_eq!((bye.to_tag(), bye.cseq()), ("two", 3));
}

/// Bug class: PRACK to the wrong target or after CANCEL.
#[test]
fn no_prack_goes_to_the_wrong_target_or_after_cancel() {
    let mut world = World::new();
    let (key, _, invite) = dialled(&mut world);
    let first = reliable(&invite, 180, "bob", 1).set("Contact", "<sip:bob@198.51.100.50:5099>");
    world.receive(CALLEE, first);
    let prack = world.request("198.51.100.50:5099", Method::Prack);
    assert_eq!(prack.uri(), "sip:bob@198.51.100.50:5099");
    progress(&mut world);
    world.command(key, SipCommand::Cancel(cause(0, 16)));
    world.request(CALLEE, Method::Cancel);
    for (rseq, tag) in [(2, "bob"), (1, "other")] {
        world.receive(CALLEE, reliable(&invite, 183, tag, rseq).sdp(CALLEE_SDP));
    }
    world.quiet();
    // Nor does one wait for what the call has to say no more.
    world.command(
        key,
        SipCommand::EarlyAnswer(Side::Callee, Fork(0), OFFER.into()),
    );
    assert!(world.next("198.51.100.50:5099").is_none());
}

/// Bug class: To-tag changing between 180 and 200 not followed.
#[test]
fn a_to_tag_that_changes_between_180_and_200_is_followed() {
    let mut world = World::new();
    let (key, mut caller, invite) = dialled(&mut world);
    world.receive(CALLEE, reliable(&invite, 180, "early", 1));
    let prack = world.request(CALLEE, Method::Prack);
    assert_eq!(prack.to_tag(), "early");
    let (fork, status, ..) = progress(&mut world);
    let body = None;
    world.command(key, SipCommand::Progress { fork, status, body });
    let ringing = world.response(CALLER, 180);
    let answer = respond(&invite, 200, "late").set("Contact", "<sip:bob@198.51.100.60:5060>");
    world.receive(CALLEE, answer.sdp(CALLEE_SDP));
    let LegEvent::Answered { fork, .. } = world.event(Side::Callee) else {
        panic!();
    };
    world.command(key, SipCommand::Confirm(Side::Callee, None));
    let ack = world.request("198.51.100.60:5060", Method::Ack);
    assert_eq!(ack.to_tag(), "late");
    let body = Some(OFFER.into());
    world.command(key, SipCommand::Accept { fork, body });
    let answer = world.response(CALLER, 200);
    assert_ne!(
        answer.to_tag(),
        ringing.to_tag(),
        "the caller is told as much"
    );
    caller.learn(&answer);
    world.receive(CALLER, caller.ack());
    assert!(matches!(
        world.event(Side::Caller),
        LegEvent::Confirmed(None)
    ));
    world.command(key, SipCommand::Bye(Side::Callee, cause(0, 16)));
    let bye = world.request("198.51.100.60:5060", Method::Bye);
    assert_eq!(bye.to_tag(), "late");
    world.command(key, SipCommand::Bye(Side::Caller, cause(0, 16)));
    assert_eq!(
        world.request(CALLER, Method::Bye).from_tag(),
        answer.to_tag()
    );
}

#[test]
fn an_offer_in_a_reliable_response_is_answered_by_its_prack() {
    let mut world = World::new();
    let (key, _, invite) = delayed(&mut world, true);
    assert!(invite.all(Header::Supported).any(|tag| tag == "100rel"));
    world.receive(CALLEE, reliable(&invite, 183, "bob", 9).sdp(CALLEE_SDP));
    assert_eq!(
        progress(&mut world),
        (Fork(0), 183, Some(CALLEE_SDP.into()), true)
    );
    world.quiet(); // the PRACK waits for the answer
    world.command(
        key,
        SipCommand::EarlyAnswer(Side::Callee, Fork(0), OFFER.into()),
    );
    let prack = world.request(CALLEE, Method::Prack);
    assert_eq!(prack.body(), OFFER);
    assert_eq!(prack.get(Header::RAck), Some("9 1 INVITE"));
    world.receive(CALLEE, respond(&prack, 200, ""));
    world.quiet();
}

#[test]
fn an_answer_that_the_callee_refuses_ends_the_attempt() {
    let mut world = World::new();
    let (key, _, invite) = delayed(&mut world, true);
    world.receive(CALLEE, reliable(&invite, 183, "bob", 9).sdp(CALLEE_SDP));
    progress(&mut world);
    world.command(
        key,
        SipCommand::EarlyAnswer(Side::Callee, Fork(0), OFFER.into()),
    );
    let prack = world.request(CALLEE, Method::Prack);
    world.receive(CALLEE, respond(&prack, 488, ""));
    world.request(CALLEE, Method::Cancel);
    assert!(matches!(world.event(Side::Callee), LegEvent::Failed(_)));
}

#[test]
fn a_bare_prack_that_fails_changes_nothing() {
    let mut world = World::new();
    let (_, _, invite) = dialled(&mut world);
    world.receive(CALLEE, reliable(&invite, 180, "bob", 9));
    let prack = world.request(CALLEE, Method::Prack);
    progress(&mut world);
    world.receive(CALLEE, respond(&prack, 481, ""));
    world.quiet();
    world.receive(CALLEE, respond(&invite, 200, "bob").sdp(CALLEE_SDP));
    assert!(matches!(
        world.event(Side::Callee),
        LegEvent::Answered { .. }
    ));
}

/// Without a way to bring an offer to the caller before the answer, none is asked for.
#[test]
fn a_callee_is_not_asked_for_offers_that_the_caller_cannot_be_given() {
    let mut world = World::new();
    let (_, _, invite) = delayed(&mut world, false);
    assert_eq!(invite.get(Header::Supported), Some("timer"));
    world.receive(CALLEE, reliable(&invite, 183, "bob", 9).sdp(CALLEE_SDP));
    assert!(!progress(&mut world).3);
    world.quiet();
}

#[test]
fn a_trusted_trunk_says_whether_early_media_is_heard() {
    let mut world = World::new();
    let (_, _, invite) = dialled(&mut world);
    assert_eq!(invite.get(Header::PEarlyMedia), Some("supported"));
    let muted = |world: &mut World| match world.event(Side::Callee) {
        LegEvent::Progress { muted, .. } => muted,
        other => panic!("{other:?}"),
    };
    for (value, expected) in [
        ("inactive", true),
        ("sendrecv", false),
        ("recvonly", true),
        ("sendonly, gated", false),
        ("gated", false), // says nothing of a direction
        ("INACTIVE;x=y", true),
    ] {
        let early = respond(&invite, 183, "bob").set("P-Early-Media", value);
        world.receive(CALLEE, early.sdp(CALLEE_SDP));
        assert_eq!(muted(&mut world), expected, "{value}");
    }
    // An UPDATE says so, too.
    let mut callee = End::callee(&invite, "bob");
    let update = callee.request("UPDATE");
    world.receive(CALLEE, update.set("P-Early-Media", "sendrecv"));
    world.response(CALLEE, 200);
    let LegEvent::Progress {
        muted: still, body, ..
    } = world.event(Side::Callee)
    else {
        panic!();
    };
    assert_eq!((still, body), (false, None));
    let update = callee.request("UPDATE");
    world.receive(CALLEE, update.set("P-Early-Media", "sendrecv"));
    world.response(CALLEE, 200);
    world.quiet(); // nothing new
    let mut settings = settings();
    settings.trunks[1].as_mut().unwrap().trusted = false;
    let mut world = World::with(settings);
    let (_, _, invite) = dialled(&mut world);
    assert_eq!(invite.get(Header::PEarlyMedia), None);
    let early = respond(&invite, 183, "bob").set("P-Early-Media", "inactive");
    world.receive(CALLEE, early.sdp(CALLEE_SDP));
    assert!(!muted(&mut world), "an untrusted trunk's word is not taken");
}
