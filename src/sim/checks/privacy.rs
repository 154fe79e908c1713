//! Nothing of one side reaches the other (sip-bridging 4).

use crate::domain::{CallRecord, LeaseKind};

/// Significant digits of every subscriber: what is left of any spelling of their number.
fn significant(number: &str) -> &str {
    number.strip_prefix("60").unwrap_or(number)
}

/// What may never go to a caller: who else there is, and where callees are. `own` is the number
/// that the caller gave.
pub fn to_caller(bytes: &[u8], own: &str) -> Result<(), String> {
    use super::super::plan::{ALICE, BOB, STRANGER};
    for other in [ALICE, BOB, STRANGER] {
        if other != own {
            keeps(bytes, significant(other))?;
        }
    }
    for place in ["10.2.0.", "10.3.0.", "fd00:2:", "fd00:3:"] {
        keeps(bytes, place)?;
    }
    Ok(())
}

/// What may never go to any callee: where callers are.
pub fn to_callee(bytes: &[u8]) -> Result<(), String> {
    keeps(bytes, "10.1.0.")?;
    keeps(bytes, "fd00:1:")
}

/// What may not go to the callee of this call: on a group call, and where the configuration hides
/// all callers, who calls.
pub fn to_callee_of(record: &CallRecord, hidden: bool, bytes: &[u8]) -> Result<(), String> {
    match record.caller {
        // Who calls the number that stands for them is known to the callee.
        Some(caller)
            if (hidden || record.lease_kind == Some(LeaseKind::Group))
                && record.callee != Some(caller) =>
        {
            keeps(bytes, significant(&caller.digits()))
        }
        _ => Ok(()),
    }
}

fn keeps(bytes: &[u8], what: &str) -> Result<(), String> {
    if let Some(claims) = claims(bytes) {
        visible(&claims, what)?;
    }
    visible(bytes, what)
}

/// What an Identity header of the message hides in base64.
fn claims(message: &[u8]) -> Option<Vec<u8>> {
    let name = b"\r\nIdentity: ";
    let at = memchr::memmem::find(message, name)? + name.len();
    let line = message[at..].split(|byte| *byte == b'\r').next()?;
    Some(crate::sip::passport::payload(line).expect("an Identity of ours is whole"))
}

fn visible(bytes: &[u8], what: &str) -> Result<(), String> {
    match memchr::memmem::find(bytes, what.as_bytes()) {
        None => Ok(()),
        Some(at) => {
            let from = at.saturating_sub(60);
            let to = (at + 40).min(bytes.len());
            let around = String::from_utf8_lossy(&bytes[from..to]).into_owned();
            Err(format!("{what} leaks: {around:?}"))
        }
    }
}
