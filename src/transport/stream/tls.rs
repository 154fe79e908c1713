//! TLS of connections: which certificate is shown to whom, and whose is believed (RFC 3261 §26.3,
//! RFC 5922).

use super::connection::{Session, bounded};
use crate::domain::network::contains;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use std::net::IpAddr;
use std::sync::Arc;

/// A certificate chain with its key.
#[derive(Debug)]
pub struct Identity {
    /// The certificate, then those that signed it.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
        }
    }
}

/// What holds for one trunk.
#[derive(Clone, Debug)]
pub struct PeerTls {
    /// Its name, for errors.
    pub trunk: String,
    /// Connections from these networks are its.
    pub sources: Vec<(IpAddr, u8)>,
    /// Host of its target.
    pub target: Option<String>,
    /// Connections to these addresses are its.
    pub targets: Vec<IpAddr>,
    /// The name that its certificate must have when we call.
    pub server_name: Option<String>,
    /// Authorities that its certificates must be signed by.
    pub ca: Vec<CertificateDer<'static>>,
    /// What we show when we call; `None`: nothing.
    pub identity: Option<Identity>,
    /// It must show a certificate when it calls.
    pub require_client_cert: bool,
    /// Names of which that certificate must have one; empty: any.
    pub peer_names: Vec<String>,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// What we show to who calls; without it nobody is listened to.
    pub server: Option<Identity>,
    /// Authorities of clients' certificates where a trunk has none of its own.
    pub client_ca: Vec<CertificateDer<'static>>,
    /// Trunks.
    pub peers: Vec<PeerTls>,
}

struct Peer {
    settings: PeerTls,
    server: Option<Arc<ServerConfig>>,
    client: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    names: Arc<[Box<str>]>,
    trunk: Arc<str>,
}

/// Made ready for use.
#[derive(Default)]
pub struct Tls {
    server: Option<Arc<ServerConfig>>,
    peers: Vec<Peer>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("peers", &self.peers.len())
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Makes it ready.
    ///
    /// # Errors
    /// Which part cannot be used, and why.
    pub fn new(settings: TlsSettings) -> Result<Self, String> {
        let identity = settings.server.as_ref();
        let server = identity
            .map(|identity| server_config(identity, &settings.client_ca, false))
            .transpose()
            .map_err(|error| format!("sip.tls: {error}"))?;
        let mut peers = Vec::new();
        for peer in settings.peers {
            let said = |error: String| format!("trunk {:?}, tls: {error}", peer.trunk);
            let ca = if peer.require_client_cert && !peer.ca.is_empty() {
                &peer.ca
            } else {
                &settings.client_ca
            };
            let server = identity
                .map(|identity| server_config(identity, ca, peer.require_client_cert))
                .transpose()
                .map_err(said)?;
            let client = match &peer.server_name {
                Some(name) if !peer.ca.is_empty() => {
                    let config = client_config(&peer).map_err(said)?;
                    let name = ServerName::try_from(name.clone())
                        .map_err(|_| said(format!("{name:?} is no name of a server")))?;
                    Some((config, name))
                }
                _ => None,
            };
            let names = peer.peer_names.iter().map(|name| name.as_str().into());
            peers.push(Peer {
                names: names.collect(),
                trunk: peer.trunk.as_str().into(),
                settings: peer,
                server,
                client,
            });
        }
        Ok(Self { server, peers })
    }

    /// A target has been found at other addresses.
    pub(super) fn locate(&mut self, host: &str, addresses: &[IpAddr]) {
        let is_it = |peer: &&mut Peer| peer.settings.target.as_deref() == Some(host);
        for peer in self.peers.iter_mut().filter(is_it) {
            peer.settings.targets = addresses.to_vec();
        }
    }

    /// Takes over where targets were found before.
    pub(super) fn keep_located(&mut self, before: &Self) {
        for old in &before.peers {
            if let Some(host) = &old.settings.target {
                self.locate(host, &old.settings.targets);
            }
        }
    }

    /// TLS for a connection that came from there.
    pub(super) fn accept(&self, from: IpAddr) -> Option<Box<Session>> {
        let peer = self.at(from);
        let config = match peer {
            Some(peer) => peer.server.as_ref()?,
            None => self.server.as_ref()?,
        };
        let connection = ServerConnection::new(Arc::clone(config)).ok()?;
        Some(Box::new(Session {
            tls: bounded(connection.into()),
            peer_names: peer.map_or_else(Arc::default, |peer| Arc::clone(&peer.names)),
            trunk: peer.map_or_else(|| "".into(), |peer| Arc::clone(&peer.trunk)),
            required: peer.is_some_and(|peer| peer.settings.require_client_cert),
        }))
    }

    /// Whether a connection from there must show a certificate.
    pub(super) fn requires(&self, from: IpAddr) -> bool {
        self.at(from)
            .is_some_and(|peer| peer.settings.require_client_cert)
    }

