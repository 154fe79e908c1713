//! One relay thread: its sockets, its flows, and the loop that joins them.
//!
//! Each pass of the loop takes, in this order and each within a bound: packets, commands, a slice
//! of the search for silent flows, reports. Packets come before commands so that what waited at a
//! port before a flow was installed is never taken for the flow's.

use super::metrics::ThreadCounters;
use super::removed_unknown;
use super::socket::Shared;
use super::sys::{self, Events, Received, Waker};
use crate::domain::Side;
use crate::media::flow::{DropReason, Flow, FlowId, Port, PortPair, RelayEvent, Sides};
use crate::media::passage::{Passage, Scratch};
use crossbeam_channel::{Receiver, Sender, TrySendError};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Token of the thread's own waker.
const WAKE: u64 = u64::MAX;
/// Largest packet that is passed on.
const MAX_PACKET: usize = 2048;
/// Commands of one worker in a pass.
const COMMAND_BUDGET: usize = 512;
/// Flows looked at for silence in a pass.
const SWEEP_BUDGET: usize = 1024;
/// Packets of recordings sent in a pass.
const PLAY_BUDGET: usize = 256;
/// Packets thrown away in a row at a port without a flow.
const DRAIN_BUDGET: usize = 256;
/// Packets between two readings of the clock.
const CLOCK_PACKETS: usize = 8;

/// What a worker asks of the thread.
pub(super) enum Command {
    /// Take over a pair's sockets, at two places of the table of ports.
    Adopt {
        place: u32,
        pair: PortPair,
        rtp: OwnedFd,
        rtcp: OwnedFd,
    },
    /// Start or replace a flow.
    Install(FlowId, Box<Flow>),
    /// End a flow.
    Remove(FlowId),
}

/// The way back to one worker.
pub(super) struct Outbox {
    sender: Sender<RelayEvent>,
    waker: Arc<Waker>,
    /// Reports that found the queue full; at most three for each flow.
    waiting: VecDeque<RelayEvent>,
    dirty: bool,
}

impl Outbox {
    pub(super) const fn new(sender: Sender<RelayEvent>, waker: Arc<Waker>) -> Self {
        Self {
            sender,
            waker,
            waiting: VecDeque::new(),
            dirty: false,
        }
    }

    fn push(&mut self, event: RelayEvent, counters: &ThreadCounters) {
        self.waiting.push_back(event);
        self.forward();
        if !self.waiting.is_empty() {
            counters.queue_full.add(1);
        }
    }

    fn forward(&mut self) {
        while let Some(event) = self.waiting.pop_front() {
            match self.sender.try_send(event) {
                Ok(()) => self.dirty = true,
                Err(TrySendError::Full(event)) => return self.waiting.push_front(event),
                // The worker is gone; nobody waits for its reports.
                Err(TrySendError::Disconnected(_)) => {}
            }
        }
    }

    fn flush(&mut self) {
        self.forward();
        if std::mem::take(&mut self.dirty) {
            self.waker.wake();
        }
    }
}

/// One socket.
struct Socket {
    fd: OwnedFd,
    /// Place of the flow that has it now.
    flow: Option<u32>,
    side: Side,
    port: Port,
}

/// A flow with the sockets it sends by.
struct Slot {
    id: FlowId,
    worker: usize,
    passage: Passage,
    /// By side: RTP, RTCP.
    fds: Sides<(RawFd, RawFd)>,
    places: Sides<Option<u32>>,
    /// Its place in the order of what is to be played.
    due: Option<u64>,
}

pub(super) struct Thread {
    shared: Arc<Shared>,
    inboxes: Vec<Receiver<Command>>,
    outboxes: Vec<Outbox>,
    counters: Arc<ThreadCounters>,
    sweep_micros: u64,
    next_sweep_micros: u64,
    /// Where a search for silent flows has come to.
    cursor: Option<usize>,
    began: Instant,
    sockets: Vec<Option<Socket>>,
    /// Place of a pair's RTP socket; its RTCP socket is the next.
    pairs: HashMap<PortPair, u32>,
    flows: Vec<Option<Box<Slot>>>,
    free: Vec<u32>,
    index: HashMap<(usize, FlowId), u32>,
    /// When which flow's next packet of a recording is due; each flow at most once.
    due: BTreeSet<(u64, u32)>,
    buffer: Box<[u8; MAX_PACKET]>,
    scratch: Scratch,
}

