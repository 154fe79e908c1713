//! The codec against its own print and against rsip.

use bytes::Bytes;
use leasebridge::sip::codec::{self, param, percent_decode, refuse, reply_path};
use leasebridge::sip::message::{
    Header, Message, Method, NameAddr, Path, Transport, Uri, Via, Writer,
};
use std::fmt::Write;

/// Every header that a message is asked for.
const HEADERS: [Header; 36] = [
    Header::Via,
    Header::From,
    Header::To,
    Header::CallId,
    Header::CSeq,
    Header::Contact,
    Header::MaxForwards,
    Header::Route,
    Header::RecordRoute,
    Header::Require,
    Header::ProxyRequire,
    Header::Supported,
    Header::Unsupported,
    Header::Allow,
    Header::Accept,
    Header::ContentType,
    Header::ContentLength,
    Header::ContentEncoding,
    Header::Reason,
    Header::RetryAfter,
    Header::PAssertedIdentity,
    Header::Privacy,
    Header::Expires,
    Header::SessionExpires,
    Header::MinSe,
    Header::RSeq,
    Header::RAck,
    Header::WwwAuthenticate,
    Header::Authorization,
    Header::ProxyAuthenticate,
    Header::ProxyAuthorization,
    Header::Warning,
    Header::UserAgent,
    Header::Server,
    Header::Replaces,
    Header::Identity,
];

/// Headers that no message of ours has twice.
pub const HEADERS_OF_OURS: [Header; 8] = [
    Header::From,
    Header::To,
    Header::CallId,
    Header::CSeq,
    Header::MaxForwards,
    Header::ContentType,
    Header::ContentLength,
    Header::Contact,
];

/// Header names that an answer to an unreadable request may hold.
const ECHOED: [&str; 6] = ["Via", "From", "To", "Call-ID", "CSeq", "Content-Length"];

pub fn path() -> Path {
    Path {
        transport: Transport::Udp,
        local: ([192, 0, 2, 1], 5060).into(),
        remote: ([192, 0, 2, 99], 40_000).into(),
    }
}

pub fn run(input: &[u8]) {
    let datagram = Bytes::copy_from_slice(input);
    match codec::parse(datagram) {
        Ok(message) => read(&message),
        Err(error) => {
            if let Some((answer, _)) = error.response("ourtag", path()) {
                only_echoes(&answer);
            }
        }
    }
    if let Some((answer, _)) = refuse(input, 503, "Service Unavailable", &[], "ourtag", path()) {
        only_echoes(&answer);
    }
}

fn read(message: &Message) {
    values(message);
    again(message);
    answered(message);
    by_rsip(message);
}

/// Every address and parameter list in it can be taken apart, and the parts lie in it.
fn values(message: &Message) {
    for header in HEADERS {
        for value in message.all(header) {
            assert!(!value.contains(['\r', '\n', '\0']), "{value:?}");
            if let Some(address) = NameAddr::parse(value) {
                assert!(value.contains(address.uri));
                let _ = param(address.params, "tag");
                if let Some(uri) = Uri::parse(address.uri) {
                    assert!(!uri.user.contains('@') && !uri.host.contains(['@', ' ', ',']));
                    assert_ne!(uri.port, Some(0));
                    let _ = percent_decode(uri.user);
                    let _ = param(uri.params, "lr");
                }
            }
            let _ = Via::parse(value);
        }
    }
    let _ = reply_path(&message.top_via(), path());
}

/// Printed with full names, one value a line, it is the same message.
fn again(message: &Message) {
    let name = message.method().as_str();
    if name.is_empty() && message.status().is_none() {
        return; // the name of another method stands in the message alone
    }
    let mut text = match message.status() {
        Some(status) => format!("SIP/2.0 {status} {}\r\n", codec::phrase(status)),
        None => format!("{name} {} SIP/2.0\r\n", message.uri()),
    };
    for header in HEADERS {
        for value in message
            .all(header)
            .filter(|_| header != Header::ContentLength)
        {
            let _ = write!(text, "{}: {value}\r\n", header.as_str());
        }
    }
    let _ = write!(text, "Content-Length: {}\r\n\r\n", message.body().len());
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(message.body());
    if bytes.len() > codec::MAX_DATAGRAM {
        return; // compact names took less
    }
    let lines = bytes.windows(2).filter(|pair| *pair == b"\r\n").count();
    let again = match codec::parse(Bytes::from(bytes)) {
        Ok(again) => again,
        // Comma-joined values have lines of their own now.
        Err(_) if lines > codec::MAX_HEADERS => return,
        Err(error) => panic!("its print is refused: {error:?}"),
    };
    assert_eq!(again.method(), message.method());
    assert_eq!(again.status(), message.status());
    assert_eq!(again.uri(), message.uri());
    assert_eq!(again.cseq(), message.cseq());
    assert_eq!(again.from_tag(), message.from_tag());
    assert_eq!(again.to_tag(), message.to_tag());
    assert_eq!(again.top_via(), message.top_via());
    assert_eq!(again.body(), message.body());
    for header in HEADERS
        .into_iter()
        .filter(|one| *one != Header::ContentLength)
    {
        let same = again.all(header).eq(message.all(header));
        assert!(same, "{header:?} is another");
    }
}

