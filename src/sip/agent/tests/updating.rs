//! UPDATE in early and confirmed dialogs (RFC 3311), and glare (RFC 3261 §14.1).

use super::*;

const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, PRACK, UPDATE";

/// A call that is up, both ends of which take UPDATE or do not.
fn up_with(world: &mut World, updates: bool) -> Up {
    let mut call = up(world);
    if updates {
        for (at, end) in [(CALLER, &mut call.caller), (CALLEE, &mut call.callee)] {
            world.receive(at, end.request("UPDATE").set("Allow", ALLOW));
            let response = world.response(at, 200);
            assert_eq!(response.method(), Method::Update);
            assert!(response.get(Header::Contact).is_some());
        }
    }
    world.quiet();
    call
}

fn reoffer(side: Side) -> SipCommand {
    SipCommand::Reoffer(side, Some(OFFER.into()))
}

fn answer(side: Side) -> SipCommand {
    SipCommand::AnswerOffer(side, Some(OFFER.into()))
}

#[test]
fn an_update_without_offer_refreshes_the_target_and_goes_nowhere() {
    let mut world = World::new();
    let Up {
        key, mut caller, ..
    } = up(&mut world);
    let update = caller
        .request("UPDATE")
        .set("Contact", "<sip:joe@192.0.2.12:5099>");
    world.receive(CALLER, update);
    assert!(world.response(CALLER, 200).body().is_empty());
    world.quiet();
    world.command(key, SipCommand::Bye(Side::Caller, cause(0, 16)));
    world.request("192.0.2.12:5099", Method::Bye);
}

#[test]
fn an_offer_by_update_passes_as_update_where_the_other_side_takes_it() {
    for (at, side) in [(CALLER, Side::Caller), (CALLEE, Side::Callee)] {
        for updates in [true, false] {
            let mut world = World::new();
            let mut call = up_with(&mut world, updates);
            let (end, other) = match side {
                Side::Caller => (&mut call.caller, CALLEE),
                Side::Callee => (&mut call.callee, CALLER),
            };
            world.receive(at, end.request("UPDATE").sdp(CALLER_SDP));
            assert!(matches!(world.event(side), LegEvent::Offered(Some(_))));
            world.command(call.key, reoffer(side.other()));
            let method = if updates {
                Method::Update
            } else {
                Method::Invite
            };
            let request = world.request(other, method);
            assert_eq!(request.body(), OFFER);
            let contact = format!("<sip:{other}>");
            let response = respond(&request, 200, "").set("Contact", &contact);
            world.receive(other, response.sdp(CALLEE_SDP));
            if !updates {
                world.request(other, Method::Ack);
            }
            assert!(matches!(
                world.event(side.other()),
                LegEvent::Reanswered(Some(_))
            ));
            world.command(call.key, answer(side));
            let response = world.response(at, 200);
            assert_eq!(
                (response.method(), response.body().as_ref()),
                (Method::Update, OFFER.as_bytes())
            );
            world.pass_millis(40_000); // an UPDATE's 200 has no ACK to wait for
            world.quiet();
            hang_up(&mut world, call);
        }
    }
}

#[test]
fn a_reinvite_passes_as_reinvite() {
    let mut world = World::new();
    let mut call = up_with(&mut world, true);
    world.receive(CALLER, call.caller.request("INVITE").sdp(CALLER_CHANGED));
    world.response(CALLER, 100);
    world.event(Side::Caller);
    world.command(call.key, reoffer(Side::Callee));
    world.request(CALLEE, Method::Invite);
}

/// RFC 3311 §5.2.
#[test]
fn an_update_that_crosses_is_491_and_one_after_another_500() {
    let mut world = World::new();
    let mut call = up_with(&mut world, true);
    world.receive(CALLER, call.caller.request("UPDATE").sdp(CALLER_SDP));
    world.event(Side::Caller);
    // Theirs is unanswered.
    for draft in [
        call.caller.request("UPDATE").sdp(CALLER_SDP),
        call.caller.request("UPDATE"),
    ] {
        world.receive(CALLER, draft);
        let refused = world.response(CALLER, 500);
        let seconds: u32 = refused.get(Header::RetryAfter).unwrap().parse().unwrap();
        assert!(seconds <= 10);
    }
    // Ours is.
    world.command(call.key, reoffer(Side::Callee));
    let update = world.request(CALLEE, Method::Update);
    for method in ["UPDATE", "INVITE"] {
        let draft = call.callee.request(method).sdp(CALLEE_SDP);
        let ack = call.callee.ack_failure(&update);
        world.receive(CALLEE, draft);
        world.response(CALLEE, 491);
        drop(ack);
    }
    // One without an offer crosses nothing.
    world.receive(CALLEE, call.callee.request("UPDATE"));
    world.response(CALLEE, 200);
    world.quiet();
}

