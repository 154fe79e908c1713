//! The relay's step: what a packet costs between its receive and its send, and that it allocates
//! nothing.

#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use leasebridge::domain::Side;
use leasebridge::media::flow::{End, Flow, Port, PortPair, SourceRule};
use leasebridge::media::passage::{Passage, Scratch};
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const CALLER: SocketAddr = SocketAddr::new(HOST, 4000);

fn passage(source: SourceRule) -> Passage {
    let end = |rtp: u16, remote: u16| End {
        ports: PortPair { address: HOST, rtp },
        rtp: Some(SocketAddr::new(HOST, remote)),
        rtcp: Some(SocketAddr::new(HOST, remote + 1)),
        rtcp_mux: false,
        source: source.clone(),
        may_send: true,
        crypto: None,
    };
    let flow = Flow {
        caller: end(20_000, 4000),
        callee: end(20_002, 6000),
        clock_rates: Box::new([8000; 128]),
        content: leasebridge::media::flow::Content::default(),
        cname: "ours".into(),
        extensions: Vec::new(),
        silence: None,
        play: None,
    };
    Passage::new(flow, 0)
}

fn rtp() -> Vec<u8> {
    let mut packet = vec![0x80, 8, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
    packet.resize(172, 0xd5);
    packet
}

/// A receiver report with a source description of three items.
fn rtcp() -> Vec<u8> {
    let mut packet = vec![0x81, 201, 0, 7];
    packet.resize(32, 1);
    packet.extend([0x81, 202, 0, 5, 1, 2, 3, 4]);
    packet.extend(b"\x01\x05alice\x02\x05Alice\0\0");
    packet
}

fn step(passage: &mut Passage, packet: &mut [u8], scratch: &mut Scratch, micros: u64) {
    let (port, source) = match packet {
        [_, 192..=223, ..] => (Port::Rtcp, SocketAddr::new(HOST, 4001)),
        _ => (Port::Rtp, CALLER),
    };
    let passed = passage
        .step(Side::Caller, port, source, packet, scratch, micros)
        .expect("a packet that passes");
    let length = black_box(passed.bytes).len();
    passage.passed(Side::Caller, length);
}

fn next(packet: &mut [u8], sequence: u16) {
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
    packet[4..8].copy_from_slice(&(u32::from(sequence) * 160).to_be_bytes());
}

fn nothing_is_allocated() {
    let mut passage = passage(SourceRule::Exact);
    let mut scratch = Scratch::default();
    let (mut sound, mut report) = (rtp(), rtcp());
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for sequence in 0..10_000 {
        next(&mut sound, sequence);
        step(
            &mut passage,
            &mut sound,
            &mut scratch,
            u64::from(sequence) * 20_000,
        );
        step(&mut passage, &mut report, &mut scratch, 0);
    }
    let after = ALLOCATIONS.load(Ordering::Relaxed);
    assert_eq!(after, before, "allocations in 20000 packets");
    println!("relay step: 20000 packets, 0 allocations");
}

fn relay(criterion: &mut Criterion) {
    nothing_is_allocated();
    let mut group = criterion.benchmark_group("relay");
    group.throughput(Throughput::Elements(1));
    let latch = SourceRule::Latch {
        within: vec![(HOST, 32)],
        epoch: 1,
    };
    for (name, rule) in [
        ("rtp exact", SourceRule::Exact),
        ("rtp address", SourceRule::Address),
        ("rtp latch", latch),
    ] {
        let mut passage = passage(rule);
        let mut scratch = Scratch::default();
        let mut packet = rtp();
        let mut sequence = 0u16;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                sequence = sequence.wrapping_add(1);
                next(&mut packet, sequence);
                step(&mut passage, &mut packet, &mut scratch, u64::from(sequence));
            });
        });
    }
    let mut passage = passage(SourceRule::Exact);
    let mut scratch = Scratch::default();
    let mut packet = rtcp();
    group.bench_function("rtcp", |bencher| {
        bencher.iter(|| step(&mut passage, &mut packet, &mut scratch, 0));
    });
    group.finish();
}

criterion_group!(benches, relay);
criterion_main!(benches);
