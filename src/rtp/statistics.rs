//! What a stream lost, reordered and jittered (RFC 3550 appendices A.1, A.3 and A.8), counted over
//! every synchronisation source that the stream had.

use super::packet::Header;

/// A jump forward of fewer numbers is loss; a larger one, once repeated, a restart (A.1).
const MAX_DROPOUT: u16 = 3000;
/// A jump back of fewer numbers is reordering (A.1).
const MAX_MISORDER: u16 = 100;

/// One direction's stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stream {
    source: Option<Source>,
    lost: u64,
    reordered: u64,
    received: u64,
    gaps: u64,
    jitter_micros: u32,
}

/// The run of packets now counted: since the source began or began anew.
#[derive(Clone, Copy, Debug)]
struct Source {
    ssrc: u32,
    base: u32,
    cycles: u32,
    highest: u16,
    received: u64,
    restart: Option<u16>,
    clock: u32,
    transit: Option<u32>,
    /// Jitter in the clock's units, scaled by 16.
    jitter: u32,
}

/// A packet's place among those before it.
enum Place {
    Next,
    Ahead,
    Late,
    Strange,
}

impl Stream {
    /// Counts a packet that arrived at `micros` (any origin, monotonic), whose payload type's
    /// clock is `clock` Hz (0: unknown, or timestamps that say nothing of jitter).
    #[inline]
    pub fn count(&mut self, header: &Header, clock: u32, micros: u64) {
        let source = match &mut self.source {
            Some(source) if source.ssrc == header.ssrc => source,
            _ => return self.begin(header, clock, micros),
        };
        match source.place(header.sequence) {
            Place::Next => {}
            Place::Ahead => self.gaps = self.gaps.saturating_add(1),
            Place::Late => {
                self.reordered = self.reordered.saturating_add(1);
                // Most gaps that are filled were of one packet.
                self.gaps = self.gaps.saturating_sub(1);
            }
            Place::Strange => {
                if source.restart != Some(header.sequence) {
                    // Two in a row are needed to believe it.
                    source.restart = Some(header.sequence.wrapping_add(1));
                    return;
                }
                return self.begin(header, clock, micros);
            }
        }
        source.restart = None;
        source.received = source.received.saturating_add(1);
        source.time(header.timestamp, clock, micros);
        self.jitter_micros = source.jitter_micros();
    }

    /// Packets missing by sequence number so far; duplicates make up for losses, never for more.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let now = self.source.map_or(0, |source| source.lost());
        self.lost.saturating_add(now)
    }

    /// Packets counted, of all sources.
    #[must_use]
    pub fn received(&self) -> u64 {
        let now = self.source.map_or(0, |source| source.received);
        self.received.saturating_add(now)
    }

    /// Gaps in which the lost packets are missing.
    #[must_use]
    pub const fn gaps(&self) -> u64 {
        self.gaps
    }

    /// The source now, and its clock in Hz (0: unknown).
    #[must_use]
    pub fn source(&self) -> Option<(u32, u32)> {
        self.source.map(|source| (source.ssrc, source.clock))
    }

    /// Packets that came after one with a later number.
    #[must_use]
    pub const fn reordered(&self) -> u64 {
        self.reordered
    }

    /// Interarrival jitter now, microseconds.
    #[must_use]
    pub const fn jitter_micros(&self) -> u32 {
        self.jitter_micros
    }

    #[cold]
    fn begin(&mut self, header: &Header, clock: u32, micros: u64) {
        self.lost = self.lost();
        self.received = self.received();
        let mut source = Source {
            ssrc: header.ssrc,
            base: u32::from(header.sequence),
            cycles: 0,
            highest: header.sequence,
            received: 1,
            restart: None,
            clock,
            transit: None,
            jitter: 0,
        };
        source.time(header.timestamp, clock, micros);
        self.source = Some(source);
    }
}

impl Source {
    #[inline]
    fn place(&mut self, sequence: u16) -> Place {
        let ahead = sequence.wrapping_sub(self.highest);
        if ahead == 0 {
            // A duplicate of the newest: neither late nor new.
            Place::Next
        } else if ahead < MAX_DROPOUT {
            if sequence < self.highest {
                self.cycles = self.cycles.wrapping_add(1 << 16);
            }
            self.highest = sequence;
            if ahead == 1 {
                Place::Next
            } else {
                Place::Ahead
            }
        } else if ahead > u16::MAX - MAX_MISORDER {
            Place::Late
        } else {
            Place::Strange
        }
    }

    #[inline]
    fn time(&mut self, timestamp: u32, clock: u32, micros: u64) {
        if clock == 0 {
            return;
        }
        if clock != self.clock {
            self.clock = clock;
            self.transit = None;
            self.jitter = 0;
        }
        let units = u128::from(micros) * u128::from(clock) / 1_000_000;
        let arrival = u32::try_from(units & u128::from(u32::MAX)).unwrap_or_default();
        let transit = arrival.wrapping_sub(timestamp);
        if let Some(before) = self.transit {
            // The difference of two transit times is small either way round the 32 bits.
            let ahead = transit.wrapping_sub(before);
            let difference = ahead.min(ahead.wrapping_neg());
            let sunk = self.jitter.saturating_add(8) >> 4;
            self.jitter = self.jitter.saturating_add(difference).saturating_sub(sunk);
        }
        self.transit = Some(transit);
    }

    fn jitter_micros(&self) -> u32 {
        if self.clock == 0 {
            return 0;
        }
        let micros = u64::from(self.jitter >> 4) * 1_000_000 / u64::from(self.clock);
        u32::try_from(micros).unwrap_or(u32::MAX)
    }