/// Bug class: false 491 for ever. Whatever became of an offer, the next one is taken.
#[test]
fn no_491_outlives_what_it_was_for() {
    let mut world = World::new();
    let mut call = up_with(&mut world, true);
    for end in [200, 488, 500] {
        world.receive(CALLER, call.caller.request("UPDATE").sdp(CALLER_SDP));
        assert!(
            matches!(world.event(Side::Caller), LegEvent::Offered(_)),
            "{end}"
        );
        world.command(call.key, reoffer(Side::Callee));
        let update = world.request(CALLEE, Method::Update);
        world.receive(CALLEE, call.callee.request("UPDATE").sdp(CALLEE_SDP));
        world.response(CALLEE, 491);
        let mut response = respond(&update, end, "");
        if end == 200 {
            response = response.sdp(CALLEE_SDP);
        }
        world.receive(CALLEE, response);
        let event = world.event(Side::Callee);
        if end == 200 {
            assert!(matches!(event, LegEvent::Reanswered(Some(_))));
            world.command(call.key, answer(Side::Caller));
            world.response(CALLER, 200);
        } else {
            assert!(matches!(event, LegEvent::Unanswered(_)));
            world.command(
                call.key,
                SipCommand::RefuseOffer(Side::Caller, cause(488, 0)),
            );
            world.response(CALLER, 488);
        }
        // The callee tries again: now there is nothing in its way, by either method.
        world.receive(CALLEE, call.callee.request("UPDATE").sdp(CALLEE_SDP));
        assert!(
            matches!(world.event(Side::Callee), LegEvent::Offered(_)),
            "{end}"
        );
        world.command(
            call.key,
            SipCommand::RefuseOffer(Side::Callee, cause(488, 0)),
        );
        world.response(CALLEE, 488);
    }
    hang_up(&mut world, call);
}

#[test]
fn an_update_of_ours_is_tried_again_after_491_and_500() {
    let mut world = World::new();
    let call = up_with(&mut world, true);
    for (side, at, low, high) in [
        (Side::Callee, CALLEE, 2_100, 4_000),
        (Side::Caller, CALLER, 0, 2_000),
    ] {
        // As the other side asked: by UPDATE.
        let mut other = call.caller.clone();
        let mut callee = call.callee.clone();
        match side {
            Side::Callee => world.receive(CALLER, other.request("UPDATE").sdp(CALLER_SDP)),
            Side::Caller => world.receive(CALLEE, callee.request("UPDATE").sdp(CALLEE_SDP)),
        }
        world.event(side.other());
        world.command(call.key, reoffer(side));
        let first = world.request(at, Method::Update);
        world.receive(at, respond(&first, 491, ""));
        let start = world.now;
        let second = loop {
            world.pass_millis(10);
            if let Some(again) = world.next(at) {
                break again;
            }
            assert!(world.now - start < Duration::from_secs(5));
        };
        let waited = u64::try_from((world.now - start).as_millis()).unwrap();
        assert!((low..=high + 10).contains(&waited), "{waited}");
        assert!(second.cseq() > first.cseq());
        world.receive(at, respond(&second, 500, "").set("Retry-After", "3"));
        world.pass_millis(2_999);
        world.quiet();
        world.pass_millis(1);
        let third = world.request(at, Method::Update);
        world.receive(at, respond(&third, 491, ""));
        assert!(
            matches!(world.event(side), LegEvent::Unanswered(_)),
            "thrice is enough"
        );
        world.command(
            call.key,
            SipCommand::RefuseOffer(side.other(), cause(488, 0)),
        );
        world.sent.clear();
    }
}

