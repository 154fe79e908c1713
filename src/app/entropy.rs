//! The system's randomness for the cores that ask for some.

use crate::sip::agent::Entropy;
use rand::Rng as _;

/// A generator of the thread, seeded by the system and unpredictable (ids and tags hang on it).
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Entropy for System {
    fn next(&mut self) -> u64 {
        rand::rng().next_u64()
    }
}
