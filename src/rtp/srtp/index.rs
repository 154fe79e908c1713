//! Which packet it is (RFC 3711 §3.3.1) and whether it was there before (§3.3.2).

/// Packets that a window looks back: twice what §3.3.2 asks for.
pub const WINDOW: u64 = 128;
/// Half of the sequence numbers.
const HALF: u64 = 1 << 15;

/// The highest index that was seen, and which of the ones below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    highest: u64,
    /// Bit n: `highest - n` was there.
    seen: u128,
}

impl Window {
    /// Of a first packet.
    #[must_use]
    pub const fn new(index: u64) -> Self {
        Self {
            highest: index,
            seen: 1,
        }
    }

    /// The index that `sequence` most likely stands for: the one with that number which is the
    /// nearest to the highest. Before the first wrap there is nothing to go back to.
    #[must_use]
    pub const fn estimate(&self, sequence: u16) -> u64 {
        let rollover = self.highest >> 16 << 16;
        let last = self.highest & 0xffff;
        let sequence = sequence as u64;
        if last < HALF && sequence > last + HALF && rollover > 0 {
            rollover - (1 << 16) + sequence
        } else if last >= HALF && sequence < last - HALF {
            rollover + (1 << 16) + sequence
        } else {
            rollover + sequence
        }
    }

    /// Whether a packet with this index may be taken: it is new, and not too old to know.
    #[must_use]
    pub const fn allows(&self, index: u64) -> bool {
        if index > self.highest {
            return true;
        }
        let age = self.highest - index;
        age < WINDOW && self.seen >> age & 1 == 0
    }

    /// Takes note of a packet, once it has proved to be genuine.
    pub const fn accept(&mut self, index: u64) {
        if index > self.highest {
            let ahead = index - self.highest;
            self.seen = if ahead < WINDOW {
                self.seen << ahead | 1
            } else {
                1
            };
            self.highest = index;
        } else {
            let age = self.highest - index;
            if age < WINDOW {
                self.seen |= 1 << age;
            }
        }
    }
}