#[test]
fn a_peer_that_takes_no_update_after_all_gets_a_reinvite() {
    for status in [405, 501, 504] {
        let mut world = World::new();
        let mut call = up_with(&mut world, true);
        world.receive(CALLER, call.caller.request("UPDATE").sdp(CALLER_SDP));
        world.event(Side::Caller);
        world.command(call.key, reoffer(Side::Callee));
        let update = world.request(CALLEE, Method::Update);
        world.receive(CALLEE, respond(&update, status, ""));
        let invite = world.request(CALLEE, Method::Invite);
        assert_eq!(invite.body(), OFFER);
    }
}

#[test]
fn an_update_in_a_dialog_that_is_gone_ends_the_leg() {
    let mut world = World::new();
    let mut call = up_with(&mut world, true);
    world.receive(CALLER, call.caller.request("UPDATE").sdp(CALLER_SDP));
    world.event(Side::Caller);
    world.command(call.key, reoffer(Side::Callee));
    let update = world.request(CALLEE, Method::Update);
    world.receive(CALLEE, respond(&update, 481, ""));
    assert!(matches!(
        world.event(Side::Callee),
        LegEvent::Lost(Cause { sip: 481, .. })
    ));
}

/// A call with an early dialog that is settled on both sides: the callee's 183 and ours went
/// reliably and have their PRACKs.
struct Early {
    key: CallKey,
    caller: End,
    callee: End,
    invite: Message,
}

fn early(world: &mut World) -> Early {
    let mut caller = End::caller();
    world.receive(
        CALLER,
        caller
            .invite()
            .set("Supported", "100rel")
            .set("Allow", ALLOW),
    );
    world.response(CALLER, 100);
    let (key, _) = world.invited();
    world.command(key, SipCommand::Dial(Box::new(dial())));
    assert!(matches!(world.said(), Output::CalleeLeg(..)));
    let invite = world.request(CALLEE, Method::Invite);
    let progress = respond(&invite, 183, "bob")
        .set("Require", "100rel")
        .set("RSeq", "4");
    world.receive(CALLEE, progress.set("Allow", ALLOW).sdp(CALLEE_SDP));
    let prack = world.request(CALLEE, Method::Prack);
    world.receive(CALLEE, respond(&prack, 200, ""));
    world.event(Side::Callee);
    let (fork, status, body) = (Fork(0), 183, Some(OFFER.into()));
    world.command(key, SipCommand::Progress { fork, status, body });
    let progress = world.response(CALLER, 183);
    world.event(Side::Caller);
    caller.learn(&progress);
    let rack = format!("{} 1 INVITE", progress.get(Header::RSeq).unwrap());
    world.receive(CALLER, caller.request("PRACK").set("RAck", &rack));
    world.response(CALLER, 200);
    world.event(Side::Caller);
    world.quiet();
    let callee = End::callee(&invite, "bob");
    Early {
        key,
        caller,
        callee,
        invite,
    }
}

#[test]
fn an_update_passes_between_early_dialogs_both_ways() {
    for (at, side, other) in [
        (CALLER, Side::Caller, CALLEE),
        (CALLEE, Side::Callee, CALLER),
    ] {
        let mut world = World::new();
        let mut call = early(&mut world);
        let end = match side {
            Side::Caller => &mut call.caller,
            Side::Callee => &mut call.callee,
        };
        world.receive(at, end.request("UPDATE").sdp(CALLER_SDP));
        assert!(matches!(
            world.event(side),
            LegEvent::EarlyOffered(Fork(0), _)
        ));
        let offer = SipCommand::EarlyReoffer(side.other(), Fork(0), OFFER.into());
        world.command(call.key, offer);
        let update = world.request(other, Method::Update);
        assert_eq!(update.body(), OFFER);
        world.receive(other, respond(&update, 200, "").sdp(CALLEE_SDP));
        let LegEvent::EarlyReanswered(Fork(0), Some(_)) = world.event(side.other()) else {
            panic!();
        };
        world.command(
            call.key,
            SipCommand::EarlyAnswer(side, Fork(0), OFFER.into()),
        );
        let response = world.response(at, 200);
        assert_eq!(
            (response.method(), response.body().as_ref()),
            (Method::Update, OFFER.as_bytes())
        );
        // The answer of the call needs no description any more, and numbers go on.
        world.receive(CALLEE, respond(&call.invite, 200, "bob"));
        assert!(matches!(
            world.event(Side::Callee),
            LegEvent::Answered { body: None, .. }
        ));
        world.command(call.key, SipCommand::Confirm(Side::Callee, None));
        assert_eq!(world.request(CALLEE, Method::Ack).cseq(), 1);
        world.command(
            call.key,
            SipCommand::Accept {
                fork: Fork(0),
                body: None,
            },
        );
        world.response(CALLER, 200);
        world.receive(CALLER, call.caller.ack().set("CSeq", "1 ACK"));
        assert!(matches!(
            world.event(Side::Caller),
            LegEvent::Confirmed(None)
        ));
        let up = Up {
            key: call.key,
            caller: call.caller,
            callee: call.callee,
        };
        hang_up(&mut world, up);
    }
}

