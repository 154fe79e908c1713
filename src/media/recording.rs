//! Recordings that callers hear (sip-bridging 6): WAV files of 8 kHz, mono, 16 bit, in the codes of
//! every codec that they are played in. Read once, shared by all calls.

use super::flow::Encoding;
use crate::call::event::Announcement;
use crate::rtp::g711::Law;
use std::fmt;
use std::sync::Arc;

/// Samples a second; of every encoding also bytes a second (RFC 3551 gives G.722 this clock too).
pub const RATE: usize = 8000;
/// A recording is no longer: it keeps a port pair for so long.
pub const MAX_SECONDS: usize = 60;

/// One recording.
#[derive(Clone, PartialEq, Eq)]
pub struct Recording {
    linear: Box<[i16]>,
    mu: Box<[u8]>,
    a: Box<[u8]>,
    g722: Box<[u8]>,
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recording({} samples)", self.linear.len())
    }
}

/// What is wrong with a recording's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No RIFF WAVE file.
    NotWav,
    /// No `fmt ` or `data` chunk, or one that is cut off.
    CutOff,
    /// Not PCM, or not one channel of 8000 samples of 16 bits: format tag, channels, rate, bits.
    Format(u16, u16, u32, u16),
    /// No sample in it.
    Empty,
    /// Over [`MAX_SECONDS`].
    TooLong,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWav => write!(f, "no WAV file (RIFF)"),
            Self::CutOff => write!(f, "a WAV file without a whole `fmt ` and `data` chunk"),
            Self::Format(tag, channels, rate, bits) => write!(
                f,
                "expected PCM, mono, 8000 Hz, 16 bit, found format {tag}, {channels} channels, \
                 {rate} Hz, {bits} bit"
            ),
            Self::Empty => write!(f, "no sound in it"),
            Self::TooLong => write!(f, "longer than {MAX_SECONDS} s"),
        }
    }
}

impl Recording {
    /// From a WAV file, and the same sound in G.722 (64 kbit/s, raw) where somebody prepared it.
    ///
    /// # Errors
    /// What is wrong with either.
    pub fn read(wav: &[u8], g722: Option<&[u8]>) -> Result<Self, Fault> {
        let data = samples(wav)?;
        let linear: Box<[i16]> = data
            .chunks_exact(2)
            .filter_map(|pair| Some(i16::from_le_bytes(pair.try_into().ok()?)))
            .collect();
        let most = RATE * MAX_SECONDS;
        let prepared = g722.unwrap_or_default();
        if linear.is_empty() || g722.is_some_and(<[u8]>::is_empty) {
            return Err(Fault::Empty);
        }
        if linear.len() > most || prepared.len() > most {
            return Err(Fault::TooLong);
        }
        Ok(Self::of(linear, prepared.into()))
    }

    fn of(linear: Box<[i16]>, g722: Box<[u8]>) -> Self {
        let coded = |law: Law| linear.iter().map(|sample| law.encode(*sample)).collect();
        Self {
            mu: coded(Law::Mu),
            a: coded(Law::A),
            linear,
            g722,
        }
    }

    /// What is heard before credit ends where no file is configured: three bursts of 900 Hz of
    /// 0.2 s, 0.6 s between them (docs/decisions, page 65).
    #[must_use]
    pub fn warning_tone() -> Self {
        const BURST: usize = RATE / 5;
        const PERIOD: usize = BURST + RATE * 3 / 5;
        // 80 samples are nine periods of 900 Hz.
        let sample = |at: usize| {
            let within = at % PERIOD;
            if within < BURST {
                sine(within * 9 % 80)
            } else {
                0
            }
        };
        Self::of(
            (0..2 * PERIOD + BURST).map(sample).collect(),
            Box::default(),
        )
    }

    /// Codes of an encoding; empty where there are none.
    #[must_use]
    pub fn codes(&self, encoding: Encoding) -> &[u8] {
        match encoding {
            Encoding::G711(Law::Mu) => &self.mu,
            Encoding::G711(Law::A) => &self.a,
            Encoding::G722 => &self.g722,
        }
    }

