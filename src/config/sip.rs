//! `[sip]`: where SIP is heard and under which names.

use super::reader::{Section, Value};
use super::tls::ServerTls;
use super::value::{duration, integer, parse_duration, word};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// Transport of a listening address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
}

impl Transport {
    /// As the configuration writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    /// Port where none is given (RFC 3261 §19.1.2).
    #[must_use]
    pub fn port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
        }
    }
}

pub(super) const TRANSPORTS: &[(&str, Transport)] = &[
    ("udp", Transport::Udp),
    ("tcp", Transport::Tcp),
    ("tls", Transport::Tls),
];

/// One of `sip.listen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Its transport.
    pub transport: Transport,
    /// Its address.
    pub address: SocketAddr,
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport.name(), self.address)
    }
}

/// `[sip]`
#[derive(Clone, Debug, PartialEq)]
pub struct Sip {
    /// Where SIP is heard, and the host or `host:port` that Via and Contact name there.
    pub listen: Vec<(Listen, String)>,
    /// `unknown_source = "403"`: strangers get an answer.
    pub refuse_unknown: bool,
    /// DNS servers; none: those of the system.
    pub resolvers: Vec<SocketAddr>,
    /// Interval of session timers that is asked for (RFC 4028); zero: only where peers ask.
    pub session_expires: Duration,
    /// Least interval that is taken.
    pub min_se: Duration,
    /// Signalling workers.
    pub workers: u16,
    /// What we show to who connects by TLS, and whose certificates we believe.
    pub tls: Option<ServerTls>,
    /// Connections for SIP at once.
    pub max_connections: u32,
    /// The first message of a connection, and the rest of each, must be there by then.
    pub header_timeout: Duration,
    /// A connection on which nothing passes is closed after this.
    pub idle_timeout: Duration,
}

/// More signalling workers than this no machine keeps busy.
const MOST_WORKERS: u16 = 64;

impl Sip {
    /// Whether some address is for TCP or TLS.
    #[must_use]
    pub fn has_streams(&self) -> bool {
        let mut all = self.listen.iter();
        all.any(|(listen, _)| listen.transport != Transport::Udp)
    }
}

pub(super) fn read(section: &Section<'_>) -> Sip {
    let listen = section.read_list("listen", listen).unwrap_or_else(|| {
        vec![Listen {
            transport: Transport::Udp,
            address: SocketAddr::from(([127, 0, 0, 1], 5060)),
        }]
    });
    if listen.is_empty() && !section.is_faulty("listen") {
        section.fault("listen", "expected at least one usable address");
    }
    overlapping(section, &listen);
    let min_se = section
        .read("min_se", duration(LEAST_INTERVAL, LONGEST_INTERVAL))
        .unwrap_or(LEAST_INTERVAL);
    let session_expires = section
        .read("session_expires", interval)
        .unwrap_or(Duration::from_secs(1_800).max(min_se));
    if !session_expires.is_zero() && session_expires < min_se {
        section.fault(
            "session_expires",
            "expected no less than sip.min_se, or \"0s\"",
        );
    }
    let tls = super::tls::server(&section.section("tls"));
    if listen.iter().any(|one| one.transport == Transport::Tls) && !section.has("tls") {
        section.fault(
            "tls",
            "missing: an address with \"tls:\" needs a certificate",
        );
    }
    let hears_tls = listen.iter().any(|one| one.transport == Transport::Tls);
    if tls.is_some() && !hears_tls && !section.is_faulty("listen") {
        let message = "no address of sip.listen begins with \"tls:\": nobody would be shown it";
        section.fault("tls", message);
    }
    Sip {
        listen: advertise(section, listen),
        refuse_unknown: section
            .read("unknown_source", word(&[("drop", false), ("403", true)]))
            .unwrap_or(false),
        resolvers: section.read_list("resolvers", resolver).unwrap_or_default(),
        session_expires,
        min_se,
        workers: section
            .read("workers", integer(1, MOST_WORKERS))
            .unwrap_or(1),
        tls,
        max_connections: section
            .read("max_connections", integer(1, 1_000_000))
            .unwrap_or(1_024),
        header_timeout: section
            .read(
                "header_timeout",
                duration(Duration::from_millis(100), Duration::from_secs(300)),
            )
            .unwrap_or(Duration::from_secs(10)),
        idle_timeout: section
            .read(
                "idle_timeout",
                duration(Duration::from_secs(1), Duration::from_secs(86_400)),
            )
            .unwrap_or(Duration::from_secs(600)),
    }
}

fn resolver(value: &Value<'_>) -> Result<SocketAddr, String> {
    let parsed = value.text().and_then(|text| text.parse().ok());
    parsed
        .filter(|address: &SocketAddr| address.port() > 0)
        .ok_or_else(|| "the address and port of a DNS server (\"192.0.2.53:53\")".to_owned())
}

/// Least interval of a session timer (RFC 4028 §4).
const LEAST_INTERVAL: Duration = Duration::from_secs(90);

