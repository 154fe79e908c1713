//! One fetch of a certificate: HTTPS, one request, no redirects, bounded.

use super::Settings;
use super::address::is_public;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::header::{ACCEPT, CACHE_CONTROL, HOST, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Longest body: a chain of certificates has a few kilobytes.
const LONGEST_BODY: usize = 64 * 1024;
/// Most addresses of a host that are tried.
const MOST_ADDRESSES: usize = 4;
/// What a server does not say how long to keep.
const KEEP: Duration = Duration::from_secs(3600);
/// Bounds of what it says.
const KEEP_LEAST: Duration = Duration::from_secs(60);
const KEEP_MOST: Duration = Duration::from_secs(24 * 3600);

/// What was fetched.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) bytes: Bytes,
    /// How long it may be kept.
    pub(super) keep: Duration,
}

/// Why nothing was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Not an HTTPS URL, or of a host that is not allowed, or with a private address.
    Forbidden,
    /// No address, no connection, no TLS, or not what HTTP is.
    Unreachable,
    /// Another status than 200, or a body that is too long.
    Refused,
    /// Not in time.
    Late,
}

impl Failure {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Forbidden => "forbidden",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::Late => "late",
        }
    }
}

/// How servers are known.
///
/// # Errors
/// No certificate in the text, or one that is none.
pub(super) fn client(authorities: &str) -> Result<Arc<rustls::ClientConfig>, String> {
    let mut roots = rustls::RootCertStore::empty();
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(authorities.as_bytes())
            .filter_map(Result::ok)
            .collect();
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err("identity.fetch_ca: no certificate in it".to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("identity.fetch_ca: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Fetches what is at `url`.
pub(super) async fn fetch(
    url: &str,
    settings: &Settings,
    client: Arc<rustls::ClientConfig>,
) -> Result<Body, Failure> {
    let uri: Uri = url.parse().map_err(|_| Failure::Forbidden)?;
    let authority = uri.authority().ok_or(Failure::Forbidden)?;
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    let named = |allowed: &String| allowed.eq_ignore_ascii_case(&host);
    let allowed = settings.hosts.is_empty() || settings.hosts.iter().any(named);
    if uri.scheme_str() != Some("https") || !allowed || authority.as_str().contains('@') {
        return Err(Failure::Forbidden);
    }
    let stream = connect(&host, uri.port_u16().unwrap_or(443), settings.private).await?;
    let name = ServerName::try_from(host).map_err(|_| Failure::Forbidden)?;
    let tls = TlsConnector::from(client).connect(name, stream).await;
    let io = TokioIo::new(tls.map_err(|_| Failure::Unreachable)?);
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(2 * LONGEST_BODY)
        .handshake(io)
        .await
        .map_err(|_| Failure::Unreachable)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(HOST, authority.as_str())
        .header(USER_AGENT, "leasebridge")
        .header(ACCEPT, "application/pem-certificate-chain, */*")
        .body(Empty::<Bytes>::new())
        .map_err(|_| Failure::Forbidden)?;
    let exchange = async {
        let response = sender.send_request(request).await;
        let response = response.map_err(|_| Failure::Unreachable)?;
        if response.status() != hyper::StatusCode::OK {
            return Err(Failure::Refused);
        }
        let cache = response.headers().get(CACHE_CONTROL);
        let keep = keep(cache.and_then(|value| value.to_str().ok()));
        let body = Limited::new(response.into_body(), LONGEST_BODY);
        let body = body.collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                Failure::Refused
            } else {
                Failure::Unreachable
            }
        })?;
        Ok(Body {
            bytes: body.to_bytes(),
            keep,
        })
    };
    tokio::pin!(exchange);
    // Many servers close without saying so in TLS. What came whole before counts, whatever became of
    // the connection: what it left unfinished fails by itself.
    tokio::select! {
        biased;
        result = &mut exchange => result,
        _ = connection => exchange.await,
    }
}

async fn connect(host: &str, port: u16, private: bool) -> Result<TcpStream, Failure> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port))
        .await
        .map_err(|_| Failure::Unreachable)?
        .collect();
    let may = |address: &&SocketAddr| private || is_public(address.ip());
    let mut failure = Failure::Forbidden;
    for address in addresses.iter().filter(may).take(MOST_ADDRESSES) {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(_) => failure = Failure::Unreachable,
        }
    }
    Err(failure)
}

/// How long a body may be kept by its Cache-Control (RFC 9111 §5.2.2), within our bounds.
pub(super) fn keep(cache_control: Option<&str>) -> Duration {
    let directives = cache_control.unwrap_or_default().split(',').map(str::trim);
    let mut keep = KEEP;
    for directive in directives {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        if name.eq_ignore_ascii_case("no-store") || name.eq_ignore_ascii_case("no-cache") {
            return KEEP_LEAST;
        }
        if name.eq_ignore_ascii_case("max-age")
            && let Ok(seconds) = value.trim_matches('"').parse()
        {
            keep = Duration::from_secs(seconds);
        }
    }
    keep.clamp(KEEP_LEAST, KEEP_MOST)
}
