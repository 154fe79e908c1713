//! What sender and receiver reports say (RFC 3550 §6.4), and what follows from those that pass the
//! gateway: losses and jitter as the far end had them, and the way there and back.
//!
//! ```text
//!   end A ── SR (stamp) ──▶ gateway, at t0 ── SR ──▶ end B
//!                           gateway, at t1 ◀── RR (LSR = stamp, DLSR = d) ── end B
//!                           gateway to B and back: t1 - t0 - d
//! ```

use super::rtcp::{Part, kind};

/// Sender reports that are remembered: one comes every five seconds, and is answered by the next
/// report of the other side.
const REMEMBERED: usize = 4;
/// Longer ways there and back are not believed, microseconds.
const LONGEST_TRIP: u64 = 10_000_000;
/// Bytes of a report block.
const BLOCK: usize = 24;

/// One report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report<'a> {
    /// Who reports.
    pub sender: u32,
    /// Middle 32 bits of a sender report's NTP time; `None` for a receiver report.
    pub stamp: Option<u32>,
    blocks: &'a [u8],
}

/// What a report says of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// The source.
    pub ssrc: u32,
    /// Packets lost in all; duplicates can make the sender's figure negative, which is none here.
    pub lost: u32,
    /// Interarrival jitter, in the clock of the source.
    pub jitter: u32,
    /// The last sender report that came, by its stamp; 0: none.
    pub last_report: u32,
    /// Time since then, in units of 1/65536 s.
    pub delay: u32,
}

impl<'a> Report<'a> {
    /// Of one packet of a compound; `None` where it is no report, or not whole.
    #[must_use]
    pub fn read(part: &Part<'a>) -> Option<Self> {
        let fixed = match part.kind {
            kind::SENDER_REPORT => 24,
            kind::RECEIVER_REPORT => 4,
            _ => return None,
        };
        let (head, rest) = part.body.split_at_checked(fixed)?;
        let stamp = match part.kind {
            // The low half of the seconds and the high half of the fraction.
            kind::SENDER_REPORT => Some(word(head.get(6..10)?)?),
            _ => None,
        };
        Some(Self {
            sender: word(head)?,
            stamp,
            blocks: rest.get(..usize::from(part.count) * BLOCK)?,
        })
    }

    /// Its blocks, at most 31.
    pub fn blocks(&self) -> impl Iterator<Item = Block> + '_ {
        self.blocks.chunks_exact(BLOCK).filter_map(|block| {
            let lost = word(block.get(4..8)?)? & 0x00ff_ffff;
            Some(Block {
                ssrc: word(block)?,
                // 24 bits with a sign.
                lost: if lost < 0x0080_0000 { lost } else { 0 },
                jitter: word(block.get(12..16)?)?,
                last_report: word(block.get(16..20)?)?,
                delay: word(block.get(20..24)?)?,
            })
        })
    }
}

fn word(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|four| u32::from_be_bytes(*four))
}

/// One direction's stream as its receiver reports it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reception {
    sent: [Sent; REMEMBERED],
    next: usize,
    /// The source last reported, and what was reported of those before it.
    current: Option<Block>,
    lost_before: u64,
    round_trip_micros: Option<u32>,
}

/// A sender report that went on to the receiver.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    ssrc: u32,
    stamp: u32,
    micros: u64,
}

impl Reception {
    /// A sender report of `ssrc` passes at `micros` (any origin, monotonic).
    pub fn pass(&mut self, ssrc: u32, stamp: u32, micros: u64) {
        if stamp == 0 {
            // It would read as "none" when it is named.
            return;
        }
        self.next = (self.next + 1) % REMEMBERED;
        if let Some(place) = self.sent.get_mut(self.next) {
            *place = Sent {
                ssrc,
                stamp,
                micros,
            };
        }
    }

