//! Session timers (RFC 4028) on both legs: who refreshes, by what, and what becomes of it.

use super::*;

const TIMERS: &str = "INVITE, ACK, BYE, CANCEL, UPDATE";

fn header(message: &Message, name: Header) -> Vec<&str> {
    message.all(name).collect()
}

/// A call that is up, with these headers in the caller's INVITE and in the callee's 2xx.
fn up_with(world: &mut World, asked: &[(&str, &str)], granted: &[(&str, &str)]) -> (Up, Message) {
    let mut caller = End::caller();
    let invite = asked.iter().fold(caller.invite(), |draft, (name, value)| {
        draft.add(name, value)
    });
    world.receive(CALLER, invite);
    world.response(CALLER, 100);
    let (key, _) = world.invited();
    protect(world, key);
    world.command(key, SipCommand::Dial(Box::new(dial())));
    assert!(matches!(world.said(), Output::CalleeLeg(..)));
    let invite = world.request(CALLEE, Method::Invite);
    let callee = End::callee(&invite, "bob");
    let answer = granted.iter().fold(
        respond(&invite, 200, "bob").sdp(CALLEE_SDP),
        |draft, (name, value)| draft.add(name, value),
    );
    world.receive(CALLEE, answer);
    let LegEvent::Answered { fork, .. } = world.event(Side::Callee) else {
        panic!("no answer");
    };
    world.command(key, SipCommand::Confirm(Side::Callee, None));
    world.request(CALLEE, Method::Ack);
    let body = Some(OFFER.into());
    world.command(key, SipCommand::Accept { fork, body });
    let answer = world.response(CALLER, 200);
    caller.learn(&answer);
    world.receive(CALLER, caller.ack());
    assert!(matches!(world.event(Side::Caller), LegEvent::Confirmed(_)));
    world.quiet();
    let up = Up {
        key,
        caller,
        callee,
    };
    (up, answer)
}

/// The caller refreshes for itself all along, and the callee's side for us: nothing of ours is due.
const THEIRS: [(&str, &str); 2] = [
    ("Supported", "timer"),
    ("Session-Expires", "1800;refresher=uac"),
];
const CALLEE_REFRESHES: [(&str, &str); 2] = [
    ("Require", "timer"),
    ("Session-Expires", "1800;refresher=uas"),
];
const WE_REFRESH: [(&str, &str); 2] = [
    ("Require", "timer"),
    ("Session-Expires", "1800;refresher=uac"),
];

fn again(world: &mut World, up: &mut Up, side: Side) {
    let (at, end, sdp) = match side {
        Side::Caller => (CALLER, &mut up.caller, CALLER_SDP),
        Side::Callee => (CALLEE, &mut up.callee, CALLEE_SDP),
    };
    let refresher = end
        .request("INVITE")
        .add("Supported", "timer")
        .add("Session-Expires", "1800;refresher=uac")
        .sdp(sdp);
    world.receive(at, refresher);
    let answer = world.response(at, 200);
    assert_eq!(answer.body(), OFFER, "the description in force");
    assert_eq!(
        header(&answer, Header::SessionExpires),
        ["1800;refresher=uac"]
    );
    world.receive(at, end.ack());
    world.quiet();
}

/// The next INVITE to the callee, within the time of RFC 3261 §14.1.
fn soon(world: &mut World) -> Message {
    for _ in 0..400 {
        world.pass_millis(10);
        if !world.sent.is_empty() {
            return world.request(CALLEE, Method::Invite);
        }
    }
    panic!("not tried again")
}

#[test]
fn timers_are_agreed_on_each_leg_on_its_own() {
    let mut world = World::new();
    let (mut up, answer) = up_with(&mut world, &THEIRS, &CALLEE_REFRESHES);
    assert_eq!(
        header(&answer, Header::SessionExpires),
        ["1800;refresher=uac"]
    );
    assert_eq!(header(&answer, Header::Require), ["timer"]);
    // Each side refreshes its own leg, for an hour: the other hears nothing, nor does the call.
    for _ in 0..4 {
        world.pass(Duration::from_secs(900));
        world.quiet();
        again(&mut world, &mut up, Side::Caller);
        again(&mut world, &mut up, Side::Callee);
    }
    hang_up(&mut world, up);
}

#[test]
fn our_invite_asks_for_a_timer() {
    let mut world = World::new();
    let (_, _, invite) = dialled(&mut world);
    assert_eq!(header(&invite, Header::Supported), ["timer", "100rel"]);
    assert_eq!(header(&invite, Header::SessionExpires), ["1800"]);
    assert_eq!(header(&invite, Header::MinSe), [""; 0]);
}

