//! Floods and requests that nobody asked for.

use super::*;

const STRANGER: &str = "198.51.100.67:5060";

/// A request of a flood: its ids are its own.
fn fresh(method: &str, number: usize) -> Draft {
    let via = format!("SIP/2.0/UDP {CALLER};branch=z9hG4bKflood{number}");
    let mut end = End::caller();
    end.call_id = format!("flood{number}@192.0.2.10");
    let draft = if method == "INVITE" {
        end.invite()
    } else {
        end.draft(method)
    };
    draft.set("Via", &via)
}

#[test]
fn a_flood_of_invites_gets_503_when_the_table_is_full() {
    const MOST: usize = 64;
    let mut world = World::new();
    world.agent.core.transactions.set_bound(MOST);
    let mut calls = Vec::new();
    for number in 0..1_000 {
        world.receive(CALLER, fresh("INVITE", number));
        let (bytes, _) = world.sent.pop_front().expect("each is answered");
        let alive = world.agent.alive();
        assert!(alive.server_transactions <= MOST && alive.calls <= MOST);
        if number < MOST {
            assert!(bytes.starts_with(b"SIP/2.0 100 "));
            calls.push(world.invited().0);
            continue;
        }
        let answer = codec::parse(bytes).unwrap();
        assert_eq!(answer.status(), Some(503));
        assert!(answer.get(Header::RetryAfter).is_some());
        assert_eq!(world.counted.pop(), Some(("sip_refused", "table-full")));
        world.quiet();
    }
    // Of a call that is there, a repeat is no new one.
    world.receive(CALLER, fresh("INVITE", 0));
    let (bytes, _) = world.sent.pop_front().unwrap();
    assert!(bytes.starts_with(b"SIP/2.0 100 "));
    for key in calls {
        world.command(
            key,
            SipCommand::Reject {
                cause: cause(404, 1),
                retry_after: 0,
            },
        );
    }
    world.pass(Duration::from_secs(33));
    world.sent.clear();
    assert_eq!(world.agent.alive(), Alive::default());
    world.receive(CALLER, fresh("INVITE", 2_000));
    let (bytes, _) = world.sent.pop_front().unwrap();
    assert!(bytes.starts_with(b"SIP/2.0 100 "), "there is room again");
}

#[test]
fn a_flood_of_strangers_leaves_nothing_behind() {
    let mut world = World::new();
    for number in 0..1_000 {
        for method in ["INVITE", "OPTIONS", "REGISTER", "ACK"] {
            world.receive(STRANGER, fresh(method, number));
            assert_eq!(world.counted.pop(), Some(("sip_dropped", "unknown-source")));
        }
    }
    world.quiet();
    assert_eq!(world.agent.alive(), Alive::default());
    assert_eq!(world.agent.core.timers(), 0);
}

#[test]
fn other_methods_get_in_from_nobody() {
    for method in [
        "MESSAGE",
        "SUBSCRIBE",
        "REGISTER",
        "NOTIFY",
        "PUBLISH",
        "XYZZY",
    ] {
        let mut world = World::new();
        world.receive(CALLER, fresh(method, 1));
        let response = world.response(CALLER, 405);
        assert!(response.get(Header::Allow).unwrap().contains("INVITE"));
        world.receive(CALLEE, fresh(method, 2));
        world.receive(STRANGER, fresh(method, 3));
        world.quiet();
        assert_eq!(
            world.counted[world.counted.len() - 2..],
            [("sip_dropped", "unknown-source"); 2],
            "{method}"
        );
        world.pass(Duration::from_secs(33));
        world.assert_empty();
    }
}

#[test]
fn whatever_a_peer_sends_its_transactions_run_out() {
    let mut world = World::new();
    for (number, method) in [
        "OPTIONS",
        "BYE",
        "CANCEL",
        "INFO",
        "PRACK",
        "UPDATE",
        "REFER",
        "MESSAGE",
        "REGISTER",
        "SUBSCRIBE",
        "NOTIFY",
        "PUBLISH",
        "XYZZY",
        "ACK",
    ]
    .into_iter()
    .enumerate()
    {
        world.receive(CALLER, fresh(method, number));
        let inside = fresh(method, 100 + number).set("To", "<sip:a@b>;tag=bcdfghjklmnpqrst");
        world.receive(CALLER, inside);
        world.receive(CALLER, fresh(method, 200 + number).add("Require", "x"));
        world.receive(CALLER, fresh(method, 300 + number).without("Call-ID"));
    }
    world.receive(CALLER, fresh("INVITE", 400).set("Max-Forwards", "0"));
    world.receive(CALLER, fresh("INVITE", 401).without("Contact"));
    assert!(world.agent.alive().server_transactions > 20);
    world.pass(Duration::from_secs(33));
    world.sent.clear();
    world.said.clear();
    world.assert_empty();
}

#[test]
fn a_caller_that_takes_no_sdp_is_406() {
    for (accept, status) in [
        ("text/nobodyKnowsThis", 406),
        ("multipart/mixed, text/*;q=1", 406),
        ("text/plain, APPLICATION/SDP;level=1", 100),
        ("application/*", 100),
        ("*/*", 100),
        ("", 100),
    ] {
        let mut world = World::new();
        world.receive(CALLER, fresh("INVITE", 1).set("Accept", accept));
        let (_, invite) = world.invited();
        let refused = (status != 100).then(|| cause(status, 0));
        assert_eq!(invite.refused, refused, "{accept}");
    }
}

/// Found by the fuzz target `gateway`: its ACK had no Request-URI.
#[test]
fn a_further_answer_without_contact_is_released_at_what_was_dialled() {
    let mut world = World::new();
    let Ringing { key, invite, .. } = ringing(&mut world);
    world.receive(CALLEE, respond(&invite, 200, "bob").sdp(CALLEE_SDP));
    world.command(key, SipCommand::Confirm(Side::Callee, None));
    world.request(CALLEE, Method::Ack);
    // Its transaction is over, the call is not.
    world.pass(Duration::from_secs(33));
    world.sent.clear();
    world.receive(CALLEE, respond(&invite, 200, "other").without("Contact"));
    let ack = world.request(CALLEE, Method::Ack);
    assert_eq!(ack.uri(), invite.uri());
    let bye = world.request(CALLEE, Method::Bye);
    assert_eq!(bye.uri(), invite.uri());
    world.receive(CALLEE, respond(&bye, 200, ""));
    assert!(world.sent.is_empty());
}
