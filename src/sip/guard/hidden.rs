//! Protected values that base64 hides: the claims of an Identity header (RFC 8225 §5).

use super::scan::Watch;
use crate::sip::passport;

const NAMES: [&[u8]; 2] = [b"identity:", b"y:"];

/// Where a header line begins whose claims hold a protected value.
pub(super) fn in_claims(head: &[u8], watch: &Watch<'_>) -> Option<usize> {
    memchr::memchr_iter(b'\n', head)
        .map(|end| end.saturating_add(1))
        .find(|start| hides(head.get(*start..).unwrap_or_default(), watch))
}

fn hides(line: &[u8], watch: &Watch<'_>) -> bool {
    let named = |name: &&&[u8]| {
        let start = line.get(..name.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(name))
    };
    let Some(name) = NAMES.iter().find(named) else {
        return false;
    };
    let value = line.get(name.len()..).unwrap_or_default();
    let end = memchr::memchr(b'\r', value).unwrap_or(value.len());
    // What cannot be read is not let through on trust.
    let claims = passport::payload(value.get(..end).unwrap_or_default());
    claims.is_none_or(|claims| watch.next(&claims, 0).is_some())
}
