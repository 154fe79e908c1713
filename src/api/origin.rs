//! Who is at the other end, for the log.

use crate::domain::network::contains;
use std::net::IpAddr;
use warp::http::HeaderMap;

/// The connection's `peer`; behind a trusted proxy (address, prefix length), the nearest address
/// that is none.
#[must_use]
pub fn remote(trusted: &[(IpAddr, u8)], peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let mut remote = peer;
    let forwarded = headers
        .get("x-forwarded-for")
        .and_then(|value| value.to_str().ok());
    for hop in forwarded.unwrap_or_default().rsplit(',') {
        if !is_trusted(trusted, remote) {
            break;
        }
        match hop.trim().parse() {
            Ok(address) => remote = address,
            Err(_) => break,
        }
    }
    remote
}

/// Whether `address` is one of the trusted proxies.
#[must_use]
pub fn is_trusted(trusted: &[(IpAddr, u8)], address: IpAddr) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|network| contains(*network, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted = [("10.0.0.0".parse().unwrap(), 8)];
        let seen = |peer: &str, forwarded: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", forwarded.parse().unwrap());
            remote(&trusted, peer.parse().unwrap(), &headers).to_string()
        };
        assert_eq!(seen("203.0.113.9", "198.51.100.1"), "203.0.113.9");
        assert_eq!(seen("10.0.0.1", "198.51.100.1"), "198.51.100.1");
        assert_eq!(
            seen("10.0.0.1", "192.0.2.7, 198.51.100.1, 10.0.0.2"),
            "198.51.100.1"
        );
        assert_eq!(seen("10.0.0.1", "nonsense"), "10.0.0.1");
    }

    #[test]
    fn networks_hold_their_addresses() {
        let holds = |network: &str, length, address: &str| {
            is_trusted(
                &[(network.parse().unwrap(), length)],
                address.parse().unwrap(),
            )
        };
        assert!(holds("10.0.0.0", 8, "10.255.1.2"));
        assert!(!holds("10.0.0.0", 8, "11.0.0.1"));
        assert!(holds("0.0.0.0", 0, "203.0.113.1"));
        assert!(holds("127.0.0.1", 32, "::ffff:127.0.0.1"));
        assert!(holds("2001:db8::", 32, "2001:db8::1"));
        assert!(holds("::", 0, "2001:db8::1"));
        assert!(!holds("::", 0, "10.0.0.1"));
    }
}
