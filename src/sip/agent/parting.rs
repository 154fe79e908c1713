//! Peers of calls that are gone: for as long as they may repeat a request that was answered
//! (RFC 3261 §17.2.2: 64×T1) they get the answer again, though no trunk lists them any more, because
//! a reload or the DNS changed its mind in between.

use super::Agent;
use super::core::Core;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Instant;

/// Most addresses that are remembered so; beyond it the oldest go early.
const MOST: usize = 4096;

/// Addresses, and until when each is known.
#[derive(Debug, Default)]
pub(super) struct Parting(VecDeque<(Instant, IpAddr)>);

impl Core {
    /// A call with a peer there is gone. Those that a trunk lists need not be remembered.
    pub(super) fn part(&mut self, address: IpAddr, now: Instant) {
        if self.sources.is_listed(address) {
            return self.sources.remove_peer(address);
        }
        if self.parting.0.len() >= MOST
            && let Some((_, oldest)) = self.parting.0.pop_front()
        {
            self.count("sip_bounds", "parting");
            self.sources.remove_peer(oldest);
        }
        let until = now + self.patience();
        self.parting.0.push_back((until, address));
    }
}

impl Agent {
    /// Forgets peers whose time is over.
    pub(super) fn forget_parted(&mut self, now: Instant) {
        let core = &mut self.core;
        while let Some((until, address)) = core.parting.0.front().copied()
            && until <= now
        {
            core.parting.0.pop_front();
            core.sources.remove_peer(address);
        }
    }
}
