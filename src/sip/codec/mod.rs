//! Bytes to messages and back.
//!
//! The parser is our own: a bounded framer ([`framing`](self)) over the received buffer, which
//! nothing is copied out of, then an index of the header fields that the gateway knows by name.
//! What has passed it is a [`Message`]: mandatory headers there, once and well formed, compact
//! names understood, folded lines unfolded, comma-joined values split, Content-Length true.
//!
//! # What rsip is used for
//!
//! [`rsip`] gives the typed vocabulary for slow paths: [`typed`] turns a message that has passed
//! the framer into an [`rsip::SipMessage`], and it is the second opinion that the tests hold this
//! parser against. It never sees bytes from outside, because version 0.4
//!
//! * reads bodies as lossy UTF-8 and ignores Content-Length,
//! * does not know compact header names,
//! * drops the second value of a comma-joined Via,
//! * misreads a quoted display name that holds `<` (so another identity than the sender's),
//! * does not see `;lr=on` as `lr`,
//! * lets CR, LF and NUL through in values,
//! * and takes longer for one message than this gateway has for a whole one.
//!
//! [`typed`] rewrites the head in canonical form first, which keeps clear of all but the last.
//! rsip is named in this module alone.

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

mod address;
mod framing;
mod glance;
mod names;
mod refusal;
mod stream;
mod typed;
mod via;
mod writer;

#[cfg(test)]
mod tests;

pub use address::{param, percent_decode};
pub use framing::{MAX_DATAGRAM, MAX_HEADERS, MAX_LINE};
pub use glance::{Asked, Glance, asked, glance};
pub use names::phrase;
pub use refusal::{Fault, ParseError, Peek, first_line_peek, is_answerable, refuse};
pub use stream::{Part, Stream};
pub use typed::typed;
pub use via::{reply_path, top_via};
pub use writer::ack_for;

use super::message::{Header, Message, Method, Uri, Via};
use bytes::Bytes;
use framing::{Frame, Span};
use smallvec::SmallVec;

/// Header field values that a message may have after comma-joined ones are split.
const MAX_VALUES: usize = 256;

/// Parses one datagram (RFC 3261 §7, §18.3).
///
/// # Errors
/// The first fault found, with what is needed to answer it ([`ParseError::response`]).
pub fn parse(datagram: Bytes) -> Result<Message, ParseError> {
    match framing::frame(&datagram).and_then(|frame| check(&datagram, frame)) {
        Ok(message) => Ok(message),
        Err(fault) => Err(ParseError::new(fault, datagram)),
    }
}

/// Head of a message: the buffer and where things are in it.
#[derive(Clone)]
pub struct Head {
    bytes: Bytes,
    fields: SmallVec<[Field; 28]>,
    start: StartLine,
    method: Method,
    cseq: u32,
    via: TopVia,
    from_tag: Span,
    to_tag: Span,
}

/// One header field value.
#[derive(Clone, Copy)]
struct Field {
    name: Header,
    value: Span,
}

#[derive(Clone, Copy)]
enum StartLine {
    Request { uri: Span },
    Response { status: u16 },
}

/// Where the parts of the topmost Via are.
#[derive(Clone, Copy, Default)]
struct TopVia {
    transport: Span,
    host: Span,
    port: Option<u16>,
    branch: Option<Span>,
    rport: bool,
    received: Option<Span>,
}