    /// Who is at an address: the trunk with the narrowest network around it. Where none lists it,
    /// one that is called there and must show a certificate.
    fn at(&self, address: IpAddr) -> Option<&Peer> {
        narrowest(self.peers.iter(), address).or_else(|| {
            let mut strict = self.peers.iter();
            strict.find(|peer| peer.settings.require_client_cert && peer.settings.is_at(address))
        })
    }

    /// TLS for a connection to there.
    pub(super) fn dial(&self, to: IpAddr) -> Option<Box<Session>> {
        let callable = || self.peers.iter().filter(|peer| peer.client.is_some());
        let exact = callable().find(|peer| peer.settings.is_at(to));
        let peer = exact.or_else(|| narrowest(callable(), to))?;
        let (config, name) = peer.client.as_ref()?;
        let connection = ClientConnection::new(Arc::clone(config), name.clone()).ok()?;
        Some(Box::new(Session {
            tls: bounded(connection.into()),
            // The name is checked by the handshake.
            peer_names: Arc::default(),
            trunk: Arc::clone(&peer.trunk),
            required: true,
        }))
    }
}

/// The one with the narrowest network around an address.
fn narrowest<'a>(peers: impl Iterator<Item = &'a Peer>, address: IpAddr) -> Option<&'a Peer> {
    peers
        .filter_map(|peer| Some((peer, peer.settings.covers(address)?)))
        .max_by_key(|(_, length)| *length)
        .map(|(peer, _)| peer)
}

impl PeerTls {
    /// Whether it is called there.
    fn is_at(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let mut targets = self.targets.iter();
        targets.any(|target| target.to_canonical() == address)
    }

    /// Length of the longest network of its that holds an address.
    fn covers(&self, address: IpAddr) -> Option<u8> {
        let address = address.to_canonical();
        self.sources
            .iter()
            .filter(|(network, length)| contains((network.to_canonical(), *length), address))
            .map(|(_, length)| *length)
            .max()
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(ca: &[CertificateDer<'static>]) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in ca {
        roots
            .add(certificate.clone())
            .map_err(|error| format!("an authority's certificate: {error}"))?;
    }
    Ok(Arc::new(roots))
}

fn server_config(
    identity: &Identity,
    ca: &[CertificateDer<'static>],
    require: bool,
) -> Result<Arc<ServerConfig>, String> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = if ca.is_empty() {
        if require {
            return Err("a client certificate is required, and no authority is given".to_owned());
        }
        builder.with_no_client_auth()
    } else {
        let verifier = WebPkiClientVerifier::builder_with_provider(roots(ca)?, provider());
        let verifier = if require {
            verifier
        } else {
            verifier.allow_unauthenticated()
        };
        let verifier = verifier.build().map_err(|error| error.to_string())?;
        builder.with_client_cert_verifier(verifier)
    };
    let config = builder
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())
        .map_err(|error| format!("certificate and key: {error}"))?;
    Ok(Arc::new(config))
}

fn client_config(peer: &PeerTls) -> Result<Arc<ClientConfig>, String> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots(&peer.ca)?);
    let config = match &peer.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => builder
            .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
            .map_err(|error| format!("certificate and key: {error}"))?,
    };
    Ok(Arc::new(config))
}

/// Whether a name is the address of these octets.
fn is_octets(name: &str, octets: &[u8]) -> bool {
    match name.trim_matches(['[', ']']).parse() {
        Ok(IpAddr::V4(address)) => address.octets() == octets,
        Ok(IpAddr::V6(address)) => address.octets() == octets,
        Err(_) => false,
    }
}

/// Whether the peer's certificate has one of the names (RFC 5922 §7.1: a SIP URI of a host, else a
/// DNS name; or an address). Any does where there are none.
pub(super) fn is_named(tls: &rustls::Connection, names: &[Box<str>]) -> bool {
    use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};
    if names.is_empty() {
        return true;
    }
    let Some(certificate) = tls.peer_certificates().and_then(|all| all.first()) else {
        return false;
    };
    let Ok((_, certificate)) = X509Certificate::from_der(certificate.as_ref()) else {
        return false;
    };
    let Ok(Some(alternatives)) = certificate.subject_alternative_name() else {
        return false;
    };
    alternatives.value.general_names.iter().any(|general| {
        let held = match general {
            GeneralName::DNSName(name) => *name,
            GeneralName::URI(uri) => match uri.get(..4) {
                Some(scheme) if scheme.eq_ignore_ascii_case("sip:") => {
                    uri.get(4..).unwrap_or_default()
                }
                _ => return false,
            },
            // Where a carrier has no name but its address (RFC 5280 §4.2.1.6).
            GeneralName::IPAddress(bytes) => {
                return names.iter().any(|name| is_octets(name, bytes));
            }
            _ => return false,
        };
        names.iter().any(|name| name.eq_ignore_ascii_case(held))
    })
}
