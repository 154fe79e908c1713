//! `a=crypto` (RFC 4568 §9.1): a key for SRTP in a description. A line that asks for what is not done
//! here is as if it were not there: another may stand beside it.

use crate::domain::srtp::Suite;
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::fmt;
use std::io::{self, Write};
use zeroize::Zeroizing;

/// Some leave out the padding that RFC 4568 §6.1 wants.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Characters of the longest key with its salt.
const MAX_TEXT: usize = 64;
/// Bytes that so many characters stand for.
const MAX_BYTES: usize = 48;

/// One line of a peer's description, with a suite and parameters that can be used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Crypto<'a> {
    /// Number of the line, which an answer repeats.
    pub tag: u32,
    /// The suite.
    pub suite: Suite,
    /// Key and salt in base64.
    text: &'a str,
}

impl<'a> Crypto<'a> {
    /// From the attribute's value. `None` where it is not by the grammar or cannot be used: another
    /// suite, a key of another length, several keys or a master key identifier, a rate at which keys
    /// are to be derived anew, packets in the clear, or what is not known and must not be passed over.
    #[must_use]
    pub fn read(value: &'a str) -> Option<Self> {
        let mut words = value.split(' ').filter(|word| !word.is_empty());
        let tag = words.next()?;
        if tag.len() > 9 || !tag.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let suite = Suite::of_name(words.next()?)?;
        let inline = words.next()?.strip_prefix("inline:")?;
        let mut parts = inline.split('|');
        let text = parts.next()?;
        let lifetime = parts.next();
        let sound = lifetime.is_none_or(is_lifetime) && parts.next().is_none();
        if !sound || !words.all(may_be_passed_over) {
            return None;
        }
        let crypto = Self {
            tag: tag.parse().ok()?,
            suite,
            text,
        };
        crypto.key_and_salt().map(|_| crypto)
    }

    /// The key and the salt in a row.
    #[must_use]
    pub fn key_and_salt(&self) -> Option<Zeroizing<Vec<u8>>> {
        if self.text.len() > MAX_TEXT {
            return None;
        }
        let mut bytes = Zeroizing::new(vec![0; MAX_BYTES]);
        let length = BASE64.decode_slice(self.text, &mut bytes).ok()?;
        bytes.truncate(length);
        (length == self.suite.master_length()).then_some(bytes)
    }
}

/// `2^20`, or a number (§6.1). How long its sender keeps to a key is the sender's business.
fn is_lifetime(text: &str) -> bool {
    let digits = text.strip_prefix("2^").unwrap_or(text);
    (1..=19).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// A session parameter that changes nothing for us (§6.3): a hint for the size of a window, and what
/// its sender marks as optional.
fn may_be_passed_over(parameter: &str) -> bool {
    parameter.starts_with("WSH=") || parameter.starts_with('-')
}

impl fmt::Debug for Crypto<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crypto({} {})", self.tag, self.suite.name())
    }
}

/// A line of ours.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OwnCrypto<'a> {
    /// Its number.
    pub tag: u32,
    /// The suite.
    pub suite: Suite,
    /// Key and salt in a row.
    pub key_and_salt: &'a [u8],
}

impl OwnCrypto<'_> {
    /// The line, key and all: for a description, and nothing else.
    #[must_use]
    pub fn line(&self) -> Zeroizing<String> {
        let text = Zeroizing::new(BASE64.encode(self.key_and_salt));
        let (tag, suite) = (self.tag, self.suite.name());
        Zeroizing::new(format!(
            "a=crypto:{tag} {suite} inline:{}\r\n",
            text.as_str()
        ))
    }

    /// Writes it.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> io::Result<()> {
        out.write_all(self.line().as_bytes())
    }
}

impl fmt::Debug for OwnCrypto<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnCrypto({} {})", self.tag, self.suite.name())
    }
}

/// Digits in a row, whatever stands between them, that a key of ours may have as it is written: fewer
/// than the shortest number of a subscriber, for which the guard would take them.
const MOST_DIGITS: usize = 4;

