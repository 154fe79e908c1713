//! One behaviour, every backend: what a relay must do, tried on the one of sockets and on the one
//! of memory.

mod playing;
mod srtp;

use super::memory::MemoryRelay;
use super::socket::{RelayConfig, RelayThreads, SocketRelay};
use super::{Relay, RelayMetrics};
use crate::media::flow::{DropReason, End, Flow, FlowId, Port, PortPair, RelayEvent, SourceRule};
use playing::{
    a_recording_is_played_to_its_end, a_warning_can_be_prepared_and_stopped,
    a_warning_is_heard_over_the_voice, an_update_goes_on_with_the_same_recording,
};
use srtp::{
    a_new_srtp_key_takes_over, srtp_garbage_is_counted_and_ends_nothing, srtp_on_both_legs,
    srtp_on_one_leg, srtp_sources_have_a_bound,
};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

/// A peer: a phone's socket.
type Peer = usize;

/// A backend with peers around it.
trait World {
    fn relay(&mut self) -> &mut dyn Relay;
    /// Everything asked of the relay is done.
    fn settle(&mut self);
    fn pair(&mut self, address: IpAddr) -> PortPair;
    fn peer(&mut self, address: IpAddr) -> Peer;
    fn address(&self, peer: Peer) -> SocketAddr;
    fn send(&mut self, from: Peer, to: SocketAddr, bytes: &[u8]);
    /// The next packet that reached the peer; panics where none comes.
    fn receive(&mut self, peer: Peer) -> (Vec<u8>, SocketAddr);
    /// Waits until `count` packets in all were dropped for the reason.
    fn dropped(&mut self, reason: DropReason, count: u64);
    /// Nothing is on its way to the peer.
    fn quiet(&mut self, peer: Peer);
    /// The next report; `silence` is how long to let pass where none is there.
    fn event(&mut self, silence: Duration) -> RelayEvent;
}

/// What reached a peer, and from where.
type Arrived = VecDeque<(Vec<u8>, SocketAddr)>;

#[derive(Default)]
struct MemoryWorld {
    relay: MemoryRelay,
    now: Duration,
    ports: u16,
    peers: Vec<(SocketAddr, Arrived)>,
}

impl World for MemoryWorld {
    fn relay(&mut self) -> &mut dyn Relay {
        &mut self.relay
    }

    fn settle(&mut self) {
        self.relay.flush(Instant::now());
    }

    fn pair(&mut self, address: IpAddr) -> PortPair {
        self.ports += 2;
        PortPair {
            address,
            rtp: 20_000 + self.ports,
        }
    }

    fn peer(&mut self, address: IpAddr) -> Peer {
        self.ports += 1;
        let at = SocketAddr::new(address, 40_000 + self.ports);
        self.peers.push((at, VecDeque::new()));
        self.peers.len() - 1
    }

    fn address(&self, peer: Peer) -> SocketAddr {
        self.peers[peer].0
    }

    fn send(&mut self, from: Peer, to: SocketAddr, bytes: &[u8]) {
        let source = self.address(from);
        if let Some(sent) = self.relay.deliver(bytes, source, to) {
            for (at, queue) in &mut self.peers {
                if *at == sent.to {
                    queue.push_back((sent.bytes.clone(), sent.from));
                }
            }
        }
    }

    fn receive(&mut self, peer: Peer) -> (Vec<u8>, SocketAddr) {
        if self.peers[peer].1.is_empty() {
            // A recording's next packet, perhaps.
            self.pass(Duration::from_millis(20));
        }
        self.peers[peer].1.pop_front().expect("a packet")
    }

    fn dropped(&mut self, reason: DropReason, count: u64) {
        assert_eq!(self.relay.dropped_for(reason), count);
    }

    fn quiet(&mut self, peer: Peer) {
        assert!(self.peers[peer].1.is_empty());
    }

