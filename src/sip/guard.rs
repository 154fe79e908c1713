//! The privacy guard (sip-bridging 4): the last look at the final bytes of every message of a
//! call, for the numbers and addresses that must not reach the side it is sent to.
//!
//! One pass over the bytes. Work is done only where a run of digits or letters begins with the
//! first character of something protected, so a message without a candidate costs about one
//! table look-up a byte.
//!
//! Numbers are matched as runs of digits at their boundaries, after percent-decoding and with
//! separators (blanks and punctuation of any kind) left out: `+60 12-345%2D6789` is
//! `60123456789`, `960123456789` is not. Addresses are matched as they were written and in their
//! canonical form, without regard to case. In format parameters both are looked for in pieces as
//! well (`pieces`), and in the claims that an Identity header hides in base64 (`hidden`). Not matched are our own words (`ours`): addresses, ports and ids that have the
//! digits of a number by chance.
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

mod hidden;
mod ours;
mod pieces;
mod scan;
#[cfg(test)]
mod tests;

use crate::domain::Side;
use bytes::{Bytes, BytesMut};
use scan::{Hit, Pattern, Watch};
use smallvec::SmallVec;
use std::net::IpAddr;
use std::sync::Arc;

/// Most numbers protected towards one side, and addresses learnt from one side; further ones are
/// refused by `protect` and `learn`, which say so.
const MOST: usize = 48;

/// Room for numbers when the first is protected.
const FIRST_NUMBERS: usize = 8;

/// Shortest run of digits that is protected: shorter ones are in every message by chance.
const SHORTEST_NUMBER: usize = 5;

/// What may not leave towards each side of one call.
///
/// Addresses belong to the side that *uses* them and are protected towards the other one, less
/// those that the other one uses too.
#[derive(Debug, Default)]
pub struct Guard {
    /// Digits that must not reach the caller, the callee.
    numbers: [SmallVec<[Box<str>; 0]>; 2],
    /// Addresses that the caller, the callee uses.
    addresses: [SmallVec<[Box<str>; 2]>; 2],
    /// Our own addresses: their digits are no number.
    own: Arc<[IpAddr]>,
}

/// What in a message is an echo of its receiver's own words (RFC 3261 §8.2.6.2, §12.2.1.1).
#[derive(Clone, Copy, Debug)]
pub enum Echo<'a> {
    /// A response: Via, From, To, Call-ID and CSeq are copied from the request.
    Response,
    /// A request: what of its start line, Route, From, To, Call-ID stands in one of these strings,
    /// which the receiver sent.
    Request(&'a [&'a str]),
}

/// What the guard says of a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may go as it is.
    Clean,
    /// It may go without these header fields.
    Cleaned {
        /// What is left.
        bytes: Bytes,
        /// Names of the fields taken out.
        fields: Vec<Box<str>>,
    },
    /// It must not go: something that it cannot do without holds a protected value.
    Withheld(Box<str>),
}

const fn index(side: Side) -> usize {
    match side {
        Side::Caller => 0,
        Side::Callee => 1,
    }
}

impl Guard {
    /// A guard that knows our own addresses.
    #[must_use]
    pub fn new(own: Arc<[IpAddr]>) -> Self {
        Self {
            own,
            ..Self::default()
        }
    }

    /// Keeps a number from `towards` from now on, in the spelling given: all but its digits is
    /// left out. The form with the international prefix `00` is kept away with it. False where
    /// there are too many or it is too short to be told from chance.
    pub fn protect(&mut self, towards: Side, spelling: &str) -> bool {
        let mut digits = String::with_capacity(spelling.len());
        digits.extend(spelling.chars().filter(char::is_ascii_digit));
        if digits.len() < SHORTEST_NUMBER {
            return false;
        }
        let international = (!digits.starts_with('0')).then(|| format!("00{digits}"));
        let Some(numbers) = self.numbers.get_mut(index(towards)) else {
            return false;
        };
        if numbers.is_empty() {
            numbers.reserve(FIRST_NUMBERS);
        }
        for number in std::iter::once(digits).chain(international) {
            if numbers.iter().any(|known| **known == *number) {
                continue;
            }
            if numbers.len() >= MOST {
                return false;
            }
            numbers.push(number.into_boxed_str());
        }
        true
    }

    /// Notes an address that `side` uses. False where there are too many.
    pub fn learn_ip(&mut self, side: Side, address: IpAddr) -> bool {
        if address.is_unspecified() {
            return true; // a hold by c=0.0.0.0 is passed as meant (sip-bridging 3)
        }
        let Some(known) = self.addresses.get(index(side)) else {
            return false;
        };
        if known.iter().any(|text| text.parse() == Ok(address)) {
            return true;
        }
        self.keep(side, address.to_string())
    }

