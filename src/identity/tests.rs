use super::address::is_public;
use super::cache::{Cache, KEEP_FAILURE, Known};
use super::*;
use crate::domain::{Attestation, E164};
use crate::sip::passport::tests::{KEY, SPC_1234, chain, now};
use crate::sip::passport::{Claims, Signer, read};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PATIENCE: Duration = Duration::from_secs(20);

/// A server of certificates on loopback, and who it trusts itself to.
struct Server {
    port: u16,
    authority: String,
    asked: Arc<AtomicUsize>,
}

/// What is sent for a request; nothing at all: the server is silent.
fn serve(response: Option<Vec<u8>>) -> Server {
    served(response, true)
}

/// Or closes without a word of TLS about it.
fn served(response: Option<Vec<u8>>, polite: bool) -> Server {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let authority = made.cert.pem();
    let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).unwrap();
    let certificates = vec![CertificateDer::from(made.cert.der().to_vec())];
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, response) = (acceptor.clone(), response.clone());
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let mut request = [0; 4096];
                    let _ = stream.read(&mut request).await;
                    count.fetch_add(1, Ordering::SeqCst);
                    match response {
                        Some(response) => {
                            let _ = stream.write_all(&response).await;
                            if polite {
                                let _ = stream.shutdown().await;
                            }
                        }
                        None => std::future::pending().await,
                    }
                });
            }
        });
    });
    Server {
        port,
        authority,
        asked,
    }
}

fn ok(body: &str) -> Option<Vec<u8>> {
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    Some(format!("{head}{body}").into_bytes())
}

/// The thread, its answers, and what it counted.
struct Bench {
    handle: Handle,
    answers: Answers,
    judgements: mpsc::UnboundedReceiver<Judgement>,
    counted: Arc<Mutex<Vec<(&'static str, &'static str)>>>,
    url: String,
}

fn settings(server: &Server, root: &str) -> Settings {
    Settings {
        roots: Roots::from_pem(root).unwrap(),
        fetch_timeout: PATIENCE,
        fetch_ca: server.authority.clone(),
        hosts: vec![],
        private: true,
    }
}

fn bench(server: &Server, settings: Settings) -> Bench {
    let counted: Arc<Mutex<Vec<_>>> = Arc::default();
    let log = Arc::clone(&counted);
    let count = move |event, detail| log.lock().unwrap().push((event, detail));
    let (sender, judgements) = mpsc::unbounded_channel();
    let answers = Arc::new(move |judgement| sender.send(judgement).unwrap_or(()));
    Bench {
        handle: start(Some(settings), Box::new(count)).unwrap(),
        answers,
        judgements,
        counted,
        url: format!("https://127.0.0.1:{}/sp.pem", server.port),
    }
}

impl Bench {
    fn passport(&self) -> Box<Passport> {
        let number = |digits| E164::from_digits(digits).unwrap();
        let value = Signer::new(KEY, &self.url, None).unwrap().sign(&Claims {
            attestation: Attestation::Full,
            orig: number("60111111111"),
            dest: number("60388880001"),
            call: uuid::Uuid::nil(),
            issued_at: now(),
        });
        read(std::iter::once(&*value), now(), PATIENCE).unwrap()
    }

    fn ask(&mut self) -> (Verdict, String) {
        let passport = self.passport();
        assert!(self.handle.ask(CallKey(7), passport, &self.answers));
        let (key, verdict, signer) = self.judgements.blocking_recv().unwrap();
        assert_eq!(key, CallKey(7));
        (verdict, signer.into())
    }

    fn counted(&self) -> Vec<&'static str> {
        let counted = self.counted.lock().unwrap();
        counted.iter().map(|(_, detail)| *detail).collect()
    }
}

#[test]
fn a_certificate_is_fetched_once_and_believed() {
    let (chain, root) = chain(SPC_1234, |_| {});
    let server = serve(ok(&chain));
    let mut bench = bench(&server, settings(&server, &root));
    for _ in 0..3 {
        assert_eq!(bench.ask(), (Verdict::Valid, "1234".to_owned()));
    }
    assert_eq!(server.asked.load(Ordering::SeqCst), 1);
    assert_eq!(bench.counted(), ["fetched", "cached", "cached"]);
    // Of another call, signed wrongly.
    let mut passport = bench.passport();
    passport.signature[5] ^= 1;
    assert!(bench.handle.ask(CallKey(7), passport, &bench.answers));
    let (_, verdict, _) = bench.judgements.blocking_recv().unwrap();
    assert_eq!(verdict, Verdict::Invalid);
}