// `from_tag` is the tag of From.
#[allow(clippy::wrong_self_convention)]
impl Head {
    pub(super) fn method(&self) -> Method {
        self.method
    }
    pub(super) fn status(&self) -> Option<u16> {
        match self.start {
            StartLine::Response { status } => Some(status),
            StartLine::Request { .. } => None,
        }
    }
    pub(super) fn uri(&self) -> &str {
        match self.start {
            StartLine::Request { uri } => self.text(uri),
            StartLine::Response { .. } => "",
        }
    }
    pub(super) fn cseq(&self) -> u32 {
        self.cseq
    }
    pub(super) fn all(&self, name: Header) -> impl Iterator<Item = &str> {
        self.fields
            .iter()
            .filter(move |field| field.name == name)
            .map(|field| self.text(field.value))
    }
    pub(super) fn top_via(&self) -> Via<'_> {
        let via = &self.via;
        Via {
            transport: self.text(via.transport),
            host: self.text(via.host),
            port: via.port,
            branch: via.branch.map(|span| self.text(span)),
            rport: via.rport,
            received: via.received.map(|span| self.text(span)),
        }
    }
    pub(super) fn from_tag(&self) -> &str {
        self.text(self.from_tag)
    }
    pub(super) fn to_tag(&self) -> &str {
        self.text(self.to_tag)
    }

    /// Every field with its name, in order.
    fn each(&self) -> impl Iterator<Item = (Header, &str)> {
        self.fields
            .iter()
            .map(|field| (field.name, self.text(field.value)))
    }

    /// Text at a span. The whole head was checked to be UTF-8, and spans end at ASCII characters.
    fn text(&self, span: Span) -> &str {
        self.bytes
            .get(span.range())
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .unwrap_or_default()
    }
}

/// Indexes and checks a framed head.
fn check(datagram: &Bytes, frame: Frame) -> Result<Message, Fault> {
    let text = std::str::from_utf8(&frame.head).map_err(|_| Fault::HeaderLine)?;
    let (start_line, lines) = frame.lines.split_first().ok_or(Fault::StartLine)?;
    let start = start_line_of(text, *start_line)?;
    let fields = index(text, lines)?;
    let find = |name| single(text, &fields, name);

    let (cseq, cseq_method) =
        cseq_of(required(find(Header::CSeq)?, Header::CSeq)?).ok_or(malformed(Header::CSeq))?;
    let method = match start {
        Start::Request { method, .. } if method != cseq_method => {
            return Err(malformed(Header::CSeq));
        }
        Start::Request { .. } | Start::Response { .. } => names::method(cseq_method),
    };
    let call_id = required(find(Header::CallId)?, Header::CallId)?;
    if !call_id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(malformed(Header::CallId));
    }
    let (from, to) = (find(Header::From)?, find(Header::To)?);
    let from_tag = tag_of(text, from, Header::From)?;
    let to_tag = tag_of(text, to, Header::To)?;
    check_max_forwards(&start, method, find(Header::MaxForwards)?)?;
    // RFC 3261 §8.1.1.3. Without it two requests of one Call-ID could not be told apart.
    if matches!(start, Start::Request { .. }) && from_tag.range().is_empty() {
        return Err(malformed(Header::From));
    }
    find(Header::ContentType)?;
    let body = body_of(datagram, frame.body_start, find(Header::ContentLength)?)?;
    let via = top_via_of(text, &fields)?;
    let start = match start {
        Start::Request { uri, .. } => {
            check_request_uri(uri)?;
            StartLine::Request {
                uri: Span::of(text, uri),
            }
        }
        Start::Response { status } => StartLine::Response { status },
    };
    let bytes = match &frame.original {
        Some(original) => {
            let displayed = [from, to].map(|value| Span::of(text, value.unwrap_or_default()));
            framing::readable(&frame.head, original, displayed)
        }
        None => frame.head,
    };
    Ok(Message {
        head: Head {
            bytes,
            fields,
            start,
            method,
            cseq,
            via,
            from_tag,
            to_tag,
        },
        body,
    })
}

/// A start line's parts.
enum Start<'a> {
    Request { method: &'a str, uri: &'a str },
    Response { status: u16 },
}

/// RFC 3261 §7.1, §7.2. Single spaces, as the grammar has it.
fn start_line_of(text: &str, span: Span) -> Result<Start<'_>, Fault> {
    let line = text.get(span.range()).ok_or(Fault::StartLine)?;
    let mut parts = line.splitn(3, ' ');
    let (first, second) = (
        parts.next().unwrap_or_default(),
        parts.next().ok_or(Fault::StartLine)?,
    );
    let third = parts.next();
    let is_response = first
        .get(..4)
        .is_some_and(|start| start.eq_ignore_ascii_case("SIP/"));
    if is_response {
        check_version(first)?;
        let status = match second.as_bytes() {
            [b'1'..=b'6', b'0'..=b'9', b'0'..=b'9'] => second.parse().ok(),
            _ => None,
        };
        return status
            .map(|status| Start::Response { status })
            .ok_or(Fault::StartLine);
    }
    let version = third.ok_or(Fault::StartLine)?;
    if !names::is_token(first) || second.is_empty() || version.contains(' ') {
        return Err(Fault::StartLine);
    }
    check_version(version)?;
    Ok(Start::Request {
        method: first,
        uri: second,
    })
}

