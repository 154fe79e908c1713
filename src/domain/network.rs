//! Networks of addresses: an address and how many of its leading bits count (RFC 4632 §3.1).

use std::net::IpAddr;

/// Whether an address lies in a network; the two families never match, a length of zero is the whole
/// family, and one beyond the family's width is the address alone.
#[must_use]
pub fn contains((network, length): (IpAddr, u8), address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            (network.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(length.min(32))
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            (network.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(length.min(128))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_what_their_prefix_says() {
        let net = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(contains((net("192.0.2.0"), 24), net("192.0.2.77")));
        assert!(!contains((net("192.0.2.0"), 24), net("192.0.3.1")));
        assert!(contains((net("0.0.0.0"), 0), net("192.0.3.1")));
        assert!(contains((net("2001:db8::"), 32), net("2001:db8:1::1")));
        assert!(!contains((net("2001:db8::"), 32), net("2001:db9::1")));
        assert!(!contains((net("::"), 0), net("192.0.2.1")));
        // No address is wider than its family.
        assert!(contains((net("192.0.2.7"), 255), net("192.0.2.7")));
        assert!(!contains((net("192.0.2.7"), 255), net("192.0.2.6")));
    }
}