/// Bug class: session refresh lost. Each refresh is one side's affair: by re-INVITE with the last
/// description, byte for byte, its `o=` unchanged; no word to the call, nothing on the other leg.
#[test]
fn no_refresh_is_lost_and_none_changes_media_or_meter() {
    let mut world = World::new();
    let (mut up, _) = up_with(&mut world, &THEIRS, &WE_REFRESH);
    for round in 1..=4 {
        world.pass(Duration::from_secs(900));
        let refresh = world.request(CALLEE, Method::Invite);
        assert_eq!(refresh.body(), OFFER);
        assert_eq!(
            header(&refresh, Header::SessionExpires),
            ["1800;refresher=uac"]
        );
        assert_eq!(refresh.cseq(), 1 + round);
        let granted = respond(&refresh, 200, "")
            .sdp(CALLEE_SDP)
            .add("Session-Expires", "1800;refresher=uac");
        world.receive(CALLEE, granted);
        let ack = world.request(CALLEE, Method::Ack);
        assert_eq!((ack.cseq(), ack.body().len()), (refresh.cseq(), 0));
        world.quiet();
        again(&mut world, &mut up, Side::Caller);
    }
    let refreshed = ("sip_session_timers", "refreshed");
    let counted = world.counted.iter().filter(|one| **one == refreshed);
    assert_eq!(counted.count(), 8);
    hang_up(&mut world, up);
}

/// Where the peer's Allow lists UPDATE, that refreshes, without a description.
#[test]
fn who_allows_update_is_refreshed_by_it() {
    let mut world = World::new();
    let granted = [WE_REFRESH[0], WE_REFRESH[1], ("Allow", TIMERS)];
    let (mut up, _) = up_with(&mut world, &THEIRS, &granted);
    world.pass(Duration::from_secs(900));
    let update = world.request(CALLEE, Method::Update);
    assert!(update.body().is_empty());
    assert_eq!(
        header(&update, Header::SessionExpires),
        ["1800;refresher=uac"]
    );
    assert!(update.get(Header::Contact).is_some());
    // 405 against its own Allow: by re-INVITE from then on.
    world.receive(CALLEE, respond(&update, 405, ""));
    let refresh = world.request(CALLEE, Method::Invite);
    let granted = respond(&refresh, 200, "")
        .sdp(CALLEE_SDP)
        .add("Session-Expires", "1800;refresher=uac");
    world.receive(CALLEE, granted);
    world.request(CALLEE, Method::Ack);
    world.quiet();
    again(&mut world, &mut up, Side::Caller);
    world.pass(Duration::from_secs(900));
    world.request(CALLEE, Method::Invite);
}

#[test]
fn an_update_of_theirs_refreshes() {
    let mut world = World::new();
    let (mut up, _) = up_with(&mut world, &THEIRS, &CALLEE_REFRESHES);
    for _ in 0..3 {
        world.pass(Duration::from_secs(900));
        let update = up
            .caller
            .request("UPDATE")
            .add("Supported", "timer")
            .add("Session-Expires", "1800;refresher=uac");
        world.receive(CALLER, update);
        let answer = world.response(CALLER, 200);
        assert_eq!(
            header(&answer, Header::SessionExpires),
            ["1800;refresher=uac"]
        );
        assert!(answer.get(Header::Contact).is_some());
        again(&mut world, &mut up, Side::Callee);
        world.quiet();
    }
    hang_up(&mut world, up);
}

