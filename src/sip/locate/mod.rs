//! Where requests to a SIP URI go (RFC 3263 §4): which questions to ask the DNS, one after another,
//! and what their answers come to. No question is asked here.
//!
//! ```text
//!   address literal --------------------------------------------------> hop
//!   port given -----------------------------------------> A, AAAA ----> hops
//!   transport given -------------> SRV ----------------->  of each ---> hops, by priority
//!                                   ^ |none at all          server      and weight
//!   neither: NAPTR --of ours--------' |                        ^        (srv.rs, RFC 2782)
//!              |none: SRV of each transport                    |
//!              v of ours -----------> '--> the host itself ----'
//! ```
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::panic
    )
)]

mod srv;
#[cfg(test)]
mod tests;

use super::message::{Path, Transport};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub use srv::arrange;

/// Records of one answer that are looked at.
pub const MOST_RECORDS: usize = 32;
/// Servers whose addresses are asked for.
pub const MOST_SERVERS: usize = 16;
/// Hops of one target.
pub const MOST_HOPS: usize = 16;
/// An answer is believed for so long at least: whoever says 0 s is asked again all the same, but
/// not without end.
pub const SHORTEST_TTL: Duration = Duration::from_secs(5);
/// An answer is believed for so long at most.
pub const LONGEST_TTL: Duration = Duration::from_secs(3600);
/// What is known of "there is none" is believed for so long at most.
pub const LONGEST_NOTHING: Duration = Duration::from_secs(60);
/// An answer with a gap (the query for one server failed) is believed for so long at most.
const PARTIAL_TTL: Duration = Duration::from_secs(30);

/// What is to be found: the parts of a URI that matter (RFC 3263 §4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Host as in the URI; an IPv6 address in brackets.
    pub host: Box<str>,
    /// Port of the URI.
    pub port: Option<u16>,
    /// Transport parameter of the URI.
    pub transport: Option<Transport>,
    /// It is a `sips:` URI: TLS alone.
    pub secure: bool,
}

impl Target {
    /// Its address, where the host is one.
    #[must_use]
    pub fn literal(&self) -> Option<IpAddr> {
        let host = self.host.strip_prefix('[').unwrap_or(&self.host);
        host.strip_suffix(']').unwrap_or(host).parse().ok()
    }
}

/// One place that requests may go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hop {
    /// Our listening address and the server's address.
    pub path: Path,
    /// Lower goes first.
    pub rank: u16,
    /// Share among servers of one rank (RFC 2782).
    pub weight: u16,
    /// Hops of one number are addresses of one server, the one to be tried first standing first.
    pub server: u16,
}

impl Hop {
    /// The only hop of a target.
    #[must_use]
    pub const fn only(path: Path) -> Self {
        Self {
            path,
            rank: 0,
            weight: 0,
            server: 0,
        }
    }
}

/// A question to the DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Query {
    Naptr(Box<str>),
    Srv(Box<str>),
    A(Box<str>),
    Aaaa(Box<str>),
}

/// What one record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// RFC 3403 §4.1.
    Naptr {
        /// Lower goes first; nothing of a higher one counts.
        order: u16,
        /// Lower goes first.
        preference: u16,
        /// `s`: an SRV record is next.
        flags: Box<str>,
        /// `SIP+D2U` and the like.
        service: Box<str>,
        /// Name of the SRV record.
        replacement: Box<str>,
    },
    /// RFC 2782.
    Srv {
        /// Lower goes first.
        priority: u16,
        /// Share.
        weight: u16,
        /// Port.
        port: u16,
        /// Host; `.`: the service is not offered.
        target: Box<str>,
    },
    /// A or AAAA.
    Address(IpAddr),
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Records, and how long they may be kept.
    Records(Vec<Record>, Duration),
    /// There is none, and how long that may be kept.
    Nothing(Duration),
    /// No answer, or none that says anything.
    Failed,
}

/// What all answers together come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// These, in the order of their ranks; never empty.
    Hops(Vec<Hop>, Duration),
    /// The target has no place that a socket of ours could reach.
    Nothing(Duration),
    /// It is not known.
    Failed,
}

/// A question that is to be asked, and what its answer is for.
#[derive(Clone, Debug)]
enum Step {
    Naptr,
    Srv(Transport, Box<str>),
    Addresses { v6: bool, server: Server },
}

#[derive(Clone, Debug)]
struct Server {
    transport: Transport,
    host: Box<str>,
    port: u16,
    rank: u16,
    weight: u16,
    number: u16,
}

/// The search for one target's hops.
#[derive(Debug)]
pub struct Locator {
    target: Target,
    listeners: Vec<(Transport, SocketAddr)>,
    steps: VecDeque<Step>,
    hops: Vec<Hop>,
    /// Transport to the host itself, if there is no SRV record at all.
    fallback: Option<Transport>,
    next_rank: u16,
    servers: u16,
    ttl: Duration,
    failed: bool,
    cut: bool,
}

