//! Via (RFC 3261 §20.42) and where a response goes (§18.2.2, RFC 3581).

use super::address::{are_quotes_closed, host_port, param, segments, trim, trim_start};
use super::names::is_token;
use crate::sip::message::{Path, Transport, Via};
use std::fmt::{self, Write};
use std::net::{IpAddr, SocketAddr};

impl<'a> Via<'a> {
    /// Parses one Via value. `None` if it is malformed or not of SIP/2.0.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (protocol, rest) = text.split_once('/')?;
        let (version, rest) = rest.split_once('/')?;
        if !trim(protocol).eq_ignore_ascii_case("SIP") || trim(version) != "2.0" {
            return None;
        }
        let (transport, rest) = trim_start(rest).split_once([' ', '\t'])?;
        let (host, port, rest) = host_port(trim_start(rest))?;
        let params = trim(rest);
        // `<` would hide a comma from who joins what stands in `<>`.
        let sound = (params.is_empty() || params.starts_with(';'))
            && !params.contains(['<', '>'])
            && are_quotes_closed(params);
        if !is_token(transport) || !sound {
            return None;
        }
        let mut via = Self {
            transport,
            host,
            port,
            branch: None,
            rport: false,
            received: None,
        };
        for segment in segments(params) {
            let (name, value) = segment.split_once('=').unwrap_or((segment, ""));
            let (name, value) = (trim(name), trim(value));
            if name.eq_ignore_ascii_case("branch") {
                // Two branches would be two transactions to two readers.
                if via.branch.is_some() || !is_branch(value) {
                    return None;
                }
                via.branch = Some(value);
            } else if name.eq_ignore_ascii_case("rport") {
                via.rport = true;
            } else if name.eq_ignore_ascii_case("received") {
                via.received = Some(value);
            }
        }
        Some(via)
    }
}

/// A token by the grammar; peers are seen to use more, so anything visible that delimits nothing.
fn is_branch(value: &str) -> bool {
    !value.is_empty()
        && value
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b',' | b'"' | b';'))
}

/// Where a response to a request goes that came by `received` (RFC 3261 §18.2.2, RFC 3581 §4): to
/// the source address; over UDP to the source port if the request had `rport`, else to the port of
/// sent-by. `maddr` is not followed: it would let a request aim our answers at anybody.
#[must_use]
pub fn reply_path(via: &Via<'_>, received: Path) -> Path {
    if received.transport != Transport::Udp || via.rport {
        return received;
    }
    let port = via.port.unwrap_or(5060);
    Path {
        remote: SocketAddr::new(received.remote.ip(), port),
        ..received
    }
}

/// Writes a request's topmost Via as its response has it: with `received` and `rport` by what the
/// transport saw (RFC 3581 §4). What the sender claimed of them is left out.
pub(super) fn write_received(out: &mut impl Write, via: &str, received: Path) -> fmt::Result {
    let Some(parsed) = Via::parse(via) else {
        return out.write_str(via);
    };
    let end = via.find(';').unwrap_or(via.len());
    let (front, params) = via.split_at_checked(end).unwrap_or((via, ""));
    out.write_str(trim(front))?;
    for segment in segments(params) {
        let name = trim(segment.split('=').next().unwrap_or_default());
        if !name.eq_ignore_ascii_case("received") && !name.eq_ignore_ascii_case("rport") {
            write!(out, ";{segment}")?;
        }
    }
    let source = received.remote.ip().to_canonical();
    let same = parsed
        .host
        .parse::<IpAddr>()
        .is_ok_and(|host| host.to_canonical() == source);
    if parsed.rport || !same {
        write!(out, ";received={source}")?;
    }
    if parsed.rport {
        write!(out, ";rport={}", received.remote.port())?;
    }
    Ok(())
}

/// The tag in a From or To value.
pub(super) fn tag(value: &str) -> Option<&str> {
    let parsed = crate::sip::message::NameAddr::parse(value)?;
    param(parsed.params, "tag")
}

/// Topmost Via of a message that this gateway wrote (full names, no folding), without reading the
/// rest of it.
#[must_use]
pub fn top_via(written: &[u8]) -> Option<Via<'_>> {
    const NAME: &[u8] = b"\r\nVia: ";
    let at = memchr::memmem::find(written, NAME)?;
    let value = written.get(at + NAME.len()..)?;
    let end = memchr::memchr(b'\r', value)?;
    Via::parse(std::str::from_utf8(value.get(..end)?).ok()?)
}
