//! The cryptographic contexts of one master key (RFC 3711 §3.2.3): one that protects what we send,
//! one that unprotects what we are sent.

use super::cipher::{Parts, Transform, Which};
use super::index::Window;
use super::key::MasterKey;
use smallvec::SmallVec;
use std::fmt;

/// Sources (SSRCs) of one key, of RTP and of RTCP each; none is given up for another, whose packets
/// could then be sent in once more.
pub const MAX_SOURCES: usize = 64;
/// Bytes of an SRTCP packet in the clear: its first header and its sender (§3.4).
const RTCP_CLEAR: usize = 8;
/// Indices of RTCP (31 bits); with the last of them the key is used up (§9.2).
const RTCP_INDICES: u64 = 1 << 31;
/// Indices of RTP (48 bits).
const RTP_INDICES: u64 = 1 << 48;

/// Why a packet is not passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Too short, or its header says that it is longer than it is.
    Malformed,
    /// Its tag is not what the key makes of it.
    Unauthentic,
    /// It was there before, or is too old to know.
    Replayed,
    /// The key has no more sources or indices, or the buffer no room.
    Exhausted,
}

/// What is known of one source.
#[derive(Clone, Copy, Debug)]
struct Source {
    ssrc: u32,
    window: Window,
}

#[derive(Debug, Default)]
struct Sources(SmallVec<[Source; 1]>);

impl Sources {
    #[inline]
    fn window(&self, ssrc: u32) -> Option<&Window> {
        let known = self.0.iter().find(|source| source.ssrc == ssrc);
        known.map(|source| &source.window)
    }

    /// Whether a source is known or may be.
    fn has_room(&self, known: bool) -> bool {
        known || self.0.len() < MAX_SOURCES
    }

    #[inline]
    fn accept(&mut self, ssrc: u32, index: u64) {
        match self.0.iter_mut().find(|source| source.ssrc == ssrc) {
            Some(source) => source.window.accept(index),
            None => self.0.push(Source {
                ssrc,
                window: Window::new(index),
            }),
        }
    }
}

/// Protects what we send by one key.
pub struct Sender {
    rtp: Transform,
    rtcp: Transform,
    sources: Sources,
    /// Index of the next SRTCP packet, whosever it is.
    next_rtcp: u64,
}

impl Sender {
    /// Of a master key.
    #[must_use]
    pub fn new(master: &MasterKey) -> Option<Self> {
        Some(Self {
            rtp: Transform::rtp(master)?,
            rtcp: Transform::rtcp(master)?,
            sources: Sources::default(),
            next_rtcp: 0,
        })
    }

    /// Protects the RTP packet in the first `length` bytes of `buffer`; its length then. No index is
    /// used twice: the key stream would be, too (§9.1), so a packet that was there before is refused
    /// here as well.
    ///
    /// # Errors
    /// [`Fault`]; the packet is then as it was.
    #[inline]
    pub fn protect(&mut self, buffer: &mut [u8], length: usize) -> Result<usize, Fault> {
        let packet = buffer.get(..length).ok_or(Fault::Exhausted)?;
        let (sequence, ssrc, clear) = header(packet).ok_or(Fault::Malformed)?;
        let window = self.sources.window(ssrc);
        if !self.sources.has_room(window.is_some()) {
            return Err(Fault::Exhausted);
        }
        let index = match window {
            Some(window) => window.estimate(sequence),
            None => u64::from(sequence),
        };
        if window.is_some_and(|window| !window.allows(index)) {
            return Err(Fault::Replayed);
        }
        if index >= RTP_INDICES {
            return Err(Fault::Exhausted);
        }
        let sealed = self
            .rtp
            .seal(buffer, Parts { clear, length }, Which { ssrc, index });
        let length = sealed.ok_or(Fault::Exhausted)?;
        self.sources.accept(ssrc, index);
        Ok(length)
    }

    /// The same for a compound of RTCP.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn protect_rtcp(&mut self, buffer: &mut [u8], length: usize) -> Result<usize, Fault> {
        let packet = buffer.get(..length).ok_or(Fault::Exhausted)?;
        let ssrc = rtcp_sender(packet).ok_or(Fault::Malformed)?;
        let index = self.next_rtcp;
        if index >= RTCP_INDICES {
            return Err(Fault::Exhausted);
        }
        let parts = Parts {
            clear: RTCP_CLEAR,
            length,
        };
        let sealed = self.rtcp.seal_rtcp(buffer, parts, Which { ssrc, index });
        let length = sealed.ok_or(Fault::Exhausted)?;
        self.next_rtcp = index.saturating_add(1);
        Ok(length)
    }
}

/// Unprotects what we are sent by one key.
pub struct Receiver {
    rtp: Transform,
    rtcp: Transform,
    sources: Sources,
    rtcp_sources: Sources,
}

impl Receiver {
    /// Of a master key.
    #[must_use]
    pub fn new(master: &MasterKey) -> Option<Self> {
        Some(Self {
            rtp: Transform::rtp(master)?,
            rtcp: Transform::rtcp(master)?,
            sources: Sources::default(),
            rtcp_sources: Sources::default(),
        })
    }

