//! Which worker a call belongs to. One rule for everything: the hash of the Call-ID.
//!
//! ```text
//!   caller's leg:  Call-ID is the caller's   ──► worker = hash(Call-ID) % workers
//!   callee's leg:  Call-ID is ours, drawn until its hash names the worker that draws it
//! ```
//!
//! So requests, responses, ACK, CANCEL, repeats and merged requests of a dialog meet one worker,
//! whatever socket or connection they come by, and both legs of a call meet the same one. The hash
//! has a seed of the process, so that nobody can choose Call-IDs that all meet one worker.

use super::dialog::{Entropy, call_id};

/// Call-IDs drawn in a row before one of another worker is taken; never, unless the randomness is
/// none: of `n` workers each draw misses with a chance of `1 - 1/n`.
const DRAWS: usize = 1 << 16;

/// The rule: the same for all workers of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steering {
    seed: u64,
    workers: u16,
}

impl Steering {
    /// For so many workers (at least one), with a random seed.
    #[must_use]
    pub const fn new(seed: u64, workers: u16) -> Self {
        let workers = if workers == 0 { 1 } else { workers };
        Self { seed, workers }
    }

    /// How many workers there are.
    #[must_use]
    pub const fn workers(&self) -> u16 {
        self.workers
    }

    /// The worker that a Call-ID belongs to.
    #[must_use]
    pub fn worker_of(&self, call_id: &[u8]) -> u16 {
        if self.workers == 1 {
            return 0;
        }
        let hash = xxhash_rust::xxh3::xxh3_64_with_seed(call_id, self.seed);
        u16::try_from(hash % u64::from(self.workers)).unwrap_or(0)
    }
}

/// One worker's place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    steering: Steering,
    index: u16,
}

impl Default for Shard {
    /// The only worker.
    fn default() -> Self {
        Self::new(Steering::new(0, 1), 0)
    }
}

impl Shard {
    /// The worker of that number.
    #[must_use]
    pub const fn new(steering: Steering, index: u16) -> Self {
        Self { steering, index }
    }

    /// Its number.
    #[must_use]
    pub const fn index(&self) -> u16 {
        self.index
    }

    /// The rule.
    #[must_use]
    pub const fn steering(&self) -> Steering {
        self.steering
    }

    /// A Call-ID of ours whose messages come to this worker.
    pub fn call_id(&self, entropy: &mut dyn Entropy) -> Box<str> {
        let mut drawn = call_id(entropy);
        for _ in 0..DRAWS {
            if self.steering.worker_of(drawn.as_bytes()) == self.index {
                break;
            }
            drawn = call_id(entropy);
        }
        drawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::codec::glance;

    struct Seeded(u64);

    impl Entropy for Seeded {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed ^ (mixed >> 31)
        }
    }

    #[test]
    fn every_message_of_a_dialog_meets_one_worker() {
        let steering = Steering::new(7, 4);
        for n in 0..200 {
            let head = format!("To: <sip:a@b>\r\nFrom: <sip:c@d>;tag=1\r\nCall-ID: call-{n}@x\r\n");
            let spelt = format!("i :\r\n call-{n}@x\r\nt: <sip:a@b>;tag=2\r\n");
            let messages = [
                format!("INVITE sip:a@b SIP/2.0\r\n{head}\r\n"),
                format!("CANCEL sip:a@b SIP/2.0\r\n{head}\r\n"),
                format!("ACK sip:a@b SIP/2.0\r\n{spelt}\r\n"),
                format!("BYE sip:a@b SIP/2.0\r\n{spelt}\r\n"),
                format!("SIP/2.0 200 OK\r\n{head}\r\n"),
            ];
            let wanted = Some(steering.worker_of(format!("call-{n}@x").as_bytes()));
            for message in messages {
                assert_eq!(
                    glance(message.as_bytes())
                        .call_id
                        .map(|id| steering.worker_of(id)),
                    wanted
                );
            }
        }
    }

    #[test]
    fn ids_of_our_own_come_back_to_who_drew_them() {
        let mut entropy = Seeded(1);
        for workers in [1, 2, 3, 16] {
            let steering = Steering::new(99, workers);
            for index in 0..workers {
                let shard = Shard::new(steering, index);
                for _ in 0..50 {
                    let id = shard.call_id(&mut entropy);
                    assert_eq!(steering.worker_of(id.as_bytes()), index);
                }
            }
        }
    }

    #[test]
    fn calls_are_spread_evenly_and_by_a_seed() {
        let shares = |seed| {
            let steering = Steering::new(seed, 4);
            let mut shares = [0; 4];
            let mut first = Vec::new();
            for n in 0..4000 {
                let worker = steering.worker_of(format!("{n}-31337@192.0.2.10").as_bytes());
                shares[usize::from(worker)] += 1;
                first.push(worker);
            }
            (shares, first)
        };
        let (one, of_one) = shares(1);
        let (_, of_two) = shares(2);
        assert!(
            one.iter().all(|share| (850..1150).contains(share)),
            "{one:?}"
        );
        assert_ne!(of_one, of_two);
    }

    #[test]
    fn randomness_that_is_none_ends_the_search() {
        struct Stuck;
        impl Entropy for Stuck {
            fn next(&mut self) -> u64 {
                1
            }
        }
        let steering = Steering::new(1, 2);
        for index in 0..2 {
            assert!(!Shard::new(steering, index).call_id(&mut Stuck).is_empty());
        }
    }
}
