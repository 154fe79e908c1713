use super::*;

/// What a caller gets for an INVITE, and what the call is told.
fn refused(draft: Draft) -> (Message, Cause) {
    let mut world = World::new();
    world.receive(CALLER, draft);
    let mut response = world.next(CALLER).expect("a response");
    if response.status() == Some(100) {
        response = world.next(CALLER).expect("a final response");
    }
    let (_, invite) = world.invited();
    let cause = invite.refused.expect("refused");
    assert_eq!(response.status(), Some(cause.sip));
    assert_eq!(world.gone(), cause);
    world.receive(CALLER, End::caller().ack_failure(&response));
    world.assert_empty();
    (response, cause)
}

#[test]
fn a_scheme_that_is_not_ours_is_416() {
    assert_eq!(
        refused(End::caller().invite().uri("http://x/")).1,
        cause(416, 0)
    );
}

#[test]
fn a_requirement_is_420() {
    let draft = End::caller()
        .invite()
        .add("Require", "100rel, foo")
        .add("Require", "bar");
    let (response, reason) = refused(draft);
    assert_eq!(reason, cause(420, 0));
    assert_eq!(
        response.all(Header::Unsupported).collect::<Vec<_>>(),
        ["foo", "bar"]
    );
}

#[test]
fn a_body_that_is_not_ours_is_415() {
    for draft in [
        End::caller().invite().body("application/isup", "x"),
        End::caller().invite().add("Content-Encoding", "gzip"),
        End::caller().invite().body("multipart/mixed", "x"),
        End::caller().invite().body(
            "multipart/mixed;boundary=b",
            "--b\r\nContent-Type: a/b\r\nContent-Disposition: x;handling=required\r\n\r\nx\r\n--b--",
        ),
        End::caller().invite().body("", "x").without("Content-Type"),
    ] {
        let (response, reason) = refused(draft);
        assert_eq!(reason, cause(415, 0));
        assert!(response.get(Header::Accept).unwrap().contains("application/sdp"));
    }
}

#[test]
fn the_last_hop_is_483() {
    let (response, reason) = refused(End::caller().invite().set("Max-Forwards", "0"));
    assert_eq!(reason, cause(483, 25));
    assert_eq!(response.get(Header::Reason), Some("Q.850;cause=25"));
}

#[test]
fn a_missing_repeated_or_malformed_contact_is_400_and_named() {
    let invite = || End::caller().invite();
    for (draft, phrase) in [
        (invite().without("Contact"), "Missing"),
        (invite().add("Contact", "<sip:b@192.0.2.10>"), "Repeated"),
        (invite().set("Contact", "<sip:a@h>, <sip:b@h>"), "Repeated"),
        (invite().set("Contact", "*"), "Malformed"),
        (invite().set("Contact", "<tel:+60123456789>"), "Malformed"),
        (invite().set("Contact", "<http://h/>"), "Malformed"),
        (invite().set("Contact", "<<<>"), "Malformed"),
    ] {
        let mut world = World::new();
        world.receive(CALLER, draft);
        world.response(CALLER, 100);
        let (bytes, _) = world.sent.pop_front().unwrap();
        let start = format!("SIP/2.0 400 {phrase} Contact\r\n");
        assert!(bytes.starts_with(start.as_bytes()), "{bytes:?}");
        let (_, invite) = world.invited();
        assert_eq!(invite.refused, Some(cause(400, 0)));
    }
    for contact in ["<sips:a@h>;expires=9", "sip:h", "\"a, b\" <sip:a@h>"] {
        let mut world = World::new();
        world.receive(CALLER, invite().set("Contact", contact));
        let (_, invite) = world.invited();
        assert_eq!(invite.refused, None, "{contact}");
    }
}

#[test]
fn a_second_contact_in_a_re_invite_is_400_and_changes_nothing() {
    let mut world = World::new();
    let mut call = up(&mut world);
    let draft = call.caller.request("INVITE").sdp(CALLER_CHANGED);
    world.receive(CALLER, draft.add("Contact", "<sip:x@192.0.2.11>"));
    let (bytes, _) = world.sent.pop_front().unwrap();
    assert!(bytes.starts_with(b"SIP/2.0 400 Repeated Contact\r\n"));
    world.quiet();
    world.pass_millis(64_000);
    world.sent.clear();
    hang_up(&mut world, call);
}

