//! One flow's packets: gate, cleaning, counters. A backend receives, calls [`Passage::step`],
//! sends what comes out, and calls [`Passage::passed`]; it decides nothing itself. Nothing here
//! allocates.

use super::flow::{DropReason, End, Flow, Port, Sides};
use super::gate::{self, Kind, Latch};
use super::rtcp;
use super::secure::Secured;
use crate::domain::{MediaFigures, Side};
use crate::rtp::srtp::MAX_GROWTH;
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

/// Longest packet that can be protected.
const MAX_PACKET: usize = 2048;

/// Room for one rebuilt RTCP compound or one protected packet; a backend has one for all its flows.
pub struct Scratch([u8; MAX_PACKET + MAX_GROWTH]);

impl Default for Scratch {
    fn default() -> Self {
        Self([0; MAX_PACKET + MAX_GROWTH])
    }
}

/// A flow in a relay.
#[derive(Debug)]
pub struct Passage {
    flow: Flow,
    latch: Sides<Latch>,
    /// Where a leg has SRTP.
    secured: Sides<Option<Box<Secured>>>,
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
            secured: secured(&flow, Sides::default(), micros),
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

    /// Replaces the flow. Counters go on; latched sources survive where their epoch is the same, and
    /// what SRTP counts where its keys are; silence counts anew where it did not count before (resume, answer).
    pub fn update(&mut self, flow: Flow, micros: u64) {
        if self.flow.silence.is_none() {
            self.last_heard_micros = micros;
            self.silence_reported = false;
        }
        self.secured = secured(&flow, std::mem::take(&mut self.secured), micros);
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
        let latch = *self.latch.of(side);
        if !gate::may_send(from, self.latch.of_mut(side), kind, source) {
            return Err(DropReason::Source);
        }
        let target = gate::destination(to, self.latch.of(side.other()), kind);
        let secured_to = to.crypto.is_some();
        let packet = if from.crypto.is_some() {
            match self.unprotect(side, kind, packet, scratch, micros) {
                Ok(packet) => packet,
                Err(reason) => {
                    // Who cannot prove that he is the peer is not latched to.
                    *self.latch.of_mut(side) = latch;
                    return Err(reason);
                }
            }
        } else {
            packet
        };
        match kind {
            Kind::Rtp if secured_to => {
                let passed = self.rtp(side, packet, target, micros)?;
                self.protect(side.other(), passed, scratch)
            }
            Kind::Rtp => self.rtp(side, packet, target, micros),
            Kind::Rtcp => self.rtcp(side, packet, scratch, target),
        }
    }

    fn unprotect<'p>(
        &mut self,
        side: Side,
        kind: Kind,
        packet: &'p mut [u8],
        scratch: &mut Scratch,
        micros: u64,
    ) -> Result<&'p mut [u8], DropReason> {
        let secured = self.secured.of_mut(side).as_deref_mut();
        // Without the contexts that the flow asks for nothing passes.
        let secured = secured.ok_or(DropReason::SrtpLimit)?;
        let left = secured.unprotect(kind, packet, &mut scratch.0, micros)?;
        packet.get_mut(..left).ok_or(DropReason::NotRtp)
    }

    /// Protects an RTP packet that goes to `to`.
    fn protect<'p>(
        &mut self,
        to: Side,
        passed: Passed<'_>,
        scratch: &'p mut Scratch,
    ) -> Result<Passed<'p>, DropReason> {
        let secured = self.secured.of_mut(to).as_deref_mut();
        let secured = secured.ok_or(DropReason::SrtpLimit)?;
        let length = passed.bytes.len();
        let room = scratch.0.get_mut(..length).ok_or(DropReason::TooLong)?;
        room.copy_from_slice(passed.bytes);
        let length = secured.protect(Kind::Rtp, &mut scratch.0, length)?;
        Ok(Passed {
            bytes: scratch.0.get(..length).ok_or(DropReason::TooLong)?,
            port: passed.port,
            to: passed.to,
            media: passed.media,
        })
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
        side: Side,
        packet: &[u8],
        scratch: &'p mut Scratch,
        target: Option<(Port, SocketAddr)>,
    ) -> Result<Passed<'p>, DropReason> {
        let room = scratch.0.first_chunk_mut().ok_or(DropReason::Rtcp)?;
        let cleaned = rtcp::clean(packet, &self.flow.cname, room);
        let removed = match &cleaned {
            Ok(cleaned) => cleaned.removed,
            Err(rejected) => rejected.removed,
        };
        self.guard_hits = self.guard_hits.saturating_add(removed);
        let mut length = cleaned.map_err(|_| DropReason::Rtcp)?.length;
        let (port, to) = target.ok_or(DropReason::NoDestination)?;
        if self.flow.end(side.other()).crypto.is_some() {
            let secured = self.secured.of_mut(side.other()).as_deref_mut();
            let secured = secured.ok_or(DropReason::SrtpLimit)?;
            length = secured.protect(Kind::Rtcp, &mut scratch.0, length)?;
        }
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

/// The contexts that `flow` asks for; those of before go on where their keys are the same.
fn secured(
    flow: &Flow,
    mut before: Sides<Option<Box<Secured>>>,
    micros: u64,
) -> Sides<Option<Box<Secured>>> {
    for side in [Side::Caller, Side::Callee] {
        let crypto = flow.end(side).crypto.as_deref();
        Secured::update(before.of_mut(side), crypto, micros);
    }
    before
}

#[cfg(test)]
mod tests;