    /// The receiver reports at `micros`. Counts where the source is `ssrc`, or one that sent a
    /// report itself.
    pub fn report(&mut self, block: &Block, ssrc: Option<u32>, micros: u64) {
        let reports = self.sent.iter().any(|sent| sent.is_of(block.ssrc));
        if ssrc != Some(block.ssrc) && !reports {
            return;
        }
        if let Some(before) = self.current
            && before.ssrc != block.ssrc
        {
            self.lost_before = self.lost_before.saturating_add(u64::from(before.lost));
        }
        self.current = Some(*block);
        if let Some(trip) = self.trip(block, micros) {
            self.round_trip_micros = Some(match self.round_trip_micros {
                None => trip,
                // As RFC 6298 smooths it: the newest counts an eighth.
                Some(before) => before - before / 8 + trip / 8,
            });
        }
    }

    fn trip(&self, block: &Block, micros: u64) -> Option<u32> {
        let answers = |sent: &&Sent| sent.is_of(block.ssrc) && sent.stamp == block.last_report;
        let sent = self.sent.iter().find(answers)?;
        let elapsed = micros.checked_sub(sent.micros)?;
        let kept = u64::from(block.delay) * 1_000_000 / 65_536;
        let trip = elapsed.checked_sub(kept)?;
        u32::try_from(trip).ok().filter(|_| trip <= LONGEST_TRIP)
    }

    /// From the gateway to the receiver and back, microseconds, smoothed.
    #[must_use]
    pub const fn round_trip_micros(&self) -> Option<u32> {
        self.round_trip_micros
    }

    /// Packets that the receiver says it missed, over all sources; `None`: it said nothing.
    #[must_use]
    pub fn lost(&self) -> Option<u64> {
        let now = u64::from(self.current?.lost);
        Some(self.lost_before.saturating_add(now))
    }

    /// Jitter that the receiver had last, microseconds, where the source's clock is `clock` Hz.
    #[must_use]
    pub fn jitter_micros(&self, clock: u32) -> Option<u32> {
        let units = u64::from(self.current?.jitter);
        let micros = (units * 1_000_000).checked_div(u64::from(clock))?;
        Some(u32::try_from(micros).unwrap_or(u32::MAX))
    }
}

impl Sent {
    const fn is_of(&self, ssrc: u32) -> bool {
        self.stamp != 0 && self.ssrc == ssrc
    }
}

#[cfg(test)]
mod tests {
    use super::super::rtcp::Parts;
    use super::*;
    use proptest::prelude::*;

    fn block(ssrc: u32, last_report: u32, delay: u32) -> Block {
        Block {
            ssrc,
            lost: 3,
            jitter: 80,
            last_report,
            delay,
        }
    }

    #[test]
    fn reports_are_read_by_their_grammar() {
        let mut bytes = vec![0x81, 200, 0, 12];
        bytes.extend([0, 0, 0, 9]); // sender
        bytes.extend([1, 2, 3, 4, 5, 6, 7, 8]); // NTP
        bytes.extend([0; 12]); // RTP time, packets, octets
        bytes.extend([0, 0, 0, 7, 0x20, 0, 0, 5]); // source, share lost, lost
        bytes.extend([0, 1, 0, 2, 0, 0, 0, 80, 9, 9, 9, 9, 0, 1, 0, 0]);
        let part = Parts::new(&bytes).next().unwrap().unwrap();
        let report = Report::read(&part).unwrap();
        assert_eq!((report.sender, report.stamp), (9, Some(0x0304_0506)));
        let blocks: Vec<_> = report.blocks().collect();
        let expected = Block {
            ssrc: 7,
            lost: 5,
            jitter: 80,
            last_report: 0x0909_0909,
            delay: 65_536,
        };
        assert_eq!(blocks, [expected]);
        // More lost than came is no loss at all.
        bytes[33..36].copy_from_slice(&[0xff, 0xff, 0xfe]);
        let part = Parts::new(&bytes).next().unwrap().unwrap();
        assert_eq!(
            Report::read(&part).unwrap().blocks().next().unwrap().lost,
            0
        );
        let cut = Part { count: 2, ..part };
        assert_eq!(Report::read(&cut), None);
        let other = Part { kind: 203, ..part };
        assert_eq!(Report::read(&other), None);
    }

