use super::*;

const HOLD: &str = "v=0\r\no=- 1 2 IN IP4 203.0.113.1\r\ns=-\r\nc=IN IP4 203.0.113.1\r\nt=0 0\r\n\
                    m=audio 4000 RTP/AVP 0\r\na=sendonly\r\n";

fn reoffer(side: Side) -> SipCommand {
    SipCommand::Reoffer(side, Some(HOLD.into()))
}

#[test]
fn a_hold_passes_and_refreshes_the_target() {
    let mut world = World::new();
    let Up {
        key,
        mut caller,
        callee,
    } = up(&mut world);
    let invite = caller.request("INVITE").sdp(CALLER_CHANGED);
    world.receive(CALLER, invite.set("Contact", "<sip:joe@192.0.2.12:5099>"));
    world.response(CALLER, 100);
    let LegEvent::Offered(Some(offer)) = world.event(Side::Caller) else {
        panic!();
    };
    assert_eq!(offer, CALLER_CHANGED);
    world.command(key, reoffer(Side::Callee));
    let invite = world.request(CALLEE, Method::Invite);
    assert_eq!(invite.body(), HOLD);
    assert_eq!((invite.to_tag(), invite.cseq()), ("bob", 2));
    assert!(invite.get(Header::Contact).is_some());
    let answer = respond(&invite, 200, "").sdp(CALLEE_SDP);
    world.receive(
        CALLEE,
        answer.set("Contact", "<sip:bob@198.51.100.22:5071>"),
    );
    let ack = world.request("198.51.100.22:5071", Method::Ack); // by itself: an answer came
    assert_eq!((ack.cseq(), ack.uri()), (2, "sip:bob@198.51.100.22:5071"));
    let LegEvent::Reanswered(Some(_)) = world.event(Side::Callee) else {
        panic!();
    };
    world.command(
        key,
        SipCommand::AnswerOffer(Side::Caller, Some(OFFER.into())),
    );
    let answer = world.response(CALLER, 200);
    assert_eq!(answer.body(), OFFER);
    world.receive(CALLER, caller.ack());
    world.quiet(); // an ACK without an answer in it is no news
    world.command(key, SipCommand::Bye(Side::Caller, cause(0, 16)));
    let bye = world.request("192.0.2.12:5099", Method::Bye);
    assert_eq!(bye.uri(), "sip:joe@192.0.2.12:5099");
    drop(callee);
}

#[test]
fn a_reinvite_without_offer_goes_both_ways() {
    let mut world = World::new();
    let Up {
        key, mut caller, ..
    } = up(&mut world);
    world.receive(CALLER, caller.request("INVITE"));
    world.response(CALLER, 100);
    assert!(matches!(world.event(Side::Caller), LegEvent::Offered(None)));
    world.command(key, SipCommand::Reoffer(Side::Callee, None));
    let invite = world.request(CALLEE, Method::Invite);
    assert!(invite.body().is_empty());
    world.receive(CALLEE, respond(&invite, 200, "").sdp(CALLEE_SDP));
    assert!(matches!(
        world.event(Side::Callee),
        LegEvent::Reanswered(Some(_))
    ));
    world.quiet();
    world.command(
        key,
        SipCommand::AnswerOffer(Side::Caller, Some(OFFER.into())),
    );
    world.response(CALLER, 200);
    world.receive(CALLER, caller.ack().sdp(CALLER_SDP));
    let LegEvent::OfferConfirmed(Some(answer)) = world.event(Side::Caller) else {
        panic!();
    };
    assert_eq!(answer, CALLER_SDP);
    world.command(key, SipCommand::Confirm(Side::Callee, Some(OFFER.into())));
    let ack = world.request(CALLEE, Method::Ack);
    assert_eq!((ack.cseq(), ack.body().as_ref()), (2, OFFER.as_bytes()));
    world.receive(CALLEE, respond(&invite, 200, "").sdp(CALLEE_SDP));
    let again = world.request(CALLEE, Method::Ack);
    assert_eq!(again.body(), OFFER);
    world.quiet();
}

/// A re-INVITE of ours, answered by `answer`, and its ACK.
fn reinvited(world: &mut World, key: CallKey, answer: &str) -> (Message, Message) {
    world.command(key, reoffer(Side::Callee));
    let invite = world.request(CALLEE, Method::Invite);
    world.receive(CALLEE, respond(&invite, 200, "").sdp(answer));
    let ack = world.request(CALLEE, Method::Ack);
    assert!(matches!(world.event(Side::Callee), LegEvent::Reanswered(_)));
    (invite, ack)
}

