//! Our own tags, branches and Call-IDs: random bits written in sixteen letters, so that no digit
//! in them can meet a protected number by chance (sip-bridging 4).

/// Randomness that the agent draws from, given by the shell (a seeded one in the simulation).
pub trait Entropy: Send {
    /// 64 random bits.
    fn next(&mut self) -> u64;
}

/// Letters that stand for four bits each. Far from hexadecimal digits and from vowels alike.
const LETTERS: &[u8; 16] = b"bcdfghjklmnpqrst";

/// A tag of ours as the number it stands for: the key of dialog look-ups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(pub u64);

impl Tag {
    /// Draws one.
    pub fn draw(entropy: &mut dyn Entropy) -> Self {
        Self(entropy.next())
    }

    /// Reads a tag that we once wrote; `None` for anybody else's. Tags are tokens, and those are
    /// compared without regard to case (RFC 3261 §7.3.1).
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        if text.len() != 16 {
            return None;
        }
        of_letters(text).map(Self)
    }
}

impl std::fmt::Display for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write_letters(self.0, f)
    }
}

fn write_letters(value: u64, f: &mut impl std::fmt::Write) -> std::fmt::Result {
    let mut text = [0; 16];
    for (shift, place) in (0..16u32).rev().zip(&mut text) {
        let nibble = usize::try_from((value >> (shift * 4)) & 15).unwrap_or(0);
        *place = LETTERS.get(nibble).copied().unwrap_or(b'b');
    }
    // In one piece: what takes it looks at each piece for ends of lines. Letters are UTF-8.
    f.write_str(std::str::from_utf8(&text).unwrap_or_default())
}

/// Adds a number to a text, as sixteen letters.
pub fn letters(value: u64, text: &mut String) {
    let _ = write_letters(value, text);
}

/// The number that letters stand for, in any case; `None` for anything else. More than sixteen
/// lose their first.
#[must_use]
pub fn of_letters(text: &str) -> Option<u64> {
    text.bytes().try_fold(0u64, |value, byte| {
        let byte = byte.to_ascii_lowercase();
        let digit = LETTERS.iter().position(|letter| *letter == byte)?;
        Some((value << 4) | u64::try_from(digit).ok()?)
    })
}

/// A branch with RFC 3261's magic cookie (§8.1.1.7).
pub fn branch(entropy: &mut dyn Entropy) -> Box<str> {
    let mut text = String::with_capacity(23);
    text.push_str("z9hG4bK");
    let _ = write_letters(entropy.next(), &mut text);
    text.into()
}

/// A Call-ID.
pub fn call_id(entropy: &mut dyn Entropy) -> Box<str> {
    let mut text = String::with_capacity(32);
    let _ = write_letters(entropy.next(), &mut text);
    let _ = write_letters(entropy.next(), &mut text);
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting(u64);
    impl Entropy for Counting {
        fn next(&mut self) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            self.0
        }
    }

    #[test]
    fn a_tag_reads_back_in_any_case() {
        let mut entropy = Counting(7);
        for _ in 0..100 {
            let tag = Tag::draw(&mut entropy);
            let text = tag.to_string();
            assert_eq!(Tag::read(&text), Some(tag));
            assert_eq!(Tag::read(&text.to_ascii_uppercase()), Some(tag));
        }
        assert_eq!(Tag::read("aaaaaaaaaaaaaaaa"), None);
        assert_eq!(Tag::read("bb"), None);
    }

    #[test]
    fn our_ids_hold_no_digits() {
        let mut entropy = Counting(9);
        for _ in 0..100 {
            assert!(
                call_id(&mut entropy)
                    .bytes()
                    .all(|b| b.is_ascii_lowercase())
            );
            let branch = branch(&mut entropy);
            let rest = branch.strip_prefix("z9hG4bK").unwrap();
            assert!(rest.bytes().all(|b| b.is_ascii_lowercase()));
        }
    }
}
