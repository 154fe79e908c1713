//! `token`: an access token for an API client (lease-api 2).

use super::{FAILED, WRONG_INPUT, print};
use crate::config::{Algorithm, Config, Key};
use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a token says.
#[derive(Debug, Serialize)]
struct Claims<'a> {
    iat: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    user: &'a str,
}

/// Prints a token for `client`, valid for `ttl` (zero: without an end).
pub(super) fn run(path: &Path, client: &str, ttl: Duration) -> ExitCode {
    let config = match super::check::load(path) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let Ok(now) = SystemTime::now().duration_since(UNIX_EPOCH) else {
        eprintln!("the clock stands before 1970");
        return ExitCode::from(FAILED);
    };
    match issue(&config, client, ttl, now.as_secs()) {
        Ok(token) => print(&token),
        Err(message) => {
            eprintln!("{}: {message}", path.display());
            ExitCode::from(WRONG_INPUT)
        }
    }
}

pub(super) fn issue(
    config: &Config,
    client: &str,
    ttl: Duration,
    now: u64,
) -> Result<String, String> {
    let http = &config.http;
    if !http.clients.iter().any(|known| known.name == client) {
        let names: Vec<&str> = http.clients.iter().map(|c| c.name.as_str()).collect();
        let known = names.join(", ");
        return Err(format!("no client is called {client:?}; known: {known}"));
    }
    let is_shared = |key: &&Key| key.algorithm == Algorithm::Hs256;
    let key = http.keys.iter().find(is_shared).ok_or(
        "no HS256 key: tokens of the other algorithms are signed where their private key is",
    )?;
    let claims = Claims {
        iat: now,
        exp: Some(ttl.as_secs())
            .filter(|seconds| *seconds > 0)
            .map(|seconds| now.saturating_add(seconds)),
        iss: http.issuer.as_deref(),
        aud: http.audience.as_deref(),
        user: client,
    };
    let mut header = Header::new(jsonwebtoken::Algorithm::HS256);
    header.kid = Some(key.kid.clone());
    let secret = EncodingKey::from_secret(key.material.expose().as_bytes());
    jsonwebtoken::encode(&header, &claims, &secret).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;
    use jsonwebtoken::{DecodingKey, Validation};
    use std::collections::BTreeMap;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn config(extra: &str) -> Config {
        let text = format!(
            "[http]\n{extra}\n[[http.keys]]\nkid = \"main\"\nalgorithm = \"HS256\"\n\
             secret = \"{SECRET}\"\n[[http.clients]]\nname = \"a\"\nscopes = []\n\
             customers = \"all\"\n"
        );
        let environment = Environment {
            variable: &|_| None,
            file: &|_| Err("no files here".to_owned()),
            descriptor_limit: None,
        };
        Config::parse("test", &text, &environment).unwrap()
    }

    fn decoded(token: &str) -> BTreeMap<String, serde_json::Value> {
        let mut validation = Validation::new(jsonwebtoken::Algorithm::HS256);
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let key = DecodingKey::from_secret(SECRET.as_bytes());
        jsonwebtoken::decode(token, &key, &validation)
            .unwrap()
            .claims
    }

    #[test]
    fn a_token_carries_what_is_configured() {
        let config = config("issuer = \"us\"\naudience = \"them\"");
        let token = issue(&config, "a", Duration::from_secs(60), 1_000).unwrap();
        let claims = decoded(&token);
        assert_eq!(claims["iat"], 1_000);
        assert_eq!(claims["exp"], 1_060);
        assert_eq!(claims["iss"], "us");
        assert_eq!(claims["aud"], "them");
        assert_eq!(claims["user"], "a");
        assert_eq!(
            jsonwebtoken::decode_header(&token).unwrap().kid.as_deref(),
            Some("main")
        );
    }

    #[test]
    fn a_token_may_have_no_end() {
        let token = issue(&config(""), "a", Duration::ZERO, 1_000).unwrap();
        assert!(!decoded(&token).contains_key("exp"));
    }

    #[test]
    fn a_client_that_does_not_exist_gets_none() {
        let error = issue(&config(""), "b", Duration::ZERO, 1_000).unwrap_err();
        assert!(error.contains("known: a"), "{error}");
    }
}
