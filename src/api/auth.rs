//! Access tokens (lease-api 2): JWTs by configured keys, each bound to its algorithm.

use super::settings::{InForce, Known, Settings, TokenKey};
use super::status::{AUTHENTICATION, HEADER, TOKEN, TOKEN_MISSING};
use crate::books::command::Code;
use crate::domain::UnixMillis;
use jsonwebtoken::Validation;
use serde::{Deserialize, Deserializer};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use warp::http::HeaderMap;
use warp::http::header::AUTHORIZATION;

/// Clocks may differ by this much for `exp` and `nbf`, seconds.
const LEEWAY_SECONDS: f64 = 60.0;
/// The largest number up to which a double holds every integer, 2^53.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
/// A longer token is refused unread, bytes.
const MAX_TOKEN_BYTES: usize = 4096;
/// Checked tokens remembered; when it is full it starts anew.
const MAX_CACHED_TOKENS: usize = 4096;

/// What the API reads of a token. A claim of the wrong type makes the whole token malformed.
#[derive(Debug, Deserialize)]
struct Claims {
    user: String,
    iat: f64,
    #[serde(default, deserialize_with = "whole_seconds")]
    exp: Option<f64>,
    #[serde(default, deserialize_with = "whole_seconds")]
    nbf: Option<f64>,
    iss: Option<String>,
    aud: Option<Audience>,
}

/// A time that is there must be one: null is no "never", and a number beyond what a double holds
/// exactly is no second that will come.
fn whole_seconds<'de, D: Deserializer<'de>>(claim: D) -> Result<Option<f64>, D::Error> {
    let seconds = f64::deserialize(claim)?;
    if seconds.fract() == 0.0 && seconds.abs() <= MAX_EXACT {
        Ok(Some(seconds))
    } else {
        Err(serde::de::Error::custom("not a whole number of seconds"))
    }
}

/// `aud` is one string or several (RFC 7519 section 4.1.3).
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    fn holds(&self, wanted: &str) -> bool {
        match self {
            Self::One(one) => one == wanted,
            Self::Several(several) => several.iter().any(|one| one == wanted),
        }
    }
}

/// A token whose signature, issuer and audience were found good; its times are checked at each use.
#[derive(Clone, Debug)]
struct Checked {
    user: Arc<str>,
    iat: f64,
    exp: Option<f64>,
    nbf: Option<f64>,
}

/// Tokens already checked against the keys in force. It holds good tokens alone, so that nobody
/// without a key can fill it; a hit still goes through `exp`, `nbf`, revocation and the client.
#[derive(Debug, Default)]
pub struct TokenCache {
    checked: Mutex<HashMap<Box<str>, Checked>>,
}

impl TokenCache {
    fn get(&self, token: &str) -> Option<Checked> {
        self.checked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(token)
            .cloned()
    }

    fn put(&self, token: &str, checked: Checked) {
        let mut map = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if map.len() >= MAX_CACHED_TOKENS {
            map.clear();
        }
        map.insert(token.into(), checked);
    }
}

/// The token of a request's headers.
///
/// # Errors
/// 14 without an `Authorization`, 1 where it is not `Bearer <one token>`.
pub fn bearer(headers: &HeaderMap) -> Result<&str, Code> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(TOKEN_MISSING)?;
    if values.next().is_some() {
        return Err(HEADER);
    }
    let mut words = value
        .to_str()
        .map_err(|_| HEADER)?
        .split(' ')
        .filter(|word| !word.is_empty());
    match (words.next(), words.next(), words.next()) {
        (Some(scheme), Some(token), None) if scheme.eq_ignore_ascii_case("bearer") => Ok(token),
        _ => Err(HEADER),
    }
}

