//! HTTP itself: methods, paths, bodies, slow clients, TLS, stopping.

use super::*;
use crate::api::settings::TlsFiles;
use rustls_pki_types::ServerName;
use std::sync::atomic::Ordering::Relaxed;
use tokio_rustls::TlsConnector;

fn bearer() -> String {
    format!("Authorization: Bearer {}\r\n", token("all"))
}

#[tokio::test]
async fn other_methods_and_paths_are_json_too() {
    let server = start(settings()).await;
    for (method, path, status, http) in [
        ("GET", "/api/leaserequest", 4, 404),
        ("GET", "/axiata/api/leaserequest", 4, 404),
        ("POST", "/api/v2/leasesingle/request", 4, 404),
        ("GET", "/api/v1/leasesingle/request", 3, 405),
        ("PUT", "/api/v1/leasesingle/request?a=b", 3, 405),
        ("POST", "/api/v1/leasesingle/nothing", 3, 404),
        ("GET", "/", 3, 404),
        ("DELETE", "/nowhere", 3, 404),
        ("POST", "/healthz", 3, 405),
        ("POST", "/openapi.json", 3, 405),
    ] {
        let got = server
            .raw(request(method, path, "", &bearer()).as_bytes())
            .await;
        assert_eq!((got.status(), got.http), (status, http), "{method} {path}");
        assert_eq!(got.header("content-type"), Some("application/json"));
        assert_eq!(got.header("allow").is_some(), http == 405);
    }
}

#[tokio::test]
async fn what_stands_beside_the_api() {
    let server = start(settings()).await;
    let got = server
        .raw(request("GET", "/healthz", "", "").as_bytes())
        .await;
    assert_eq!((got.http, got.body.as_slice()), (200, &b"ok\n"[..]));
    assert_eq!(got.header("content-type"), Some("text/plain"));
    let got = server
        .raw(request("GET", "/openapi.json", "", "").as_bytes())
        .await;
    assert_eq!(
        got.json()["openapi"].as_str().map(|version| &version[..2]),
        Some("3.")
    );
    let got = server
        .raw(request("HEAD", "/healthz", "", "").as_bytes())
        .await;
    assert_eq!((got.http, got.body.len()), (200, 0));
}

#[tokio::test]
async fn bodies_that_are_no_forms() {
    let server = start(settings()).await;
    let path = "/api/v1/customer/ledger";
    let long = format!("customer_id=1&x={}", "a".repeat(16 * 1024));
    let got = server.post_with(path, &long, &bearer()).await;
    assert_eq!((got.status(), got.http), (2, 413));
    assert_eq!(got.json()["entries"], serde_json::json!([]));
    // Without a declared length too.
    let chunks = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n{}\r\n",
        bearer()
    );
    let chunks = format!("{chunks}4001\r\n{}\r\n0\r\n\r\n", "a".repeat(0x4001));
    let got = server.raw(chunks.as_bytes()).await;
    assert_eq!((got.status(), got.http), (2, 413));
    // Just fitting.
    let most = format!("customer_id=1&x={}", "a".repeat(16 * 1024 - 16));
    assert_eq!(most.len(), 16 * 1024);
    assert_eq!(server.post_with(path, &most, &bearer()).await.status(), 0);

    let in_query = format!("{path}?customer_id=1");
    let empty = request("POST", &in_query, "", &bearer()).replace("x-www-form-urlencoded", "json");
    assert_eq!(
        server.raw(empty.as_bytes()).await.status(),
        0,
        "nothing has no type"
    );
    for body in [
        "customer_id=%ff",
        "customer_id=1&customer_id=1",
        "customer_id=%4",
    ] {
        let got = server.post_with(path, body, &bearer()).await;
        assert_eq!((got.status(), got.http), (2, 400), "{body}");
    }
    let twice = server
        .post_with(&in_query, "customer_id=1", &bearer())
        .await;
    assert_eq!(twice.status(), 2);
}

