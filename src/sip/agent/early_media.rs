//! P-Early-Media (RFC 5009): a trusted trunk's word on whether early media is to be heard. It is
//! read here and written anew towards a trunk that asked for it; nothing of it passes.

use crate::sip::message::{Header, Message};

/// What our INVITE to a trusted trunk says, and what one must say to be told (§8).
pub(super) const SUPPORTED: &str = "supported";

/// What goes with a description that may be heard.
pub(super) const AUTHORISED: &str = "sendrecv";

/// Whether an INVITE asks to be told.
pub(super) fn is_asked_for(invite: &Message) -> bool {
    words(invite).any(|word| word.eq_ignore_ascii_case(SUPPORTED))
}

/// Whether the sender's media may be heard before the answer: by the last direction that the
/// message names, as its sender sees it; `None` where it names none.
pub(super) fn authorised(message: &Message) -> Option<bool> {
    let directions = words(message).filter_map(|word| {
        let is = |name: &str| word.eq_ignore_ascii_case(name);
        if is("sendrecv") || is("sendonly") {
            Some(true)
        } else if is("recvonly") || is("inactive") {
            Some(false)
        } else {
            None
        }
    });
    directions.last()
}

/// The values of all its fields, parameters left out. A field may hold several, with commas.
fn words(message: &Message) -> impl Iterator<Item = &str> {
    message
        .all(Header::PEarlyMedia)
        .flat_map(|value| value.split(','))
        .map(|value| value.split(';').next().unwrap_or_default().trim())
}