    fn event(&mut self, silence: Duration) -> RelayEvent {
        if let Some(event) = self.relay.poll_event() {
            return event;
        }
        self.pass(silence);
        self.relay.poll_event().expect("a report")
    }
}

impl MemoryWorld {
    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.relay.advance(self.now);
        while let Some(sent) = self.relay.poll_played() {
            for (at, queue) in &mut self.peers {
                if *at == sent.to {
                    queue.push_back((sent.bytes.clone(), sent.from));
                }
            }
        }
    }
}

struct SocketWorld {
    relay: SocketRelay,
    metrics: RelayMetrics,
    _threads: RelayThreads,
    commands: u64,
    peers: Vec<UdpSocket>,
}

/// Tests of one run take turns through a range of their own.
static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

impl SocketWorld {
    fn new(threads: usize) -> Self {
        let config = RelayConfig {
            threads,
            sweep: Duration::from_millis(20),
            ..RelayConfig::default()
        };
        let (threads, mut relays) = RelayThreads::start(&config, 1).unwrap();
        Self {
            relay: relays.pop().unwrap(),
            metrics: threads.metrics(),
            _threads: threads,
            commands: 0,
            peers: Vec::new(),
        }
    }

    fn wait(&self, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "{:?}", self.metrics.snapshot());
            std::thread::yield_now();
        }
    }
}

impl World for SocketWorld {
    fn relay(&mut self) -> &mut dyn Relay {
        self.commands += 1;
        &mut self.relay
    }

    fn settle(&mut self) {
        self.relay.flush(Instant::now());
        if let Some(put_off) = self.relay.poll_timeout() {
            self.relay.flush(put_off);
        }
        self.wait(|world| world.metrics.snapshot().commands >= world.commands);
    }

    fn pair(&mut self, address: IpAddr) -> PortPair {
        let start = u16::try_from(std::process::id() % 3000).unwrap();
        for _ in 0..2000 {
            let turn = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
            let rtp = 24_000 + (start + turn) % 3000 * 2;
            let pair = PortPair { address, rtp };
            if self.relay.reserve(pair).is_ok() {
                self.commands += 1;
                return pair;
            }
        }
        panic!("no free port pair");
    }

    fn peer(&mut self, address: IpAddr) -> Peer {
        let socket = UdpSocket::bind(SocketAddr::new(address, 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        self.peers.push(socket);
        self.peers.len() - 1
    }

    fn address(&self, peer: Peer) -> SocketAddr {
        self.peers[peer].local_addr().unwrap()
    }

    fn send(&mut self, from: Peer, to: SocketAddr, bytes: &[u8]) {
        self.peers[from].send_to(bytes, to).unwrap();
    }

    fn receive(&mut self, peer: Peer) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 4096];
        let (length, from) = self.peers[peer].recv_from(&mut buffer).expect("a packet");
        (buffer[..length].to_vec(), from)
    }

    fn dropped(&mut self, reason: DropReason, count: u64) {
        self.wait(|world| world.metrics.snapshot().dropped_for(reason) >= count);
        assert_eq!(self.metrics.snapshot().dropped_for(reason), count);
    }

    fn quiet(&mut self, peer: Peer) {
        self.peers[peer].set_nonblocking(true).unwrap();
        let received = self.peers[peer].recv(&mut [0; 16]);
        assert!(received.is_err(), "{received:?}");
        self.peers[peer].set_nonblocking(false).unwrap();
    }