/// RFC 3261 §7.1: the version string is case-insensitive.
fn check_version(version: &str) -> Result<(), Fault> {
    if version.eq_ignore_ascii_case("SIP/2.0") {
        return Ok(());
    }
    let numbers = version
        .get(4..)
        .filter(|_| {
            version
                .get(..4)
                .is_some_and(|sip| sip.eq_ignore_ascii_case("SIP/"))
        })
        .and_then(|numbers| numbers.split_once('.'));
    match numbers {
        Some((major, minor)) if is_digits(major) && is_digits(minor) => Err(Fault::Version),
        _ => Err(Fault::StartLine),
    }
}

/// Schemes that the gateway speaks must be well formed; any other is the user agent's to refuse
/// (416), if it looks like a URI at all.
fn check_request_uri(uri: &str) -> Result<(), Fault> {
    let scheme = uri
        .split_once(':')
        .map(|(scheme, _)| scheme)
        .ok_or(Fault::RequestUri)?;
    let ours = ["sip", "sips", "tel"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known));
    let plain = uri
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'"'));
    // RFC 3261 §19.1.1: a Request-URI has no headers. What one reader drops another would add.
    // (A user part may hold a question mark.)
    let place = uri.rsplit('@').next().unwrap_or_default();
    let sound = !ours || (Uri::parse(uri).is_some() && !place.contains('?'));
    if !plain || !names::is_token(scheme) || !sound {
        return Err(Fault::RequestUri);
    }
    Ok(())
}

/// Index of the known header fields of `lines`, comma-joined values one by one.
fn index(text: &str, lines: &[Span]) -> Result<SmallVec<[Field; 28]>, Fault> {
    let mut fields = SmallVec::new();
    for line in lines {
        let line = text.get(line.range()).ok_or(Fault::HeaderLine)?;
        let (name, value) = line.split_once(':').ok_or(Fault::HeaderLine)?;
        let name = name.trim_end_matches([' ', '\t']);
        let name = match names::header(name) {
            Header::Other if names::is_token(name) => continue,
            Header::Other => return Err(Fault::HeaderLine),
            known => known,
        };
        let value = address::trim(value);
        if names::is_list(name) {
            index_list(text, name, value, &mut fields)?;
        } else {
            push(text, name, value, &mut fields)?;
        }
    }
    Ok(fields)
}

/// Adds the elements of a comma-joined value. Empty ones are passed over (RFC 3261 §25.1 does not
/// have them) but in Via, where a mistake would send a response astray.
fn index_list(
    text: &str,
    name: Header,
    value: &str,
    fields: &mut SmallVec<[Field; 28]>,
) -> Result<(), Fault> {
    for element in address::elements(value) {
        if !element.is_empty() {
            push(text, name, element, fields)?;
        } else if name == Header::Via {
            return Err(malformed(Header::Via));
        }
    }
    Ok(())
}

fn push(
    text: &str,
    name: Header,
    value: &str,
    fields: &mut SmallVec<[Field; 28]>,
) -> Result<(), Fault> {
    if fields.len() >= MAX_VALUES {
        return Err(Fault::TooManyHeaders);
    }
    fields.push(Field {
        name,
        value: Span::of(text, value),
    });
    Ok(())
}

/// The only value of a header that may stand once.
fn single<'a>(text: &'a str, fields: &[Field], name: Header) -> Result<Option<&'a str>, Fault> {
    let mut found = fields.iter().filter(|field| field.name == name);
    let first = found.next();
    if found.next().is_some() {
        return Err(Fault::Repeated(name));
    }
    Ok(first.and_then(|field| text.get(field.value.range())))
}