/// RFC 3261 §13.2.2.4: "The ACK MUST be passed to the client transport every time a retransmission
/// of the 2xx final response that triggered the ACK arrives", the one of that 2xx.
#[test]
fn the_2xx_of_an_earlier_reinvite_gets_its_own_ack_again() {
    let mut world = World::new();
    let Up { key, .. } = up(&mut world);
    let earlier: Vec<_> = (0..3)
        .map(|_| reinvited(&mut world, key, CALLEE_SDP))
        .collect();
    for (invite, ack) in &earlier {
        world.receive(CALLEE, respond(invite, 200, "").sdp(CALLEE_SDP));
        let again = world.request(CALLEE, Method::Ack);
        assert_eq!(again.cseq(), invite.cseq());
        assert_eq!(again.top_via(), ack.top_via());
        world.quiet();
    }
}

#[test]
fn acks_are_kept_for_half_a_minute_and_not_without_end() {
    let mut world = World::new();
    let Up { key, .. } = up(&mut world);
    let invites: Vec<_> = (0..8)
        .map(|_| reinvited(&mut world, key, CALLEE_SDP).0)
        .collect();
    // With the first INVITE's they were nine.
    assert_eq!(world.counted.last(), Some(&("sip_bounds", "acks")));
    world.receive(CALLEE, respond(&invites[0], 200, "").sdp(CALLEE_SDP));
    world.request(CALLEE, Method::Ack);
    reinvited(&mut world, key, CALLEE_SDP);
    world.receive(CALLEE, respond(&invites[0], 200, "").sdp(CALLEE_SDP));
    world.quiet();
    let before = world.counted.len();
    world.pass_millis(33_000);
    for _ in 0..8 {
        reinvited(&mut world, key, CALLEE_SDP);
    }
    assert_eq!(world.counted.len(), before);
}

#[test]
fn a_refused_reinvite_leaves_the_dialog() {
    let mut world = World::new();
    let Up {
        key,
        caller,
        mut callee,
    } = up(&mut world);
    world.receive(CALLEE, callee.request("INVITE").sdp(CALLEE_CHANGED));
    world.response(CALLEE, 100);
    world.event(Side::Callee);
    world.command(key, reoffer(Side::Caller));
    let invite = world.request(CALLER, Method::Invite);
    world.receive(CALLER, respond(&invite, 488, ""));
    world.request(CALLER, Method::Ack);
    let LegEvent::Unanswered(reason) = world.event(Side::Caller) else {
        panic!();
    };
    assert_eq!(reason.sip, 488);
    world.command(key, SipCommand::RefuseOffer(Side::Callee, cause(488, 88)));
    let refused = world.response(CALLEE, 488);
    assert_eq!(refused.get(Header::Reason), Some("Q.850;cause=88"));
    world.receive(CALLEE, callee.draft("ACK"));
    world.quiet();
    hang_up(
        &mut world,
        Up {
            key,
            caller,
            callee,
        },
    );
}

#[test]
fn a_second_reinvite_while_one_waits_is_500() {
    let mut world = World::new();
    let Up { mut caller, .. } = up(&mut world);
    world.receive(CALLER, caller.request("INVITE").sdp(CALLER_CHANGED));
    world.response(CALLER, 100);
    world.event(Side::Caller);
    world.receive(CALLER, caller.request("INVITE").sdp(CALLER_CHANGED));
    let refused = world.response(CALLER, 500);
    let seconds: u32 = refused.get(Header::RetryAfter).unwrap().parse().unwrap();
    assert!((1..=10).contains(&seconds));
    world.quiet();
}

#[test]
fn an_invite_in_the_early_dialog_is_500() {
    let mut world = World::new();
    let Ringing { mut caller, .. } = ringing(&mut world);
    world.receive(CALLER, caller.request("INVITE").sdp(CALLER_CHANGED));
    let refused = world.response(CALLER, 500);
    assert!(refused.get(Header::RetryAfter).is_some());
    world.quiet();
}

#[test]
fn glare_is_491_and_ours_is_tried_again() {
    let mut world = World::new();
    let Up {
        key,
        mut caller,
        mut callee,
    } = up(&mut world);
    for (side, at, earliest, latest) in [
        (Side::Callee, CALLEE, 2100, 4000),
        (Side::Caller, CALLER, 0, 2000),
    ] {
        world.command(key, reoffer(side));
        let first = world.request(at, Method::Invite);
        let end = if side == Side::Callee {
            &mut callee
        } else {
            &mut caller
        };
        world.receive(at, end.request("INVITE").sdp(OFFER));
        let glare = world.response(at, 491);
        let ack = end.ack_failure(&glare);
        world.receive(at, ack);
        world.receive(at, respond(&first, 491, ""));
        world.request(at, Method::Ack);
        world.quiet();
        let start = world.now;
        let mut again = None;
        while again.is_none() && world.now < start + Duration::from_secs(5) {
            world.pass_millis(10);
            again = world.next(at);
        }
        let waited = (world.now - start).as_millis();
        assert!((earliest..=latest + 10).contains(&waited), "{waited}");
        let again = again.unwrap();
        assert_eq!(again.cseq(), first.cseq() + 1);
        assert_eq!(again.body(), HOLD);
        let answer = respond(&again, 200, "").sdp(OFFER);
        world.receive(at, answer.set("Contact", &format!("<sip:{at}>")));
        world.request(at, Method::Ack);
        assert!(matches!(world.event(side), LegEvent::Reanswered(Some(_))));
    }
    hang_up(
        &mut world,
        Up {
            key,
            caller,
            callee,
        },
    );
}