    fn event(&mut self, _: Duration) -> RelayEvent {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(event) = self.relay.poll_event() {
                return event;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no report");
            let mut poll = libc::pollfd {
                fd: self.relay.event_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            let millis = i32::try_from(left.as_millis()).unwrap();
            // SAFETY: one whole pollfd.
            unsafe { libc::poll(&raw mut poll, 1, millis) };
            self.relay.acknowledge();
        }
    }
}

/// A call set up in a world: two phones, each with an RTP and an RTCP socket.
struct Call {
    id: FlowId,
    flow: Flow,
    caller: [Peer; 2],
    callee: [Peer; 2],
}

const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

fn end(world: &mut dyn World, address: IpAddr, source: SourceRule) -> (End, [Peer; 2]) {
    let peers = [world.peer(address), world.peer(address)];
    let end = End {
        ports: world.pair(address),
        rtp: Some(world.address(peers[0])),
        rtcp: Some(world.address(peers[1])),
        rtcp_mux: false,
        source,
        may_send: true,
        crypto: None,
    };
    (end, peers)
}

fn call(world: &mut dyn World, caller: (IpAddr, SourceRule), callee: (IpAddr, SourceRule)) -> Call {
    let (caller, caller_peers) = end(world, caller.0, caller.1);
    let (callee, callee_peers) = end(world, callee.0, callee.1);
    let flow = Flow {
        caller,
        callee,
        clock_rates: Box::new([8000; 128]),
        content: crate::media::flow::Content::default(),
        cname: "ours".into(),
        extensions: Vec::new(),
        silence: None,
        play: None,
    };
    let call = Call {
        id: FlowId(7),
        flow,
        caller: caller_peers,
        callee: callee_peers,
    };
    install(world, &call);
    call
}

fn install(world: &mut dyn World, call: &Call) {
    world.relay().install(call.id, call.flow.clone());
    world.settle();
}

fn exact_call(world: &mut dyn World) -> Call {
    call(world, (V4, SourceRule::Exact), (V4, SourceRule::Exact))
}

fn rtp(sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 8];
    packet.extend(sequence.to_be_bytes());
    packet.extend(u32::from(sequence).wrapping_mul(160).to_be_bytes());
    packet.extend([1, 2, 3, 4]);
    packet.extend([0xd5; 160]);
    packet
}

/// A receiver report with the sender's name.
fn rtcp() -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1, 1, 2, 3, 4];
    packet.extend([0x81, 202, 0, 3, 1, 2, 3, 4]);
    packet.extend(b"\x02\x05Alice\0");
    packet
}

fn rtcp_cleaned() -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1, 1, 2, 3, 4];
    packet.extend([0x81, 202, 0, 3, 1, 2, 3, 4]);
    packet.extend(b"\x01\x04ours\0\0");
    packet
}

impl Call {
    fn to_caller_ports(&self, port: Port) -> SocketAddr {
        self.flow.caller.ports.local(port)
    }

    fn to_callee_ports(&self, port: Port) -> SocketAddr {
        self.flow.callee.ports.local(port)
    }

    /// A packet from the caller's phone arrives at the callee's, from our port on that leg.
    fn passes(&self, world: &mut dyn World, sequence: u16) {
        world.send(
            self.caller[0],
            self.to_caller_ports(Port::Rtp),
            &rtp(sequence),
        );
        let (bytes, from) = world.receive(self.callee[0]);
        assert_eq!(bytes, rtp(sequence));
        assert_eq!(from, self.to_callee_ports(Port::Rtp));
    }
}

fn both_ways(world: &mut dyn World) {
    let call = exact_call(world);
    call.passes(world, 1);
    world.send(call.callee[0], call.to_callee_ports(Port::Rtp), &rtp(9));
    assert_eq!(
        world.receive(call.caller[0]),
        (rtp(9), call.to_caller_ports(Port::Rtp))
    );
    world.send(call.callee[1], call.to_callee_ports(Port::Rtcp), &rtcp());
    assert_eq!(
        world.receive(call.caller[1]),
        (rtcp_cleaned(), call.to_caller_ports(Port::Rtcp))
    );
}

fn strangers_are_not_heard(world: &mut dyn World) {
    let call = exact_call(world);
    let stranger = world.peer(V4);
    world.send(stranger, call.to_caller_ports(Port::Rtp), &rtp(1));
    world.send(call.caller[1], call.to_caller_ports(Port::Rtp), &rtp(2));
    world.send(stranger, call.to_caller_ports(Port::Rtcp), &rtcp());
    world.dropped(DropReason::Source, 3);
    world.quiet(call.callee[0]);
    call.passes(world, 3);
}

