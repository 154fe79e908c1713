//! `[media]`: addresses, ports and threads of the relay (sip-bridging 5).

use super::reader::Section;
use super::value::{PortRange, address, duration, integer, port_range};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// One address of the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaAddress {
    /// What descriptions (SDP) say.
    pub advertised: IpAddr,
    /// What sockets are bound to.
    pub bind: IpAddr,
}

/// `[media]`
#[derive(Clone, Debug, PartialEq)]
pub struct Media {
    /// At most one for each family; never empty.
    pub addresses: Vec<MediaAddress>,
    /// Ports, on each address.
    pub ports: PortRange,
    /// A call without RTP either way for so long ends; `None`: it does not.
    pub timeout: Option<Duration>,
    /// Relay threads.
    pub threads: u16,
    /// Processors that the threads are pinned to, in turn; empty: not pinned.
    pub cpus: Vec<u16>,
}

const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn read(section: &Section<'_>) -> Media {
    let timeout = section
        .read("timeout", duration(Duration::ZERO, DAY))
        .unwrap_or(Duration::from_secs(60));
    Media {
        addresses: addresses(section),
        ports: section.read("ports", port_range).unwrap_or(PortRange {
            first: 20_000,
            last: 29_999,
        }),
        timeout: Some(timeout).filter(|timeout| !timeout.is_zero()),
        threads: section.read("threads", integer(1, 256)).unwrap_or(1),
        cpus: section
            .read_list("cpus", integer(0, 4_095))
            .unwrap_or_default(),
    }
}

fn addresses(section: &Section<'_>) -> Vec<MediaAddress> {
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
            }
        })
        .collect()
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