#[test]
fn a_request_without_max_forwards_is_400_and_named() {
    for method in ["INVITE", "OPTIONS", "MESSAGE", "INFO"] {
        let mut world = World::new();
        world.receive(CALLER, End::caller().draft(method).without("Max-Forwards"));
        let (bytes, _) = world.sent.pop_front().unwrap();
        let start = b"SIP/2.0 400 Missing Max-Forwards Header\r\n";
        assert!(bytes.starts_with(start), "{method} {bytes:?}");
        world.quiet();
    }
    let mut world = World::new();
    let Ringing {
        key,
        mut caller,
        fork,
        ..
    } = ringing(&mut world);
    let body = Some(OFFER.into());
    world.command(key, SipCommand::Accept { fork, body });
    caller.learn(&world.response(CALLER, 200));
    world.receive(CALLER, caller.ack().without("Max-Forwards"));
    assert!(matches!(
        world.event(Side::Caller),
        LegEvent::Confirmed(None)
    ));
    // What ends a call is not refused for the want of it.
    world.receive(CALLER, caller.request("BYE").without("Max-Forwards"));
    world.response(CALLER, 200);
    assert!(matches!(world.event(Side::Caller), LegEvent::Ended(_)));
    let mut world = World::new();
    let call = ringing(&mut world);
    world.receive(CALLER, call.caller.cancel().without("Max-Forwards"));
    world.response(CALLER, 200);
}

/// RFC 3261 §8.1.1: From has a tag (§8.1.1.3), and nothing that must be there is not.
#[test]
fn whatever_request_misses_a_mandatory_part_is_400_and_named() {
    let untagged = format!("<sip:+{CALLER_NUMBER}@192.0.2.10>");
    for method in [
        "INVITE", "OPTIONS", "REGISTER", "MESSAGE", "BYE", "CANCEL", "X-ODD",
    ] {
        let draft = || {
            End::caller()
                .draft(method)
                .set("Contact", "<sip:a@192.0.2.10>")
        };
        let cases = [
            (draft().set("From", &untagged), "Malformed From"),
            (
                draft().set("From", &format!("{untagged};tag=")),
                "Malformed From",
            ),
            (
                draft().set("From", &format!("{untagged};etag=a")),
                "Malformed From",
            ),
            (draft().without("From"), "Missing From"),
            (draft().without("To"), "Missing To"),
            (draft().without("Call-ID"), "Missing Call-ID"),
            (draft().without("CSeq"), "Missing CSeq"),
            (draft().without("Via"), "Missing Via"),
        ];
        for (case, phrase) in cases {
            let mut world = World::new();
            world.receive(CALLER, case);
            let (bytes, _) = world.sent.pop_front().unwrap();
            let start = format!("SIP/2.0 400 {phrase} Header\r\n");
            assert!(bytes.starts_with(start.as_bytes()), "{method} {bytes:?}");
            world.quiet();
        }
    }
    // Nobody is told of an ACK's.
    let mut world = World::new();
    world.receive(CALLER, End::caller().ack().set("From", &untagged));
    world.quiet();
}

/// What cannot be printed does not vanish: with it a number is none.
#[test]
fn a_control_character_makes_no_number_of_another() {
    for odd in ["%00", "%0a", "%7f", "%C2%85", "%FF"] {
        for user in [format!("+60388880000{odd}"), format!("{odd}+60388880000")] {
            let mut world = World::new();
            let from = format!("<sip:{user}@192.0.2.10>;tag=callertag");
            let invite = End::caller()
                .invite()
                .uri(&format!("sip:{user}@203.0.113.1"));
            world.receive(CALLER, invite.set("From", &from));
            let (_, invite) = world.invited();
            for text in [&invite.dialled, &invite.identity.user] {
                assert!(text.contains(char::REPLACEMENT_CHARACTER), "{text:?}");
            }
        }
    }
}

/// RFC 3966 §5.1.5.
#[test]
fn a_local_number_is_within_its_context() {
    let cases = [
        ("tel:388880000;phone-context=+60", "+60388880000"),
        ("tel:38888-0000;isub=1;Phone-Context=+6-0", "+6-038888-0000"),
        (
            "sip:388880000;phone-context=+60@203.0.113.1;user=phone",
            "+60388880000",
        ),
        (
            "sip:388880000;phone-context=%2B60@203.0.113.1",
            "+60388880000",
        ),
        ("tel:388880000;phone-context=example.com", "388880000"),
        ("tel:+60388880000;phone-context=+1", "+60388880000"),
        ("tel:388880000;phone-context=+60x", "388880000"),
        ("tel:388880000;xphone-context=+60", "388880000"),
        ("sip:joe;phone-context=+60@203.0.113.1", "joe"),
        // A parameter of the URI is none of the number's.
        ("sip:388880000@203.0.113.1;phone-context=+60", "388880000"),
    ];
    for (uri, wanted) in cases {
        let mut world = World::new();
        let from = format!("<{uri}>;tag=callertag");
        let asserted = format!("<{uri}>");
        world.receive(CALLER, End::caller().invite().uri(uri).set("From", &from));
        let (_, invite) = world.invited();
        assert_eq!(&*invite.dialled, wanted, "{uri}");
        assert_eq!(&*invite.identity.user, wanted, "{uri}");
        let mut world = World::new();
        let draft = End::caller().invite().add("P-Asserted-Identity", &asserted);
        world.receive(CALLER, draft);
        let (_, invite) = world.invited();
        assert_eq!(&*invite.identity.user, wanted, "{uri}");
    }
}

