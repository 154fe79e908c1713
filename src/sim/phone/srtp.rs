//! Telephones with SRTP: they have the media ports from [`FIRST_PORT`] on, each a key of its own.

use crate::domain::srtp::Suite;
use crate::rtp::srtp::{MAX_GROWTH, MAX_MASTER, MasterKey, Sender};
use crate::sdp::OwnCrypto;
use std::net::SocketAddr;

/// The first media port of a telephone with SRTP.
pub const FIRST_PORT: u16 = 30_000;

/// Whether the telephone there has SRTP.
pub fn has_srtp(media: SocketAddr) -> bool {
    media.port() >= FIRST_PORT
}

fn key(media: SocketAddr) -> MasterKey {
    let [high, low] = (media.port() / 2).to_be_bytes();
    let mut bytes = [0x6b; MAX_MASTER];
    (bytes[3], bytes[7]) = (high, low);
    MasterKey::made(Suite::Cm128Sha1_80, &bytes)
}

/// The line of its descriptions; empty for one without SRTP.
pub fn line(media: SocketAddr) -> String {
    if !has_srtp(media) {
        return String::new();
    }
    let key = key(media);
    let own = OwnCrypto {
        tag: 1,
        suite: Suite::Cm128Sha1_80,
        key_and_salt: key.key_and_salt(),
    };
    own.line().to_string()
}

/// What protects its sound.
pub fn sender(media: SocketAddr) -> Option<Sender> {
    has_srtp(media).then(|| Sender::new(&key(media)).unwrap())
}

/// As it goes out.
pub fn protected(sender: Option<&mut Sender>, mut packet: Vec<u8>, report: bool) -> Vec<u8> {
    let Some(sender) = sender else {
        return packet;
    };
    let length = packet.len();
    packet.resize(length + MAX_GROWTH, 0);
    let length = if report {
        sender.protect_rtcp(&mut packet, length)
    } else {
        sender.protect(&mut packet, length)
    };
    packet.truncate(length.expect("room"));
    packet
}
