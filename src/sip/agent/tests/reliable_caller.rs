//! Reliable provisional responses to the caller (RFC 3262 §3).

use super::*;

/// A call whose caller says this of reliable provisional responses, dialled with an offer or none.
fn calling(world: &mut World, header: Option<&str>, offer: bool) -> (CallKey, End) {
    let caller = End::caller();
    let mut invite = caller
        .invite()
        .set("Allow", "INVITE, ACK, BYE, CANCEL, PRACK, UPDATE");
    if let Some(header) = header {
        invite = invite.set(header, "100rel");
    }
    if !offer {
        invite = invite.body("application/sdp", "").without("Content-Type");
    }
    world.receive(CALLER, invite);
    world.response(CALLER, 100);
    let (key, invite) = world.invited();
    assert_eq!(invite.refused, None);
    (key, caller)
}

fn provide(
    world: &mut World,
    key: CallKey,
    (fork, status): (u16, u16),
    body: Option<&'static str>,
) {
    let fork = Fork(fork);
    let body = body.map(Bytes::from);
    world.command(key, SipCommand::Progress { fork, status, body });
}

fn rack(response: &Message) -> String {
    let rseq = response.get(Header::RSeq).expect("an RSeq");
    assert_eq!(response.get(Header::Require), Some("100rel"));
    assert!(rseq.len() < 6, "few digits: {rseq}");
    format!("{rseq} {} INVITE", response.cseq())
}

fn prack(caller: &mut End, response: &Message) -> Draft {
    caller.learn(response);
    caller.request("PRACK").set("RAck", &rack(response))
}

#[test]
fn what_a_caller_says_decides_what_goes_reliably() {
    for (header, policy, bare, described) in [
        (None, Reliability::Supported, false, false),
        (Some("Supported"), Reliability::Supported, false, true),
        (Some("Supported"), Reliability::Required, true, true),
        (Some("Supported"), Reliability::Off, false, false),
        (Some("Require"), Reliability::Supported, true, true),
    ] {
        for (body, expected) in [(None, bare), (Some(OFFER), described)] {
            let mut settings = settings();
            settings.trunks[0].as_mut().unwrap().reliable = policy;
            let mut world = World::with(settings);
            let (key, _) = calling(&mut world, header, true);
            provide(&mut world, key, (0, 183), body);
            let response = world.response(CALLER, 183);
            let told = (header, policy, body.is_some());
            assert_eq!(response.get(Header::RSeq).is_some(), expected, "{told:?}");
            assert_eq!(
                response.get(Header::Require).is_some(),
                expected,
                "{told:?}"
            );
        }
    }
}

#[test]
fn a_caller_that_requires_what_its_trunk_has_not_gets_420() {
    let mut settings = settings();
    settings.trunks[0].as_mut().unwrap().reliable = Reliability::Off;
    let mut world = World::with(settings);
    world.receive(CALLER, End::caller().invite().set("Require", "100rel"));
    world.response(CALLER, 100);
    let refused = world.response(CALLER, 420);
    assert_eq!(refused.get(Header::Unsupported), Some("100rel"));
    assert_eq!(world.invited().1.refused.map(|cause| cause.sip), Some(420));
}

#[test]
fn it_is_repeated_until_its_prack() {
    let mut world = World::new();
    let (key, mut caller) = calling(&mut world, Some("Require"), true);
    provide(&mut world, key, (0, 180), None);
    let ringing = world.response(CALLER, 180);
    for wait in [500, 1_000, 2_000] {
        world.pass_millis(wait - 1);
        world.quiet();
        world.pass_millis(1);
        let again = world.response(CALLER, 180);
        assert_eq!(again.get(Header::RSeq), ringing.get(Header::RSeq));
    }
    assert!(world.counted.contains(&("sip_repeats", "provisional")));
    world.receive(CALLER, prack(&mut caller, &ringing));
    world.response(CALLER, 200);
    world.pass_millis(30_000);
    world.quiet();
}

/// Bug class: a retransmission timer armed after the message is sent, so that a quick PRACK finds
/// nothing to stop.
#[test]
fn a_prack_at_the_same_instant_stops_the_repeats() {
    let mut world = World::new();
    let (key, mut caller) = calling(&mut world, Some("Require"), true);
    for status in [180, 183] {
        let body = (status == 183).then_some(OFFER);
        provide(&mut world, key, (0, status), body);
        let response = world.response(CALLER, status);
        world.receive(CALLER, prack(&mut caller, &response));
        world.response(CALLER, 200);
    }
    assert!(matches!(
        world.event(Side::Caller),
        LegEvent::Pending(Fork(0))
    ));
    assert!(matches!(
        world.event(Side::Caller),
        LegEvent::Settled(Fork(0))
    ));
    world.pass_millis(32_000);
    world.quiet();
}