impl Locator {
    /// Looks for a target's hops; `listeners` are our own sockets, the preferred ones first: what no
    /// socket can reach is not found.
    #[must_use]
    pub fn new(target: Target, listeners: &[(Transport, SocketAddr)]) -> Self {
        let mut new = Self {
            listeners: listeners.to_vec(),
            steps: VecDeque::new(),
            hops: Vec::new(),
            fallback: None,
            next_rank: 0,
            servers: 0,
            ttl: LONGEST_TTL,
            failed: false,
            cut: false,
            target,
        };
        new.begin();
        new
    }

    /// The question that is to be asked next; `None` once there is none left.
    #[must_use]
    pub fn query(&self) -> Option<Query> {
        Some(match self.steps.front()? {
            Step::Naptr => Query::Naptr(self.target.host.clone()),
            Step::Srv(_, name) => Query::Srv(name.clone()),
            Step::Addresses { v6: false, server } => Query::A(server.host.clone()),
            Step::Addresses { v6: true, server } => Query::Aaaa(server.host.clone()),
        })
    }

    /// The answer to [`Self::query`].
    pub fn answer(&mut self, answer: Answer) {
        let Some(step) = self.steps.pop_front() else {
            return;
        };
        let records = match answer {
            Answer::Records(mut records, ttl) => {
                self.ttl = self.ttl.min(ttl);
                self.cut |= records.len() > MOST_RECORDS;
                records.truncate(MOST_RECORDS);
                records
            }
            Answer::Nothing(ttl) => {
                self.ttl = self.ttl.min(ttl);
                Vec::new()
            }
            Answer::Failed => {
                // Not to know is not to know that there is none (RFC 2782): the host itself is not
                // asked in their stead.
                self.failed = true;
                if !matches!(step, Step::Addresses { .. }) {
                    self.fallback = None;
                }
                return;
            }
        };
        match step {
            Step::Naptr => self.on_naptr(&records),
            Step::Srv(transport, _) => self.on_srv(transport, &records),
            Step::Addresses { v6, server } => self.on_addresses(v6, &server, &records),
        }
        if self.steps.is_empty()
            && let Some(transport) = self.fallback.take()
        {
            let port = default_port(transport);
            self.ask_addresses(transport, &self.target.host.clone(), port, (0, 0));
        }
    }

    /// Whether a bound was reached: more records, servers or addresses than are looked at.
    #[must_use]
    pub const fn was_cut(&self) -> bool {
        self.cut
    }

    /// What the answers come to.
    #[must_use]
    pub fn outcome(self) -> Outcome {
        let ttl = self.ttl.clamp(SHORTEST_TTL, LONGEST_TTL);
        match (self.hops.is_empty(), self.failed) {
            (false, false) => Outcome::Hops(self.hops, ttl),
            (false, true) => Outcome::Hops(self.hops, ttl.min(PARTIAL_TTL)),
            (true, false) => Outcome::Nothing(ttl.min(LONGEST_NOTHING)),
            (true, true) => Outcome::Failed,
        }
    }

    // ---- RFC 3263 §4.1 ----

    fn begin(&mut self) {
        let default = if self.target.secure {
            Transport::Tls
        } else {
            Transport::Udp
        };
        let given = match self.target.transport {
            Some(Transport::Tcp) if self.target.secure => Some(Transport::Tls),
            given => given,
        };
        let transport = given.unwrap_or(default);
        if let Some(address) = self.target.literal() {
            let port = self.target.port.unwrap_or(default_port(transport));
            let server = self.server(transport, &self.target.host.clone(), port, (0, 0));
            return self.add_hop(address, &server);
        }
        if let Some(port) = self.target.port {
            return self.ask_addresses(transport, &self.target.host.clone(), port, (0, 0));
        }
        if let Some(transport) = given {
            self.fallback = Some(transport);
            return self.ask_srv(transport, None);
        }
        self.steps.push_back(Step::Naptr);
    }

    fn on_naptr(&mut self, records: &[Record]) {
        let services = || records.iter().filter_map(|record| self.service_of(record));
        let any = services().next().is_some();
        let ours = |transport: Transport| self.has_listener(transport);
        let mut usable: Vec<_> = services().filter(|found| ours(found.2)).collect();
        usable.sort_by_key(|(order, preference, ..)| (*order, *preference));
        let first = usable.first().map(|(order, ..)| *order);
        usable.retain(|(order, ..)| Some(*order) == first);
        let found: Vec<(Transport, Box<str>)> = usable
            .into_iter()
            .map(|(_, _, transport, name)| (transport, name.into()))
            .collect();
        if any {
            // The host has said by what it can be reached: nothing else is tried.
            self.fallback = found.first().map(|(transport, _)| *transport);
            for (transport, name) in found.into_iter().take(MOST_SERVERS) {
                self.ask_srv(transport, Some(name));
            }
            return;
        }
        let wanted: &[Transport] = if self.target.secure {
            &[Transport::Tls]
        } else {
            &[Transport::Udp, Transport::Tcp]
        };
        let wanted = wanted.iter().copied();
        let wanted: Vec<Transport> = wanted.filter(|one| self.has_listener(*one)).collect();
        self.fallback = wanted.first().copied();
        for transport in wanted {
            self.ask_srv(transport, None);
        }
    }