    /// Notes a host, an IP literal or a name, that `side` uses, as it wrote it. Names without a
    /// dot are not kept: they are words, and words are everywhere. False where there are too many.
    pub fn learn_host(&mut self, side: Side, host: &str) -> bool {
        let host = host.trim_matches(['[', ']']);
        if let Ok(address) = host.parse::<IpAddr>() {
            let known = self.learn_ip(side, address);
            // An IPv6 literal may be written in many ways.
            return match address {
                IpAddr::V4(_) => known,
                IpAddr::V6(_) => known && self.keep(side, host.to_ascii_lowercase()),
            };
        }
        let name = host.trim_end_matches('.');
        let told = name.contains('.') && name.len() >= 4 && !name.ends_with(".invalid");
        !told || self.keep(side, name.to_ascii_lowercase())
    }

    fn keep(&mut self, side: Side, text: String) -> bool {
        let Some(addresses) = self.addresses.get_mut(index(side)) else {
            return false;
        };
        if addresses.iter().any(|known| **known == *text) {
            return true;
        }
        if addresses.len() >= MOST {
            return false;
        }
        addresses.push(text.into_boxed_str());
        true
    }

    /// What is to be looked for in messages towards `side`.
    fn watch(&self, side: Side) -> Watch<'_> {
        let mut watch = Watch::default();
        if let Some(numbers) = self.numbers.get(index(side)) {
            for digits in numbers {
                watch.add(Pattern::Number(digits));
            }
        }
        let (Some(theirs), Some(own)) = (
            self.addresses.get(index(side.other())),
            self.addresses.get(index(side)),
        ) else {
            return watch;
        };
        for text in theirs {
            if !own.contains(text) {
                watch.add(Pattern::Address(text));
            }
        }
        watch
    }

    /// Looks at the final bytes of a message towards `side`.
    #[must_use]
    pub fn check(&self, message: &Bytes, side: Side, echo: Echo<'_>) -> Verdict {
        let watch = self.watch(side);
        if watch.is_empty() {
            return Verdict::Clean;
        }
        let mut current = message.clone();
        let mut fields: Vec<Box<str>> = Vec::new();
        while let Some((at, place)) = self.offending(&current, &watch, (side, echo)) {
            match place {
                Place::Removable(name) => {
                    fields.push(name);
                    current = without_line(&current, at);
                }
                Place::Fixed(name) => return Verdict::Withheld(name),
            }
        }
        if fields.is_empty() {
            Verdict::Clean
        } else {
            Verdict::Cleaned {
                bytes: current,
                fields,
            }
        }
    }
}