#[test]
fn those_who_ask_during_a_fetch_share_it() {
    let (chain, root) = chain(SPC_1234, |_| {});
    let server = serve(ok(&chain));
    let mut bench = bench(&server, settings(&server, &root));
    for _ in 0..20 {
        let passport = bench.passport();
        assert!(bench.handle.ask(CallKey(7), passport, &bench.answers));
    }
    for _ in 0..20 {
        let (_, verdict, _) = bench.judgements.blocking_recv().unwrap();
        assert_eq!(verdict, Verdict::Valid);
    }
    assert_eq!(server.asked.load(Ordering::SeqCst), 1);
}

#[test]
fn a_chain_to_no_root_is_untrusted_and_remembered() {
    let (chain_one, _) = chain(SPC_1234, |_| {});
    let (_, other) = chain(SPC_1234, |_| {});
    let server = serve(ok(&chain_one));
    let mut bench = bench(&server, settings(&server, &other));
    assert_eq!(bench.ask(), (Verdict::Untrusted, String::new()));
    assert_eq!(bench.ask(), (Verdict::Untrusted, String::new()));
    assert_eq!(server.asked.load(Ordering::SeqCst), 1);
    let server = serve(ok("<html>"));
    let mut bench = self::bench(&server, settings(&server, &other));
    assert_eq!(bench.ask().0, Verdict::Untrusted);
}

#[test]
fn nothing_else_than_200_of_bearable_length_is_taken() {
    let (chain, root) = chain(SPC_1234, |_| {});
    let redirect = b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n";
    let endless = "x".repeat(65_537);
    for response in [
        Some(redirect.to_vec()),
        Some(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec()),
        ok(&format!("{chain}{endless}")),
    ] {
        let server = serve(response);
        let mut bench = bench(&server, settings(&server, &root));
        assert_eq!(bench.ask().0, Verdict::Unavailable);
        // Nor is it asked again at once.
        assert_eq!(bench.ask().0, Verdict::Unavailable);
        assert_eq!(bench.counted(), ["refused", "cached"]);
        assert_eq!(server.asked.load(Ordering::SeqCst), 1);
    }
    let server = serve(Some(b"SIP/2.0 200 OK\r\n\r\n".to_vec()));
    let mut bench = bench(&server, settings(&server, &root));
    assert_eq!(bench.ask().0, Verdict::Unavailable);
    assert_eq!(bench.counted(), ["unreachable"]);
}

/// Many servers close without close_notify, together with the last of the body.
#[test]
fn what_came_whole_counts_however_the_connection_ended() {
    let (pem, root) = chain(SPC_1234, |_| {});
    let server = served(ok(&pem), false);
    let mut bench = bench(&server, settings(&server, &root));
    let url = bench.url.clone();
    for n in 0..40 {
        bench.url = format!("{url}?{n}");
        assert_eq!(bench.ask().0, Verdict::Valid, "{n}");
    }
    // And what did not come whole does not.
    let cut = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{pem}",
        pem.len() + 1
    );
    let server = served(Some(cut.into_bytes()), false);
    let mut bench = self::bench(&server, settings(&server, &root));
    bench.ask();
    assert_eq!(bench.counted().first(), Some(&"unreachable"));
}

#[test]
fn a_silent_server_is_given_up() {
    let (_, root) = chain(SPC_1234, |_| {});
    let server = serve(None);
    let mut settings = settings(&server, &root);
    settings.fetch_timeout = Duration::from_millis(300);
    let mut bench = bench(&server, settings);
    assert_eq!(bench.ask().0, Verdict::Unavailable);
    assert_eq!(bench.counted(), ["late"]);
}

