//! G.711: sixteen-bit linear samples to and from the eight-bit codes of PCMU (μ-law) and PCMA
//! (A-law), and one sound laid over another without decoding more than a packet.
//!
//! Linear values are those of the recommendation shifted up to sixteen bits: by two for μ-law (its
//! scale ends at 8159), by three for A-law (4096).

/// Which of the two laws.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Law {
    /// μ-law, `PCMU` (RFC 3551 §4.5.14).
    Mu,
    /// A-law, `PCMA`.
    A,
}

/// What μ-law adds to a magnitude before it is taken apart (33 on the recommendation's scale).
const BIAS: u16 = 132;
/// The largest magnitude that μ-law tells apart from the ones below.
const CLIP: u16 = 32_635;

impl Law {
    /// The sample that a code stands for.
    #[inline]
    #[must_use]
    pub fn decode(self, code: u8) -> i16 {
        let (magnitude, positive) = match self {
            Self::Mu => {
                let code = !code;
                let (segment, step) = ((code >> 4) & 7, i16::from(code & 0xf));
                let magnitude = (((step << 3) + 132) << segment) - 132;
                (magnitude, code & 0x80 == 0)
            }
            Self::A => {
                // Even bits are inverted on the line (G.711 §3.2, note 2 of table 1a).
                let code = code ^ 0x55;
                let (segment, step) = ((code >> 4) & 7, i16::from(code & 0xf) << 4);
                let magnitude = match segment {
                    0 => step + 8,
                    _ => (step + 264) << (segment - 1),
                };
                (magnitude, code & 0x80 != 0)
            }
        };
        if positive { magnitude } else { -magnitude }
    }

    /// The code of the step that a sample is in.
    #[inline]
    #[must_use]
    pub fn encode(self, sample: i16) -> u8 {
        let positive = sample >= 0;
        match self {
            Self::Mu => {
                let magnitude = sample.unsigned_abs().min(CLIP) + BIAS;
                let segment = magnitude.ilog2().saturating_sub(7);
                let sign = if positive { 0 } else { 0x80 };
                !(sign | code(segment, magnitude >> (segment + 3)))
            }
            Self::A => {
                let magnitude = sample.unsigned_abs().min(32_767) >> 4;
                let segment = magnitude
                    .checked_ilog2()
                    .map_or(0, |bits| bits.saturating_sub(3));
                let sign = if positive { 0x80 } else { 0 };
                (sign | code(segment, magnitude >> segment.saturating_sub(1))) ^ 0x55
            }
        }
    }

    /// Lays `over` onto the codes of `packet`, from the first on; what goes beyond the scale is
    /// clipped.
    pub fn mix(self, packet: &mut [u8], over: &[i16]) {
        for (code, sample) in packet.iter_mut().zip(over) {
            *code = self.encode(self.decode(*code).saturating_add(*sample));
        }
    }
}

/// Segment and the lowest four bits of what is left of the magnitude.
#[inline]
fn code(segment: u32, step: u16) -> u8 {
    let code = ((segment << 4) & 0x70) | u32::from(step & 0xf);
    u8::try_from(code).unwrap_or(0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LAWS: [Law; 2] = [Law::Mu, Law::A];

    /// G.711 tables 1a/1b and 2a/2b: value at decoder output, by code as it is on the line.
    #[test]
    fn decoded_values_are_the_recommendations() {
        // Table 2a: 8031 at the top of segment 8, 4191, 2079, ... ; code without the sign first.
        for (code, value) in [
            (0x80, 8031),
            (0x8f, 4191),
            (0x9f, 2079),
            (0xaf, 1023),
            (0xbf, 495),
            (0xcf, 231),
            (0xdf, 99),
            (0xef, 33),
            (0xfe, 2),
            (0xff, 0),
        ] {
            assert_eq!(Law::Mu.decode(code), value * 4, "{code:#x}");
            assert_eq!(Law::Mu.decode(code & 0x7f), -value * 4, "{code:#x}");
        }
        // Table 1a: 4032 at the top of segment 7, 2112, 1056, ..., 1.
        for (code, value) in [
            (0xff, 4032),
            (0xf0, 2112),
            (0xe0, 1056),
            (0xd0, 528),
            (0xc0, 264),
            (0xb0, 132),
            (0xa0, 66),
            (0x90, 33),
            (0x80, 1),
        ] {
            assert_eq!(Law::A.decode(code ^ 0x55), value * 8, "{code:#x}");
            assert_eq!(Law::A.decode(code ^ 0xd5), -value * 8, "{code:#x}");
        }
    }

    /// G.711 tables 5 and 6: the eight codes of 1 kHz at 0 dBm0.
    #[test]
    fn the_recommendations_test_tone_is_a_sine() {
        let tones = [
            (Law::A, [0x34, 0x21, 0x21, 0x34, 0xb4, 0xa1, 0xa1, 0xb4]),
            (Law::Mu, [0x1e, 0x0b, 0x0b, 0x1e, 0x9e, 0x8b, 0x8b, 0x9e]),
        ];
        for (law, codes) in tones {
            let samples = codes.map(|code| f64::from(law.decode(code)));
            let power: f64 = samples.iter().map(|sample| sample * sample).sum::<f64>() / 8.0;
            // Full load is 3.14 dBm0 (A-law), 3.17 (μ-law).
            let full = match law {
                Law::A => 314.0,
                Law::Mu => 317.0,
            };
            let peak = (power * 2.0).sqrt();
            let level = 20.0 * (peak / 32_768.0).log10() + full / 100.0;
            assert!(level.abs() < 0.2, "{law:?}: {level} dBm0");
            for (code, sample) in codes.into_iter().zip(samples) {
                assert_eq!(law.encode(sample as i16), code);
            }
        }
    }

    #[test]
    fn every_code_comes_back() {
        for law in LAWS {
            for code in 0..=u8::MAX {
                let again = law.encode(law.decode(code));
                // μ-law has two noughts.
                let nought = law == Law::Mu && code == 0x7f;
                assert_eq!(again, if nought { 0xff } else { code }, "{law:?}");
            }
        }
    }

    #[test]
    fn the_loudest_samples_are_clipped() {
        for law in LAWS {
            assert!(law.decode(law.encode(i16::MAX)) > 32_000);
            assert!(law.decode(law.encode(i16::MIN)) < -32_000);
        }
    }

    #[test]
    fn mixing_adds_as_far_as_there_is_something_to_add() {
        for law in LAWS {
            let mut packet = [law.encode(1000); 4];
            law.mix(&mut packet, &[0, 2000, -1000]);
            let mixed = packet.map(|code| law.decode(code));
            assert!((mixed[0] - 1000).abs() < 40, "{mixed:?}");
            assert!((mixed[1] - 3000).abs() < 100, "{mixed:?}");
            assert!(mixed[2].abs() < 40, "{mixed:?}");
            assert_eq!(packet[3], law.encode(1000));
            let mut loud = [law.encode(30_000)];
            law.mix(&mut loud, &[30_000]);
            assert!(law.decode(loud[0]) > 32_000);
        }
    }

    proptest! {
        /// No step of either law is wider than a sixteenth of its magnitude.
        #[test]
        fn what_is_encoded_is_near(sample in any::<i16>()) {
            for law in LAWS {
                let away = |code: u8| (i32::from(law.decode(code)) - i32::from(sample)).abs();
                let code = law.encode(sample);
                let magnitude = i32::from(sample).abs();
                prop_assert!(away(code) <= magnitude / 32 + 16 || magnitude > 32_000);
            }
        }
    }
}
