//! One flow's packets: gate, cleaning, counters. A backend receives, calls [`Passage::step`],
//! sends what comes out, and calls [`Passage::passed`]; it decides nothing itself. Nothing here
//! allocates.

mod playing;

use super::flow::{DropReason, End, Flow, FlowId, Port, RelayEvent, Sides};
use super::former::Former;
use super::gate::{self, Kind, Latch};
use super::hearing::Hearing;
use super::rtcp::{self, MAX_COMPOUND};
use super::secure::Secured;
use crate::domain::{CallQuality, MediaFigures, Side};
use crate::rtp::srtp::MAX_GROWTH;
use crate::rtp::{Header, Stream, extension};
use playing::{Playing, Turn};
use std::net::SocketAddr;

/// How much longer than `media.timeout` a flow may be silent whose ends may pause.
pub const PATIENCE: u32 = 5;

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
const _: () = assert!(MAX_COMPOUND <= MAX_PACKET);

/// Room for one rebuilt RTCP compound, one protected packet or one of a recording; a backend has one
/// for all its flows.
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
    hearing: Hearing,
    /// Where sides sent from until their descriptions changed.
    former: Sides<Option<Former>>,
    playing: Option<Box<Playing>>,
}

impl Passage {
    /// A fresh flow, at `micros` of the backend's clock.
    #[must_use]
    pub fn new(flow: Flow, micros: u64) -> Self {
        let playing = playing_of(&flow, micros);
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
            hearing: Hearing::default(),
            former: Sides::default(),
            playing,
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
        for side in [Side::Caller, Side::Callee] {
            let latch = self.latch.of(side);
            let former = self.former.of_mut(side);
            Former::change(former, latch, side, (&self.flow, &flow), micros);
        }
        match (&mut self.playing, &flow.play) {
            (Some(playing), Some(play)) if playing.id() == play.id => {
                playing.follow((**play).clone());
            }
            (playing, _) => *playing = playing_of(&flow, micros),
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
        // A fax is nothing that SRTP could protect: its legs' contexts wait for the voice.
        let fax = self.flow.content.fax;
        let kind = if fax {
            gate::fax(port, packet)?
        } else {
            gate::kind(from, port, packet)?
        };
        let is_secured = from.crypto.is_some() && !fax;
        let before = is_secured.then(|| (*self.latch.of(side), *self.former.of(side)));
        let latch = self.latch.of_mut(side);
        let admitted = match self.former.of_mut(side) {
            None => gate::may_send(from, latch, kind, source),
            former => Former::may_send(former, from, latch, kind, source, micros),
        };
        if !admitted {
            return Err(DropReason::Source);
        }
        let latch = self.latch.of(side.other());
        let target = match self.former.of(side.other()) {
            None => gate::destination(to, latch, kind),
            Some(former) => former.destination(to, latch, kind, micros),
        };
        let secured_to = to.crypto.is_some();
        let packet = if let Some((latch, former)) = before {
            match self.unprotect(side, kind, packet, scratch, micros) {
                Ok(packet) => packet,
                Err(reason) => {
                    // Who cannot prove to be the peer is not latched to, and nobody moves by it.
                    *self.latch.of_mut(side) = latch;
                    *self.former.of_mut(side) = former;
                    return Err(reason);
                }
            }
        } else {
            packet
        };
        match kind {
            Kind::Rtp if fax => self.fax(side, packet, target, micros),
            Kind::Rtp if secured_to => {
                let passed = self.rtp(side, packet, target, micros)?;
                self.protect(side.other(), passed, scratch)
            }
            Kind::Rtp => self.rtp(side, packet, target, micros),
            Kind::Rtcp => self.rtcp(side, packet, scratch, target, micros),
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
        let voices = &self.flow.content.voices;
        self.hearing.speak(side, header.payload_type, voices);
        let (port, to) = target.ok_or(DropReason::NoDestination)?;
        let bytes = if header.extended {
            let cleaned = extension::strip(packet, &self.flow.extensions);
            let cleaned = cleaned.ok_or(DropReason::NotRtp)?;
            self.guard_hits = self.guard_hits.saturating_add(cleaned.removed);
            let rest = packet.get_mut(cleaned.start..);
            rest.ok_or(DropReason::NotRtp)?
        } else {
            packet
        };
        if side == Side::Callee
            && let Some(playing) = &mut self.playing
        {
            playing.overlay(header.payload_type, bytes);
        }
        Ok(Passed {
            bytes,
            port,
            to,
            media: true,
        })
    }

    /// A datagram of a fax: it goes on as it is.
    fn fax<'p>(
        &mut self,
        side: Side,
        packet: &'p [u8],
        target: Option<(Port, SocketAddr)>,
        micros: u64,
    ) -> Result<Passed<'p>, DropReason> {
        self.last_heard_micros = micros;
        self.silence_reported = false;
        if !self.flow.end(side).may_send {
            return Err(DropReason::Held);
        }
        let (port, to) = target.ok_or(DropReason::NoDestination)?;
        Ok(Passed {
            bytes: packet,
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
        micros: u64,
    ) -> Result<Passed<'p>, DropReason> {
        let room = scratch.0.first_chunk_mut().ok_or(DropReason::Rtcp)?;
        let cleaned = rtcp::clean(packet, &self.flow.cname, room);
        let removed = match &cleaned {
            Ok(cleaned) => cleaned.removed,
            Err(rejected) => rejected.removed,
        };
        self.guard_hits = self.guard_hits.saturating_add(removed);
        let mut length = cleaned.map_err(|_| DropReason::Rtcp)?.length;
        let bytes = scratch.0.get(..length).ok_or(DropReason::Rtcp)?;
        self.hearing.report(side, bytes, &self.stream, micros);
        if self.flow.content.pauses {
            // Who says nothing for now says so: its reports go on.
            self.last_heard_micros = micros;
            self.silence_reported = false;
        }
        let (port, to) = target.ok_or(DropReason::NoDestination)?;
        if self.flow.end(side.other()).crypto.is_some() {
            let secured = self.secured.of_mut(side.other()).as_deref_mut();
            let secured = secured.ok_or(DropReason::SrtpLimit)?;
            length = secured.protect(Kind::Rtcp, &mut scratch.0, length)?;
        }
        Ok(Passed {
            bytes: scratch.0.get(..length).ok_or(DropReason::Rtcp)?,
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

    /// When [`Self::play`] wants to be called: packets of our own are due.
    #[must_use]
    pub fn next_play(&self) -> Option<u64> {
        self.playing.as_ref()?.due()
    }

    /// The packet of our own that is due, to be sent by the *caller's* own pair. It counts in no
    /// figure of the call's.
    pub fn play<'p>(&mut self, micros: u64, scratch: &'p mut Scratch) -> Option<Passed<'p>> {
        let playing = self.playing.as_mut()?;
        let Turn::Packet(mut length) = playing.packet(micros, &mut scratch.0) else {
            return None;
        };
        let latch = &self.latch.caller;
        let (port, to) = gate::destination(&self.flow.caller, latch, Kind::Rtp)?;
        if self.flow.caller.crypto.is_some() {
            let secured = self.secured.caller.as_deref_mut()?;
            length = secured.protect(Kind::Rtp, &mut scratch.0, length).ok()?;
        }
        Some(Passed {
            bytes: scratch.0.get(..length)?,
            port,
            to,
            media: false,
        })
    }

    /// Whether the recording is over; true once.
    pub fn played(&mut self) -> bool {
        self.playing
            .as_mut()
            .is_some_and(|playing| playing.played())
    }

    /// Whether the flow has been silent for its silence time; true once until RTP comes again. Where
    /// both ends may pause and neither reports, it takes [`PATIENCE`] times as long.
    pub fn silent(&mut self, micros: u64) -> bool {
        let Some(limit) = self.flow.silence else {
            return false;
        };
        let pauses = self.flow.content.pauses && !self.hearing.is_reported();
        let limit = limit.saturating_mul(if pauses { PATIENCE } else { 1 });
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

    /// How both directions sounded.
    #[must_use]
    pub fn quality(&self) -> CallQuality {
        let quality = |from| {
            let passed = *self.packets.of(from);
            let content = &self.flow.content;
            self.hearing.quality(from, passed, &self.stream, content)
        };
        CallQuality {
            to_callee: quality(Side::Caller),
            to_caller: quality(Side::Callee),
        }
    }

    /// The report that the flow `id` has ended.
    #[must_use]
    pub fn removed(&self, id: FlowId) -> RelayEvent {
        RelayEvent::Removed {
            flow: id,
            to_callee: self.figures(Side::Caller),
            to_caller: self.figures(Side::Callee),
            quality: self.quality(),
            guard_hits: self.guard_hits,
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

fn playing_of(flow: &Flow, micros: u64) -> Option<Box<Playing>> {
    let play = flow.play.as_deref()?;
    Some(Box::new(Playing::new(play.clone(), micros)))
}

#[cfg(test)]
mod tests;