/// Bug class: wrong refresher. Who was given the part keeps it, whoever sends the re-INVITE that
/// another reason makes: the other does not begin to refresh as well.
#[test]
fn the_refresher_stays_the_refresher_through_a_reinvite_of_the_other() {
    let mut world = World::new();
    let (mut up, _) = up_with(&mut world, &THEIRS, &CALLEE_REFRESHES);
    // A hold by the caller goes over to the callee: our re-INVITE there leaves the part with it.
    let held = format!("{CALLER_SDP}a=sendonly\r\n");
    world.receive(CALLER, up.caller.request("INVITE").sdp(&held));
    world.response(CALLER, 100);
    assert!(matches!(world.event(Side::Caller), LegEvent::Offered(_)));
    let reoffer = SipCommand::Reoffer(Side::Callee, Some(format!("{OFFER}a=sendonly\r\n").into()));
    world.command(up.key, reoffer);
    let invite = world.request(CALLEE, Method::Invite);
    assert_eq!(
        header(&invite, Header::SessionExpires),
        ["1800;refresher=uas"]
    );
    let answer = respond(&invite, 200, "")
        .sdp(&format!("{CALLEE_SDP}a=recvonly\r\n"))
        .add("Session-Expires", "1800;refresher=uas");
    world.receive(CALLEE, answer);
    world.request(CALLEE, Method::Ack);
    assert!(matches!(world.event(Side::Callee), LegEvent::Reanswered(_)));
    let answer =
        SipCommand::AnswerOffer(Side::Caller, Some(format!("{OFFER}a=recvonly\r\n").into()));
    world.command(up.key, answer);
    let answer = world.response(CALLER, 200);
    assert_eq!(
        header(&answer, Header::SessionExpires),
        ["1800;refresher=uas"],
        "that one knew no timers"
    );
    world.receive(CALLER, up.caller.ack());
    world.quiet();
    world.pass(Duration::from_secs(900));
    // The caller's leg is ours to refresh now, with the hold that is in force.
    let refresh = world.request(CALLER, Method::Invite);
    assert_eq!(refresh.body(), &format!("{OFFER}a=recvonly\r\n"));
    assert!(world.next(CALLEE).is_none(), "the callee's is its own");
}

/// No clock drift, no change: a leg on hold is refreshed as it is, at its time.
#[test]
fn a_refresh_while_on_hold_keeps_the_hold() {
    let mut world = World::new();
    let (mut up, _) = up_with(&mut world, &THEIRS, &CALLEE_REFRESHES);
    let held = format!("{CALLER_SDP}a=sendonly\r\n");
    let hold = up
        .caller
        .request("INVITE")
        .add("Supported", "timer")
        .add("Session-Expires", "1800;refresher=uac")
        .sdp(&held);
    world.receive(CALLER, hold);
    world.response(CALLER, 100);
    assert!(matches!(world.event(Side::Caller), LegEvent::Offered(_)));
    let recvonly = format!("{OFFER}a=recvonly\r\n");
    let answer = SipCommand::AnswerOffer(Side::Caller, Some(recvonly.clone().into()));
    world.command(up.key, answer);
    world.response(CALLER, 200);
    world.receive(CALLER, up.caller.ack());
    world.quiet();
    for _ in 0..3 {
        world.pass(Duration::from_secs(890));
        again(&mut world, &mut up, Side::Callee);
        let refresh = up
            .caller
            .request("INVITE")
            .add("Supported", "timer")
            .add("Session-Expires", "1800;refresher=uac")
            .sdp(&held);
        world.receive(CALLER, refresh);
        let answer = world.response(CALLER, 200);
        assert_eq!(answer.body(), &recvonly);
        world.receive(CALLER, up.caller.ack());
        world.quiet();
    }
    // What differs is no refresh: the resume goes to the call.
    world.receive(CALLER, up.caller.request("INVITE").sdp(CALLER_SDP));
    world.response(CALLER, 100);
    assert!(matches!(world.event(Side::Caller), LegEvent::Offered(_)));
}

/// RFC 4028 §10: 32 s before the expiry, where they are the refresher and refresh nothing.
#[test]
fn a_side_that_does_not_refresh_is_hung_up_in_time() {
    for side in [Side::Caller, Side::Callee] {
        let mut world = World::new();
        let (mut up, _) = up_with(&mut world, &THEIRS, &CALLEE_REFRESHES);
        let (at, other) = match side {
            Side::Caller => (CALLER, Side::Callee),
            Side::Callee => (CALLEE, Side::Caller),
        };
        world.pass(Duration::from_secs(1_000));
        again(&mut world, &mut up, other);
        world.pass(Duration::from_secs(767));
        world.quiet();
        world.pass(Duration::from_secs(1));
        let bye = world.request(at, Method::Bye);
        assert_eq!(header(&bye, Header::Reason), ["Q.850;cause=102"]);
        let LegEvent::Lost(lost) = world.event(side) else {
            panic!("not lost");
        };
        assert_eq!(lost, cause(408, 102));
        let expired = ("sip_session_timers", "expired");
        assert!(world.counted.contains(&expired));
        world.command(up.key, SipCommand::Bye(other, lost));
        world.assert_empty();
    }
}

