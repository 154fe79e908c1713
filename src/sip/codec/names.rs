//! The vocabulary: methods, header names with their compact forms, reason phrases.

use crate::sip::message::{Header, Method};

impl Method {
    /// The method as written; empty for [`Method::Other`], whose name is only in the message.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invite => "INVITE",
            Self::Ack => "ACK",
            Self::Cancel => "CANCEL",
            Self::Bye => "BYE",
            Self::Options => "OPTIONS",
            Self::Info => "INFO",
            Self::Prack => "PRACK",
            Self::Update => "UPDATE",
            Self::Refer => "REFER",
            Self::Register => "REGISTER",
            Self::Message => "MESSAGE",
            Self::Subscribe => "SUBSCRIBE",
            Self::Notify => "NOTIFY",
            Self::Publish => "PUBLISH",
            Self::Other => "",
        }
    }
}

impl Header {
    /// The field name in full; `X-Other` for [`Header::Other`], which is never written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Via => "Via",
            Self::From => "From",
            Self::To => "To",
            Self::CallId => "Call-ID",
            Self::CSeq => "CSeq",
            Self::Contact => "Contact",
            Self::MaxForwards => "Max-Forwards",
            Self::Route => "Route",
            Self::RecordRoute => "Record-Route",
            Self::Require => "Require",
            Self::ProxyRequire => "Proxy-Require",
            Self::Supported => "Supported",
            Self::Unsupported => "Unsupported",
            Self::Allow => "Allow",
            Self::Accept => "Accept",
            Self::ContentType => "Content-Type",
            Self::ContentLength => "Content-Length",
            Self::ContentEncoding => "Content-Encoding",
            Self::Reason => "Reason",
            Self::RetryAfter => "Retry-After",
            Self::PAssertedIdentity => "P-Asserted-Identity",
            Self::PEarlyMedia => "P-Early-Media",
            Self::Privacy => "Privacy",
            Self::Expires => "Expires",
            Self::SessionExpires => "Session-Expires",
            Self::MinSe => "Min-SE",
            Self::RSeq => "RSeq",
            Self::RAck => "RAck",
            Self::WwwAuthenticate => "WWW-Authenticate",
            Self::Authorization => "Authorization",
            Self::ProxyAuthenticate => "Proxy-Authenticate",
            Self::ProxyAuthorization => "Proxy-Authorization",
            Self::Warning => "Warning",
            Self::UserAgent => "User-Agent",
            Self::Server => "Server",
            Self::Replaces => "Replaces",
            Self::Join => "Join",
            Self::Identity => "Identity",
            Self::Other => "X-Other",
        }
    }
}

/// A method by its name; names are case-sensitive (RFC 3261 §7.1).
pub(super) fn method(name: &str) -> Method {
    match name {
        "INVITE" => Method::Invite,
        "ACK" => Method::Ack,
        "CANCEL" => Method::Cancel,
        "BYE" => Method::Bye,
        "OPTIONS" => Method::Options,
        "INFO" => Method::Info,
        "PRACK" => Method::Prack,
        "UPDATE" => Method::Update,
        "REFER" => Method::Refer,
        "REGISTER" => Method::Register,
        "MESSAGE" => Method::Message,
        "SUBSCRIBE" => Method::Subscribe,
        "NOTIFY" => Method::Notify,
        "PUBLISH" => Method::Publish,
        _ => Method::Other,
    }
}

/// A header by its name, full or compact, in any case (RFC 3261 §7.3.1, §7.3.3; compact names by
/// the IANA registry).
pub(super) fn header(name: &str) -> Header {
    use Header as H;
    let candidates: &[H] = match name.len() {
        1 => return compact(name.as_bytes()),
        2 => &[H::To],
        3 => &[H::Via],
        4 => &[H::CSeq, H::From, H::RSeq, H::RAck, H::Join],
        5 => &[H::Allow, H::Route],
        6 => &[H::Accept, H::Reason, H::Server, H::MinSe],
        7 => &[
            H::CallId,
            H::Contact,
            H::Require,
            H::Expires,
            H::Privacy,
            H::Warning,
        ],
        8 => &[H::Replaces, H::Identity],
        9 => &[H::Supported],
        10 => &[H::UserAgent],
        11 => &[H::Unsupported, H::RetryAfter],
        12 => &[H::MaxForwards, H::ContentType, H::RecordRoute],
        13 => &[H::ProxyRequire, H::Authorization, H::PEarlyMedia],
        14 => &[H::ContentLength],
        15 => &[H::SessionExpires],
        16 => &[H::ContentEncoding, H::WwwAuthenticate],
        18 => &[H::ProxyAuthenticate],
        19 => &[H::PAssertedIdentity, H::ProxyAuthorization],
        _ => &[],
    };
    candidates
        .iter()
        .copied()
        .find(|candidate| candidate.as_str().eq_ignore_ascii_case(name))
        .unwrap_or(H::Other)
}

