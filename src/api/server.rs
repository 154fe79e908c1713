//! The HTTP server: accept loop, TLS, bounds. Requests go through one warp filter to
//! [`Api::answer`].
//!
//! Plain connections speak HTTP/1.1, or HTTP/2 where the client begins with it (prior knowledge, RFC
//! 9113 section 3.3); TLS connections what ALPN settles on.

use super::dispatch::{Api, Arrival};
use super::idle::Activity;
use super::mended::Mended;
use super::metrics::Metrics;
use super::neighbours::Books;
use super::origin;
use super::settings::{HttpLimits, TlsFiles};
use super::slots::{Bound, Slot, Slots};
use super::stall::Watched;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tower_service::Service;
use warp::Filter;

/// Pause after a failed accept (no descriptors left, say), so that it is not tried in a frenzy.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Longest request head, bytes.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// Most header lines of a request.
const MAX_HEADERS: usize = 64;
/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 128;
/// How HTTP/2 begins (RFC 9113 section 3.4); no method of HTTP/1 does.
const PREFACE: [u8; 3] = *b"PRI";

/// A listening server.
pub struct Server<B> {
    api: Arc<Api<B>>,
    listener: TcpListener,
    tls: Arc<RwLock<Option<Arc<rustls::ServerConfig>>>>,
    limits: HttpLimits,
}

/// Changes a running server's certificate.
#[derive(Clone)]
pub struct TlsHandle(Arc<RwLock<Option<Arc<rustls::ServerConfig>>>>);

impl TlsHandle {
    /// Reads certificate and key again; connections from now on use them. A server that was started
    /// with TLS keeps it, one that was started without stays so.
    ///
    /// # Errors
    /// Says which file is at fault; what was in force stays.
    pub fn reload(&self, files: &TlsFiles) -> Result<(), String> {
        let config = tls_config(files)?;
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() {
            *held = Some(config);
        }
        Ok(())
    }
}

