//! A relay without sockets: packets are handed in and come out. For the simulated network.

use super::{Relay, removed_unknown};
use crate::domain::Side;
use crate::media::flow::{DropReason, Flow, FlowId, Port, PortPair, RelayEvent};
use crate::media::passage::{Passage, Scratch};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A packet that the relay sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// From this port of ours.
    pub from: SocketAddr,
    /// To this address.
    pub to: SocketAddr,
    /// What.
    pub bytes: Vec<u8>,
}

/// Packets of recordings that may wait to be taken.
const MOST_PLAYED: usize = 65_536;

/// The relay.
#[derive(Default)]
pub struct MemoryRelay {
    now: Duration,
    flows: BTreeMap<FlowId, Passage>,
    ports: BTreeMap<SocketAddr, (FlowId, Side, Port)>,
    events: VecDeque<RelayEvent>,
    dropped: [u64; DropReason::ALL.len()],
    refused: Vec<PortPair>,
    played: VecDeque<Sent>,
    scratch: Scratch,
}

impl MemoryRelay {
    /// An empty relay at time zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes [`Relay::reserve`] fail for a pair, as if somebody else had it.
    pub fn refuse(&mut self, pair: PortPair) {
        self.refused.push(pair);
    }

    /// Lets time pass, up to `now` since the beginning, and notices silence.
    pub fn advance(&mut self, now: Duration) {
        self.now = self.now.max(now);
        let micros = self.micros();
        for (id, passage) in &mut self.flows {
            if passage.silent(micros) {
                self.events.push_back(RelayEvent::Silent(*id));
            }
            while passage.next_play().is_some_and(|due| due <= micros) {
                let from = passage.end(Side::Caller).ports;
                if let Some(passed) = passage.play(micros, &mut self.scratch)
                    && self.played.len() < MOST_PLAYED
                {
                    self.played.push_back(Sent {
                        from: from.local(passed.port),
                        to: passed.to,
                        bytes: passed.bytes.to_vec(),
                    });
                }
            }
            if passage.played() {
                self.events.push_back(RelayEvent::Played(*id));
            }
        }
    }

    /// The next packet of a recording that became due as time passed.
    pub fn poll_played(&mut self) -> Option<Sent> {
        self.played.pop_front()
    }

    /// A packet arrives at one of our ports.
    pub fn deliver(&mut self, bytes: &[u8], source: SocketAddr, local: SocketAddr) -> Option<Sent> {
        match self.pass(bytes, source, local) {
            Ok(sent) => Some(sent),
            Err(reason) => {
                if let Some(counter) = self.dropped.get_mut(reason.index()) {
                    *counter += 1;
                }
                None
            }
        }
    }

    /// Packets dropped for `reason`.
    #[must_use]
    pub fn dropped_for(&self, reason: DropReason) -> u64 {
        self.dropped.get(reason.index()).copied().unwrap_or(0)
    }

    /// Flows now.
    #[must_use]
    pub fn flows(&self) -> usize {
        self.flows.len()
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.now.as_micros()).unwrap_or(u64::MAX)
    }

    fn pass(
        &mut self,
        bytes: &[u8],
        source: SocketAddr,
        local: SocketAddr,
    ) -> Result<Sent, DropReason> {
        let micros = self.micros();
        let (id, side, port) = *self.ports.get(&local).ok_or(DropReason::NoFlow)?;
        let passage = self.flows.get_mut(&id).ok_or(DropReason::NoFlow)?;
        let mut packet = bytes.to_vec();
        let passed = passage.step(side, port, source, &mut packet, &mut self.scratch, micros)?;
        let (bytes, port, to) = (passed.bytes.to_vec(), passed.port, passed.to);
        let media = passed.media;
        let from = passage.end(side.other()).ports.local(port);
        if media {
            passage.passed(side, bytes.len());
        }
        Ok(Sent { from, to, bytes })
    }

    fn detach(&mut self, id: FlowId, flow: &Flow) {
        for (local, _, _) in locals(flow) {
            if self
                .ports
                .get(&local)
                .is_some_and(|(owner, _, _)| *owner == id)
            {
                self.ports.remove(&local);
            }
        }
    }

    fn attach(&mut self, id: FlowId, flow: &Flow) {
        for (local, side, port) in locals(flow) {
            self.ports.insert(local, (id, side, port));
        }
    }
}

/// A flow's four ports.
fn locals(flow: &Flow) -> impl Iterator<Item = (SocketAddr, Side, Port)> + '_ {
    [Side::Caller, Side::Callee].into_iter().flat_map(|side| {
        let ports = flow.end(side).ports;
        [Port::Rtp, Port::Rtcp].map(|port| (ports.local(port), side, port))
    })
}

impl Relay for MemoryRelay {
    fn reserve(&mut self, pair: PortPair) -> io::Result<()> {
        if self.refused.contains(&pair) {
            Err(io::ErrorKind::AddrInUse.into())
        } else {
            Ok(())
        }
    }

    fn install(&mut self, id: FlowId, flow: Flow) {
        let micros = self.micros();
        let passage = match self.flows.remove(&id) {
            Some(mut passage) => {
                self.detach(id, passage.flow());
                passage.update(flow, micros);
                passage
            }
            None => Passage::new(flow, micros),
        };
        self.attach(id, passage.flow());
        self.flows.insert(id, passage);
    }

    fn remove(&mut self, id: FlowId) {
        let Some(passage) = self.flows.remove(&id) else {
            return self.events.push_back(removed_unknown(id));
        };
        self.detach(id, passage.flow());
        self.events.push_back(passage.removed(id));
    }

    fn flush(&mut self, _now: Instant) {}

    fn poll_event(&mut self) -> Option<RelayEvent> {
        self.events.pop_front()
    }
}
