//! Metrics and health on an address of their own (`observe.listen`).

use super::endpoints::{Answer, Endpoints};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections at once; the scraper needs one or two.
const CONNECTIONS: usize = 64;
/// A request's head must be there by then.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Rest after a failed accept (no descriptor left), so that it does not spin.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// The listening socket.
pub struct Listener(TcpListener);

impl Listener {
    /// Binds it.
    ///
    /// # Errors
    /// The system's.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        TcpListener::bind(address).await.map(Self)
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system's.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Serves until `stop` is done.
    pub async fn run(self, endpoints: Endpoints, stop: impl Future<Output = ()>) {
        tokio::select! {
            () = accept(self.0, endpoints) => {}
            () = stop => {}
        }
    }
}

async fn accept(listener: TcpListener, endpoints: Endpoints) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let endpoints = endpoints.clone();
                tokio::spawn(async move {
                    connection(stream, endpoints).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "observe.listen: accept failed");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, endpoints: Endpoints) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = respond(&endpoints, request.method(), request.uri().path());
        async move { Ok::<_, Infallible>(answer) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "observe.listen: connection failed");
    }
}

fn respond(endpoints: &Endpoints, method: &Method, path: &str) -> Response<Full<Bytes>> {
    let plain = |status, body: &str| Answer {
        status,
        content_type: "text/plain; charset=utf-8",
        body: body.to_owned(),
    };
    let answer = match (method, endpoints.get(path)) {
        (_, None) => plain(404, "not found\n"),
        (&Method::GET | &Method::HEAD, Some(answer)) => answer,
        _ => plain(405, "GET only\n"),
    };
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static(answer.content_type),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{Health, Metrics};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn get(address: std::net::SocketAddr, line: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[test]
    fn it_answers_over_http() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let address = SocketAddr::from(([127, 0, 0, 1], 0));
            let listener = Listener::bind(address).await.unwrap();
            let address = listener.address().unwrap();
            let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
            let stopped = async { drop(stopped.await) };
            let endpoints = Endpoints::new(Metrics::new().unwrap(), Arc::new(Health::default()));
            let server = tokio::spawn(listener.run(endpoints, stopped));
            let metrics = get(address, "GET /metrics").await;
            assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
            assert!(metrics.contains("leasebridge_build_info"), "{metrics}");
            assert!(
                get(address, "GET /readyz")
                    .await
                    .starts_with("HTTP/1.1 503")
            );
            assert!(
                get(address, "GET /nothing")
                    .await
                    .starts_with("HTTP/1.1 404")
            );
            assert!(
                get(address, "POST /metrics")
                    .await
                    .starts_with("HTTP/1.1 405")
            );
            stop.send(()).unwrap();
            server.await.unwrap();
            assert!(TcpStream::connect(address).await.is_err());
        });
    }
}
