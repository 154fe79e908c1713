//! The relay on UDP sockets: threads of its own, one socket a port, bound before the first call and
//! kept, so that a call costs no `socket`, `bind` or `close`.
//!
//! ```text
//!   worker ──SocketRelay──▶ queue ──eventfd──▶ thread ── recvfrom ▸ Passage ▸ sendto
//!          ◀──── queue, eventfd ──────────────┘
//! ```
//!
//! All four ports of a call must lie in one shard of the pool ([`PortPool::shard_of`]), as many
//! shards as threads: a shard is a thread's, so a flow is never touched by two.

use super::metrics::{RelayMetrics, ThreadCounters};
use super::sys::{self, Poller, Waker};
use super::thread::{Command, Outbox, Thread};
use super::{Relay, removed_unknown};
use crate::media::flow::{Flow, FlowId, Port, PortPair, RelayEvent};
use crate::media::ports::PortPool;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Commands that may wait for one thread; more wait in the worker until the next flush.
const COMMANDS: usize = 4096;
/// Reports that may wait for one worker; more wait in the thread.
const EVENTS: usize = 4096;

/// So long the end of a flow may wait for other commands before the thread is woken for it: only the
/// call's record waits for the answer.
const END_PATIENCE: Duration = Duration::from_millis(5);

/// How the relay runs.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// Threads, at least one; the pools must have as many shards.
    pub threads: usize,
    /// Processors to keep them on, in order; threads beyond the list are not pinned.
    pub cpus: Vec<usize>,
    /// Receive buffer asked for each socket, bytes.
    pub receive_buffer: usize,
    /// Differentiated services code point that is sent with (RFC 2474), 0 to 63.
    pub dscp: u8,
    /// How often silent flows are looked for.
    pub sweep: Duration,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            threads: 1,
            cpus: Vec::new(),
            receive_buffer: 208 * 1024,
            dscp: 46,
            sweep: Duration::from_secs(1),
        }
    }
}

/// A thread as others reach it.
pub(super) struct Shared {
    pub(super) poller: Poller,
    pub(super) waker: Waker,
    pub(super) stop: AtomicBool,
    /// Next place in the thread's table of ports.
    ports: AtomicU32,
}

/// The running threads. They end when this is dropped.
pub struct RelayThreads {
    shared: Vec<Arc<Shared>>,
    joins: Vec<JoinHandle<()>>,
    metrics: RelayMetrics,
}

impl RelayThreads {
    /// Starts the threads, with one [`SocketRelay`] for each of `workers` workers.
    ///
    /// # Errors
    /// The system's: no descriptor, no thread, a processor that cannot be pinned to.
    pub fn start(config: &RelayConfig, workers: usize) -> io::Result<(Self, Vec<SocketRelay>)> {
        let threads = config.threads.max(1);
        let mut started = Self {
            shared: Vec::new(),
            joins: Vec::new(),
            metrics: RelayMetrics::default(),
        };
        let mut relays = Vec::new();
        let mut outboxes = Vec::new();
        for _ in 0..workers {
            let (sender, receiver) = bounded(EVENTS);
            let waker = Arc::new(Waker::new()?);
            outboxes.push((sender, waker.clone()));
            relays.push(SocketRelay {
                lanes: Vec::new(),
                events: receiver,
                own: VecDeque::new(),
                waker,
                bound: HashSet::new(),
                flows: HashMap::new(),
                receive_buffer: config.receive_buffer,
                dscp: config.dscp,
            });
        }
        let mut counters = Vec::new();
        for number in 0..threads {
            let counter = Arc::new(ThreadCounters::default());
            counters.push(counter.clone());
            started.spawn(config, number, counter, &mut relays, &outboxes)?;
        }
        started.metrics = RelayMetrics::new(counters);
        Ok((started, relays))
    }

    /// The counters of all threads.
    #[must_use]
    pub fn metrics(&self) -> RelayMetrics {
        self.metrics.clone()
    }

    fn spawn(
        &mut self,
        config: &RelayConfig,
        number: usize,
        counters: Arc<ThreadCounters>,
        relays: &mut [SocketRelay],
        outboxes: &[(Sender<RelayEvent>, Arc<Waker>)],
    ) -> io::Result<()> {
        let shared = Arc::new(Shared {
            poller: Poller::new()?,
            waker: Waker::new()?,
            stop: AtomicBool::new(false),
            ports: AtomicU32::new(0),
        });
        let mut inboxes = Vec::new();
        for relay in relays {
            let (sender, receiver) = bounded(COMMANDS);
            inboxes.push(receiver);
            relay.lanes.push(Lane {
                shared: shared.clone(),
                sender,
                waiting: VecDeque::new(),
                dirty: false,
                ended: false,
                due: None,
            });
        }
        let outboxes = outboxes
            .iter()
            .map(|(sender, waker)| Outbox::new(sender.clone(), waker.clone()))
            .collect();
        let cpu = config.cpus.get(number).copied();
        let (ready, pinned) = bounded(1);
        let thread = Thread::new(shared.clone(), inboxes, outboxes, counters, config.sweep)?;
        let join = std::thread::Builder::new()
            .name(format!("relay-{number}"))
            .spawn(move || {
                let outcome = cpu.map_or(Ok(()), sys::pin);
                let failed = outcome.is_err();
                let _ = ready.send(outcome);
                if !failed {
                    thread.run();
                }
            })?;
        self.shared.push(shared);
        self.joins.push(join);
        pinned.recv().unwrap_or(Ok(()))
    }
}

