//! Credentials: theirs as they are read, strictly, and ours as they are written (RFC 7616 §3.4).

use super::parameters::{Parameters, Wrong, after_scheme, escaped};
use super::{Algorithm, Challenge};
use std::fmt;

/// Most Authorization fields of one request that are looked at.
const MOST: usize = 8;

/// Longest nonce, cnonce, user name and URI that credentials may have, in bytes.
const LONGEST: usize = 256;

/// What a request proves itself by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub user: Box<str>,
    /// Realm.
    pub realm: Box<str>,
    /// Nonce of the challenge.
    pub nonce: Box<str>,
    /// The Request-URI as its sender sees it.
    pub uri: Box<str>,
    /// Lower-case hexadecimal digits.
    pub(super) response: Box<str>,
    /// The hash.
    pub algorithm: Algorithm,
    /// Random text of the sender's.
    pub(super) cnonce: Box<str>,
    /// The count as it was written, which the response is made of.
    pub(super) nc: Box<str>,
    /// How often the nonce has been used.
    pub count: u32,
}

/// Why a request has no credentials that could be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There are none for this realm.
    Absent,
    /// There are, but not as the grammar has them: something is missing, repeated, too long or not
    /// spoken here.
    Malformed,
}

/// The credentials of a request for one realm; `values` are its Authorization fields. There must
/// be one of that realm, and no more.
///
/// # Errors
/// [`Fault::Absent`] where there is nothing to be looked at, [`Fault::Malformed`] otherwise.
pub fn find<'a>(
    values: impl IntoIterator<Item = &'a str>,
    realm: &str,
) -> Result<Credentials, Fault> {
    let mut found = Err(Fault::Absent);
    for (place, value) in values.into_iter().enumerate() {
        let Some(text) = after_scheme(value, "Digest") else {
            continue; // another scheme
        };
        let parameters = Parameters::read(text).map_err(malformed)?;
        if parameters.get("realm") != Some(realm) {
            continue;
        }
        if place >= MOST || found.is_ok() {
            return Err(Fault::Malformed);
        }
        found = Ok(Credentials::of(&parameters).ok_or(Fault::Malformed)?);
    }
    found
}

fn malformed(_: Wrong) -> Fault {
    Fault::Malformed
}

impl Credentials {
    fn of(parameters: &Parameters<'_>) -> Option<Self> {
        let short = |name| parameters.get(name).filter(|text| text.len() <= LONGEST);
        let full = |name| short(name).filter(|text| !text.is_empty());
        if parameters.get("userhash").is_some() || parameters.get("username*").is_some() {
            return None;
        }
        let algorithm = Algorithm::read(parameters.get("algorithm"))?;
        let response = parameters.get("response")?.to_ascii_lowercase();
        let nc = parameters.get("nc").filter(|nc| nc.len() == 8)?;
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let sound = digits(nc)
            && digits(&response)
            && response.len() == algorithm.digits()
            && parameters.get("qop")?.eq_ignore_ascii_case("auth");
        if !sound {
            return None;
        }
        Some(Self {
            user: full("username")?.into(),
            realm: full("realm")?.into(),
            nonce: full("nonce")?.into(),
            uri: full("uri")?.into(),
            response: response.into(),
            algorithm,
            cnonce: full("cnonce")?.into(),
            nc: nc.into(),
            count: u32::from_str_radix(nc, 16)
                .ok()
                .filter(|count| *count > 0)?,
        })
    }
}

/// Our credentials as they are written.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    pub(super) user: &'a str,
    pub(super) challenge: &'a Challenge,
    pub(super) uri: &'a str,
    pub(super) response: &'a str,
    /// nc and cnonce.
    pub(super) counted: Option<(&'a str, &'a str)>,
}

/// The value of Authorization or Proxy-Authorization.
impl fmt::Display for Answer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let challenge = self.challenge;
        write!(
            f,
            "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{}\", response=\"{}\", \
             algorithm={}",
            escaped(self.user),
            escaped(&challenge.realm),
            escaped(&challenge.nonce),
            escaped(self.uri),
            self.response,
            challenge.algorithm.name()
        )?;
        if let Some(opaque) = &challenge.opaque {
            write!(f, ", opaque=\"{}\"", escaped(opaque))?;
        }
        if let Some((nc, cnonce)) = self.counted {
            write!(f, ", qop=auth, nc={nc}, cnonce=\"{cnonce}\"")?;
        }
        Ok(())
    }
}
