//! Reading of Identity headers: what can be said of them without their certificate.

use super::{ALGORITHM, SHAKEN, TYPE};
use crate::domain::{Attestation, Passport, Verdict};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::Deserialize;
use std::time::Duration;

/// Most Identity headers of one request that are looked at.
const MOST_HEADERS: usize = 8;
/// Longest header value.
const LONGEST_VALUE: usize = 8192;
/// Longest header or payload of a PASSporT, in base64.
const LONGEST_PART: usize = 4096;
/// Longest URL of a certificate.
const LONGEST_URL: usize = 1024;
/// Most numbers in `dest`.
const MOST_DEST: usize = 32;
/// Longest `origid` that is kept; a UUID has 36 characters.
const LONGEST_ORIGIN: usize = 64;

/// The protected header (RFC 8225 §4).
#[derive(Deserialize)]
struct Protected {
    alg: String,
    ppt: Option<String>,
    typ: String,
    x5u: String,
}

/// The claims (RFC 8225 §5, RFC 8588 §4). Others are passed over, as RFC 8225 §5.1 has it.
#[derive(Deserialize)]
struct Payload {
    attest: Option<String>,
    dest: Dest,
    iat: u64,
    orig: Orig,
    origid: Option<String>,
}

#[derive(Deserialize)]
struct Dest {
    #[serde(default)]
    tn: Vec<String>,
}

#[derive(Deserialize)]
struct Orig {
    tn: String,
}

/// Reads the Identity headers of a request: the SHAKEN one counts, else a plain one; those of other
/// extensions (`div`, `rph`) are as if they were not there (RFC 8224 §6.2, step 1). `now` is in
/// seconds since 1970; a PASSporT older than `max_age`, or as far from the future, is stale.
///
/// # Errors
/// Why there is no passport to be verified.
pub fn read<'a>(
    values: impl Iterator<Item = &'a str>,
    now: u64,
    max_age: Duration,
) -> Result<Box<Passport>, Verdict> {
    let mut plain = None;
    for value in values.take(MOST_HEADERS) {
        if value.len() > LONGEST_VALUE {
            return Err(Verdict::Invalid);
        }
        let field = Field::parse(value).ok_or(Verdict::Invalid)?;
        match field.ppt {
            Some(SHAKEN) => return passport(&field, now, max_age),
            None if plain.is_none() => plain = Some(field),
            _ => {}
        }
    }
    let field = plain.ok_or(Verdict::Missing)?;
    passport(&field, now, max_age)
}

/// One Identity header: the token and its parameters (RFC 8224 §4).
struct Field<'a> {
    token: &'a str,
    info: &'a str,
    alg: Option<&'a str>,
    ppt: Option<&'a str>,
}

impl<'a> Field<'a> {
    fn parse(value: &'a str) -> Option<Self> {
        let mut parts = Parts(Some(value));
        let mut field = Self {
            token: parts.next()?.trim(),
            info: "",
            alg: None,
            ppt: None,
        };
        for part in parts {
            let (name, value) = part.split_once('=')?;
            let (name, value) = (name.trim(), value.trim());
            if name.eq_ignore_ascii_case("info") {
                field.info = value.strip_prefix('<')?.strip_suffix('>')?;
            } else if name.eq_ignore_ascii_case("alg") {
                field.alg = Some(unquoted(value));
            } else if name.eq_ignore_ascii_case("ppt") {
                field.ppt = Some(unquoted(value));
            }
        }
        Some(field)
    }
}

/// What stands between the semicolons that are not within `<>`.
struct Parts<'a>(Option<&'a str>);

impl<'a> Iterator for Parts<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.0?;
        let mut within = false;
        let end = rest.bytes().position(|byte| {
            match byte {
                b'<' => within = true,
                b'>' => within = false,
                _ => {}
            }
            byte == b';' && !within
        });
        let (part, rest) = match end.and_then(|at| rest.split_at_checked(at)) {
            Some((part, rest)) => (part, rest.strip_prefix(';')),
            None => (rest, None),
        };
        self.0 = rest;
        Some(part)
    }
}

fn unquoted(value: &str) -> &str {
    let inner = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
    inner.unwrap_or(value)
}

fn passport(field: &Field<'_>, now: u64, max_age: Duration) -> Result<Box<Passport>, Verdict> {
    let invalid = Verdict::Invalid;
    let (signed, signature) = field.token.rsplit_once('.').ok_or(invalid)?;
    let (header, claims) = signed.split_once('.').ok_or(invalid)?;
    // The compact form (RFC 8224 §4) has neither: SHAKEN knows the full one only.
    let protected: Protected = part(header).ok_or(invalid)?;
    let payload: Payload = part(claims).ok_or(invalid)?;
    let agrees = protected.typ.eq_ignore_ascii_case(TYPE)
        && protected.alg == ALGORITHM
        && field.alg.is_none_or(|alg| alg == ALGORITHM)
        && protected.ppt.as_deref() == field.ppt
        && protected.x5u == field.info
        && protected.x5u.len() <= LONGEST_URL;
    let mut bytes = [0; 64];
    let length = BASE64.decode_slice(signature, &mut bytes);
    if !agrees || length != Ok(bytes.len()) || payload.dest.tn.len() > MOST_DEST {
        return Err(invalid);
    }
    let attestation = payload.attest.as_deref().and_then(Attestation::from_letter);
    if field.ppt.is_some() && (attestation.is_none() || payload.origid.is_none()) {
        return Err(invalid);
    }
    let dest: Option<Vec<_>> = payload.dest.tn.iter().map(|tn| canonical(tn)).collect();
    let passport = Passport {
        certificate: protected.x5u.into(),
        signed: signed.into(),
        signature: bytes,
        orig: canonical(&payload.orig.tn).ok_or(invalid)?,
        dest: dest.filter(|dest| !dest.is_empty()).ok_or(invalid)?,
        attestation,
        origin: printable(payload.origid.as_deref().unwrap_or_default()),
    };
    if payload.iat.abs_diff(now) > max_age.as_secs() {
        return Err(Verdict::Stale);
    }
    Ok(Box::new(passport))
}

/// A part of a PASSporT, decoded.
fn part<T: for<'de> Deserialize<'de>>(text: &str) -> Option<T> {
    if text.len() > LONGEST_PART {
        return None;
    }
    let bytes = BASE64.decode(text).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// A number in canonical form (RFC 8224 §8.3): digits only. Signers that leave a `+` or visual
/// separators are understood.
fn canonical(number: &str) -> Option<Box<str>> {
    let separator = |c: char| matches!(c, '+' | '-' | '.' | '(' | ')' | ' ');
    let digits: String = number.chars().filter(|c| !separator(*c)).collect();
    let sound = (1..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    sound.then(|| digits.into())
}

fn printable(text: &str) -> Box<str> {
    text.chars()
        .filter(|c| c.is_ascii_graphic())
        .take(LONGEST_ORIGIN)
        .collect()
}

/// The claims in the value of an Identity header, decoded, whatever they are: for the privacy guard,
/// which must see what base64 hides.
#[must_use]
pub fn payload(value: &[u8]) -> Option<Vec<u8>> {
    let mut parts = value.splitn(3, |byte| *byte == b'.');
    let claims = parts.nth(1)?;
    BASE64.decode(claims).ok()
}