fn any_port_of_the_address(world: &mut dyn World) {
    let call = call(world, (V4, SourceRule::Address), (V4, SourceRule::Exact));
    let another = world.peer(V4);
    world.send(another, call.to_caller_ports(Port::Rtp), &rtp(1));
    assert_eq!(world.receive(call.callee[0]).0, rtp(1));
    let elsewhere = world.peer("127.0.0.2".parse().unwrap());
    world.send(elsewhere, call.to_caller_ports(Port::Rtp), &rtp(2));
    world.dropped(DropReason::Source, 1);
    world.quiet(call.callee[0]);
}

fn the_first_source_is_latched(world: &mut dyn World) {
    let latch = |epoch| SourceRule::Latch {
        within: vec![(V4, 32)],
        epoch,
    };
    let mut call = call(world, (V4, latch(1)), (V4, SourceRule::Exact));
    let outside = world.peer("127.0.0.2".parse().unwrap());
    world.send(outside, call.to_caller_ports(Port::Rtp), &rtp(1));
    world.dropped(DropReason::Source, 1);
    let first = world.peer(V4);
    world.send(first, call.to_caller_ports(Port::Rtp), &rtp(2));
    assert_eq!(world.receive(call.callee[0]).0, rtp(2));
    let second = world.peer(V4);
    world.send(second, call.to_caller_ports(Port::Rtp), &rtp(3));
    world.dropped(DropReason::Source, 2);
    world.send(call.callee[0], call.to_callee_ports(Port::Rtp), &rtp(4));
    assert_eq!(
        world.receive(first).0,
        rtp(4),
        "the latched source is where it goes"
    );
    install(world, &call);
    world.send(second, call.to_caller_ports(Port::Rtp), &rtp(5));
    world.dropped(DropReason::Source, 3);
    call.flow.caller.source = latch(2);
    install(world, &call);
    world.send(second, call.to_caller_ports(Port::Rtp), &rtp(6));
    assert_eq!(
        world.receive(call.callee[0]).0,
        rtp(6),
        "a new description latches anew"
    );
    world.send(first, call.to_caller_ports(Port::Rtp), &rtp(7));
    world.dropped(DropReason::Source, 4);
}

fn hold_stops_sound_and_not_reports(world: &mut dyn World) {
    let mut call = exact_call(world);
    call.flow.caller.may_send = false;
    install(world, &call);
    world.send(call.caller[0], call.to_caller_ports(Port::Rtp), &rtp(1));
    world.dropped(DropReason::Held, 1);
    world.send(call.caller[1], call.to_caller_ports(Port::Rtcp), &rtcp());
    assert_eq!(world.receive(call.callee[1]).0, rtcp_cleaned());
    call.flow.caller.may_send = true;
    call.flow.callee.rtp = None;
    call.flow.callee.rtcp = None;
    install(world, &call);
    world.send(call.caller[0], call.to_caller_ports(Port::Rtp), &rtp(2));
    world.dropped(DropReason::NoDestination, 1);
    world.quiet(call.callee[0]);
}

fn a_new_address_takes_over(world: &mut dyn World) {
    let mut call = exact_call(world);
    call.passes(world, 1);
    let moved = world.peer(V4);
    let old = call.callee[0];
    call.flow.callee.rtp = Some(world.address(moved));
    install(world, &call);
    world.send(call.caller[0], call.to_caller_ports(Port::Rtp), &rtp(2));
    assert_eq!(world.receive(moved).0, rtp(2));
    world.send(old, call.to_callee_ports(Port::Rtp), &rtp(3));
    world.dropped(DropReason::Source, 1);
    world.quiet(old);
}

