//! Our listening sockets of each transport: what Via and Contact name, and which of them a message
//! leaves by when a peer's Contact asks for another transport than the dialog began with.

use super::core::Core;
use super::settings::{Settings, Target};
use crate::sip::message::{Header, Path, Transport, Writer};
use std::borrow::Cow;
use std::net::SocketAddr;

/// Longest request that goes by UDP where TCP is there as well (RFC 3261 §18.1.1: within 200 bytes
/// of an Ethernet's MTU, or not known).
pub(super) const LONGEST_BY_UDP: usize = 1300;

/// A listening socket for streams.
#[derive(Clone, Debug)]
pub struct Listening {
    /// TCP or TLS.
    pub transport: Transport,
    /// Its address.
    pub local: SocketAddr,
    /// Host and port that Via and Contact name there (`sip.advertised`).
    pub advertised: Box<str>,
}

impl Settings {
    /// A listening address of ours for a transport and an address family.
    fn listening(&self, transport: Transport, like: SocketAddr) -> Option<SocketAddr> {
        if transport == Transport::Udp {
            let mut udp = self.advertised.iter().map(|(local, _)| *local);
            return udp.find(|local| local.is_ipv4() == like.is_ipv4());
        }
        let fits =
            |one: &&Listening| one.transport == transport && one.local.is_ipv4() == like.is_ipv4();
        self.streams.iter().find(fits).map(|one| one.local)
    }

    /// The same way by TCP, where we have a socket for that.
    pub(super) fn by_tcp(&self, path: Path) -> Option<Path> {
        self.listening(Transport::Tcp, path.remote)
            .map(|local| Path {
                transport: Transport::Tcp,
                local,
                ..path
            })
    }

    /// Whether a path begins at a socket of ours.
    fn begins_here(&self, path: Path) -> bool {
        match path.transport {
            Transport::Udp => self
                .advertised
                .iter()
                .any(|(local, _)| *local == path.local),
            transport => self
                .streams
                .iter()
                .any(|one| one.transport == transport && one.local == path.local),
        }
    }

    /// The same path from a socket that is there: of its transport, or of the one that we have.
    pub(super) fn settle(&self, path: Path) -> Path {
        if self.begins_here(path) {
            return path;
        }
        let ours = [
            path.transport,
            Transport::Udp,
            Transport::Tcp,
            Transport::Tls,
        ]
        .into_iter()
        .find_map(|transport| Some((transport, self.listening(transport, path.remote)?)));
        match ours {
            Some((transport, local)) => Path {
                transport,
                local,
                ..path
            },
            None => path,
        }
    }
}

impl Target {
    /// URI of somebody there, or of the place itself, by this transport.
    pub(super) fn uri(&self, user: Option<&str>, transport: Transport) -> String {
        let transport = match (self.secure, transport) {
            (true, _) | (false, Transport::Udp) => "",
            (false, Transport::Tcp) => ";transport=tcp",
            (false, Transport::Tls) => ";transport=tls",
        };
        format!("{}{transport}", self.name(user))
    }

    /// The same without its transport: From and To have none (RFC 3261 §19.1.1).
    pub(super) fn name(&self, user: Option<&str>) -> String {
        let scheme = if self.secure { "sips" } else { "sip" };
        match user {
            Some(user) => format!("{scheme}:{user}@{}", self.host),
            None => format!("{scheme}:{}", self.host),
        }
    }
}

impl Core {
    /// Host and port that Via and Contact name for the socket that a path begins at.
    pub(super) fn named(&self, path: Path) -> Cow<'_, str> {
        if path.transport == Transport::Udp {
            return self.advertised(path.local);
        }
        let is_it = |one: &&Listening| one.transport == path.transport && one.local == path.local;
        let found = self.settings.streams.iter().find(is_it);
        found.map_or_else(
            || path.local.to_string().into(),
            |one| (&*one.advertised).into(),
        )
    }

    /// The same host without its port: domain of From and P-Asserted-Identity.
    pub(super) fn domain(&self, path: Path) -> String {
        super::core::without_port(&self.named(path)).to_owned()
    }
}

/// Transport as Via has it (RFC 3261 §20.42).
pub(super) const fn via_token(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "UDP",
        Transport::Tcp => "TCP",
        Transport::Tls => "TLS",
    }
}

/// Adds our Contact. A SIPS request has a SIPS Contact (RFC 5630 §5.1.1), any other over TLS a SIP
/// URI that says so.
pub(super) fn contact(core: &Core, writer: &mut Writer, path: Path, secure: bool) {
    let path = core.settings.settle(path);
    let host = core.named(path);
    let value = match (secure, path.transport) {
        (true, _) => format!("<sips:{host}>"),
        (false, Transport::Udp) => format!("<sip:{host}>"),
        (false, Transport::Tcp) => format!("<sip:{host};transport=tcp>"),
        (false, Transport::Tls) => format!("<sip:{host};transport=tls>"),
    };
    writer.header(Header::Contact, &value);
}

/// Whether a URI is a SIPS one.
pub(super) fn is_secure(uri: &str) -> bool {
    uri.get(..5)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("sips:"))
}
