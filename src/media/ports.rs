//! The pool of port pairs: the longest-rested pair first, from a random start, in constant time;
//! what is out is counted, so that a leak shows.

use super::flow::PortPair;
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::IpAddr;

/// Pairs of one address.
///
/// Pairs are dealt out in `shards` by [`PortPool::shard_of`]: a relay with several threads keeps
/// all four sockets of a call on one of them.
#[derive(Clone, Debug)]
pub struct PortPool {
    address: IpAddr,
    first: u16,
    free: Box<[VecDeque<u16>]>,
    /// One bit a pair that is out.
    out: Box<[u64]>,
    used: usize,
    retired: usize,
    refused_returns: u64,
}

/// Figures of a pool, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Pairs that calls have now.
    pub used: usize,
    /// Pairs at rest.
    pub free: usize,
    /// Pairs that could not be bound.
    pub retired: usize,
    /// Pairs given back that were not out; never, but for a fault of ours.
    pub refused_returns: u64,
}

impl PortPool {
    /// Every pair whose two ports lie in `first..=last`, beginning at a place that `random` names.
    /// `shards` is at least one.
    #[must_use]
    pub fn new(address: IpAddr, first: u16, last: u16, shards: usize, random: u64) -> Self {
        Self::share(address, (first, last), shards, (0, 1), random)
    }

    /// As [`Self::new`], but only the part of one of several workers (its number, and how many there
    /// are). The parts are even, in each shard, and have no pair in common.
    #[must_use]
    pub fn share(
        address: IpAddr,
        (first, last): (u16, u16),
        shards: usize,
        (worker, workers): (usize, usize),
        random: u64,
    ) -> Self {
        let shards = shards.max(1);
        let even = first.checked_add(first % 2);
        let all: Vec<u16> = even
            .into_iter()
            .flat_map(|even| (even..last).step_by(2))
            .collect();
        let is_own = |rtp: &u16| usize::from(*rtp) / 2 / shards % workers.max(1) == worker;
        let pairs: Vec<u16> = all.iter().copied().filter(is_own).collect();
        let start = usize::try_from(random % (pairs.len().max(1) as u64)).unwrap_or(0);
        let mut free = vec![VecDeque::new(); shards].into_boxed_slice();
        for rtp in pairs.iter().cycle().skip(start).take(pairs.len()) {
            if let Some(queue) = free.get_mut(shard(*rtp, shards)) {
                queue.push_back(*rtp);
            }
        }
        Self {
            address,
            first: even.unwrap_or(first),
            free,
            out: vec![0; all.len().div_ceil(64)].into_boxed_slice(),
            used: 0,
            retired: 0,
            refused_returns: 0,
        }
    }

    /// The shard that a pair belongs to, of `shards`.
    #[must_use]
    pub const fn shard_of(pair: PortPair, shards: usize) -> usize {
        shard(pair.rtp, shards)
    }

    /// Number of shards.
    #[must_use]
    pub const fn shards(&self) -> usize {
        self.free.len()
    }

    /// The longest-rested pair of a shard.
    pub fn take(&mut self, shard: usize) -> Option<PortPair> {
        let rtp = self.free.get_mut(shard)?.pop_front()?;
        self.set_out(rtp, true);
        self.used += 1;
        Some(PortPair {
            address: self.address,
            rtp,
        })
    }

    /// Puts a pair to rest, behind all others.
    pub fn give(&mut self, pair: PortPair) {
        if self.leave(pair) {
            let shards = self.free.len();
            if let Some(queue) = self.free.get_mut(shard(pair.rtp, shards)) {
                queue.push_back(pair.rtp);
            }
        }
    }

    /// Leaves a pair that was taken out for good: its ports cannot be bound.
    pub fn retire(&mut self, pair: PortPair) {
        if self.leave(pair) {
            self.retired += 1;
        }
    }

