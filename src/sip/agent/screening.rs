//! What SIP itself says of a request before anybody asks what it is for: the upper rows of
//! sip-bridging 2's table, in its order.

use super::body::{self, Unacceptable};
use super::compose::{self, Refusal};
use super::looping;
use crate::sip::dialog::reliable;
use crate::sip::message::{Header, Message, Method, NameAddr, Uri};
use bytes::Bytes;

/// Longest list of option tags repeated in Unsupported.
const LONGEST_UNSUPPORTED: usize = 256;

/// What an INVITE that passed says.
#[derive(Debug)]
pub(super) struct Screened {
    /// Its offer.
    pub(super) offer: Option<Bytes>,
    /// Its Max-Forwards, less one.
    pub(super) max_forwards: u8,
}

/// Screens an INVITE that would make a call. Whether it is a merged one is the caller's to say:
/// that comes after all of this.
pub(super) fn invite(message: &Message) -> Result<Screened, Refusal> {
    contact(message)?;
    let max_forwards = max_forwards(message)?;
    if !scheme_is_ours(message.uri()) {
        return Err(Refusal::of(416));
    }
    if let Some(refusal) = unsupported(message) {
        return Err(refusal);
    }
    looping::takeover(message)?;
    let offer = body::session(message).map_err(|Unacceptable| Refusal::of(415))?;
    if !takes_sdp(message) {
        return Err(Refusal::of(406));
    }
    if max_forwards == 0 {
        return Err(Refusal::because(483, 25));
    }
    Ok(Screened {
        offer,
        max_forwards: max_forwards.saturating_sub(1),
    })
}

/// The one Contact that an INVITE has, a SIP or SIPS URI (RFC 3261 §8.1.1.8): where its later
/// requests go must not be a matter of choice.
pub(super) fn contact(message: &Message) -> Result<(), Refusal> {
    let mut contacts = message.all(Header::Contact);
    let contact = contacts
        .next()
        .ok_or_else(|| malformed("Missing Contact"))?;
    if contacts.next().is_some() {
        return Err(malformed("Repeated Contact"));
    }
    NameAddr::parse(contact)
        .and_then(|contact| Uri::parse(contact.uri))
        .filter(|uri| uri.scheme != "tel")
        .map(|_| ())
        .ok_or_else(|| malformed("Malformed Contact"))
}

/// The refusal of an INVITE that requires reliable provisional responses where the trunk has none.
pub(super) fn unreliable() -> Refusal {
    Refusal {
        unsupported: Some(reliable::OPTION.into()),
        ..Refusal::of(420)
    }
}

/// The refusal of an INVITE whose description may hold keys that anybody on the way has read.
pub(super) fn overheard() -> Refusal {
    Refusal::because(488, 88)
}

/// Whether the sender takes what an INVITE is answered with (RFC 3261 §20.1, RFC 4475 §3.3.15).
/// Without Accept it does.
fn takes_sdp(message: &Message) -> bool {
    let mut ranges = message.all(Header::Accept).peekable();
    ranges.peek().is_none()
        || ranges.any(|range| {
            let kinds = ["application/sdp", "application/*", "*/*"];
            kinds.iter().any(|kind| body::is_type(range, kind))
        })
}

/// A merged request (RFC 3261 §8.2.2.2).
pub(super) fn merged() -> Refusal {
    Refusal::because(482, 25)
}

/// Option tags that must be understood and are not ours (RFC 3261 §8.2.2.3). ACK and CANCEL are
/// never asked.
pub(super) fn unsupported(message: &Message) -> Option<Refusal> {
    if matches!(message.method(), Method::Ack | Method::Cancel) {
        return None;
    }
    let mut tags = String::new();
    for tag in message.all(Header::Require) {
        let tag = tag.trim();
        let ours = |option: &&str| tag.eq_ignore_ascii_case(option);
        if compose::OPTIONS.iter().any(ours) {
            continue;
        }
        if tag.is_empty() || tags.len().saturating_add(tag.len()) > LONGEST_UNSUPPORTED {
            continue;
        }
        if !tags.is_empty() {
            tags.push_str(", ");
        }
        tags.push_str(tag);
    }
    (!tags.is_empty()).then(|| Refusal {
        unsupported: Some(tags.into()),
        ..Refusal::of(420)
    })
}

/// The refusal of a method that is not ours. REFER is declined: to pass it would tell one side
/// about the other (sip-bridging 3).
pub(super) fn not_ours(method: Method) -> Refusal {
    match method {
        Method::Refer => Refusal::of(603),
        _ => Refusal::of(405),
    }
}

/// Whether a Request-URI's scheme is `sip`, `sips` or `tel`.
pub(super) fn scheme_is_ours(uri: &str) -> bool {
    let scheme = uri.split(':').next().unwrap_or_default();
    ["sip", "sips", "tel"]
        .iter()
        .any(|ours| scheme.eq_ignore_ascii_case(ours))
}

fn max_forwards(message: &Message) -> Result<u8, Refusal> {
    // The codec has seen to it already.
    let text = message.get(Header::MaxForwards).unwrap_or_default();
    text.trim()
        .parse()
        .map_err(|_| malformed("Bad Max-Forwards"))
}

pub(super) fn malformed(phrase: &'static str) -> Refusal {
    Refusal {
        phrase: Some(phrase),
        ..Refusal::of(400)
    }
}

/// The number dialled: user part of the Request-URI or the `tel` number, percent-decoded, without
/// parameters; a local number within its `phone-context`.
pub(super) fn dialled(message: &Message) -> String {
    Uri::parse(message.uri()).map_or(String::new(), |uri| super::identity::user_of(&uri))
}
