//! Packets of legs with SRTP.

use super::*;
use crate::domain::srtp::Suite;
use crate::media::flow::{Crypto, Encoding, Manner, Play};
use crate::media::recording::Recording;
use crate::rtp::g711::Law;
use crate::rtp::srtp::{Fault, MAX_MASTER, MasterKey, Receiver, Sender};
use std::sync::Arc;

const SUITES: [Suite; 2] = [Suite::Cm128Sha1_80, Suite::Gcm128];

fn key(suite: Suite, seed: u8) -> MasterKey {
    MasterKey::made(suite, &[seed; MAX_MASTER])
}

fn keys(suite: Suite, send: u8, receive: u8) -> Option<Box<Crypto>> {
    Some(Box::new(Crypto {
        send: key(suite, send),
        receive: key(suite, receive),
    }))
}

/// SRTP on the caller's leg: our key 1, theirs 2; on the callee's: ours 3, theirs 4.
fn secured(suite: Suite, caller: bool, callee: bool) -> Flow {
    let mut flow = flow();
    flow.caller.crypto = caller.then(|| keys(suite, 1, 2)).flatten();
    flow.callee.crypto = callee.then(|| keys(suite, 3, 4)).flatten();
    flow
}

/// Longer than any tag.
fn long(sequence: u16) -> Vec<u8> {
    let mut packet = rtp(sequence);
    packet.resize(172, 0);
    packet
}

struct Phone {
    send: Sender,
    receive: Receiver,
}

impl Phone {
    fn new(suite: Suite, send: u8, receive: u8) -> Self {
        Self {
            send: Sender::new(&key(suite, send)).unwrap(),
            receive: Receiver::new(&key(suite, receive)).unwrap(),
        }
    }

    fn protect(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut buffer = packet.to_vec();
        buffer.resize(packet.len() + 20, 0);
        let length = match packet[1] {
            200..=204 => self.send.protect_rtcp(&mut buffer, packet.len()),
            _ => self.send.protect(&mut buffer, packet.len()),
        };
        buffer.truncate(length.unwrap());
        buffer
    }

    fn unprotect(&mut self, packet: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut buffer = packet.to_vec();
        let length = match packet[1] {
            200..=204 => self.receive.unprotect_rtcp(&mut buffer),
            _ => self.receive.unprotect(&mut buffer, &mut [0; 2048]),
        };
        buffer.truncate(length?);
        Ok(buffer)
    }
}

fn send(
    passage: &mut Passage,
    side: Side,
    port: Port,
    packet: &[u8],
    micros: u64,
) -> Result<Vec<u8>, DropReason> {
    let from = match (side, port) {
        (Side::Caller, Port::Rtp) => "127.0.0.1:4000",
        (Side::Caller, Port::Rtcp) => "127.0.0.1:4001",
        (Side::Callee, Port::Rtp) => "127.0.0.1:6000",
        (Side::Callee, Port::Rtcp) => "127.0.0.1:6001",
    };
    let mut scratch = Scratch::default();
    let mut packet = packet.to_vec();
    let passed = passage.step(side, port, address(from), &mut packet, &mut scratch, micros)?;
    Ok(passed.bytes.to_vec())
}

fn report() -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1, 0, 0, 0, 0];
    packet.extend([0x81, 202, 0, 3, 0, 0, 0, 0]);
    packet.extend(b"\x02\x05Alice\0");
    packet
}

fn cleaned() -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1, 0, 0, 0, 0];
    packet.extend([0x81, 202, 0, 3, 0, 0, 0, 0]);
    packet.extend(b"\x01\x04ours\0\0");
    packet
}

#[test]
fn each_leg_has_the_rtp_that_it_agreed_to() {
    for suite in Suite::ALL {
        for (caller, callee) in [(true, false), (false, true), (true, true)] {
            let mut passage = Passage::new(secured(suite, caller, callee), 0);
            let mut phones = [Phone::new(suite, 2, 1), Phone::new(suite, 4, 3)];
            for (from, to, side) in [(0, 1, Side::Caller), (1, 0, Side::Callee)] {
                let on = [caller, callee];
                for sequence in 1..4 {
                    for (port, plain, expected) in [
                        (Port::Rtp, rtp(sequence), rtp(sequence)),
                        (Port::Rtcp, report(), cleaned()),
                    ] {
                        let sent = match on[from] {
                            true => phones[from].protect(&plain),
                            false => plain,
                        };
                        let came = send(&mut passage, side, port, &sent, 0).unwrap();
                        let heard = match on[to] {
                            true => phones[to].unprotect(&came).unwrap(),
                            false => came,
                        };
                        assert_eq!(heard, expected, "{suite:?} {caller} {callee}");
                    }
                }
            }
            assert_eq!(passage.guard_hits(), 6, "RTCP is cleaned all the same");
        }
    }
}

