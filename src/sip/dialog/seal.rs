//! Tags of ours that prove themselves: half of each is a keyed figure of the other half and of the
//! Call-ID, so that an answer in a dialog long forgotten is told from one that somebody made up.

use super::{Entropy, Tag};
use ring::hmac;

/// The half of a tag that proves the other.
const LOWER: u64 = 0xffff_ffff;

/// The key. It lives as long as its agent: nobody answers for the process before.
pub struct Seal(hmac::Key);

impl Seal {
    /// With a key that is drawn now.
    pub fn draw(entropy: &mut dyn Entropy) -> Self {
        let mut secret = [0u8; 32];
        for chunk in secret.chunks_mut(8) {
            chunk.copy_from_slice(&entropy.next().to_be_bytes());
        }
        Self(hmac::Key::new(hmac::HMAC_SHA256, &secret))
    }

    /// A tag for dialogs with this Call-ID: 32 random bits, and 32 that nobody else can tell from
    /// random ones (RFC 3261 §19.3).
    pub fn tag(&self, call_id: &str, entropy: &mut dyn Entropy) -> Tag {
        let random = entropy.next() << 32;
        Tag(random | self.figure(random, call_id))
    }

    /// Whether we drew a tag, for this Call-ID.
    #[must_use]
    pub fn is_ours(&self, tag: Tag, call_id: &str) -> bool {
        let random = tag.0 & !LOWER;
        std::hint::black_box(tag.0 ^ (random | self.figure(random, call_id))) == 0
    }

    fn figure(&self, random: u64, call_id: &str) -> u64 {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&random.to_be_bytes());
        context.update(call_id.as_bytes());
        let figure = context.sign();
        let first = figure.as_ref().first_chunk::<8>();
        first.map_or(0, |bytes| u64::from_be_bytes(*bytes)) & LOWER
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting(u64);

    impl Entropy for Counting {
        fn next(&mut self) -> u64 {
            self.0 += 1;
            self.0
        }
    }

    #[test]
    fn a_tag_is_of_one_call_id_and_one_key() {
        let mut entropy = Counting(1);
        let (one, other) = (Seal::draw(&mut entropy), Seal::draw(&mut entropy));
        let tag = one.tag("bcdf", &mut entropy);
        assert_ne!(tag, one.tag("bcdf", &mut entropy));
        assert!(one.is_ours(tag, "bcdf"));
        assert!(!one.is_ours(tag, "bcdg"));
        for bit in 0..64 {
            assert!(!one.is_ours(Tag(tag.0 ^ (1 << bit)), "bcdf"));
        }
        assert!(!other.is_ours(tag, "bcdf"));
        assert_eq!(format!("{one:?}"), "Seal(..)");
    }
}