#[test]
fn a_refresh_without_answer_loses_the_dialog() {
    let mut world = World::new();
    let (up, _) = up_with(&mut world, &[], &WE_REFRESH);
    world.pass(Duration::from_secs(900));
    world.request(CALLEE, Method::Invite);
    world.request(CALLER, Method::Invite);
    world.pass(Duration::from_secs(33));
    let mut lost = Vec::new();
    while let Some(output) = world.said.pop_front() {
        if let Output::Event(_, side, LegEvent::Lost(cause)) = output {
            lost.push((side, cause.sip));
        }
    }
    lost.sort_unstable();
    assert_eq!(lost, [(Side::Caller, 408), (Side::Callee, 408)]);
    let _ = up;
    world.assert_empty();
}

#[test]
fn a_481_to_a_refresh_loses_the_dialog() {
    for allow in ["INVITE, UPDATE", "INVITE"] {
        let mut world = World::new();
        let granted = [WE_REFRESH[0], WE_REFRESH[1], ("Allow", allow)];
        let (_, _) = up_with(&mut world, &THEIRS, &granted);
        world.pass(Duration::from_secs(900));
        let refresh = world.next(CALLEE).expect("a refresh");
        world.receive(CALLEE, respond(&refresh, 481, ""));
        if refresh.method() == Method::Invite {
            world.request(CALLEE, Method::Ack);
        }
        assert!(matches!(world.event(Side::Callee), LegEvent::Lost(cause) if cause.sip == 481));
        assert!(
            world.next(CALLEE).is_none(),
            "no BYE into a dialog that is gone"
        );
    }
}

/// Who knows no timers is refreshed by us alone, and any answer of its shows that it is there.
#[test]
fn who_knows_no_timers_is_asked_all_the_same() {
    let mut world = World::new();
    let (up, answer) = up_with(&mut world, &[], &[]);
    assert_eq!(
        header(&answer, Header::SessionExpires),
        ["1800;refresher=uas"]
    );
    assert_eq!(header(&answer, Header::Require), [""; 0]);
    for _ in 0..4 {
        world.pass(Duration::from_secs(900));
        for at in [CALLER, CALLEE] {
            let refresh = world.request(at, Method::Invite);
            world.receive(at, respond(&refresh, 488, ""));
            world.request(at, Method::Ack);
        }
        world.quiet();
    }
    hang_up(&mut world, up);
}

#[test]
fn too_short_an_interval_is_422() {
    for (session, status, line) in [
        ("60", 422, "SIP/2.0 422 Session Interval Too Small"),
        ("soon", 400, "SIP/2.0 400 Malformed Session-Expires"),
    ] {
        let mut world = World::new();
        let caller = End::caller();
        let invite = caller
            .invite()
            .add("Supported", "timer")
            .add("Session-Expires", session);
        world.receive(CALLER, invite);
        world.response(CALLER, 100);
        let (bytes, _) = world.sent.front().unwrap();
        assert!(bytes.starts_with(line.as_bytes()));
        let refusal = world.response(CALLER, status);
        let least: &[&str] = if status == 422 { &["90"] } else { &[] };
        assert_eq!(header(&refusal, Header::MinSe), least);
        let (_, invite) = world.invited();
        assert_eq!(invite.refused.unwrap().sip, status);
        world.receive(CALLER, caller.ack_failure(&refusal));
        world.gone();
        world.assert_empty();
    }
}

#[test]
fn too_short_an_interval_in_the_dialog_is_422_and_changes_nothing() {
    let mut world = World::new();
    let (mut up, _) = up_with(&mut world, &THEIRS, &CALLEE_REFRESHES);
    for method in ["INVITE", "UPDATE"] {
        let request = up
            .caller
            .request(method)
            .set("Contact", "<sip:joe@192.0.2.12:5090>")
            .add("Supported", "timer")
            .add("Session-Expires", "10");
        world.receive(CALLER, request);
        let refusal = world.response(CALLER, 422);
        assert_eq!(header(&refusal, Header::MinSe), ["90"]);
        if method == "INVITE" {
            world.receive(CALLER, up.caller.ack_failure(&refusal));
        }
        world.quiet();
    }
    hang_up(&mut world, up);
}

