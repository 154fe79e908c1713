//! Who may call what: the rows of sip-bridging 2 that need no books, in their order. The books ask
//! the lease again, and decide on account, credit and caps.

use super::context::{Context, Dialled, SingleCallerId};
use super::event::{Admission, CallerId, Identity, Invite, Refusal};
use crate::domain::{CallRecord, E164, LeaseKind};

/// Longest dialled string kept in a record.
const DIALLED_LENGTH: usize = 32;

/// A call that may be put before the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Number dialled.
    pub dialled: E164,
    /// Caller's number, where usable.
    pub caller: Option<E164>,
}

/// Fills `record` with what the INVITE tells, refused or not. Returns the number dialled, if it is
/// one.
pub fn describe(invite: &Invite, record: &mut CallRecord, context: &Context<'_>) -> Option<E164> {
    record.call_id = invite.call_id;
    record.caller_leg_call_id = invite.leg_call_id.clone();
    record.caller = usable_number(&invite.identity, invite, context);
    let dialled = context.numbering.normalise(invite.trunk, &invite.dialled);
    record.leased_number = match dialled {
        Some(number) => number.to_string().into(),
        None => invite.dialled.chars().take(DIALLED_LENGTH).collect(),
    };
    record.trunk_in = match context.trunks.get(invite.trunk) {
        Some(trunk) => Box::from(&*trunk.name),
        None => Box::from(""),
    };
    dialled
}

/// The rows from "an emergency number dialled" to "caller is not the other member"; the trunk's
/// caps, which stand before them, are counted by [`super::routing::Trunks::admit`]. What is learnt
/// of the lease on the way goes into `record`.
///
/// # Errors
/// The first row that fails.
pub fn check(
    invite: &Invite,
    dialled: Option<E164>,
    record: &mut CallRecord,
    context: &Context<'_>,
) -> Result<Candidate, Refusal> {
    if context
        .numbering
        .is_emergency(invite.trunk, &invite.dialled)
    {
        return Err(Refusal::Emergency);
    }
    let dialled = dialled.ok_or(Refusal::UnknownNumber)?;
    let caller = record.caller;
    match context.directory.lookup(dialled) {
        Dialled::Unknown => Err(Refusal::UnknownNumber),
        Dialled::NotLeased => Err(Refusal::NoLease),
        Dialled::Leased {
            kind,
            customer,
            only_caller,
            whitelist,
        } => {
            record.lease_kind = Some(kind);
            record.customer_id = Some(customer);
            match kind {
                LeaseKind::Single => {
                    if whitelist && !context.directory.whitelisted(dialled, caller) {
                        return Err(Refusal::NotOnWhitelist);
                    }
                }
                LeaseKind::Group => {
                    let caller = caller.ok_or(Refusal::NoIdentity)?;
                    if only_caller != Some(caller) {
                        return Err(Refusal::NotMember);
                    }
                }
            }
            Ok(Candidate { dialled, caller })
        }
    }
}

/// The caller's number where it may be used: known, and not withheld unless a trusted trunk
/// asserted it (sip-bridging 2).
fn usable_number(identity: &Identity, invite: &Invite, context: &Context<'_>) -> Option<E164> {
    if identity.user.is_empty() || (identity.withheld && !identity.asserted) {
        return None;
    }
    context
        .numbering
        .normalise_identity(invite.trunk, &identity.user)
}

/// What the callee sees (sip-bridging 4).
#[must_use]
pub fn caller_id(
    admission: &Admission,
    candidate: Candidate,
    identity: &Identity,
    policy: SingleCallerId,
) -> CallerId {
    let bare = |number| CallerId::Number {
        number,
        display_name: Box::from(""),
    };
    match (admission.kind, policy) {
        // Without a leased number to show nothing is shown: the caller's own never is.
        (LeaseKind::Group, _) => admission.shown.map_or(CallerId::Withheld(None), bare),
        (LeaseKind::Single, SingleCallerId::Leased) => bare(candidate.dialled),
        (LeaseKind::Single, SingleCallerId::Pass) if identity.withheld => {
            CallerId::Withheld(candidate.caller)
        }
        (LeaseKind::Single, SingleCallerId::Pass) => match candidate.caller {
            Some(number) => CallerId::Number {
                number,
                display_name: identity.display_name.clone(),
            },
            None if identity.user.is_empty() => CallerId::Withheld(None),
            None => CallerId::Verbatim {
                user: identity.user.clone(),
                display_name: identity.display_name.clone(),
            },
        },
    }
}

/// How the record writes what the callee saw.
#[must_use]
pub fn shown(caller_id: &CallerId) -> Box<str> {
    match caller_id {
        CallerId::Number { number, .. } => number.to_string().into(),
        CallerId::Verbatim { user, .. } => user.chars().take(DIALLED_LENGTH).collect(),
        CallerId::Withheld(_) => Box::from("anonymous"),
    }
}

/// Numbers that must not reach the caller (the subscriber's), or on a group call the callee (the
/// caller's): E.164 digits, national forms, the client's spelling. Nothing where it is the
/// receiving side's own number.
#[must_use]
pub fn protected(
    number: E164,
    spelling: &str,
    receiver: Option<E164>,
    context: &Context<'_>,
) -> Vec<Box<str>> {
    let mut set: Vec<Box<str>> = Vec::new();
    if receiver == Some(number) {
        return set;
    }
    set.push(number.digits().into());
    let mut add = |spelled: Box<str>| {
        if !spelled.is_empty() && !set.contains(&spelled) {
            set.push(spelled);
        }
    };
    for national in context.numbering.national(number) {
        add(national);
    }
    add(Box::from(spelling));
    set
}
