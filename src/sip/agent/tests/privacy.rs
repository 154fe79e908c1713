use super::*;

/// What must never be in bytes to one side, however the other side writes it.
fn leaks(side: Side) -> [&'static str; 6] {
    match side {
        Side::Caller => [
            "123456789",
            "198.51.100",
            "carrier.example",
            "bob",
            "CALLEE-WORD",
            "6000",
        ],
        Side::Callee => [
            "111111111",
            "192.0.2",
            "caller-id",
            "Joe",
            "CALLER-WORD",
            "joe",
        ],
    }
}

fn assert_private(world: &mut World) {
    for (bytes, path) in std::mem::take(&mut world.sent) {
        let side = if path.remote == address(CALLER) {
            Side::Caller
        } else {
            Side::Callee
        };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        for leak in leaks(side) {
            // The side's own tags and the like come back to it.
            let echoed = side == Side::Callee && leak == "bob";
            assert!(
                echoed || !text.contains(leak),
                "{leak} to {side:?} in {text}"
            );
        }
    }
}

const HEADERS: [&str; 22] = [
    "P-Asserted-Identity",
    "Remote-Party-ID",
    "Diversion",
    "History-Info",
    "Referred-By",
    "Reply-To",
    "Call-Info",
    "Alert-Info",
    "Identity",
    "Subject",
    "User-Agent",
    "Server",
    "Organization",
    "X-Unknown",
    "P-Charging-Vector",
    "P-Preferred-Identity",
    "Geolocation",
    "Session-ID",
    "In-Reply-To",
    "Error-Info",
    "Proxy-Authenticate",
    "Authentication-Info",
];

fn planted(mut draft: Draft, value: &str) -> Draft {
    for name in HEADERS {
        draft = draft.add(name, &format!("<{value}>"));
    }
    draft
        .add("Warning", &format!("399 host \"{value}\""))
        .add("Reason", &format!("Q.850;cause=17;text=\"{value}\""))
}

#[test]
fn no_header_of_one_side_reaches_the_other() {
    let mut world = World::new();
    let mut caller = End::caller();
    let value = "sip:60111111111@192.0.2.10 CALLER-WORD";
    // An INVITE that would take a call over is refused before anything is passed.
    let invite = planted(caller.invite(), value);
    world.receive(CALLER, invite.without("Replaces").without("Join"));
    let (key, _) = world.invited();
    protect(&mut world, key);
    world.sent.clear();
    world.command(key, SipCommand::Dial(Box::new(dial())));
    world.said();
    let invite = world.next(CALLEE).unwrap();
    let value = "sip:60123456789@198.51.100.21 CALLEE-WORD";
    for status in [180, 183, 200] {
        world.receive(
            CALLEE,
            planted(respond(&invite, status, "bob").sdp(CALLEE_SDP), value),
        );
        let LegEvent::Progress { fork, .. } = world.event(Side::Callee) else {
            break;
        };
        let body = (status == 183).then(|| OFFER.into());
        world.command(key, SipCommand::Progress { fork, status, body });
        assert_private(&mut world);
    }
    world.command(key, SipCommand::Confirm(Side::Callee, None));
    world.command(
        key,
        SipCommand::Accept {
            fork: Fork(0),
            body: Some(OFFER.into()),
        },
    );
    let answer = world
        .sent
        .iter()
        .find(|(_, path)| path.remote == address(CALLER))
        .unwrap();
    caller.learn(&codec::parse(answer.0.clone()).unwrap());
    assert_private(&mut world);
    world.receive(CALLER, caller.ack());
    let mut callee = End::callee(&invite, "bob");
    world.receive(CALLEE, planted(callee.request("BYE"), value));
    world.command(key, SipCommand::Bye(Side::Caller, cause(0, 16)));
    assert!(!world.sent.is_empty());
    assert_private(&mut world);
    assert!(
        !world
            .said
            .iter()
            .any(|said| matches!(said, Output::GuardHit(..)))
    );
}

#[test]
fn a_failure_reaches_the_caller_bare() {
    let mut world = World::new();
    let (key, _, invite) = dialled(&mut world);
    let value = "sip:60123456789@198.51.100.21 CALLEE-WORD";
    world.receive(CALLEE, planted(respond(&invite, 486, "bob"), value));
    world.command(
        key,
        SipCommand::Reject {
            cause: cause(486, 17),
            retry_after: 0,
        },
    );
    let (bytes, _) = world.sent.back().unwrap().clone();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(text.starts_with("SIP/2.0 486 Busy Here\r\n"));
    assert!(!text.contains("text="));
    assert_private(&mut world);
}

/// A description that the media session should not have let pass: the message is kept and the
/// call ends.
#[test]
fn a_description_with_a_leak_is_withheld_towards_the_callee() {
    for line in [
        "c=IN IP4 192.0.2.11",
        "s=60111111111",
        "a=x:+60 11-111 1111",
    ] {
        let mut world = World::new();
        world.receive(CALLER, End::caller().invite());
        let (key, _) = world.invited();
        protect(&mut world, key);
        world.sent.clear();
        let body = Some(format!("{OFFER}{line}\r\n").into());
        world.command(key, SipCommand::Dial(Box::new(Dial { body, ..dial() })));
        assert!(matches!(world.said(), Output::GuardHit(..)));
        let LegEvent::Failed(DialFailure::Response { cause, .. }) = world.event(Side::Callee)
        else {
            panic!();
        };
        assert_eq!(cause.sip, 606);
        world.quiet();
        world.command(
            key,
            SipCommand::Reject {
                cause: self::cause(500, 0),
                retry_after: 0,
            },
        );
        world.gone();
        world.assert_empty();
    }
}

