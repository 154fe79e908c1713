use super::*;
use crate::media::flow::{PortPair, SourceRule};
use std::time::Duration;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn end(rtp: u16, remote: u16) -> End {
    let at = |port| SocketAddr::new("127.0.0.1".parse().unwrap(), port);
    End {
        ports: PortPair {
            address: "127.0.0.1".parse().unwrap(),
            rtp,
        },
        rtp: Some(at(remote)),
        rtcp: Some(at(remote + 1)),
        rtcp_mux: false,
        source: SourceRule::Exact,
        may_send: true,
        crypto: None,
    }
}

fn flow() -> Flow {
    let mut clock_rates = Box::new([0; 128]);
    clock_rates[0] = 8000;
    Flow {
        caller: end(20_000, 4000),
        callee: end(20_002, 6000),
        clock_rates,
        cname: "ours".into(),
        extensions: Vec::new(),
        silence: Some(Duration::from_secs(1)),
    }
}

fn rtp(sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend([0; 20]);
    packet
}

fn step(passage: &mut Passage, packet: &mut [u8]) -> Result<(Vec<u8>, SocketAddr), DropReason> {
    let mut scratch = Scratch::default();
    let source = address("127.0.0.1:4000");
    let passed = passage.step(Side::Caller, Port::Rtp, source, packet, &mut scratch, 5)?;
    let (bytes, to) = (passed.bytes.to_vec(), passed.to);
    passage.passed(Side::Caller, bytes.len());
    Ok((bytes, to))
}

#[test]
fn packets_pass_untouched_and_are_counted() {
    let mut passage = Passage::new(flow(), 0);
    for sequence in [1, 2, 5] {
        let (bytes, to) = step(&mut passage, &mut rtp(sequence)).unwrap();
        assert_eq!((bytes, to), (rtp(sequence), address("127.0.0.1:6000")));
    }
    let figures = passage.figures(Side::Caller);
    assert_eq!((figures.packets, figures.bytes, figures.lost), (3, 72, 2));
    assert_eq!(passage.figures(Side::Callee), MediaFigures::default());
}

#[test]
fn header_extensions_are_left_behind_and_counted() {
    let mut packet = rtp(1);
    packet[0] = 0x90;
    packet[12..16].copy_from_slice(&[0xbe, 0xde, 0, 1]);
    let mut passage = Passage::new(flow(), 0);
    let (bytes, _) = step(&mut passage, &mut packet).unwrap();
    assert_eq!(bytes.len(), 24 - 8);
    assert_eq!(bytes[0], 0x80);
    assert_eq!(passage.guard_hits(), 1);
}

#[test]
fn a_held_side_keeps_the_flow_alive_but_passes_nothing() {
    let mut held = flow();
    held.caller.may_send = false;
    let mut passage = Passage::new(held, 0);
    assert_eq!(step(&mut passage, &mut rtp(1)), Err(DropReason::Held));
    let mut nowhere = flow();
    nowhere.callee.rtp = None;
    passage.update(nowhere, 0);
    assert_eq!(
        step(&mut passage, &mut rtp(2)),
        Err(DropReason::NoDestination)
    );
}

#[test]
fn silence_is_reported_once_and_again_after_sound() {
    let mut passage = Passage::new(flow(), 0);
    assert!(!passage.silent(999_999));
    assert!(passage.silent(1_000_000));
    assert!(!passage.silent(2_000_000));
    step(&mut passage, &mut rtp(1)).unwrap();
    assert!(!passage.silent(1_000_004));
    assert!(passage.silent(1_000_005));
}

#[test]
fn silence_counts_from_the_moment_it_is_asked_for() {
    let quiet = Flow {
        silence: None,
        ..flow()
    };
    let mut passage = Passage::new(quiet.clone(), 0);
    assert!(!passage.silent(9_000_000));
    passage.update(flow(), 9_000_000);
    assert!(!passage.silent(9_999_999));
    passage.update(flow(), 9_999_999);
    assert!(
        passage.silent(10_000_000),
        "an update does not begin it anew"
    );
    passage.update(quiet, 11_000_000);
    passage.update(flow(), 20_000_000);
    assert!(!passage.silent(20_500_000));
    assert!(passage.silent(21_000_000));
}

mod srtp;
