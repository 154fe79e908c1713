//! What in a message is our own word, and no number although its digits may be those of one: our
//! addresses with their ports, the ports of our media, the origin of our descriptions, the clock
//! rates that codecs have. A number is somebody's by chance only in such a place, and a call must
//! not die of it (sip-bridging 4).
//!
//! A place is ours by its position and its shape, both of which the writers of our messages fix:
//! nothing that a peer wrote ever gets there. The guard still holds it against the shape, so that a
//! number put there by mistake is found.

use std::net::IpAddr;
use std::ops::Range;

/// RTP clock rates in Hz of the codecs in use, longer than four digits.
const CLOCKS: [&str; 9] = [
    "11025", "12000", "16000", "22050", "24000", "32000", "44100", "48000", "90000",
];

/// Whether `hit`, a number found at this place of `line`, lies in our own words. `known` says which
/// addresses are ours, or the receiver's own.
pub(super) fn holds(
    line: &[u8],
    in_body: bool,
    hit: &Range<usize>,
    known: impl Fn(IpAddr) -> bool,
) -> bool {
    let Ok(text) = std::str::from_utf8(line) else {
        return false;
    };
    let within = |ours: Range<usize>| ours.start <= hit.start && hit.end <= ours.end;
    let place = if in_body {
        of_description(text, &known)
    } else {
        address_around(text, hit.start, &known)
    };
    place.is_some_and(within)
}

/// Our words in a line of a session description as [`crate::sip`]'s callers write it.
fn of_description(line: &str, known: impl Fn(IpAddr) -> bool) -> Option<Range<usize>> {
    let (letter, value) = line.split_once('=')?;
    let mut words = Words { line, at: 2 };
    let is_count = |word: &str, most: usize| {
        (1..=most).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_digit())
    };
    match letter {
        // o=- SESSION VERSION IN IP4 ADDRESS
        "o" => {
            let origin = words.next().filter(|word| word.1 == "-");
            let session = origin.and_then(|_| words.next())?;
            let version = words.next()?;
            let address = words.connection(known)?;
            let ours = is_count(session.1, 5) && is_count(version.1, 10);
            ours.then_some(session.0..address)
        }
        // c=IN IP4 ADDRESS
        "c" => Some(2..words.connection(known)?),
        // m=audio PORT
        "m" => {
            let port = words.next().and_then(|_| words.next())?;
            let ours = is_count(port.1, 5) && port.1.parse::<u16>().is_ok();
            ours.then_some(port.0..port.0.saturating_add(port.1.len()))
        }
        // a=rtpmap:PAYLOAD NAME/CLOCK, a=rtpmap:PAYLOAD NAME/CLOCK/CHANNELS
        "a" => {
            let (_, format) = value.strip_prefix("rtpmap:")?.split_once(' ')?;
            let (_, rate) = format.split_once('/')?;
            let (clock, channels) = rate.split_once('/').unwrap_or((rate, "1"));
            let ours = CLOCKS.contains(&clock) && is_count(channels, 1);
            ours.then(|| line.len().saturating_sub(rate.len())..line.len())
        }
        _ => None,
    }
}

/// The words of a line with their places.
struct Words<'a> {
    line: &'a str,
    at: usize,
}

impl<'a> Words<'a> {
    /// The end of `IN IP4 ADDRESS` with a known address, which ends the line.
    fn connection(&mut self, known: impl Fn(IpAddr) -> bool) -> Option<usize> {
        self.next().filter(|word| word.1 == "IN")?;
        self.next().filter(|word| matches!(word.1, "IP4" | "IP6"))?;
        let (start, text) = self.next()?;
        let address: IpAddr = text.parse().ok()?;
        let end = start.saturating_add(text.len());
        let ours = known(address) || address.is_unspecified();
        (ours && end == self.line.len()).then_some(end)
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = (usize, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.at;
        let rest = self.line.get(start..)?;
        let word = rest.split(' ').next()?;
        self.at = start.saturating_add(word.len()).saturating_add(1);
        Some((start, word))
    }
}

/// The known address, with its port if there is one, that `at` lies in.
fn address_around(line: &str, at: usize, known: impl Fn(IpAddr) -> bool) -> Option<Range<usize>> {
    let part = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':');
    let bytes = line.as_bytes();
    let before = bytes
        .get(..at)?
        .iter()
        .rev()
        .take_while(|b| part(b))
        .count();
    let after = bytes.get(at..)?.iter().take_while(|b| part(b)).count();
    let start = at.saturating_sub(before);
    let end = at.saturating_add(after);
    let literal = line.get(start..end)?;
    let bracketed = start.checked_sub(1).and_then(|at| bytes.get(at)) == Some(&b'[')
        && bytes.get(end) == Some(&b']');
    if bracketed {
        let port = port_at(bytes, end.saturating_add(1));
        return literal.parse().is_ok_and(known).then_some(start..port);
    }
    // The end of `sip:` before it looks like a part of it.
    let literal = literal.trim_start_matches(|c: char| c.is_ascii_alphabetic() || c == ':');
    let (host, port) = literal.split_once(':').unwrap_or((literal, ""));
    let sound = port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    (sound && host.parse().is_ok_and(known)).then_some(start..end)
}

/// The end of `:PORT` at `at`, or `at` where there is none.
fn port_at(bytes: &[u8], at: usize) -> usize {
    if bytes.get(at) != Some(&b':') {
        return at;
    }
    let digits = bytes.get(at.saturating_add(1)..).unwrap_or_default();
    let length = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    at.saturating_add(1).saturating_add(length.min(5))
}