/// That it is too long is said when it is known, not when all of it is there: its sender may be
/// waiting to hear whether it should be sent at all.
#[tokio::test]
async fn a_body_that_is_too_long_is_refused_at_once() {
    let server = start(settings()).await;
    let path = "/api/v1/customer/ledger";
    let head = |length: &str| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{length}\r\n{}\r\n",
            bearer()
        );
        head.into_bytes()
    };
    let half = [head("Transfer-Encoding: chunked"), b"4001\r\n".to_vec()].concat();
    for sent in [
        head("Content-Length: 16385"),
        head("Content-Length: 99999999999"),
        head("Content-Length: 20000\r\nExpect: 100-continue"),
        // More than fits has come, and the rest does not.
        [half, vec![b'a'; 0x4001]].concat(),
    ] {
        let shown = String::from_utf8_lossy(&sent[..150]).into_owned();
        let asked = std::time::Instant::now();
        // A body may take a minute here; the helper waits less.
        let got = server.raw(&sent).await;
        assert_eq!((got.status(), got.http), (2, 413), "{shown}");
        assert!(got.head.starts_with("HTTP/1.1 413"), "{shown}: no 100");
        assert!(asked.elapsed() < Duration::from_secs(15), "{shown}");
    }
    // Who sends it all the same, and only then reads, gets the answer.
    let whole = [head("Content-Length: 600000"), vec![b'a'; 600_000]].concat();
    let got = server.raw(&whole).await;
    assert_eq!((got.status(), got.http), (2, 413));
}

#[tokio::test]
async fn two_content_types_are_one_too_many() {
    let server = start(settings()).await;
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    for second in ["Content-Type: application/json\r\n", form] {
        // The request has the one already.
        let headers = format!("{}{second}", bearer());
        let got = server
            .post_with("/api/v1/customer/ledger", "customer_id=1", &headers)
            .await;
        assert_eq!((got.status(), got.http), (1, 400), "{second}");
    }
}

#[tokio::test]
async fn a_body_of_another_type_is_415() {
    let server = start(settings()).await;
    let path = "/api/v1/customer/ledger";
    let typed = |kind: &str, body: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{kind}Content-Length: {}\r\n{}\r\n{body}",
            body.len(),
            bearer()
        )
    };
    for (kind, body, status, http) in [
        ("Content-Type: application/json\r\n", "{}", 2, 415),
        (
            "Content-Type: multipart/form-data; boundary=x\r\n",
            "customer_id=1",
            2,
            415,
        ),
        (
            "Content-Type: APPLICATION/x-www-form-urlencoded; charset=UTF-8\r\n",
            "customer_id=1",
            0,
            200,
        ),
        (
            "Content-Type: application/x-www-form-urlencoded; charset=ISO-8859-1\r\n",
            "customer_id=1",
            2,
            415,
        ),
        (
            "Content-Type: application/x-www-form-urlencoded; Charset=\"utf-8\"\r\n",
            "customer_id=1",
            0,
            200,
        ),
        ("", "customer_id=1", 0, 200),
    ] {
        let got = server.raw(typed(kind, body).as_bytes()).await;
        assert_eq!((got.status(), got.http), (status, http), "{kind}");
    }
}

/// What never reaches the API because it is no HTTP is answered in its words all the same.
#[tokio::test]
async fn what_cannot_be_parsed_is_answered_in_json() {
    let mut settings = settings();
    let many = "X-Many: 1\r\n".repeat(100);
    let line = "POST /api/v1/customer/view HTTP/1.1\r\nHost: x\r\n";
    // As long as a head may be, and not at its end.
    let mut long = format!("{line}X-Long: {}", "a".repeat(32 * 1024));
    long.truncate(32 * 1024);
    for always_ok in [false, true] {
        settings.always_ok = always_ok;
        let server = start(settings.clone()).await;
        for (sent, http) in [
            ("nonsense\r\n\r\n".to_owned(), 400),
            (format!("{line}no colon\r\n\r\n"), 400),
            (format!("{line}X: a\0b\r\n\r\n"), 400),
            (format!("{line}Content-Length: x\r\n\r\n"), 400),
            (format!("{line}{many}\r\n"), 431),
            (long.clone(), 431),
        ] {
            let got = server.raw(sent.as_bytes()).await;
            let shown = &sent[..sent.len().min(90)];
            let http = if always_ok { 200 } else { http };
            assert_eq!((got.status(), got.http), (1, http), "{shown}");
            assert_eq!(got.header("content-type"), Some("application/json"));
            assert_eq!(got.header("connection"), Some("close"));
        }
        let metrics = server.api.metrics();
        let counted = metrics.requests().find(|row| row.0 == "none" && row.1 == 1);
        assert_eq!(counted.map(|row| row.2), Some(6));
    }
}