impl Drop for RelayThreads {
    fn drop(&mut self) {
        for shared in &self.shared {
            shared.stop.store(true, Ordering::Release);
            shared.waker.wake();
        }
        for join in self.joins.drain(..) {
            // A thread that panicked has told of it by itself.
            let _ = join.join();
        }
    }
}

/// One worker's way to one thread.
struct Lane {
    shared: Arc<Shared>,
    sender: Sender<Command>,
    /// Commands that found the queue full; no more of them than there are flows and ports.
    waiting: VecDeque<Command>,
    /// The thread is to be woken at the next flush.
    dirty: bool,
    /// Flows have ended.
    ended: bool,
    /// When the thread is to be woken for them at the latest.
    due: Option<Instant>,
}

impl Lane {
    fn push(&mut self, command: Command) {
        match command {
            Command::Remove(_) => self.ended = true,
            Command::Adopt { .. } | Command::Install(..) => self.dirty = true,
        }
        self.waiting.push_back(command);
        self.forward();
        if !self.waiting.is_empty() {
            // The queue is full: the thread has something to do.
            self.shared.waker.wake();
        }
    }

    fn flush(&mut self, now: Instant) {
        self.forward();
        if std::mem::take(&mut self.ended) && self.due.is_none() {
            self.due = Some(now + END_PATIENCE);
        }
        if self.dirty || self.due.is_some_and(|due| due <= now) {
            self.shared.waker.wake();
            self.due = None;
            // What still waits needs another turn.
            self.dirty = !self.waiting.is_empty();
        }
    }

    fn forward(&mut self) {
        while let Some(command) = self.waiting.pop_front() {
            match self.sender.try_send(command) {
                Ok(()) => {}
                Err(TrySendError::Full(command)) => return self.waiting.push_front(command),
                // The threads have ended, and with them every flow.
                Err(TrySendError::Disconnected(_)) => {}
            }
        }
    }
}

/// The relay as one worker sees it.
pub struct SocketRelay {
    lanes: Vec<Lane>,
    events: Receiver<RelayEvent>,
    /// Reports that need no thread.
    own: VecDeque<RelayEvent>,
    waker: Arc<Waker>,
    bound: HashSet<PortPair>,
    /// The thread of each flow.
    flows: HashMap<FlowId, usize>,
    receive_buffer: usize,
    dscp: u8,
}

impl SocketRelay {
    /// Readable when reports wait; read it (eight bytes) or call [`Self::acknowledge`] before
    /// polling them.
    #[must_use]
    pub fn event_fd(&self) -> RawFd {
        self.waker.fd()
    }

    /// Takes the wakes so far; to be called before [`Relay::poll_event`] is drained.
    pub fn acknowledge(&self) {
        self.waker.drain();
    }

    fn lane_of(&mut self, pair: PortPair) -> Option<&mut Lane> {
        let shard = PortPool::shard_of(pair, self.lanes.len());
        self.lanes.get_mut(shard)
    }
}

impl Relay for SocketRelay {
    fn reserve(&mut self, pair: PortPair) -> io::Result<()> {
        if self.bound.contains(&pair) {
            return Ok(());
        }
        let (buffer, dscp) = (self.receive_buffer, self.dscp);
        let rtp = sys::bind_udp(pair.local(Port::Rtp), buffer, dscp)?;
        let rtcp = sys::bind_udp(pair.local(Port::Rtcp), buffer, dscp)?;
        let lane = self
            .lane_of(pair)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        // Two places in the thread's table. It learns of them by the command; a packet that comes
        // before finds no flow.
        let place = lane.shared.ports.fetch_add(2, Ordering::Relaxed);
        lane.shared.poller.add(rtp.as_raw_fd(), u64::from(place))?;
        lane.shared
            .poller
            .add(rtcp.as_raw_fd(), u64::from(place) + 1)?;
        lane.push(Command::Adopt {
            place,
            pair,
            rtp,
            rtcp,
        });
        self.bound.insert(pair);
        Ok(())
    }

    fn install(&mut self, id: FlowId, flow: Flow) {
        let shard = PortPool::shard_of(flow.caller.ports, self.lanes.len());
        if let Some(lane) = self.lanes.get_mut(shard) {
            lane.push(Command::Install(id, Box::new(flow)));
            self.flows.insert(id, shard);
        }
    }

    fn remove(&mut self, id: FlowId) {
        let shard = self.flows.remove(&id);
        match shard.and_then(|shard| self.lanes.get_mut(shard)) {
            Some(lane) => lane.push(Command::Remove(id)),
            None => self.own.push_back(removed_unknown(id)),
        }
    }

    fn flush(&mut self, now: Instant) {
        for lane in &mut self.lanes {
            lane.flush(now);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.lanes.iter().filter_map(|lane| lane.due).min()
    }

    fn poll_event(&mut self) -> Option<RelayEvent> {
        self.own.pop_front().or_else(|| self.events.try_recv().ok())
    }
}