#[test]
fn bad_packets_are_dropped_and_end_nothing() {
    for suite in SUITES {
        let mut passage = Passage::new(secured(suite, true, false), 0);
        let mut phone = Phone::new(suite, 2, 1);
        let mut stranger = Phone::new(suite, 9, 1);
        let mut drop = |packet: &[u8], port| send(&mut passage, Side::Caller, port, packet, 7);
        let good = phone.protect(&rtp(1));
        let auth = Err(DropReason::SrtpAuth);
        assert_eq!(drop(&stranger.protect(&rtp(1)), Port::Rtp), auth);
        assert_eq!(drop(&long(1), Port::Rtp), auth, "plain RTP is none");
        assert!(drop(&report(), Port::Rtcp).is_err(), "plain RTCP is none");
        assert_eq!(drop(&stranger.protect(&report()), Port::Rtcp), auth);
        assert_eq!(drop(&good[..20], Port::Rtp), Err(DropReason::NotRtp));
        assert_eq!(drop(&good, Port::Rtp), Ok(rtp(1)));
        assert_eq!(drop(&good, Port::Rtp), Err(DropReason::SrtpReplay));
        assert_eq!(drop(&phone.protect(&rtp(2)), Port::Rtp), Ok(rtp(2)));
    }
}

/// Somebody else's packets neither keep a flow alive nor take its place.
#[test]
fn who_has_not_the_key_is_not_latched_to_and_breaks_no_silence() {
    let mut latching = secured(Suite::Cm128Sha1_80, true, false);
    latching.caller.source = SourceRule::Latch {
        within: vec![("127.0.0.0".parse().unwrap(), 8)],
        epoch: 1,
    };
    let mut passage = Passage::new(latching, 0);
    let mut phone = Phone::new(Suite::Cm128Sha1_80, 2, 1);
    let mut scratch = Scratch::default();
    let mut from = |passage: &mut Passage, at: &str, mut packet: Vec<u8>| {
        let source = address(at);
        let passed = passage.step(
            Side::Caller,
            Port::Rtp,
            source,
            &mut packet,
            &mut scratch,
            900_000,
        );
        passed.map(|_| ())
    };
    let auth = Err(DropReason::SrtpAuth);
    assert_eq!(from(&mut passage, "127.0.0.9:9", rtp(1)), auth);
    assert!(passage.silent(1_000_000), "nobody was heard");
    let genuine = phone.protect(&rtp(1));
    assert_eq!(from(&mut passage, "127.0.0.1:4000", genuine), Ok(()));
    let moved = phone.protect(&rtp(2));
    let source = Err(DropReason::Source);
    assert_eq!(from(&mut passage, "127.0.0.9:9", moved), source);
}

#[test]
fn rollovers_outlive_an_update() {
    for suite in SUITES {
        let mut passage = Passage::new(secured(suite, true, true), 0);
        let mut caller = Phone::new(suite, 2, 1);
        let mut callee = Phone::new(suite, 4, 3);
        for sequence in [60_000, 65_535, 3, 30_000, 60_000, 65_535, 9] {
            let sent = caller.protect(&rtp(sequence));
            let came = send(&mut passage, Side::Caller, Port::Rtp, &sent, 0).unwrap();
            assert_eq!(callee.unprotect(&came).unwrap(), rtp(sequence));
            assert_eq!(
                send(&mut passage, Side::Caller, Port::Rtp, &sent, 0),
                Err(DropReason::SrtpReplay)
            );
            passage.update(secured(suite, true, true), 0);
            assert_eq!(
                send(&mut passage, Side::Caller, Port::Rtp, &sent, 0),
                Err(DropReason::SrtpReplay)
            );
        }
    }
}

