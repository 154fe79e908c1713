//! What is remembered of credentials: which counts of which nonces have come, and who guesses. All
//! workers of a process must remember the same, so the gate is given it; a worker by itself has
//! [`OwnMemory`].

use super::window::{Use, Window};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Wrong passwords of one name from one address within [`GUESSES_FOR`]; beyond it credentials of
/// that name from there are not looked at.
const MOST_GUESSES: u32 = 10;
const GUESSES_FOR: Duration = Duration::from_secs(10);
/// Most nonces that are remembered. Beyond it the oldest goes, and with it every nonce of its age
/// or older is stale: what is forgotten is never believed again.
const MOST_NONCES: usize = 16_384;
/// Most names and addresses whose wrong passwords are counted.
const MOST_GUESSERS: usize = 4096;

/// Who tries: an address, and one of the account's names (others count together).
pub type Guesser = (IpAddr, Option<u16>);

/// A nonce: when it was made, and its random bits.
pub type NonceId = (u64, u64);

/// What is remembered of credentials.
pub trait Memory: Send {
    /// Takes one use of a nonce that has proved to be right. Of any number of callers with one nonce
    /// and count, one alone is told that it was the first. Nonces made before `horizon` are stale.
    fn take(&mut self, nonce: NonceId, count: u32, horizon: u64) -> Use;
    /// Whether there have been too many wrong passwords.
    fn is_guessing(&mut self, guesser: Guesser, now: Instant) -> bool;
    /// Notes a wrong password.
    fn note_guess(&mut self, guesser: Guesser, now: Instant);
}

/// The memory of one worker by itself, or one part of a shared one.
#[derive(Debug)]
pub struct OwnMemory {
    window: Window,
    /// Wrong passwords, with when the first came.
    guesses: BTreeMap<Guesser, (Instant, u32)>,
    most_guessers: usize,
}

impl Default for OwnMemory {
    fn default() -> Self {
        Self::part(1)
    }
}

impl OwnMemory {
    /// One of so many parts, with its share of the bounds.
    #[must_use]
    pub fn part(parts: usize) -> Self {
        let share = |most: usize| most.checked_div(parts).unwrap_or(most).max(1);
        Self {
            window: Window::new(share(MOST_NONCES)),
            guesses: BTreeMap::new(),
            most_guessers: share(MOST_GUESSERS),
        }
    }
}

impl Memory for OwnMemory {
    fn take(&mut self, nonce: NonceId, count: u32, horizon: u64) -> Use {
        self.window.take(nonce, count, horizon)
    }

    fn is_guessing(&mut self, guesser: Guesser, now: Instant) -> bool {
        let Some((since, count)) = self.guesses.get(&guesser).copied() else {
            return false;
        };
        if now.saturating_duration_since(since) >= GUESSES_FOR {
            self.guesses.remove(&guesser);
            return false;
        }
        count >= MOST_GUESSES
    }

    fn note_guess(&mut self, guesser: Guesser, now: Instant) {
        if self.guesses.len() >= self.most_guessers && !self.guesses.contains_key(&guesser) {
            self.guesses
                .retain(|_, (since, _)| now.saturating_duration_since(*since) < GUESSES_FOR);
            if self.guesses.len() >= self.most_guessers {
                self.guesses.pop_first();
            }
        }
        let (_, count) = self.guesses.entry(guesser).or_insert((now, 0));
        *count = count.saturating_add(1);
    }
}
