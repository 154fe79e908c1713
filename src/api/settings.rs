//! What the API is configured with: validated values, and what is made of them once at start and at
//! each reload.

use super::auth::TokenCache;
use super::rate::Bucket;
use crate::domain::numbering::Plan;
use crate::domain::{CustomerScope, Tariff, UnixMillis};
use chrono_tz::Tz;
use jsonwebtoken::{Algorithm, DecodingKey};
use ring::hmac;
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use super::calendar::LeaseLimit;
pub use super::rate::Rate;

/// Shortest HS256 secret (lease-api 2), bytes.
pub const MIN_SECRET_BYTES: usize = 32;

/// What an API client may do (lease-api 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Leases: request, release, query.
    Lease,
    /// customer/view, customer/ledger.
    CustomerRead,
    /// customer/create, update, topup.
    CustomerWrite,
    /// Pool and reservations.
    Numbers,
    /// Call records.
    Cdr,
    /// Everything.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 6] = [
        Self::Lease,
        Self::CustomerRead,
        Self::CustomerWrite,
        Self::Numbers,
        Self::Cdr,
        Self::Admin,
    ];

    /// Its name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lease => "lease",
            Self::CustomerRead => "customer:read",
            Self::CustomerWrite => "customer:write",
            Self::Numbers => "numbers",
            Self::Cdr => "cdr",
            Self::Admin => "admin",
        }
    }

    /// By its name in the configuration.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

/// One API client (`[[http.clients]]`).
#[derive(Clone, Debug)]
pub struct Client {
    /// The token's `user`.
    pub name: String,
    /// Disabled clients get 5.
    pub enabled: bool,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// For whom.
    pub customers: CustomerScope,
    /// Where set, every request must be signed (lease-api 3).
    pub signing: Option<hmac::Key>,
    /// Its own rate limit.
    pub rate: Option<Rate>,
    /// Tokens issued earlier are refused.
    pub tokens_valid_from: Option<UnixMillis>,
}

impl Client {
    /// Whether it has `scope`; `admin` has every one.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes
            .iter()
            .any(|own| *own == scope || *own == Scope::Admin)
    }

    /// The key of a signing secret.
    #[must_use]
    pub fn signing_key(secret: &[u8]) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, secret)
    }
}

/// A key that access tokens are checked with (`[[http.keys]]`).
#[derive(Clone, Debug)]
pub struct TokenKey {
    /// Its name in a token's header.
    pub kid: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

impl TokenKey {
    /// A shared secret for HS256.
    ///
    /// # Errors
    /// It is shorter than [`MIN_SECRET_BYTES`].
    pub fn hs256(kid: Option<String>, secret: &[u8]) -> Result<Self, String> {
        if secret.len() < MIN_SECRET_BYTES {
            return Err(format!(
                "an HS256 secret needs {MIN_SECRET_BYTES} bytes or more"
            ));
        }
        Ok(Self {
            kid,
            algorithm: Algorithm::HS256,
            key: DecodingKey::from_secret(secret),
        })
    }

