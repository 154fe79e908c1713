//! TCP and TLS: what our messages say of their transport, and which they take.

use super::*;

const TLS_US: &str = "203.0.113.1:5061";

/// As the others, with sockets for streams, and a trunk that is called by `transport`.
fn streamed(transport: Transport, secure: bool, long: bool) -> World {
    let mut settings = settings();
    let listening = |transport, at: &str| Listening {
        transport,
        local: address(at),
        advertised: format!("gw.example:{}", address(at).port()).into(),
    };
    settings.streams = vec![
        listening(Transport::Tcp, US),
        listening(Transport::Tls, TLS_US),
    ];
    let out = settings.trunks[usize::from(OUT.0)].as_mut().unwrap();
    let target = out.target.as_mut().unwrap();
    (target.secure, target.free) = (secure, long);
    let path = &mut target.hops[0].path;
    path.transport = transport;
    if transport == Transport::Tls {
        path.local = address(TLS_US);
    }
    World::with(settings)
}

fn by(transport: Transport, remote: &str) -> Path {
    let local = if transport == Transport::Tls {
        TLS_US
    } else {
        US
    };
    Path {
        transport,
        local: address(local),
        remote: address(remote),
    }
}

/// The next message, and where it goes.
fn next(world: &mut World) -> (Message, Path) {
    let (bytes, path) = world.sent.pop_front().expect("nothing was sent");
    (codec::parse(bytes).unwrap(), path)
}

/// Dials from a caller by UDP; gives back the INVITE and its path.
fn dials(world: &mut World, body: Option<Bytes>) -> (Message, Path) {
    world.receive(CALLER, End::caller().invite());
    world.response(CALLER, 100);
    let (key, _) = world.invited();
    protect(world, key);
    let dial = Dial { body, ..dial() };
    world.command(key, SipCommand::Dial(Box::new(dial)));
    next(world)
}

#[test]
fn contacts_say_the_transport() {
    for (transport, secure, uri, contact) in [
        (Transport::Udp, false, "sip:", "<sip:203.0.113.1:5060>"),
        (
            Transport::Tcp,
            false,
            ";transport=tcp",
            "<sip:gw.example:5060;transport=tcp>",
        ),
        (
            Transport::Tls,
            false,
            ";transport=tls",
            "<sip:gw.example:5061;transport=tls>",
        ),
        (Transport::Tls, true, "sips:", "<sips:gw.example:5061>"),
    ] {
        let mut world = streamed(transport, secure, false);
        let (invite, path) = dials(&mut world, Some(OFFER.into()));
        assert_eq!(path, by(transport, CALLEE));
        assert!(invite.uri().contains(uri), "{}", invite.uri());
        assert!(!invite.get(Header::To).unwrap().contains("transport"));
        assert_eq!(invite.get(Header::Contact), Some(contact));
        let token = format!("{transport:?}").to_uppercase();
        assert_eq!(invite.top_via().transport, token);
    }
}

#[test]
fn a_request_too_long_for_udp_goes_by_tcp() {
    let long: Bytes = vec![b'a'; 1200].into();
    let mut world = streamed(Transport::Udp, false, true);
    let (invite, path) = dials(&mut world, Some(long.clone()));
    assert_eq!(path, by(Transport::Tcp, CALLEE));
    assert_eq!(invite.top_via().transport, "TCP");
    // Nobody hears it there: the same goes by UDP, as a transaction of its own.
    world.said.clear();
    world.input(Input::PathFailed(path));
    let (again, path) = next(&mut world);
    assert_eq!(path, by(Transport::Udp, CALLEE));
    assert_eq!(again.top_via().transport, "UDP");
    assert_eq!(again.call_id(), invite.call_id());
    assert_ne!(again.top_via().branch, invite.top_via().branch);
    world.quiet();
    // That one fails for good.
    world.input(Input::PathFailed(path));
    assert!(matches!(
        world.event(Side::Callee),
        LegEvent::Failed(DialFailure::Transport)
    ));
    // A short one, and one to a trunk whose transport is said, go by UDP at once.
    let mut world = streamed(Transport::Udp, false, true);
    assert_eq!(dials(&mut world, None).1.transport, Transport::Udp);
    let mut world = streamed(Transport::Udp, false, false);
    assert_eq!(dials(&mut world, Some(long)).1.transport, Transport::Udp);
}