    fn lost(&self) -> u64 {
        let last = self.cycles.wrapping_add(u32::from(self.highest));
        let expected = u64::from(last.wrapping_sub(self.base)) + 1;
        expected.saturating_sub(self.received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(ssrc: u32, sequence: u16, timestamp: u32) -> Header {
        Header {
            payload_type: 0,
            sequence,
            timestamp,
            ssrc,
            extended: false,
        }
    }

    fn feed(stream: &mut Stream, sequences: &[u16]) {
        for sequence in sequences {
            stream.count(&header(1, *sequence, 0), 0, 0);
        }
    }

    #[test]
    fn loss_is_counted_across_the_wrap() {
        let mut stream = Stream::default();
        feed(&mut stream, &[65533, 65534, 0, 1, 4]);
        assert_eq!((stream.lost(), stream.reordered()), (3, 0));
    }

    #[test]
    fn gaps_are_counted_once_however_long() {
        let mut stream = Stream::default();
        feed(&mut stream, &[1, 2, 6, 7, 9, 11, 10]);
        assert_eq!((stream.lost(), stream.gaps()), (4, 2));
        stream.count(&header(2, 100, 0), 8000, 0);
        assert_eq!(stream.received(), 8, "over all sources");
        assert_eq!(stream.source(), Some((2, 8000)));
    }

    #[test]
    fn a_late_packet_is_reordered_and_not_lost() {
        let mut stream = Stream::default();
        feed(&mut stream, &[10, 12, 11, 13]);
        assert_eq!((stream.lost(), stream.reordered()), (0, 1));
    }

    #[test]
    fn duplicates_hide_no_more_than_they_are() {
        let mut stream = Stream::default();
        feed(&mut stream, &[1, 1, 1]);
        assert_eq!((stream.lost(), stream.reordered()), (0, 0));
    }

    #[test]
    fn a_new_source_begins_anew_and_keeps_the_sum() {
        let mut stream = Stream::default();
        feed(&mut stream, &[1, 3]);
        stream.count(&header(2, 40_000, 0), 0, 0);
        stream.count(&header(2, 40_002, 0), 0, 0);
        assert_eq!(stream.lost(), 2);
    }

    #[test]
    fn a_jump_is_believed_when_it_goes_on() {
        let mut stream = Stream::default();
        feed(&mut stream, &[1, 2, 20_000, 3, 4]);
        assert_eq!(stream.lost(), 0, "a stray packet counts for nothing");
        feed(&mut stream, &[30_000, 30_001, 30_002]);
        assert_eq!(stream.lost(), 0);
        feed(&mut stream, &[30_004]);
        assert_eq!(stream.lost(), 1);
    }

    #[test]
    fn even_packets_have_no_jitter() {
        let mut stream = Stream::default();
        for n in 0..200u32 {
            let sequence = u16::try_from(n).unwrap();
            stream.count(&header(1, sequence, n * 160), 8000, u64::from(n) * 20_000);
        }
        assert_eq!(stream.jitter_micros(), 0);
    }

    /// Packets alternately 10 ms early and late settle at the mean deviation, 20 ms.
    #[test]
    fn jitter_settles_at_the_mean_deviation() {
        for start in [0u32, u32::MAX - 100_000] {
            let mut stream = Stream::default();
            for n in 0..1000u32 {
                let late = if n % 2 == 0 { 0 } else { 20_000 };
                let sequence = u16::try_from(n).unwrap();
                let at = u64::from(n) * 20_000 + late;
                stream.count(&header(1, sequence, start.wrapping_add(n * 160)), 8000, at);
            }
            let jitter = stream.jitter_micros();
            assert!((19_000..=21_000).contains(&jitter), "{jitter}");
        }
    }

    #[test]
    fn another_clock_starts_the_jitter_anew() {
        let mut stream = Stream::default();
        stream.count(&header(1, 1, 0), 8000, 0);
        stream.count(&header(1, 2, 900_000), 48_000, 20_000);
        stream.count(&header(1, 3, 900_960), 48_000, 40_000);
        assert_eq!(stream.jitter_micros(), 0);
        stream.count(&header(1, 4, 900_960), 0, 60_000);
        assert_eq!(stream.jitter_micros(), 0, "events are not measured");
    }

    proptest! {
        /// Any order of arrival within the window, some missing: losses are exactly those missing.
        #[test]
        fn losses_are_what_is_missing(
            start in any::<u16>(),
            gone in proptest::collection::btree_set(1u16..299, 0..50),
            swaps in proptest::collection::vec(1usize..240, 0..40),
        ) {
            let mut order: Vec<u16> = (0..300).filter(|n| !gone.contains(n)).collect();
            for at in swaps {
                order.swap(at, at + 1);
            }
            order.retain(|n| *n != 0 && *n != 299);
            let mut stream = Stream::default();
            let all = std::iter::once(0).chain(order).chain(std::iter::once(299));
            for n in all {
                stream.count(&header(9, start.wrapping_add(n), 0), 0, 0);
            }
            prop_assert_eq!(stream.lost(), u64::try_from(gone.len()).unwrap());
        }

        #[test]
        fn nothing_panics(packets in proptest::collection::vec(
            (any::<u32>(), any::<u16>(), any::<u32>(), any::<u32>(), any::<u64>()), 0..60)) {
            let mut stream = Stream::default();
            for (ssrc, sequence, timestamp, clock, micros) in packets {
                stream.count(&header(ssrc % 2, sequence, timestamp), clock, micros);
                let _ = (stream.lost(), stream.jitter_micros());
            }
        }
    }
}