#[test]
fn a_merged_invite_is_482() {
    let mut world = World::new();
    let mut caller = End::caller();
    world.receive(CALLER, caller.invite());
    world.response(CALLER, 100);
    world.invited();
    caller.branches += 1;
    world.receive(CALLER, caller.invite());
    world.response(CALLER, 100);
    world.response(CALLER, 482);
    let (_, invite) = world.invited();
    assert_eq!(invite.refused, Some(cause(482, 25)));
    world.gone();
    world.quiet();
}

#[test]
fn what_cannot_be_read_is_400_and_named() {
    let mut world = World::new();
    world.receive(CALLER, End::caller().invite().without("CSeq"));
    let (bytes, path) = world.sent.pop_front().unwrap();
    assert!(bytes.starts_with(b"SIP/2.0 400 Missing CSeq"), "{bytes:?}");
    assert_eq!(path.remote, address(CALLER));
    let ack: Bytes = End::caller().draft("ACK").without("CSeq").into();
    world.receive(CALLER, ack);
    world.receive(CALLER, "SIP/2.0 200 OK\r\nnonsense");
    world.receive(CALLER, "\r\n\r\n");
    world.receive(CALLER, vec![0xff; 100]);
    world.quiet();
}

#[test]
fn other_methods_outside_a_dialog() {
    let mut world = World::new();
    for (method, status) in [
        ("BYE", 481),
        ("INFO", 481),
        ("REGISTER", 405),
        ("SUBSCRIBE", 405),
        ("NOTIFY", 405),
        ("MESSAGE", 405),
        ("PUBLISH", 405),
        ("PRACK", 481),
        ("UPDATE", 481),
        ("REFER", 603),
        ("FOO", 405),
    ] {
        world.receive(CALLER, End::caller().draft(method));
        let response = world.response(CALLER, status);
        assert!(!response.to_tag().is_empty());
        assert_eq!(response.get(Header::Allow).is_some(), status == 405);
    }
    let mut unknown = End::caller();
    unknown.remote += ";tag=nobody";
    world.receive(CALLER, unknown.request("INVITE").sdp(CALLER_CHANGED));
    world.response(CALLER, 481);
    world.receive(CALLER, unknown.ack());
    world.quiet();
}

#[test]
fn options_are_answered() {
    let mut world = World::new();
    for at in [CALLER, CALLEE] {
        let mut end = End::caller();
        end.at = at;
        world.receive(at, end.draft("OPTIONS"));
        let response = world.response(at, 200);
        assert_eq!(response.all(Header::Allow).next(), Some("INVITE"));
    }
    world.input(Input::Draining(true));
    let mut end = End::caller();
    end.branches = 9;
    world.receive(CALLER, end.draft("OPTIONS"));
    let response = world.response(CALLER, 503);
    assert!(response.get(Header::RetryAfter).is_some());
    world.quiet();
}

#[test]
fn an_unknown_source_gets_nothing_or_403() {
    let stranger = "192.0.2.77:5060";
    let mut world = World::new();
    world.receive(stranger, End::caller().invite());
    world.receive(stranger, End::caller().draft("OPTIONS"));
    world.quiet();
    assert_eq!(world.counted, [("sip_dropped", "unknown-source"); 2]);
    // An outbound trunk may not call.
    world.receive(CALLEE, End::caller().invite());
    world.quiet();
    let mut world = World::with(Settings {
        refuse_unknown: true,
        ..settings()
    });
    world.receive(stranger, End::caller().invite());
    let response = world.response(stranger, 403);
    assert!(!response.to_tag().is_empty());
    world.receive(stranger, End::caller().ack());
    world.quiet();
    // What its answer would have to repeat is not there: the answer would be nobody's.
    let counted = world.counted.clone();
    for name in ["Via", "CSeq", "From", "To", "Call-ID"] {
        world.receive(stranger, End::caller().invite().without(name));
        world.quiet();
        assert_eq!(
            world.counted.last(),
            Some(&("sip_dropped", "unknown-source"))
        );
    }
    world.counted = counted;
    // An outbound trunk's address is known, but no inbound trunk lists it.
    let mut callee = End {
        at: CALLEE,
        ..End::caller()
    };
    for method in ["INVITE", "MESSAGE", "REGISTER"] {
        world.receive(CALLEE, callee.draft(method));
        world.response(CALLEE, 403);
    }
    world.receive(CALLEE, callee.draft("OPTIONS"));
    world.response(CALLEE, 200);
    world.receive(CALLEE, callee.ack());
    world.quiet();
    // The ACK to a 403 is no second refusal.
    let of = |counted| world.counted.iter().filter(|one| **one == counted).count();
    assert_eq!(of(("sip_refused", "unknown-source")), 4);
    assert_eq!(of(("sip_dropped", "refused-ack")), 2);
    assert_eq!(world.counted.len(), 6);
    world.pass_millis(64_000);
    assert_eq!(world.agent.alive(), Alive::default());
}

