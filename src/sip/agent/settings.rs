//! What the agent is configured with.

pub use super::transports::Listening;
use crate::domain::TrunkId;
pub use crate::domain::numbering::NumberForm;
use crate::sip::message::Path;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// One trunk as the agent needs it.
#[derive(Clone, Debug)]
pub struct Trunk {
    /// Its place.
    pub id: TrunkId,
    /// Requests from these addresses are its (address, prefix length); empty for outbound only.
    pub sources: Vec<(IpAddr, u8)>,
    /// Where its requests go; `None` for inbound only.
    pub target: Option<Target>,
    /// Its P-Asserted-Identity is believed, and it is given ours.
    pub trusted: bool,
    /// How numbers are written towards it.
    pub form: NumberForm,
    /// OPTIONS interval; zero = none.
    pub options_interval: Duration,
}

impl Trunk {
    /// Whether an address is this trunk's: one of its sources, or its target.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let target = self.target.as_ref().map(|target| target.path.remote.ip());
        target.is_some_and(|target| target.to_canonical() == address)
            || self.sources.iter().any(|(network, length)| {
                super::sources::contains(network.to_canonical(), *length, address)
            })
    }
}

/// A trunk's next hop.
#[derive(Clone, Debug)]
pub struct Target {
    /// Host (with its port, where it has one) as it stands in Request-URI and To.
    pub host: Box<str>,
    /// Our socket and the resolved address.
    pub path: Path,
    /// Its URIs are SIPS.
    pub secure: bool,
    /// By TCP, for requests too long for UDP, where its transport is left to us.
    pub long: Option<Path>,
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
}

impl Settings {
    /// The trunk at a place, if there is one now.
    #[must_use]
    pub fn trunk(&self, id: TrunkId) -> Option<&Trunk> {
        self.trunks.get(usize::from(id.0))?.as_ref()
    }
}