/// Settings under which a client must not be slow.
fn impatient() -> Settings {
    let mut settings = settings();
    settings.limits.header_timeout = Duration::from_millis(300);
    settings.limits.body_timeout = Duration::from_millis(300);
    settings
}

#[tokio::test]
async fn slow_clients_are_cut() {
    let server = start(impatient()).await;
    for sent in [
        "",
        "PRI",
        "POST /api/v1/customer/view HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let cut = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut rest));
        cut.await
            .expect("the server should close the connection")
            .ok();
    }
    // A body that never comes.
    let head = request("POST", "/api/v1/customer/ledger", "", &bearer())
        .replace("Content-Length: 0", "Content-Length: 10");
    let got = server.raw(head.as_bytes()).await;
    assert_eq!((got.status(), got.http), (2, 408));
}

#[tokio::test]
async fn too_many_connections_are_closed_at_once() {
    let mut settings = settings();
    settings.limits.max_connections = 1;
    let server = start(settings).await;
    let _held = answered(&server).await;
    let mut refused = TcpStream::connect(server.address).await.unwrap();
    let mut nothing = Vec::new();
    refused.read_to_end(&mut nothing).await.ok();
    assert!(nothing.is_empty());
    let metrics = server.api.metrics();
    assert_eq!(metrics.connections_refused.load(Relaxed), 1);
    assert_eq!(metrics.connections.load(Relaxed), 1);
}

/// A connection that was answered and asks nothing more.
async fn answered(server: &Running) -> TcpStream {
    let mut held = TcpStream::connect(server.address).await.unwrap();
    held.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut first = [0u8; 12];
    held.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    held
}

#[tokio::test]
async fn one_address_cannot_take_all_connections() {
    let mut settings = settings();
    settings.limits.max_connections = 10;
    settings.limits.max_connections_per_address = 2;
    let mut server = start(settings.clone()).await;
    let _held = (answered(&server).await, answered(&server).await);
    let mut refused = TcpStream::connect(server.address).await.unwrap();
    let mut nothing = Vec::new();
    refused.read_to_end(&mut nothing).await.ok();
    assert!(nothing.is_empty());
    let metrics = server.api.metrics();
    assert_eq!(metrics.shares_refused.load(Relaxed), 1);
    assert_eq!(metrics.connections_refused.load(Relaxed), 0);
    // Somebody else is served: another address of the loopback network.
    let other = tokio::net::TcpSocket::new_v4().unwrap();
    other.bind(([127, 0, 0, 9], 0).into()).unwrap();
    let mut other = other.connect(server.address).await.unwrap();
    other
        .write_all(request("GET", "/healthz", "", "").as_bytes())
        .await
        .unwrap();
    assert_eq!(read_answer(other).await.http, 200);
    server.stop.take().unwrap().send(()).unwrap();

    settings.trusted_proxies = vec![([127, 0, 0, 1].into(), 32)];
    let server = start(settings).await;
    let _held = (
        answered(&server).await,
        answered(&server).await,
        answered(&server).await,
    );
    assert_eq!(server.api.metrics().shares_refused.load(Relaxed), 0);
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let server = start(impatient()).await;
    let mut held = answered(&server).await;
    let mut rest = Vec::new();
    let cut = tokio::time::timeout(Duration::from_secs(60), held.read_to_end(&mut rest));
    cut.await.expect("the server should close it").ok();
}

/// Pings of ours keep an HTTP/2 connection alive for ever, unless its asking nothing counts.
#[tokio::test]
async fn an_idle_connection_of_http2_is_closed_though_it_answers_pings() {
    let directory = tempfile::tempdir().unwrap();
    let (files, pem) = certificate(directory.path(), "only");
    let mut settings = impatient();
    settings.tls = Some(files);
    let server = start(settings).await;
    let cut = async |hello: &[u8]| {
        let stream = connect(server.address, &pem, &["h2"]).await.unwrap();
        answers_pings(stream, hello).await;
    };
    let preface = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[]),
    ];
    for hello in [&b""[..], &preface.concat()] {
        tokio::time::timeout(Duration::from_secs(60), cut(hello))
            .await
            .expect("the server should close it");
    }
}

