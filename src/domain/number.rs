//! Telephone numbers as values (ITU-T E.164). Parsing by numbering plan is in
//! [`super::numbering`].

use serde::{Deserialize, Serialize};
use std::fmt;

/// An international number: 7 to 15 digits, the first not zero, packed in an integer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct E164(u64);

impl E164 {
    /// From a packed value; `None` unless it has 7 to 15 digits.
    #[must_use]
    pub const fn from_packed(value: u64) -> Option<Self> {
        if value >= 1_000_000 && value <= 999_999_999_999_999 {
            Some(Self(value))
        } else {
            None
        }
    }

    /// From digits alone (no `+`, no separators); `None` unless it is 7 to 15 of them, the first
    /// not zero.
    #[must_use]
    pub fn from_digits(digits: &str) -> Option<Self> {
        if digits.len() > 15 || digits.starts_with('0') {
            return None;
        }
        let mut value = 0u64;
        for byte in digits.bytes() {
            if !byte.is_ascii_digit() {
                return None;
            }
            value = value * 10 + u64::from(byte - b'0');
        }
        Self::from_packed(value)
    }

    /// The digits as an integer: key of maps and of the store.
    #[must_use]
    pub const fn packed(self) -> u64 {
        self.0
    }

    /// The digits without `+`.
    #[must_use]
    pub fn digits(self) -> String {
        self.0.to_string()
    }
}

/// With `+`. For the wire and for answers; logs use [`Masked`].
impl fmt::Display for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{}", self.0)
    }
}

/// Debug output is masked, so that no log shows a full number.
impl fmt::Debug for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Masked(*self), f)
    }
}

/// Shows the last three digits only (lease-api 6).
#[derive(Clone, Copy)]
pub struct Masked(pub E164);

impl fmt::Display for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "*{:03}", self.0.0 % 1000)
    }
}

/// A subscriber's number with the spelling the client used, which its answers repeat
/// (lease-api 4.1).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phone {
    /// Normalised.
    pub number: E164,
    /// As the client wrote it.
    pub spelling: Box<str>,
}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number.fmt(f)
    }
}

/// The two kinds of lease; a call's charge class is its lease's kind (sip-bridging 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LeaseKind {
    /// One number for one subscriber, callable by anyone (or by a whitelist).
    Single,
    /// Two numbers for two subscribers, who reach only each other.
    Group,
}
