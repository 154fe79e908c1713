use super::*;
use crate::media::flow::PortPair;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn end(source: SourceRule) -> End {
    End {
        ports: PortPair {
            address: "127.0.0.1".parse().unwrap(),
            rtp: 20_000,
        },
        rtp: Some(address("192.0.2.1:4000")),
        rtcp: Some(address("192.0.2.1:4001")),
        rtcp_mux: false,
        source,
        may_send: true,
        crypto: None,
    }
}

fn sends(end: &End, latch: &mut Latch, kind: Kind, source: &str) -> bool {
    may_send(end, latch, kind, address(source))
}

#[test]
fn exact_means_address_and_port() {
    let end = end(SourceRule::Exact);
    let latch = &mut Latch::default();
    assert!(sends(&end, latch, Kind::Rtp, "192.0.2.1:4000"));
    assert!(!sends(&end, latch, Kind::Rtp, "192.0.2.1:4001"));
    assert!(!sends(&end, latch, Kind::Rtp, "192.0.2.2:4000"));
    assert!(sends(&end, latch, Kind::Rtcp, "192.0.2.1:4001"));
    assert!(!sends(&end, latch, Kind::Rtcp, "192.0.2.1:4000"));
}

#[test]
fn address_means_any_port() {
    let end = end(SourceRule::Address);
    let latch = &mut Latch::default();
    assert!(sends(&end, latch, Kind::Rtp, "192.0.2.1:9"));
    assert!(!sends(&end, latch, Kind::Rtp, "192.0.2.2:4000"));
}

#[test]
fn nobody_means_nobody() {
    let latch = &mut Latch::default();
    assert!(!sends(
        &end(SourceRule::Nobody),
        latch,
        Kind::Rtp,
        "192.0.2.1:4000"
    ));
    let mut held = end(SourceRule::Exact);
    held.rtp = None;
    assert!(!sends(&held, latch, Kind::Rtp, "192.0.2.1:4000"));
}

fn latching(epoch: u32) -> End {
    let within = vec![(address("198.51.100.0:0").ip(), 24)];
    end(SourceRule::Latch { within, epoch })
}

#[test]
fn a_latch_takes_the_first_source_within_and_no_other() {
    let latch = &mut Latch::default();
    let first = latching(1);
    assert!(!sends(&first, latch, Kind::Rtp, "203.0.113.1:9"));
    assert!(sends(&first, latch, Kind::Rtp, "198.51.100.3:777"));
    assert!(!sends(&first, latch, Kind::Rtp, "198.51.100.3:778"));
    assert!(!sends(&first, latch, Kind::Rtp, "198.51.100.4:777"));
    assert!(
        !sends(&first, latch, Kind::Rtcp, "198.51.100.4:778"),
        "another host's RTCP"
    );
    assert!(sends(&first, latch, Kind::Rtcp, "198.51.100.3:778"));
    assert_eq!(
        destination(&first, latch, Kind::Rtp),
        Some((Port::Rtp, address("198.51.100.3:777")))
    );
    assert_eq!(
        destination(&first, latch, Kind::Rtcp),
        Some((Port::Rtcp, address("198.51.100.3:778")))
    );
    let second = latching(2);
    assert_eq!(
        destination(&second, latch, Kind::Rtp),
        Some((Port::Rtp, address("192.0.2.1:4000"))),
        "an old latch is none"
    );
    assert!(sends(&second, latch, Kind::Rtp, "198.51.100.4:777"));
    assert!(!sends(&second, latch, Kind::Rtp, "198.51.100.3:777"));
}

#[test]
fn kinds_are_told_by_port_and_type() {
    let mut end = end(SourceRule::Exact);
    let (rtp, rtcp, stun) = ([0x80, 0], [0x80, 200], [0, 1]);
    assert_eq!(kind(&end, Port::Rtp, &rtp), Ok(Kind::Rtp));
    assert_eq!(kind(&end, Port::Rtcp, &rtcp), Ok(Kind::Rtcp));
    assert_eq!(kind(&end, Port::Rtp, &rtcp), Err(DropReason::NotRtp));
    assert_eq!(kind(&end, Port::Rtcp, &rtp), Err(DropReason::Rtcp));
    assert_eq!(kind(&end, Port::Rtp, &stun), Err(DropReason::NotRtp));
    assert_eq!(kind(&end, Port::Rtp, &[]), Err(DropReason::NotRtp));
    end.rtcp_mux = true;
    assert_eq!(kind(&end, Port::Rtp, &rtcp), Ok(Kind::Rtcp));
    let latch = Latch::default();
    assert_eq!(destination(&end, &latch, Kind::Rtcp).unwrap().0, Port::Rtp);
}

#[test]
fn prefixes_hold_what_they_hold() {
    let holds = |prefix: &str, length, ip: &str| {
        contains((prefix.parse().unwrap(), length), ip.parse().unwrap())
    };
    assert!(holds("10.1.0.0", 16, "10.1.255.255"));
    assert!(!holds("10.1.0.0", 16, "10.2.0.0"));
    assert!(holds("10.1.2.3", 32, "10.1.2.3"));
    assert!(!holds("10.1.2.3", 32, "10.1.2.2"));
    assert!(holds("0.0.0.0", 0, "255.1.1.1"));
    assert!(holds("2001:db8::", 32, "2001:db8:ffff::1"));
    assert!(!holds("2001:db8::", 32, "2001:db9::1"));
    assert!(!holds("::", 0, "10.0.0.1"));
    assert!(!holds("10.1.2.3", 200, "10.1.2.2"));
}
