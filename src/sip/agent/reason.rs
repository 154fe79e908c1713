//! The Reason header: RFC 3326 in requests, RFC 6432 in responses.

use crate::call::event::Cause;
use crate::sip::message::{Header, Message};

/// Q.850 cause "normal call clearing": what a BYE or CANCEL without a better one says.
const NORMAL_CLEARING: u8 = 16;

/// Reads all Reason values of a message. What is not there or cannot be read stays 0.
pub(super) fn read(message: &Message) -> Cause {
    let mut cause = Cause::default();
    for value in message.all(Header::Reason) {
        let mut parts = value.split(';').map(str::trim);
        let protocol = parts.next().unwrap_or_default();
        let figure = parts.find_map(|part| {
            let (name, figure) = part.split_once('=')?;
            name.trim()
                .eq_ignore_ascii_case("cause")
                .then(|| figure.trim().trim_matches('"'))
        });
        let Some(figure) = figure else { continue };
        if protocol.eq_ignore_ascii_case("Q.850") && cause.q850 == 0 {
            cause.q850 = figure.parse().ok().filter(|q| *q < 128).unwrap_or(0);
        } else if protocol.eq_ignore_ascii_case("SIP") && cause.sip == 0 {
            let status = figure.parse().ok();
            cause.sip = status.filter(|s| (200..700).contains(s)).unwrap_or(0);
        }
    }
    cause
}

/// The value for a BYE or CANCEL of ours: always a Q.850 cause (sip-bridging 3).
pub(super) fn of_request(cause: Cause) -> String {
    let q850 = match cause.q850 {
        0 => NORMAL_CLEARING,
        q850 => q850,
    };
    format!("Q.850;cause={q850}")
}

/// The value for a failure response of ours, where there is a cause (RFC 6432).
pub(super) fn of_response(cause: Cause) -> Option<String> {
    (cause.q850 != 0).then(|| format!("Q.850;cause={}", cause.q850))
}