/// The API client that `token` speaks for.
///
/// # Errors
/// 13: bad signature, malformed, expired, wrong `iss` or `aud`, revoked. 5: client unknown or
/// disabled.
pub fn client<'a>(in_force: &'a InForce, token: &str, now: UnixMillis) -> Result<&'a Known, Code> {
    let checked = match in_force.tokens.get(token) {
        Some(checked) => checked,
        None => {
            let checked = check(&in_force.settings, token).ok_or(TOKEN)?;
            in_force.tokens.put(token, checked.clone());
            checked
        }
    };
    let seconds = seconds(now);
    let expired = checked
        .exp
        .is_some_and(|exp| exp + LEEWAY_SECONDS <= seconds);
    let early = checked
        .nbf
        .is_some_and(|nbf| nbf - LEEWAY_SECONDS > seconds);
    if expired || early {
        return Err(TOKEN);
    }
    let known = in_force.client(&checked.user).ok_or(AUTHENTICATION)?;
    let valid_from = known.client.tokens_valid_from;
    if valid_from.is_some_and(|from| checked.iat < seconds_of(from)) {
        return Err(TOKEN);
    }
    if known.client.enabled {
        Ok(known)
    } else {
        Err(AUTHENTICATION)
    }
}

fn seconds_of(at: UnixMillis) -> f64 {
    seconds(UnixMillis(at.0 / 1000 * 1000))
}

/// Precise to a microsecond for the next two centuries: `iat` may be a fraction.
#[allow(clippy::cast_precision_loss)]
fn seconds(at: UnixMillis) -> f64 {
    at.0 as f64 / 1000.0
}

/// Signature, required claims, issuer, audience: all that does not change with time.
fn check(settings: &Settings, token: &str) -> Option<Checked> {
    if token.len() > MAX_TOKEN_BYTES {
        return None;
    }
    let header = jsonwebtoken::decode_header(token).ok()?;
    if header.crit.is_some() {
        // Nothing is understood that must be (RFC 7515 section 4.1.11).
        return None;
    }
    let claims = settings
        .keys
        .iter()
        .filter(|key| header.kid.is_none() || key.kid == header.kid)
        .find_map(|key| verified(key, token))?;
    let issuer = settings.issuer.as_ref();
    if issuer.is_some_and(|wanted| claims.iss.as_ref() != Some(wanted)) {
        return None;
    }
    let audience = settings.audience.as_ref();
    if audience.is_some_and(|wanted| !claims.aud.as_ref().is_some_and(|aud| aud.holds(wanted))) {
        return None;
    }
    Some(Checked {
        user: claims.user.into(),
        iat: claims.iat,
        exp: claims.exp,
        nbf: claims.nbf,
    })
}

/// The claims, if the signature is by `key` with the algorithm that the key is bound to. Times,
/// issuer and audience are our own to check: the library has no clock but the system's.
fn verified(key: &TokenKey, token: &str) -> Option<Claims> {
    let mut validation = Validation::new(key.algorithm);
    validation.required_spec_claims = HashSet::new();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    jsonwebtoken::decode::<Claims>(token, &key.key, &validation)
        .ok()
        .map(|data| data.claims)
}

#[cfg(test)]
mod tests {
    use super::Claims;

    #[test]
    fn times_are_whole_seconds_or_absent() {
        let read = |time: &str| {
            ["exp", "nbf"].map(|name| {
                let text = format!(r#"{{"user":"u","iat":1,"{name}":{time}}}"#);
                serde_json::from_str::<Claims>(&text).is_ok()
            })
        };
        for time in ["0", "-1", "1700000000", "1.7e9", "1700000000.0"] {
            assert_eq!(read(time), [true, true], "{time}");
        }
        for time in [
            "null",
            "1e300",
            "-1e300",
            "18446744073709551615",
            "1700000000.5",
            "\"1700000000\"",
            "true",
            "[]",
        ] {
            assert_eq!(read(time), [false, false], "{time}");
        }
        let bare: Claims = serde_json::from_str(r#"{"user":"u","iat":1}"#).unwrap();
        assert_eq!((bare.exp, bare.nbf), (None, None));
    }
}