    /// Samples, to be laid over others.
    #[must_use]
    pub fn linear(&self) -> &[i16] {
        &self.linear
    }

    /// How long it is, in whichever encoding is longest.
    #[must_use]
    pub fn length(&self) -> std::time::Duration {
        let samples = self.linear.len().max(self.g722.len());
        std::time::Duration::from_millis((samples / (RATE / 1000)) as u64)
    }
}

/// A quarter of full scale at `eightieths` of a turn (Bhaskara's approximation, within 0.2 %).
fn sine(eightieths: usize) -> i16 {
    const PEAK: i32 = 8191;
    let (half, sign) = (eightieths % 40, if eightieths % 80 < 40 { 1 } else { -1 });
    // sin(πx) ≈ 16x(1−x) / (5 − 4x(1−x)), here with x = half/40.
    let product = i32::try_from(half * (40 - half)).unwrap_or(0);
    let value = PEAK * 16 * product / (5 * 1600 - 4 * product);
    i16::try_from(sign * value).unwrap_or(0)
}

/// The sample bytes of a WAV file.
fn samples(wav: &[u8]) -> Result<&[u8], Fault> {
    let (b"RIFF", rest) = wav.split_at_checked(4).ok_or(Fault::NotWav)? else {
        return Err(Fault::NotWav);
    };
    // The length in the file's head is often wrong; the chunks' own count.
    let mut rest = match rest.split_at_checked(8) {
        Some(([.., b'W', b'A', b'V', b'E'], rest)) => rest,
        _ => return Err(Fault::NotWav),
    };
    let mut known = false;
    loop {
        let (name, content, next) = chunk(rest).ok_or(Fault::CutOff)?;
        match name {
            b"fmt " => {
                check_format(content)?;
                known = true;
            }
            b"data" if known => return Ok(content),
            _ => {}
        }
        rest = next;
    }
}

/// The first chunk: name, content, and what follows (each begins at an even place).
fn chunk(rest: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (name, rest) = rest.split_at_checked(4)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (content, next) = rest.split_at_checked(length)?;
    Some((name, content, next.get(length % 2..).unwrap_or_default()))
}

/// Second half of the subformat that says PCM in an extensible format.
const PCM_SUBFORMAT: [u8; 16] = [
    1, 0, 0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71,
];

fn check_format(format: &[u8]) -> Result<(), Fault> {
    let half = |at: usize| {
        let bytes = format.get(at..at + 2).and_then(|two| two.try_into().ok());
        bytes.map(u16::from_le_bytes).ok_or(Fault::CutOff)
    };
    let (tag, channels, bits) = (half(0)?, half(2)?, half(14)?);
    let rate = u32::from(half(4)?) | u32::from(half(6)?) << 16;
    let pcm = match tag {
        1 => true,
        0xfffe => format.get(24..40) == Some(&PCM_SUBFORMAT[..]),
        _ => false,
    };
    if pcm && (channels, rate, bits) == (1, 8000, 16) {
        Ok(())
    } else {
        Err(Fault::Format(tag, channels, rate, bits))
    }
}

/// All that are configured; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Recordings {
    /// `announce.no_lease`.
    pub no_lease: Option<Arc<Recording>>,
    /// `announce.not_allowed`.
    pub not_allowed: Option<Arc<Recording>>,
    /// `announce.credit_exhausted`.
    pub credit_exhausted: Option<Arc<Recording>>,
    /// `announce.credit_warning`, or the tone where a warning is wanted without a file.
    pub credit_warning: Option<Arc<Recording>>,
}

impl Recordings {
    /// The recording of a refusal.
    #[must_use]
    pub const fn of(&self, which: Announcement) -> Option<&Arc<Recording>> {
        match which {
            Announcement::NoLease => self.no_lease.as_ref(),
            Announcement::NotAllowed => self.not_allowed.as_ref(),
            Announcement::CreditExhausted => self.credit_exhausted.as_ref(),
        }
    }
}

#[cfg(test)]
mod tests;
