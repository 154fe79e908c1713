//! Protected values that base64 hides: the claims of an Identity header (RFC 8225 §5).

use super::scan::Watch;
use crate::sip::passport;

const NAMES: [&[u8]; 2] = [b"identity:", b"y:"];

/// Where a header line begins whose claims hold a protected value.
pub(super) fn in_claims(head: &[u8], watch: &Watch<'_>) -> Option<usize> {
    let mut at = 0usize;
    for line in head.split(|byte| *byte == b'\n') {
        let named = |name: &&[u8]| {
            let start = line.get(..name.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(name))
        };
        if let Some(name) = NAMES.iter().find(|name| named(name)) {
            let claims = passport::payload(line.get(name.len()..).unwrap_or_default());
            // What cannot be read is not let through on trust.
            if claims.is_none_or(|claims| watch.next(&claims, 0).is_some()) {
                return Some(at);
            }
        }
        at = at.saturating_add(line.len()).saturating_add(1);
    }
    None
}
