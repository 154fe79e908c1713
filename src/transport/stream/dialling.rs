//! Where a message goes whose connection is gone, and how soon a place is tried again.

use crate::sip::codec;
use crate::sip::message::{NameAddr, Path, Transport, Uri};
use hashbrown::HashMap;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Pause after the first failure; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// Places that are remembered as failed.
const MOST_PLACES: usize = 1024;

/// Where to connect for a message whose path has no connection. A response goes to the port of the
/// request's sent-by (RFC 3261 §18.2.2), a request to the port that its next hop names: the far end
/// of a connection that the peer made listens to nobody. The address stays the path's.
pub(super) fn destination(message: &[u8], path: Path) -> SocketAddr {
    let address = path.remote.ip();
    let port = if message.starts_with(b"SIP/2.0 ") {
        let default = default_port(path.transport);
        codec::top_via(message).map(|via| via.port.unwrap_or(default))
    } else {
        next_hop(message, path)
    };
    SocketAddr::new(
        address,
        port.filter(|port| *port != 0).unwrap_or(path.remote.port()),
    )
}

/// Port of a request's first Route, or of its Request-URI, where that names the address itself.
fn next_hop(message: &[u8], path: Path) -> Option<u16> {
    const ROUTE: &[u8] = b"\r\nRoute: ";
    let head = message.get(..memchr::memmem::find(message, b"\r\n\r\n")?)?;
    let route = memchr::memmem::find(head, ROUTE).and_then(|at| head.get(at + ROUTE.len()..));
    let text = match route {
        Some(value) => std::str::from_utf8(value.split(|byte| *byte == b'\r').next()?).ok()?,
        None => std::str::from_utf8(head.split(|byte| *byte == b' ').nth(1)?).ok()?,
    };
    let uri = match route {
        Some(_) => NameAddr::parse(text)?.uri,
        None => text,
    };
    let uri = Uri::parse(uri)?;
    let named: IpAddr = uri.host.parse().ok()?;
    let same = named.to_canonical() == path.remote.ip().to_canonical();
    same.then(|| uri.port.unwrap_or(default_port(path.transport)))
}

fn default_port(transport: Transport) -> u16 {
    match transport {
        Transport::Tls => 5061,
        Transport::Udp | Transport::Tcp => 5060,
    }
}

/// Begins a connection. It is made when its socket can be written to.
pub(super) fn connect(from: SocketAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if !from.ip().is_unspecified() && from.is_ipv4() == to.is_ipv4() {
        // The peer lists the address that it was told of.
        socket.bind(&SockAddr::from(from))?;
    }
    match socket.connect(&SockAddr::from(to)) {
        Ok(()) => {}
        Err(error)
            if error.kind() == io::ErrorKind::WouldBlock
                || error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    Ok(socket.into())
}

/// Places that could not be reached.
#[derive(Debug, Default)]
pub(super) struct Backoffs {
    places: HashMap<SocketAddr, (Instant, Duration)>,
}

impl Backoffs {
    /// Whether a place is not to be tried yet.
    pub(super) fn forbid(&self, place: SocketAddr, now: Instant) -> bool {
        self.places
            .get(&place)
            .is_some_and(|(until, _)| now < *until)
    }

    /// A place could not be reached.
    pub(super) fn failed(&mut self, place: SocketAddr, now: Instant) {
        if self.places.len() >= MOST_PLACES {
            self.places.retain(|_, (until, _)| *until > now);
        }
        if self.places.len() >= MOST_PLACES && !self.places.contains_key(&place) {
            return;
        }
        let before = self.places.get(&place).map(|(_, pause)| *pause);
        let pause = before.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE));
        self.places.insert(place, (now + pause, pause));
    }

    /// A place was reached.
    pub(super) fn succeeded(&mut self, place: SocketAddr) {
        self.places.remove(&place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(remote: &str) -> Path {
        Path {
            transport: Transport::Tcp,
            local: "192.0.2.1:5060".parse().unwrap(),
            remote: remote.parse().unwrap(),
        }
    }

    fn goes(message: &str, remote: &str) -> String {
        destination(message.as_bytes(), path(remote)).to_string()
    }

    #[test]
    fn a_response_goes_to_the_port_of_sent_by() {
        let to = |via: &str| {
            let text = format!("SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP {via};branch=z9hG4bKa\r\n\r\n");
            goes(&text, "192.0.2.9:40000")
        };
        assert_eq!(to("192.0.2.9:5070"), "192.0.2.9:5070");
        assert_eq!(to("pbx.example"), "192.0.2.9:5060");
        // Not to whom the sender names instead of itself.
        assert_eq!(to("192.0.2.66:5070"), "192.0.2.9:5070");
    }

    #[test]
    fn a_request_goes_to_where_its_next_hop_listens() {
        let to = |line: &str, more: &str| {
            let text = format!("BYE {line} SIP/2.0\r\nVia: x\r\n{more}\r\n");
            goes(&text, "192.0.2.9:40000")
        };
        assert_eq!(
            to("sip:a@192.0.2.9:5070;transport=tcp", ""),
            "192.0.2.9:5070"
        );
        assert_eq!(to("sip:a@192.0.2.9", ""), "192.0.2.9:5060");
        assert_eq!(to("sip:a@pbx.example", ""), "192.0.2.9:40000");
        assert_eq!(
            to("sip:a@192.0.2.9:1", "Route: <sip:192.0.2.9:5080;lr>\r\n"),
            "192.0.2.9:5080"
        );
        assert_eq!(to("sip:a@192.0.2.66:1", ""), "192.0.2.9:40000");
    }

    #[test]
    fn pauses_double_up_to_a_bound_and_end_with_success() {
        let (mut backoffs, place) = (Backoffs::default(), "192.0.2.9:5060".parse().unwrap());
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            backoffs.failed(place, now);
            let begun = now;
            while backoffs.forbid(place, now) {
                now += Duration::from_millis(50);
            }
            pauses.push((now - begun).as_millis());
        }
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 8000, 8000, 8000]);
        backoffs.failed(place, now);
        backoffs.succeeded(place);
        assert!(!backoffs.forbid(place, now));
    }
}
