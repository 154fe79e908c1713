//! `[http]`: where the API listens, the keys that sign its tokens, the clients that use it
//! (lease-api 1 to 3).

use super::plain::flag;
use super::reader::{Found, Section, Value};
use super::value::{Cidr, Secret, cidr, duration, integer, name, rate, socket, text, word};
use crate::domain::{CustomerId, CustomerScope};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// `[http]`
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// Where the API listens.
    pub listen: SocketAddr,
    /// What may stand before `/api`; each empty or beginning with `/`.
    pub path_prefixes: Vec<String>,
    /// Every answer has HTTP status 200.
    pub always_ok: bool,
    /// Requests a second of a client that has no rate of its own; bursts are twice that.
    pub rate_limit: u32,
    /// What a token's `iss` must be, where set.
    pub issuer: Option<String>,
    /// What a token's `aud` must be, where set.
    pub audience: Option<String>,
    /// Peers whose `X-Forwarded-For` is believed in logs.
    pub trusted_proxies: Vec<Cidr>,
    /// Connections at once.
    pub max_connections: u32,
    /// Connections at once from one address; 0: no share.
    pub max_connections_per_address: u32,
    /// A request's head must be there by then.
    pub header_timeout: Duration,
    /// HTTPS instead of HTTP.
    pub tls: Option<Tls>,
    /// Keys of access tokens.
    pub keys: Vec<Key>,
    /// API clients.
    pub clients: Vec<Client>,
}

/// `[http.tls]`: paths of PEM files that were there and well-formed when the configuration was
/// read.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// The certificate chain, leaf first.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// What the first file held when the configuration was read.
    pub chain: Vec<CertificateDer<'static>>,
}

/// How a token is signed; bound to the key, never taken from the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Algorithm {
    Hs256,
    Rs256,
    Es256,
    EdDsa,
}

/// One of `[[http.keys]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// Its name in a token's header.
    pub kid: String,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// HS256: the shared secret, 32 bytes or more. Others: the public key as PEM.
    pub material: Secret,
}

/// What a client may do (lease-api 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Scope {
    Lease,
    CustomerRead,
    CustomerWrite,
    Numbers,
    Cdr,
    Admin,
}

/// One of `[[http.clients]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Client {
    /// The token's `user`.
    pub name: String,
    /// What it may do; sorted, each once.
    pub scopes: Vec<Scope>,
    /// For whom.
    pub customers: CustomerScope,
    /// Whether its tokens count.
    pub enabled: bool,
    /// Its own rate, requests a second.
    pub rate_limit: Option<u32>,
    /// Where set, its requests must be signed (lease-api 3).
    pub signing_secret: Option<Secret>,
    /// Tokens issued before this (Unix seconds) are refused.
    pub tokens_valid_from: Option<u64>,
}

const ALGORITHMS: &[(&str, Algorithm)] = &[
    ("HS256", Algorithm::Hs256),
    ("RS256", Algorithm::Rs256),
    ("ES256", Algorithm::Es256),
    ("EdDSA", Algorithm::EdDsa),
];

const SCOPES: &[(&str, Scope)] = &[
    ("lease", Scope::Lease),
    ("customer:read", Scope::CustomerRead),
    ("customer:write", Scope::CustomerWrite),
    ("numbers", Scope::Numbers),
    ("cdr", Scope::Cdr),
    ("admin", Scope::Admin),
];

/// Shared secrets below this are refused (lease-api 2; RFC 7518 §3.2).
const SECRET_BYTES: usize = 32;

pub(super) fn read(section: &Section<'_>) -> Http {
    let max_connections = section
        .read("max_connections", integer(1, 1_000_000))
        .unwrap_or(1_024);
    Http {
        listen: section
            .read("listen", socket)
            .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080))),
        path_prefixes: section
            .read_list("path_prefixes", path_prefix)
            .unwrap_or_else(|| vec![String::new(), "/axiata".to_owned()]),
        always_ok: flag(section, "always_ok", false),
        rate_limit: section.read("rate_limit", rate).unwrap_or(200),
        issuer: section.read("issuer", text),
        audience: section.read("audience", text),
        trusted_proxies: section
            .read_list("trusted_proxies", cidr)
            .unwrap_or_default(),
        max_connections,
        max_connections_per_address: section
            .read("max_connections_per_address", integer(0, 1_000_000))
            .unwrap_or_else(|| (max_connections / 4).max(1)),
        header_timeout: section
            .read(
                "header_timeout",
                duration(Duration::from_millis(100), Duration::from_secs(300)),
            )
            .unwrap_or(Duration::from_secs(10)),
        tls: tls(&section.section("tls")),
        keys: keys(section),
        clients: clients(section),
    }
}

fn path_prefix(value: &Value<'_>) -> Result<String, String> {
    let good = |text: &&str| {
        text.is_empty()
            || (text.starts_with('/')
                && !text.ends_with('/')
                && text
                    .chars()
                    .all(|c| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '%')))
    };
    value
        .text()
        .filter(good)
        .map(str::to_owned)
        .ok_or_else(|| "\"\" or a path such as \"/axiata\"".to_owned())
}