    /// A public key in PEM for `RS256`, `ES256` or `EdDSA`.
    ///
    /// # Errors
    /// Another algorithm, or a key that is not one of it.
    pub fn public(kid: Option<String>, algorithm: &str, pem: &[u8]) -> Result<Self, String> {
        let wrong = |error: jsonwebtoken::errors::Error| {
            format!("not a public key for {algorithm} in PEM: {error}")
        };
        let (algorithm, key) = match algorithm {
            "RS256" => (
                Algorithm::RS256,
                DecodingKey::from_rsa_pem(pem).map_err(wrong)?,
            ),
            "ES256" => (
                Algorithm::ES256,
                DecodingKey::from_ec_pem(pem).map_err(wrong)?,
            ),
            "EdDSA" => (
                Algorithm::EdDSA,
                DecodingKey::from_ed_pem(pem).map_err(wrong)?,
            ),
            other => {
                return Err(format!(
                    "unknown algorithm {other}: HS256, RS256, ES256 or EdDSA"
                ));
            }
        };
        let length = key.try_get_as_bytes().map_or(0, <[u8]>::len);
        let fits = match algorithm {
            // An uncompressed point of P-256; a raw Ed25519 key.
            Algorithm::ES256 => length == 65,
            Algorithm::EdDSA => length == 32,
            _ => length > 0,
        };
        if !fits {
            return Err(format!("not a public key for {algorithm:?}: wrong length"));
        }
        Ok(Self {
            kid,
            algorithm,
            key,
        })
    }
}

/// Certificate and key, PEM files (`http.tls`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, our own certificate first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Bounds of the HTTP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Connections at once; more are closed as they come.
    pub max_connections: usize,
    /// Connections at once from one source address (one /64 of IPv6), trusted proxies apart; 0:
    /// all of them.
    pub max_connections_per_address: usize,
    /// A request's head, a TLS handshake, or the next request on an idle connection must come in
    /// this time.
    pub header_timeout: Duration,
    /// A request's body must come in this time.
    pub body_timeout: Duration,
    /// A connection whose client takes nothing of an answer for so long is closed.
    pub write_timeout: Duration,
    /// How long open requests may go on when the server stops.
    pub drain_timeout: Duration,
    /// Reads of records and ledgers from the store at once; more wait.
    pub max_reads: usize,
    /// Exports at once; more get 38.
    pub max_exports: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            max_connections_per_address: 1024,
            header_timeout: Duration::from_secs(15),
            body_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(5),
            max_reads: 16,
            max_exports: 4,
        }
    }
}

/// Everything the API is configured with. [`HttpLimits`] is read once at start, all else at each
/// reload.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What may stand before `/api`: `""` or `/something`, without a slash at the end.
    pub path_prefixes: Vec<String>,
    /// Every answer is HTTP 200.
    pub always_ok: bool,
    /// Where set, a token's `iss` must be this.
    pub issuer: Option<String>,
    /// Where set, a token's `aud` must be or hold this.
    pub audience: Option<String>,
    /// Whose `X-Forwarded-For` is believed in the log, and who has no share of the connections:
    /// address and prefix length.
    pub trusted_proxies: Vec<(IpAddr, u8)>,
    /// Token keys.
    pub keys: Vec<TokenKey>,
    /// API clients.
    pub clients: Vec<Client>,
    /// `http.rate_limit`, for clients without their own.
    pub rate: Rate,
    /// Zone of all stamps.
    pub timezone: Tz,
    /// Reads phone numbers.
    pub plan: Arc<Plan>,
    /// `leases.max_duration`.
    pub max_duration: LeaseLimit,
    /// `leases.max_whitelist`.
    pub max_whitelist: usize,
    /// Price for customers created without (`[billing]`).
    pub default_tariff: Tariff,
    /// Where set, the server speaks TLS alone.
    pub tls: Option<TlsFiles>,
    /// Bounds of the server.
    pub limits: HttpLimits,
}

/// Settings as they are used: with an index of the clients, their buckets and the tokens already
/// checked against these keys.
#[derive(Debug)]
pub struct InForce {
    /// As given.
    pub settings: Settings,
    clients: HashMap<String, Known>,
    pub(super) tokens: TokenCache,
}

/// A client and its bucket.
#[derive(Clone, Debug)]
pub struct Known {
    /// The client.
    pub client: Arc<Client>,
    /// Its rate, its own or the general one.
    pub rate: Rate,
    /// Its bucket.
    pub bucket: Arc<Bucket>,
}

impl InForce {
    /// Puts `settings` in force. Buckets of clients that stay are taken over from `before`; the
    /// cache of checked tokens is not, since keys may have changed.
    #[must_use]
    pub fn new(settings: Settings, before: Option<&Self>, now: Instant) -> Self {
        let mut clients = HashMap::with_capacity(settings.clients.len());
        for client in &settings.clients {
            let bucket = before
                .and_then(|before| before.client(&client.name))
                .map_or_else(
                    || Arc::new(Bucket::new(now)),
                    |known| Arc::clone(&known.bucket),
                );
            let rate = client.rate.unwrap_or(settings.rate);
            let known = Known {
                client: Arc::new(client.clone()),
                rate,
                bucket,
            };
            clients.insert(client.name.clone(), known);
        }
        Self {
            settings,
            clients,
            tokens: TokenCache::default(),
        }
    }

    /// The client called `name`.
    #[must_use]
    pub fn client(&self, name: &str) -> Option<&Known> {
        self.clients.get(name)
    }
}
