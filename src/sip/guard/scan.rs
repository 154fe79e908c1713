//! The search itself: protected values in one pass over a message's bytes.

use smallvec::SmallVec;

/// One value to look for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pattern<'a> {
    /// Digits of a number.
    Number(&'a str),
    /// IP literal or host name, lower case.
    Address(&'a str),
}

impl<'a> Pattern<'a> {
    fn text(self) -> &'a str {
        match self {
            Self::Number(text) | Self::Address(text) => text,
        }
    }
}

/// Where a value was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    /// First byte.
    pub(super) start: usize,
    /// Byte after the last.
    pub(super) end: usize,
    /// Which pattern it is.
    pattern: usize,
}

/// All values to look for, with what their first characters are.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    patterns: SmallVec<[Pattern<'a>; 24]>,
    /// For every byte value: [`FIRST`], [`DIGIT`], [`ESCAPE`].
    kinds: [u8; 256],
}

/// A value may begin with this byte.
const FIRST: u8 = 1;
/// It is a digit: the next byte begins no value, unless this one is part of an escape.
const DIGIT: u8 = 2;
/// It begins an escape.
const ESCAPE: u8 = 4;

/// Kinds before any value is known.
static KINDS: [u8; 256] = kinds();

// Evaluated by the compiler, which checks the index.
#[allow(clippy::indexing_slicing)]
const fn kinds() -> [u8; 256] {
    let mut kinds = [0; 256];
    let mut byte = b'0';
    while byte <= b'9' {
        kinds[byte as usize] = DIGIT;
        byte += 1;
    }
    kinds[b'%' as usize] = ESCAPE;
    kinds
}

impl Default for Watch<'_> {
    fn default() -> Self {
        Self {
            patterns: SmallVec::new(),
            kinds: KINDS,
        }
    }
}

/// Most separators between two digits of one number.
const MOST_SEPARATORS: usize = 8;

/// What may stand between two digits of one number: all that is printable and neither letter nor
/// digit. Whoever wants to carry a number across picks the separator.
const fn is_separator(byte: u8) -> bool {
    byte == b' ' || byte == b'\t' || byte.is_ascii_punctuation()
}

/// The character at `at` and its length, percent-decoded where it is so written.
#[inline]
fn decoded(bytes: &[u8], at: usize) -> Option<(u8, usize)> {
    let byte = *bytes.get(at)?;
    if byte == b'%'
        && let (Some(high), Some(low)) = (
            bytes.get(at.saturating_add(1)).copied().and_then(hex),
            bytes.get(at.saturating_add(2)).copied().and_then(hex),
        )
    {
        return Some(((high << 4) | low, 3));
    }
    Some((byte, 1))
}

const fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

impl<'a> Watch<'a> {
    /// Adds a value.
    pub(super) fn add(&mut self, pattern: Pattern<'a>) {
        let Some(first) = pattern.text().bytes().next() else {
            return;
        };
        for byte in [first, first.to_ascii_uppercase()] {
            if let Some(kind) = self.kinds.get_mut(usize::from(byte)) {
                *kind |= FIRST;
            }
        }
        self.patterns.push(pattern);
    }

    /// All values.
    pub(super) fn patterns(&self) -> &[Pattern<'a>] {
        &self.patterns
    }

    /// Whether `hit` is a number, not an address.
    pub(super) fn is_number(&self, hit: &Hit) -> bool {
        matches!(self.patterns.get(hit.pattern), Some(Pattern::Number(_)))
    }

    /// Whether there is nothing to look for.
    pub(super) fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// The first hit that begins at `from` or later.
    ///
    /// Looks at pairs of bytes, so that what stands inside a run of digits is passed over without
    /// a branch; bytes after an escape, whose last digit is no digit, are looked at by themselves.
    pub(super) fn next(&self, bytes: &[u8], from: usize) -> Option<Hit> {
        let mut at = from;
        if at == 0 {
            if let Some(hit) = self.hit(bytes, 0) {
                return Some(hit);
            }
            at = 1;
        }
        loop {
            let pairs = bytes.get(at.saturating_sub(1)..)?.windows(2);
            let offset = pairs.into_iter().position(|pair| match pair {
                [before, byte] => self.may_begin(*before, *byte),
                _ => false,
            })?;
            at = at.saturating_add(offset);
            if let Some(hit) = self.hit(bytes, at) {
                return Some(hit);
            }
            if bytes.get(at) == Some(&b'%')
                && let Some(hit) = self.hit(bytes, at.saturating_add(3))
            {
                return Some(hit);
            }
            at = at.saturating_add(1);
        }
    }

