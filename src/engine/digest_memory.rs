//! What all signalling workers remember of credentials in common: a nonce that one has let in is a
//! replay to every other, and who guesses at one has guessed at all.
//!
//! The parts have locks of their own, held for one look-up. Only requests that carry credentials
//! come here.

use crate::sip::digest::{Guesser, Memory, NonceId, OwnMemory, Use};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Parts: two workers seldom want the same one.
const PARTS: usize = 16;

/// The memory; clones share it.
#[derive(Clone, Debug)]
pub struct SharedMemory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    parts: [Mutex<OwnMemory>; PARTS],
    /// Keyed, so that nobody chooses addresses that all meet in one part.
    hasher: RandomState,
}

impl Default for SharedMemory {
    fn default() -> Self {
        Self(Arc::new(Shared {
            parts: std::array::from_fn(|_| Mutex::new(OwnMemory::part(PARTS))),
            hasher: RandomState::new(),
        }))
    }
}

impl SharedMemory {
    /// The part that has to do with something: always the same one.
    fn part(&self, of: impl std::hash::Hash) -> MutexGuard<'_, OwnMemory> {
        let parts = u64::try_from(PARTS).unwrap_or(1);
        let place = usize::try_from(self.0.hasher.hash_one(of) % parts).unwrap_or(0);
        let [first, ..] = &self.0.parts;
        let part = self.0.parts.get(place).unwrap_or(first);
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory for SharedMemory {
    fn take(&mut self, nonce: NonceId, count: u32, horizon: u64) -> Use {
        self.part(nonce).take(nonce, count, horizon)
    }

    fn is_guessing(&mut self, guesser: Guesser, now: Instant) -> bool {
        self.part(guesser).is_guessing(guesser, now)
    }

    fn note_guess(&mut self, guesser: Guesser, now: Instant) {
        self.part(guesser).note_guess(guesser, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::codec;
    use crate::sip::dialog::Entropy;
    use crate::sip::digest::{
        Account, Algorithm, Challenge, Gate, Login, Nonces, Password, Verdict,
    };
    use std::sync::Barrier;

    struct Counting(u64);

    impl Entropy for Counting {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            self.0
        }
    }

    fn account() -> Account {
        Account {
            realm: "us".into(),
            users: [("u".into(), Password::new("p"))].into(),
            algorithms: Algorithm::STRONGEST_FIRST.into(),
        }
    }

    fn gates(count: usize, now: Instant) -> Vec<Gate> {
        let nonces = Nonces::draw(&mut Counting(1), now);
        let memory = SharedMemory::default();
        let gate = |_| Gate::new(nonces.clone(), Box::new(memory.clone()));
        (0..count).map(gate).collect()
    }

    fn offered(gate: &Gate, entropy: &mut Counting, now: Instant) -> Challenge {
        let account = account();
        let mut all = gate.challenges(&account, (7, false), entropy, now);
        all.next().unwrap()
    }

    fn check(gate: &mut Gate, challenge: &Challenge, proof: (&str, u32), now: Instant) -> Verdict {
        let login = Login {
            user: "u".into(),
            password: Password::new(proof.0),
            realm: "us".into(),
            algorithms: Algorithm::STRONGEST_FIRST.into(),
        };
        let value = login.answer(challenge, ("INVITE", "sip:+1@b"), (proof.1, "c"));
        let text = format!(
            "INVITE sip:+1@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nMax-Forwards: 70\r\n\
             From: <sip:a@b>;tag=t\r\nTo: <sip:a@b>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\
             Authorization: {value}\r\n\r\n"
        );
        let request = codec::parse(text.into()).unwrap();
        let from = (7, "192.0.2.1".parse().unwrap());
        gate.check((&request, "INVITE"), &account(), from, now)
    }

    #[test]
    fn what_one_worker_offers_the_others_take_once() {
        let now = Instant::now();
        let mut gates = gates(2, now);
        let challenge = offered(&gates[0], &mut Counting(9), now);
        for count in 1..30 {
            let place = usize::try_from(count % 2).unwrap();
            let right = ("p", count);
            assert_eq!(
                check(&mut gates[place], &challenge, right, now),
                Verdict::Accepted
            );
            assert_eq!(
                check(&mut gates[1 - place], &challenge, right, now),
                Verdict::Replayed
            );
        }
        // The other worker's clock was read a little earlier.
        let later = now + std::time::Duration::from_millis(30);
        let challenge = offered(&gates[0], &mut Counting(77), later);
        assert_eq!(
            check(&mut gates[1], &challenge, ("p", 1), now),
            Verdict::Accepted
        );
    }

    #[test]
    fn guesses_at_all_workers_count_together() {
        let now = Instant::now();
        let mut gates = gates(2, now);
        let challenge = offered(&gates[0], &mut Counting(9), now);
        for guess in 0..10 {
            let gate = &mut gates[guess % 2];
            assert_eq!(check(gate, &challenge, ("guess", 1), now), Verdict::Wrong);
        }
        for gate in &mut gates {
            assert_eq!(check(gate, &challenge, ("p", 1), now), Verdict::Guessing);
        }
    }

    #[test]
    fn of_workers_that_race_with_one_count_one_lets_it_in() {
        const WORKERS: usize = 4;
        const COUNTS: u32 = 60;
        let now = Instant::now();
        let gates = gates(WORKERS, now);
        let challenge = offered(&gates[0], &mut Counting(9), now);
        let (barrier, challenge) = (Barrier::new(WORKERS), &challenge);
        let accepted: usize = std::thread::scope(|scope| {
            let race = |mut gate: Gate| {
                let barrier = &barrier;
                scope.spawn(move || {
                    let mut accepted = 0;
                    for count in 1..=COUNTS {
                        barrier.wait();
                        let verdict = check(&mut gate, challenge, ("p", count), now);
                        assert!(matches!(verdict, Verdict::Accepted | Verdict::Replayed));
                        accepted += usize::from(verdict == Verdict::Accepted);
                    }
                    accepted
                })
            };
            let threads: Vec<_> = gates.into_iter().map(race).collect();
            threads.into_iter().map(|one| one.join().unwrap()).sum()
        });
        assert_eq!(accepted, usize::try_from(COUNTS).unwrap());
    }
}
