//! How a flow sounds: what its packets and the reports of both ends say, brought together.

use super::flow::{Content, Sides};
use crate::domain::{MediaQuality, Reported, Side};
use crate::rtp::Stream;
use crate::rtp::quality::{Path, Voice, burst_ratio};
use crate::rtp::reports::{Reception, Report};
use crate::rtp::rtcp::Parts;

/// What is known of both directions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hearing {
    /// By the side that sends.
    reception: Sides<Reception>,
    /// Payload type of the newest packet, and of the newest that was voice, by the side that sends.
    payload: Sides<Option<(u8, u8)>>,
    reported: bool,
}

impl Hearing {
    /// A packet of `side`; what is no voice does not count as its codec.
    #[inline]
    pub fn speak(&mut self, side: Side, payload_type: u8, voices: &[(u8, Voice)]) {
        match self.payload.of_mut(side) {
            Some((newest, _)) if *newest == payload_type => {}
            other => change(other, payload_type, voices),
        }
    }

    /// A compound of `side` that passes, as it was cleaned: only reports, each whole.
    pub fn report(&mut self, side: Side, compound: &[u8], streams: &Sides<Stream>, micros: u64) {
        self.reported = true;
        for part in Parts::new(compound).filter_map(Result::ok) {
            let Some(report) = Report::read(&part) else {
                continue;
            };
            if let Some(stamp) = report.stamp {
                let own = self.reception.of_mut(side);
                own.pass(report.sender, stamp, micros);
            }
            let heard = side.other();
            let source = streams.of(heard).source().map(|(ssrc, _)| ssrc);
            for block in report.blocks() {
                let other = self.reception.of_mut(heard);
                other.report(&block, source, micros);
            }
        }
    }

    /// Whether an end sends reports: it can be told from a dead one while it is silent.
    #[must_use]
    pub const fn is_reported(&self) -> bool {
        self.reported
    }

    /// How what `from` sent sounded at the other end, `passed` packets of it.
    #[must_use]
    pub fn quality(
        &self,
        from: Side,
        passed: u64,
        streams: &Sides<Stream>,
        content: &Content,
    ) -> MediaQuality {
        let reception = self.reception.of(from);
        let stream = streams.of(from);
        let voice = self.voice(from, &content.voices);
        let clock = stream.source().map_or(0, |(_, clock)| clock);
        // A backend may count without reading; there was no more than passed and is missing.
        let expected = passed.max(stream.received()).saturating_add(stream.lost());
        let reported = reception.lost().map(|lost| Reported {
            lost: lost.min(expected),
            jitter_micros: reception.jitter_micros(clock).unwrap_or(0),
        });
        let path = Path {
            voice,
            loss: share(
                stream.lost().max(reported.map_or(0, |one| one.lost)),
                expected,
            ),
            burst_ratio: burst_ratio(expected, stream.lost(), stream.gaps()),
            jitter: seconds(
                stream
                    .jitter_micros()
                    .max(reported.map_or(0, |one| one.jitter_micros)),
            ),
            round_trip: self.round_trip(),
        };
        MediaQuality {
            // A fax has no sound; what was said before it has.
            score_hundredths: (passed > 0 && (!content.fax || stream.source().is_some()))
                .then(|| hundredths(path.mean_opinion_score())),
            round_trip_micros: reception.round_trip_micros(),
            reported,
        }
    }

    /// The codec that `side` spoke, else the first one agreed.
    fn voice(&self, side: Side, voices: &[(u8, Voice)]) -> Voice {
        let known = |number: u8| voices.iter().find(|(one, _)| *one == number);
        let spoken = self.payload.of(side).and_then(|(_, voice)| known(voice));
        let first = || voices.iter().find(|(_, voice)| *voice != Voice::None);
        spoken
            .or_else(first)
            .map_or_else(Voice::default, |(_, voice)| *voice)
    }

