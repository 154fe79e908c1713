//! Certificates of signers (RFC 8226): from a chain as fetched to a key that may be believed.

use super::authority::Authority;
use crate::domain::{Passport, Verdict};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Most certificates of a chain.
const LONGEST_CHAIN: usize = 8;

/// `id-pe-TNAuthList` (RFC 8226 §9).
const TN_AUTH_LIST: &str = "1.3.6.1.5.5.7.1.26";

/// Whether a certificate says for which numbers it signs (RFC 8226 §9).
#[must_use]
pub fn is_for_numbers(certificate: &X509Certificate<'_>) -> bool {
    let mut extensions = certificate.extensions().iter();
    extensions.any(|one| one.oid.to_id_string() == TN_AUTH_LIST)
}

/// `anyExtendedKeyUsage`: a certificate for web servers is none for telephone numbers.
const ANY_USE: &[u8] = &[0x55, 0x1D, 0x25, 0x00];

/// Algorithms that certificates of a chain may be signed with.
static ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    webpki::ring::ECDSA_P256_SHA256,
    webpki::ring::ECDSA_P256_SHA384,
    webpki::ring::ECDSA_P384_SHA256,
    webpki::ring::ECDSA_P384_SHA384,
];

/// Whom chains must lead to.
#[derive(Clone, Debug)]
pub struct Roots(Vec<TrustAnchor<'static>>);

impl Roots {
    /// From certificates in PEM.
    ///
    /// # Errors
    /// There is none, or one of them is none.
    pub fn from_pem(text: &str) -> Result<Self, String> {
        let mut anchors = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
            let certificate = certificate.map_err(|error| format!("certificates: {error}"))?;
            let anchor = webpki::anchor_from_trusted_cert(&certificate)
                .map_err(|error| format!("certificates that can be roots: {error}"))?;
            anchors.push(anchor.to_owned());
        }
        if anchors.is_empty() {
            return Err("at least one certificate in PEM".to_owned());
        }
        Ok(Self(anchors))
    }
}

/// The certificates in a fetched body: PEM, one after the other, or a single one in DER; none where
/// it is neither or there are too many.
#[must_use]
pub fn certificates(body: &[u8]) -> Vec<CertificateDer<'static>> {
    if body.first() == Some(&0x30) {
        return vec![CertificateDer::from(body.to_vec())];
    }
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(body)
        .take(LONGEST_CHAIN + 1)
        .collect();
    chain
        .ok()
        .filter(|chain| chain.len() <= LONGEST_CHAIN)
        .unwrap_or_default()
}

/// A signer that the roots trust.
#[derive(Clone, Debug)]
pub struct Credential {
    /// An uncompressed point.
    key: Vec<u8>,
    /// Seconds since 1970, both included.
    valid: (i64, i64),
    authority: Authority,
}

impl Credential {
    /// From a chain, the signer's own certificate first. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// [`Verdict::Untrusted`].
    pub fn from_chain(
        chain: &[CertificateDer<'_>],
        roots: &Roots,
        now: u64,
    ) -> Result<Self, Verdict> {
        let (leaf, intermediates) = chain.split_first().ok_or(Verdict::Untrusted)?;
        let end = EndEntityCert::try_from(leaf).map_err(|_| Verdict::Untrusted)?;
        end.verify_for_usage(
            ALGORITHMS,
            &roots.0,
            intermediates,
            UnixTime::since_unix_epoch(Duration::from_secs(now)),
            KeyUsage::required_if_present(ANY_USE),
            None,
            None,
        )
        .map_err(|_| Verdict::Untrusted)?;
        Self::of_leaf(leaf).ok_or(Verdict::Untrusted)
    }

    fn of_leaf(leaf: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
        let usage = certificate.key_usage().ok()?;
        if usage.is_some_and(|usage| !usage.value.digital_signature()) {
            return None;
        }
        let mut extensions = certificate.extensions().iter();
        let list = extensions.find(|one| one.oid.to_id_string() == TN_AUTH_LIST)?;
        let validity = certificate.validity();
        Some(Self {
            key: certificate.public_key().subject_public_key.data.to_vec(),
            valid: (
                validity.not_before.timestamp(),
                validity.not_after.timestamp(),
            ),
            authority: Authority::parse(list.value)?,
        })
    }

    /// Whether it signed this passport, and may have.
    #[must_use]
    pub fn check(&self, passport: &Passport, now: u64) -> Verdict {
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let in_time = now >= self.valid.0 && now <= self.valid.1;
        if !in_time || !self.authority.covers(&passport.orig) {
            return Verdict::Untrusted;
        }
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.key);
        match key.verify(passport.signed.as_bytes(), &passport.signature) {
            Ok(()) => Verdict::Valid,
            Err(_) => Verdict::Invalid,
        }
    }

    /// The signer's service provider code; empty if it has none.
    #[must_use]
    pub fn provider(&self) -> &str {
        &self.authority.provider
    }
}