/// Says `hello` and then nothing but answers to pings, until the connection is closed.
async fn answers_pings(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    hello: &[u8],
) {
    stream.write_all(hello).await.unwrap();
    let mut head = [0u8; 9];
    while stream.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut payload).await.unwrap();
        if head[3] == 6 && head[4] == 0 {
            stream.write_all(&frame(6, 1, 0, &payload)).await.ok();
        }
    }
}

/// A window of nought: the answer is there, and nothing of it may be sent.
#[tokio::test]
async fn who_takes_no_answer_over_http2_is_cut() {
    let mut settings = impatient();
    settings.limits.write_timeout = Duration::from_millis(300);
    let server = start(settings).await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let asked = http2_request(0x86, &[0, 4, 0, 0, 0, 0]);
    tokio::time::timeout(Duration::from_secs(60), answers_pings(stream, &asked))
        .await
        .expect("the server should close it");
    assert_eq!(server.api.metrics().stalled.load(Relaxed), 1);
}

#[tokio::test]
async fn connections_stay_open_between_requests() {
    let server = start(settings()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let body = "customer_id=1";
    let one = request("POST", "/api/v1/customer/ledger", body, &bearer())
        .replace("Connection: close\r\n", "");
    let last = request("POST", "/api/v1/customer/ledger", body, &bearer());
    stream
        .write_all(format!("{one}{one}{last}").as_bytes())
        .await
        .unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    let text = String::from_utf8(all).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 3);
}

#[tokio::test]
async fn stopping_lets_open_requests_end() {
    let mut server = start(settings()).await;
    let mut open = TcpStream::connect(server.address).await.unwrap();
    let body = "customer_id=1";
    let whole = request("POST", "/api/v1/customer/ledger", body, &bearer());
    let (head, rest) = whole.split_at(whole.len() - 4);
    open.write_all(head.as_bytes()).await.unwrap();
    // The server has the head when it counts the connection and has asked nothing yet.
    while server.api.metrics().connections.load(Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    server.stop.take().unwrap().send(()).unwrap();
    open.write_all(rest.as_bytes()).await.unwrap();
    let got = read_answer(open).await;
    assert_eq!(got.status(), 0);
    tokio::time::timeout(Duration::from_secs(20), server.served)
        .await
        .unwrap()
        .unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn requests_are_counted_by_operation_and_status() {
    let server = start(settings()).await;
    server.call("customer/ledger", "customer_id=1").await;
    server.call("customer/ledger", "customer_id=x").await;
    server.call("customer/ledger", "customer_id=x").await;
    server.raw(request("GET", "/api/", "", "").as_bytes()).await;
    let metrics = server.api.metrics();
    let mut seen: Vec<_> = metrics.requests().filter(|row| row.2 > 0).collect();
    seen.sort();
    assert_eq!(
        seen,
        [
            ("customer/ledger".to_owned(), 0, 1),
            ("customer/ledger".to_owned(), 33, 2),
            ("none".to_owned(), 4, 1)
        ]
    );
}

/// A certificate of its own making, in files.
fn certificate(directory: &std::path::Path, name: &str) -> (TlsFiles, String) {
    let made = rcgen::generate_simple_self_signed(vec!["gateway.test".to_owned()]).unwrap();
    let files = TlsFiles {
        certificate: directory.join(format!("{name}.pem")),
        key: directory.join(format!("{name}.key")),
    };
    let pem = made.cert.pem();
    std::fs::write(&files.certificate, &pem).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    (files, pem)
}

/// A request over TLS to a server whose certificate must be `pem`.
async fn over_tls(address: SocketAddr, pem: &str, bytes: &[u8]) -> std::io::Result<Got> {
    let mut stream = connect(address, pem, &[]).await?;
    stream.write_all(bytes).await?;
    Ok(read_answer(stream).await)
}

async fn connect(
    address: SocketAddr,
    pem: &str,
    protocols: &[&str],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    use rustls_pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(rustls_pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("gateway.test").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

/// One frame of HTTP/2 (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [
        length[1], length[2], length[3], kind, flags, 0, 0, 0, stream,
    ];
    [&head[..], payload].concat()
}

/// A string of HPACK, not Huffman-coded (RFC 7541 section 5.2).
fn hpack(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut length = text.len();
    if length < 127 {
        out.push(u8::try_from(length).unwrap());
    } else {
        out.push(127);
        length -= 127;
        while length >= 128 {
            out.push(u8::try_from(length % 128).unwrap() | 128);
            length /= 128;
        }
        out.push(u8::try_from(length).unwrap());
    }
    out.extend_from_slice(text.as_bytes());
    out
}

/// A request for customer 1's ledger in HTTP/2, `scheme` as in HPACK's static table.
fn http2_request(scheme: u8, settings: &[u8]) -> Vec<u8> {
    // POST; path and authority by their names in the static table.
    let mut headers = vec![0x83, scheme, 0x04];
    headers.extend(hpack("/api/v1/customer/ledger"));
    headers.push(0x01);
    headers.extend(hpack("gateway.test"));
    headers.push(0x00);
    headers.extend(hpack("authorization"));
    headers.extend(hpack(&format!("Bearer {}", token("all"))));
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, settings),
        frame(1, 4, 1, &headers),
        frame(0, 1, 1, b"customer_id=1"),
    ]
    .concat()
}