    /// Between the two ends and back, seconds, as far as it is known: the way to each from here.
    fn round_trip(&self) -> f64 {
        [Side::Caller, Side::Callee]
            .into_iter()
            .filter_map(|side| self.reception.of(side).round_trip_micros())
            .map(seconds)
            .sum()
    }
}

#[cold]
fn change(of: &mut Option<(u8, u8)>, payload_type: u8, voices: &[(u8, Voice)]) {
    let silent = |(number, voice): &(u8, Voice)| *number == payload_type && *voice == Voice::None;
    let voice = match of {
        Some((_, before)) if voices.iter().any(silent) => *before,
        _ => payload_type,
    };
    *of = Some((payload_type, voice));
}

#[allow(clippy::cast_precision_loss)] // counts of packets of one call
fn share(lost: u64, expected: u64) -> f64 {
    if expected == 0 {
        0.0
    } else {
        lost as f64 / expected as f64
    }
}

fn seconds(micros: u32) -> f64 {
    f64::from(micros) / 1e6
}

/// A score lies between 1 and 4.5.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn hundredths(score: f64) -> u16 {
    (score.clamp(1.0, 4.5) * 100.0).round() as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::Header;
    use proptest::prelude::*;

    fn content() -> Content {
        Content {
            voices: VOICES.into_iter().skip(1).collect(),
            ..Content::default()
        }
    }

    const VOICES: [(u8, Voice); 3] = [(18, Voice::G729), (0, Voice::G711), (13, Voice::None)];

    fn streams(packets: u16, ssrc: u32) -> Sides<Stream> {
        let mut streams = Sides::<Stream>::default();
        for sequence in 0..packets {
            let header = Header {
                payload_type: 0,
                sequence,
                timestamp: u32::from(sequence) * 160,
                ssrc,
                extended: false,
            };
            let micros = u64::from(sequence) * 20_000;
            streams.caller.count(&header, 8000, micros);
        }
        streams
    }

    /// SR of `ssrc` with this stamp, or an RR where it is `None`, about `about`.
    fn compound(ssrc: u32, stamp: Option<u32>, about: Option<(u32, u32, u32, u32)>) -> Vec<u8> {
        let mut body = ssrc.to_be_bytes().to_vec();
        let kind = if let Some(stamp) = stamp {
            body.extend([0, 0]);
            body.extend(stamp.to_be_bytes());
            body.extend([0; 14]);
            200
        } else {
            201
        };
        if let Some((source, lost, stamp, delay)) = about {
            for word in [source, lost, 0, 160, stamp, delay] {
                body.extend(word.to_be_bytes());
            }
        }
        let words = u8::try_from(body.len() / 4).unwrap();
        let mut bytes = vec![0x80 | u8::from(about.is_some()), kind, 0, words];
        bytes.extend(body);
        bytes
    }

    fn score(hearing: &Hearing, streams: &Sides<Stream>) -> u16 {
        let quality = hearing.quality(Side::Caller, 1000, streams, &content());
        quality.score_hundredths.unwrap()
    }

    #[test]
    fn the_way_to_each_end_is_found_from_reports_that_pass() {
        let streams = streams(1000, 7);
        let mut hearing = Hearing::default();
        assert!(!hearing.is_reported());
        hearing.report(Side::Caller, &compound(7, Some(99), None), &streams, 0);
        let answer = compound(8, Some(77), Some((7, 0, 99, 65_536)));
        hearing.report(Side::Callee, &answer, &streams, 1_030_000);
        let answer = compound(7, None, Some((8, 0, 77, 0)));
        hearing.report(Side::Caller, &answer, &streams, 1_040_000);
        assert!(hearing.is_reported());
        let trip = |side| {
            hearing
                .quality(side, 1, &streams, &content())
                .round_trip_micros
        };
        assert_eq!(trip(Side::Caller), Some(30_000), "to the callee and back");
        assert_eq!(trip(Side::Callee), Some(10_000), "to the caller and back");
    }

    #[test]
    fn losses_on_the_second_half_of_the_way_count_in_the_score() {
        let streams = streams(1000, 7);
        let mut hearing = Hearing::default();
        let clean = score(&hearing, &streams);
        assert!((435..=441).contains(&clean), "{clean}");
        hearing.report(
            Side::Callee,
            &compound(8, None, Some((7, 50, 0, 0))),
            &streams,
            0,
        );
        let quality = hearing.quality(Side::Caller, 1000, &streams, &content());
        let reported = quality.reported.unwrap();
        assert_eq!((reported.lost, reported.jitter_micros), (50, 20_000));
        assert!(score(&hearing, &streams) < clean - 50);
    }

    #[test]
    fn a_report_cannot_lose_more_than_there_was_nor_speak_of_strangers() {
        let streams = streams(10, 7);
        let mut hearing = Hearing::default();
        let about = |source, lost| compound(8, None, Some((source, lost, 0, 0)));
        hearing.report(Side::Callee, &about(66, 9), &streams, 0);
        let quality = |hearing: &Hearing| hearing.quality(Side::Caller, 10, &streams, &content());
        assert_eq!(quality(&hearing).reported, None);
        hearing.report(Side::Callee, &about(7, 0x007f_ffff), &streams, 0);
        let reported = quality(&hearing).reported.unwrap();
        assert_eq!(reported.lost, 10);
        let score = quality(&hearing).score_hundredths;
        assert!(score < Some(130), "{score:?}");
    }

    #[test]
    fn the_codec_that_was_spoken_counts_and_not_its_comfort_noise() {
        let mut hearing = Hearing::default();
        assert_eq!(
            hearing.voice(Side::Caller, &VOICES),
            Voice::G729,
            "agreed first"
        );
        for number in [0, 13, 0, 13] {
            hearing.speak(Side::Caller, number, &VOICES);
            assert_eq!(hearing.voice(Side::Caller, &VOICES), Voice::G711);
        }
        hearing.speak(Side::Caller, 18, &VOICES);
        assert_eq!(hearing.voice(Side::Caller, &VOICES), Voice::G729);
        assert_eq!(
            hearing.voice(Side::Callee, &[]),
            Voice::G711,
            "nothing known"
        );
        hearing.speak(Side::Callee, 111, &VOICES);
        assert_eq!(hearing.voice(Side::Callee, &VOICES), Voice::G729);
    }

    #[test]
    fn what_carried_nothing_has_no_score() {
        let hearing = Hearing::default();
        let quality = hearing.quality(Side::Callee, 0, &streams(5, 1), &content());
        assert_eq!(quality, MediaQuality::default());
    }

    proptest! {
        /// Whatever a side reports, the figures stay within their bounds.
        #[test]
        fn hostile_reports_stay_within_bounds(
            reports in proptest::collection::vec(
                (any::<bool>(), any::<bool>(), 6u32..9, 6u32..9, any::<u32>(), 0u32..3, any::<u32>(), any::<u32>()),
                0..40,
            ),
        ) {
            let streams = streams(50, 7);
            let mut hearing = Hearing::default();
            for (callee, sends, ssrc, about, lost, stamp, delay, micros) in reports {
                let side = if callee { Side::Callee } else { Side::Caller };
                let about = Some((about, lost, stamp, delay));
                let bytes = compound(ssrc, sends.then_some(stamp), about);
                hearing.report(side, &bytes, &streams, u64::from(micros));
            }
            for side in [Side::Caller, Side::Callee] {
                let quality = hearing.quality(side, 60, &streams, &content());
                prop_assert!(quality.score_hundredths.is_some_and(|score| (100..=450).contains(&score)));
                prop_assert!(quality.round_trip_micros.is_none_or(|micros| micros <= 10_000_000));
                prop_assert!(quality.reported.is_none_or(|reported| reported.lost <= 60));
            }
        }
    }
}