#[test]
fn a_new_key_is_taken_without_a_gap_and_the_old_one_for_a_while() {
    for suite in SUITES {
        let mut passage = Passage::new(secured(suite, true, false), 0);
        let mut before = Phone::new(suite, 2, 1);
        let mut after = Phone::new(suite, 7, 1);
        let step = |passage: &mut Passage, packet: &[u8], micros| {
            send(passage, Side::Caller, Port::Rtp, packet, micros)
        };
        let first = before.protect(&rtp(1));
        assert_eq!(step(&mut passage, &first, 0), Ok(rtp(1)));
        let mut changed = secured(suite, true, false);
        changed.caller.crypto = keys(suite, 1, 7);
        passage.update(changed.clone(), 1_000_000);
        // On their way when the key changed, and mixed with new ones.
        for sequence in [2, 4, 6] {
            let old = before.protect(&rtp(sequence));
            assert_eq!(step(&mut passage, &old, 1_500_000), Ok(rtp(sequence)));
            let new = after.protect(&rtp(sequence + 1));
            assert_eq!(step(&mut passage, &new, 1_500_000), Ok(rtp(sequence + 1)));
        }
        let auth = Err(DropReason::SrtpAuth);
        assert_eq!(
            step(&mut passage, &first, 1_500_000),
            Err(DropReason::SrtpReplay)
        );
        assert_eq!(step(&mut passage, &long(50), 1_500_000), auth);
        let late = before.protect(&rtp(8));
        passage.update(changed, 5_999_999);
        assert_eq!(
            step(&mut passage, &late, 6_000_000),
            auth,
            "its time is over"
        );
        let new = after.protect(&rtp(9));
        assert_eq!(step(&mut passage, &new, 6_000_000), Ok(rtp(9)));
    }
}

#[test]
fn a_new_key_of_ours_is_used_at_once() {
    let suite = Suite::Cm128Sha1_80;
    let mut passage = Passage::new(secured(suite, false, true), 0);
    let came = send(&mut passage, Side::Caller, Port::Rtp, &rtp(1), 0).unwrap();
    assert_eq!(Phone::new(suite, 4, 3).unprotect(&came).unwrap(), rtp(1));
    let mut changed = secured(suite, false, true);
    changed.callee.crypto = keys(suite, 8, 4);
    passage.update(changed, 0);
    let came = send(&mut passage, Side::Caller, Port::Rtp, &rtp(2), 0).unwrap();
    assert_eq!(Phone::new(suite, 4, 8).unprotect(&came).unwrap(), rtp(2));
}

#[test]
fn extensions_are_left_behind_under_srtp_too() {
    let suite = Suite::Gcm256;
    let mut passage = Passage::new(secured(suite, true, true), 0);
    let mut packet = rtp(1);
    packet[0] = 0x90;
    packet[12..16].copy_from_slice(&[0xbe, 0xde, 0, 1]);
    let sent = Phone::new(suite, 2, 1).protect(&packet);
    let came = send(&mut passage, Side::Caller, Port::Rtp, &sent, 0).unwrap();
    let heard = Phone::new(suite, 4, 3).unprotect(&came).unwrap();
    assert_eq!((heard.len(), heard[0]), (16, 0x80));
    assert_eq!(passage.guard_hits(), 1);
}

#[test]
fn the_largest_packet_can_be_protected() {
    let mut passage = Passage::new(secured(Suite::Gcm256, false, true), 0);
    let mut packet = rtp(1);
    packet.resize(2048, 0);
    let came = send(&mut passage, Side::Caller, Port::Rtp, &packet, 0).unwrap();
    assert_eq!(came.len(), 2048 + 16);
}

fn recording() -> Arc<Recording> {
    let mut file =
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data"
            .to_vec();
    file.extend(32_u32.to_le_bytes());
    file.extend([0x40; 32]);
    Arc::new(Recording::read(&file, None).unwrap())
}

fn play(manner: Manner) -> Option<Box<Play>> {
    Some(Box::new(Play {
        id: 1,
        recording: recording(),
        manner,
    }))
}

const PCMU: Encoding = Encoding::G711(Law::Mu);

#[test]
fn a_recording_is_laid_over_the_voice_before_it_is_protected() {
    for suite in SUITES {
        let mut plain = flow();
        plain.play = play(Manner::Over([(0, PCMU)].into_iter().collect()));
        let expected = send(
            &mut Passage::new(plain.clone(), 0),
            Side::Callee,
            Port::Rtp,
            &rtp(1),
            0,
        )
        .unwrap();
        assert_ne!(expected, rtp(1));
        let mut both = secured(suite, true, true);
        both.play = plain.play;
        let mut passage = Passage::new(both, 0);
        let sent = Phone::new(suite, 4, 3).protect(&rtp(1));
        let came = send(&mut passage, Side::Callee, Port::Rtp, &sent, 0).unwrap();
        let heard = Phone::new(suite, 2, 1).unprotect(&came).unwrap();
        assert_eq!(heard, expected, "{suite:?}");
    }
}

