//! SRTP on a leg, by every backend.

use super::*;
use crate::domain::srtp::Suite;
use crate::media::flow::Crypto;
use crate::rtp::srtp::{MAX_GROWTH, MAX_MASTER, MasterKey, Receiver, Sender};

fn key(seed: u8) -> MasterKey {
    MasterKey::made(Suite::Cm128Sha1_80, &[seed; MAX_MASTER])
}

fn keys(send: u8, receive: u8) -> Option<Box<Crypto>> {
    Some(Box::new(Crypto {
        send: key(send),
        receive: key(receive),
    }))
}

/// What a phone with these keys sends and hears.
struct Phone(Sender, Receiver);

impl Phone {
    fn new(send: u8, receive: u8) -> Self {
        let send = Sender::new(&key(send)).unwrap();
        Self(send, Receiver::new(&key(receive)).unwrap())
    }

    fn says(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut buffer = packet.to_vec();
        buffer.resize(packet.len() + MAX_GROWTH, 0);
        let length = self.0.protect(&mut buffer, packet.len()).unwrap();
        buffer.truncate(length);
        buffer
    }

    fn reports(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut buffer = packet.to_vec();
        buffer.resize(packet.len() + MAX_GROWTH, 0);
        let length = self.0.protect_rtcp(&mut buffer, packet.len()).unwrap();
        buffer.truncate(length);
        buffer
    }

    fn hears(&mut self, mut packet: Vec<u8>) -> Vec<u8> {
        let length = self.1.unprotect(&mut packet, &mut [0; 2048]).unwrap();
        packet.truncate(length);
        packet
    }

    fn reads(&mut self, mut packet: Vec<u8>) -> Vec<u8> {
        let length = self.1.unprotect_rtcp(&mut packet).unwrap();
        packet.truncate(length);
        packet
    }
}

pub(super) fn srtp_on_one_leg(world: &mut dyn World) {
    let mut call = exact_call(world);
    call.flow.caller.crypto = keys(1, 2);
    install(world, &call);
    let mut phone = Phone::new(2, 1);
    for sequence in [65_534, 65_535, 0, 1] {
        let sent = phone.says(&rtp(sequence));
        world.send(call.caller[0], call.to_caller_ports(Port::Rtp), &sent);
        assert_eq!(world.receive(call.callee[0]).0, rtp(sequence));
        world.send(
            call.callee[0],
            call.to_callee_ports(Port::Rtp),
            &rtp(sequence),
        );
        let (came, from) = world.receive(call.caller[0]);
        assert_eq!(phone.hears(came), rtp(sequence));
        assert_eq!(from, call.to_caller_ports(Port::Rtp));
    }
    let sent = phone.reports(&rtcp());
    world.send(call.caller[1], call.to_caller_ports(Port::Rtcp), &sent);
    assert_eq!(world.receive(call.callee[1]).0, rtcp_cleaned());
    world.send(call.callee[1], call.to_callee_ports(Port::Rtcp), &rtcp());
    let (came, _) = world.receive(call.caller[1]);
    assert_eq!(phone.reads(came), rtcp_cleaned());
}

pub(super) fn srtp_on_both_legs(world: &mut dyn World) {
    let mut call = exact_call(world);
    call.flow.caller.crypto = keys(1, 2);
    call.flow.callee.crypto = keys(3, 4);
    install(world, &call);
    let (mut caller, mut callee) = (Phone::new(2, 1), Phone::new(4, 3));
    for sequence in 1..4 {
        let sent = caller.says(&rtp(sequence));
        world.send(call.caller[0], call.to_caller_ports(Port::Rtp), &sent);
        let (came, _) = world.receive(call.callee[0]);
        assert_ne!(came, sent);
        assert_eq!(callee.hears(came), rtp(sequence));
        // The same flow once more: what was counted stays.
        install(world, &call);
    }
}

pub(super) fn srtp_garbage_is_counted_and_ends_nothing(world: &mut dyn World) {
    let mut call = exact_call(world);
    call.flow.caller.crypto = keys(1, 2);
    install(world, &call);
    let (mut phone, mut stranger) = (Phone::new(2, 1), Phone::new(9, 9));
    let to = call.to_caller_ports(Port::Rtp);
    world.send(call.caller[0], to, &rtp(1));
    world.send(call.caller[0], to, &stranger.says(&rtp(1)));
    world.send(call.caller[1], call.to_caller_ports(Port::Rtcp), &rtcp());
    world.dropped(DropReason::SrtpAuth, 3);
    let sent = phone.says(&rtp(1));
    world.send(call.caller[0], to, &sent);
    assert_eq!(world.receive(call.callee[0]).0, rtp(1));
    world.send(call.caller[0], to, &sent);
    world.dropped(DropReason::SrtpReplay, 1);
    world.quiet(call.callee[0]);
    let sent = phone.says(&rtp(2));
    world.send(call.caller[0], to, &sent);
    assert_eq!(world.receive(call.callee[0]).0, rtp(2));
}

pub(super) fn a_new_srtp_key_takes_over(world: &mut dyn World) {
    let mut call = exact_call(world);
    call.flow.caller.crypto = keys(1, 2);
    install(world, &call);
    let (mut before, mut after) = (Phone::new(2, 1), Phone::new(5, 1));
    let to = call.to_caller_ports(Port::Rtp);
    world.send(call.caller[0], to, &before.says(&rtp(1)));
    assert_eq!(world.receive(call.callee[0]).0, rtp(1));
    call.flow.caller.crypto = keys(1, 5);
    install(world, &call);
    for (phone, sequence) in [(&mut before, 2), (&mut after, 3)] {
        world.send(call.caller[0], to, &phone.says(&rtp(sequence)));
        assert_eq!(world.receive(call.callee[0]).0, rtp(sequence));
    }
    call.flow.caller.crypto = None;
    install(world, &call);
    call.passes(world, 4);
}

/// Where the last source of a key has been used up, the others go on.
pub(super) fn srtp_sources_have_a_bound(world: &mut dyn World) {
    let mut call = exact_call(world);
    call.flow.callee.crypto = keys(3, 4);
    install(world, &call);
    let of = |ssrc: u8| {
        let mut packet = rtp(u16::from(ssrc) + 1);
        packet[8] = ssrc;
        packet
    };
    let to = call.to_caller_ports(Port::Rtp);
    for ssrc in 0..64 {
        world.send(call.caller[0], to, &of(ssrc));
        world.receive(call.callee[0]);
    }
    world.send(call.caller[0], to, &of(64));
    world.dropped(DropReason::SrtpLimit, 1);
    let mut again = of(5);
    again[2] = 1;
    world.send(call.caller[0], to, &again);
    world.receive(call.callee[0]);
}