fn compact(name: &[u8]) -> Header {
    match name.first().map(u8::to_ascii_lowercase) {
        Some(b'v') => Header::Via,
        Some(b'f') => Header::From,
        Some(b't') => Header::To,
        Some(b'm') => Header::Contact,
        Some(b'i') => Header::CallId,
        Some(b'l') => Header::ContentLength,
        Some(b'c') => Header::ContentType,
        Some(b'e') => Header::ContentEncoding,
        Some(b'k') => Header::Supported,
        Some(b'x') => Header::SessionExpires,
        Some(b'y') => Header::Identity,
        // s Subject, o Event, u Allow-Events, r Refer-To, b Referred-By, a Accept-Contact,
        // j Reject-Contact, d Request-Disposition, n Identity-Info: not read here.
        _ => Header::Other,
    }
}

/// Whether a header's values may be joined by commas (RFC 3261 §7.3.1) and are read one by one.
/// Credentials and challenges hold commas of their own and are not split.
pub(super) const fn is_list(name: Header) -> bool {
    matches!(
        name,
        Header::Via
            | Header::Contact
            | Header::Route
            | Header::RecordRoute
            | Header::Require
            | Header::ProxyRequire
            | Header::Supported
            | Header::Unsupported
            | Header::Allow
            | Header::Accept
            | Header::ContentEncoding
            | Header::Reason
            | Header::PAssertedIdentity
            | Header::Warning
    )
}

/// RFC 3261 §25.1 `token`.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| {
            byte.is_ascii_alphanumeric()
                || matches!(
                    byte,
                    b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~'
                )
        })
}

/// Standard reason phrases (RFC 3261 §21 and the IANA registry), by status.
const PHRASES: &[(u16, &str)] = &[
    (100, "Trying"),
    (180, "Ringing"),
    (181, "Call Is Being Forwarded"),
    (182, "Queued"),
    (183, "Session Progress"),
    (199, "Early Dialog Terminated"),
    (200, "OK"),
    (202, "Accepted"),
    (204, "No Notification"),
    (300, "Multiple Choices"),
    (301, "Moved Permanently"),
    (302, "Moved Temporarily"),
    (305, "Use Proxy"),
    (380, "Alternative Service"),
    (400, "Bad Request"),
    (401, "Unauthorized"),
    (402, "Payment Required"),
    (403, "Forbidden"),
    (404, "Not Found"),
    (405, "Method Not Allowed"),
    (406, "Not Acceptable"),
    (407, "Proxy Authentication Required"),
    (408, "Request Timeout"),
    (410, "Gone"),
    (412, "Conditional Request Failed"),
    (413, "Request Entity Too Large"),
    (414, "Request-URI Too Long"),
    (415, "Unsupported Media Type"),
    (416, "Unsupported URI Scheme"),
    (417, "Unknown Resource-Priority"),
    (420, "Bad Extension"),
    (421, "Extension Required"),
    (422, "Session Interval Too Small"),
    (423, "Interval Too Brief"),
    (428, "Use Identity Header"),
    (429, "Provide Referrer Identity"),
    (433, "Anonymity Disallowed"),
    (436, "Bad Identity Info"),
    (437, "Unsupported Credential"),
    (438, "Invalid Identity Header"),
    (439, "First Hop Lacks Outbound Support"),
    (440, "Max-Breadth Exceeded"),
    (469, "Bad Info Package"),
    (470, "Consent Needed"),
    (480, "Temporarily Unavailable"),
    (481, "Call/Transaction Does Not Exist"),
    (482, "Loop Detected"),
    (483, "Too Many Hops"),
    (484, "Address Incomplete"),
    (485, "Ambiguous"),
    (486, "Busy Here"),
    (487, "Request Terminated"),
    (488, "Not Acceptable Here"),
    (489, "Bad Event"),
    (491, "Request Pending"),
    (493, "Undecipherable"),
    (494, "Security Agreement Required"),
    (500, "Server Internal Error"),
    (501, "Not Implemented"),
    (502, "Bad Gateway"),
    (503, "Service Unavailable"),
    (504, "Server Time-out"),
    (505, "Version Not Supported"),
    (513, "Message Too Large"),
    (580, "Precondition Failure"),
    (600, "Busy Everywhere"),
    (603, "Decline"),
    (604, "Does Not Exist Anywhere"),
    (606, "Not Acceptable"),
    (607, "Unwanted"),
    (608, "Rejected"),
];

/// Standard reason phrase of a status; `Unknown` for one that has none.
#[must_use]
pub fn phrase(status: u16) -> &'static str {
    PHRASES
        .binary_search_by_key(&status, |(code, _)| *code)
        .ok()
        .and_then(|place| PHRASES.get(place))
        .map_or("Unknown", |(_, phrase)| phrase)
}

#[cfg(test)]
mod order {
    #[test]
    fn phrases_are_sorted_for_the_search() {
        assert!(super::PHRASES.is_sorted_by_key(|(code, _)| *code));
        assert_eq!(super::phrase(486), "Busy Here");
        assert_eq!(super::phrase(299), "Unknown");
    }
}