#[test]
fn while_draining_new_calls_are_shed_and_old_ones_are_not() {
    let mut world = World::new();
    let Up { mut caller, .. } = up(&mut world);
    world.input(Input::Draining(true));
    let mut other = End::caller();
    other.call_id = "another".into();
    other.branches = 7;
    world.receive(CALLER, other.invite());
    let response = world.response(CALLER, 503);
    assert!(response.get(Header::RetryAfter).is_some());
    assert_eq!(response.get(Header::Reason), Some("Q.850;cause=42"));
    world.receive(CALLER, other.ack_failure(&response));
    world.quiet();
    world.receive(CALLER, End::caller().invite()); // a late repeat of the first
    world.quiet();
    world.receive(CALLER, caller.request("INVITE").sdp(CALLER_CHANGED));
    world.response(CALLER, 100);
    world.event(Side::Caller);
    world.input(Input::Draining(false));
    world.receive(CALLER, other.invite());
    world.response(CALLER, 100);
    world.invited();
}

/// A text in To that only looks like a tag makes no dialog.
#[test]
fn no_odd_to_gets_past_draining_or_overload() {
    let tos = [
        "<sip:+60388880001@203.0.113.1>;etag=aa",
        "<sip:+60388880001@203.0.113.1;xtag=aa>",
        "<sip:+60388880001@203.0.113.1;tag=aa>",
        "\"tag=aa\" <sip:+60388880001@203.0.113.1>",
        "\";tag=aa\" <sip:+60388880001@203.0.113.1>",
        "<sip:+60388880001@203.0.113.1>;x=\";tag=aa\"",
    ];
    for (number, to) in tos.into_iter().enumerate() {
        let mut world = World::new();
        let mut caller = End::caller();
        caller.call_id = format!("odd-{number}");
        let invite: Bytes = caller.invite().set("To", to).into();
        world.shed(CALLER, invite.clone());
        let response = world.response(CALLER, 503);
        assert_eq!(world.counted, [("sip_refused", "overloaded")], "{to}");
        world.receive(CALLER, caller.ack_failure(&response));
        world.input(Input::Draining(true));
        world.receive(CALLER, invite);
        world.response(CALLER, 503);
        assert_eq!(world.counted.last(), Some(&("sip_refused", "draining")));
        world.quiet();
    }
}

/// RFC 3261 §8.2.7: who keeps nothing answers the same request with the same tag; the ACK to it
/// costs no reading.
#[test]
fn an_invite_that_waited_too_long_is_shed_and_calls_that_are_up_are_not() {
    let mut world = World::new();
    let Up { mut caller, .. } = up(&mut world);
    let mut other = End::caller();
    other.call_id = "another".into();
    other.branches = 7;
    let invite: Bytes = other.invite().into();
    world.shed(CALLER, invite.clone());
    let response = world.response(CALLER, 503);
    assert!(response.get(Header::RetryAfter).is_some());
    world.shed(CALLER, invite);
    let again = world.response(CALLER, 503);
    assert_eq!(again.to_tag(), response.to_tag());
    world.receive(CALLER, other.ack_failure(&response));
    world.quiet();
    assert_eq!(world.counted.last(), Some(&("sip_dropped", "shed-ack")));

    world.shed(CALLER, End::caller().invite()); // a late repeat of the first
    world.quiet();
    world.shed(CALLER, caller.request("INVITE").sdp(CALLER_CHANGED));
    world.response(CALLER, 100);
    world.event(Side::Caller);
    world.shed("192.0.2.99:5060", other.invite()); // nobody's
    world.quiet();
    world.receive(CALLER, other.invite());
    world.response(CALLER, 100);
    world.invited();
}

#[test]
fn responses_go_where_the_via_says() {
    let mut world = World::new();
    let invite = End::caller().invite();
    world.receive("192.0.2.10:33000", invite);
    world.response(CALLER, 100); // no rport: the port of the Via
    let mut end = End::caller();
    end.call_id = "two".into();
    end.branches = 3;
    let via = "SIP/2.0/UDP 10.9.9.9:5060;branch=z9hG4bKq;rport";
    world.receive("192.0.2.10:33000", end.invite().set("Via", via));
    let trying = world.response("192.0.2.10:33000", 100);
    assert_eq!(trying.top_via().received, Some("192.0.2.10"));
}
