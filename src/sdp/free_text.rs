//! What the free values of a description may hold. An `a=fmtp` is opaque by RFC 8866 §6.15, so it
//! could carry a number or an address across; one that looks as if it did is dropped
//! (sip-bridging 4).

/// Digits in a row that could be a telephone number (E.164 subscribers have at least 7).
const NUMBER_DIGITS: usize = 7;

/// Whether `text` is a token of RFC 8866 §9 (`token-char`), at most `limit` bytes long.
#[must_use]
pub fn is_token(text: &str, limit: usize) -> bool {
    !text.is_empty() && text.len() <= limit && text.bytes().all(is_token_byte)
}

const fn is_token_byte(byte: u8) -> bool {
    matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.'
        | b'0'..=b'9' | b'A'..=b'Z' | b'^'..=b'~')
}

/// Whether a format parameter value may pass: printable ASCII of at most 255 bytes in which
/// neither a long run of digits nor an address nor a URI stands.
#[must_use]
pub fn may_pass(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        && !text.contains('@')
        && !text.contains('%')
        && !holds_number(text)
        && !holds_address(text)
        && !holds_uri(text)
}

/// Whether `NUMBER_DIGITS` or more digits stand in a row once separators are left out. A list
/// comma and a slash end a run: `0,1,2,3,4,5,6,7` and `111/111/111` are no numbers.
#[must_use]
pub fn holds_number(text: &str) -> bool {
    let mut run = 0;
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' => {
                run += 1;
                if run >= NUMBER_DIGITS {
                    return true;
                }
            }
            b' ' | b'-' | b'.' | b'(' | b')' | b'_' => {}
            _ => run = 0,
        }
    }
    false
}

/// Whether an IPv4 or IPv6 address stands among the words of `text`.
fn holds_address(text: &str) -> bool {
    let v4 = text
        .split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .any(|word| word.split('.').filter(|part| !part.is_empty()).count() >= 4);
    v4 || text
        .split(|c: char| !(c.is_ascii_hexdigit() || c == ':' || c == '.'))
        .any(|word| word.bytes().filter(|byte| *byte == b':').count() >= 2)
}

fn holds_uri(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    ["://", "sip:", "sips:", "tel:", "mailto:"]
        .iter()
        .any(|scheme| lower.contains(scheme))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_format_parameters_pass() {
        for text in [
            "0-15",
            "0-11,66,70",
            "annexb=no",
            "mode-set=0,1,2,3,4,5,6,7; octet-align=1",
            "useinbandfec=1; maxaveragebitrate=20000;stereo=0",
            "111/111/111",
            "mode=30",
            "br=5.9-24.4;bw=nb-swb",
        ] {
            assert!(may_pass(text), "{text}");
        }
    }

    #[test]
    fn numbers_addresses_and_uris_do_not() {
        for text in [
            "x=60123456789",
            "x=+60 12-345 6789",
            "x=60.12.345.67",
            "x=192.0.2.1",
            "x=2001:db8::1",
            "x=[::1]",
            "x=fe80::1",
            "x=alice@example.net",
            "x=sip:alice",
            "x=HTTP://a",
            "x=%36%30",
            "caf\u{e9}",
            "tab\there",
            "",
        ] {
            assert!(!may_pass(text), "{text}");
        }
        assert!(!may_pass(&"a".repeat(256)));
    }

    #[test]
    fn tokens_are_tokens() {
        assert!(is_token("telephone-event", 32));
        assert!(!is_token("a b", 32));
        assert!(!is_token("a/b", 32));
        assert!(!is_token("", 32));
        assert!(!is_token("abcd", 3));
    }
}