    fn bind(&mut self, bind: &mut dyn FnMut(PortPair) -> io::Result<()>) -> io::Result<()> {
        for shard in 0..self.shards() {
            let resting = self.free.get(shard).map_or(0, VecDeque::len);
            for _ in 0..resting {
                let Some(pair) = self.take(shard) else { break };
                match bind(pair) {
                    Err(error) if is_of_the_port(&error) => self.retire(pair),
                    bound => {
                        self.give(pair);
                        bound?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Figures.
    #[must_use]
    pub fn count(&self) -> Count {
        Count {
            used: self.used,
            free: self.free.iter().map(VecDeque::len).sum(),
            retired: self.retired,
            refused_returns: self.refused_returns,
        }
    }

    fn leave(&mut self, pair: PortPair) -> bool {
        let known = pair.address == self.address && self.set_out(pair.rtp, false);
        if known {
            self.used = self.used.saturating_sub(1);
        } else {
            self.refused_returns = self.refused_returns.saturating_add(1);
        }
        known
    }

    /// Marks a pair; whether the mark changed.
    fn set_out(&mut self, rtp: u16, out: bool) -> bool {
        let Some(offset) = rtp.checked_sub(self.first).filter(|offset| offset % 2 == 0) else {
            return false;
        };
        let place = usize::from(offset / 2);
        let Some(word) = self.out.get_mut(place / 64) else {
            return false;
        };
        let bit = 1 << (place % 64);
        let was = *word & bit != 0;
        if out {
            *word |= bit;
        } else {
            *word &= !bit;
        }
        was != out
    }
}

const fn shard(rtp: u16, shards: usize) -> usize {
    match (rtp as usize / 2).checked_rem(shards) {
        Some(shard) => shard,
        None => 0,
    }
}

/// Whether another pair may do better: the port is somebody else's. A want of descriptors or
/// memory says nothing of the pair.
fn is_of_the_port(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrInUse
            | io::ErrorKind::AddrNotAvailable
            | io::ErrorKind::PermissionDenied
    )
}

/// The pools of all networks, in the order of the settings.
#[derive(Clone, Debug, Default)]
pub struct Ports {
    pools: Vec<PortPool>,
    turn: usize,
    /// Pairs that have no other beside them: they are recordings'.
    alone: BTreeSet<(usize, u16)>,
}

/// A pair and the network it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Place of the network.
    pub network: usize,
    /// The pair.
    pub pair: PortPair,
}

/// Pairs tried in a row before a call is refused: beyond it something else is wrong (no
/// descriptor left, say) and more tries would only empty the pool.
const TRIES: usize = 8;
/// Recordings may have one pair of so many; the others are calls'.
const ALONE: usize = 4;

impl Ports {
    /// One pool for each network.
    #[must_use]
    pub const fn new(pools: Vec<PortPool>) -> Self {
        Self {
            pools,
            turn: 0,
            alone: BTreeSet::new(),
        }
    }

    /// A pair for each leg, both of one shard, each bound by `bind` (a pair whose port is
    /// somebody else's is left out for good); or none.
    pub fn take(
        &mut self,
        caller: usize,
        callee: usize,
        bind: &mut dyn FnMut(PortPair) -> io::Result<()>,
    ) -> Option<(Taken, Taken)> {
        let shards = self.pools.get(caller)?.shards();
        self.turn = self.turn.wrapping_add(1);
        for offset in 0..shards {
            let shard = self.turn.wrapping_add(offset) % shards;
            let Some(first) = self.take_bound(caller, shard, bind) else {
                continue;
            };
            if let Some(second) = self.take_bound(callee, shard, bind) {
                return Some((first, second));
            }
            self.give(first);
        }
        None
    }

    /// A pair of `network` in the shard of `beside`.
    pub fn take_beside(
        &mut self,
        network: usize,
        beside: PortPair,
        bind: &mut dyn FnMut(PortPair) -> io::Result<()>,
    ) -> Option<Taken> {
        let shards = self.pools.get(network)?.shards();
        self.take_bound(network, PortPool::shard_of(beside, shards), bind)
    }

    /// One pair alone, for a recording; none where a quarter of all pairs are out so.
    pub fn take_alone(
        &mut self,
        network: usize,
        bind: &mut dyn FnMut(PortPair) -> io::Result<()>,
    ) -> Option<Taken> {
        let count = self.count();
        if self.alone.len() >= (count.used + count.free) / ALONE {
            return None;
        }
        let shards = self.pools.get(network)?.shards();
        self.turn = self.turn.wrapping_add(1);
        let turn = self.turn;
        let taken = (0..shards).find_map(|offset| {
            let shard = turn.wrapping_add(offset) % shards;
            self.take_bound(network, shard, bind)
        })?;
        self.alone.insert((network, taken.pair.rtp));
        Some(taken)
    }

    fn take_bound(
        &mut self,
        network: usize,
        shard: usize,
        bind: &mut dyn FnMut(PortPair) -> io::Result<()>,
    ) -> Option<Taken> {
        let pool = self.pools.get_mut(network)?;
        for _ in 0..TRIES {
            let pair = pool.take(shard)?;
            match bind(pair) {
                Ok(()) => return Some(Taken { network, pair }),
                Err(error) if is_of_the_port(&error) => pool.retire(pair),
                Err(_) => {
                    pool.give(pair);
                    return None;
                }
            }
        }
        None
    }

    /// Binds every pair by `bind`, before the first call. Those whose ports are somebody else's are
    /// left out for good; the order of the rest stays as it is.
    ///
    /// # Errors
    /// What said nothing of a port: the pairs that come after it are bound when they are taken.
    pub fn bind_all(&mut self, bind: &mut dyn FnMut(PortPair) -> io::Result<()>) -> io::Result<()> {
        self.pools.iter_mut().try_for_each(|pool| pool.bind(bind))
    }

    /// Puts a pair to rest.
    pub fn give(&mut self, taken: Taken) {
        self.alone.remove(&(taken.network, taken.pair.rtp));
        if let Some(pool) = self.pools.get_mut(taken.network) {
            pool.give(taken.pair);
        }
    }

    /// Figures of each pool.
    pub fn counts(&self) -> impl Iterator<Item = Count> + '_ {
        self.pools.iter().map(PortPool::count)
    }

    /// Figures of all pools together.
    #[must_use]
    pub fn count(&self) -> Count {
        self.pools
            .iter()
            .map(PortPool::count)
            .fold(Count::default(), |sum, pool| Count {
                used: sum.used + pool.used,
                free: sum.free + pool.free,
                retired: sum.retired + pool.retired,
                refused_returns: sum.refused_returns + pool.refused_returns,
            })
    }
}

#[cfg(test)]
mod tests;
