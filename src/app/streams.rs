//! Sockets of SIP, and what TLS on them is made of, from the configuration.

use super::places::Placed;
use super::settings::{question, transport};
use crate::config::{self, Config};
use crate::sip::message::Transport;
use crate::transport::stream::{Identity, Limits, PeerTls, Streams, Tls, TlsSettings};
use crate::transport::udp::UdpEndpoint;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use std::net::SocketAddr;

/// Connections that an address of a trunk may have, of all: this part.
const SHARE: usize = 4;
/// Connections that are kept for those that we make, of all: this part.
const DIALLED: usize = 4;
/// Connections that all strangers together may have, of all: this part.
const STRANGERS: usize = 16;

/// The bound sockets.
pub(super) struct Sockets {
    /// For each worker: for UDP, and for TCP and TLS.
    pub(super) workers: Vec<(Vec<UdpEndpoint>, Streams)>,
    /// All addresses, in the order of `sip.listen`.
    pub(super) addresses: Vec<SocketAddr>,
}

/// Binds every address of `sip.listen`, for each of `sip.workers`.
///
/// # Errors
/// The one that cannot be had, or what is wrong with TLS.
pub(super) fn bind(config: &Config, tls: &TlsSettings) -> Result<Sockets, String> {
    let count = usize::from(config.sip.workers);
    let mut workers = Vec::with_capacity(count);
    for _ in 0..count {
        let streams = Streams::new(limits(config), Tls::new(tls.clone())?)
            .map_err(|error| format!("connections: {error}"))?;
        workers.push((Vec::new(), streams));
    }
    let mut addresses = Vec::new();
    for (listen, _) in &config.sip.listen {
        let said = |error: std::io::Error| format!("cannot listen on {listen}: {error}");
        match transport(listen.transport) {
            Transport::Udp => {
                let group = UdpEndpoint::bind_group(listen.address, count).map_err(said)?;
                addresses.extend(group.first().map(UdpEndpoint::local));
                for ((endpoints, _), endpoint) in workers.iter_mut().zip(group) {
                    endpoints.push(endpoint);
                }
            }
            transport => {
                let mut local = listen.address;
                for (_, streams) in &mut workers {
                    local = streams.listen(transport, local, count > 1).map_err(said)?;
                }
                addresses.push(local);
            }
        }
    }
    Ok(Sockets { workers, addresses })
}

/// Of each worker: its part of the whole.
fn limits(config: &Config) -> Limits {
    let connections = usize::try_from(config.sip.max_connections).unwrap_or(usize::MAX);
    let connections = connections.div_ceil(usize::from(config.sip.workers).max(1));
    let defaults = Limits::default();
    let accepted = connections.saturating_sub(dialled(connections, called(config)));
    Limits {
        connections,
        accepted,
        per_trunk: (accepted / 2).max(1),
        per_address: (connections / SHARE).max(1),
        strangers: (connections / STRANGERS).max(1),
        handshake_timeout: defaults.handshake_timeout.min(config.sip.header_timeout),
        header_timeout: config.sip.header_timeout,
        idle_timeout: config.sip.idle_timeout,
        ..defaults
    }
}

/// How many of a worker's connections are for those that we make: a part, and one for each trunk that
/// may be called by a connection, but never so many that none can come.
fn dialled(connections: usize, called: usize) -> usize {
    let most = connections.saturating_sub(1);
    (connections / DIALLED).max(called).min(most)
}

/// Trunks that may be called by a connection.
fn called(config: &Config) -> usize {
    let targets = config
        .trunks
        .iter()
        .filter_map(|trunk| trunk.target.as_ref());
    let udp = Some(config::Transport::Udp);
    targets.filter(|target| target.transport != udp).count()
}

/// What TLS is made of.
///
/// # Errors
/// The part that cannot be used.
pub(super) fn tls(config: &Config, placed: &Placed<'_>) -> Result<TlsSettings, String> {
    let server = config.sip.tls.as_ref();
    let peers = placed.iter().flatten().map(|trunk| peer(trunk));
    Ok(TlsSettings {
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
        target: trunk.target.as_ref().map(|target| target.host.clone()),
        targets: trunk
            .target
            .iter()
            .filter_map(|to| question(to).literal())
            .collect(),
        server_name: tls.server_name.clone(),
        ca: tls.ca.clone(),
        identity: shown.map_err(|error| format!("trunk {:?}, tls: {error}", trunk.name))?,
        require_client_cert: tls.require_client_cert,
        peer_names: tls.peer_names.clone(),
    })
}

fn identity(identity: &config::Certificate) -> Result<Identity, String> {
    let key = PrivateKeyDer::from_pem_slice(identity.key.expose().as_bytes());
    Ok(Identity {
        chain: identity.chain.clone(),
        key: key.map_err(|error| format!("key: {error}"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::dialled;

    #[test]
    fn a_quarter_is_for_dials_and_one_for_each_trunk_and_one_is_left_for_who_comes() {
        assert_eq!(dialled(1024, 3), 256);
        assert_eq!(dialled(8, 3), 3);
        assert_eq!(dialled(8, 20), 7);
        assert_eq!(dialled(2, 0), 0);
        assert_eq!(dialled(1, 5), 0);
    }
}
