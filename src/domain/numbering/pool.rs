//! Numbers that are lent out: ranges of them, how they are shown, what state they are in.

use super::super::E164;
use super::{Plan, without_separators};
use serde::{Deserialize, Serialize};

/// Consecutive pool numbers and how they are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolRange {
    /// First.
    pub first: E164,
    /// Last, inclusive.
    pub last: E164,
    /// Spelling of every number of the range.
    pub style: NumberStyle,
}

impl PoolRange {
    /// How many numbers.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.last
            .packed()
            .saturating_sub(self.first.packed())
            .saturating_add(1)
    }

    /// The same numbers in ranges of at most `size`, so that each is a commit of bearable size.
    #[must_use]
    pub fn chunks(&self, size: u64) -> Vec<Self> {
        let mut chunks = Vec::new();
        let mut from = self.first.packed();
        while from <= self.last.packed() {
            let to = from.saturating_add(size.max(1) - 1).min(self.last.packed());
            if let (Some(first), Some(last)) = (E164::from_packed(from), E164::from_packed(to)) {
                chunks.push(Self {
                    first,
                    last,
                    style: self.style.clone(),
                });
            }
            from = to.saturating_add(1);
        }
        chunks
    }
}

/// How a pool number is shown: so many leading E.164 digits are replaced by a prefix. `+60388880000`
/// shown as `0388880000` is `{ strip: 2, prefix: "0" }`; with `+`, `{ strip: 0, prefix: "+" }`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NumberStyle {
    /// Leading digits left out.
    pub strip: u8,
    /// Put in their place; up to 8 characters.
    pub prefix: Box<str>,
}

impl NumberStyle {
    /// Longest prefix, in characters.
    pub const MAX_PREFIX: usize = 8;

    /// The style in which `number` is shown as `spelled`, if there is one.
    #[must_use]
    pub fn of(number: E164, spelled: &str) -> Option<Self> {
        let digits = number.digits();
        let common = digits
            .bytes()
            .rev()
            .zip(spelled.bytes().rev())
            .take_while(|(a, b)| a == b)
            .count();
        let strip = u8::try_from(digits.len() - common).ok()?;
        let prefix = spelled.get(..spelled.len() - common)?;
        if common == 0 || prefix.chars().count() > Self::MAX_PREFIX {
            return None;
        }
        Some(Self {
            strip,
            prefix: prefix.into(),
        })
    }

    /// The number in this style.
    #[must_use]
    pub fn show(&self, number: E164) -> String {
        let digits = number.digits();
        let rest = digits.get(usize::from(self.strip)..).unwrap_or_default();
        format!("{}{rest}", self.prefix)
    }
}

/// State of a pool number (lease-api 4.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NumberState {
    /// May be leased by customers without reservations.
    Free,
    /// Leased.
    Leased,
    /// May be leased by the customer it is reserved for.
    Reserved,
    /// Resting after a lease, or a call is still up on it.
    Resting,
    /// Never leased again.
    Retired,
}

/// Most numbers that one entry may name.
const MAX_RANGE: u64 = 100_000_000;

impl Plan {
    /// Reads one entry of `numbering.pool` or of numbers/add: a number, or two with a `-`
    /// between them, in the spelling in which they are to be shown (separators are dropped).
    ///
    /// # Errors
    /// Says what is wrong with the entry.
    pub fn parse_pool_entry(&self, entry: &str) -> Result<PoolRange, String> {
        let entry = entry.trim();
        // A `-` may also be a separator inside a number: every one is tried as the range's.
        let halves = entry
            .match_indices('-')
            .filter_map(|(at, _)| Some((entry.get(..at)?, entry.get(at + 1..)?)));
        for (first, last) in halves {
            if let (Some((first, style)), Some((last, last_style))) =
                (self.pool_number(first), self.pool_number(last))
            {
                return range(entry, first, last, style, &last_style);
            }
        }
        let (number, style) = self
            .pool_number(entry)
            .ok_or_else(|| format!("`{entry}` is neither a number nor a range of numbers"))?;
        Ok(PoolRange {
            first: number,
            last: number,
            style,
        })
    }

    /// A pool number and its style. An international number need not be valid to the numbering
    /// plan: the carrier has assigned it.
    fn pool_number(&self, spelled: &str) -> Option<(E164, NumberStyle)> {
        let compact = without_separators(spelled.trim())?;
        let number = self
            .parse_phone(&compact)
            .or_else(|| E164::from_digits(compact.strip_prefix('+')?))?;
        Some((number, NumberStyle::of(number, &compact)?))
    }
}

fn range(
    entry: &str,
    first: E164,
    last: E164,
    style: NumberStyle,
    last_style: &NumberStyle,
) -> Result<PoolRange, String> {
    if style != *last_style {
        return Err(format!("`{entry}`: the two ends are written differently"));
    }
    if last < first {
        return Err(format!("`{entry}`: the range ends before it begins"));
    }
    let range = PoolRange { first, last, style };
    if range.count() > MAX_RANGE {
        return Err(format!("`{entry}`: more than {MAX_RANGE} numbers"));
    }
    Ok(range)
}