/// Between its answer and the moment that it hears of it, who moves still sends from where it was.
fn who_moves_in_an_answered_call_is_heard_all_the_way(world: &mut dyn World) {
    let mut call = exact_call(world);
    call.flow.content.follows = true;
    install(world, &call);
    call.passes(world, 1);
    let (old, moved) = (call.callee[0], world.peer(V4));
    call.flow.callee.rtp = Some(world.address(moved));
    install(world, &call);
    for (from, sequence) in [(old, 1), (moved, 2)] {
        world.send(from, call.to_callee_ports(Port::Rtp), &rtp(sequence));
        assert_eq!(world.receive(call.caller[0]).0, rtp(sequence));
    }
    world.send(old, call.to_callee_ports(Port::Rtp), &rtp(3));
    world.dropped(DropReason::Source, 1);
}

fn a_fax_passes_as_it_is(world: &mut dyn World) {
    let mut call = exact_call(world);
    call.passes(world, 1);
    call.flow.content.fax = true;
    install(world, &call);
    let datagram = [0, 7, 6, 1, 2, 3];
    world.send(call.callee[0], call.to_callee_ports(Port::Rtp), &datagram);
    assert_eq!(world.receive(call.caller[0]).0, datagram);
    let stranger = world.peer(V4);
    world.send(stranger, call.to_callee_ports(Port::Rtp), &datagram);
    world.dropped(DropReason::Source, 1);
    world.send(call.callee[1], call.to_callee_ports(Port::Rtcp), &rtcp());
    world.dropped(DropReason::NotRtp, 1);
    call.flow.content.fax = false;
    install(world, &call);
    world.send(call.callee[0], call.to_callee_ports(Port::Rtp), &datagram);
    world.dropped(DropReason::NotRtp, 2);
    call.passes(world, 2);
}

fn new_ports_take_over(world: &mut dyn World) {
    let mut call = exact_call(world);
    let before = call.to_callee_ports(Port::Rtp);
    call.flow.callee.ports = world.pair(V4);
    install(world, &call);
    call.passes(world, 1);
    world.send(call.callee[0], before, &rtp(2));
    world.dropped(DropReason::NoFlow, 1);
}

fn mux_on_one_leg(world: &mut dyn World) {
    let mut call = exact_call(world);
    call.flow.caller.rtcp_mux = true;
    call.flow.caller.rtcp = call.flow.caller.rtp;
    install(world, &call);
    world.send(call.caller[0], call.to_caller_ports(Port::Rtp), &rtcp());
    assert_eq!(
        world.receive(call.callee[1]),
        (rtcp_cleaned(), call.to_callee_ports(Port::Rtcp))
    );
    world.send(call.callee[1], call.to_callee_ports(Port::Rtcp), &rtcp());
    assert_eq!(
        world.receive(call.caller[0]),
        (rtcp_cleaned(), call.to_caller_ports(Port::Rtp))
    );
    world.send(call.callee[0], call.to_callee_ports(Port::Rtp), &rtcp());
    world.dropped(DropReason::NotRtp, 1);
}

fn families_are_bridged(world: &mut dyn World) {
    let call = call(world, (V4, SourceRule::Exact), (V6, SourceRule::Exact));
    call.passes(world, 1);
    world.send(call.callee[0], call.to_callee_ports(Port::Rtp), &rtp(2));
    assert_eq!(world.receive(call.caller[0]).0, rtp(2));
    world.send(call.callee[1], call.to_callee_ports(Port::Rtcp), &rtcp());
    assert_eq!(world.receive(call.caller[1]).0, rtcp_cleaned());
}

