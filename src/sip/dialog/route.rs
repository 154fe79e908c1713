//! Route sets (RFC 3261 §12.1, §12.2.1.1) and the next hop (§8.1.2), without DNS: a next hop that
//! is no IP literal is taken to be where the peer's messages come from.

use crate::sip::codec::param;
use crate::sip::message::{Header, Message, NameAddr, Path, Transport, Uri};
use smallvec::SmallVec;
use std::net::{IpAddr, SocketAddr};

/// Most routes of one dialog; a longer set is cut, and its requests go astray as they would have.
const MOST_ROUTES: usize = 16;

/// Default SIP port.
const PORT: u16 = 5060;
/// The same over TLS (RFC 3261 §19.1.2).
const TLS_PORT: u16 = 5061;

/// Route set of a dialog, in the order in which our requests carry it.
#[derive(Debug, Default)]
pub struct RouteSet {
    routes: SmallVec<[Box<str>; 0]>,
    /// The first route is no loose router.
    strict: bool,
}

impl RouteSet {
    /// From a request of the peer: Record-Route in order (§12.1.1).
    #[must_use]
    pub fn of_request(request: &Message) -> Self {
        Self::new(
            request
                .all(Header::RecordRoute)
                .map(Box::from)
                .take(MOST_ROUTES)
                .collect(),
        )
    }

    /// From a response to us: Record-Route in reverse (§12.1.2).
    #[must_use]
    pub fn of_response(response: &Message) -> Self {
        let mut routes: SmallVec<[Box<str>; 0]> = response
            .all(Header::RecordRoute)
            .map(Box::from)
            .take(MOST_ROUTES)
            .collect();
        routes.reverse();
        Self::new(routes)
    }

    fn new(routes: SmallVec<[Box<str>; 0]>) -> Self {
        let strict = routes.first().is_some_and(|route| !is_loose(route));
        Self { routes, strict }
    }

    /// URI of the first route if that is a strict router: it becomes the Request-URI.
    #[must_use]
    pub fn strict(&self) -> Option<&str> {
        let first = self.routes.first().filter(|_| self.strict)?;
        route_uri(first)
    }

    /// Route values for a request to `target`.
    pub fn values<'a>(&'a self, target: &'a str) -> impl Iterator<Item = String> + 'a {
        let skipped = usize::from(self.strict);
        let last = self.strict.then(|| format!("<{target}>"));
        self.routes
            .iter()
            .skip(skipped)
            .map(|route| route.to_string())
            .chain(last)
    }

    /// The routes as the peer wrote them.
    pub fn raw(&self) -> impl Iterator<Item = &str> {
        self.routes.iter().map(|route| &**route)
    }

    /// Where a request to `target` goes: the first route, else the target itself, where that is
    /// an IP literal of the same family as our socket; else `path` as it is.
    #[must_use]
    pub fn next_hop(&self, target: &str, path: Path) -> Path {
        let uri = match self.routes.first() {
            Some(route) => route_uri(route),
            None => Some(target),
        };
        let literal = uri.and_then(Uri::parse).and_then(|uri| {
            let address = uri.host.parse::<IpAddr>().ok()?;
            let transport = transport(&uri, path.transport);
            let default = if transport == Transport::Tls {
                TLS_PORT
            } else {
                PORT
            };
            let remote = SocketAddr::new(address, uri.port.unwrap_or(default));
            Some((remote, transport))
        });
        match literal {
            Some((remote, transport))
                if remote.is_ipv4() == path.local.is_ipv4()
                    && !remote.ip().is_unspecified()
                    && remote.port() != 0 =>
            {
                Path {
                    remote,
                    transport,
                    ..path
                }
            }
            _ => path,
        }
    }
}

/// The transport that a URI asks for; where it says nothing, the one that the dialog has: peers
/// leave it out.
fn transport(uri: &Uri<'_>, as_before: Transport) -> Transport {
    let asked = param(uri.params, "transport").unwrap_or_default();
    if uri.scheme.eq_ignore_ascii_case("sips") || asked.eq_ignore_ascii_case("tls") {
        Transport::Tls
    } else if asked.eq_ignore_ascii_case("tcp") {
        Transport::Tcp
    } else if asked.eq_ignore_ascii_case("udp") {
        Transport::Udp
    } else {
        as_before
    }
}

fn route_uri(route: &str) -> Option<&str> {
    NameAddr::parse(route).map(|route| route.uri)
}

/// Whether a route's URI has the `lr` parameter (with or without a value: `;lr=on` is seen).
fn is_loose(route: &str) -> bool {
    let Some(uri) = route_uri(route).and_then(Uri::parse) else {
        return true; // unreadable: the rules of today are the better guess
    };
    uri.params.split(';').any(|parameter| {
        let name = parameter.split('=').next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case("lr")
    })
}
