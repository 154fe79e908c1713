//! Who vouches for a caller's number, and what became of it (STIR/SHAKEN: RFC 8224, 8225, 8588).

use serde::{Deserialize, Serialize};

/// How far a signer vouches for the caller's number (RFC 8588 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Attestation {
    /// The signer knows the caller, and that the number is the caller's.
    Full,
    /// The signer knows who brought the call, not whether the number is theirs.
    Partial,
    /// The signer knows where the call came into its network, no more.
    Gateway,
}

impl Attestation {
    /// `A`, `B` or `C`, as the claim has it.
    #[must_use]
    pub const fn letter(self) -> &'static str {
        match self {
            Self::Full => "A",
            Self::Partial => "B",
            Self::Gateway => "C",
        }
    }

    /// What a claim says.
    #[must_use]
    pub fn from_letter(letter: &str) -> Option<Self> {
        match letter {
            "A" => Some(Self::Full),
            "B" => Some(Self::Partial),
            "C" => Some(Self::Gateway),
            _ => None,
        }
    }
}

/// What became of the verification of an Identity header. Those that failed stand for the responses
/// of RFC 8224 §6.2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// Signed by whom the roots trust, fresh, for this caller and this number.
    Valid,
    /// There was none, or none of a kind that is known: 428.
    Missing,
    /// Too old, or from the future: 403.
    Stale,
    /// The certificate could not be had, in time or at all: 436.
    Unavailable,
    /// The certificate does not lead to a root, is out of its time, or does not cover the number:
    /// 437.
    Untrusted,
    /// Malformed, or signed wrongly, or for another caller or another number: 438.
    Invalid,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Valid,
        Self::Missing,
        Self::Stale,
        Self::Unavailable,
        Self::Untrusted,
        Self::Invalid,
    ];

    /// Name in records and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Missing => "missing",
            Self::Stale => "stale",
            Self::Unavailable => "unavailable",
            Self::Untrusted => "untrusted",
            Self::Invalid => "invalid",
        }
    }
}

/// What a record keeps of an inbound Identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vouching {
    /// What became of it.
    pub verdict: Verdict,
    /// What the signer claimed; to be believed only where the verdict is [`Verdict::Valid`].
    pub attestation: Option<Attestation>,
    /// Where the signer says that the call came from, for tracing back (`origid`, RFC 8588 §5).
    pub origin: Box<str>,
    /// The signer's service provider code (RFC 8226 §9), where its certificate was trusted and has
    /// one.
    pub signer: Box<str>,
}

impl Vouching {
    /// A verdict about a passport that could not even be read, or that was not there.
    #[must_use]
    pub fn bare(verdict: Verdict) -> Self {
        Self {
            verdict,
            attestation: None,
            origin: Box::from(""),
            signer: Box::from(""),
        }
    }
}

/// A PASSporT as it came, read and fresh; its signature is not checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passport {
    /// Where its certificate is (`x5u`).
    pub certificate: Box<str>,
    /// The bytes that were signed: header and payload as they came.
    pub signed: Box<str>,
    /// The signature, r and s (RFC 7518 §3.4).
    pub signature: [u8; 64],
    /// The caller's number, digits only.
    pub orig: Box<str>,
    /// The numbers called, digits only.
    pub dest: Vec<Box<str>>,
    /// SHAKEN's attestation; none in a plain PASSporT.
    pub attestation: Option<Attestation>,
    /// SHAKEN's `origid`.
    pub origin: Box<str>,
}

/// What an INVITE brought, where its trunk's policy asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presented {
    /// The passport, or what is wrong with it already.
    pub passport: Result<Box<Passport>, Verdict>,
    /// A call without a valid one is refused.
    pub required: bool,
}
