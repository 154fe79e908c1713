//! Nonces that need no memory (RFC 7616 §5.4): time and random bits, sealed with a key that lives
//! as long as the process.

use crate::sip::dialog::{Entropy, letters, of_letters};
use ring::hmac;
use std::time::{Duration, Instant};

/// So long a nonce may be used.
const LIFE: Duration = Duration::from_secs(300);

/// Letters of a nonce: time, random bits, and 128 bits of the seal.
const LENGTH: usize = 64;

/// The maker of nonces: the same for all workers of a process.
#[derive(Clone)]
pub struct Nonces {
    key: hmac::Key,
    /// Times in nonces are milliseconds since.
    epoch: Instant,
}

/// What a nonce is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Ours, for this trunk, and of age.
    Fresh {
        /// When it was made, in milliseconds of the maker's own time.
        made: u64,
        /// Its random bits.
        id: u64,
    },
    /// Too old, of another trunk, of an earlier process, or nobody's.
    Stale,
}

impl Nonces {
    /// A maker with a key that is drawn now.
    pub fn draw(entropy: &mut dyn Entropy, now: Instant) -> Self {
        let mut secret = [0u8; 32];
        for chunk in secret.chunks_mut(8) {
            chunk.copy_from_slice(&entropy.next().to_be_bytes());
        }
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            epoch: now,
        }
    }

    /// A nonce for one trunk.
    pub fn make(&self, trunk: u16, entropy: &mut dyn Entropy, now: Instant) -> Box<str> {
        let (made, id) = (self.time(now), entropy.next());
        let mut text = String::with_capacity(LENGTH);
        letters(made, &mut text);
        letters(id, &mut text);
        for half in self.seal(made, id, trunk) {
            letters(half, &mut text);
        }
        text.into()
    }

    /// What a nonce is worth now, on this trunk.
    #[must_use]
    pub fn check(&self, nonce: &str, trunk: u16, now: Instant) -> Freshness {
        let part = |place: usize| {
            let from = place.saturating_mul(16);
            nonce
                .get(from..from.saturating_add(16))
                .and_then(of_letters)
        };
        let parts = (part(0), part(1), part(2), part(3));
        let (Some(made), Some(id), Some(first), Some(second)) = parts else {
            return Freshness::Stale;
        };
        let [one, other] = self.seal(made, id, trunk);
        let forged = std::hint::black_box((one ^ first) | (other ^ second)) != 0;
        // Another worker that made it may have looked at the clock a little later.
        let age = self.time(now).saturating_sub(made);
        let life = u64::try_from(LIFE.as_millis()).unwrap_or(u64::MAX);
        if nonce.len() != LENGTH || forged || age > life {
            return Freshness::Stale;
        }
        Freshness::Fresh { made, id }
    }

    /// Made before this, a nonce is stale now.
    pub(super) fn horizon(&self, now: Instant) -> u64 {
        let life = u64::try_from(LIFE.as_millis()).unwrap_or(u64::MAX);
        self.time(now).saturating_sub(life)
    }

    fn time(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.epoch);
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    }

    fn seal(&self, made: u64, id: u64, trunk: u16) -> [u64; 2] {
        let mut text = [0u8; 18];
        let bytes = made
            .to_be_bytes()
            .into_iter()
            .chain(id.to_be_bytes())
            .chain(trunk.to_be_bytes());
        for (place, byte) in text.iter_mut().zip(bytes) {
            *place = byte;
        }
        let tag = hmac::sign(&self.key, &text);
        let half = |from: usize| {
            let bytes = tag.as_ref().get(from..from.saturating_add(8));
            bytes
                .and_then(|bytes| <[u8; 8]>::try_from(bytes).ok())
                .map_or(0, u64::from_be_bytes)
        };
        [half(0), half(8)]
    }
}
