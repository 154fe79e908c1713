//! Whether a request's credentials are right: theirs for us (RFC 3261 §22.1, §22.4).

use super::memory::{Memory, OwnMemory};
use super::nonce::{Freshness, Nonces};
use super::window::Use;
use super::{Algorithm, Challenge, Counted, Credentials, Fault, Figures, Password, same};
use crate::sip::codec::percent_decode;
use crate::sip::dialog::Entropy;
use crate::sip::message::{Header, Message, Uri};
use std::net::IpAddr;
use std::time::Instant;

/// What a trunk's requests must prove: theirs for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Our realm.
    pub realm: Box<str>,
    /// Who may, and by which password.
    pub users: Box<[(Box<str>, Password)]>,
    /// Algorithms that are offered; never empty.
    pub algorithms: Box<[Algorithm]>,
}

/// What is said of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may go on.
    Accepted,
    /// No credentials for our realm.
    Absent,
    /// Credentials that cannot be looked at.
    Malformed,
    /// Another user, password, request or algorithm.
    Wrong,
    /// Right, but for the age of the nonce.
    Stale,
    /// Right, but it has come before.
    Replayed,
    /// Not looked at: there have been too many wrong ones.
    Guessing,
}

impl Verdict {
    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Absent => "challenged",
            Self::Malformed => "malformed",
            Self::Wrong => "wrong",
            Self::Stale => "stale",
            Self::Replayed => "replayed",
            Self::Guessing => "guessing",
        }
    }
}

/// Looks at credentials and makes challenges, for all trunks of one worker.
pub struct Gate {
    nonces: Nonces,
    memory: Box<dyn Memory>,
}

impl Gate {
    /// By itself, with a key that is drawn now.
    pub fn draw(entropy: &mut dyn Entropy, now: Instant) -> Self {
        Self::new(Nonces::draw(entropy, now), Box::<OwnMemory>::default())
    }

    /// With a key and a memory that several workers may have in common.
    #[must_use]
    pub fn new(nonces: Nonces, memory: Box<dyn Memory>) -> Self {
        Self { nonces, memory }
    }

    /// Looks at a request outside dialogs from a trunk and address.
    pub fn check(
        &mut self,
        (request, method): (&Message, &str),
        account: &Account,
        (trunk, address): (u16, IpAddr),
        now: Instant,
    ) -> Verdict {
        let found = super::find(request.all(Header::Authorization), &account.realm);
        let credentials = match found {
            Ok(credentials) => credentials,
            Err(Fault::Absent) => return Verdict::Absent,
            Err(Fault::Malformed) => return Verdict::Malformed,
        };
        let place = account
            .users
            .iter()
            .position(|(user, _)| **user == *credentials.user);
        let guesser = (address, place.and_then(|place| u16::try_from(place).ok()));
        if self.memory.is_guessing(guesser, now) {
            return Verdict::Guessing;
        }
        if !is_right(&credentials, account, (method, request.uri())) {
            self.memory.note_guess(guesser, now);
            return Verdict::Wrong;
        }
        // Only now: a count that nobody has proved must not use up the owner's.
        let Freshness::Fresh { made, id } = self.nonces.check(&credentials.nonce, trunk, now)
        else {
            return Verdict::Stale;
        };
        let horizon = self.nonces.horizon(now);
        match self.memory.take((made, id), credentials.count, horizon) {
            Use::First => Verdict::Accepted,
            Use::Again => Verdict::Replayed,
            Use::Forgotten => Verdict::Stale,
        }
    }

    /// The challenges of a 401, the strongest first (RFC 8760 §2.4), all with one nonce.
    pub fn challenges(
        &self,
        account: &Account,
        (trunk, stale): (u16, bool),
        entropy: &mut dyn Entropy,
        now: Instant,
    ) -> impl Iterator<Item = Challenge> {
        let nonce = self.nonces.make(trunk, entropy, now);
        let offered = Algorithm::STRONGEST_FIRST
            .into_iter()
            .filter(|one| account.algorithms.contains(one));
        offered.map(move |algorithm| Challenge {
            realm: account.realm.clone(),
            nonce: nonce.clone(),
            opaque: None,
            algorithm,
            qop: true,
            stale,
        })
    }
}

/// Whether credentials are of a user of the account, and for this request. An unknown user takes as
/// long as a known one.
fn is_right(credentials: &Credentials, account: &Account, (method, uri): (&str, &str)) -> bool {
    let nobody = Password::new("");
    let known = account
        .users
        .iter()
        .find(|(user, _)| **user == *credentials.user);
    let password = known.map_or(&nobody, |(_, password)| password);
    let response = Figures {
        algorithm: credentials.algorithm,
        user: &credentials.user,
        realm: &account.realm,
        nonce: &credentials.nonce,
        counted: Some(Counted {
            nc: &credentials.nc,
            cnonce: &credentials.cnonce,
        }),
        method,
        uri: &credentials.uri,
    }
    .response(password);
    same(&response, &credentials.response)
        && known.is_some()
        && account.algorithms.contains(&credentials.algorithm)
        && is_same_resource(&credentials.uri, uri)
}

/// Whether the URI in the credentials is the Request-URI: the same scheme, user, host and port
/// (RFC 7616 §3.4.6). Parameters may have been added or taken off on the way.
fn is_same_resource(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    let (Some(one), Some(other)) = (Uri::parse(one), Uri::parse(other)) else {
        return false;
    };
    one.scheme == other.scheme
        && one.host.eq_ignore_ascii_case(other.host)
        && one.port == other.port
        && percent_decode(one.user) == percent_decode(other.user)
}