/// A response to it is a message with its Via, From, To, Call-ID and CSeq.
fn answered(message: &Message) {
    if message.status().is_some() {
        return;
    }
    let writer = Writer::response_to(message, 200, Some("ourtag"), path());
    assert!(!writer.is_cut());
    let answer = codec::parse(writer.finish(None)).expect("our answer is refused");
    assert_eq!(answer.status(), Some(200));
    assert_eq!(answer.call_id(), message.call_id());
    assert_eq!(answer.cseq(), message.cseq());
    assert_eq!(answer.from_tag(), message.from_tag());
    assert_eq!(answer.top_via().branch, message.top_via().branch);
    assert_eq!(
        answer.all(Header::Via).count(),
        message.all(Header::Via).count()
    );
    let tag = if message.to_tag().is_empty() {
        "ourtag"
    } else {
        message.to_tag()
    };
    assert_eq!(answer.to_tag(), tag);
}

/// Nothing but the echoed headers, each on one line, and no body.
fn only_echoes(answer: &[u8]) {
    let text = std::str::from_utf8(answer).expect("an answer in UTF-8");
    let head = text.strip_suffix("\r\n\r\n").expect("an end of the head");
    assert!(!head.contains("\r\n\r\n"));
    let mut lines = head.split("\r\n");
    assert!(
        lines
            .next()
            .is_some_and(|line| line.starts_with("SIP/2.0 "))
    );
    let mut once = Vec::new();
    for line in lines {
        assert!(!line.contains(['\r', '\n', '\0']), "{line:?}");
        let (name, _) = line.split_once(": ").expect("a header line");
        assert!(ECHOED.contains(&name), "{line:?}");
        assert!(name == "Via" || !once.contains(&name), "{name} twice");
        once.push(name);
    }
}

/// rsip, given the same head in canonical form, sees what the gateway sees.
fn by_rsip(message: &Message) {
    use rsip::prelude::{HeadersExt, ToTypedHeader, UntypedHeader};
    let Ok(view) = codec::typed(message) else {
        return; // its grammar is narrower in places
    };
    if let Ok(call_id) = view.call_id_header() {
        assert_eq!(call_id.value(), message.call_id());
    }
    if let Ok(Ok(cseq)) = view.cseq_header().map(ToTypedHeader::typed) {
        assert_eq!(cseq.seq, message.cseq());
    }
    if let Ok(Ok(from)) = view.from_header().map(ToTypedHeader::typed) {
        let value = message.get(Header::From).unwrap_or_default();
        agree(
            value,
            from.tag().map(ToString::to_string),
            message.from_tag(),
        );
    }
    if let Ok(Ok(to)) = view.to_header().map(ToTypedHeader::typed) {
        let value = message.get(Header::To).unwrap_or_default();
        agree(value, to.tag().map(ToString::to_string), message.to_tag());
    }
    if let rsip::SipMessage::Request(request) = &view
        && message.method() != Method::Other
    {
        assert_eq!(request.method().to_string(), message.method().as_str());
    }
}

/// rsip takes white space behind an equals sign, where it may stand (RFC 3261 §25.1, EQUAL), for the
/// end of the value.
fn agree(value: &str, theirs: Option<String>, ours: &str) {
    let spaced = ["= ", "=\t"].iter().any(|one| value.contains(one));
    if let Some(theirs) = theirs.filter(|_| !spaced) {
        assert_eq!(theirs, ours, "rsip sees another tag");
    }
}