    /// Whether a packet that is not genuine may be spoilt by the look at it. Who wants to try
    /// another key afterwards keeps a copy.
    #[must_use]
    pub const fn spoils(&self) -> bool {
        self.rtp.spoils()
    }

    /// Unprotects an SRTP packet in place; its length then. `spare` is as long as the packet, or the
    /// packet is tried but once.
    ///
    /// Of a source that is not known yet nobody has counted the wraps: where its first packets were
    /// lost, there may have been one.
    ///
    /// # Errors
    /// [`Fault`].
    #[inline]
    pub fn unprotect(&mut self, packet: &mut [u8], spare: &mut [u8]) -> Result<usize, Fault> {
        let (sequence, ssrc, clear) = header(packet).ok_or(Fault::Malformed)?;
        let length = packet.len();
        if clear + self.rtp.tag_length() > length {
            return Err(Fault::Malformed);
        }
        let parts = Parts { clear, length };
        let Some(window) = self.sources.window(ssrc) else {
            return self.first(packet, spare, parts, (ssrc, sequence));
        };
        let index = window.estimate(sequence);
        if !window.allows(index) {
            return Err(Fault::Replayed);
        }
        if index >= RTP_INDICES {
            return Err(Fault::Exhausted);
        }
        let opened = self.rtp.open(packet, parts, Which { ssrc, index });
        let left = opened.ok_or(Fault::Unauthentic)?;
        self.sources.accept(ssrc, index);
        Ok(left)
    }

    /// The first packet of a source.
    #[cold]
    fn first(
        &mut self,
        packet: &mut [u8],
        spare: &mut [u8],
        parts: Parts,
        (ssrc, sequence): (u32, u16),
    ) -> Result<usize, Fault> {
        if !self.sources.has_room(false) {
            return Err(Fault::Exhausted);
        }
        let spare = spare.get_mut(..packet.len());
        let again = sequence < 1 << 15;
        let kept = match spare {
            Some(spare) if again => {
                spare.copy_from_slice(packet);
                Some(spare)
            }
            _ => None,
        };
        let mut index = u64::from(sequence);
        let mut opened = self.rtp.open(packet, parts, Which { ssrc, index });
        if let (None, Some(kept)) = (opened, kept) {
            packet.copy_from_slice(kept);
            index += 1 << 16;
            opened = self.rtp.open(packet, parts, Which { ssrc, index });
            if opened.is_none() {
                packet.copy_from_slice(kept);
            }
        }
        let left = opened.ok_or(Fault::Unauthentic)?;
        self.sources.accept(ssrc, index);
        Ok(left)
    }

    /// The same for SRTCP. A packet that is not enciphered is none of ours: that was never agreed.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, Fault> {
        let ssrc = rtcp_sender(packet).ok_or(Fault::Malformed)?;
        if packet.len() < RTCP_CLEAR + 4 + self.rtcp.tag_length() {
            return Err(Fault::Malformed);
        }
        let word = self.rtcp.rtcp_index(packet).ok_or(Fault::Malformed)?;
        let word = u32::from_be_bytes(word);
        if word & 0x8000_0000 == 0 {
            return Err(Fault::Unauthentic);
        }
        let index = u64::from(word & 0x7fff_ffff);
        let window = self.rtcp_sources.window(ssrc);
        if window.is_some_and(|window| !window.allows(index)) {
            return Err(Fault::Replayed);
        }
        if !self.rtcp_sources.has_room(window.is_some()) {
            return Err(Fault::Exhausted);
        }
        let opened = self
            .rtcp
            .open_rtcp(packet, RTCP_CLEAR, Which { ssrc, index });
        let left = opened.ok_or(Fault::Unauthentic)?;
        self.rtcp_sources.accept(ssrc, index);
        Ok(left)
    }
}

/// Sequence number, source, and length of the header of an RTP packet whose payload may be
/// enciphered.
#[inline]
fn header(packet: &[u8]) -> Option<(u16, u32, usize)> {
    let [first, _, s0, s1, _, _, _, _, c0, c1, c2, c3, ..] = *packet else {
        return None;
    };
    let mut end = 12 + usize::from(first & 0x0f) * 4;
    if first & 0x10 != 0 {
        let [_, _, l0, l1] = *packet.get(end..)?.first_chunk()?;
        end += 4 + usize::from(u16::from_be_bytes([l0, l1])) * 4;
    }
    if first & 0xc0 != 0x80 || end > packet.len() {
        return None;
    }
    let sequence = u16::from_be_bytes([s0, s1]);
    Some((sequence, u32::from_be_bytes([c0, c1, c2, c3]), end))
}

/// Who sends a compound.
fn rtcp_sender(packet: &[u8]) -> Option<u32> {
    match *packet {
        [first, _, _, _, c0, c1, c2, c3, ..] if first & 0xc0 == 0x80 => {
            Some(u32::from_be_bytes([c0, c1, c2, c3]))
        }
        _ => None,
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}
