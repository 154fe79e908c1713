//! `[media]`: addresses, ports and threads of the relay (sip-bridging 5).

use super::reader::Section;
use super::value::{PortRange, address, duration, integer, name, port_range};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// One address of the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaAddress {
    /// What descriptions (SDP) say.
    pub advertised: IpAddr,
    /// What sockets are bound to.
    pub bind: IpAddr,
    /// Its ports.
    pub ports: PortRange,
    /// Place of its network in [`Media::networks`].
    pub network: usize,
}

/// `[media]`
#[derive(Clone, Debug, PartialEq)]
pub struct Media {
    /// Names of the networks: first the one of `[media]` itself, [`DEFAULT`].
    pub networks: Vec<String>,
    /// At most one for each family and network; never empty.
    pub addresses: Vec<MediaAddress>,
    /// Ports, on each address of a network without its own.
    pub ports: PortRange,
    /// Differentiated services code point that is sent with.
    pub dscp: u8,
    /// Receive buffer asked for each port, bytes.
    pub receive_buffer: u32,
    /// A call without RTP either way for so long ends; `None`: it does not.
    pub timeout: Option<Duration>,
    /// Relay threads.
    pub threads: u16,
    /// Processors that the threads are pinned to, in turn; empty: not pinned.
    pub cpus: Vec<u16>,
}

/// Name of the network that `[media]` itself is.
pub const DEFAULT: &str = "default";

/// Expedited forwarding (RFC 3246).
const EXPEDITED: u8 = 46;
/// As much as Linux gives without a change of `net.core.rmem_max`.
const RECEIVE_BUFFER: u32 = 212_992;

const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn read(section: &Section<'_>) -> Media {
    let timeout = section
        .read("timeout", duration(Duration::ZERO, DAY))
        .unwrap_or(Duration::from_secs(60));
    let ports = section.read("ports", port_range).unwrap_or(PortRange {
        first: 20_000,
        last: 29_999,
    });
    let mut networks = vec![DEFAULT.to_owned()];
    let mut found = addresses(section, ports, 0);
    for network in section.sections("networks", "name") {
        let Some(name) = network.require("name", "the network's name", name) else {
            continue;
        };
        if networks.contains(&name) {
            let message = "another network has this name already (\"default\" is [media] itself)";
            network.fault("name", message);
        }
        if !network.has("address") {
            network.fault("address", "expected the network's own address");
        }
        let own = network.read("ports", port_range).unwrap_or(ports);
        found.extend(addresses(&network, own, networks.len()));
        networks.push(name);
    }
    Media {
        networks,
        addresses: found,
        ports,
        dscp: section.read("dscp", integer(0, 63)).unwrap_or(EXPEDITED),
        receive_buffer: section
            .read("receive_buffer", integer(4_096, 16_777_216))
            .unwrap_or(RECEIVE_BUFFER),
        timeout: Some(timeout).filter(|timeout| !timeout.is_zero()),
        threads: section.read("threads", integer(1, 256)).unwrap_or(1),
        cpus: section
            .read_list("cpus", integer(0, 4_095))
            .unwrap_or_default(),
    }
}

fn addresses(section: &Section<'_>, ports: PortRange, network: usize) -> Vec<MediaAddress> {
    let advertised = one_or_two(section, "address");
    let bind = one_or_two(section, "bind");
    let advertised = advertised.unwrap_or_else(|| vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    for given in bind.iter().flatten() {
        if !advertised
            .iter()
            .any(|one| one.is_ipv4() == given.is_ipv4())
        {
            let message = format!("{given} has no media.address of its family beside it");
            section.fault("bind", message);
        }
    }
    advertised
        .into_iter()
        .map(|advertised| {
            if advertised.is_unspecified() {
                let message = "expected the address that peers send to, not a wildcard \
                               (`bind` may be one)";
                section.fault("address", message);
            }
            let same = |bind: &IpAddr| bind.is_ipv4() == advertised.is_ipv4();
            let bind = bind.iter().flatten().copied().find(same);
            MediaAddress {
                advertised,
                bind: bind.unwrap_or(advertised),
                ports,
                network,
            }
        })
        .collect()
}

/// Two networks cannot have one port.
pub(super) fn share_no_port(media: &Media, root: &Section<'_>) {
    for (place, one) in media.addresses.iter().enumerate() {
        for other in media.addresses.iter().take(place) {
            let same =
                one.bind == other.bind || one.bind.is_unspecified() || other.bind.is_unspecified();
            let apart = one.ports.last < other.ports.first || other.ports.last < one.ports.first;
            if one.bind.is_ipv4() == other.bind.is_ipv4() && same && !apart {
                let name = |network: usize| media.networks.get(network).map_or("", |name| name);
                let message = format!(
                    "networks {} and {} share ports of {}",
                    name(other.network),
                    name(one.network),
                    one.bind
                );
                root.section("media").fault("ports", message);
            }
        }
    }
}

/// One address, or a list with at most one for each family.
fn one_or_two(section: &Section<'_>, key: &str) -> Option<Vec<IpAddr>> {
    let is_text = section.value(key)?.text().is_some();
    let given = if is_text {
        section.read(key, address).map(|one| vec![one])?
    } else {
        section.read_list(key, address)?
    };
    let four = given.iter().filter(|address| address.is_ipv4()).count();
    if given.is_empty() || four > 1 || given.len() - four > 1 {
        section.fault(
            key,
            "expected one address, or one for each of IPv4 and IPv6",
        );
    }
    Some(given).filter(|given| !given.is_empty())
}