/// Longest one.
const LONGEST_INTERVAL: Duration = Duration::from_secs(86_400);

/// Interval of session timers: none, or one that RFC 4028 allows.
pub(super) fn interval(value: &Value<'_>) -> Result<Duration, String> {
    if value.text().and_then(parse_duration) == Some(Duration::ZERO) {
        return Ok(Duration::ZERO);
    }
    duration(LEAST_INTERVAL, LONGEST_INTERVAL)(value).map_err(|wrong| format!("{wrong}, or \"0s\""))
}

fn listen(value: &Value<'_>) -> Result<Listen, String> {
    let wrong = || "a transport, address and port (\"udp:127.0.0.1:5060\")".to_owned();
    let (transport, address) = value
        .text()
        .and_then(|text| text.split_once(':'))
        .ok_or_else(wrong)?;
    let address: SocketAddr = address.parse().map_err(|_| wrong())?;
    let transport = TRANSPORTS.iter().find(|(name, _)| *name == transport);
    let (_, transport) = *transport.ok_or_else(wrong)?;
    if address.port() == 0 {
        return Err("a port other than 0".to_owned());
    }
    Ok(Listen { transport, address })
}

fn overlapping(section: &Section<'_>, listen: &[Listen]) {
    for (position, one) in listen.iter().enumerate() {
        let before = listen.iter().take(position);
        let of_udp = |one: &Listen| one.transport == Transport::Udp;
        let before = before.filter(|other| of_udp(other) == of_udp(one));
        for other in before.filter(|other| overlap(one.address, other.address)) {
            section.fault("listen", format!("{one} overlaps with {other}"));
        }
    }
}

/// Whether the two cannot both be bound: one port, and one address or a wildcard of its family.
pub(super) fn overlap(left: SocketAddr, right: SocketAddr) -> bool {
    let (one, other) = (left.ip(), right.ip());
    left.port() == right.port()
        && one.is_ipv4() == other.is_ipv4()
        && (one == other || one.is_unspecified() || other.is_unspecified())
}

/// Gives each listening address the name it goes by: its own address, or what `advertised` says (one text
/// for all, or a list with one for each).
fn advertise(section: &Section<'_>, listen: Vec<Listen>) -> Vec<(Listen, String)> {
    let given = if !section.has("advertised") {
        Vec::new()
    } else if section
        .value("advertised")
        .is_some_and(|v| v.text().is_some())
    {
        let one = section.read("advertised", host_port);
        listen.iter().filter_map(|_| one.clone()).collect()
    } else {
        let names = section
            .read_list("advertised", host_port)
            .unwrap_or_default();
        if names.len() != listen.len() {
            let message = format!(
                "expected one name for each of the {} addresses of sip.listen, found {}",
                listen.len(),
                names.len()
            );
            section.fault("advertised", message);
        }
        names
    };
    let mut given = given.into_iter();
    listen
        .into_iter()
        .map(|listen| {
            let name = given.next().unwrap_or_else(|| {
                if listen.address.ip().is_unspecified() && !section.has("advertised") {
                    let message = format!("{listen} needs `advertised`: peers cannot answer to it");
                    section.fault("listen", message);
                }
                listen.address.to_string()
            });
            (listen, name)
        })
        .collect()
}

fn host_port(value: &Value<'_>) -> Result<String, String> {
    value
        .text()
        .filter(|text| parse_host_port(text).is_some())
        .map(str::to_owned)
        .ok_or_else(|| "a host or host:port (\"sip.example.net\", \"203.0.113.5:5060\")".to_owned())
}

/// Host (an IPv6 address keeps its brackets) and port, RFC 3261 §25.1 `hostport`.
pub(super) fn parse_host_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = if text.starts_with('[') {
        let (host, rest) = text.split_at_checked(text.find(']')? + 1)?;
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return None,
        }
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let port = match port {
        Some(port) => Some(port.parse::<u16>().ok().filter(|port| *port > 0)?),
        None => None,
    };
    let bracketed = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let good = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_host_name(host),
    };
    good.then_some((host, port))
}

fn is_host_name(host: &str) -> bool {
    (1..=253).contains(&host.len())
        && host.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_told_apart() {
        assert_eq!(
            parse_host_port("a.example:5070"),
            Some(("a.example", Some(5070)))
        );
        assert_eq!(parse_host_port("192.0.2.1"), Some(("192.0.2.1", None)));
        assert_eq!(parse_host_port("[::1]:5060"), Some(("[::1]", Some(5060))));
        for wrong in [
            "", ":5060", "a:0", "a:b", "[::1", "[zz]", "a b", "::1", "-a", "[::1]x",
        ] {
            assert_eq!(parse_host_port(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_wildcard_overlaps_its_own_family_only() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert!(overlap(at("0.0.0.0:5060"), at("127.0.0.1:5060")));
        assert!(!overlap(at("0.0.0.0:5060"), at("127.0.0.1:5061")));
        assert!(!overlap(at("[::]:5060"), at("127.0.0.1:5060")));
    }
}