#[test]
fn an_invite_does_not_choose_where_we_knock() {
    let (chain, root) = chain(SPC_1234, |_| {});
    let server = serve(ok(&chain));
    let port = server.port;
    let private = |private| Settings {
        private,
        ..settings(&server, &root)
    };
    let hosts = Settings {
        hosts: vec!["certificates.example.com".to_owned()],
        ..settings(&server, &root)
    };
    for (settings, url) in [
        (private(false), format!("https://127.0.0.1:{port}/sp.pem")),
        (private(false), format!("https://[::1]:{port}/sp.pem")),
        (private(true), format!("http://127.0.0.1:{port}/sp.pem")),
        (
            private(true),
            format!("https://u:p@127.0.0.1:{port}/sp.pem"),
        ),
        (private(true), "file:///etc/passwd".to_owned()),
        (private(true), "/sp.pem".to_owned()),
        (hosts, format!("https://127.0.0.1:{port}/sp.pem")),
    ] {
        let mut bench = bench(&server, settings);
        bench.url = url;
        assert_eq!(bench.ask().0, Verdict::Unavailable, "{}", bench.url);
        assert_eq!(bench.counted(), ["forbidden"], "{}", bench.url);
    }
    assert_eq!(server.asked.load(Ordering::SeqCst), 0);
    // A server that nobody vouches for.
    let stranger = serve(ok(&chain));
    let mut bench = bench(&stranger, settings(&server, &root));
    assert_eq!(bench.ask().0, Verdict::Unavailable);
    assert_eq!(bench.counted(), ["unreachable"]);
}

#[test]
fn a_reload_changes_whom_we_trust() {
    let (chain_one, root) = chain(SPC_1234, |_| {});
    let (_, other) = chain(SPC_1234, |_| {});
    let server = serve(ok(&chain_one));
    let mut bench = bench(&server, settings(&server, &root));
    assert_eq!(bench.ask().0, Verdict::Valid);
    bench.handle.reload(Some(settings(&server, &other)));
    assert_eq!(bench.ask().0, Verdict::Untrusted);
    bench.handle.reload(None);
    assert_eq!(bench.ask().0, Verdict::Unavailable);
    assert!(check(&settings(&server, &root)).is_ok());
    let nobody = Settings {
        fetch_ca: String::new(),
        ..settings(&server, &root)
    };
    assert!(check(&nobody).is_err());
}

#[test]
fn only_addresses_of_the_open_internet_are_public() {
    for (address, public) in [
        ("8.8.8.8", true),
        ("203.0.114.1", true),
        ("172.32.0.1", true),
        ("100.128.0.1", true),
        ("2600::1", true),
        ("2a00:1450::1", true),
        ("127.0.0.1", false),
        ("0.0.0.0", false),
        ("10.1.2.3", false),
        ("172.16.0.1", false),
        ("192.168.1.1", false),
        ("169.254.169.254", false),
        ("100.64.0.1", false),
        ("198.18.0.1", false),
        ("224.0.0.1", false),
        ("255.255.255.255", false),
        ("::1", false),
        ("::", false),
        ("::ffff:10.0.0.1", false),
        ("fe80::1", false),
        ("fd00::1", false),
        ("ff02::1", false),
        ("2001:db8::1", false),
        ("2002:a00:1::", false),
        ("64:ff9b::a00:1", false),
    ] {
        assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
    }
}

#[test]
fn what_is_known_is_kept_for_its_time() {
    let seconds = Duration::from_secs;
    for (header, kept) in [
        (None, 3600),
        (Some("max-age=600"), 600),
        (Some("public, Max-Age=\"7200\""), 7200),
        (Some("max-age=1"), 60),
        (Some("max-age=99999999"), 86_400),
        (Some("no-store"), 60),
        (Some("no-cache, max-age=600"), 60),
        (Some("max-age=soon"), 3600),
    ] {
        assert_eq!(fetch::keep(header), seconds(kept), "{header:?}");
    }
    let start = Instant::now();
    let mut cache = Cache::default();
    let failed = || Known::Failed(Verdict::Unavailable);
    assert!(cache.put("a", failed(), KEEP_FAILURE, start));
    let last = start + KEEP_FAILURE - Duration::from_millis(1);
    assert!(cache.get("a", last).is_some());
    assert!(cache.get("a", start + KEEP_FAILURE).is_none());
    assert!(cache.get("b", start).is_none());
}

#[test]
fn the_cache_has_a_bound() {
    let start = Instant::now();
    let mut cache = Cache::default();
    let failed = || Known::Failed(Verdict::Unavailable);
    for place in 0..1024 {
        let keep = Duration::from_secs(60 + place);
        assert!(cache.put(&place.to_string(), failed(), keep, start));
    }
    // Known ones are renewed; for a new one the first to end goes.
    assert!(cache.put("5", failed(), KEEP_FAILURE * 100, start));
    assert!(!cache.put("new", failed(), KEEP_FAILURE, start));
    assert_eq!(cache.len(), 1024);
    assert!(cache.get("0", start).is_none());
    assert!(cache.get("new", start).is_some());
    // What is over makes room by itself.
    let later = start + Duration::from_secs(61);
    assert!(cache.put("newer", failed(), KEEP_FAILURE, later));
}
