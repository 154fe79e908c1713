//! Challenges: theirs as they are read, ours as they are written (RFC 7616 §3.3, RFC 8760 §2.3,
//! §2.4).

use super::Algorithm;
use super::parameters::{Parameters, after_scheme, escaped};
use std::fmt;

/// Most challenges of one response that are looked at.
const MOST: usize = 16;

/// One challenge that can be answered here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Whose password is asked for.
    pub realm: Box<str>,
    /// To be used with it.
    pub nonce: Box<str>,
    /// Given back as it is.
    pub opaque: Option<Box<str>>,
    /// The hash.
    pub algorithm: Algorithm,
    /// Whether `qop=auth` is offered; without `qop` it is RFC 2069's way (RFC 3261 §22.4).
    pub qop: bool,
    /// The credentials were right but for the age of their nonce.
    pub stale: bool,
}

/// The challenges of a response that can be answered, in order; what cannot be read, is of another
/// scheme, or asks for what is not spoken here, is passed over. `values` are the values of its
/// WWW-Authenticate or Proxy-Authenticate fields, each with one or more challenges.
#[must_use]
pub fn challenges<'a>(values: impl IntoIterator<Item = &'a str>) -> Vec<Challenge> {
    let mut found = Vec::new();
    for value in values.into_iter().take(MOST) {
        let mut rest = value;
        for _ in 0..MOST {
            let Some(text) = after_scheme(rest, "Digest") else {
                break;
            };
            let Ok((parameters, left)) = Parameters::read_some(text) else {
                break;
            };
            found.extend(Challenge::of(&parameters));
            rest = left;
        }
    }
    found.truncate(MOST);
    found
}

impl Challenge {
    fn of(parameters: &Parameters<'_>) -> Option<Self> {
        let algorithm = Algorithm::read(parameters.get("algorithm"))?;
        let qop = match parameters.get("qop") {
            None => false,
            Some(offered) => offered
                .split(',')
                .any(|one| one.trim().eq_ignore_ascii_case("auth"))
                .then_some(true)?,
        };
        let stale = parameters.get("stale");
        Some(Self {
            realm: parameters.get("realm")?.into(),
            nonce: parameters
                .get("nonce")
                .filter(|nonce| !nonce.is_empty())?
                .into(),
            opaque: parameters.get("opaque").map(Box::from),
            algorithm,
            qop,
            stale: stale.is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }
}

/// The value of WWW-Authenticate or Proxy-Authenticate.
impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Digest realm=\"{}\", nonce=\"{}\", ",
            escaped(&self.realm),
            escaped(&self.nonce)
        )?;
        if let Some(opaque) = &self.opaque {
            write!(f, "opaque=\"{}\", ", escaped(opaque))?;
        }
        if self.stale {
            f.write_str("stale=true, ")?;
        }
        write!(f, "algorithm={}", self.algorithm.name())?;
        if self.qop {
            f.write_str(", qop=\"auth\"")?;
        }
        Ok(())
    }
}
