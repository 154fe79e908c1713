//! What is said of a message that is not read: cheap looks at the first line, the fault, and the
//! answer that names it.

use super::address::{elements, trim};
use super::framing::{MAX_HEADERS, MAX_LINE, leading_blank};
use super::{names, via};
use crate::sip::message::{Header, Method, Path, Via, Writer};
use bytes::Bytes;
use std::borrow::Cow;
use std::fmt;

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing but line ends: a keep-alive.
    Keepalive,
    /// Longer than [`super::MAX_DATAGRAM`].
    TooLong,
    /// More header lines than [`super::MAX_HEADERS`], or values than they may hold.
    TooManyHeaders,
    /// A line longer than [`super::MAX_LINE`].
    LineTooLong,
    /// The empty line after the head is missing.
    Truncated,
    /// A CR or LF by itself, or a NUL.
    ControlCharacter,
    /// The start line.
    StartLine,
    /// Not SIP/2.0.
    Version,
    /// The Request-URI.
    RequestUri,
    /// A line that is no `name: value`.
    HeaderLine,
    /// A mandatory header is missing.
    Missing(Header),
    /// A header that may stand once stands more than once.
    Repeated(Header),
    /// A header's value is not what its grammar says.
    Malformed(Header),
}

/// The reason phrase that names the fault.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keepalive => "Empty Message",
            Self::TooLong => "Message Too Long",
            Self::TooManyHeaders => "Too Many Headers",
            Self::LineTooLong => "Header Line Too Long",
            Self::Truncated => "Incomplete Message",
            Self::ControlCharacter => "Control Character in Header",
            Self::StartLine => "Malformed Start Line",
            Self::Version => "Version Not Supported",
            Self::RequestUri => "Malformed Request-URI",
            Self::HeaderLine => "Malformed Header Line",
            Self::Missing(name) => return write!(f, "Missing {} Header", name.as_str()),
            Self::Repeated(name) => return write!(f, "Repeated {} Header", name.as_str()),
            Self::Malformed(name) => return write!(f, "Malformed {} Header", name.as_str()),
        })
    }
}

/// A message that could not be read, kept for the answer.
#[derive(Clone)]
pub struct ParseError {
    fault: Fault,
    datagram: Bytes,
}

impl ParseError {
    pub(super) fn new(fault: Fault, datagram: Bytes) -> Self {
        Self { fault, datagram }
    }

    /// What is wrong.
    #[must_use]
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// 505 for another version of SIP (RFC 3261 §21.5.6), else 400.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self.fault {
            Fault::Version => 505,
            _ => 400,
        }
    }

    /// Reason phrase that names the fault (sip-bridging 2).
    #[must_use]
    pub fn reason_phrase(&self) -> String {
        self.fault.to_string()
    }

    /// What the first line says it was.
    #[must_use]
    pub fn peek(&self) -> Peek {
        first_line_peek(&self.datagram)
    }

    /// Whether it is answered: a request, and no ACK.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.peek().is_answered()
    }

    /// The answer and where it goes; `None` where there is none to be given.
    #[must_use]
    pub fn response(&self, to_tag: &str, received: Path) -> Option<(Bytes, Path)> {
        refuse(
            &self.datagram,
            self.status(),
            &self.reason_phrase(),
            &[],
            to_tag,
            received,
        )
    }
}

impl fmt::Debug for ParseError {
    /// Without the message: it may hold numbers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ParseError({:?}, {:?})", self.fault, self.peek())
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.fmt(f)
    }
}

impl std::error::Error for ParseError {}

/// What a first line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peek {
    /// A request.
    Request(Method),
    /// A response.
    Response,
    /// Nothing but line ends.
    Keepalive,
    /// No SIP.
    Garbage,
}

impl Peek {
    /// Whether an error answer may be given: to requests other than ACK.
    #[must_use]
    pub fn is_answered(self) -> bool {
        matches!(self, Self::Request(method) if method != Method::Ack)
    }
}

/// Looks at the first line alone: enough to shed load before parsing (sip-bridging 2).
#[must_use]
pub fn first_line_peek(datagram: &[u8]) -> Peek {
    let bytes = datagram.get(leading_blank(datagram)..).unwrap_or_default();
    if bytes.is_empty() {
        return Peek::Keepalive;
    }
    let bounded = bytes.get(..MAX_LINE).unwrap_or(bytes);
    let end = memchr::memchr2(b'\r', b'\n', bounded).unwrap_or(bounded.len());
    let line = bounded.get(..end).unwrap_or_default().trim_ascii_end();
    if starts_with_sip(line) {
        return Peek::Response;
    }
    let space = memchr::memchr(b' ', line).unwrap_or_default();
    let method = line
        .get(..space)
        .and_then(|method| std::str::from_utf8(method).ok())
        .filter(|method| names::is_token(method));
    let last = memchr::memrchr(b' ', line).and_then(|at| line.get(at + 1..));
    match (method, last) {
        (Some(method), Some(version)) if starts_with_sip(version) => {
            Peek::Request(names::method(method))
        }
        _ => Peek::Garbage,
    }
}