fn what_is_no_rtp_is_dropped(world: &mut dyn World) {
    let call = exact_call(world);
    let ports = [
        call.to_caller_ports(Port::Rtp),
        call.to_caller_ports(Port::Rtcp),
    ];
    world.send(call.caller[0], ports[0], b"");
    world.send(call.caller[0], ports[0], b"\0\x01\0\0stun");
    world.send(call.caller[0], ports[0], &[0x80; 11]);
    world.send(call.caller[0], ports[0], &[0x8f; 20]);
    world.dropped(DropReason::NotRtp, 4);
    world.send(call.caller[1], ports[1], &rtp(1));
    world.send(call.caller[1], ports[1], &[0x80, 203, 0, 0]);
    world.send(call.caller[1], ports[1], &[0x80, 200, 0, 9, 0]);
    world.dropped(DropReason::Rtcp, 3);
    world.quiet(call.callee[0]);
    world.quiet(call.callee[1]);
    call.passes(world, 5);
}

fn removal_tells_the_figures(world: &mut dyn World) {
    let call = exact_call(world);
    for sequence in [1, 2, 4, 3, 7] {
        call.passes(world, sequence);
    }
    world.send(call.callee[1], call.to_callee_ports(Port::Rtcp), &rtcp());
    world.receive(call.caller[1]);
    world.relay().remove(call.id);
    world.settle();
    match world.event(Duration::ZERO) {
        RelayEvent::Removed {
            flow,
            to_callee,
            to_caller,
            quality,
            guard_hits,
        } => {
            assert_eq!(flow, call.id);
            assert_eq!((to_callee.packets, to_callee.bytes), (5, 5 * 172));
            assert_eq!((to_callee.lost, to_callee.reordered), (2, 1));
            assert!(quality.to_callee.score_hundredths.is_some());
            assert_eq!(quality.to_caller.score_hundredths, None);
            // RTCP is no media: it does not count.
            assert_eq!((to_caller.packets, guard_hits), (0, 1));
        }
        other => panic!("{other:?}"),
    }
    world.send(call.caller[0], call.to_caller_ports(Port::Rtp), &rtp(9));
    world.dropped(DropReason::NoFlow, 1);
}

fn an_unknown_flow_is_removed_at_once(world: &mut dyn World) {
    world.relay().remove(FlowId(99));
    let event = world.event(Duration::ZERO);
    assert!(
        matches!(
            event,
            RelayEvent::Removed {
                flow: FlowId(99),
                ..
            }
        ),
        "{event:?}"
    );
}

fn ports_serve_the_next_call(world: &mut dyn World) {
    let mut call = exact_call(world);
    call.passes(world, 1);
    world.relay().remove(call.id);
    world.settle();
    world.event(Duration::ZERO);
    for _ in 0..3 {
        world.send(call.caller[0], call.to_caller_ports(Port::Rtp), &rtp(2));
    }
    world.dropped(DropReason::NoFlow, 3);
    call.id = FlowId(8);
    install(world, &call);
    call.passes(world, 3);
    world.relay().remove(call.id);
    world.settle();
    match world.event(Duration::ZERO) {
        RelayEvent::Removed { to_callee, .. } => assert_eq!(to_callee.packets, 1),
        other => panic!("{other:?}"),
    }
}

fn silence_is_told(world: &mut dyn World) {
    let mut call = exact_call(world);
    call.passes(world, 1);
    call.flow.silence = Some(Duration::from_millis(60));
    install(world, &call);
    assert_eq!(
        world.event(Duration::from_millis(60)),
        RelayEvent::Silent(call.id)
    );
    call.passes(world, 2);
    assert_eq!(
        world.event(Duration::from_millis(60)),
        RelayEvent::Silent(call.id)
    );
}