#[test]
fn a_description_with_a_leak_is_withheld_towards_the_caller() {
    let mut world = World::new();
    let Ringing { key, invite, .. } = ringing(&mut world);
    world.receive(CALLEE, respond(&invite, 200, "bob").sdp(CALLEE_SDP));
    world.event(Side::Callee);
    let body = Some(CALLEE_SDP.into());
    world.command(
        key,
        SipCommand::Accept {
            fork: Fork(0),
            body,
        },
    );
    assert!(matches!(world.said(), Output::GuardHit(..)));
    assert!(matches!(world.event(Side::Caller), LegEvent::Lost(_)));
    let failure = world.response(CALLER, 500);
    assert!(failure.body().is_empty());
    world.command(key, SipCommand::Bye(Side::Callee, cause(0, 0)));
    world.request(CALLEE, Method::Ack);
    let bye = world.request(CALLEE, Method::Bye);
    world.receive(CALLEE, respond(&bye, 200, ""));
    world.gone();
    world.assert_empty();
}

#[test]
fn a_reoffer_with_a_leak_ends_the_leg() {
    let mut world = World::new();
    let Up { key, .. } = up(&mut world);
    world.command(
        key,
        SipCommand::Reoffer(Side::Callee, Some(CALLER_SDP.into())),
    );
    assert!(matches!(world.said(), Output::GuardHit(..)));
    assert!(matches!(world.event(Side::Callee), LegEvent::Lost(_)));
    world.request(CALLEE, Method::Bye);
    world.quiet();
}

#[test]
fn a_leak_in_from_is_withheld() {
    let mut world = World::new();
    world.receive(CALLER, End::caller().invite());
    let (key, _) = world.invited();
    protect(&mut world, key);
    world.sent.clear();
    for caller_id in [
        CallerId::Number {
            number: number(CALLER_NUMBER),
            display_name: "".into(),
        },
        CallerId::Number {
            number: number(LEASED),
            display_name: "0111111111".into(),
        },
        CallerId::Verbatim {
            user: "00 60111111111".into(),
            display_name: "".into(),
        },
    ] {
        world.command(
            key,
            SipCommand::Dial(Box::new(Dial {
                caller_id,
                ..dial()
            })),
        );
        assert!(matches!(world.said(), Output::GuardHit(..)));
        assert!(matches!(world.event(Side::Callee), LegEvent::Failed(_)));
        world.quiet();
    }
}

/// The callee's word for itself comes back to it, even where it is the caller's number.
#[test]
fn what_a_side_sent_comes_back_to_it() {
    let mut world = World::new();
    let (key, _, invite) = dialled(&mut world);
    let answer = respond(&invite, 200, "60111111111").sdp(CALLEE_SDP);
    let answer = answer.set("Contact", &format!("<sip:60111111111@{CALLEE}>"));
    world.receive(CALLEE, answer);
    world.event(Side::Callee);
    world.command(key, SipCommand::Confirm(Side::Callee, None));
    let ack = world.request(CALLEE, Method::Ack);
    assert_eq!(ack.to_tag(), "60111111111");
    world.quiet();
}

#[test]
fn a_caller_may_write_the_callees_number_in_its_own_ids() {
    let mut world = World::new();
    let mut caller = End::caller();
    caller.call_id = "60123456789@198.51.100.20".into();
    caller.local = "<sip:60123456789@x>;tag=0123456789".into();
    caller.remote = "\"+60 12-345 6789\" <sip:+60388880001@203.0.113.1>".into();
    world.receive(CALLER, caller.invite());
    world.response(CALLER, 100);
    let (key, _) = world.invited();
    protect(&mut world, key);
    world.command(
        key,
        SipCommand::Progress {
            fork: Fork(0),
            status: 180,
            body: None,
        },
    );
    caller.learn(&world.response(CALLER, 180));
    world.command(
        key,
        SipCommand::Accept {
            fork: Fork(0),
            body: Some(OFFER.into()),
        },
    );
    world.response(CALLER, 200);
    world.receive(CALLER, caller.ack());
    world.event(Side::Caller);
    world.command(key, SipCommand::Bye(Side::Caller, cause(0, 16)));
    world.request(CALLER, Method::Bye);
    world.quiet();
}

#[test]
fn both_legs_may_use_one_carrier() {
    let mut settings = settings();
    let target = settings.trunks[1]
        .as_mut()
        .unwrap()
        .target
        .as_mut()
        .unwrap();
    target.hops[0].path.remote = address(CALLER);
    let mut world = World::with(settings);
    world.receive(CALLER, End::caller().invite());
    world.response(CALLER, 100);
    let (key, _) = world.invited();
    protect(&mut world, key);
    world.command(key, SipCommand::Dial(Box::new(dial())));
    world.said();
    let invite = world.request(CALLER, Method::Invite);
    world.receive(
        CALLER,
        respond(&invite, 180, "bob").set("Contact", "<sip:x@192.0.2.10>"),
    );
    let LegEvent::Progress { fork, .. } = world.event(Side::Callee) else {
        panic!();
    };
    world.command(
        key,
        SipCommand::Progress {
            fork,
            status: 180,
            body: None,
        },
    );
    world.response(CALLER, 180);
    world.quiet();
}