impl Thread {
    pub(super) fn new(
        shared: Arc<Shared>,
        inboxes: Vec<Receiver<Command>>,
        outboxes: Vec<Outbox>,
        counters: Arc<ThreadCounters>,
        sweep: Duration,
    ) -> io::Result<Self> {
        shared.poller.add(shared.waker.fd(), WAKE)?;
        let now = Instant::now();
        Ok(Self {
            shared,
            inboxes,
            outboxes,
            counters,
            sweep_micros: u64::try_from(sweep.as_micros()).unwrap_or(u64::MAX),
            next_sweep_micros: 0,
            cursor: None,
            began: now,
            sockets: Vec::new(),
            pairs: HashMap::new(),
            flows: Vec::new(),
            free: Vec::new(),
            index: HashMap::new(),
            due: BTreeSet::new(),
            buffer: Box::new([0; MAX_PACKET]),
            scratch: Scratch::default(),
        })
    }

    /// Runs until told to stop.
    pub(super) fn run(mut self) {
        let shared = self.shared.clone();
        let mut events = Events::new();
        let mut micros = self.micros();
        while !shared.stop.load(Ordering::Acquire) {
            shared.poller.wait(&mut events, self.timeout(micros));
            // The clock is read once for a few packets: a jitter of microseconds is none.
            micros = self.micros();
            let mut woken = false;
            for (count, token) in events.tokens().enumerate() {
                if count % CLOCK_PACKETS == CLOCK_PACKETS - 1 {
                    micros = self.micros();
                }
                match usize::try_from(token) {
                    Ok(place) if token != WAKE => self.packet(place, micros),
                    _ => woken = true,
                }
            }
            if woken {
                shared.waker.drain();
                self.commands();
            }
            self.play(micros);
            self.search(micros);
            for outbox in &mut self.outboxes {
                outbox.flush();
            }
        }
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn timeout(&self, micros: u64) -> Option<Duration> {
        if self.cursor.is_some() {
            Some(Duration::ZERO)
        } else if self
            .outboxes
            .iter()
            .any(|outbox| !outbox.waiting.is_empty())
        {
            Some(Duration::from_millis(10))
        } else if self.index.is_empty() {
            None
        } else {
            // Rounded up: a wait of whole milliseconds must not end just before.
            let next = self.due.first().map_or(u64::MAX, |(due, _)| *due);
            let left = self.next_sweep_micros.min(next).saturating_sub(micros);
            Some(Duration::from_micros(left) + Duration::from_millis(1))
        }
    }

    /// One packet from the socket at `place`.
    #[inline]
    fn packet(&mut self, place: usize, micros: u64) {
        let Some(Some(socket)) = self.sockets.get(place) else {
            return;
        };
        let fd = socket.fd.as_raw_fd();
        let (side, port) = (socket.side, socket.port);
        let slot = socket
            .flow
            .and_then(|flow| self.flows.get_mut(usize::try_from(flow).ok()?))
            .and_then(Option::as_mut);
        let Some(slot) = slot else {
            return self.drain(fd);
        };
        let (length, source) = match sys::receive(fd, &mut self.buffer[..]) {
            Received::Packet(length, source) => (length, source),
            Received::TooLong => return self.counters.refuse(DropReason::TooLong),
            Received::Nothing => return,
        };
        let Some(packet) = self.buffer.get_mut(..length) else {
            return;
        };
        let scratch = &mut self.scratch;
        let passed = slot
            .passage
            .step(side, port, source, packet, scratch, micros);
        let passed = match passed {
            Ok(passed) => passed,
            Err(reason) => return self.counters.refuse(reason),
        };
        let (rtp, rtcp) = *slot.fds.of(side.other());
        let out = match passed.port {
            Port::Rtp => rtp,
            Port::Rtcp => rtcp,
        };
        if !sys::send(out, passed.bytes, passed.to) {
            return self.counters.refuse(DropReason::Send);
        }
        let (length, media) = (passed.bytes.len(), passed.media);
        if media {
            slot.passage.passed(side, length);
        }
        self.counters.packets.add(1);
        self.counters.bytes.add(length as u64);
    }

    /// Throws away what waits at a port, so that no flow gets it.
    #[cold]
    fn drain(&mut self, fd: RawFd) {
        for _ in 0..DRAIN_BUDGET {
            match sys::receive(fd, &mut self.buffer[..]) {
                Received::Nothing => return,
                Received::Packet(..) | Received::TooLong => {
                    self.counters.refuse(DropReason::NoFlow)
                }
            }
        }
    }

    fn commands(&mut self) {
        let mut more = false;
        for worker in 0..self.inboxes.len() {
            for count in 0..=COMMAND_BUDGET {
                if count == COMMAND_BUDGET {
                    more = true;
                    break;
                }
                let command = self.inboxes.get(worker).map(Receiver::try_recv);
                let Some(Ok(command)) = command else {
                    break;
                };
                self.command(worker, command);
                self.counters.commands.add(1);
            }
        }
        if more {
            self.shared.waker.wake();
        }
    }

    fn command(&mut self, worker: usize, command: Command) {
        match command {
            Command::Adopt {
                place,
                pair,
                rtp,
                rtcp,
            } => self.adopt(place, pair, rtp, rtcp),
            Command::Install(id, flow) => self.install(worker, id, *flow),
            Command::Remove(id) => self.remove(worker, id),
        }
    }

    fn adopt(&mut self, place: u32, pair: PortPair, rtp: OwnedFd, rtcp: OwnedFd) {
        let Ok(first) = usize::try_from(place) else {
            return;
        };
        if self.sockets.len() < first + 2 {
            self.sockets.resize_with(first + 2, || None);
        }
        let sockets = [(rtp, Port::Rtp), (rtcp, Port::Rtcp)];
        for (slot, (fd, port)) in self.sockets.iter_mut().skip(first).zip(sockets) {
            *slot = Some(Socket {
                fd,
                flow: None,
                side: Side::Caller,
                port,
            });
        }
        self.pairs.insert(pair, place);
        self.counters.ports.set(self.pairs.len() as u64);
    }

    fn install(&mut self, worker: usize, id: FlowId, flow: Flow) {
        let micros = self.micros();
        let place = match self.index.get(&(worker, id)) {
            Some(place) => *place,
            None => self.place_for(worker, id, &flow, micros),
        };
        let pairs = Sides {
            caller: flow.caller.ports,
            callee: flow.callee.ports,
        };
        if let Some(slot) = self.slot(place) {
            slot.passage.update(flow, micros);
        }
        for side in [Side::Caller, Side::Callee] {
            let socket = self.pairs.get(pairs.of(side)).copied();
            self.attach(place, side, socket);
        }
        self.schedule(place);
    }

    fn slot(&mut self, place: u32) -> Option<&mut Slot> {
        self.flows
            .get_mut(usize::try_from(place).ok()?)?
            .as_deref_mut()
    }

    fn place_for(&mut self, worker: usize, id: FlowId, flow: &Flow, micros: u64) -> u32 {
        let slot = Some(Box::new(Slot {
            id,
            worker,
            passage: Passage::new(flow.clone(), micros),
            fds: Sides {
                caller: (-1, -1),
                callee: (-1, -1),
            },
            places: Sides::default(),
            due: None,
        }));
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                self.flows.push(None);
                u32::try_from(self.flows.len() - 1).unwrap_or(u32::MAX)
            }
        };
        if let Ok(at) = usize::try_from(place)
            && let Some(room) = self.flows.get_mut(at)
        {
            *room = slot;
        }
        self.index.insert((worker, id), place);
        self.counters.flows.set(self.index.len() as u64);
        place
    }

    /// Gives a leg of the flow at `place` the pair whose RTP socket is at `socket`; drains sockets
    /// that it did not have before.
    fn attach(&mut self, place: u32, side: Side, socket: Option<u32>) {
        let before = self.slot(place).and_then(|slot| *slot.places.of(side));
        if before == socket {
            return;
        }
        self.detach(place, before);
        let mut fds = [-1, -1];
        for (fd, offset) in fds.iter_mut().zip(0..) {
            let at = socket.and_then(|first| usize::try_from(first + offset).ok());
            let Some(Some(socket)) = at.and_then(|at| self.sockets.get_mut(at)) else {
                continue;
            };
            socket.flow = Some(place);
            socket.side = side;
            *fd = socket.fd.as_raw_fd();
        }
        for fd in fds.into_iter().filter(|fd| *fd >= 0) {
            self.drain(fd);
        }
        let [rtp, rtcp] = fds;
        if let Some(slot) = self.slot(place) {
            *slot.fds.of_mut(side) = (rtp, rtcp);
            *slot.places.of_mut(side) = socket;
        }
    }

    fn detach(&mut self, place: u32, socket: Option<u32>) {
        for offset in 0..2 {
            let at = socket.and_then(|first| usize::try_from(first + offset).ok());
            if let Some(Some(socket)) = at.and_then(|at| self.sockets.get_mut(at))
                && socket.flow == Some(place)
            {
                socket.flow = None;
            }
        }
    }

    fn remove(&mut self, worker: usize, id: FlowId) {
        let event = match self.index.remove(&(worker, id)) {
            Some(place) => self.removed(place).unwrap_or_else(|| removed_unknown(id)),
            None => removed_unknown(id),
        };
        self.counters.flows.set(self.index.len() as u64);
        if let Some(outbox) = self.outboxes.get_mut(worker) {
            outbox.push(event, &self.counters);
        }
    }

    fn removed(&mut self, place: u32) -> Option<RelayEvent> {
        let at = usize::try_from(place).ok()?;
        let slot = self.flows.get_mut(at)?.take()?;
        if let Some(due) = slot.due {
            self.due.remove(&(due, place));
        }
        self.detach(place, slot.places.caller);
        self.detach(place, slot.places.callee);
        self.free.push(place);
        let guard_hits = slot.passage.guard_hits();
        self.counters.removed_items.add(u64::from(guard_hits));
        Some(slot.passage.removed(slot.id))
    }

    /// Puts a flow where its next packet of a recording wants it.
    fn schedule(&mut self, place: u32) {
        let Some(slot) = self.slot(place) else { return };
        let wanted = slot.passage.next_play();
        let before = std::mem::replace(&mut slot.due, wanted);
        if before == wanted {
            return;
        }
        if let Some(due) = before {
            self.due.remove(&(due, place));
        }
        if let Some(due) = wanted {
            self.due.insert((due, place));
        }
    }

    /// Sends what recordings have for now.
    fn play(&mut self, micros: u64) {
        for _ in 0..PLAY_BUDGET {
            match self.due.first().copied() {
                Some((due, place)) if due <= micros => self.play_one(place, micros),
                _ => return,
            }
        }
    }

    fn play_one(&mut self, place: u32, micros: u64) {
        let at = usize::try_from(place).unwrap_or(usize::MAX);
        let Some(Some(slot)) = self.flows.get_mut(at) else {
            return;
        };
        if let Some(passed) = slot.passage.play(micros, &mut self.scratch) {
            let (rtp, _) = slot.fds.caller;
            if sys::send(rtp, passed.bytes, passed.to) {
                self.counters.packets.add(1);
                self.counters.bytes.add(passed.bytes.len() as u64);
            } else {
                self.counters.refuse(DropReason::Send);
            }
        }
        if slot.passage.played()
            && let Some(outbox) = self.outboxes.get_mut(slot.worker)
        {
            outbox.push(RelayEvent::Played(slot.id), &self.counters);
        }
        self.schedule(place);
    }

    /// Looks for silent flows and ended recordings, a slice at a time.
    fn search(&mut self, micros: u64) {
        let from = match self.cursor {
            Some(from) => from,
            None if self.index.is_empty() || micros < self.next_sweep_micros => return,
            None => {
                self.next_sweep_micros = micros.saturating_add(self.sweep_micros);
                0
            }
        };
        for slot in self.flows.iter_mut().skip(from).take(SWEEP_BUDGET) {
            let Some(slot) = slot else { continue };
            if slot.passage.silent(micros)
                && let Some(outbox) = self.outboxes.get_mut(slot.worker)
            {
                outbox.push(RelayEvent::Silent(slot.id), &self.counters);
            }
            if slot.passage.played()
                && let Some(outbox) = self.outboxes.get_mut(slot.worker)
            {
                outbox.push(RelayEvent::Played(slot.id), &self.counters);
            }
        }
        let to = from + SWEEP_BUDGET;
        self.cursor = (to < self.flows.len()).then_some(to);
    }
}
