//! Addresses and parameters: name-addr, URI, `;name=value` lists, comma-joined values.

use crate::sip::message::{NameAddr, Uri};
use std::borrow::Cow;
use std::net::Ipv6Addr;

impl<'a> NameAddr<'a> {
    /// Parses a name-addr or addr-spec with its header parameters (RFC 3261 §20.10, §25.1).
    /// `None` if it is neither. Without `<>`, everything from the first `;` on is header
    /// parameters, not the URI's.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let text = trim(text);
        let (display, rest) = if text.starts_with('"') {
            let (quoted, rest) = text.split_at_checked(quoted_len(text)?)?;
            (quoted, trim(rest))
        } else {
            match text.find(['<', ';', ':', '"']) {
                Some(at) if text.as_bytes().get(at) == Some(&b'<') => {
                    let (display, rest) = text.split_at_checked(at)?;
                    (trim(display), rest)
                }
                _ => return Self::addr_spec(text),
            }
        };
        let (uri, params) = rest.strip_prefix('<')?.split_once('>')?;
        Self::checked(display, uri, trim(params))
    }

    fn addr_spec(text: &'a str) -> Option<Self> {
        let end = text.find(';').unwrap_or(text.len());
        let (uri, params) = text.split_at_checked(end)?;
        Self::checked("", trim(uri), params)
    }

    fn checked(display: &'a str, uri: &'a str, params: &'a str) -> Option<Self> {
        let (scheme, rest) = uri.split_once(':')?;
        let sound = super::names::is_token(scheme)
            && !rest.is_empty()
            && uri.bytes().all(is_uri_byte)
            && (params.is_empty() || params.starts_with(';'))
            && are_quotes_closed(params);
        sound.then_some(Self {
            display,
            uri,
            params,
        })
    }
}

impl<'a> Uri<'a> {
    /// Parses a `sip:`, `sips:` or `tel:` URI (RFC 3261 §19.1, RFC 3966). `None` if it is
    /// malformed or of another scheme. A password and `?headers` are left out.
    ///
    /// Two `@` are refused rather than guessed at: which one ends the user part is what two
    /// readers of one message disagree about.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once(':')?;
        if !rest.bytes().all(is_uri_byte) {
            return None;
        }
        let scheme = ["sip", "sips", "tel"]
            .into_iter()
            .find(|known| scheme.eq_ignore_ascii_case(known))?;
        if scheme == "tel" {
            return Self::tel(rest);
        }
        let (user, place) = match rest.split_once('@') {
            Some((userinfo, place)) => {
                let user = userinfo.split(':').next().unwrap_or_default();
                if user.is_empty() || place.contains('@') {
                    return None;
                }
                (user, place)
            }
            None => ("", rest),
        };
        let (host, port, rest) = host_port(place)?;
        let params = match rest.find('?') {
            Some(at) => rest.get(..at)?,
            None => rest,
        };
        (params.is_empty() || params.starts_with(';')).then_some(Self {
            scheme,
            user,
            host,
            port,
            params,
        })
    }

    fn tel(rest: &'a str) -> Option<Self> {
        let end = rest.find(';').unwrap_or(rest.len());
        let (user, params) = rest.split_at_checked(end)?;
        let visual = |byte: u8| {
            byte.is_ascii_hexdigit()
                || matches!(byte, b'+' | b'-' | b'.' | b'(' | b')' | b'*' | b'#' | b'%')
        };
        (!user.is_empty() && user.bytes().all(visual)).then_some(Self {
            scheme: "tel",
            user,
            host: "",
            port: None,
            params,
        })
    }
}

/// Splits `host[:port]` off the front: host without brackets, port, and what follows.
pub(super) fn host_port(text: &str) -> Option<(&str, Option<u16>, &str)> {
    let (host, rest) = if let Some(inside) = text.strip_prefix('[') {
        let (host, rest) = inside.split_once(']')?;
        if !is_ipv6(host) {
            return None;
        }
        (host, rest)
    } else {
        let end = text
            .bytes()
            .position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')))
            .unwrap_or(text.len());
        text.split_at_checked(end)?
    };
    if host.is_empty() {
        return None;
    }
    // RFC 3261 §25.1 has COLON with white space on either side in a Via.
    let Some(after) = trim_start(rest).strip_prefix(':') else {
        return Some((host, None, rest));
    };
    let after = trim_start(after);
    let end = after
        .bytes()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(after.len());
    let (digits, rest) = after.split_at_checked(end)?;
    let port = digits.parse().ok().filter(|port| *port != 0)?;
    Some((host, Some(port), rest))
}