    #[inline]
    fn may_begin(&self, before: u8, byte: u8) -> bool {
        let kind = |byte: u8| self.kinds.get(usize::from(byte)).copied().unwrap_or(0);
        (kind(byte) & (FIRST | ESCAPE)) & !((kind(before) & DIGIT) >> 1) != 0
    }

    /// Whether `text` holds the value that `hit` found elsewhere.
    pub(super) fn holds(&self, text: &[u8], hit: &Hit) -> bool {
        let Some(pattern) = self.patterns.get(hit.pattern) else {
            return false;
        };
        let mut alone = Watch::default();
        alone.add(*pattern);
        alone.next(text, 0).is_some()
    }

    /// A value that stands at `at`.
    fn hit(&self, bytes: &[u8], at: usize) -> Option<Hit> {
        let (first, _) = decoded(bytes, at)?;
        if first.is_ascii_digit() && digit_before(bytes, at) {
            return None; // inside a run of digits
        }
        let first = first.to_ascii_lowercase();
        // Most of what begins alike goes on otherwise; a separator or an escape may go on so.
        let next = bytes.get(at.saturating_add(1)).copied();
        let next = next.unwrap_or_default().to_ascii_lowercase();
        let open = !next.is_ascii_alphanumeric() || bytes.get(at) == Some(&b'%');
        let begins = |pattern: &Pattern<'_>| match pattern.text().as_bytes() {
            [one, two, ..] => *one == first && (open || *two == next),
            _ => false,
        };
        let candidates = self.patterns.iter().enumerate();
        candidates
            .filter(|(_, pattern)| begins(pattern))
            .find_map(|(index, pattern)| {
                let end = match pattern {
                    Pattern::Number(digits) => number_at(bytes, at, digits.as_bytes()),
                    Pattern::Address(text) => address_at(bytes, at, text.as_bytes()),
                }?;
                Some(Hit {
                    start: at,
                    end,
                    pattern: index,
                })
            })
    }
}

/// Whether the character before `at` is a digit, percent-decoded where it is so written.
#[inline]
fn digit_before(bytes: &[u8], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|at| bytes.get(at)).copied();
    if !before.is_some_and(|byte| byte.is_ascii_hexdigit()) {
        return false;
    }
    let escaped = at
        .checked_sub(3)
        .and_then(|from| decoded(bytes, from))
        .filter(|(_, length)| *length == 3);
    let before = escaped.map(|(byte, _)| byte).or(before);
    before.is_some_and(|byte| byte.is_ascii_digit())
}

/// End of `digits` at `at`, separators left out, if no further digit follows at once.
fn number_at(bytes: &[u8], at: usize, digits: &[u8]) -> Option<usize> {
    let mut at = at;
    for (index, digit) in digits.iter().enumerate() {
        let mut separators = 0;
        loop {
            let (byte, length) = decoded(bytes, at)?;
            if byte == *digit {
                at = at.saturating_add(length);
                break;
            }
            if index == 0 || separators == MOST_SEPARATORS || !is_separator(byte) {
                return None;
            }
            separators += 1;
            at = at.saturating_add(length);
        }
    }
    match decoded(bytes, at) {
        Some((byte, _)) if byte.is_ascii_digit() => None,
        _ => Some(at),
    }
}

/// End of the address `text` at `at`, if it is the whole of an address there.
fn address_at(bytes: &[u8], at: usize, text: &[u8]) -> Option<usize> {
    let end = at.checked_add(text.len())?;
    if !bytes.get(at..end)?.eq_ignore_ascii_case(text) {
        return None;
    }
    let previous = at.checked_sub(1).and_then(|at| bytes.get(at)).copied();
    let before_previous = at.checked_sub(2).and_then(|at| bytes.get(at)).copied();
    let next = bytes.get(end).copied();
    let after_next = bytes.get(end.saturating_add(1)).copied();
    let digit = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_digit());
    let word = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let joined = if text.contains(&b':') {
        // IPv6: `[addr]:port` and `addr port` end it; a further group does not.
        let grows = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_hexdigit());
        grows(previous) || grows(next) || next == Some(b':')
    } else if text
        .iter()
        .all(|byte| byte.is_ascii_digit() || *byte == b'.')
    {
        digit(previous)
            || (previous == Some(b'.') && digit(before_previous))
            || digit(next)
            || (next == Some(b'.') && digit(after_next))
    } else {
        word(previous)
            || previous == Some(b'-')
            || word(next)
            || next == Some(b'-')
            || (next == Some(b'.') && word(after_next))
    };
    (!joined).then_some(end)
}
