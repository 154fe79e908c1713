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
        content: crate::media::flow::Content::default(),
        cname: "ours".into(),
        extensions: Vec::new(),
        silence: Some(Duration::from_secs(1)),
        play: None,
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

fn from(
    passage: &mut Passage,
    (side, port): (Side, Port),
    source: &str,
    packet: &[u8],
    micros: u64,
) -> Result<SocketAddr, DropReason> {
    let mut scratch = Scratch::default();
    let mut packet = packet.to_vec();
    let source = address(source);
    let passed = passage.step(side, port, source, &mut packet, &mut scratch, micros)?;
    Ok(passed.to)
}

const CALLER: (Side, Port) = (Side::Caller, Port::Rtp);
const CALLEE: (Side, Port) = (Side::Callee, Port::Rtp);

fn answered() -> Flow {
    let mut flow = flow();
    flow.content.follows = true;
    flow
}

#[test]
fn a_side_that_moves_is_heard_from_where_it_was_until_it_has_moved() {
    let (old, new) = ("127.0.0.1:4000", "127.0.0.1:4010");
    let mut moved = answered();
    moved.caller = end(20_000, 4010);
    let mut passage = Passage::new(answered(), 0);
    from(&mut passage, CALLER, old, &rtp(1), 1).unwrap();
    passage.update(moved.clone(), 10);
    // It has not heard of the answer yet; the other side sends to the new place at once.
    from(&mut passage, CALLER, old, &rtp(2), 20).unwrap();
    let to = from(&mut passage, CALLEE, "127.0.0.1:6000", &rtp(1), 20);
    assert_eq!(to, Ok(address(new)));
    let stranger = "127.0.0.1:4444";
    let refused = Err(DropReason::Source);
    assert_eq!(from(&mut passage, CALLER, stranger, &rtp(3), 25), refused);
    from(&mut passage, CALLER, new, &rtp(3), 30).unwrap();
    assert_eq!(from(&mut passage, CALLER, old, &rtp(4), 40), refused);
    assert_eq!(passage.figures(Side::Caller).lost, 0);
    // A side that never moves is heard for two seconds.
    let mut passage = Passage::new(answered(), 0);
    passage.update(moved, 0);
    from(&mut passage, CALLER, old, &rtp(1), 1_999_999).unwrap();
    assert_eq!(from(&mut passage, CALLER, old, &rtp(2), 2_000_000), refused);
}

#[test]
fn before_the_answer_another_fork_takes_over_at_once() {
    let mut other = flow();
    other.caller = end(20_000, 4010);
    let mut passage = Passage::new(flow(), 0);
    passage.update(other.clone(), 10);
    let old = from(&mut passage, CALLER, "127.0.0.1:4000", &rtp(1), 20);
    assert_eq!(old, Err(DropReason::Source));
    // Nor does one that may send nothing any more.
    let mut passage = Passage::new(answered(), 0);
    other.content.follows = true;
    other.caller.source = SourceRule::Nobody;
    passage.update(other, 10);
    let old = from(&mut passage, CALLER, "127.0.0.1:4000", &rtp(1), 20);
    assert_eq!(old, Err(DropReason::Source));
}

#[test]
fn a_latched_side_that_moves_is_latched_where_it_goes_and_not_where_it_was() {
    let latch = |epoch| SourceRule::Latch {
        within: vec![("127.0.0.1".parse().unwrap(), 32)],
        epoch,
    };
    let latched = |epoch| {
        let mut flow = answered();
        flow.caller.source = latch(epoch);
        flow
    };
    let (old, new) = ("127.0.0.1:9000", "127.0.0.1:9010");
    let back = |passage: &mut Passage, micros| {
        from(passage, CALLEE, "127.0.0.1:6000", &rtp(1), micros).unwrap()
    };
    let mut passage = Passage::new(latched(1), 0);
    from(&mut passage, CALLER, old, &rtp(1), 1).unwrap();
    assert_eq!(back(&mut passage, 2), address(old));
    // The same place described anew (a hold taken back, say): no packet goes astray.
    passage.update(latched(2), 10);
    from(&mut passage, CALLER, old, &rtp(2), 11).unwrap();
    assert_eq!(back(&mut passage, 12), address(old));
    // What was in flight from the old source must not be what is latched.
    from(&mut passage, CALLER, new, &rtp(3), 13).unwrap();
    assert_eq!(back(&mut passage, 14), address(new));
    let refused = Err(DropReason::Source);
    assert_eq!(from(&mut passage, CALLER, old, &rtp(4), 15), refused);
    // Who stays where it was is latched there once the time is over.
    passage.update(latched(3), 20);
    from(&mut passage, CALLER, new, &rtp(5), 21).unwrap();
    from(&mut passage, CALLER, new, &rtp(6), 3_000_000).unwrap();
    assert_eq!(back(&mut passage, 3_000_001), address(new));
    assert_eq!(from(&mut passage, CALLER, old, &rtp(7), 3_000_002), refused);
}

