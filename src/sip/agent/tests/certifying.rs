//! Trunks that must show a certificate: what does not come by TLS is not theirs.

use super::*;

/// Another address of the caller's network, which a narrower trunk lists.
const NARROW: &str = "192.0.2.11:5060";
const TLS_US: &str = "203.0.113.1:5061";

/// The caller's trunk must show a certificate; one address of its network is another trunk's.
fn certified() -> Settings {
    let mut settings = settings();
    let within = settings.trunks[usize::from(IN.0)].clone().unwrap();
    settings.trunks.push(Some(Trunk {
        id: TrunkId(2),
        sources: vec![("192.0.2.11".parse().unwrap(), 32)],
        ..within
    }));
    settings.trunks[usize::from(IN.0)]
        .as_mut()
        .unwrap()
        .certified = true;
    settings.streams = vec![Listening {
        transport: Transport::Tls,
        local: address(TLS_US),
        advertised: "gw.example:5061".into(),
    }];
    settings
}

fn receive(world: &mut World, transport: Transport, from: &str, draft: Draft) {
    let local = match transport {
        Transport::Udp => US,
        _ => TLS_US,
    };
    let path = Path {
        transport,
        local: address(local),
        remote: address(from),
    };
    world.input(Input::Datagram(draft.into(), path));
}

/// The status of the only response, and to whom it went.
fn status(world: &mut World) -> Option<u16> {
    let (bytes, _) = world.sent.pop_front()?;
    codec::parse(bytes).unwrap().status()
}

#[test]
fn without_tls_nothing_of_a_certified_trunk_is_taken() {
    let mut world = World::with(certified());
    let mut end = End::caller();
    for transport in [Transport::Udp, Transport::Tcp] {
        for method in ["INVITE", "OPTIONS", "BYE", "CANCEL", "MESSAGE"] {
            end.branches += 1;
            receive(&mut world, transport, CALLER, end.draft(method));
            assert_eq!(status(&mut world), Some(403), "{method}");
            let refused = world.counted.pop();
            assert_eq!(refused, Some(("sip_refused", "no-certificate")));
        }
        receive(&mut world, transport, CALLER, end.draft("ACK"));
        let dropped = world.counted.pop();
        assert_eq!(dropped, Some(("sip_dropped", "refused-ack")));
    }
    world.quiet();
    assert_eq!(world.agent.alive(), Alive::default());
    // Over TLS it is; the transport has asked for the certificate.
    receive(&mut world, Transport::Tls, CALLER, End::caller().invite());
    assert_eq!(status(&mut world), Some(100));
    world.invited();
    // The narrower trunk has nothing to show.
    let mut other = End::caller();
    (other.at, other.call_id) = (NARROW, "narrow".into());
    world.receive(NARROW, other.invite());
    world.response(NARROW, 100);
    world.invited();
}

#[test]
fn a_dialog_of_a_certified_trunk_is_its_own_alone() {
    let mut settings = certified();
    settings.trunks[usize::from(IN.0)]
        .as_mut()
        .unwrap()
        .certified = false;
    let mut world = World::with(settings);
    let mut call = up(&mut world);
    world.input(Input::Settings(Box::new(certified())));
    receive(
        &mut world,
        Transport::Udp,
        CALLER,
        call.caller.request("BYE"),
    );
    assert_eq!(status(&mut world), Some(403));
    // Who is of the network, but need not show a certificate, has no part in its dialogs.
    for transport in [Transport::Udp, Transport::Tls] {
        call.caller.at = NARROW;
        let request = call.caller.request("BYE");
        receive(&mut world, transport, NARROW, request);
        assert_eq!(status(&mut world), Some(481));
        let refused = world.counted.pop();
        assert_eq!(refused, Some(("sip_refused", "foreign-dialog")));
    }
    call.caller.at = CALLER;
    let request = call.caller.request("BYE");
    receive(&mut world, Transport::Tls, CALLER, request);
    assert_eq!(status(&mut world), Some(200));
    assert!(matches!(world.event(Side::Caller), LegEvent::Ended(_)));
}

#[test]
fn where_a_certified_trunk_is_called_counts_as_its_own() {
    let called = |certified| {
        let mut settings = settings();
        let out = settings.trunks[usize::from(OUT.0)].as_mut().unwrap();
        out.certified = certified;
        settings
    };
    let mut world = World::with(called(true));
    let mut end = End::caller();
    end.at = CALLEE;
    world.receive(CALLEE, end.draft("OPTIONS"));
    world.response(CALLEE, 403);
    // A trunk beside it that is called there as well may come as it likes.
    let mut both = called(true);
    both.trunks.push(Some(Trunk {
        id: TrunkId(2),
        ..called(false).trunks[usize::from(OUT.0)].clone().unwrap()
    }));
    let mut world = World::with(both);
    world.receive(CALLEE, end.draft("OPTIONS"));
    world.response(CALLEE, 200);
}