#[test]
fn over_a_reliable_transport_a_2xx_is_repeated_and_an_invite_is_not() {
    let mut world = streamed(Transport::Tcp, false, false);
    let caller = End::caller();
    let path = by(Transport::Tcp, CALLER);
    world.input(Input::Datagram(caller.invite().into(), path));
    world.response(CALLER, 100);
    let (key, _) = world.invited();
    protect(&mut world, key);
    world.command(key, SipCommand::Dial(Box::new(dial())));
    assert_eq!(next(&mut world).1, by(Transport::Tcp, CALLEE));
    world.said.clear();
    world.pass_millis(2_900);
    world.quiet();
    let accept = SipCommand::Accept {
        fork: Fork(0),
        body: Some(OFFER.into()),
    };
    world.command(key, accept);
    let (answer, at) = next(&mut world);
    assert_eq!((answer.status(), at), (Some(200), path));
    assert_eq!(
        answer.get(Header::Contact),
        Some("<sip:gw.example:5060;transport=tcp>")
    );
    world.sent.clear();
    // 500 ms, 1 s, 2 s (RFC 3261 §13.3.1.4).
    world.pass_millis(3_600);
    assert_eq!(world.sent.len(), 3);
}

#[test]
fn what_cannot_be_framed_is_400_to_who_is_known() {
    let mut world = streamed(Transport::Tcp, false, false);
    let text = Bytes::from_static(
        b"OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.10;branch=z9hG4bKa\r\n\r\n",
    );
    let broken = || {
        let mut found = None;
        codec::Stream::default().take(&text, |part| {
            if let codec::Part::Broken(error) = part {
                found = Some(error);
            }
        });
        found.unwrap()
    };
    let path = by(Transport::Tcp, CALLER);
    world.input(Input::Broken(broken(), path));
    let (bytes, at) = world.sent.pop_front().unwrap();
    assert_eq!(at, path);
    assert!(bytes.starts_with(b"SIP/2.0 400 Missing Content-Length Header\r\n"));
    world.input(Input::Broken(
        broken(),
        by(Transport::Tcp, "198.51.100.9:5060"),
    ));
    world.quiet();
}

#[test]
fn a_contact_of_another_transport_is_followed() {
    let mut world = streamed(Transport::Udp, false, false);
    let (invite, _) = dials(&mut world, Some(OFFER.into()));
    world.said.clear();
    let contact = format!("<sip:bob@{CALLEE};transport=tcp>");
    let answer = respond(&invite, 200, "bob").sdp(CALLEE_SDP);
    world.receive(CALLEE, answer.set("Contact", &contact));
    let Output::Event(key, Side::Callee, LegEvent::Answered { .. }) = world.said() else {
        panic!("no answer");
    };
    world.command(key, SipCommand::Confirm(Side::Callee, None));
    let (ack, path) = next(&mut world);
    assert_eq!(ack.method(), Method::Ack);
    assert_eq!(path, by(Transport::Tcp, CALLEE));
    assert_eq!(ack.top_via().transport, "TCP");
    assert_eq!(
        (ack.top_via().host, ack.top_via().port),
        ("gw.example", Some(5060))
    );
}

#[test]
fn a_trunk_whose_keys_need_tls_is_heard_by_tls_alone() {
    let mut settings = settings();
    settings.trunks[0].as_mut().unwrap().tls_only = true;
    settings.streams = vec![Listening {
        transport: Transport::Tls,
        local: address(TLS_US),
        advertised: "gw.example:5061".into(),
    }];
    for (transport, refused) in [(Transport::Udp, Some(488)), (Transport::Tls, None)] {
        let mut world = World::with(settings.clone());
        let bytes = End::caller().invite().into();
        world.input(Input::Datagram(bytes, by(transport, CALLER)));
        let (_, invite) = world.invited();
        assert_eq!(invite.refused.map(|cause| cause.sip), refused);
        assert_eq!(invite.offer.is_some(), refused.is_none());
    }
}