#[test]
fn endless_glare_is_given_up() {
    let mut world = World::new();
    let Up { key, .. } = up(&mut world);
    world.command(key, reoffer(Side::Callee));
    for _ in 0..3 {
        let invite = world.request(CALLEE, Method::Invite);
        world.receive(CALLEE, respond(&invite, 491, ""));
        world.request(CALLEE, Method::Ack);
        for _ in 0..410 {
            if world.sent.is_empty() {
                world.pass_millis(10);
            }
        }
    }
    let LegEvent::Unanswered(reason) = world.event(Side::Callee) else {
        panic!();
    };
    assert_eq!(reason.sip, 491);
    assert!(world.next(CALLEE).is_none());
}

#[test]
fn a_reinvite_waits_for_the_ack_of_theirs() {
    let mut world = World::new();
    let Up {
        key, mut caller, ..
    } = up(&mut world);
    world.receive(CALLER, caller.request("INVITE").sdp(CALLER_CHANGED));
    world.event(Side::Caller);
    world.response(CALLER, 100);
    world.command(key, reoffer(Side::Caller));
    let LegEvent::Unanswered(reason) = world.event(Side::Caller) else {
        panic!(); // theirs waits for the call, so the call cannot wait for it
    };
    assert_eq!(reason.sip, 491);
    world.command(
        key,
        SipCommand::AnswerOffer(Side::Caller, Some(OFFER.into())),
    );
    world.response(CALLER, 200);
    world.command(key, reoffer(Side::Caller));
    world.quiet();
    world.receive(CALLER, caller.ack());
    world.request(CALLER, Method::Invite);
    world.quiet();
}

#[test]
fn the_2xx_of_a_reinvite_is_repeated_and_given_up() {
    let mut world = World::new();
    let Up {
        key, mut caller, ..
    } = up(&mut world);
    world.receive(CALLER, caller.request("INVITE").sdp(CALLER_CHANGED));
    world.event(Side::Caller);
    world.response(CALLER, 100);
    world.command(
        key,
        SipCommand::AnswerOffer(Side::Caller, Some(OFFER.into())),
    );
    world.response(CALLER, 200);
    world.pass_millis(1_600);
    world.response(CALLER, 200);
    world.response(CALLER, 200);
    world.quiet();
    world.pass_millis(31_000);
    assert!(matches!(world.event(Side::Caller), LegEvent::Lost(_)));
    let last = std::iter::from_fn(|| world.next(CALLER)).last().unwrap();
    assert_eq!(last.method(), Method::Bye);
}

#[test]
fn a_reinvite_without_response_loses_the_dialog() {
    let mut world = World::new();
    let Up { key, .. } = up(&mut world);
    world.command(key, reoffer(Side::Callee));
    world.pass_millis(33_000);
    let LegEvent::Lost(reason) = world.event(Side::Callee) else {
        panic!();
    };
    assert_eq!(reason.sip, 408);
    let last = std::iter::from_fn(|| world.next(CALLEE)).last().unwrap();
    assert_eq!(last.method(), Method::Bye);
}

#[test]
fn a_481_to_a_reinvite_loses_the_dialog() {
    let mut world = World::new();
    let Up { key, .. } = up(&mut world);
    world.command(key, reoffer(Side::Callee));
    let invite = world.request(CALLEE, Method::Invite);
    world.receive(CALLEE, respond(&invite, 481, ""));
    world.request(CALLEE, Method::Ack);
    assert!(matches!(world.event(Side::Callee), LegEvent::Lost(_)));
    world.quiet();
}

