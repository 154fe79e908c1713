//! One flow's packets: gate, cleaning, counters. A backend receives, calls [`Passage::step`],
//! sends what comes out, and calls [`Passage::passed`]; it decides nothing itself. Nothing here
//! allocates.

use super::flow::{DropReason, End, Flow, Port, Sides};
use super::gate::{self, Kind, Latch};
use super::rtcp::{self, MAX_COMPOUND};
use crate::domain::{MediaFigures, Side};
use crate::rtp::{Header, Stream, extension};
use std::net::SocketAddr;

/// A packet that is to be sent on.
#[derive(Debug, PartialEq, Eq)]
pub struct Passed<'p> {
    /// What to send.
    pub bytes: &'p [u8],
    /// From which port of the *other* side's pair.
    pub port: Port,
    /// To whom.
    pub to: SocketAddr,
    /// Whether it is RTP: RTCP does not count in a call's figures.
    pub media: bool,
}

/// Room for one rebuilt RTCP compound; a backend has one for all its flows.
pub struct Scratch([u8; MAX_COMPOUND]);

impl Default for Scratch {
    fn default() -> Self {
        Self([0; MAX_COMPOUND])
    }
}

/// A flow in a relay.
#[derive(Debug)]
pub struct Passage {
    flow: Flow,
    latch: Sides<Latch>,
    /// By the side that sends.
    stream: Sides<Stream>,
    packets: Sides<u64>,
    bytes: Sides<u64>,
    guard_hits: u32,
    last_heard_micros: u64,
    silence_reported: bool,
}

impl Passage {
    /// A fresh flow, at `micros` of the backend's clock.
    #[must_use]
    pub fn new(flow: Flow, micros: u64) -> Self {
        Self {
            flow,
            latch: Sides::default(),
            stream: Sides::default(),
            packets: Sides::default(),
            bytes: Sides::default(),
            guard_hits: 0,
            last_heard_micros: micros,
            silence_reported: false,
        }
    }

    /// Replaces the flow. Counters go on; latched sources survive where their epoch is the same;
    /// silence counts anew where it did not count before (resume, answer).
    pub fn update(&mut self, flow: Flow, micros: u64) {
        if self.flow.silence.is_none() {
            self.last_heard_micros = micros;
            self.silence_reported = false;
        }
        self.flow = flow;
    }

    /// The flow in force.
    #[must_use]
    pub const fn flow(&self) -> &Flow {
        &self.flow
    }

    /// Decides about a packet that came from `source` to `port` of `side`'s pair. The bytes that
    /// come out lie in `packet` or in `scratch`.
    ///
    /// # Errors
    /// Why it goes nowhere.
    #[inline]
    pub fn step<'p>(
        &mut self,
        side: Side,
        port: Port,
        source: SocketAddr,
        packet: &'p mut [u8],
        scratch: &'p mut Scratch,
        micros: u64,
    ) -> Result<Passed<'p>, DropReason> {
        let (from, to) = match side {
            Side::Caller => (&self.flow.caller, &self.flow.callee),
            Side::Callee => (&self.flow.callee, &self.flow.caller),
        };
        let kind = gate::kind(from, port, packet)?;
        if !gate::may_send(from, self.latch.of_mut(side), kind, source) {
            return Err(DropReason::Source);
        }
        let target = gate::destination(to, self.latch.of(side.other()), kind);
        match kind {
            Kind::Rtp => self.rtp(side, packet, target, micros),
            Kind::Rtcp => self.rtcp(packet, scratch, target),
        }
    }

    #[inline]
    fn rtp<'p>(
        &mut self,
        side: Side,
        packet: &'p mut [u8],
        target: Option<(Port, SocketAddr)>,
        micros: u64,
    ) -> Result<Passed<'p>, DropReason> {
        let header = Header::read(packet).ok_or(DropReason::NotRtp)?;
        self.last_heard_micros = micros;
        self.silence_reported = false;
        if !self.flow.end(side).may_send {
            return Err(DropReason::Held);
        }
        let clock = self.flow.clock_rates.get(usize::from(header.payload_type));
        let clock = clock.copied().unwrap_or(0);
        self.stream.of_mut(side).count(&header, clock, micros);
        let (port, to) = target.ok_or(DropReason::NoDestination)?;
        let bytes = if header.extended {
            let cleaned = extension::strip(packet, &self.flow.extensions);
            let cleaned = cleaned.ok_or(DropReason::NotRtp)?;
            self.guard_hits = self.guard_hits.saturating_add(cleaned.removed);
            packet.get(cleaned.start..).ok_or(DropReason::NotRtp)?
        } else {
            packet
        };
        Ok(Passed {
            bytes,
            port,
            to,
            media: true,
        })
    }

    #[cold]
    fn rtcp<'p>(
        &mut self,
        packet: &[u8],
        scratch: &'p mut Scratch,
        target: Option<(Port, SocketAddr)>,
    ) -> Result<Passed<'p>, DropReason> {
        let cleaned = rtcp::clean(packet, &self.flow.cname, &mut scratch.0);
        let removed = match &cleaned {
            Ok(cleaned) => cleaned.removed,
            Err(rejected) => rejected.removed,
        };
        self.guard_hits = self.guard_hits.saturating_add(removed);
        let length = cleaned.map_err(|_| DropReason::Rtcp)?.length;
        let (port, to) = target.ok_or(DropReason::NoDestination)?;
        let bytes = scratch.0.get(..length).ok_or(DropReason::Rtcp)?;
        Ok(Passed {
            bytes,
            port,
            to,
            media: false,
        })
    }

    /// Counts an RTP packet of `side` that was sent on.
    #[inline]
    pub const fn passed(&mut self, side: Side, length: usize) {
        let packets = self.packets.of_mut(side);
        *packets = packets.saturating_add(1);
        let bytes = self.bytes.of_mut(side);
        *bytes = bytes.saturating_add(length as u64);
    }

    /// Whether the flow has been silent for its silence time; true once until RTP comes again.
    pub fn silent(&mut self, micros: u64) -> bool {
        let Some(limit) = self.flow.silence else {
            return false;
        };
        let quiet = micros.saturating_sub(self.last_heard_micros);
        u128::from(quiet) >= limit.as_micros()
            && !std::mem::replace(&mut self.silence_reported, true)
    }

    /// Figures of what `from` sent.
    #[must_use]
    pub fn figures(&self, from: Side) -> MediaFigures {
        let stream = self.stream.of(from);
        MediaFigures {
            packets: *self.packets.of(from),
            bytes: *self.bytes.of(from),
            lost: stream.lost(),
            reordered: stream.reordered(),
            jitter_micros: stream.jitter_micros(),
        }
    }

    /// RTCP items and header extensions kept back.
    #[must_use]
    pub const fn guard_hits(&self) -> u32 {
        self.guard_hits
    }

    /// The end of `side`.
    #[must_use]
    pub fn end(&self, side: Side) -> &End {
        self.flow.end(side)
    }
}

#[cfg(test)]
mod tests;