async fn over_http2(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    scheme: u8,
) -> serde_json::Value {
    stream.write_all(&http2_request(scheme, &[])).await.unwrap();
    loop {
        let mut head = [0u8; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut payload).await.unwrap();
        if head[3] == 0 && !payload.is_empty() {
            return serde_json::from_slice(&payload).unwrap();
        }
    }
}

#[tokio::test]
async fn http2_where_alpn_settles_on_it() {
    let directory = tempfile::tempdir().unwrap();
    let (files, pem) = certificate(directory.path(), "only");
    let mut settings = settings();
    settings.tls = Some(files);
    let server = start(settings).await;
    let stream = connect(server.address, &pem, &["h2"]).await.unwrap();
    assert_eq!(over_http2(stream, 0x87).await["status"], 0);
}

/// Without TLS there is nothing to settle on: it is spoken where the client begins with it.
#[tokio::test]
async fn http2_by_prior_knowledge_on_a_plain_connection() {
    let server = start(settings()).await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(over_http2(stream, 0x86).await["status"], 0);
}

#[tokio::test]
async fn tls_and_a_new_certificate_while_it_runs() {
    let directory = tempfile::tempdir().unwrap();
    let (files, first) = certificate(directory.path(), "first");
    let mut settings = settings();
    settings.tls = Some(files);
    let server = start(settings).await;
    let bytes = request(
        "POST",
        "/api/v1/customer/ledger",
        "customer_id=1",
        &bearer(),
    );
    let got = over_tls(server.address, &first, bytes.as_bytes())
        .await
        .unwrap();
    assert_eq!(got.status(), 0);

    let (files, second) = certificate(directory.path(), "second");
    assert!(
        over_tls(server.address, &second, bytes.as_bytes())
            .await
            .is_err()
    );
    server.tls.reload(&files).unwrap();
    let got = over_tls(server.address, &second, bytes.as_bytes())
        .await
        .unwrap();
    assert_eq!(got.status(), 0);

    let missing = TlsFiles {
        certificate: directory.path().join("none"),
        ..files
    };
    assert!(server.tls.reload(&missing).unwrap_err().contains("none"));
    assert_eq!(
        over_tls(server.address, &second, bytes.as_bytes())
            .await
            .unwrap()
            .status(),
        0
    );
}

/// Plain HTTP to a TLS port, and a client that says nothing. The latter is waited for, so it must not
/// have as long as the other tests' clients.
#[tokio::test]
async fn who_does_not_shake_hands_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let (files, _) = certificate(directory.path(), "only");
    let mut settings = impatient();
    settings.tls = Some(files);
    let server = start(settings).await;
    let plain = request("POST", "/api/v1/customer/ledger", "", &bearer());
    for (cut, sent) in [(1, plain.as_bytes()), (2, b"")] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let mut rest = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest));
        end.await.expect("the server should close it").ok();
        assert!(!rest.starts_with(b"HTTP"));
        assert_eq!(server.api.metrics().handshakes_failed.load(Relaxed), cut);
    }
}
