//! TLS of SIP: certificates, their keys, and whose are believed. The files are read here, so that
//! one that is missing, no PEM, or no pair is a fault with its line.

use super::reader::{Section, Value};
use super::value::{Secret, boolean};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

/// The system's authorities, where a trunk names none.
const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";

/// A certificate chain and its key.
#[derive(Clone, Debug, PartialEq)]
pub struct Certificate {
    /// The certificate, then those that signed it.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key as PEM.
    pub key: Secret,
}

/// `sip.tls`
#[derive(Clone, Debug, PartialEq)]
pub struct ServerTls {
    /// What we show.
    pub identity: Certificate,
    /// Authorities of clients' certificates.
    pub client_ca: Vec<CertificateDer<'static>>,
}

/// `tls` of a trunk.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrunkTls {
    /// Authorities that its certificates must be signed by.
    pub ca: Vec<CertificateDer<'static>>,
    /// What we show when we call it.
    pub identity: Option<Certificate>,
    /// The name that its certificate must have when we call; `None`: it is not called by TLS.
    pub server_name: Option<String>,
    /// It must show a certificate when it calls.
    pub require_client_cert: bool,
    /// Names of which that certificate must have one; empty: any.
    pub peer_names: Vec<String>,
}

pub(super) fn server(section: &Section<'_>) -> Option<ServerTls> {
    if !section.is_present() {
        return None;
    }
    let identity = identity(section, true);
    let client_ca = section.read("client_ca", |value| authorities(section, value));
    Some(ServerTls {
        identity: identity?,
        client_ca: client_ca.unwrap_or_default(),
    })
}

/// Of a trunk; `host` is that of its target, where that is called by TLS.
pub(super) fn trunk(section: &Section<'_>, host: Option<String>) -> TrunkTls {
    let ca = section.read("ca", |value| authorities(section, value));
    let given = section.has("ca");
    let server_name = section.read("server_name", host_name);
    let host = host.map(|host| host.trim_matches(['[', ']']).to_owned());
    let called = host.is_some();
    let ca = match ca {
        None if called && !given => section.certificates_at(SYSTEM).unwrap_or_else(|| {
            let message = format!("missing: expected a file of authorities ({SYSTEM} is none)");
            section.fault("ca", message);
            Vec::new()
        }),
        ca => ca.unwrap_or_default(),
    };
    let require = section.read("require_client_cert", boolean) == Some(true);
    let peer_names = section.read_list("peer_names", peer_name);
    let peer_names = peer_names.unwrap_or_default();
    if !require && !peer_names.is_empty() {
        section.fault("peer_names", "goes with require_client_cert = true");
    }
    TrunkTls {
        ca,
        identity: identity(section, false),
        server_name: host.map(|host| server_name.unwrap_or(host)),
        require_client_cert: require,
        peer_names,
    }
}

/// Names are compared as the DNS does it: without regard to case, and to the dot at the end.
fn peer_name(value: &Value<'_>) -> Result<String, String> {
    let name = host_name(value)?;
    Ok(name.strip_suffix('.').unwrap_or(&name).to_ascii_lowercase())
}

impl Section<'_> {
    /// The certificates of a file that the configuration does not name.
    fn certificates_at(&self, path: &str) -> Option<Vec<CertificateDer<'static>>> {
        let text = self.text_of(std::path::Path::new(path)).ok()?;
        let all = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>();
        all.ok().filter(|all| !all.is_empty())
    }
}

fn host_name(value: &Value<'_>) -> Result<String, String> {
    value
        .text()
        .filter(|text| ServerName::try_from(*text).is_ok())
        .map(str::to_owned)
        .ok_or_else(|| "a host name or an address (\"sip.example.net\")".to_owned())
}

/// Certificate and key, which must belong together.
fn identity(section: &Section<'_>, required: bool) -> Option<Certificate> {
    let wanted = required || section.has("cert") || section.has("key");
    if !wanted {
        return None;
    }
    let chain = section.require("cert", "a certificate file", |value| {
        certificates(section, value)
    });
    let key = section.require("key", "a private key file", |value| {
        let (_, pem) = section.file(value)?;
        match PrivateKeyDer::from_pem_slice(pem.as_bytes()) {
            Ok(key) => Ok((key, pem)),
            Err(_) => Err("a PEM file with a private key".to_owned()),
        }
    });
    let (chain, (key, pem)) = (chain?, key?);
    is_pair(section, &chain, key).then(|| Certificate {
        chain,
        key: Secret::new(pem),
    })
}

/// Whether certificate and key belong together; else that is a fault.
pub(super) fn is_pair(
    section: &Section<'_>,
    chain: &[CertificateDer<'static>],
    key: PrivateKeyDer<'static>,
) -> bool {
    let provider = rustls::crypto::ring::default_provider();
    match rustls::sign::CertifiedKey::from_der(chain.to_vec(), key, &provider) {
        Ok(_) => true,
        Err(error) => {
            section.fault("key", format!("does not go with the certificate: {error}"));
            false
        }
    }
}

pub(super) fn certificates(
    section: &Section<'_>,
    value: &Value<'_>,
) -> Result<Vec<CertificateDer<'static>>, String> {
    let (_, pem) = section.file(value)?;
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => Err("a PEM file with at least one certificate".to_owned()),
    }
}

/// Certificates that may sign others.
fn authorities(
    section: &Section<'_>,
    value: &Value<'_>,
) -> Result<Vec<CertificateDer<'static>>, String> {
    let all = certificates(section, value)?;
    let mut roots = rustls::RootCertStore::empty();
    let usable = all.iter().all(|one| roots.add(one.clone()).is_ok());
    if usable {
        Ok(all)
    } else {
        Err("a PEM file with certificates of authorities alone".to_owned())
    }
}