#[test]
fn packets_of_our_own_are_protected() {
    let alone = || Manner::Alone {
        payload_type: 0,
        encoding: PCMU,
        ssrc: 7,
        sequence: 1,
        timestamp: 1,
    };
    for suite in SUITES {
        let mut plain = flow();
        plain.play = play(alone());
        let mut secure = secured(suite, true, false);
        secure.play = play(alone());
        let packet = |flow: Flow| {
            let mut scratch = Scratch::default();
            let mut passage = Passage::new(flow, 0);
            let passed = passage.play(0, &mut scratch).unwrap();
            passed.bytes.to_vec()
        };
        let (plain, came) = (packet(plain), packet(secure));
        assert!(came.len() > plain.len());
        assert_eq!(Phone::new(suite, 2, 1).unprotect(&came).unwrap(), plain);
    }
}

#[test]
fn a_fax_is_in_the_clear_and_the_voice_goes_on_where_it_was() {
    for suite in SUITES {
        let voice = || {
            let mut flow = secured(suite, true, true);
            flow.content.follows = true;
            flow
        };
        let mut passage = Passage::new(voice(), 0);
        let mut caller = Phone::new(suite, 2, 1);
        let mut callee = Phone::new(suite, 4, 3);
        let first = caller.protect(&rtp(65_535));
        let came = send(&mut passage, Side::Caller, Port::Rtp, &first, 0).unwrap();
        assert_eq!(callee.unprotect(&came).unwrap(), rtp(65_535));
        let mut fax = voice();
        fax.content.fax = true;
        passage.update(fax, 1);
        let datagram = [0, 7, 1, 2, 3];
        let passed = send(&mut passage, Side::Callee, Port::Rtp, &datagram, 2);
        assert_eq!(passed, Ok(datagram.to_vec()));
        passage.update(voice(), 3);
        let again = send(&mut passage, Side::Caller, Port::Rtp, &first, 4);
        assert_eq!(again, Err(DropReason::SrtpReplay), "what was counted is");
        // The sequence numbers wrap: the count of that goes on too.
        let second = caller.protect(&rtp(0));
        let came = send(&mut passage, Side::Caller, Port::Rtp, &second, 4).unwrap();
        assert_eq!(callee.unprotect(&came).unwrap(), rtp(0));
    }
}

#[test]
fn who_has_not_the_key_moves_nobody() {
    let suite = Suite::Cm128Sha1_80;
    let answered = |remote| {
        let mut flow = secured(suite, true, false);
        flow.content.follows = true;
        flow.caller.rtp = Some(address(remote));
        flow
    };
    let (old, new) = ("127.0.0.1:4000", "127.0.0.1:4010");
    let mut phone = Phone::new(suite, 2, 1);
    let mut passage = Passage::new(answered(old), 0);
    passage.update(answered(new), 10);
    let forged = from(&mut passage, CALLER, new, &long(1), 20);
    assert_eq!(forged, Err(DropReason::SrtpAuth));
    let late = phone.protect(&rtp(1));
    from(&mut passage, CALLER, old, &late, 30).unwrap();
    let moved = phone.protect(&rtp(2));
    from(&mut passage, CALLER, new, &moved, 40).unwrap();
    let late = phone.protect(&rtp(3));
    let refused = from(&mut passage, CALLER, old, &late, 50);
    assert_eq!(refused, Err(DropReason::Source));
}

#[test]
fn reports_are_read_in_the_clear() {
    for suite in SUITES {
        let mut passage = Passage::new(secured(suite, true, true), 0);
        let mut caller = Phone::new(suite, 2, 1);
        let mut callee = Phone::new(suite, 4, 3);
        let sent = caller.protect(&rtp(1));
        send(&mut passage, Side::Caller, Port::Rtp, &sent, 0).unwrap();
        passage.passed(Side::Caller, 24);
        let mut answer = vec![0x81, 201, 0, 7, 0, 0, 0, 9];
        answer.extend([
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0,
        ]);
        let sent = callee.protect(&answer);
        let came = send(&mut passage, Side::Callee, Port::Rtcp, &sent, 31_000).unwrap();
        assert_eq!(caller.unprotect(&came).unwrap(), answer);
        let reported = passage.quality().to_callee.reported.unwrap();
        assert_eq!(reported.jitter_micros, 1_000);
    }
}
