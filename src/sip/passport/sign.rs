//! Signing of our INVITEs (RFC 8224 §6.1).

use super::{ALGORITHM, SHAKEN, TYPE};
use crate::domain::{Attestation, E164};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use p256::SecretKey;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::DecodePrivateKey;
use std::fmt;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What is signed of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims {
    /// How far we vouch.
    pub attestation: Attestation,
    /// The number that the callee is shown.
    pub orig: E164,
    /// The number dialled on this leg.
    pub dest: E164,
    /// The call's id: its `origid` where none is configured.
    pub call: uuid::Uuid,
    /// Seconds since 1970.
    pub issued_at: u64,
}

/// Who signs: a key and where its certificate is. Signatures are deterministic (RFC 6979): the same
/// claims give the same bytes, and no randomness can betray the key.
#[derive(Clone)]
pub struct Signer {
    key: SigningKey,
    url: Box<str>,
    /// The protected header, encoded: the same for all.
    header: Box<str>,
    origin: Option<Box<str>>,
}

impl Signer {
    /// From a P-256 key in PEM (PKCS #8 or SEC 1), the URL of its certificate, and the `origid` that
    /// all calls have, if one is configured.
    ///
    /// # Errors
    /// What is wrong with the key.
    pub fn new(pem: &str, url: &str, origin: Option<&str>) -> Result<Self, String> {
        let secret = SecretKey::from_pkcs8_pem(pem).ok();
        let secret = secret.or_else(|| SecretKey::from_sec1_pem(pem).ok());
        let secret = secret.ok_or("a P-256 private key in PEM (PKCS #8 or SEC 1)")?;
        let header = format!(
            "{{\"alg\":\"{ALGORITHM}\",\"ppt\":\"{SHAKEN}\",\"typ\":\"{TYPE}\",\"x5u\":{}}}",
            serde_json::Value::from(url)
        );
        Ok(Self {
            key: SigningKey::from(secret),
            url: url.into(),
            header: BASE64.encode(header).into(),
            origin: origin.map(Box::from),
        })
    }

    /// Whether the first certificate in `pem` is of this key.
    #[must_use]
    pub fn has_certificate(&self, pem: &str) -> bool {
        let certificate = super::certificates(pem.as_bytes()).into_iter().next();
        let point = self.key.verifying_key().to_encoded_point(false);
        certificate.is_some_and(|der| {
            let parsed = X509Certificate::from_der(&der);
            parsed.is_ok_and(|(_, certificate)| {
                *certificate.public_key().subject_public_key.data == *point.as_bytes()
            })
        })
    }

    /// The value of an Identity header.
    #[must_use]
    pub fn sign(&self, claims: &Claims) -> String {
        let payload = self.payload(claims);
        let mut token = format!("{}.{}", self.header, BASE64.encode(payload));
        let signature: Signature = self.key.sign(token.as_bytes());
        token.push('.');
        BASE64.encode_string(signature.to_bytes(), &mut token);
        let url = &self.url;
        format!("{token};info=<{url}>;alg={ALGORITHM};ppt=\"{SHAKEN}\"")
    }

    /// The claims as RFC 8225 §9 has them: names in order, no white space.
    fn payload(&self, claims: &Claims) -> String {
        let call = claims.call.to_string();
        let origin = serde_json::Value::from(self.origin.as_deref().unwrap_or(&call));
        format!(
            "{{\"attest\":\"{}\",\"dest\":{{\"tn\":[\"{}\"]}},\"iat\":{},\"orig\":{{\"tn\":\"{}\"}},\"origid\":{origin}}}",
            claims.attestation.letter(),
            claims.dest.digits(),
            claims.issued_at,
            claims.orig.digits(),
        )
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.url)
    }
}
