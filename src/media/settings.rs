//! What the media session is configured with; replaced whole by a reload.

use super::recording::Recordings;
use crate::domain::TrunkId;
use crate::domain::srtp::Srtp;
use crate::sdp::CodecList;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Everything.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Networks that media can use. Fixed at start, each with a pool of ports at the same place in
    /// [`super::Ports`].
    pub networks: Vec<Network>,
    /// Trunks, by place.
    pub trunks: Vec<Option<Trunk>>,
    /// `media.timeout`: no RTP either way for so long is reported; zero = never.
    pub timeout: Duration,
    /// What callers can be made to hear.
    pub recordings: Recordings,
}

impl Settings {
    /// A trunk's rules.
    #[must_use]
    pub fn trunk(&self, id: TrunkId) -> Option<&Trunk> {
        self.trunks.get(usize::from(id.0))?.as_ref()
    }

    /// Takes new settings. A trunk that is not among them any more leaves its rules where they
    /// were: the calls that it has go on by them, and new ones it does not get.
    pub fn reload(&mut self, new: Self) {
        let old = std::mem::replace(self, new);
        let places = self.trunks.len().max(old.trunks.len());
        self.trunks.resize(places, None);
        for (trunk, before) in self.trunks.iter_mut().zip(old.trunks) {
            if trunk.is_none() {
                *trunk = before;
            }
        }
    }
}

impl Settings {
    /// Media towards a trunk uses the address of this family of its network from now on, where there
    /// is one; calls that are up keep theirs.
    pub fn use_family(&mut self, trunk: TrunkId, v6: bool) {
        let networks = &self.networks;
        let Some(Some(trunk)) = self.trunks.get_mut(usize::from(trunk.0)) else {
            return;
        };
        let Some(now) = networks.get(trunk.network) else {
            return;
        };
        let fits = |one: &Network| one.named == now.named && one.bind.is_ipv6() == v6;
        if !fits(now) {
            trunk.network = networks.iter().position(fits).unwrap_or(trunk.network);
        }
    }
}

/// An address of ours for media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Place of the named network that it is of: one has at most one address of each family.
    pub named: usize,
    /// Address that sockets are bound to (`media.bind`).
    pub bind: IpAddr,
    /// Address that descriptions name (`media.address`).
    pub advertised: IpAddr,
    /// First of `media.ports`.
    pub first_port: u16,
    /// Last of `media.ports`.
    pub last_port: u16,
}

impl Network {
    /// Whether packets can be sent there from here: the sockets are of one family.
    #[must_use]
    pub const fn reaches(&self, address: IpAddr) -> bool {
        self.bind.is_ipv4() == address.is_ipv4()
    }

    /// Whether `at` is a media port of ours, some call's or nobody's. The unspecified address as a
    /// destination is the sending host itself.
    #[must_use]
    pub fn holds(&self, at: SocketAddr) -> bool {
        let address = at.ip().to_canonical();
        let ours = address == self.bind || address == self.advertised || address.is_unspecified();
        ours && (self.first_port..=self.last_port).contains(&at.port())
    }
}

/// One trunk's media rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trunk {
    /// Place of its network.
    pub network: usize,
    /// `media_source`.
    pub source: MediaSource,
    /// `media_prefixes`: where a latched source may be, besides the SIP peer's address.
    pub prefixes: Vec<(IpAddr, u8)>,
    /// `codecs`.
    pub codecs: CodecList,
    /// `srtp`.
    pub srtp: Srtp,
}

/// Who may send (sip-bridging 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MediaSource {
    /// `"address+port"`: the described address and port alone.
    #[default]
    AddressAndPort,
    /// `"address"`: any port of the described address.
    Address,
    /// `"latch"`: the first source after the description, within bounds.
    Latch,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_looked_for_in_the_trunks_own_network() {
        let network = |named, bind: &str| Network {
            named,
            bind: bind.parse().unwrap(),
            advertised: bind.parse().unwrap(),
            first_port: 20_000,
            last_port: 20_003,
        };
        let mut settings = Settings {
            networks: vec![
                network(0, "192.0.2.1"),
                network(0, "2001:db8::1"),
                network(1, "10.0.0.1"),
                network(2, "10.1.0.1"),
                network(2, "fd00::1"),
            ],
            trunks: [2, 3]
                .map(|network| {
                    Some(Trunk {
                        network,
                        ..Trunk::default()
                    })
                })
                .into(),
            ..Settings::default()
        };
        for (trunk, v6, place) in [(0, true, 2), (1, true, 4), (1, false, 3), (0, false, 2)] {
            settings.use_family(TrunkId(trunk), v6);
            assert_eq!(settings.trunk(TrunkId(trunk)).unwrap().network, place);
        }
    }

    #[test]
    fn rules_of_a_trunk_that_is_gone_stay_for_its_calls() {
        let settings = |sources: &[Option<MediaSource>]| Settings {
            trunks: sources
                .iter()
                .map(|source| {
                    source.map(|source| Trunk {
                        source,
                        ..Trunk::default()
                    })
                })
                .collect(),
            ..Settings::default()
        };
        let mut now = settings(&[Some(MediaSource::Latch), Some(MediaSource::Address)]);
        now.reload(settings(&[None, None, Some(MediaSource::Address)]));
        let source = |now: &Settings, place| now.trunk(TrunkId(place)).map(|trunk| trunk.source);
        assert_eq!(source(&now, 0), Some(MediaSource::Latch));
        assert_eq!(source(&now, 2), Some(MediaSource::Address));
        now.reload(settings(&[Some(MediaSource::AddressAndPort)]));
        assert_eq!(source(&now, 0), Some(MediaSource::AddressAndPort));
        assert_eq!(source(&now, 1), Some(MediaSource::Address));
        assert_eq!(source(&now, 2), Some(MediaSource::Address));
        assert_eq!(source(&now, 3), None);
    }
}
