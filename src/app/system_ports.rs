//! What the system may do to media ports: give one to somebody else as a port of its choice, or keep
//! less waiting than is asked for. Looked at once, at the start; it is a warning, not a fault.

use crate::config::Config;

const EPHEMERAL: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";
const RECEIVE_LIMIT: &str = "/proc/sys/net/core/rmem_max";

/// Warns of what should be set differently on this machine.
pub fn check(config: &Config) {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    if let (Some(range), Some(reserved)) = (read(EPHEMERAL), read(RESERVED)) {
        let mut open: Vec<String> = config
            .media
            .addresses
            .iter()
            .filter_map(|one| unreserved((one.ports.first, one.ports.last), &range, &reserved))
            .map(|(first, last)| format!("{first}-{last}"))
            .collect();
        open.dedup();
        if !open.is_empty() {
            tracing::warn!(
                ports = open.join(","),
                "the system may give media ports to other programs: add them to \
                 net.ipv4.ip_local_reserved_ports"
            );
        }
    }
    let most = read(RECEIVE_LIMIT).and_then(|text| text.trim().parse::<u32>().ok());
    let asked = config.media.receive_buffer;
    if let Some(most) = most.filter(|most| *most < asked) {
        tracing::warn!(
            asked,
            most,
            "media.receive_buffer is more than net.core.rmem_max: ports get the latter"
        );
    }
}

/// The part of `ports` that lies in the system's range and is not wholly reserved; both texts as the
/// system shows them.
fn unreserved((first, last): (u16, u16), range: &str, reserved: &str) -> Option<(u16, u16)> {
    let mut words = range.split_whitespace();
    let mut bound = || words.next()?.parse::<u16>().ok();
    let (low, high) = (bound()?, bound()?);
    let (first, last) = (first.max(low), last.min(high));
    let kept = |port: u16| {
        reserved.trim().split(',').any(|part| {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let within = || Some(from.parse::<u16>().ok()? <= port && port <= to.parse().ok()?);
            within().unwrap_or(false)
        })
    };
    (first <= last && !(first..=last).all(kept)).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_the_system_may_give_away_are_found() {
        for (ports, range, reserved, found) in [
            ((20_000, 29_999), "32768\t60999\n", "\n", None),
            (
                (30_000, 39_999),
                "32768\t60999\n",
                "\n",
                Some((32_768, 39_999)),
            ),
            ((30_000, 39_999), "32768\t60999\n", "32768-39999\n", None),
            (
                (30_000, 39_999),
                "32768\t60999\n",
                "8080,32768-35000,35001-39998\n",
                Some((32_768, 39_999)),
            ),
            ((40_000, 40_001), "1024 65535", "40000,40001", None),
            ((60_000, 65_535), "32768 60999", "", Some((60_000, 60_999))),
            ((40_000, 40_001), "", "", None),
            ((40_000, 40_001), "x y", "z-", None),
        ] {
            assert_eq!(
                unreserved(ports, range, reserved),
                found,
                "{ports:?} {range} {reserved}"
            );
        }
    }
}
