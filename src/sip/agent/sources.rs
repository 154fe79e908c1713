//! Whose request is it: source address to trunk (sip-bridging 1).

use super::settings::Settings;
use crate::domain::TrunkId;
use crate::domain::network::contains;
use hashbrown::HashMap;
use std::net::IpAddr;

/// What is known of a source address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// An inbound trunk lists it.
    Inbound(TrunkId),
    /// It is where an outbound trunk's requests go, or where a dialog's peer is.
    Peer,
    /// Nobody's.
    Unknown,
}

/// Trunks by source address: exact addresses by hash, networks by longest prefix.
#[derive(Debug, Default)]
pub(super) struct Sources {
    exact: HashMap<IpAddr, TrunkId>,
    networks: Vec<(IpAddr, u8, TrunkId)>,
    targets: Vec<IpAddr>,
    /// Trunks that list addresses.
    inbound: usize,
    /// Peers of dialogs, with how many dialogs each has.
    peers: HashMap<IpAddr, u32>,
}

impl Sources {
    /// Takes the trunks of new settings; peers of running dialogs stay.
    pub(super) fn configure(&mut self, settings: &Settings) {
        self.exact.clear();
        self.networks.clear();
        self.targets.clear();
        let inbound = |trunk: &&super::settings::Trunk| !trunk.sources.is_empty();
        self.inbound = settings.trunks.iter().flatten().filter(inbound).count();
        for trunk in settings.trunks.iter().flatten() {
            for (address, length) in &trunk.sources {
                let address = address.to_canonical();
                if *length >= width(address) {
                    // The first trunk that lists an address has it.
                    self.exact.entry(address).or_insert(trunk.id);
                } else {
                    self.networks.push((address, *length, trunk.id));
                }
            }
            if let Some(target) = &trunk.target {
                let addresses = target.hops.iter().map(|hop| hop.path.remote.ip());
                self.targets.extend(addresses.map(|ip| ip.to_canonical()));
            }
        }
        // Stable: among equal lengths the first trunk wins.
        self.networks
            .sort_by_key(|(_, length, _)| std::cmp::Reverse(*length));
    }

    /// Whose address this is.
    pub(super) fn find(&self, address: IpAddr) -> Source {
        let address = address.to_canonical();
        if let Some(trunk) = self.exact.get(&address) {
            return Source::Inbound(*trunk);
        }
        for (network, length, trunk) in &self.networks {
            if contains((*network, *length), address) {
                return Source::Inbound(*trunk);
            }
        }
        if self.targets.contains(&address) || self.peers.contains_key(&address) {
            return Source::Peer;
        }
        Source::Unknown
    }

    /// Whether several trunks list addresses.
    pub(super) const fn has_several(&self) -> bool {
        self.inbound > 1
    }

    /// Whether an outbound trunk's requests go there.
    pub(super) fn is_target(&self, address: IpAddr) -> bool {
        self.targets.contains(&address.to_canonical())
    }

    /// Whether a trunk of now lists it or sends there.
    pub(super) fn is_listed(&self, address: IpAddr) -> bool {
        matches!(self.find(address), Source::Inbound(_)) || self.is_target(address)
    }

    /// Whether two addresses are one, or of one inbound trunk.
    pub(super) fn is_same_end(&self, one: IpAddr, other: IpAddr) -> bool {
        let trunk = self.find(one);
        one.to_canonical() == other.to_canonical()
            || (matches!(trunk, Source::Inbound(_)) && trunk == self.find(other))
    }

    /// A dialog's peer is there.
    pub(super) fn add_peer(&mut self, address: IpAddr) {
        let count = self.peers.entry(address.to_canonical()).or_insert(0);
        *count = count.saturating_add(1);
    }

    /// A dialog's peer is there no longer.
    pub(super) fn remove_peer(&mut self, address: IpAddr) {
        let address = address.to_canonical();
        if let Some(count) = self.peers.get_mut(&address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.peers.remove(&address);
            }
        }
    }

    /// Distinct peers of dialogs.
    #[cfg(test)]
    pub(super) fn peers(&self) -> usize {
        self.peers.len()
    }
}

const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_counted() {
        let mut sources = Sources::default();
        let peer = "192.0.2.9".parse().unwrap();
        sources.add_peer(peer);
        sources.add_peer(peer);
        assert_eq!(sources.find(peer), Source::Peer);
        sources.remove_peer(peer);
        assert_eq!(sources.find(peer), Source::Peer);
        sources.remove_peer(peer);
        assert_eq!(sources.find(peer), Source::Unknown);
        assert_eq!(sources.peers(), 0);
    }
}