    /// What a NAPTR record says, if it is one of SIP's that may be followed: order, preference,
    /// transport, name of the SRV record.
    fn service_of<'a>(&self, record: &'a Record) -> Option<(u16, u16, Transport, &'a str)> {
        let Record::Naptr {
            order,
            preference,
            flags,
            service,
            replacement,
        } = record
        else {
            return None;
        };
        let transport = match &*service.to_ascii_uppercase() {
            "SIPS+D2T" => Transport::Tls,
            "SIP+D2U" if !self.target.secure => Transport::Udp,
            "SIP+D2T" if !self.target.secure => Transport::Tcp,
            _ => return None,
        };
        let followed = flags.eq_ignore_ascii_case("s") && is_host(replacement);
        followed.then_some((*order, *preference, transport, &**replacement))
    }

    // ---- RFC 3263 §4.2 ----

    fn ask_srv(&mut self, transport: Transport, name: Option<Box<str>>) {
        if !self.has_listener(transport) {
            return;
        }
        let name = name.unwrap_or_else(|| {
            let service = match transport {
                Transport::Udp => "_sip._udp",
                Transport::Tcp => "_sip._tcp",
                Transport::Tls => "_sips._tcp",
            };
            format!("{service}.{}", self.target.host).into()
        });
        self.steps.push_back(Step::Srv(transport, name));
    }

    fn on_srv(&mut self, transport: Transport, records: &[Record]) {
        let mut servers: Vec<(u16, u16, u16, &str)> = records
            .iter()
            .filter_map(|record| match record {
                Record::Srv {
                    priority,
                    weight,
                    port,
                    target,
                } => Some((*priority, *weight, *port, &**target)),
                _ => None,
            })
            .collect();
        if servers.is_empty() {
            return;
        }
        // There are SRV records: the host itself is not asked (RFC 2782, "Usage rules").
        self.fallback = None;
        // `.` says that the service is not there.
        servers.retain(|(_, _, port, target)| *port > 0 && is_host(target));
        servers.sort_by_key(|(priority, ..)| *priority);
        let mut before = None;
        for (priority, weight, port, target) in servers {
            if before.is_some_and(|before| before != priority) {
                self.next_rank = self.next_rank.saturating_add(1);
            }
            before = Some(priority);
            self.ask_addresses(transport, target, port, (self.next_rank, weight));
        }
        self.next_rank = self.next_rank.saturating_add(1);
    }

    fn server(
        &mut self,
        transport: Transport,
        host: &str,
        port: u16,
        (rank, weight): (u16, u16),
    ) -> Server {
        let number = self.servers;
        self.servers = self.servers.saturating_add(1);
        Server {
            transport,
            host: host.into(),
            port,
            rank,
            weight,
            number,
        }
    }

    /// Both families that a socket of ours has, the one that is listened on first going first.
    fn ask_addresses(
        &mut self,
        transport: Transport,
        host: &str,
        port: u16,
        (rank, weight): (u16, u16),
    ) {
        if usize::from(self.servers) >= MOST_SERVERS {
            self.cut = true;
            return;
        }
        let server = self.server(transport, host, port, (rank, weight));
        let mut families: Vec<bool> = Vec::new();
        for (of, local) in &self.listeners {
            if *of == transport && !families.contains(&local.is_ipv6()) {
                families.push(local.is_ipv6());
            }
        }
        for v6 in families {
            let server = server.clone();
            self.steps.push_back(Step::Addresses { v6, server });
        }
    }

    fn on_addresses(&mut self, v6: bool, server: &Server, records: &[Record]) {
        for record in records {
            if let Record::Address(address) = record
                && address.is_ipv6() == v6
            {
                self.add_hop(*address, server);
            }
        }
    }

    fn add_hop(&mut self, address: IpAddr, server: &Server) {
        if address.is_unspecified() || address.is_multicast() {
            return;
        }
        let listeners = self.listeners.iter();
        let local = listeners
            .filter(|(transport, _)| *transport == server.transport)
            .find(|(_, local)| local.is_ipv6() == address.is_ipv6());
        let Some((transport, local)) = local else {
            return;
        };
        let path = Path {
            transport: *transport,
            local: *local,
            remote: SocketAddr::new(address, server.port),
        };
        if self.hops.iter().any(|hop| hop.path == path) {
            return;
        }
        if self.hops.len() >= MOST_HOPS {
            self.cut = true;
            return;
        }
        self.hops.push(Hop {
            path,
            rank: server.rank,
            weight: server.weight,
            server: server.number,
        });
    }

    fn has_listener(&self, transport: Transport) -> bool {
        self.listeners.iter().any(|(of, _)| *of == transport)
    }
}

const fn default_port(transport: Transport) -> u16 {
    match transport {
        Transport::Udp | Transport::Tcp => 5060,
        Transport::Tls => 5061,
    }
}

/// Whether a name can be asked for; `.` (RFC 2782: no such service) and nothing cannot.
fn is_host(name: &str) -> bool {
    !name.is_empty() && name != "." && name.len() <= 255
}
