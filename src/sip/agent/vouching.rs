//! The Identity header, both ways (RFC 8224): what an INVITE presents, and what ours carries. An
//! inbound one never goes further: ours is made of what the callee is shown and of nothing else.

use super::core::Core;
use super::settings::Trunk;
use crate::call::event::{CallerId, Dial};
use crate::domain::{Now, Presented};
use crate::sip::message::{Header, Message, Writer};
use crate::sip::passport::{self, Claims};
use std::time::Duration;

/// What a trunk's INVITEs must present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdentityPolicy {
    /// Nobody looks.
    #[default]
    Off,
    /// It is verified and recorded; the call goes on whatever comes of it.
    Record,
    /// Without a valid one the call is refused.
    Require,
}

/// What an INVITE presents, where its trunk's policy asks for it.
pub(super) fn presented(
    invite: &Message,
    policy: IdentityPolicy,
    max_age: Duration,
    now: Now,
) -> Option<Presented> {
    if policy == IdentityPolicy::Off {
        return None;
    }
    let passport = passport::read(invite.all(Header::Identity), now.wall.0 / 1000, max_age);
    Some(Presented {
        passport,
        required: policy == IdentityPolicy::Require,
    })
}

/// Signs an INVITE of ours, where there is a key and the trunk is to get it. Only a number can be
/// signed (RFC 8588 §4), and a withheld one is not: a PASSporT would carry it past whoever takes
/// out what `Privacy` names.
pub(super) fn sign(dial: &Dial, trunk: &Trunk, core: &Core, writer: &mut Writer) -> bool {
    let Some(signer) = core.settings.signer.as_ref().filter(|_| trunk.sign) else {
        return false;
    };
    let CallerId::Number { number, .. } = &dial.caller_id else {
        return false;
    };
    let identity = signer.sign(&Claims {
        attestation: dial.attestation,
        orig: *number,
        dest: dial.number,
        call: dial.call_id.0,
        issued_at: core.wall.0 / 1000,
    });
    writer.header(Header::Identity, &identity);
    true
}
