//! Bodies: the SDP of a message, alone or as part of a multipart (RFC 5621), and DTMF of INFO.

use crate::sip::message::{Header, Message};
use bytes::Bytes;

/// Most parts of a multipart body that are looked at.
const MOST_PARTS: usize = 16;

/// Longest boundary (RFC 2046 §5.1.1).
const LONGEST_BOUNDARY: usize = 70;

/// A body that we cannot take: 415 with `Accept` (RFC 3261 §8.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unacceptable;

/// The session description in a message, if there is one.
///
/// # Errors
/// The body is of another type and its sender says (or does not deny) that it must be understood;
/// or it is compressed.
pub(super) fn session(message: &Message) -> Result<Option<Bytes>, Unacceptable> {
    let body = message.body();
    if body.is_empty() {
        return Ok(None);
    }
    let encoded = message
        .get(Header::ContentEncoding)
        .is_some_and(|coding| !coding.trim().eq_ignore_ascii_case("identity"));
    if encoded {
        return Err(Unacceptable);
    }
    let Some(kind) = message.get(Header::ContentType) else {
        return Err(Unacceptable);
    };
    if is_type(kind, "application/sdp") {
        return Ok(Some(body.clone()));
    }
    if kind
        .trim_start()
        .get(..10)
        .is_some_and(|start| start.eq_ignore_ascii_case("multipart/"))
    {
        let boundary = parameter(kind, "boundary").ok_or(Unacceptable)?;
        return from_parts(body, boundary);
    }
    Err(Unacceptable)
}

/// As [`session`], for responses, ACKs and such, where nobody can be told: what is not SDP counts
/// for nothing.
pub(super) fn session_if_any(message: &Message) -> Option<Bytes> {
    session(message).ok().flatten()
}

/// Whether a Content-Type value names this type.
pub(super) fn is_type(value: &str, wanted: &str) -> bool {
    let kind = value.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case(wanted)
}

/// A parameter of a header value, unquoted.
fn parameter<'a>(value: &'a str, wanted: &str) -> Option<&'a str> {
    value.split(';').skip(1).find_map(|part| {
        let (name, text) = part.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case(wanted)
            .then(|| text.trim().trim_matches('"'))
    })
}

fn from_parts(body: &Bytes, boundary: &str) -> Result<Option<Bytes>, Unacceptable> {
    if boundary.is_empty() || boundary.len() > LONGEST_BOUNDARY {
        return Err(Unacceptable);
    }
    let delimiter = format!("--{boundary}");
    let mut found = None;
    let mut at = next_delimiter(body, 0, delimiter.as_bytes());
    for _ in 0..MOST_PARTS {
        let Some((_, start)) = at else { break };
        if body
            .get(start..)
            .is_some_and(|rest| rest.starts_with(b"--"))
        {
            break; // the closing delimiter
        }
        let next = next_delimiter(body, start, delimiter.as_bytes());
        let end = next.map_or(body.len(), |(before, _)| before);
        let start = line_end(body, start);
        if start <= end
            && let Some(part) = take_part(&body.slice(start..end))?
        {
            found = found.or(Some(part));
        }
        at = next;
    }
    Ok(found)
}

/// One part: its SDP, if it is that.
fn take_part(part: &Bytes) -> Result<Option<Bytes>, Unacceptable> {
    let (head, content) = match find(part, b"\r\n\r\n") {
        _ if part.starts_with(b"\r\n") => (0, 2),
        Some(at) => (at, at.saturating_add(4)),
        None => return Ok(None),
    };
    let head = String::from_utf8_lossy(part.get(..head).unwrap_or_default()).into_owned();
    let header = |wanted: &str| {
        head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim()
                .eq_ignore_ascii_case(wanted)
                .then(|| value.trim())
        })
    };
    if header("Content-Type").is_some_and(|kind| is_type(kind, "application/sdp")) {
        return Ok(Some(part.slice(content.min(part.len())..)));
    }
    let required = header("Content-Disposition")
        .and_then(|value| parameter(value, "handling"))
        .is_some_and(|handling| handling.eq_ignore_ascii_case("required"));
    if required {
        Err(Unacceptable)
    } else {
        Ok(None)
    }
}

/// The next delimiter from `from` on, at the start of a line: where what is before it ends, and
/// where the delimiter's own text ends.
fn next_delimiter(body: &[u8], from: usize, delimiter: &[u8]) -> Option<(usize, usize)> {
    let mut from = from;
    loop {
        let at = from.checked_add(find(body.get(from..)?, delimiter)?)?;
        let end = at.checked_add(delimiter.len())?;
        let before = body.get(..at)?;
        if before.is_empty() {
            return Some((0, end));
        }
        if let Some(content) = before.strip_suffix(b"\r\n") {
            return Some((content.len(), end));
        }
        from = end;
    }
}

/// Where the line that holds `at` ends, its line end included.
fn line_end(body: &[u8], at: usize) -> usize {
    let rest = body.get(at..).unwrap_or_default();
    rest.iter()
        .position(|byte| *byte == b'\n')
        .map_or(body.len(), |offset| {
            at.saturating_add(offset).saturating_add(1)
        })
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|part| part == wanted)
}

/// DTMF content types that pass (sip-bridging 3).
const DTMF_TYPES: [&str; 2] = ["application/dtmf-relay", "application/dtmf"];

/// The DTMF in an INFO, written anew so that nothing but the digit and its duration passes: its
/// content type and body. `None` if it is no DTMF.
pub(super) fn dtmf(message: &Message) -> Option<(&'static str, Bytes)> {
    let kind = message.get(Header::ContentType)?;
    let kind = DTMF_TYPES.into_iter().find(|known| is_type(kind, known))?;
    Some((kind, dtmf_body(kind, message.body())?))
}

/// The name of a DTMF content type that we write, if it is one.
pub(super) fn dtmf_type(kind: &str) -> Option<&'static str> {
    DTMF_TYPES.into_iter().find(|known| is_type(kind, known))
}

/// A DTMF body written anew.
pub(super) fn dtmf_body(kind: &str, body: &[u8]) -> Option<Bytes> {
    let text = std::str::from_utf8(body).ok()?;
    if kind == "application/dtmf" {
        let signal = signal(text.trim())?;
        return Some(Bytes::from(format!("{signal}\r\n")));
    }
    let mut digit = None;
    let mut duration = None;
    for line in text.lines().take(8) {
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        if name.trim().eq_ignore_ascii_case("signal") {
            digit = Some(signal(value.trim())?);
        } else if name.trim().eq_ignore_ascii_case("duration") {
            duration = Some(value.trim().parse::<u16>().ok()?);
        }
    }
    let digit = digit?;
    let duration = duration.unwrap_or(160);
    Some(Bytes::from(format!(
        "Signal={digit}\r\nDuration={duration}\r\n"
    )))
}

/// One DTMF event: a key, or its number (RFC 4733 §3.2) up to 16 (flash).
fn signal(text: &str) -> Option<&str> {
    let key = matches!(
        text.as_bytes(),
        [b'0'..=b'9' | b'*' | b'#' | b'A'..=b'D' | b'a'..=b'd']
    );
    let event = matches!(text, "10" | "11" | "12" | "13" | "14" | "15" | "16");
    (key || event).then_some(text)
}
