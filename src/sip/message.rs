//! SIP messages as this gateway sees them: a checked view of the bytes that came, and a writer for
//! those that go.

use bytes::{Bytes, BytesMut};
use std::fmt;
use std::net::SocketAddr;

/// Request methods (RFC 3261 and those that extend it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Method {
    Invite,
    Ack,
    Cancel,
    Bye,
    Options,
    Info,
    Prack,
    Update,
    Refer,
    Register,
    Message,
    Subscribe,
    Notify,
    Publish,
    /// Any other token.
    Other,
}

/// Header fields that the gateway reads or writes by name; everything else is `Other` and never
/// passes from one leg to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Header {
    Via,
    From,
    To,
    CallId,
    CSeq,
    Contact,
    MaxForwards,
    Route,
    RecordRoute,
    Require,
    ProxyRequire,
    Supported,
    Unsupported,
    Allow,
    Accept,
    ContentType,
    ContentLength,
    ContentEncoding,
    Reason,
    RetryAfter,
    PAssertedIdentity,
    PEarlyMedia,
    Privacy,
    Expires,
    SessionExpires,
    MinSe,
    RSeq,
    RAck,
    WwwAuthenticate,
    Authorization,
    ProxyAuthenticate,
    ProxyAuthorization,
    Warning,
    UserAgent,
    Server,
    Replaces,
    Join,
    Identity,
    Other,
}

/// Transport protocols of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

/// Where a message came from or goes to: one of our sockets and the address at its other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    /// Protocol.
    pub transport: Transport,
    /// Our address.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
}

/// A parsed `Via` value (RFC 3261 §20.42).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    /// Transport token as written.
    pub transport: &'a str,
    /// sent-by host, without brackets.
    pub host: &'a str,
    /// sent-by port.
    pub port: Option<u16>,
    /// branch parameter.
    pub branch: Option<&'a str>,
    /// Whether `rport` is there (RFC 3581).
    pub rport: bool,
    /// received parameter.
    pub received: Option<&'a str>,
}

/// A parsed name-addr or addr-spec with its header parameters (From, To, Contact, Route, ...).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// Display name as written, with its quotes and escapes; empty if none.
    pub display: &'a str,
    /// The URI inside `<>`, or up to the first `;` where there are none.
    pub uri: &'a str,
    /// Header parameters with their leading `;`; empty if none.
    pub params: &'a str,
}

/// A parsed `sip:`, `sips:` or `tel:` URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uri<'a> {
    /// Lower case: `sip`, `sips`, `tel`.
    pub scheme: &'a str,
    /// User part (without password) or the `tel` number, not decoded; empty if none.
    pub user: &'a str,
    /// Host without brackets; empty for `tel`.
    pub host: &'a str,
    /// Port.
    pub port: Option<u16>,
    /// URI parameters with their leading `;`.
    pub params: &'a str,
}

/// A message that passed the framer: mandatory headers are there, once, and well formed; no bare
/// CR, LF or NUL anywhere in the head; Content-Length agrees. Reading is without copies.
///
/// Owned by [`super::codec`]: only the codec makes one.
#[derive(Clone)]
pub struct Message {
    pub(super) head: super::codec::Head,
    pub(super) body: Bytes,
}

impl Message {
    /// Method of a request; of a response, the CSeq's method.
    #[must_use]
    pub fn method(&self) -> Method {
        self.head.method()
    }

    /// Status of a response, `None` for a request.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.head.status()
    }

    /// Request-URI of a request, empty for a response.
    #[must_use]
    pub fn uri(&self) -> &str {
        self.head.uri()
    }

    /// First value of a header (unfolded, trimmed), as written. Comma-joined values of Via, Route,
    /// Record-Route, Contact, Require, Supported, ... count one by one.
    #[must_use]
    pub fn get(&self, name: Header) -> Option<&str> {
        self.all(name).next()
    }

    /// All values of a header in order.
    pub fn all(&self, name: Header) -> impl Iterator<Item = &str> {
        self.head.all(name)
    }

    /// Call-ID.
    #[must_use]
    pub fn call_id(&self) -> &str {
        self.get(Header::CallId).unwrap_or_default()
    }

    /// CSeq number.
    #[must_use]
    pub fn cseq(&self) -> u32 {
        self.head.cseq()
    }

    /// Topmost Via.
    #[must_use]
    pub fn top_via(&self) -> Via<'_> {
        self.head.top_via()
    }

    /// From's tag, empty if none (RFC 2543 peers).
    #[must_use]
    pub fn from_tag(&self) -> &str {
        self.head.from_tag()
    }

    /// To's tag, empty if none.
    #[must_use]
    pub fn to_tag(&self) -> &str {
        self.head.to_tag()
    }

    /// The body, whole, as it came.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}

impl fmt::Debug for Message {
    /// Start line's essence only: no number reaches a log by this way.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status() {
            Some(status) => write!(f, "{status} to {:?} {}", self.method(), self.cseq()),
            None => write!(f, "{:?} {}", self.method(), self.cseq()),
        }
    }
}

/// Writes one message ([`super::codec`] has its methods). Values are checked: at a CR, LF or NUL in
/// one, it and the rest of it are left out ([`Writer::is_cut`]), so that nobody's data becomes a
/// header of ours.
#[derive(Debug)]
pub struct Writer {
    pub(super) buffer: BytesMut,
    pub(super) cut: bool,
}