    /// The example of RFC 3550 §6.4.1, figure 2: received at xx:xx.125, sent 5.25 s before the
    /// report came back at 6.125 s of the round.
    #[test]
    fn the_way_there_and_back_is_what_the_receiver_did_not_keep() {
        let mut reception = Reception::default();
        reception.pass(1, 0xb705_2000, 10_000_000);
        reception.report(&block(1, 0xb705_2000, 0x0005_4000), Some(1), 16_125_000);
        assert_eq!(reception.round_trip_micros(), Some(875_000));
        assert_eq!(reception.lost(), Some(3));
        assert_eq!(reception.jitter_micros(8000), Some(10_000));
        assert_eq!(reception.jitter_micros(0), None);
    }

    #[test]
    fn what_cannot_be_is_not_believed() {
        let mut reception = Reception::default();
        reception.report(&block(1, 5, 0), Some(1), 100);
        assert_eq!(reception.round_trip_micros(), None, "never sent");
        reception.pass(1, 5, 1_000_000);
        for (answer, at) in [
            (block(1, 6, 0), 1_010_000),        // another stamp
            (block(1, 5, 65_536), 1_010_000),   // kept longer than it had it
            (block(1, 5, 0), 20_000_000),       // too long
            (block(1, 5, 0), 500_000),          // before it was sent
            (block(2, 5, 0), 1_010_000),        // a source that is not here
            (block(1, 0, 0), 1_010_000),        // none came
            (block(1, 5, u32::MAX), 5_000_000), // kept for a day
        ] {
            reception.report(&answer, Some(1), at);
            assert_eq!(reception.round_trip_micros(), None, "{answer:?}");
        }
        reception.report(&block(1, 5, 0), Some(1), 1_010_000);
        assert_eq!(reception.round_trip_micros(), Some(10_000));
    }

    #[test]
    fn a_source_that_is_not_in_the_flow_says_nothing() {
        let mut reception = Reception::default();
        reception.report(&block(66, 0, 0), Some(1), 0);
        reception.report(&block(0, 0, 0), None, 0);
        assert_eq!(reception.lost(), None);
        // One that reported itself is, though no packet of it was seen here.
        reception.pass(2, 9, 0);
        reception.report(&block(2, 9, 0), Some(1), 40_000);
        assert_eq!(reception.lost(), Some(3));
        assert_eq!(reception.round_trip_micros(), Some(40_000));
    }

    #[test]
    fn losses_of_all_sources_are_summed() {
        let mut reception = Reception::default();
        reception.report(&block(1, 0, 0), Some(1), 0);
        reception.report(&block(1, 0, 0), Some(1), 0);
        reception.report(&block(2, 0, 0), Some(2), 0);
        assert_eq!(reception.lost(), Some(6));
    }

    proptest! {
        #[test]
        fn no_reports_make_it_panic(
            steps in proptest::collection::vec(
                (any::<bool>(), 0u32..3, any::<u32>(), any::<u32>(), any::<u64>()), 0..60),
        ) {
            let mut reception = Reception::default();
            for (passes, ssrc, stamp, delay, micros) in steps {
                if passes {
                    reception.pass(ssrc, stamp % 5, micros);
                } else {
                    let block = Block { ssrc, lost: delay, jitter: stamp, last_report: stamp % 5, delay };
                    reception.report(&block, Some(1), micros);
                }
                prop_assert!(reception.round_trip_micros().is_none_or(|micros| u64::from(micros) <= LONGEST_TRIP));
                let _ = (reception.lost(), reception.jitter_micros(delay));
            }
        }
    }
}
