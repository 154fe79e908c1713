//! What the agent is configured with.

use super::SessionPolicy;
pub use super::transports::Listening;
pub use super::vouching::IdentityPolicy;
use crate::domain::TrunkId;
pub use crate::domain::numbering::NumberForm;
use crate::sip::digest::{Account, Login};
use crate::sip::locate::{self, Hop};
use crate::sip::message::Path;
use crate::sip::passport::Signer;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Whether provisional responses of a leg are acknowledged (RFC 3262): `reliable_provisionals`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reliability {
    /// Never: the option is not ours on this leg.
    Off,
    /// Where the other end wants it; towards a caller that merely can, where there is a description.
    #[default]
    Supported,
    /// Our INVITEs require it; every provisional response to a caller that can is reliable.
    Required,
}

/// One trunk as the agent needs it.
#[derive(Clone, Debug)]
pub struct Trunk {
    /// Its place.
    pub id: TrunkId,
    /// Requests from these addresses are its (address, prefix length); empty for outbound only.
    pub sources: Vec<(IpAddr, u8)>,
    /// Its requests are taken by TLS alone, whose connections have shown a certificate
    /// (`tls.require_client_cert`).
    pub certified: bool,
    /// Where its requests go; `None` for inbound only.
    pub target: Option<Target>,
    /// Its P-Asserted-Identity is believed, and it is given ours.
    pub trusted: bool,
    /// Reliable provisional responses on its legs (RFC 3262).
    pub reliable: Reliability,
    /// How numbers are written towards it.
    pub form: NumberForm,
    /// OPTIONS interval; zero = none.
    pub options_interval: Duration,
    /// What its requests outside dialogs must prove: theirs for us; `None`: nothing.
    pub account: Option<Account>,
    /// What its challenges are answered with: ours for them; `None`: they are not.
    pub login: Option<Login>,
    /// What its INVITEs must present (`trunk.identity`).
    pub identity: IdentityPolicy,
    /// INVITEs to it are signed, where there is a key (`trunk.sign`).
    pub sign: bool,
    /// Its calls must come by TLS: their descriptions hold keys for SRTP (`trunk.srtp`).
    pub tls_only: bool,
    /// Session timers of its legs (RFC 4028).
    pub session_policy: SessionPolicy,
}

impl Trunk {
    /// Whether an address is this trunk's: one of its sources, or its target.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.is_called_at(address)
            || self.sources.iter().any(|(network, length)| {
                crate::domain::network::contains((network.to_canonical(), *length), address)
            })
    }

    /// Whether an address is its target's.
    pub(super) fn is_called_at(&self, address: IpAddr) -> bool {
        let target = self.target.as_ref();
        target.is_some_and(|target| target.has(address))
    }
}

/// Where a trunk's requests go.
#[derive(Clone, Debug)]
pub struct Target {
    /// Host (with its port, where it has one) as it stands in Request-URI and To.
    pub host: Box<str>,
    /// Its places, in the order of their ranks; none while its name is not resolved.
    pub hops: Vec<Hop>,
    /// What the DNS is asked for; `None` where the host is an address.
    pub name: Option<locate::Target>,
    /// Its URIs are SIPS.
    pub secure: bool,
    /// Its transport is left to us: requests too long for UDP go by TCP.
    pub free: bool,
}

impl Target {
    /// A target with one place that never changes.
    #[must_use]
    pub fn at(host: &str, path: Path) -> Self {
        Self {
            host: host.into(),
            hops: vec![Hop::only(path)],
            name: None,
            secure: false,
            free: false,
        }
    }

    /// Whether one of its places has this address.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let mut hops = self.hops.iter();
        hops.any(|hop| hop.path.remote.ip().to_canonical() == address)
    }
}

/// What the agent is configured with; replaced whole by a reload.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Trunks, by place.
    pub trunks: Vec<Option<Trunk>>,
    /// Answer 403 to unknown sources instead of nothing.
    pub refuse_unknown: bool,
    /// Host and port that Via and Contact name, per local address (`sip.advertised`).
    pub advertised: Vec<(SocketAddr, Box<str>)>,
    /// Listening sockets for TCP and TLS.
    pub streams: Vec<Listening>,
    /// Further addresses of ours that messages may name (media): the guard never protects them.
    pub own: Vec<IpAddr>,
    /// T1, 500 ms (RFC 3261 §17.1.1.1).
    pub t1: Duration,
    /// Signs our INVITEs (`identity.sign`).
    pub signer: Option<Arc<Signer>>,
    /// Oldest passport that counts (`identity.max_age`).
    pub passport_max_age: Duration,
}

impl Settings {
    /// Places of names that were resolved before stay until the DNS says otherwise.
    pub(super) fn keep_hops(&mut self, before: &Self) {
        let before = before.trunks.iter().flatten();
        let known: Vec<&Target> = before.filter_map(|trunk| trunk.target.as_ref()).collect();
        let trunks = self.trunks.iter_mut().flatten();
        for target in trunks.filter_map(|trunk| trunk.target.as_mut()) {
            let mut same = known.iter().filter(|known| known.name == target.name);
            if target.name.is_some()
                && let Some(same) = same.find(|known| !known.hops.is_empty())
            {
                target.hops.clone_from(&same.hops);
            }
        }
    }

    /// The trunk at a place, if there is one now.
    #[must_use]
    pub fn trunk(&self, id: TrunkId) -> Option<&Trunk> {
        self.trunks.get(usize::from(id.0))?.as_ref()
    }

    /// Session timers of a trunk's legs; of one that is gone, the usual ones.
    pub(super) fn session_policy(&self, id: Option<TrunkId>) -> SessionPolicy {
        id.and_then(|id| self.trunk(id))
            .map_or_else(SessionPolicy::default, |trunk| trunk.session_policy)
    }
}