/// The files are read here, so that one that is missing or no PEM is a fault with its line.
fn tls(section: &Section<'_>) -> Option<Tls> {
    if !section.is_present() {
        return None;
    }
    let cert = section.require("cert", "a certificate file", |value| {
        let (path, _) = section.file(value)?;
        Ok((path, super::tls::certificates(section, value)?))
    });
    let key = section.require("key", "a private key file", |value| {
        let (path, pem) = section.file(value)?;
        match PrivateKeyDer::from_pem_slice(pem.as_bytes()) {
            Ok(key) => Ok((path, key)),
            Err(_) => Err("a PEM file with a private key".to_owned()),
        }
    });
    let ((cert, chain), (key, secret)) = (cert?, key?);
    super::tls::is_pair(section, &chain, secret);
    Some(Tls { cert, key, chain })
}

fn keys(section: &Section<'_>) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    for one in section.sections("keys", "kid") {
        let kid = one.require("kid", "the key's name", name);
        if kid.is_some() && keys.iter().any(|key| Some(&key.kid) == kid.as_ref()) {
            one.fault("kid", "another key has this kid already");
        }
        let algorithm = one.require(
            "algorithm",
            "\"HS256\", \"RS256\", \"ES256\" or \"EdDSA\"",
            word(ALGORITHMS),
        );
        let Some(algorithm) = algorithm else {
            // The secret's own faults are said all the same: both are mended in one go.
            one.read("secret", shared_secret);
            continue;
        };
        let material = if algorithm == Algorithm::Hs256 {
            one.refuse("public_key", "an HS256 key has a `secret`");
            one.require("secret", "a secret of 32 bytes or more", shared_secret)
        } else {
            one.refuse(
                "secret",
                "only an HS256 key has a `secret`; this one has a `public_key`",
            );
            one.require("public_key", "a public key in PEM", |value| {
                public_key(algorithm, value)
            })
        };
        if let (Some(kid), Some(material)) = (kid, material) {
            keys.push(Key {
                kid,
                algorithm,
                material,
            });
        }
    }
    keys
}

fn shared_secret(value: &Value<'_>) -> Result<Secret, String> {
    secret(value, SECRET_BYTES)
}

fn secret(value: &Value<'_>, least: usize) -> Result<Secret, String> {
    let text = value.text().unwrap_or_default();
    if text.len() >= least {
        return Ok(Secret::new(text.to_owned()));
    }
    Err(format!(
        "a secret of {least} bytes or more, not {}",
        text.len()
    ))
}

fn public_key(algorithm: Algorithm, value: &Value<'_>) -> Result<Secret, String> {
    use jsonwebtoken::DecodingKey;
    let text = value.text().unwrap_or_default();
    let (kind, parsed) = match algorithm {
        Algorithm::Rs256 => ("RSA", DecodingKey::from_rsa_pem(text.as_bytes())),
        Algorithm::Es256 => ("P-256", DecodingKey::from_ec_pem(text.as_bytes())),
        Algorithm::EdDsa => ("Ed25519", DecodingKey::from_ed_pem(text.as_bytes())),
        Algorithm::Hs256 => return Err("a secret".to_owned()),
    };
    match parsed {
        Ok(_) if text.contains("PUBLIC KEY") => Ok(Secret::new(text.to_owned())),
        _ => Err(format!("an {kind} public key in PEM")),
    }
}

fn clients(section: &Section<'_>) -> Vec<Client> {
    let mut clients: Vec<Client> = Vec::new();
    for one in section.sections("clients", "name") {
        let name = one.require("name", "the token's `user`", |value| {
            let text = text(value)?;
            match text.len() {
                ..=255 => Ok(text),
                _ => Err("a name of at most 255 bytes".to_owned()),
            }
        });
        if name.is_some() && clients.iter().any(|c| Some(&c.name) == name.as_ref()) {
            one.fault("name", "another client has this name already");
        }
        if !one.has("scopes") {
            one.fault(
                "scopes",
                "missing: expected a list of scopes (\"lease\", ...)",
            );
        }
        let mut scopes = one.read_list("scopes", word(SCOPES)).unwrap_or_default();
        scopes.sort_unstable();
        scopes.dedup();
        let customers = one.require("customers", "\"all\" or a list of customer ids", customers);
        let client = Client {
            name: name.unwrap_or_default(),
            scopes,
            customers: customers.unwrap_or(CustomerScope::Only(Vec::new())),
            enabled: flag(&one, "enabled", true),
            rate_limit: one.read("rate_limit", rate),
            signing_secret: one.read("signing_secret", shared_signing_secret),
            tokens_valid_from: one.read("tokens_valid_from", instant),
        };
        clients.push(client);
    }
    clients
}

fn shared_signing_secret(value: &Value<'_>) -> Result<Secret, String> {
    secret(value, 16)
}

fn customers(value: &Value<'_>) -> Result<CustomerScope, String> {
    let wrong = || "\"all\" or a list of customer ids ([1, 2])".to_owned();
    match &value.found {
        Found::Text(text) if text == "all" => Ok(CustomerScope::All),
        Found::List(items) => {
            let mut ids = Vec::with_capacity(items.len());
            for item in items {
                ids.push(CustomerId(integer(1, u32::MAX)(item).map_err(|_| wrong())?));
            }
            ids.sort_unstable();
            ids.dedup();
            Ok(CustomerScope::Only(ids))
        }
        _ => Err(wrong()),
    }
}

/// An RFC 3339 time, as text or as a TOML date, in Unix seconds.
fn instant(value: &Value<'_>) -> Result<u64, String> {
    value
        .text()
        .and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok())
        .and_then(|time| u64::try_from(time.timestamp()).ok())
        .ok_or_else(|| "a time such as \"2026-01-01T00:00:00Z\"".to_owned())
}
