//! What the free words of a description may hold. The name of an encoding is the peer's to choose,
//! so it could carry a number or an address across; one that looks as if it did is dropped
//! (sip-bridging 4). Format parameters have rules of their own: `parameters`.

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

/// Whether so many digits stand in `text` that they could be a telephone number, whatever stands
/// between them.
#[must_use]
pub fn holds_number(text: &str) -> bool {
    count_digits(text) >= NUMBER_DIGITS
}

/// Digits of `text`.
#[must_use]
pub fn count_digits(text: &str) -> usize {
    text.bytes().filter(u8::is_ascii_digit).count()
}

/// Whether an IPv4 address could stand among the words of `text`.
#[must_use]
pub fn holds_address(text: &str) -> bool {
    text.split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .any(|word| word.split('.').filter(|part| !part.is_empty()).count() >= 4)
}

/// Hexadecimal digits of an IPv4 address.
const ADDRESS_FIGURES: usize = 8;

/// Whether so many hexadecimal digits stand in a row in `text`, whatever stands between them, that
/// they could be an address.
#[must_use]
pub fn holds_hexadecimal_address(text: &str) -> bool {
    let mut row = 0;
    text.bytes().filter(u8::is_ascii_alphanumeric).any(|byte| {
        row = if byte.is_ascii_hexdigit() { row + 1 } else { 0 };
        row >= ADDRESS_FIGURES
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_addresses_are_seen() {
        for text in ["x60123456", "6-0-1-2-3-4-5", "6a0b1c2d3e4f5", "60*12+345"] {
            assert!(holds_number(text), "{text}");
        }
        for text in ["G726-40", "x601234", "DSR-ES202050"] {
            assert!(!holds_number(text), "{text}");
        }
        assert!(holds_address("a1.2.3.4"));
        assert!(!holds_address("a1.2.3"));
        for text in ["x7f008e05", "7F-00-8E-05", "cafe.babe"] {
            assert!(holds_hexadecimal_address(text), "{text}");
        }
        for text in [
            "telephone-event",
            "AAL2-G726-40",
            "mpeg4-generic",
            "MP4A-LATM",
            "BV32",
            "EVRCB0",
            "DSR-ES202050",
            "x7f008e0",
        ] {
            assert!(!holds_hexadecimal_address(text), "{text}");
        }
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
