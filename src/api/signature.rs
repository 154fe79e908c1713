//! The request signature (lease-api 3): HMAC-SHA256 over method, path and sorted parameters, for API
//! clients that have a signing secret.

use super::form::Form;
use super::status::SIGNATURE;
use crate::books::command::Code;
use crate::domain::UnixMillis;
use ring::hmac;

/// How far a request's `ts` may be from our clock, seconds.
const TOLERANCE_SECONDS: u64 = 300;

/// Checks `ts` and `sign` of a request for `path` (from `/api` on).
///
/// # Errors
/// Status 7: missing, wrong or stale.
pub fn verify(key: &hmac::Key, path: &str, form: &Form<'_>, now: UnixMillis) -> Result<(), Code> {
    let seconds: u64 = form
        .get("ts")
        .and_then(|ts| ts.parse().ok())
        .ok_or(SIGNATURE)?;
    if seconds.abs_diff(now.0 / 1000) > TOLERANCE_SECONDS {
        return Err(SIGNATURE);
    }
    let tag = form.get("sign").and_then(tag).ok_or(SIGNATURE)?;
    // Constant-time comparison is ring's.
    hmac::verify(key, canonical(path, form).as_bytes(), &tag).map_err(|_| SIGNATURE)
}

/// What is signed: `POST`, the path and the parameters other than `sign`, a line each.
#[must_use]
pub fn canonical(path: &str, form: &Form<'_>) -> String {
    let mut text = String::with_capacity(256);
    text.push_str("POST\n");
    text.push_str(path);
    text.push('\n');
    let signed = form.iter().filter(|(name, _)| *name != "sign");
    for (place, (name, value)) in signed.enumerate() {
        if place > 0 {
            text.push('&');
        }
        percent_encode(name, &mut text);
        text.push('=');
        percent_encode(value, &mut text);
    }
    text
}

/// RFC 3986 section 2.3: everything but the unreserved characters is encoded.
fn percent_encode(value: &str, out: &mut String) {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F',
    ];
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for digit in [byte >> 4, byte & 15] {
                out.extend(DIGITS.get(usize::from(digit)));
            }
        }
    }
}

/// 64 lower-case hexadecimal digits.
fn tag(sign: &str) -> Option<[u8; 32]> {
    let mut tag = [0u8; 32];
    if sign.len() != 64
        || sign
            .bytes()
            .any(|b| !matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    {
        return None;
    }
    for (place, byte) in tag.iter_mut().enumerate() {
        let digits = sign.get(place * 2..place * 2 + 2)?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

    fn key() -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, b"a signing secret")
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn the_canonical_text_is_the_contracts() {
        let form = Form::parse("b=2+3&sign=x", "a=é/~&c=".as_bytes()).unwrap();
        assert_eq!(
            canonical("/api/v1/leasesingle/request", &form),
            "POST\n/api/v1/leasesingle/request\na=%C3%A9%2F~&b=2%203&c="
        );
    }

    #[test]
    fn only_the_right_signature_of_now_passes() {
        let signed = |ts: u64| {
            let text = format!("POST\n/api/v1/x/y\na=1&ts={ts}");
            hex(hmac::sign(&key(), text.as_bytes()).as_ref())
        };
        let check = |body: String| {
            verify(
                &key(),
                "/api/v1/x/y",
                &Form::parse("", body.as_bytes()).unwrap(),
                NOW,
            )
        };
        let ts = NOW.0 / 1000;
        assert_eq!(check(format!("a=1&ts={ts}&sign={}", signed(ts))), Ok(()));
        for body in [
            format!("a=1&ts={ts}"),
            format!("a=1&sign={}", signed(ts)),
            format!("a=2&ts={ts}&sign={}", signed(ts)),
            format!("a=1&b=&ts={ts}&sign={}", signed(ts)),
            format!("a=1&ts={ts}&sign={}", signed(ts).to_uppercase()),
            format!("a=1&ts={}&sign={}", ts - 301, signed(ts - 301)),
            format!("a=1&ts={}&sign={}", ts + 301, signed(ts + 301)),
        ] {
            assert_eq!(check(body), Err(SIGNATURE));
        }
        assert_eq!(
            check(format!("a=1&ts={}&sign={}", ts - 300, signed(ts - 300))),
            Ok(())
        );
    }
}