/// RFC 4028 §7.3: the same Call-ID, From and To, the next CSeq, the interval that was asked for.
#[test]
fn a_422_of_the_callee_is_asked_again_with_its_interval() {
    let mut world = World::new();
    let (key, _, invite) = dialled(&mut world);
    let mut last = invite.clone();
    for (round, least) in [(2, "3600"), (3, "7200")] {
        world.receive(CALLEE, respond(&last, 422, "p").add("Min-SE", least));
        let ack = world.request(CALLEE, Method::Ack);
        assert_eq!(ack.top_via().branch, last.top_via().branch);
        let again = world.request(CALLEE, Method::Invite);
        assert_eq!(again.cseq(), round);
        assert_eq!(again.call_id(), invite.call_id());
        for name in [Header::From, Header::To] {
            assert_eq!(again.get(name), invite.get(name));
        }
        assert_ne!(again.top_via().branch, last.top_via().branch);
        assert_eq!(header(&again, Header::SessionExpires), [least]);
        assert_eq!(header(&again, Header::MinSe), [least]);
        assert_eq!(again.body(), invite.body());
        world.quiet();
        last = again;
    }
    // It is asked twice, and no more.
    world.receive(CALLEE, respond(&last, 422, "p").add("Min-SE", "9000"));
    world.request(CALLEE, Method::Ack);
    let LegEvent::Failed(DialFailure::Response { cause, .. }) = world.event(Side::Callee) else {
        panic!("not failed");
    };
    assert_eq!(cause.sip, 422);
    let _ = key;
}

#[test]
fn an_invite_asked_again_is_cancelled_and_acknowledged_by_its_own_number() {
    let mut world = World::new();
    let (key, _, invite) = dialled(&mut world);
    world.receive(CALLEE, respond(&invite, 180, "old"));
    assert!(matches!(
        world.event(Side::Callee),
        LegEvent::Progress { .. }
    ));
    world.receive(CALLEE, respond(&invite, 422, "p").add("Min-SE", "3600"));
    world.request(CALLEE, Method::Ack);
    let again = world.request(CALLEE, Method::Invite);
    world.command(key, SipCommand::Cancel(cause(0, 16)));
    assert!(world.next(CALLEE).is_none(), "no provisional response yet");
    world.receive(CALLEE, respond(&again, 180, "new"));
    let cancel = world.request(CALLEE, Method::Cancel);
    assert_eq!(cancel.cseq(), 2);
    assert_eq!(cancel.top_via().branch, again.top_via().branch);
    world.receive(CALLEE, respond(&cancel, 200, "new"));
    world.receive(CALLEE, respond(&again, 487, "new"));
    let ack = world.request(CALLEE, Method::Ack);
    assert_eq!(ack.cseq(), 2);
}

#[test]
fn a_422_to_a_refresh_is_asked_again() {
    let mut world = World::new();
    let (mut up, _) = up_with(&mut world, &THEIRS, &WE_REFRESH);
    world.pass(Duration::from_secs(900));
    let refresh = world.request(CALLEE, Method::Invite);
    world.receive(CALLEE, respond(&refresh, 422, "").add("Min-SE", "3600"));
    world.request(CALLEE, Method::Ack);
    let refresh = world.request(CALLEE, Method::Invite);
    assert_eq!(
        header(&refresh, Header::SessionExpires),
        ["3600;refresher=uac"]
    );
    assert_eq!(header(&refresh, Header::MinSe), ["3600"]);
    let granted = respond(&refresh, 200, "")
        .sdp(CALLEE_SDP)
        .add("Session-Expires", "3600;refresher=uac");
    world.receive(CALLEE, granted);
    world.request(CALLEE, Method::Ack);
    world.quiet();
    again(&mut world, &mut up, Side::Caller);
    world.pass(Duration::from_secs(1_700));
    world.quiet();
}

/// Glare with a refresh: tried again after §14.1's time, and the call hears nothing of it.
#[test]
fn a_refresh_that_met_a_491_is_tried_again() {
    let mut world = World::new();
    let (up, _) = up_with(&mut world, &THEIRS, &WE_REFRESH);
    world.pass(Duration::from_secs(900));
    let refresh = world.request(CALLEE, Method::Invite);
    world.receive(CALLEE, respond(&refresh, 491, ""));
    world.request(CALLEE, Method::Ack);
    world.quiet();
    let refresh = soon(&mut world);
    assert_eq!(refresh.body(), OFFER);
    world.receive(CALLEE, respond(&refresh, 200, "").sdp(CALLEE_SDP));
    world.request(CALLEE, Method::Ack);
    world.quiet();
    hang_up(&mut world, up);
}

