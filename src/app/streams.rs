//! Sockets of SIP, and what TLS on them is made of, from the configuration.

use super::places::Placed;
use super::settings::transport;
use crate::config::{self, Config};
use crate::sip::message::Transport;
use crate::transport::stream::{Identity, Limits, PeerTls, Streams, Tls, TlsSettings};
use crate::transport::udp::UdpEndpoint;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

/// Connections that an address of a trunk may have, of all: this part.
const SHARE: usize = 4;
/// Connections that all strangers together may have, of all: this part.
const STRANGERS: usize = 16;

/// The bound sockets.
pub(super) struct Sockets {
    /// For UDP.
    pub(super) endpoints: Vec<UdpEndpoint>,
    /// For TCP and TLS.
    pub(super) streams: Streams,
    /// All addresses, in the order of `sip.listen`.
    pub(super) addresses: Vec<SocketAddr>,
}

/// Binds every address of `sip.listen`.
///
/// # Errors
/// The one that cannot be had, or what is wrong with TLS.
pub(super) fn bind(config: &Config, tls: Tls) -> Result<Sockets, String> {
    let mut endpoints = Vec::new();
    let mut addresses = Vec::new();
    let mut streams =
        Streams::new(limits(config), tls).map_err(|error| format!("connections: {error}"))?;
    for (listen, _) in &config.sip.listen {
        let said = |error: std::io::Error| format!("cannot listen on {listen}: {error}");
        match transport(listen.transport) {
            Transport::Udp => {
                let endpoint = UdpEndpoint::bind(listen.address).map_err(said)?;
                addresses.push(endpoint.local());
                endpoints.push(endpoint);
            }
            transport => {
                let local = streams.listen(transport, listen.address).map_err(said)?;
                addresses.push(local);
            }
        }
    }
    Ok(Sockets {
        endpoints,
        streams,
        addresses,
    })
}

fn limits(config: &Config) -> Limits {
    let connections = usize::try_from(config.sip.max_connections).unwrap_or(usize::MAX);
    let defaults = Limits::default();
    Limits {
        connections,
        per_address: (connections / SHARE).max(1),
        strangers: (connections / STRANGERS).max(1),
        handshake_timeout: defaults.handshake_timeout.min(config.sip.header_timeout),
        header_timeout: config.sip.header_timeout,
        idle_timeout: config.sip.idle_timeout,
        ..defaults
    }
}

/// What TLS is made of.
///
/// # Errors
/// The part that cannot be used.
pub(super) fn tls(config: &Config, placed: &Placed<'_>) -> Result<Tls, String> {
    let server = config.sip.tls.as_ref();
    let peers = placed.iter().flatten().map(|trunk| peer(trunk));
    Tls::new(TlsSettings {
        server: server.map(|tls| identity(&tls.identity)).transpose()?,
        client_ca: server.map_or_else(Vec::new, |tls| tls.client_ca.clone()),
        peers: peers.collect::<Result<_, _>>()?,
    })
}

fn peer(trunk: &config::Trunk) -> Result<PeerTls, String> {
    let tls = &trunk.tls;
    let shown = tls.identity.as_ref().map(identity).transpose();
    Ok(PeerTls {
        trunk: trunk.name.clone(),
        sources: trunk
            .sources
            .iter()
            .map(|cidr| (cidr.address, cidr.length))
            .collect(),
        targets: trunk.target.as_ref().map_or_else(Vec::new, addresses),
        server_name: tls.server_name.clone(),
        ca: tls.ca.clone(),
        identity: shown.map_err(|error| format!("trunk {:?}, tls: {error}", trunk.name))?,
        require_client_cert: tls.require_client_cert,
        peer_names: tls.peer_names.clone(),
    })
}

/// Where connections to a target may go.
fn addresses(target: &config::TrunkTarget) -> Vec<IpAddr> {
    let host = target.host.trim_matches(['[', ']']);
    let found = (host, target.port).to_socket_addrs();
    found.map_or_else(
        |_| Vec::new(),
        |found| found.map(|address| address.ip()).collect(),
    )
}

fn identity(identity: &config::Identity) -> Result<Identity, String> {
    let key = PrivateKeyDer::from_pem_slice(identity.key.expose().as_bytes());
    Ok(Identity {
        chain: identity.chain.clone(),
        key: key.map_err(|error| format!("key: {error}"))?,
    })
}