/// Whether a text is an IPv6 address. One colon too many before an IPv4 address at its end is what
/// RFC 3261's grammar makes of it, and is to be tolerated (RFC 5118 §4.10).
fn is_ipv6(text: &str) -> bool {
    text.parse::<Ipv6Addr>().is_ok()
        || text.split_once(":::").is_some_and(|(front, back)| {
            back.contains('.')
                && !back.contains(':')
                && format!("{front}::{back}").parse::<Ipv6Addr>().is_ok()
        })
}

/// The only value of a parameter, as written.
///
/// # Errors
/// It stands there twice.
pub(super) fn only_param<'a>(params: &'a str, name: &str) -> Result<Option<&'a str>, ()> {
    let mut values = segments(params).filter_map(|segment| {
        let (key, value) = segment.split_once('=').unwrap_or((segment, ""));
        trim(key).eq_ignore_ascii_case(name).then(|| trim(value))
    });
    let first = values.next();
    match values.next() {
        None => Ok(first),
        Some(_) => Err(()),
    }
}

/// Whether no quoted string is open at the end: to one reader it would go on to the end of the
/// line, to another it is none.
pub(super) fn are_quotes_closed(params: &str) -> bool {
    let mut rest = params;
    while let Some(at) = rest.find('"') {
        let quoted = rest.get(at..).unwrap_or_default();
        let Some(after) = quoted_len(quoted).and_then(|length| quoted.get(length..)) else {
            return false;
        };
        rest = after;
    }
    true
}

/// Value of a parameter in a list that begins with `;`: `Some("")` for one without a value, the
/// inside of a quoted value. Names are matched in any case.
#[must_use]
pub fn param<'a>(params: &'a str, name: &str) -> Option<&'a str> {
    segments(params).find_map(|segment| {
        let (key, value) = segment.split_once('=').unwrap_or((segment, ""));
        trim(key).eq_ignore_ascii_case(name).then(|| {
            let value = trim(value);
            value
                .strip_prefix('"')
                .and_then(|value| value.strip_suffix('"'))
                .unwrap_or(value)
        })
    })
}

/// The parts between semicolons, trimmed, quotes respected, empty ones left out.
pub(super) fn segments(params: &str) -> impl Iterator<Item = &str> {
    split(params, b';', false).filter(|segment| !segment.is_empty())
}

/// The elements of a comma-joined value, trimmed; quotes and `<>` respected.
pub(super) fn elements(value: &str) -> impl Iterator<Item = &str> {
    split(value, b',', true)
}

fn split(text: &str, separator: u8, angles: bool) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = find_outside(text, separator, angles);
        let (part, after) = match end {
            Some(at) => (text.get(..at)?, text.get(at + 1..)),
            None => (text, None),
        };
        rest = after;
        Some(trim(part))
    })
}

/// First `separator` outside quotes (and, if `angles`, outside `<>`).
fn find_outside(text: &str, separator: u8, angles: bool) -> Option<usize> {
    let (mut quoted, mut escaped, mut angle) = (false, false, false);
    for (at, byte) in text.bytes().enumerate() {
        if escaped {
            escaped = false;
        } else if quoted {
            match byte {
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
        } else if angle {
            angle = byte != b'>';
        } else if byte == separator {
            return Some(at);
        } else {
            quoted = byte == b'"';
            angle = angles && byte == b'<';
        }
    }
    None
}

/// Length of the quoted string at the front, quotes included.
fn quoted_len(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Decodes `%41` escapes (RFC 3261 §19.1.2); what is no escape stays. Bytes that are not UTF-8
/// become U+FFFD.
#[must_use]
pub fn percent_decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        match (first, after) {
            (b'%', [high, low, tail @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                let value = hex(*high).unwrap_or_default() << 4 | hex(*low).unwrap_or_default();
                decoded.push(value);
                rest = tail;
            }
            _ => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Without white space at either end.
pub(super) fn trim(text: &str) -> &str {
    trim_start(text).trim_end_matches([' ', '\t'])
}

pub(super) fn trim_start(text: &str) -> &str {
    text.trim_start_matches([' ', '\t'])
}

/// Bytes that may stand in a URI as it is read here: everything visible but what delimits one.
fn is_uri_byte(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f && !matches!(byte, b'<' | b'>' | b'"')
}