/// The callee answers the call before it answers our UPDATE: its answer counts in the confirmed
/// dialog, which the early one has become.
#[test]
fn an_exchange_goes_on_over_the_answer() {
    let mut world = World::new();
    let mut call = early(&mut world);
    world.receive(CALLER, call.caller.request("UPDATE").sdp(CALLER_SDP));
    world.event(Side::Caller);
    let offer = SipCommand::EarlyReoffer(Side::Callee, Fork(0), OFFER.into());
    world.command(call.key, offer);
    let update = world.request(CALLEE, Method::Update);
    world.receive(CALLEE, respond(&call.invite, 200, "bob"));
    assert!(matches!(
        world.event(Side::Callee),
        LegEvent::Answered { .. }
    ));
    world.command(call.key, SipCommand::Confirm(Side::Callee, None));
    world.request(CALLEE, Method::Ack);
    world.command(
        call.key,
        SipCommand::Accept {
            fork: Fork(0),
            body: None,
        },
    );
    world.response(CALLER, 200);
    world.receive(CALLEE, respond(&update, 200, "").sdp(CALLEE_SDP));
    assert!(matches!(
        world.event(Side::Callee),
        LegEvent::Reanswered(Some(_))
    ));
    world.command(
        call.key,
        SipCommand::EarlyAnswer(Side::Caller, Fork(0), OFFER.into()),
    );
    assert_eq!(world.response(CALLER, 200).method(), Method::Update);
}

#[test]
fn an_early_update_that_cannot_pass_is_told_at_once() {
    // The caller's early dialog has no PRACK: its own first offer is unanswered for good.
    let mut world = World::new();
    let call = ringing(&mut world);
    world.command(
        call.key,
        SipCommand::EarlyReoffer(Side::Caller, Fork(0), OFFER.into()),
    );
    assert!(matches!(
        world.event(Side::Caller),
        LegEvent::EarlyUnanswered(Fork(0), Cause { sip: 504, .. })
    ));
    // An offer in such a dialog crosses the INVITE's own (RFC 3311 §5.2).
    let mut callee = call.callee.clone();
    world.receive(CALLEE, callee.request("UPDATE").sdp(CALLEE_SDP));
    world.response(CALLEE, 491);
    world.receive(CALLEE, callee.request("UPDATE"));
    world.response(CALLEE, 200);
    let mut caller = call.caller.clone();
    world.receive(CALLER, caller.request("UPDATE").sdp(CALLER_SDP));
    assert!(
        world
            .response(CALLER, 500)
            .get(Header::RetryAfter)
            .is_some()
    );
    world.receive(CALLER, caller.request("UPDATE"));
    world.response(CALLER, 200);
    world.quiet();
}

#[test]
fn an_unanswered_update_of_an_early_dialog_gets_its_487_when_the_call_is_cancelled() {
    let mut world = World::new();
    let mut call = early(&mut world);
    world.receive(CALLEE, call.callee.request("UPDATE").sdp(CALLEE_SDP));
    world.event(Side::Callee);
    world.command(call.key, SipCommand::Cancel(cause(0, 16)));
    world.response(CALLEE, 487);
    world.request(CALLEE, Method::Cancel);
    world.receive(CALLEE, call.callee.request("UPDATE").sdp(CALLEE_SDP));
    world.response(CALLEE, 491);
}