/// A re-INVITE that the call wants while one of ours refreshes is not refused, but waits.
#[test]
fn the_calls_reinvite_waits_for_the_refresh() {
    let mut world = World::new();
    let (up, _) = up_with(&mut world, &THEIRS, &WE_REFRESH);
    world.pass(Duration::from_secs(900));
    let refresh = world.request(CALLEE, Method::Invite);
    let held: Bytes = format!("{OFFER}a=sendonly\r\n").into();
    let reoffer = SipCommand::Reoffer(Side::Callee, Some(held.clone()));
    world.command(up.key, reoffer);
    world.quiet();
    world.receive(CALLEE, respond(&refresh, 200, "").sdp(CALLEE_SDP));
    world.request(CALLEE, Method::Ack);
    let invite = world.request(CALLEE, Method::Invite);
    assert_eq!(invite.body(), &held);
    world.receive(CALLEE, respond(&invite, 200, "").sdp(CALLEE_SDP));
    world.request(CALLEE, Method::Ack);
    assert!(matches!(world.event(Side::Callee), LegEvent::Reanswered(_)));
    world.quiet();
}

/// And one that comes while our refresh waits for the end of a glare takes its place.
#[test]
fn the_calls_reinvite_takes_the_place_of_a_refresh_that_waits() {
    let mut world = World::new();
    let (up, _) = up_with(&mut world, &THEIRS, &WE_REFRESH);
    world.pass(Duration::from_secs(900));
    let refresh = world.request(CALLEE, Method::Invite);
    world.receive(CALLEE, respond(&refresh, 491, ""));
    world.request(CALLEE, Method::Ack);
    let held: Bytes = format!("{OFFER}a=sendonly\r\n").into();
    let reoffer = SipCommand::Reoffer(Side::Callee, Some(held.clone()));
    world.command(up.key, reoffer);
    let invite = soon(&mut world);
    assert_eq!(invite.body(), &held);
    world.receive(CALLEE, respond(&invite, 200, "").sdp(CALLEE_SDP));
    world.request(CALLEE, Method::Ack);
    assert!(matches!(world.event(Side::Callee), LegEvent::Reanswered(_)));
    world.quiet();
}

/// A refresh that would come in the middle of a re-INVITE of theirs is put off; its 2xx does.
#[test]
fn a_refresh_is_put_off_while_another_invite_is_under_way() {
    let mut world = World::new();
    let (mut up, _) = up_with(&mut world, &THEIRS, &WE_REFRESH);
    world.pass(Duration::from_secs(899));
    let change = format!("{CALLEE_SDP}a=sendonly\r\n");
    world.receive(CALLEE, up.callee.request("INVITE").sdp(&change));
    world.response(CALLEE, 100);
    assert!(matches!(world.event(Side::Callee), LegEvent::Offered(_)));
    world.pass(Duration::from_secs(10));
    world.quiet();
    let answer = SipCommand::AnswerOffer(Side::Callee, Some(OFFER.into()));
    world.command(up.key, answer);
    world.response(CALLEE, 200);
    world.receive(CALLEE, up.callee.ack());
    world.pass(Duration::from_secs(100));
    world.quiet();
}

/// Timers are taken back when a leg ends: they are set for longer than most calls last.
#[test]
fn no_session_timer_outlives_its_call() {
    let mut world = World::new();
    let (up, _) = up_with(&mut world, &THEIRS, &WE_REFRESH);
    assert_eq!(world.agent.core.sessions.len(), 2);
    let Up {
        key, mut caller, ..
    } = up;
    world.receive(CALLER, caller.request("BYE"));
    world.response(CALLER, 200);
    assert_eq!(world.agent.core.sessions.len(), 1);
    world.command(key, SipCommand::Bye(Side::Callee, cause(0, 16)));
    assert_eq!(world.agent.core.sessions.len(), 0);
}

/// `Require: timer` is ours; beside it what is not is named alone.
#[test]
fn timer_may_be_required() {
    let mut world = World::new();
    let mut caller = End::caller();
    world.receive(CALLER, caller.invite().add("Require", "Timer"));
    world.response(CALLER, 100);
    let (_, invite) = world.invited();
    assert_eq!(invite.refused, None);
    caller.call_id = "another@192.0.2.10".into();
    let invite = caller
        .invite()
        .set("Via", "SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bKother")
        .add("Require", "timer, glowing");
    world.receive(CALLER, invite);
    world.response(CALLER, 100);
    let refusal = world.response(CALLER, 420);
    assert_eq!(header(&refusal, Header::Unsupported), ["glowing"]);
}