fn starts_with_sip(text: &[u8]) -> bool {
    text.get(..4)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/"))
}

/// Answers a request without parsing it: echoes its Via, From, To (with `to_tag` if it has none),
/// Call-ID and CSeq as far as they can be made out, and adds `extra`. `None` if it is no request,
/// or an ACK. For messages that cannot be read, and for overload, where reading costs too much.
#[must_use]
pub fn refuse(
    datagram: &[u8],
    status: u16,
    phrase: &str,
    extra: &[(Header, &str)],
    to_tag: &str,
    received: Path,
) -> Option<(Bytes, Path)> {
    if !first_line_peek(datagram).is_answered() {
        return None;
    }
    let mut writer = Writer::response(status, phrase);
    let mut path = None;
    let mut seen = [false; 4];
    for (name, value) in lines(datagram) {
        let once = match name {
            Header::Via => {
                echo_via(&mut writer, &value, received, &mut path);
                continue;
            }
            Header::From => seen.first_mut(),
            Header::To => seen.get_mut(1),
            Header::CallId => seen.get_mut(2),
            Header::CSeq => seen.get_mut(3),
            _ => continue,
        };
        if once.is_some_and(|seen| !std::mem::replace(seen, true)) {
            if name == Header::To && via::tag(&value).is_none() {
                writer.header_fmt(name, format_args!("{value};tag={to_tag}"));
            } else {
                writer.header(name, &value);
            }
        }
    }
    for (name, value) in extra {
        writer.header(*name, value);
    }
    Some((writer.finish(None), path.unwrap_or(received)))
}

/// Whether a request has all that its answer must repeat (RFC 3261 §8.2.6.2): an answer without would
/// belong to nothing.
#[must_use]
pub fn is_answerable(datagram: &[u8]) -> bool {
    const REPEATED: [Header; 5] = [
        Header::Via,
        Header::From,
        Header::To,
        Header::CallId,
        Header::CSeq,
    ];
    let mut seen = [false; REPEATED.len()];
    for (name, _) in lines(datagram) {
        let place = REPEATED.iter().position(|one| *one == name);
        if let Some(seen) = place.and_then(|place| seen.get_mut(place)) {
            *seen = true;
        }
    }
    seen.into_iter().all(|seen| seen)
}

/// Echoes one Via line; the first value of all gets `received` and decides the way back.
fn echo_via(writer: &mut Writer, value: &str, received: Path, path: &mut Option<Path>) {
    for element in elements(value).filter(|element| !element.is_empty()) {
        if path.is_some() {
            writer.header(Header::Via, element);
        } else {
            writer.top_via(element, received);
            *path = Some(match Via::parse(element) {
                Some(via) => via::reply_path(&via, received),
                None => received,
            });
        }
    }
}

/// What a response repeats of its request (RFC 3261 §8.2.6.2).
const fn is_echoed(name: Header) -> bool {
    matches!(
        name,
        Header::Via | Header::From | Header::To | Header::CallId | Header::CSeq
    )
}

/// The header lines to be echoed that can be made out, leniently: any line end, folded lines joined, what is
/// too long or has no name passed over.
fn lines(datagram: &[u8]) -> impl Iterator<Item = (Header, Cow<'_, str>)> {
    let mut rest = datagram.get(leading_blank(datagram)..).unwrap_or_default();
    next_line(&mut rest);
    std::iter::from_fn(move || next_line(&mut rest).filter(|line| !line.is_empty()))
        .take(MAX_HEADERS)
        .filter(|line| line.len() <= MAX_LINE)
        .filter_map(|line| {
            let at = memchr::memchr(b':', line)?;
            let name = std::str::from_utf8(line.get(..at)?.trim_ascii_end()).ok()?;
            let name = names::header(name);
            is_echoed(name).then_some((name, cleaned(line.get(at + 1..)?)))
        })
}

/// Takes one line off the front, with those that are folded onto it.
fn next_line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let whole = *rest;
    let mut at = 0;
    loop {
        let tail = whole.get(at..)?;
        let Some(offset) = memchr::memchr(b'\n', tail) else {
            *rest = &[];
            return (!whole.is_empty()).then_some(whole);
        };
        at += offset + 1;
        let line = whole.get(..at)?.trim_ascii_end();
        if line.is_empty() || !matches!(whole.get(at), Some(b' ' | b'\t')) {
            *rest = whole.get(at..)?;
            return Some(line);
        }
    }
}

/// A value fit to be written: control characters become spaces, and what is not UTF-8 is replaced.
fn cleaned(value: &[u8]) -> Cow<'_, str> {
    match String::from_utf8_lossy(value) {
        Cow::Borrowed(text) if !text.contains(|c: char| c.is_ascii_control()) => {
            Cow::Borrowed(trim(text))
        }
        text => {
            let spaced = text.replace(|c: char| c.is_ascii_control(), " ");
            Cow::Owned(trim(&spaced).to_owned())
        }
    }
}