#[test]
fn only_one_is_outstanding_and_the_numbers_rise_by_one() {
    let mut world = World::new();
    let (key, mut caller) = calling(&mut world, Some("Require"), true);
    provide(&mut world, key, (0, 180), None);
    let first = world.response(CALLER, 180);
    provide(&mut world, key, (0, 183), Some(OFFER));
    assert!(matches!(
        world.event(Side::Caller),
        LegEvent::Pending(Fork(0))
    ));
    world.quiet();
    world.receive(CALLER, prack(&mut caller, &first));
    world.response(CALLER, 200);
    let second = world.response(CALLER, 183);
    assert_eq!(second.body(), OFFER);
    let number = |message: &Message| message.get(Header::RSeq).unwrap().parse::<u32>().unwrap();
    assert_eq!(number(&second), number(&first) + 1);
    // Another early dialog has numbers of its own.
    provide(&mut world, key, (1, 180), None);
    let other = world.response(CALLER, 180);
    assert_ne!(other.to_tag(), first.to_tag());
    world.receive(CALLER, prack(&mut caller, &second));
    world.response(CALLER, 200);
    assert!(matches!(
        world.event(Side::Caller),
        LegEvent::Settled(Fork(0))
    ));
    world.receive(CALLER, prack(&mut caller, &other));
    world.response(CALLER, 200);
    world.quiet();
}

#[test]
fn a_prack_that_acknowledges_nothing_is_481() {
    let mut world = World::new();
    let (key, mut caller) = calling(&mut world, Some("Require"), true);
    provide(&mut world, key, (0, 180), None);
    let ringing = world.response(CALLER, 180);
    caller.learn(&ringing);
    let good = rack(&ringing);
    for bad in [
        "99999 1 INVITE",
        &good.replace(" 1 ", " 2 "),
        "x",
        &good.replace("INVITE", "BYE"),
    ] {
        world.receive(CALLER, caller.request("PRACK").set("RAck", bad));
        world.response(CALLER, 481);
    }
    world.receive(CALLER, caller.request("PRACK"));
    let (bytes, _) = world.sent.pop_front().unwrap();
    assert!(bytes.starts_with(b"SIP/2.0 400 Missing RAck Header\r\n"));
    world.receive(CALLER, caller.request("PRACK").set("RAck", &good));
    world.response(CALLER, 200);
    world.receive(CALLER, caller.request("PRACK").set("RAck", &good));
    world.response(CALLER, 481);
}

#[test]
fn without_any_prack_the_invite_fails_after_64_t1() {
    let mut world = World::new();
    let (key, _) = calling(&mut world, Some("Supported"), true);
    provide(&mut world, key, (0, 183), Some(OFFER));
    world.pass_millis(31_999);
    world.sent.clear();
    assert!(matches!(world.event(Side::Caller), LegEvent::Pending(_)));
    world.pass_millis(1);
    world.response(CALLER, 504);
    assert!(matches!(world.event(Side::Caller), LegEvent::Lost(_)));
    world.gone();
    world.assert_empty();
}

/// Bug class: answered/ringing race. The 200 goes while a reliable 180 has no PRACK yet: the repeats
/// cease, the PRACK that was on its way is answered, and nothing rings after the answer.
#[test]
fn a_200_that_crosses_the_prack_of_a_180_stops_the_ringing() {
    let mut world = World::new();
    let (key, mut caller) = calling(&mut world, Some("Require"), true);
    provide(&mut world, key, (0, 180), None);
    let ringing = world.response(CALLER, 180);
    provide(&mut world, key, (0, 180), None);
    provide(&mut world, key, (0, 182), None); // waits, and never goes
    let (fork, body) = (Fork(0), Some(OFFER.into()));
    world.command(key, SipCommand::Accept { fork, body });
    let answer = world.response(CALLER, 200);
    assert_eq!(answer.to_tag(), ringing.to_tag());
    world.receive(CALLER, prack(&mut caller, &ringing));
    world.response(CALLER, 200);
    world.receive(CALLER, caller.request("PRACK").set("RAck", &rack(&ringing)));
    world.response(CALLER, 481);
    provide(&mut world, key, (0, 180), None);
    world.receive(CALLER, caller.ack().set("CSeq", "1 ACK"));
    assert!(matches!(
        world.event(Side::Caller),
        LegEvent::Confirmed(None)
    ));
    world.pass_millis(33_000);
    world.quiet();
}

#[test]
fn a_cancelled_call_repeats_nothing() {
    let mut world = World::new();
    let (key, mut caller) = calling(&mut world, Some("Require"), true);
    provide(&mut world, key, (0, 180), None);
    let ringing = world.response(CALLER, 180);
    world.receive(CALLER, caller.cancel());
    world.response(CALLER, 200);
    world.event(Side::Caller);
    let cause = cause(487, 0);
    world.command(
        key,
        SipCommand::Reject {
            cause,
            retry_after: 0,
        },
    );
    world.response(CALLER, 487);
    world.gone();
    world.receive(CALLER, prack(&mut caller, &ringing));
    world.response(CALLER, 481);
    world.sent.clear();
    world.assert_empty();
}

