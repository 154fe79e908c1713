//! The recording that a flow's caller hears: packets of our own, or a sound over those that pass.

use crate::media::flow::{Encoding, Manner, Play};
use crate::media::recording::Recording;
use std::sync::Arc;

/// Bytes of a packet of our own: 20 ms in every encoding.
const PACKET: usize = 160;
/// Time of one.
const PACKET_MICROS: u64 = 20_000;
/// Packets that are later than this are not caught up on: they would come in one heap.
const MOST_LATE_MICROS: u64 = 100_000;
/// Fixed header without contributing sources (RFC 3550 §5.1).
const HEADER: usize = 12;

/// A recording under way.
#[derive(Debug)]
pub(super) struct Playing {
    play: Play,
    /// Bytes of the encoding that were heard.
    at: usize,
    /// When the next packet of our own is due.
    due_micros: u64,
    over: bool,
    reported: bool,
}

/// What the time of a packet of our own brings.
pub(super) enum Turn {
    /// So many bytes are to be sent.
    Packet(usize),
    /// It is not time yet, or nothing is played in this way.
    Nothing,
}

impl Playing {
    pub(super) const fn new(play: Play, micros: u64) -> Self {
        Self {
            play,
            at: 0,
            due_micros: micros,
            over: false,
            reported: false,
        }
    }

    pub(super) const fn id(&self) -> u32 {
        self.play.id
    }

    /// A description may number the codecs anew while the same recording goes on.
    pub(super) fn follow(&mut self, play: Play) {
        if let Manner::Over(_) = play.manner {
            self.play.manner = play.manner;
        }
    }

    /// When [`Self::packet`] wants to be called.
    pub(super) const fn due(&self) -> Option<u64> {
        match self.play.manner {
            Manner::Alone { .. } if !self.over => Some(self.due_micros),
            _ => None,
        }
    }

    /// Writes the packet that is due; the last one is as short as what is left, and the recording is
    /// over when it has been heard.
    pub(super) fn packet(&mut self, micros: u64, out: &mut [u8]) -> Turn {
        let Manner::Alone {
            payload_type,
            encoding,
            ssrc,
            sequence,
            timestamp,
        } = self.play.manner
        else {
            return Turn::Nothing;
        };
        if self.over || micros < self.due_micros {
            return Turn::Nothing;
        }
        let left = self.play.recording.codes(encoding).get(self.at..);
        let codes = left.unwrap_or_default();
        let codes = codes.get(..PACKET.min(codes.len())).unwrap_or_default();
        if codes.is_empty() {
            self.over = true;
            return Turn::Nothing;
        }
        let count = self.at / PACKET;
        let marker = if count == 0 { 0x80 } else { 0 };
        let length = HEADER + codes.len();
        let (Some((head, rest)), Ok(number), Ok(time)) = (
            out.split_first_chunk_mut::<HEADER>(),
            u16::try_from(count),
            u32::try_from(self.at),
        ) else {
            self.over = true;
            return Turn::Nothing;
        };
        let [s0, s1] = sequence.wrapping_add(number).to_be_bytes();
        let [t0, t1, t2, t3] = timestamp.wrapping_add(time).to_be_bytes();
        let [c0, c1, c2, c3] = ssrc.to_be_bytes();
        *head = [
            0x80,
            marker | payload_type & 0x7f,
            s0,
            s1,
            t0,
            t1,
            t2,
            t3,
            c0,
            c1,
            c2,
            c3,
        ];
        for (to, from) in rest.iter_mut().zip(codes) {
            *to = *from;
        }
        self.at += codes.len();
        let earliest = micros.saturating_sub(MOST_LATE_MICROS);
        self.due_micros = self.due_micros.max(earliest).saturating_add(PACKET_MICROS);
        Turn::Packet(length)
    }

    /// Lays what comes next over a packet that passes.
    pub(super) fn overlay(&mut self, payload_type: u8, packet: &mut [u8]) {
        let Manner::Over(codecs) = &self.play.manner else {
            return;
        };
        let of =
            |(number, encoding): &(u8, Encoding)| (*number == payload_type).then_some(*encoding);
        let Some(encoding) = codecs.iter().find_map(of) else {
            return;
        };
        let Some(payload) = payload(packet) else {
            return;
        };
        let recording: &Arc<Recording> = &self.play.recording;
        let length = payload.len();
        match encoding {
            Encoding::G711(law) => {
                law.mix(
                    payload,
                    recording.linear().get(self.at..).unwrap_or_default(),
                );
            }
            Encoding::G722 => {
                let codes = recording.codes(encoding).get(self.at..);
                for (to, from) in payload.iter_mut().zip(codes.unwrap_or_default()) {
                    *to = *from;
                }
            }
        }
        self.at = self.at.saturating_add(length);
        self.over |= self.at >= recording.codes(encoding).len();
    }

    /// Whether it is over; true once.
    pub(super) const fn played(&mut self) -> bool {
        if self.over && !self.reported {
            self.reported = true;
            return true;
        }
        false
    }
}

/// The payload of a whole RTP packet without a header extension.
fn payload(packet: &mut [u8]) -> Option<&mut [u8]> {
    let first = *packet.first()?;
    let padding = match first & 0x20 {
        0 => 0,
        _ => usize::from(*packet.last()?),
    };
    if first & 0x10 != 0 {
        return None;
    }
    let start = HEADER + 4 * usize::from(first & 0xf);
    let end = packet.len().checked_sub(padding)?;
    packet.get_mut(start..end)
}
