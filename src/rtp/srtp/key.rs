//! Master keys.

use crate::domain::srtp::Suite;
use std::fmt;
use zeroize::Zeroize;

/// Bytes of the longest master key with its salt.
pub const MAX_MASTER: usize = 46;

/// A master key with its salt and the suite that they are for. Wiped when it goes.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey {
    suite: Suite,
    bytes: [u8; MAX_MASTER],
}

impl MasterKey {
    /// From the key and the salt in a row; `None` where that is not as long as the suite's.
    #[must_use]
    pub fn new(suite: Suite, key_and_salt: &[u8]) -> Option<Self> {
        if key_and_salt.len() != suite.master_length() {
            return None;
        }
        let mut bytes = [0; MAX_MASTER];
        bytes
            .get_mut(..key_and_salt.len())?
            .copy_from_slice(key_and_salt);
        Some(Self { suite, bytes })
    }

    /// One made of `random`, of which as many bytes are used as the suite has.
    #[must_use]
    pub fn made(suite: Suite, random: &[u8; MAX_MASTER]) -> Self {
        let mut bytes = *random;
        if let Some(rest) = bytes.get_mut(suite.master_length()..) {
            rest.fill(0);
        }
        Self { suite, bytes }
    }

    /// The suite.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// Key and salt in a row, for the description that gives them to the other end.
    #[must_use]
    pub fn key_and_salt(&self) -> &[u8] {
        let length = self.suite.master_length();
        self.bytes.get(..length).unwrap_or_default()
    }

    /// The key.
    pub(super) fn key(&self) -> &[u8] {
        self.bytes
            .get(..self.suite.key_length())
            .unwrap_or_default()
    }

    /// The salt with the zeros that make 112 bits of it (RFC 7714 §11).
    pub(super) fn salt(&self) -> [u8; 14] {
        let mut salt = [0; 14];
        let own = self.key_and_salt().get(self.suite.key_length()..);
        for (to, from) in salt.iter_mut().zip(own.unwrap_or_default()) {
            *to = *from;
        }
        salt
    }
}

impl Drop for MasterKey {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.suite.name())
    }
}