macro_rules! conformance {
    ($($name:ident),* $(,)?) => {
        mod memory_relay {
            $(#[test] fn $name() { super::$name(&mut super::MemoryWorld::default()); })*
        }
        mod socket_relay {
            $(#[test] fn $name() { super::$name(&mut super::SocketWorld::new(1)); })*
        }
    };
}

conformance!(
    both_ways,
    strangers_are_not_heard,
    any_port_of_the_address,
    the_first_source_is_latched,
    hold_stops_sound_and_not_reports,
    a_new_address_takes_over,
    who_moves_in_an_answered_call_is_heard_all_the_way,
    a_fax_passes_as_it_is,
    new_ports_take_over,
    mux_on_one_leg,
    families_are_bridged,
    what_is_no_rtp_is_dropped,
    removal_tells_the_figures,
    an_unknown_flow_is_removed_at_once,
    ports_serve_the_next_call,
    silence_is_told,
    srtp_on_one_leg,
    srtp_on_both_legs,
    srtp_garbage_is_counted_and_ends_nothing,
    a_new_srtp_key_takes_over,
    srtp_sources_have_a_bound,
    a_recording_is_played_to_its_end,
    an_update_goes_on_with_the_same_recording,
    a_warning_is_heard_over_the_voice,
    a_warning_can_be_prepared_and_stopped,
);

#[test]
fn a_port_that_somebody_has_is_not_ours() {
    let mut world = SocketWorld::new(1);
    let pair = world.pair(V4);
    assert!(
        world.relay.reserve(pair).is_ok(),
        "bound once, ours for good"
    );
    let mut other = SocketWorld::new(1);
    let error = other.relay.reserve(pair).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    world.settle();
    assert_eq!(world.metrics.snapshot().ports, 1);
}

#[test]
fn too_long_packets_are_dropped() {
    let mut world = SocketWorld::new(1);
    let call = exact_call(&mut world);
    world.send(
        call.caller[0],
        call.to_caller_ports(Port::Rtp),
        &[0x80; 3000],
    );
    world.dropped(DropReason::TooLong, 1);
    call.passes(&mut world, 1);
}

#[test]
fn what_waited_at_a_port_is_not_the_next_calls() {
    let mut world = SocketWorld::new(1);
    let mut call = exact_call(&mut world);
    world.relay().remove(call.id);
    world.settle();
    for _ in 0..50 {
        world.send(call.caller[0], call.to_caller_ports(Port::Rtp), &rtp(1));
    }
    call.id = FlowId(8);
    install(&mut world, &call);
    call.passes(&mut world, 2);
    world.relay().remove(call.id);
    world.settle();
    let packets = |event| match event {
        RelayEvent::Removed { to_callee, .. } => to_callee.packets,
        other => panic!("{other:?}"),
    };
    assert_eq!(packets(world.event(Duration::ZERO)), 0);
    assert_eq!(packets(world.event(Duration::ZERO)), 1);
    world.dropped(DropReason::NoFlow, 50);
}

#[test]
fn two_threads_share_the_flows_by_their_ports() {
    let mut world = SocketWorld::new(2);
    let pairs: Vec<PortPair> = (0..12).map(|_| world.pair(V4)).collect();
    for shard in 0..2 {
        let mut own = pairs
            .iter()
            .filter(|pair| crate::media::PortPool::shard_of(**pair, 2) == shard);
        let (mut caller, caller_peers) = end(&mut world, V4, SourceRule::Exact);
        let (mut callee, callee_peers) = end(&mut world, V4, SourceRule::Exact);
        caller.ports = *own.next().expect("a pair of this shard");
        callee.ports = *own.next().expect("a pair of this shard");
        let call = Call {
            id: FlowId(u64::try_from(shard).unwrap()),
            flow: Flow {
                caller,
                callee,
                clock_rates: Box::new([0; 128]),
                content: crate::media::flow::Content::default(),
                cname: "ours".into(),
                extensions: Vec::new(),
                silence: None,
                play: None,
            },
            caller: caller_peers,
            callee: callee_peers,
        };
        install(&mut world, &call);
        call.passes(&mut world, 1);
    }
    // A packet is counted once it is sent, so it may arrive before it counts.
    world.wait(|world| world.metrics.snapshot().packets >= 2);
    let snapshot = world.metrics.snapshot();
    assert_eq!((snapshot.flows, snapshot.packets), (2, 2));
}
