//! SRTP: what a packet of 172 bytes costs to protect and to unprotect by each suite, and what the
//! relay's step costs with it on a leg, beside a plain one in the same run.

#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use leasebridge::domain::Side;
use leasebridge::domain::srtp::Suite;
use leasebridge::media::flow::{Content, Crypto, End, Flow, Port, PortPair, SourceRule};
use leasebridge::media::passage::{Passage, Scratch};
use leasebridge::rtp::srtp::{MAX_GROWTH, MAX_MASTER, MasterKey, Receiver, Sender};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Packets before a context begins anew: so often that none is sent in twice, so seldom that it
/// costs nothing.
const ROUND: u16 = 8192;
const LENGTH: usize = 172;

fn key(suite: Suite, seed: u8) -> MasterKey {
    MasterKey::made(suite, &[seed; MAX_MASTER])
}

fn rtp(sequence: u16) -> [u8; LENGTH + MAX_GROWTH] {
    let mut packet = [0xd5; LENGTH + MAX_GROWTH];
    packet[..2].copy_from_slice(&[0x80, 8]);
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
    packet[4..8].copy_from_slice(&(u32::from(sequence) * 160).to_be_bytes());
    packet[8..12].copy_from_slice(&[1, 2, 3, 4]);
    packet
}

/// A round of packets as they come from a phone with this suite, or from one with none.
fn arriving(suite: Option<Suite>) -> Vec<Vec<u8>> {
    let mut sender = suite.and_then(|suite| Sender::new(&key(suite, 1)));
    let one = |sequence| {
        let mut packet = rtp(sequence);
        let length = match &mut sender {
            Some(sender) => sender.protect(&mut packet, LENGTH).expect("room"),
            None => LENGTH,
        };
        packet[..length].to_vec()
    };
    (0..ROUND).map(one).collect()
}

fn passage(from: Option<Suite>, to: Option<Suite>) -> Passage {
    let end = |rtp: u16, remote: u16, suite: Option<Suite>, keys: (u8, u8)| End {
        ports: PortPair { address: HOST, rtp },
        rtp: Some(SocketAddr::new(HOST, remote)),
        rtcp: Some(SocketAddr::new(HOST, remote + 1)),
        rtcp_mux: false,
        source: SourceRule::Exact,
        may_send: true,
        crypto: suite.map(|suite| {
            Box::new(Crypto {
                send: key(suite, keys.0),
                receive: key(suite, keys.1),
            })
        }),
    };
    let flow = Flow {
        caller: end(20_000, 4000, from, (2, 1)),
        callee: end(20_002, 6000, to, (3, 4)),
        clock_rates: Box::new([8000; 128]),
        cname: "ours".into(),
        extensions: Vec::new(),
        content: Content::default(),
        silence: None,
        play: None,
    };
    Passage::new(flow, 0)
}

fn packets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("srtp");
    group.throughput(Throughput::Elements(1));
    for suite in Suite::ALL {
        let mut sender = Sender::new(&key(suite, 1)).expect("a key");
        let mut sequence = 0u16;
        group.bench_function(format!("protect {}", suite.name()), |bencher| {
            bencher.iter(|| {
                sequence = sequence.wrapping_add(1);
                let mut packet = rtp(sequence);
                black_box(sender.protect(&mut packet, LENGTH)).expect("room");
                black_box(&packet);
            });
        });
        let packets = arriving(Some(suite));
        let mut receiver = Receiver::new(&key(suite, 1)).expect("a key");
        let mut next = 0;
        let mut spare = [0; LENGTH + MAX_GROWTH];
        group.bench_function(format!("unprotect {}", suite.name()), |bencher| {
            bencher.iter(|| {
                if next == packets.len() {
                    next = 0;
                    receiver = Receiver::new(&key(suite, 1)).expect("a key");
                }
                let mut packet = rtp(0);
                let packet = &mut packet[..packets[next].len()];
                packet.copy_from_slice(&packets[next]);
                next += 1;
                black_box(receiver.unprotect(packet, &mut spare)).expect("genuine");
                black_box(&packet);
            });
        });
    }
    group.finish();
}

fn step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("relay step");
    group.throughput(Throughput::Elements(1));
    let mut legs = vec![("plain".to_owned(), None, None)];
    for suite in [
        Suite::Cm128Sha1_80,
        Suite::Cm256Sha1_80,
        Suite::Gcm128,
        Suite::Gcm256,
    ] {
        let name = suite.name();
        legs.push((format!("{name} to plain"), Some(suite), None));
        legs.push((format!("plain to {name}"), None, Some(suite)));
        legs.push((format!("{name} both"), Some(suite), Some(suite)));
    }
    for (name, from, to) in legs {
        let packets = arriving(from);
        let mut flow = passage(from, to);
        let mut scratch = Scratch::default();
        let mut next = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                if next == packets.len() {
                    next = 0;
                    flow = passage(from, to);
                }
                let mut packet = [0; LENGTH + MAX_GROWTH];
                let packet = &mut packet[..packets[next].len()];
                packet.copy_from_slice(&packets[next]);
                next += 1;
                let source = SocketAddr::new(HOST, 4000);
                let (side, port) = (Side::Caller, Port::Rtp);
                let passed = flow.step(side, port, source, packet, &mut scratch, next as u64);
                let length = black_box(passed.expect("a packet that passes").bytes).len();
                flow.passed(side, length);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, packets, step);
criterion_main!(benches);
