//! SIP as text, read and written the plain way: none of the gateway's own code is used, so that a
//! fault there cannot hide behind itself.

use std::fmt::Write as _;

/// A header's first value; empty if there is none.
pub fn header<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map_or("", |(_, value)| value.trim())
}

/// Number and method of the CSeq.
pub fn cseq(text: &str) -> (u32, &str) {
    let value = header(text, "CSeq");
    let (number, method) = value.split_once(' ').unwrap_or((value, ""));
    (number.parse().unwrap_or(0), method)
}

/// Status of a response; `None` for a request.
pub fn status(text: &str) -> Option<u16> {
    text.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
}

/// Method of a request.
pub fn method(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}

/// The tag of a From or To value; empty if there is none.
pub fn tag(value: &str) -> &str {
    value
        .split_once(";tag=")
        .map_or("", |(_, tag)| tag.split(';').next().unwrap_or(tag))
}

/// The URI of a From, To or Contact value.
pub fn uri(value: &str) -> &str {
    match value.split_once('<') {
        Some((_, rest)) => rest.split_once('>').map_or(rest, |(uri, _)| uri),
        None => value.split(';').next().unwrap_or(value),
    }
}

/// The digits of a URI's user part.
pub fn digits(value: &str) -> String {
    let user = uri(value).trim_start_matches("sip:").split('@').next();
    user.unwrap_or_default()
        .chars()
        .filter(char::is_ascii_digit)
        .collect()
}

/// Everything after the empty line.
pub fn body(text: &str) -> &str {
    text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

/// The Via lines, each with its line end.
pub fn via_lines(text: &str) -> String {
    let mut vias = String::new();
    for line in text.lines().take_while(|line| !line.is_empty()) {
        if line.starts_with("Via:") {
            let _ = write!(vias, "{line}\r\n");
        }
    }
    vias
}

/// A response. `tag_of_ours` is put on a To that has none; `extra` are header lines.
pub fn reply(request: &str, status: &str, tag_of_ours: &str, extra: &str, body: &str) -> String {
    let to = header(request, "To");
    let tag = if tag_of_ours.is_empty() || to.contains(";tag=") {
        String::new()
    } else {
        format!(";tag={tag_of_ours}")
    };
    format!(
        "SIP/2.0 {status}\r\n{}From: {}\r\nTo: {to}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\n{extra}\
         Content-Length: {}\r\n\r\n{body}",
        via_lines(request),
        header(request, "From"),
        header(request, "Call-ID"),
        header(request, "CSeq"),
        body.len()
    )
}

/// The ACK to a failure response, in the INVITE's transaction (RFC 3261 §17.1.1.3).
pub fn ack_of_failure(invite: &str, response: &str) -> String {
    let target = invite.split(' ').nth(1).unwrap_or_default();
    let (number, _) = cseq(invite);
    format!(
        "ACK {target} SIP/2.0\r\n{}Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\n\
         CSeq: {number} ACK\r\nContent-Length: 0\r\n\r\n",
        via_lines(invite),
        header(invite, "From"),
        header(response, "To"),
        header(invite, "Call-ID")
    )
}

/// Where a description wants its sound: address and port of the first audio line.
pub fn media_of(text: &str) -> Option<std::net::SocketAddr> {
    let mut address = None;
    let mut port = None;
    for line in body(text).lines() {
        if let Some(ip) = line.strip_prefix("c=IN IP") {
            // "4 10.0.0.3" or "6 fd00::3"
            address = ip.get(2..)?.trim().parse().ok();
        } else if let Some(rest) = line.strip_prefix("m=audio ") {
            port = rest.split(' ').next()?.parse().ok();
        }
    }
    Some(std::net::SocketAddr::new(address?, port?))
}