/// Whether a key of ours can be written without digits that could be somebody's number.
#[must_use]
pub fn spells_no_number(key_and_salt: &[u8]) -> bool {
    let text = Zeroizing::new(BASE64.encode(key_and_salt));
    let mut row = 0;
    text.bytes().all(|byte| {
        if byte.is_ascii_digit() {
            row += 1;
        } else if byte.is_ascii_alphabetic() {
            row = 0;
        }
        row <= MOST_DIGITS
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

    fn read(value: &str) -> Option<Crypto<'_>> {
        Crypto::read(value)
    }

    #[test]
    fn lines_of_the_rfc_are_read() {
        // RFC 4568 §9.2 and its grammar; the parameters that may be there.
        for rest in [
            "",
            "|2^20",
            "|2^31",
            "|1048576",
            " WSH=64",
            "|2^20 WSH=128",
            " -x",
            " -UNKNOWN=1",
        ] {
            let line = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}{rest}");
            let crypto = read(&line).unwrap_or_else(|| panic!("{line}"));
            assert_eq!((crypto.tag, crypto.suite), (1, Suite::Cm128Sha1_80));
            assert_eq!(&crypto.key_and_salt().unwrap()[..9], b"YS___semc");
        }
    }

    #[test]
    fn every_suite_has_keys_of_its_own_length() {
        for suite in Suite::ALL {
            let key = vec![0xfb; suite.master_length()];
            let mut line = Vec::new();
            let own = OwnCrypto {
                tag: 7,
                suite,
                key_and_salt: &key,
            };
            own.write(&mut line).unwrap();
            let line = String::from_utf8(line).unwrap();
            let value = line.trim_end().strip_prefix("a=crypto:").unwrap();
            let crypto = read(value).unwrap();
            assert_eq!((crypto.tag, crypto.suite), (7, suite));
            assert_eq!(*crypto.key_and_salt().unwrap(), key);
            // Without its padding it is the same key.
            assert_eq!(read(value.trim_end_matches('=')).unwrap().suite, suite);
            for other in Suite::ALL {
                let value = value.replace(suite.name(), other.name());
                let fits = other.master_length() == suite.master_length();
                assert_eq!(read(&value).is_some(), fits, "{value}");
            }
            for shown in [format!("{crypto:?}"), format!("{own:?}")] {
                assert!(
                    !shown.contains("inline") && !shown.contains("+/v"),
                    "{shown}"
                );
            }
        }
    }

    #[test]
    fn what_is_not_done_makes_its_line_unusable() {
        let good = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}");
        for line in [
            format!("{good}|2^20|1:4"),
            format!("{good}|1:4"),
            format!("{good};inline:{KEY}"),
            format!("{good}|2^20;inline:{KEY}|2^20"),
            format!("{good} UNENCRYPTED_SRTP"),
            format!("{good} UNENCRYPTED_SRTCP"),
            format!("{good} UNAUTHENTICATED_SRTP"),
            format!("{good} KDR=1"),
            format!("{good} FEC_ORDER=FEC_SRTP"),
            format!("{good} FEC_KEY=inline:{KEY}"),
            format!("{good} UNKNOWN"),
            format!("{good}|2^"),
            format!("{good}|"),
            format!("{good}|x"),
            format!("1 F8_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 uri:{KEY}"),
            format!("x AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("+1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("1234567890 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}AAAA"),
            "1 AES_CM_128_HMAC_SHA1_80 inline:".to_owned(),
            "1 AES_CM_128_HMAC_SHA1_80 inline:@@@@".to_owned(),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{}", "A".repeat(10_000)),
            "1 AES_CM_128_HMAC_SHA1_80".to_owned(),
            "1".to_owned(),
            String::new(),
        ] {
            assert_eq!(read(&line), None, "{line}");
        }
    }

    #[test]
    fn a_key_that_could_spell_a_number_is_known() {
        // "1234" and "12345" in base64, whatever stands between the digits.
        let bytes = |text: &str| BASE64.decode(text).unwrap();
        assert!(spells_no_number(&bytes("AA1234AA")));
        assert!(spells_no_number(&bytes("12A3456A")));
        assert!(!spells_no_number(&bytes("A12345AA")));
        assert!(!spells_no_number(&bytes("A12/3+45")));
    }
}