#[test]
fn a_bye_ends_a_reinvite_that_waits() {
    let mut world = World::new();
    let Up {
        key, mut caller, ..
    } = up(&mut world);
    let invite = caller.request("INVITE").sdp(CALLER_CHANGED);
    world.receive(CALLER, invite);
    world.event(Side::Caller);
    world.response(CALLER, 100);
    world.command(key, reoffer(Side::Callee));
    let ours = world.request(CALLEE, Method::Invite);
    world.receive(CALLER, caller.request("BYE"));
    world.response(CALLER, 200);
    world.response(CALLER, 487);
    assert!(matches!(world.event(Side::Caller), LegEvent::Ended(_)));
    world.command(key, SipCommand::Bye(Side::Callee, cause(0, 16)));
    let bye = world.request(CALLEE, Method::Bye);
    world.receive(CALLEE, respond(&ours, 200, "").sdp(CALLEE_SDP));
    assert_eq!(world.request(CALLEE, Method::Ack).cseq(), ours.cseq());
    world.receive(CALLEE, respond(&bye, 200, ""));
    world.gone();
    world.assert_empty();
}

/// RFC 3261 §13.3.1.4: the 2xx may have been lost, and its INVITE is owed a final response.
#[test]
fn the_2xx_of_a_reinvite_is_repeated_after_the_peers_bye() {
    for acknowledged in [true, false] {
        let mut world = World::new();
        let Up {
            key, mut caller, ..
        } = up(&mut world);
        let invite = caller.request("INVITE");
        let ack = caller.ack();
        world.receive(CALLER, invite);
        world.event(Side::Caller);
        world.response(CALLER, 100);
        world.command(
            key,
            SipCommand::AnswerOffer(Side::Caller, Some(OFFER.into())),
        );
        world.response(CALLER, 200);
        world.receive(CALLER, caller.request("BYE"));
        world.response(CALLER, 200);
        assert!(matches!(world.event(Side::Caller), LegEvent::Ended(_)));
        world.command(key, SipCommand::Bye(Side::Callee, cause(0, 16)));
        let bye = world.request(CALLEE, Method::Bye);
        world.receive(CALLEE, respond(&bye, 200, ""));
        world.pass_millis(600);
        assert_eq!(world.response(CALLER, 200).method(), Method::Invite);
        if acknowledged {
            world.receive(CALLER, ack.sdp(CALLER_SDP));
        } else {
            world.pass_millis(33_000);
            while let Some(again) = world.next(CALLER) {
                assert_eq!(again.status(), Some(200));
            }
        }
        world.gone();
        world.pass_millis(33_000);
        world.assert_empty();
    }
}

/// RFC 3261 §13.2.2.4: else the peer repeats it for half a minute.
#[test]
fn the_2xx_of_a_reinvite_that_crosses_the_callers_bye_gets_its_ack() {
    let mut world = World::new();
    let Up {
        key, mut caller, ..
    } = up(&mut world);
    world.command(key, reoffer(Side::Caller));
    let ours = world.request(CALLER, Method::Invite);
    world.receive(CALLER, caller.request("BYE"));
    world.response(CALLER, 200);
    assert!(matches!(world.event(Side::Caller), LegEvent::Ended(_)));
    world.command(key, SipCommand::Bye(Side::Callee, cause(0, 16)));
    let bye = world.request(CALLEE, Method::Bye);
    for _ in 0..2 {
        world.receive(CALLER, respond(&ours, 200, "").sdp(CALLER_SDP));
        let ack = world.request(CALLER, Method::Ack);
        assert_eq!((ack.cseq(), ack.to_tag()), (ours.cseq(), "callertag"));
    }
    world.receive(CALLEE, respond(&bye, 200, ""));
    world.gone();
    // The call is gone: what is left to say is said by what the response says itself.
    let late = respond(&ours, 200, "").sdp(CALLER_SDP);
    world.receive(CALLER, late.set("Contact", &format!("<sip:joe@{CALLER}>")));
    assert_eq!(world.request(CALLER, Method::Ack).cseq(), ours.cseq());
    let bye = world.request(CALLER, Method::Bye);
    world.receive(CALLER, respond(&bye, 481, ""));
    world.quiet();
    world.assert_empty();
}

#[test]
fn cancel_of_a_reinvite_is_answered_and_has_no_effect() {
    let mut world = World::new();
    let Up {
        key, mut caller, ..
    } = up(&mut world);
    world.receive(CALLER, caller.request("INVITE").sdp(CALLER_CHANGED));
    world.event(Side::Caller);
    world.response(CALLER, 100);
    world.receive(CALLER, caller.draft("CANCEL"));
    world.response(CALLER, 200);
    world.quiet();
    world.command(
        key,
        SipCommand::AnswerOffer(Side::Caller, Some(OFFER.into())),
    );
    world.response(CALLER, 200);
}

#[test]
fn another_body_in_a_reinvite_is_415() {
    let mut world = World::new();
    let Up { mut caller, .. } = up(&mut world);
    world.receive(CALLER, caller.request("INVITE").body("text/plain", "x"));
    world.response(CALLER, 415);
    world.quiet();
}
