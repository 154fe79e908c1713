//! Recordings: in packets of our own, and over those that pass.

use super::*;
use crate::media::flow::{Encoding, Manner, Play};
use crate::media::recording::Recording;
use crate::rtp::g711::Law;
use std::sync::Arc;

/// A recording of so many samples, rising slowly.
fn recording(samples: u16) -> Arc<Recording> {
    let mut file =
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data"
            .to_vec();
    file.extend((u32::from(samples) * 2).to_le_bytes());
    for sample in 0..samples {
        file.extend((sample * 8).to_le_bytes());
    }
    Arc::new(Recording::read(&file, Some(&[0x33; 200])).unwrap())
}

fn alone(id: u32, samples: u16) -> Option<Box<Play>> {
    Some(Box::new(Play {
        id,
        recording: recording(samples),
        manner: Manner::Alone {
            payload_type: 8,
            encoding: Encoding::G711(Law::A),
            ssrc: 0x0102_0304,
            sequence: 65_535,
            timestamp: u32::MAX - 159,
        },
    }))
}

fn over(id: u32) -> Option<Box<Play>> {
    Some(Box::new(Play {
        id,
        recording: recording(200),
        manner: Manner::Over(
            [(8, Encoding::G711(Law::A)), (9, Encoding::G722)]
                .into_iter()
                .collect(),
        ),
    }))
}

/// A caller with nobody on the other side.
fn lone(world: &mut dyn World, play: Option<Box<Play>>) -> Call {
    let (caller, caller_peers) = end(world, V4, SourceRule::Exact);
    let callee = End {
        ports: PortPair::none(V4),
        rtp: None,
        rtcp: None,
        rtcp_mux: false,
        source: SourceRule::Nobody,
        may_send: false,
        crypto: None,
    };
    let flow = Flow {
        caller: End {
            may_send: false,
            ..caller
        },
        callee,
        clock_rates: Box::new([0; 128]),
        cname: "ours".into(),
        extensions: Vec::new(),
        content: crate::media::flow::Content::default(),
        silence: None,
        play,
    };
    assert!(flow.plays());
    let call = Call {
        id: FlowId(7),
        flow,
        caller: caller_peers,
        callee: caller_peers,
    };
    install(world, &call);
    call
}

fn packet(number: u8, marker: u8, sequence: u16, timestamp: u32) -> Vec<u8> {
    let mut packet = vec![0x80, marker | number];
    packet.extend(sequence.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend([1, 2, 3, 4]);
    packet
}

pub(super) fn a_recording_is_played_to_its_end(world: &mut dyn World) {
    let call = lone(world, alone(1, 400));
    let codes = recording(400);
    let codes = codes.codes(Encoding::G711(Law::A));
    for (place, (marker, sequence, timestamp)) in
        [(0x80, 65_535, u32::MAX - 159), (0, 0, 0), (0, 1, 160)]
            .into_iter()
            .enumerate()
    {
        let mut expected = packet(8, marker, sequence, timestamp);
        let end = codes.len().min((place + 1) * 160);
        expected.extend(&codes[place * 160..end]);
        let from = call.to_caller_ports(Port::Rtp);
        assert_eq!(world.receive(call.caller[0]), (expected, from), "{place}");
    }
    assert_eq!(
        world.event(Duration::from_millis(20)),
        RelayEvent::Played(call.id)
    );
    world.quiet(call.caller[0]);
    // What the caller sends goes nowhere, and is not taken for a call's.
    world.send(call.caller[0], call.to_caller_ports(Port::Rtp), &rtp(1));
    world.dropped(DropReason::Held, 1);
    world.relay().remove(call.id);
    world.settle();
    match world.event(Duration::ZERO) {
        RelayEvent::Removed { to_caller, .. } => assert_eq!(to_caller.packets, 0),
        other => panic!("{other:?}"),
    }
}

pub(super) fn an_update_goes_on_with_the_same_recording(world: &mut dyn World) {
    let mut call = lone(world, alone(1, 480));
    assert_eq!(world.receive(call.caller[0]).0[1], 0x88);
    install(world, &call);
    assert_eq!(world.receive(call.caller[0]).0[..4], [0x80, 8, 0, 0]);
    call.flow.play = alone(2, 480);
    install(world, &call);
    let begun_anew = loop {
        let (bytes, _) = world.receive(call.caller[0]);
        if bytes[1] == 0x88 {
            break bytes;
        }
    };
    assert_eq!(begun_anew[2..4], [0xff, 0xff]);
    call.flow.play = None;
    install(world, &call);
    world.relay().remove(call.id);
    world.settle();
    assert!(
        matches!(world.event(Duration::ZERO), RelayEvent::Removed { .. }),
        "what is stopped is not over"
    );
}

/// A packet to the caller comes out as `expected`, from its payload on.
fn to_caller(world: &mut dyn World, call: &Call, sent: &[u8], expected: &[u8]) {
    world.send(call.callee[0], call.to_callee_ports(Port::Rtp), sent);
    let (bytes, _) = world.receive(call.caller[0]);
    assert_eq!(bytes[..12], sent[..12], "the header is as it was");
    assert_eq!(bytes[12..], *expected);
}

fn voice(number: u8, sequence: u16, codes: &[u8]) -> Vec<u8> {
    let mut sent = packet(number, 0, sequence, u32::from(sequence) * 160);
    sent.extend(codes);
    sent
}

pub(super) fn a_warning_is_heard_over_the_voice(world: &mut dyn World) {
    let mut call = exact_call(world);
    call.flow.play = over(1);
    install(world, &call);
    let quiet = [Law::A.encode(0); 160];
    let recording = recording(200);
    let mixed: Vec<u8> = recording.linear()[..160]
        .iter()
        .map(|sample| Law::A.encode(sample + 8))
        .collect();
    to_caller(world, &call, &voice(8, 1, &quiet), &mixed);
    // Digits pass as they are, and so does what the caller says.
    to_caller(
        world,
        &call,
        &voice(101, 2, &[5, 10, 0, 160]),
        &[5, 10, 0, 160],
    );
    call.passes(world, 1);
    // The end comes within a packet; what is beyond it is untouched.
    let mut rest = mixed_of(&recording.linear()[160..]);
    rest.resize(160, quiet[0]);
    to_caller(world, &call, &voice(8, 3, &quiet), &rest);
    assert_eq!(
        world.event(Duration::from_millis(20)),
        RelayEvent::Played(call.id)
    );
    to_caller(world, &call, &voice(8, 4, &quiet), &quiet);
}

fn mixed_of(samples: &[i16]) -> Vec<u8> {
    samples
        .iter()
        .map(|sample| Law::A.encode(sample + 8))
        .collect()
}

pub(super) fn a_warning_can_be_prepared_and_stopped(world: &mut dyn World) {
    let mut call = exact_call(world);
    call.flow.play = over(1);
    install(world, &call);
    to_caller(world, &call, &voice(9, 1, &[0xaa; 160]), &[0x33; 160]);
    call.flow.play = None;
    install(world, &call);
    to_caller(world, &call, &voice(9, 2, &[0xaa; 160]), &[0xaa; 160]);
    call.flow.play = over(2);
    install(world, &call);
    to_caller(world, &call, &voice(9, 3, &[0xaa; 4]), &[0x33; 4]);
}