impl Guard {
    /// The first hit that is neither an echo nor our own word, and where it stands.
    fn offending(
        &self,
        message: &[u8],
        watch: &Watch<'_>,
        (side, echo): (Side, Echo<'_>),
    ) -> Option<(usize, Place)> {
        let mut head_end = None;
        let mut from = 0;
        while let Some(hit) = watch.next(message, from) {
            let head = *head_end.get_or_insert_with(|| head_length(message));
            let (start, end) = line_around(message, hit.start);
            let line = message.get(start..end).unwrap_or_default();
            let in_body = hit.start >= head;
            if watch.is_number(&hit) && self.is_ours((line, start), in_body, &hit, side) {
                from = hit.start.saturating_add(1);
                continue;
            }
            if in_body {
                return Some((hit.start, place_in_body(line)));
            }
            match place(line, start == 0, &hit, watch, echo) {
                Some(place) => return Some((hit.start, place)),
                None => from = hit.end,
            }
        }
        let length = head_end.unwrap_or_else(|| head_length(message));
        if let Some(place) = in_pieces(message, length, watch) {
            return Some(place);
        }
        let at = hidden::in_claims(message.get(..length)?, watch)?;
        Some((at, Place::Removable("Identity".into())))
    }

    /// Whether a number was found in our own words, or in the receiver's own address.
    fn is_ours(&self, line: (&[u8], usize), in_body: bool, hit: &Hit, side: Side) -> bool {
        let (line, start) = line;
        let place = hit.start.saturating_sub(start)..hit.end.saturating_sub(start);
        let theirs = self.addresses.get(index(side)).map(SmallVec::as_slice);
        ours::holds(line, in_body, &place, |address| {
            let mut theirs = theirs.unwrap_or_default().iter();
            self.own.contains(&address) || theirs.any(|text| text.parse() == Ok(address))
        })
    }
}

/// Where a hit in the head stands; `None` if it is an echo.
fn place(
    line: &[u8],
    is_first: bool,
    hit: &Hit,
    watch: &Watch<'_>,
    echo: Echo<'_>,
) -> Option<Place> {
    let colon = line.iter().position(|byte| *byte == b':');
    let name = match colon {
        Some(colon) if !is_first => line.get(..colon).unwrap_or_default(),
        _ => b"start line".as_slice(),
    };
    let name = String::from_utf8_lossy(name.get(..name.len().min(32)).unwrap_or_default());
    let role = role(&name);
    let echoed = match echo {
        Echo::Response => matches!(role, Role::Copied),
        Echo::Request(sent) => {
            !matches!(role, Role::Optional)
                && sent.iter().any(|text| watch.holds(text.as_bytes(), hit))
        }
    };
    if echoed {
        return None;
    }
    let name: Box<str> = name.into_owned().into();
    Some(match role {
        Role::Optional => Place::Removable(name),
        Role::Copied | Role::Needed => Place::Fixed(name),
    })
}

/// Where a hit stands, by what can be done about it.
enum Place {
    /// A header field, or a line of a description, that the message can do without.
    Removable(Box<str>),
    /// Start line, mandatory header field or body.
    Fixed(Box<str>),
}

/// The first line of format parameters in which a protected value stands in pieces.
fn in_pieces(message: &[u8], head: usize, watch: &Watch<'_>) -> Option<(usize, Place)> {
    let mut at = head;
    for line in message.get(at..)?.split(|byte| *byte == b'\n') {
        if line.starts_with(pieces::BEGINNING) && pieces::stand_in(line, watch) {
            return Some((at, Place::Removable("body a=fmtp".into())));
        }
        at = at.saturating_add(line.len()).saturating_add(1);
    }
    None
}

/// Where a hit in a body stands. A description can do without format parameters and bandwidth.
fn place_in_body(line: &[u8]) -> Place {
    if line.starts_with(pieces::BEGINNING) {
        return Place::Removable("body a=fmtp".into());
    }
    let name = String::from_utf8_lossy(line.get(..2).unwrap_or(b"?"));
    let name = format!("body {name}").into();
    match line {
        [b'b', b'=', ..] => Place::Removable(name),
        _ => Place::Fixed(name),
    }
}

/// What a header field is to the message that carries it.
enum Role {
    /// In a response copied from the request (RFC 3261 §8.2.6.2).
    Copied,
    /// The message is nothing without it.
    Needed,
    /// It can go.
    Optional,
}

fn role(name: &str) -> Role {
    match name.to_ascii_lowercase().as_str() {
        "via" | "from" | "to" | "call-id" | "cseq" | "record-route" => Role::Copied,
        "start line"
        | "route"
        | "contact"
        | "max-forwards"
        | "content-length"
        | "content-type"
        | "authorization"
        | "proxy-authorization" => Role::Needed,
        _ => Role::Optional,
    }
}

/// Length of start line and header fields with the empty line that ends them.
fn head_length(message: &[u8]) -> usize {
    memchr::memmem::find(message, b"\r\n\r\n").map_or(message.len(), |at| at.saturating_add(4))
}

/// Bounds of the line that holds `at`, its line end left out.
fn line_around(message: &[u8], at: usize) -> (usize, usize) {
    let before = message.get(..at).unwrap_or_default();
    let start = before
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at.saturating_add(1));
    let after = message.get(at..).unwrap_or_default();
    let end = after
        .iter()
        .position(|byte| *byte == b'\r' || *byte == b'\n')
        .map_or(message.len(), |length| at.saturating_add(length));
    (start, end)
}

/// The message without the line that holds `at`.
fn without_line(message: &Bytes, at: usize) -> Bytes {
    let (start, end) = line_around(message, at);
    let rest = message.get(end..).unwrap_or_default();
    let rest = rest
        .strip_prefix(b"\r\n")
        .or_else(|| rest.strip_prefix(b"\n"))
        .unwrap_or(rest);
    let mut left = BytesMut::with_capacity(message.len());
    left.extend_from_slice(message.get(..start).unwrap_or_default());
    left.extend_from_slice(rest);
    let left = left.freeze();
    if at < head_length(message) {
        return left;
    }
    with_length(&left)
}

/// The message with the Content-Length that its body has.
fn with_length(message: &Bytes) -> Bytes {
    const NAME: &[u8] = b"content-length:";
    let head = head_length(message);
    let mut start = 0usize;
    for line in message
        .get(..head)
        .unwrap_or_default()
        .split(|b| *b == b'\n')
    {
        let end = start.saturating_add(line.len());
        let named = line.get(..NAME.len());
        if named.is_some_and(|name| name.eq_ignore_ascii_case(NAME)) {
            let length = message.len().saturating_sub(head);
            let mut changed = BytesMut::with_capacity(message.len());
            changed.extend_from_slice(message.get(..start).unwrap_or_default());
            changed.extend_from_slice(format!("Content-Length: {length}\r").as_bytes());
            changed.extend_from_slice(message.get(end..).unwrap_or_default());
            return changed.freeze();
        }
        start = end.saturating_add(1);
    }
    message.clone()
}
