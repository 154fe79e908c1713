//! INVITEs that we ourselves sent, come back (RFC 3261 §16.3, §8.2.2.2), and such as would put
//! themselves in the place of another call (RFC 3891, RFC 3911).

use super::compose::Refusal;
use super::core::Core;
use super::screening::malformed;
use crate::sip::dialog::Tag;
use crate::sip::message::{Header, Message};

/// A loop: 482 with "exchange routing error".
pub(super) fn looped() -> Refusal {
    Refusal::because(482, 25)
}

/// Whether an INVITE is one of ours, by whatever way it came: its From-tag is of a dialog of ours,
/// or we stand in its Via.
pub(super) fn is_ours(message: &Message, core: &Core) -> bool {
    let tag = Tag::read(message.from_tag());
    tag.is_some_and(|tag| core.dialogs.contains_key(&tag))
        || message
            .all(Header::Via)
            .filter_map(sent_by)
            .any(|sent_by| core.is_advertised(sent_by))
}

/// `host[:port]` of a Via value.
fn sent_by(via: &str) -> Option<&str> {
    let end = via.find(';').unwrap_or(via.len());
    let (_, sent_by) = via.get(..end)?.trim().rsplit_once([' ', '\t'])?;
    Some(sent_by)
}

/// An INVITE that would replace or join another dialog: never done, since either would put somebody
/// else into a call that a lease paid for. To its sender it is as if there were no such dialog
/// (RFC 3891 §3, RFC 3911 §4: 481), whether there is or not; two of them are 400.
pub(super) fn takeover(message: &Message) -> Result<(), Refusal> {
    let replaces = message.all(Header::Replaces).count();
    let joins = message.all(Header::Join).count();
    match (replaces, joins) {
        (0, 0) => Ok(()),
        (1, 0) | (0, 1) => Err(Refusal::of(481)),
        (0, _) => Err(malformed("Repeated Join")),
        (_, 0) => Err(malformed("Repeated Replaces")),
        _ => Err(malformed("Replaces And Join")),
    }
}

/// In a dialog they have no place at all: 400, for 481 would say that this one is gone.
pub(super) fn takeover_inside(message: &Message) -> Result<(), Refusal> {
    takeover(message).map_err(|_| malformed("Replaces Or Join In A Dialog"))
}

#[cfg(test)]
mod tests {
    use super::sent_by;

    #[test]
    fn the_sent_by_of_a_via_is_found() {
        for (via, expected) in [
            (
                "SIP/2.0/UDP 192.0.2.1:5060;branch=z",
                Some("192.0.2.1:5060"),
            ),
            ("SIP / 2.0 / TCP  gw.example ; branch=z", Some("gw.example")),
            ("SIP/2.0/UDP [2001:db8::1]:5062", Some("[2001:db8::1]:5062")),
            ("nonsense", None),
        ] {
            assert_eq!(sent_by(via), expected);
        }
    }
}
