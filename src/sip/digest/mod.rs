//! Digest access authentication in SIP, both ways (RFC 3261 §22, RFC 7616, RFC 8760): challenges
//! and credentials as values, the figures that prove a password, nonces that need no memory, and
//! the window that tells a replay.
//!
//! ```text
//!   theirs for us:  Nonces --challenge--> 401 ... Authorization --> Credentials --verify--> Verdict
//!   ours for them:  401/407 --> Challenge::read --choose--> Login::answer --> Authorization
//! ```
//!
//! MD5 and SHA-256 with `qop=auth` are spoken. `auth-int`, the `-sess` algorithms and hashed user
//! names are not: a challenge that asks for nothing else is passed over.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::panic
    )
)]

mod challenge;
mod credentials;
mod memory;
mod nonce;
mod parameters;
mod verify;
mod window;

#[cfg(test)]
mod tests;

pub use challenge::{Challenge, challenges};
pub use credentials::{Answer, Credentials, Fault, find};
pub use memory::{Guesser, Memory, NonceId, OwnMemory};
pub use nonce::{Freshness, Nonces};
pub use verify::{Account, Gate, Verdict};
pub use window::Use;

use md5::{Digest as _, Md5};
use std::fmt;

/// Hash functions, the weakest first (RFC 8760 §2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// Broken as a hash; what most carriers still speak.
    Md5,
    /// The one to be preferred.
    Sha256,
}

impl Algorithm {
    /// All of them, the strongest first: the order of our challenges (RFC 8760 §2.4).
    pub const STRONGEST_FIRST: [Self; 2] = [Self::Sha256, Self::Md5];

    /// Its token (RFC 7616 §3.3, RFC 8760 §2.7).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    /// By its token, in any case; without one it is MD5 (RFC 7616 §3.3). `None` for what is not
    /// spoken here.
    #[must_use]
    pub fn read(token: Option<&str>) -> Option<Self> {
        let Some(token) = token else {
            return Some(Self::Md5);
        };
        Self::STRONGEST_FIRST
            .into_iter()
            .find(|one| one.name().eq_ignore_ascii_case(token))
    }

    /// How many hexadecimal digits a response has.
    const fn digits(self) -> usize {
        match self {
            Self::Md5 => 32,
            Self::Sha256 => 64,
        }
    }

    /// The hash of parts that are joined by colons, in lower-case hexadecimal digits.
    fn hash(self, parts: &[&str]) -> String {
        let text = parts.join(":");
        match self {
            Self::Md5 => hexadecimal(Md5::digest(text.as_bytes()).as_slice()),
            Self::Sha256 => {
                let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
                hexadecimal(digest.as_ref())
            }
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(digit).collect()
}

/// A password: never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Box<str>);

impl Password {
    /// Wraps it.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// What a `qop=auth` response counts beside the challenge (RFC 7616 §3.4).
#[derive(Clone, Copy, Debug)]
struct Counted<'a> {
    /// Eight hexadecimal digits.
    nc: &'a str,
    cnonce: &'a str,
}

/// What a response is made of (RFC 7616 §3.4.1); without `counted` as RFC 2069 has it.
#[derive(Clone, Copy, Debug)]
struct Figures<'a> {
    algorithm: Algorithm,
    user: &'a str,
    realm: &'a str,
    nonce: &'a str,
    counted: Option<Counted<'a>>,
    method: &'a str,
    uri: &'a str,
}

impl Figures<'_> {
    fn response(&self, password: &Password) -> String {
        let algorithm = self.algorithm;
        let secret = algorithm.hash(&[self.user, self.realm, &password.0]);
        let request = algorithm.hash(&[self.method, self.uri]);
        match self.counted {
            Some(Counted { nc, cnonce }) => {
                algorithm.hash(&[&secret, self.nonce, nc, cnonce, "auth", &request])
            }
            None => algorithm.hash(&[&secret, self.nonce, &request]),
        }
    }
}

/// Whether two texts are one, in a time that tells nothing but their lengths.
fn same(one: &str, other: &str) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let pairs = one.bytes().zip(other.bytes());
    let difference = pairs.fold(0u8, |sum, (a, b)| std::hint::black_box(sum | (a ^ b)));
    std::hint::black_box(difference) == 0
}

/// Our account with a peer: ours for them (RFC 3261 §22.2, §22.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// User name.
    pub user: Box<str>,
    /// Its password.
    pub password: Password,
    /// The only realm that is given credentials.
    pub realm: Box<str>,
    /// Algorithms that may be used; never empty.
    pub algorithms: Box<[Algorithm]>,
}

impl Login {
    /// The challenge that it answers, of all that a response brought: of its realm, and the
    /// strongest (RFC 8760 §2.3); among equals the first.
    #[must_use]
    pub fn choose(&self, all: impl IntoIterator<Item = Challenge>) -> Option<Challenge> {
        all.into_iter()
            .filter(|one| *one.realm == *self.realm && self.algorithms.contains(&one.algorithm))
            .reduce(|best, one| {
                if one.algorithm > best.algorithm {
                    one
                } else {
                    best
                }
            })
    }

    /// Credentials for one request (RFC 7616 §3.4): the value of Authorization or
    /// Proxy-Authorization. `count` is how often the nonce has been used with this, `cnonce` is
    /// random and holds neither quotes nor backslashes.
    #[must_use]
    pub fn answer(
        &self,
        challenge: &Challenge,
        (method, uri): (&str, &str),
        (count, cnonce): (u32, &str),
    ) -> String {
        let nc = format!("{count:08x}");
        let counted = challenge.qop.then_some(Counted { nc: &nc, cnonce });
        let response = Figures {
            algorithm: challenge.algorithm,
            user: &self.user,
            realm: &challenge.realm,
            nonce: &challenge.nonce,
            counted,
            method,
            uri,
        }
        .response(&self.password);
        let answer = Answer {
            user: &self.user,
            challenge,
            uri,
            response: &response,
            counted: counted.map(|counted| (counted.nc, counted.cnonce)),
        };
        answer.to_string()
    }
}
