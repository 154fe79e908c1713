//! Telling a new INVITE from one that belongs to a call that is up, without parsing it: what
//! decides who is shed under overload and while draining (sip-bridging 2). A repeated INVITE, or
//! one inside a dialog, must not be answered 503: that would end a call.

use crate::sip::codec::MAX_HEADERS;

/// Call-ID of a request that belongs to no dialog; `None` if it belongs to one (To has a tag), or
/// if that cannot be told so cheaply.
pub(super) fn outside_dialog(datagram: &[u8]) -> Option<&[u8]> {
    let mut call_id = None;
    let mut to = None;
    for line in datagram
        .split(|byte| *byte == b'\n')
        .skip(1)
        .take(MAX_HEADERS)
    {
        let line = line.trim_ascii_end();
        if line.is_empty() {
            break;
        }
        let Some(colon) = line.iter().take(12).position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = line.split_at_checked(colon)?;
        let name = name.trim_ascii_end();
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"to") || name.eq_ignore_ascii_case(b"t") {
            to = Some(value);
        } else if name.eq_ignore_ascii_case(b"call-id") || name.eq_ignore_ascii_case(b"i") {
            call_id = Some(value);
        }
        if call_id.is_some() && to.is_some() {
            break;
        }
    }
    let tagged = to?
        .windows(4)
        .any(|window| window.eq_ignore_ascii_case(b"tag="));
    call_id.filter(|_| !tagged)
}

#[cfg(test)]
mod tests {
    use super::outside_dialog;

    #[test]
    fn a_tag_in_to_makes_the_difference() {
        let new = b"INVITE sip:a@b SIP/2.0\r\nt: <sip:a@b>\r\nI : abc@d \r\n\r\n";
        assert_eq!(outside_dialog(new), Some(b"abc@d".as_slice()));
        let inside = b"INVITE sip:a@b SIP/2.0\r\nTo: <sip:a@b>;Tag=x\r\nCall-ID: abc\r\n\r\n";
        assert_eq!(outside_dialog(inside), None);
        assert_eq!(outside_dialog(b"INVITE sip:a@b SIP/2.0\r\n\r\n"), None);
    }
}