#[test]
fn a_fax_is_relayed_as_it_is_by_the_same_rules() {
    let mut fax = answered();
    fax.content.fax = true;
    fax.content.pauses = true;
    let mut passage = Passage::new(answered(), 0);
    from(&mut passage, CALLER, "127.0.0.1:4000", &rtp(1), 1).unwrap();
    let datagram = [0, 7, 1, 2, 3];
    let not_rtp = Err(DropReason::NotRtp);
    let speaks = from(&mut passage, CALLER, "127.0.0.1:4000", &datagram, 2);
    assert_eq!(speaks, not_rtp);
    passage.update(fax, 3);
    let mut scratch = Scratch::default();
    let mut packet = datagram;
    let source = address("127.0.0.1:4000");
    let passed = passage.step(
        Side::Caller,
        Port::Rtp,
        source,
        &mut packet,
        &mut scratch,
        4,
    );
    let passed = passed.unwrap();
    assert_eq!((passed.bytes, passed.port), (&datagram[..], Port::Rtp));
    assert_eq!(passed.to, address("127.0.0.1:6000"));
    let stranger = from(&mut passage, CALLER, "127.0.0.1:4444", &datagram, 5);
    assert_eq!(stranger, Err(DropReason::Source));
    assert_eq!(
        from(&mut passage, CALLER, "127.0.0.1:4000", &[], 5),
        not_rtp
    );
    let reports = (Side::Caller, Port::Rtcp);
    assert_eq!(
        from(&mut passage, reports, "127.0.0.1:4001", &datagram, 5),
        not_rtp
    );
    // Between two pages it is silent for longer than a call.
    assert!(!passage.silent(4_999_999));
    assert!(passage.silent(5_000_004));
    passage.update(answered(), 6);
    from(&mut passage, CALLER, "127.0.0.1:4000", &rtp(2), 7).unwrap();
}

#[test]
fn who_may_pause_is_not_dead_while_it_reports() {
    let mut quiet = flow();
    quiet.content.pauses = true;
    let mut passage = Passage::new(quiet, 0);
    assert!(
        !passage.silent(4_999_999),
        "five times as long without reports"
    );
    let report = [0x80, 201, 0, 1, 0, 0, 0, 9];
    let reports = (Side::Callee, Port::Rtcp);
    for seconds in 1..20 {
        let micros = seconds * 900_000;
        from(&mut passage, reports, "127.0.0.1:6001", &report, micros).unwrap();
        assert!(!passage.silent(micros + 899_999));
    }
    // Reports that end are as good a sign as sound that ends.
    assert!(passage.silent(19 * 900_000 + 1_000_000));
    // Without agreed pauses a call that only reports is dead.
    let mut passage = Passage::new(flow(), 0);
    from(&mut passage, reports, "127.0.0.1:6001", &report, 900_000).unwrap();
    assert!(passage.silent(1_000_000));
}

#[test]
fn reports_are_read_as_they_pass() {
    let mut passage = Passage::new(flow(), 0);
    from(&mut passage, CALLER, "127.0.0.1:4000", &rtp(1), 0).unwrap();
    passage.passed(Side::Caller, 24);
    let mut sender = vec![0x80, 200, 0, 6, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0];
    sender.extend([0; 12]);
    let reports = (Side::Caller, Port::Rtcp);
    from(&mut passage, reports, "127.0.0.1:4001", &sender, 1_000).unwrap();
    let mut answer = vec![0x81, 201, 0, 7, 0, 0, 0, 9];
    answer.extend([
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 8, 0, 1, 2, 0, 0, 0, 0, 0,
    ]);
    let refused = from(
        &mut passage,
        (Side::Callee, Port::Rtcp),
        "127.0.0.1:66",
        &answer,
        2_000,
    );
    assert_eq!(refused, Err(DropReason::Source));
    assert_eq!(
        passage.quality().to_callee.reported,
        None,
        "from a stranger"
    );
    from(
        &mut passage,
        (Side::Callee, Port::Rtcp),
        "127.0.0.1:6001",
        &answer,
        31_000,
    )
    .unwrap();
    let quality = passage.quality().to_callee;
    assert_eq!(quality.round_trip_micros, Some(30_000));
    assert_eq!(
        quality.reported.map(|reported| reported.jitter_micros),
        Some(1_000)
    );
    assert!(quality.score_hundredths > Some(400), "{quality:?}");
    assert_eq!(passage.quality().to_caller.score_hundredths, None);
}