fn required(value: Option<&str>, name: Header) -> Result<&str, Fault> {
    match value {
        None => Err(Fault::Missing(name)),
        Some("") => Err(malformed(name)),
        Some(value) => Ok(value),
    }
}

/// RFC 3261 §8.1.1.5: under 2^31; a request's number of 2^31 and more is refused (RFC 4475
/// §3.1.2.4), and so is a response's.
fn cseq_of(value: &str) -> Option<(u32, &str)> {
    let (number, method) = value.split_once([' ', '\t'])?;
    let method = address::trim(method);
    if !is_digits(number) || !names::is_token(method) {
        return None;
    }
    let number: u32 = number.parse().ok()?;
    (number <= i32::MAX.unsigned_abs()).then_some((number, method))
}

/// Tag of From or To; an empty span where there is none (RFC 2543).
fn tag_of(text: &str, value: Option<&str>, name: Header) -> Result<Span, Fault> {
    let value = required(value, name)?;
    let parsed = super::message::NameAddr::parse(value).ok_or(malformed(name))?;
    // Two tags would be two dialogs to two readers.
    match address::only_param(parsed.params, "tag") {
        Ok(None) => Ok(Span::default()),
        Ok(Some(tag)) if names::is_token(tag) => Ok(Span::of(text, tag)),
        _ => Err(malformed(name)),
    }
}

/// Max-Forwards: 0 to 255 (RFC 3261 §20.22). A request must have one (§8.1.1), whatever a proxy
/// would make of its absence (§16.6). Nobody could be told of an ACK's, so that is read without; so are
/// BYE and CANCEL, which end what would go on, and cost, for the want of a header.
fn check_max_forwards(
    start: &Start<'_>,
    method: Method,
    max_forwards: Option<&str>,
) -> Result<(), Fault> {
    match max_forwards {
        None if matches!(start, Start::Request { .. })
            && !matches!(method, Method::Ack | Method::Bye | Method::Cancel) =>
        {
            Err(Fault::Missing(Header::MaxForwards))
        }
        Some(value) if !is_digits(value) || value.parse::<u8>().is_err() => {
            Err(malformed(Header::MaxForwards))
        }
        _ => Ok(()),
    }
}

/// The body by Content-Length (RFC 3261 §18.3): absent, it is the rest of the datagram; smaller,
/// the surplus is cut off; larger, the message is refused.
fn body_of(datagram: &Bytes, start: usize, length: Option<&str>) -> Result<Bytes, Fault> {
    let available = datagram.len().saturating_sub(start);
    let length = match length {
        None => available,
        Some(digits) if is_digits(digits) && digits.len() <= 10 => digits
            .parse()
            .ok()
            .filter(|length| *length <= available)
            .ok_or(malformed(Header::ContentLength))?,
        Some(_) => return Err(malformed(Header::ContentLength)),
    };
    if length == 0 {
        return Ok(Bytes::new());
    }
    Ok(datagram.slice(start..start.saturating_add(length)))
}

fn top_via_of(text: &str, fields: &[Field]) -> Result<TopVia, Fault> {
    let top = fields
        .iter()
        .find(|field| field.name == Header::Via)
        .and_then(|field| text.get(field.value.range()))
        .ok_or(Fault::Missing(Header::Via))?;
    let via = Via::parse(top).ok_or(malformed(Header::Via))?;
    // They are sent back as they came, or the response finds nobody.
    let mended = char::from(framing::MENDED);
    let mut vias = fields.iter().filter(|field| field.name == Header::Via);
    if vias.any(|via| {
        text.get(via.value.range())
            .is_some_and(|via| via.contains(mended))
    }) {
        return Err(malformed(Header::Via));
    }
    Ok(TopVia {
        transport: Span::of(text, via.transport),
        host: Span::of(text, via.host),
        port: via.port,
        branch: via.branch.map(|part| Span::of(text, part)),
        rport: via.rport,
        received: via.received.map(|part| Span::of(text, part)),
    })
}

const fn malformed(name: Header) -> Fault {
    Fault::Malformed(name)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
