//! Who calls, as the trunk's trust rule has it (sip-bridging 1, 2; RFC 3325, RFC 3323).

use crate::call::event::Identity;
use crate::sip::codec;
use crate::sip::message::{Header, Message, NameAddr, Uri};

/// Longest user part or display name that is taken over.
const LONGEST: usize = 128;

/// The caller's identity in an INVITE.
pub(super) fn read(invite: &Message, trusted: bool) -> Identity {
    let withheld = privacy_asked(invite);
    let from = invite.get(Header::From).and_then(NameAddr::parse);
    let asserted = trusted.then(|| asserted(invite)).flatten();
    let anonymous = from.as_ref().is_none_or(is_anonymous);
    if let Some((user, name)) = asserted {
        return Identity {
            user: user.into(),
            display_name: display(&name),
            withheld: withheld || anonymous,
            asserted: true,
        };
    }
    let Some(from) = from.filter(|_| !anonymous) else {
        return Identity {
            withheld: true,
            ..Identity::default()
        };
    };
    let user = Uri::parse(from.uri).map_or(String::new(), |uri| user_of(&uri));
    Identity {
        user: user.into(),
        display_name: display(&from),
        withheld,
        asserted: false,
    }
}

/// The P-Asserted-Identity that names somebody. There may be two, a `sip` and a `tel` one (RFC
/// 3325 §9.1): a telephone number is of more use than a name, else the first counts.
fn asserted(invite: &Message) -> Option<(String, NameAddr<'_>)> {
    let mut first = None;
    for name in invite
        .all(Header::PAssertedIdentity)
        .filter_map(NameAddr::parse)
    {
        let user = Uri::parse(name.uri).map_or(String::new(), |uri| user_of(&uri));
        if is_telephone(&user) {
            return Some((user, name));
        }
        if first.is_none() && !user.is_empty() && !user.eq_ignore_ascii_case("anonymous") {
            first = Some((user, name));
        }
    }
    first
}

/// Whether a user part is a telephone number: digits, perhaps `+` before and visual separators
/// between them (RFC 3966 §5.1.1).
fn is_telephone(user: &str) -> bool {
    let digits = user.strip_prefix('+').unwrap_or(user);
    let figure = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'(' | b')');
    digits.bytes().any(|byte| byte.is_ascii_digit()) && digits.bytes().all(figure)
}

/// Privacy: id, header or user (RFC 3323 §4.2, RFC 3325 §9.3).
fn privacy_asked(invite: &Message) -> bool {
    invite
        .all(Header::Privacy)
        .flat_map(|value| value.split([';', ',']))
        .any(|token| {
            ["id", "header", "user"]
                .iter()
                .any(|asked| token.trim().eq_ignore_ascii_case(asked))
        })
}

/// An anonymous From (RFC 3323 §4.1.1.3).
fn is_anonymous(from: &NameAddr<'_>) -> bool {
    Uri::parse(from.uri).is_none_or(|uri| {
        uri.user.eq_ignore_ascii_case("anonymous")
            || uri.host.eq_ignore_ascii_case("anonymous.invalid")
    })
}

/// Who a URI names: its user part or `tel` number, as text. A local number whose `phone-context` is a
/// global one is within that (RFC 3966 §5.1.5); a context that is a domain name says nothing here.
pub(super) fn user_of(uri: &Uri<'_>) -> String {
    let (user, params) = match uri.user.find(';') {
        Some(at) => uri.user.split_at(at),
        None if uri.scheme == "tel" => (uri.user, uri.params),
        None => (uri.user, ""),
    };
    let number = text(user);
    if number.starts_with('+') || !is_telephone(&number) {
        return number;
    }
    let context = codec::param(params, "phone-context").map(text);
    match context.filter(|context| context.starts_with('+') && is_telephone(context)) {
        Some(context) => printable(&format!("{context}{number}")),
        None => number,
    }
}

/// Percent-decoded and bounded. What cannot be printed is kept as a mark, or it would make one
/// number of another.
fn text(user: &str) -> String {
    let mut bytes = Vec::with_capacity(user.len());
    let mut rest = user.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if let (b'%', Some(value)) = (*first, tail.get(..2).and_then(hex_byte)) {
            bytes.push(value);
            rest = tail.get(2..).unwrap_or_default();
        } else {
            bytes.push(*first);
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let marked = |character: char| match character.is_control() {
        true => char::REPLACEMENT_CHARACTER,
        false => character,
    };
    text.chars().map(marked).take(LONGEST).collect()
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(digits).ok()?;
    let hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u8::from_str_radix(text, 16).ok().filter(|_| hexadecimal)
}

/// A display name without its quotes and escapes.
fn display(name: &NameAddr<'_>) -> Box<str> {
    let text = name.display.trim();
    let Some(quoted) = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
    else {
        return printable(text).into();
    };
    let mut plain = String::with_capacity(quoted.len());
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => plain.extend(characters.next()),
            other => plain.push(other),
        }
    }
    printable(&plain).into()
}

fn printable(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .take(LONGEST)
        .collect()
}