#[test]
fn an_offer_goes_reliably_and_its_answer_comes_by_prack() {
    let mut world = World::new();
    let (key, mut caller) = calling(&mut world, Some("Supported"), false);
    provide(&mut world, key, (0, 183), Some(OFFER));
    let early = world.response(CALLER, 183);
    assert!(matches!(
        world.event(Side::Caller),
        LegEvent::Pending(Fork(0))
    ));
    world.receive(CALLER, prack(&mut caller, &early).sdp(CALLER_SDP));
    let response = world.response(CALLER, 200);
    assert!(response.body().is_empty());
    let LegEvent::EarlyReanswered(Fork(0), Some(answer)) = world.event(Side::Caller) else {
        panic!();
    };
    assert_eq!(answer, CALLER_SDP);
    assert!(matches!(
        world.event(Side::Caller),
        LegEvent::Settled(Fork(0))
    ));
    // The 200 has no description: its ACK has none either, and is all the same an ACK.
    world.command(
        key,
        SipCommand::Accept {
            fork: Fork(0),
            body: None,
        },
    );
    assert!(world.response(CALLER, 200).body().is_empty());
    world.receive(CALLER, caller.ack().set("CSeq", "1 ACK"));
    assert!(matches!(
        world.event(Side::Caller),
        LegEvent::Confirmed(None)
    ));
}

/// RFC 3262 §5: the first reliable response to an INVITE without an offer carries one.
#[test]
fn without_an_offer_nothing_bare_goes_reliably() {
    let mut world = World::new();
    let (key, _) = calling(&mut world, Some("Supported"), false);
    provide(&mut world, key, (0, 180), None);
    assert_eq!(world.response(CALLER, 180).get(Header::RSeq), None);
    let mut world = World::new();
    let (key, _) = calling(&mut world, Some("Require"), false);
    provide(&mut world, key, (0, 180), None);
    world.quiet(); // it would take no other
    let (key, _) = {
        world = World::new();
        calling(&mut world, None, false)
    };
    provide(&mut world, key, (0, 183), Some(OFFER));
    assert!(matches!(
        world.event(Side::Caller),
        LegEvent::EarlyUnanswered(Fork(0), Cause { sip: 488, .. })
    ));
}

#[test]
fn an_offer_in_a_prack_is_answered_in_its_200() {
    let mut world = World::new();
    let (key, mut caller) = calling(&mut world, Some("Supported"), true);
    provide(&mut world, key, (0, 183), Some(OFFER));
    let early = world.response(CALLER, 183);
    assert!(matches!(world.event(Side::Caller), LegEvent::Pending(_)));
    world.receive(CALLER, prack(&mut caller, &early).sdp(CALLER_SDP));
    assert!(matches!(
        world.event(Side::Caller),
        LegEvent::EarlyOffered(Fork(0), _)
    ));
    assert!(matches!(
        world.event(Side::Caller),
        LegEvent::Settled(Fork(0))
    ));
    world.quiet();
    world.command(
        key,
        SipCommand::EarlyAnswer(Side::Caller, Fork(0), OFFER.into()),
    );
    let response = world.response(CALLER, 200);
    assert_eq!(response.body(), OFFER);
    assert_eq!(response.method(), Method::Prack);
    // One that cannot be taken is refused; the provisional response is acknowledged all the same.
    provide(&mut world, key, (0, 183), Some(OFFER));
    let early = world.response(CALLER, 183);
    world.event(Side::Caller);
    world.receive(CALLER, prack(&mut caller, &early).sdp(CALLER_SDP));
    world.event(Side::Caller);
    world.event(Side::Caller);
    world.command(
        key,
        SipCommand::EarlyRefuse(Side::Caller, Fork(0), cause(488, 88)),
    );
    world.response(CALLER, 488);
    world.pass_millis(30_000);
    world.quiet();
}

#[test]
fn a_trunk_that_asks_is_told_of_early_media() {
    for (asked, trusted, told) in [
        (true, true, true),
        (false, true, false),
        (true, false, false),
    ] {
        let mut settings = settings();
        settings.trunks[0].as_mut().unwrap().trusted = trusted;
        let mut world = World::with(settings);
        let mut invite = End::caller().invite();
        if asked {
            invite = invite.set("P-Early-Media", "supported");
        }
        world.receive(CALLER, invite);
        world.response(CALLER, 100);
        let (key, _) = world.invited();
        provide(&mut world, key, (0, 180), None);
        assert_eq!(world.response(CALLER, 180).get(Header::PEarlyMedia), None);
        provide(&mut world, key, (0, 183), Some(OFFER));
        let early = world.response(CALLER, 183);
        let value = early.get(Header::PEarlyMedia);
        assert_eq!(value, told.then_some("sendrecv"));
    }
}
