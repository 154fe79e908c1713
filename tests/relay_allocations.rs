//! The whole relay, sockets and all, allocates nothing for a packet, SRTP on both legs included.

use leasebridge::domain::Side;
use leasebridge::domain::srtp::Suite;
use leasebridge::media::flow::{Crypto, End, Flow, FlowId, Port, PortPair, SourceRule};
use leasebridge::relay::{Relay, RelayConfig, RelayThreads};
use leasebridge::rtp::srtp::{MAX_GROWTH, MAX_MASTER, MasterKey, Sender};
use std::alloc::{GlobalAlloc, Layout, System};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // The main thread is the test harness's, which keeps its own books meanwhile.
        // SAFETY: neither call takes a pointer.
        if unsafe { libc::gettid() != libc::getpid() } {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
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
const PACKETS: u16 = 2000;

fn phone() -> UdpSocket {
    let socket = UdpSocket::bind((HOST, 0)).expect("a port");
    let patience = Some(Duration::from_secs(10));
    socket.set_read_timeout(patience).expect("a timeout");
    socket
}

fn end(relay: &mut dyn Relay, from: u16, phone: &UdpSocket) -> End {
    let ports = (from..from + 1000)
        .step_by(2)
        .map(|rtp| PortPair { address: HOST, rtp })
        .find(|pair| relay.reserve(*pair).is_ok())
        .expect("a free pair");
    let rtp = phone.local_addr().ok();
    End {
        ports,
        rtp,
        rtcp: rtp.map(|at| SocketAddr::new(at.ip(), at.port().wrapping_add(1))),
        rtcp_mux: false,
        source: SourceRule::Exact,
        may_send: true,
        crypto: None,
    }
}

fn keys(send: u8, receive: u8) -> Option<Box<Crypto>> {
    let key = |seed| MasterKey::made(Suite::Cm128Sha1_80, &[seed; MAX_MASTER]);
    Some(Box::new(Crypto {
        send: key(send),
        receive: key(receive),
    }))
}

#[test]
fn a_packet_allocates_nothing() {
    let (threads, mut relays) = RelayThreads::start(&RelayConfig::default(), 1).expect("threads");
    let mut relay = relays.pop().expect("one worker");
    let (caller, callee) = (phone(), phone());
    let mut flow = Flow {
        caller: end(&mut relay, 30_000, &caller),
        callee: end(&mut relay, 31_000, &callee),
        clock_rates: Box::new([8000; 128]),
        content: leasebridge::media::flow::Content::default(),
        cname: "ours".into(),
        extensions: Vec::new(),
        silence: Some(Duration::from_secs(60)),
        play: None,
    };
    // What comes is deciphered, what goes is enciphered by another key.
    flow.caller.crypto = keys(1, 2);
    flow.callee.crypto = keys(3, 4);
    let mut phone = Sender::new(&keys(2, 1).expect("keys").send).expect("a key");
    let to = flow.end(Side::Caller).ports.local(Port::Rtp);
    relay.install(FlowId(1), flow);
    relay.flush(Instant::now());
    let metrics = threads.metrics();
    // Two pairs adopted, one flow installed.
    while metrics.snapshot().commands < 3 {
        std::thread::yield_now();
    }
    let mut packet = [0x80u8; 172 + MAX_GROWTH];
    let mut received = [0u8; 2048];
    let mut exchange = |sequence: u16| {
        packet[1] = 0;
        packet[2..4].copy_from_slice(&sequence.to_be_bytes());
        packet[12..].fill(0x80);
        let length = phone.protect(&mut packet, 172).expect("room");
        caller.send_to(&packet[..length], to).expect("sent");
        callee.recv(&mut received).expect("relayed")
    };
    exchange(0);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for sequence in 1..PACKETS {
        assert_eq!(exchange(sequence), 182);
    }
    let after = ALLOCATIONS.load(Ordering::Relaxed);
    assert_eq!(after, before, "allocations in {PACKETS} packets");
    // A packet is counted once it is sent, so it may arrive before it counts.
    let deadline = Instant::now() + Duration::from_secs(10);
    while metrics.snapshot().packets < u64::from(PACKETS) && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(metrics.snapshot().packets, u64::from(PACKETS));
}
