//! The TN Authorization List of a certificate (RFC 8226 §9): for which numbers it may sign.
//!
//! ```text
//!   TNAuthorizationList ::= SEQUENCE SIZE (1..MAX) OF TNEntry
//!   TNEntry ::= CHOICE { spc [0] IA5String, range [1] SEQUENCE { start, count, ... }, one [2] IA5String }
//! ```

/// Most entries that are read.
const MOST_ENTRIES: usize = 256;

const SEQUENCE: u8 = 0x30;
const IA5_STRING: u8 = 0x16;
const INTEGER: u8 = 0x02;
const SPC: u8 = 0xA0;
const RANGE: u8 = 0xA1;
const ONE: u8 = 0xA2;

/// For which numbers a certificate may sign.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Authority {
    /// Service provider code: all numbers of that provider, whichever they are. Empty if none.
    pub(super) provider: Box<str>,
    /// First number, how many, and of how many digits.
    ranges: Vec<(u64, u64, usize)>,
}

impl Authority {
    /// Reads the extension's value.
    pub(super) fn parse(der: &[u8]) -> Option<Self> {
        let (tag, mut entries, rest) = element(der)?;
        if tag != SEQUENCE || !rest.is_empty() || entries.is_empty() {
            return None;
        }
        let mut authority = Self::default();
        for _ in 0..MOST_ENTRIES {
            if entries.is_empty() {
                return Some(authority);
            }
            let (tag, value, rest) = element(entries)?;
            entries = rest;
            match tag {
                SPC => authority.provider = string(value)?.into(),
                ONE => authority.ranges.push(range(string(value)?, 1)?),
                RANGE => {
                    let (tag, value, _) = element(value)?;
                    if tag != SEQUENCE {
                        return None;
                    }
                    let (_, _, after) = element(value)?;
                    let (tag, count, _) = element(after)?;
                    if tag != INTEGER || count.len() > 8 {
                        return None;
                    }
                    let octet = |sum: u64, byte: &u8| (sum << 8) | u64::from(*byte);
                    let count = count.iter().fold(0, octet);
                    authority.ranges.push(range(string(value)?, count)?);
                }
                _ => return None,
            }
        }
        None
    }

    /// Whether it covers a number, given as digits.
    pub(super) fn covers(&self, number: &str) -> bool {
        let Ok(value) = number.parse::<u64>() else {
            return false;
        };
        let within = |(first, count, digits): &(u64, u64, usize)| {
            number.len() == *digits && value >= *first && value - *first < *count
        };
        !self.provider.is_empty() || self.ranges.iter().any(within)
    }
}

fn range(first: &str, count: u64) -> Option<(u64, u64, usize)> {
    let digits = first.len();
    let sound = (1..=15).contains(&digits) && first.bytes().all(|b| b.is_ascii_digit());
    Some((first.parse().ok().filter(|_| sound)?, count, digits))
}

/// The IA5String that a value begins with.
fn string(value: &[u8]) -> Option<&str> {
    let (tag, text, _) = element(value)?;
    let text = std::str::from_utf8(text).ok()?;
    let sound = tag == IA5_STRING && text.len() <= 32 && text.bytes().all(|b| b.is_ascii_graphic());
    sound.then_some(text)
}

/// Tag and value of the first element, and what comes after it (X.690 §8.1).
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, mut rest) = rest.split_first()?;
    let mut length = usize::from(*first);
    if length >= 0x80 {
        let octets = length - 0x80;
        if !(1..=2).contains(&octets) {
            return None;
        }
        let (long, after) = rest.split_at_checked(octets)?;
        length = long
            .iter()
            .fold(0, |sum, byte| (sum << 8) | usize::from(*byte));
        rest = after;
    }
    let (value, after) = rest.split_at_checked(length)?;
    Some((*tag, value, after))
}
