//! The Reason header: RFC 3326 in requests, RFC 6432 in responses.

use crate::call::event::Cause;
use crate::sip::message::{Header, Message};

/// Q.850 cause "normal call clearing": what a BYE or CANCEL without a better one says.
const NORMAL_CLEARING: u8 = 16;

/// Reads all Reason values of a message. What is not there or cannot be read stays 0.
pub(super) fn read(message: &Message) -> Cause {
    let mut cause = Cause::default();
    for value in message.all(Header::Reason) {
        let mut parts = parts(value).map(str::trim);
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

/// A value's protocol and parameters; a text may hold semicolons (RFC 3326 §2).
fn parts(value: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    value.split(move |character: char| match character {
        _ if escaped => {
            escaped = false;
            false
        }
        '\\' if quoted => {
            escaped = true;
            false
        }
        '"' => {
            quoted = !quoted;
            false
        }
        ';' => !quoted,
        _ => false,
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::codec;
    use bytes::Bytes;

    fn cause(headers: &str) -> (u16, u8) {
        let text = format!(
            "BYE sip:x@h SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n\
             From: <sip:j@h>;tag=t\r\nTo: <sip:x@h>;tag=u\r\nCall-ID: c\r\nCSeq: 1 BYE\r\n\
             Max-Forwards: 70\r\n{headers}Content-Length: 0\r\n\r\n"
        );
        let cause = read(&codec::parse(Bytes::from(text)).unwrap());
        (cause.sip, cause.q850)
    }

    /// RFC 3326: several values in one field or many, one a protocol that counts.
    #[test]
    fn reasons_of_several_protocols_are_read() {
        assert_eq!(
            cause("Reason: SIP;cause=600;text=\"Busy\", Q.850;cause=17\r\n"),
            (600, 17)
        );
        assert_eq!(
            cause("Reason: q.850 ; Cause=16\r\nReason: sip;cause=200\r\n"),
            (200, 16)
        );
        assert_eq!(cause("Reason: Q.850;cause=16, Q.850;cause=31\r\n"), (0, 16));
        assert_eq!(
            cause("Reason: preemption;cause=1, SIP;cause=487\r\n"),
            (487, 0)
        );
        assert_eq!(cause(""), (0, 0));
    }

    #[test]
    fn a_reasons_text_is_no_cause() {
        let hidden = "Reason: Q.850;text=\"a;cause=99, SIP;cause=404\";cause=16\r\n";
        assert_eq!(cause(hidden), (0, 16));
        assert_eq!(
            cause("Reason: Q.850;text=\"\\\";cause=99\";cause=18\r\n"),
            (0, 18)
        );
    }

    #[test]
    fn malformed_reasons_count_for_nothing() {
        for text in [
            "Q.850",
            "Q.850;cause",
            "Q.850;cause=",
            "Q.850;cause=128",
            "Q.850;cause=-1",
            "Q.850;cause=999999999999",
            "Q.850;cause=sixteen",
            "SIP;cause=99",
            "SIP;cause=700",
            ";cause=16",
            "Q.850;text=\"open;cause=16",
        ] {
            assert_eq!(cause(&format!("Reason: {text}\r\n")), (0, 0), "{text}");
        }
    }
}