impl<B: Books> Server<B> {
    /// Listens on `address`; TLS where the settings say so.
    ///
    /// # Errors
    /// The address cannot be had, or certificate or key cannot be read: says which.
    pub async fn bind(api: Arc<Api<B>>, address: SocketAddr) -> Result<Self, String> {
        let settings = api.in_force();
        let tls = settings.settings.tls.as_ref().map(tls_config).transpose()?;
        let limits = settings.settings.limits.clone();
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| format!("cannot listen on {address}: {error}"))?;
        Ok(Self {
            api,
            listener,
            tls: Arc::new(RwLock::new(tls)),
            limits,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Changes the certificate while it runs.
    #[must_use]
    pub fn tls_handle(&self) -> TlsHandle {
        TlsHandle(Arc::clone(&self.tls))
    }

    /// Serves until `stop` is done, then lets open requests end for `limits.drain_timeout`.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let slots = Slots::new(
            self.limits.max_connections,
            self.limits.max_connections_per_address,
        );
        let (stopping, stopped) = watch::channel(false);
        let metrics = self.api.metrics();
        let mut stop = std::pin::pin!(stop);
        loop {
            let (stream, peer) = tokio::select! {
                () = &mut stop => break,
                accepted = self.listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "accepting an HTTP connection failed");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            let slot = match slots.take(peer.ip(), self.is_proxy(peer.ip())) {
                Ok(slot) => slot,
                Err(bound) => {
                    let refused = match bound {
                        Bound::All => &metrics.connections_refused,
                        Bound::Share => &metrics.shares_refused,
                    };
                    refused.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
            };
            let tls = self
                .tls
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let connection = Connection {
                api: Arc::clone(&self.api),
                peer,
                limits: self.limits.clone(),
                stopped: stopped.clone(),
                _open: Open::new(Arc::clone(&metrics), slot),
            };
            tokio::spawn(connection.serve(stream, tls));
        }
        drop(self.listener);
        drop(stopped);
        let _ = stopping.send(true);
        let _ = tokio::time::timeout(self.limits.drain_timeout, stopping.closed()).await;
    }

    /// Whether many clients come by this address.
    fn is_proxy(&self, peer: IpAddr) -> bool {
        let in_force = self.api.in_force();
        origin::is_trusted(&in_force.settings.trusted_proxies, peer)
    }
}

/// Counts a connection as long as it is there.
struct Open {
    metrics: Arc<Metrics>,
    _slot: Slot,
}

impl Open {
    fn new(metrics: Arc<Metrics>, slot: Slot) -> Self {
        metrics.connections.fetch_add(1, Ordering::Relaxed);
        Self {
            metrics,
            _slot: slot,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Connection<B> {
    api: Arc<Api<B>>,
    peer: SocketAddr,
    limits: HttpLimits,
    stopped: watch::Receiver<bool>,
    _open: Open,
}

impl<B: Books> Connection<B> {
    async fn serve(self, stream: TcpStream, tls: Option<Arc<rustls::ServerConfig>>) {
        // Answers are small and whole: waiting for more to send only adds delay.
        let _ = stream.set_nodelay(true);
        let http2 = match &tls {
            None => self.begins_as_http2(&stream).await,
            Some(_) => Some(false),
        };
        let Some(http2) = http2 else { return };
        let given_up = Arc::clone(&self.api.metrics().stalled);
        let stream = Watched::new(stream, self.limits.write_timeout, given_up);
        let Some(tls) = tls else {
            self.speak(stream, http2).await;
            return;
        };
        let handshake = TlsAcceptor::from(tls).accept(stream);
        match tokio::time::timeout(self.limits.header_timeout, handshake).await {
            Ok(Ok(stream)) => {
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                self.speak(stream, http2).await;
            }
            Ok(Err(_)) | Err(_) => {
                self.api
                    .metrics()
                    .handshakes_failed
                    .fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Waits for a plain connection's first bytes, and leaves them where they are. `None`: none came in
    /// time. At the server's end HTTP/1 does what is to be done.
    async fn begins_as_http2(&self, stream: &TcpStream) -> Option<bool> {
        let mut first = [0u8; PREFACE.len()];
        let mut stopped = self.stopped.clone();
        let waited = tokio::time::timeout(self.limits.header_timeout, stream.peek(&mut first));
        tokio::select! {
            biased;
            peeked = waited => peeked.ok().map(|read| read.is_ok() && first == PREFACE),
            _ = stopped.wait_for(|stopped| *stopped) => Some(false),
        }
    }

    async fn speak<I>(self, stream: I, http2: bool)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let builder = builder(&self.limits, http2);
        let filter = warp::service(filter(Arc::clone(&self.api)));
        let peer = self.peer;
        let activity = Activity::default();
        let counted = activity.clone();
        let service = service_fn(
            move |mut request: warp::http::Request<hyper::body::Incoming>| {
                let (at_work, taken) = (counted.begin(), counted.clone());
                let uri = request.uri().clone();
                request.extensions_mut().insert(Arrival { uri, peer });
                let answer = filter.clone().call(request);
                async move {
                    let answer = answer.await;
                    let answer = answer.map(|whole| whole.map(|body| taken.answer(body)));
                    drop(at_work);
                    answer
                }
            },
        );
        // HTTP/2 has no such answers: a stream that cannot be parsed is reset.
        let always_ok = self.api.in_force().settings.always_ok;
        let metrics = self.api.metrics();
        let mended = Mended::new(stream, always_ok, move |code| {
            metrics.count(None, code, Duration::ZERO);
        });
        let connection = builder.serve_connection(TokioIo::new(mended), service);
        let mut connection = std::pin::pin!(connection);
        let mut stopped = self.stopped.clone();
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = stopped.wait_for(|stopped| *stopped) => {}
            () = activity.idle(self.limits.header_timeout), if http2 => {
                if !activity.any() {
                    // Perhaps not even its preface came: there is nothing to end in order.
                    return;
                }
            }
        }
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            _ = connection => {}
            // HTTP/2 has windows of its own: what waits for one does not wait in a write.
            () = activity.idle(self.limits.write_timeout), if http2 => {
                if activity.is_answering() {
                    self.api.metrics().stalled.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

fn builder(limits: &HttpLimits, http2: bool) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES);
    let head = u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.header_timeout)
        .keep_alive_timeout(limits.header_timeout)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(head);
    if http2 {
        builder.http2_only()
    } else {
        builder.http1_only()
    }
}

/// One filter that takes every request whole: routing is by [`super::operation::OPERATIONS`].
fn filter<B: Books>(
    api: Arc<Api<B>>,
) -> impl Filter<Extract = (impl warp::Reply,), Error = Infallible> + Clone {
    warp::method()
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<Arrival>())
        .and(warp::body::stream())
        .then(move |method, headers, arrival, body| {
            let api = Arc::clone(&api);
            async move { api.answer(method, headers, arrival, body).await }
        })
        .recover(|_| async {
            // Not reached: the filter asks for nothing that could be missing.
            Ok::<_, Infallible>(warp::http::StatusCode::INTERNAL_SERVER_ERROR)
        })
}

/// The configuration of a server with this certificate.
///
/// # Errors
/// Says which file is at fault and why.
pub fn tls_config(files: &TlsFiles) -> Result<Arc<rustls::ServerConfig>, String> {
    let shown = files.certificate.display();
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .map_err(|error| format!("certificate {shown}: {error}"))?;
    if chain.is_empty() {
        return Err(format!("certificate {shown}: there is none in it"));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| format!("key {}: {error}", files.key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| format!("certificate {shown} with its key: {error}"))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
