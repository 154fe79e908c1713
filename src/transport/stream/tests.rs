use super::*;
use std::io::{Read as _, Write as _};
use std::sync::Arc;

const OPTIONS: &str = "OPTIONS sip:gw SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:5999;branch=z9hG4bKa\r\nContent-Length: 0\r\n\r\n";
const OK: &str = "SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP 127.0.0.1:5999;branch=z9hG4bKa\r\nContent-Length: 0\r\n\r\n";

/// Who listens to what comes.
struct Ears {
    standing: Standing,
    trunk: Option<u16>,
    got: Vec<(Bytes, Path)>,
    broken: Vec<(String, Path)>,
}

impl Ears {
    fn new(standing: Standing) -> Self {
        Self {
            standing,
            trunk: None,
            got: Vec::new(),
            broken: Vec::new(),
        }
    }
}

impl Receiver for Ears {
    fn standing(&mut self, _: IpAddr) -> Standing {
        self.standing
    }

    fn trunk(&mut self, _: IpAddr) -> Option<u16> {
        self.trunk
    }

    fn message(&mut self, bytes: Bytes, path: Path) {
        self.got.push((bytes, path));
    }

    fn broken(&mut self, error: ParseError, path: Path) {
        self.broken.push((error.to_string(), path));
    }
}

/// Connections with an ear, and what became of them.
struct World {
    streams: Streams,
    local: SocketAddr,
    ears: Ears,
    counted: Vec<(&'static str, u64)>,
    failed: Vec<Path>,
}

impl World {
    fn new(limits: Limits) -> Self {
        Self::with(Transport::Tcp, limits, Tls::default())
    }

    fn with(transport: Transport, limits: Limits, tls: Tls) -> Self {
        let mut streams = Streams::new(limits, tls).unwrap();
        let local = streams
            .listen(transport, "127.0.0.1:0".parse().unwrap(), false)
            .unwrap();
        Self {
            streams,
            local,
            ears: Ears::new(Standing::Known),
            counted: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// Turns until `done`, which must come to be.
    fn until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !self.turn_if(&mut done) {
            assert!(Instant::now() < end, "it never came");
            let mut poll = libc::pollfd {
                fd: self.streams.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one live pollfd.
            unsafe { libc::poll(&raw mut poll, 1, 10) };
        }
    }

    fn turn_if(&mut self, done: &mut impl FnMut(&mut Self) -> bool) -> bool {
        let now = Instant::now();
        self.streams.receive(&mut self.ears, now);
        self.streams.flush(now);
        let (counted, failed) = (&mut self.counted, &mut self.failed);
        self.streams
            .counted(|label, count| counted.push((label, count)));
        self.streams.failures(|path| failed.push(path));
        done(self)
    }

    fn connect(&self) -> TcpStream {
        let peer = TcpStream::connect(self.local).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        peer
    }

    fn path(&self, remote: SocketAddr) -> Path {
        Path {
            transport: Transport::Tcp,
            local: self.local,
            remote,
        }
    }

    /// As if time had passed: closes what has taken too long.
    fn later(&mut self, after: Duration) {
        self.streams.handle_timeout(Instant::now() + after);
        let counted = &mut self.counted;
        self.streams
            .counted(|label, count| counted.push((label, count)));
    }
}

/// What a peer reads until it has so much, or the end.
fn read(peer: &mut TcpStream, length: usize) -> String {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    while all.len() < length {
        match peer.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(count) => all.extend_from_slice(&buffer[..count]),
        }
    }
    String::from_utf8(all).unwrap()
}

#[test]
fn messages_pass_both_ways_on_a_connection_that_came() {
    let mut world = World::new(Limits::default());
    let mut peer = world.connect();
    for byte in OPTIONS.as_bytes() {
        peer.write_all(&[*byte]).unwrap();
    }
    peer.write_all(format!("{OPTIONS}{OPTIONS}").as_bytes())
        .unwrap();
    world.until(|world| world.ears.got.len() == 3);
    let (bytes, path) = world.ears.got[0].clone();
    assert_eq!(bytes, OPTIONS);
    assert_eq!(path, world.path(peer.local_addr().unwrap()));
    world.streams.queue(OK.into(), path, Instant::now());
    world.until(|world| world.streams.waiting() == 0);
    assert_eq!(read(&mut peer, OK.len()), OK);
    assert_eq!(world.streams.connections(Transport::Tcp), 1);
}

#[test]
fn a_place_is_dialled_once_and_is_heard_by_the_same_connection() {
    let mut world = World::new(Limits::default());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = world.path(listener.local_addr().unwrap());
    world.streams.queue(OPTIONS.into(), path, Instant::now());
    world.streams.queue(OPTIONS.into(), path, Instant::now());
    world.until(|world| world.streams.waiting() == 0);
    let mut peer = listener.accept().unwrap().0;
    assert_eq!(read(&mut peer, 2 * OPTIONS.len()).len(), 2 * OPTIONS.len());
    peer.write_all(OK.as_bytes()).unwrap();
    world.until(|world| world.ears.got.len() == 1);
    assert_eq!(world.ears.got[0].1, path);
    // The far end closes: what was sent there may not have arrived, and the next is dialled anew.
    drop(peer);
    world.until(|world| world.failed == [path]);
    assert_eq!(world.counted, [("peer", 1)]);
    world.streams.queue(OPTIONS.into(), path, Instant::now());
    world.until(|world| world.streams.waiting() == 0);
    assert_eq!(
        read(&mut listener.accept().unwrap().0, OPTIONS.len()),
        OPTIONS
    );
}

#[test]
fn a_response_whose_connection_is_gone_goes_to_sent_by() {
    let mut world = World::new(Limits::default());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let gone = world.path("127.0.0.1:1".parse().unwrap());
    let response = OK.replace("127.0.0.1:5999", &at.to_string());
    world
        .streams
        .queue(response.clone().into(), gone, Instant::now());
    world.until(|world| world.streams.waiting() == 0);
    assert_eq!(
        read(&mut listener.accept().unwrap().0, response.len()),
        response
    );
}

#[test]
fn a_place_that_cannot_be_reached_fails_and_then_fails_at_once() {
    let mut world = World::new(Limits::default());
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = world.path(nobody.local_addr().unwrap());
    drop(nobody);
    world.streams.queue(OPTIONS.into(), path, Instant::now());
    world.until(|world| world.failed == [path]);
    assert_eq!(world.counted, [("refused", 1)]);
    world.streams.queue(OPTIONS.into(), path, Instant::now());
    world.until(|world| world.failed == [path, path]);
    assert_eq!(world.counted[1], ("backoff", 1));
}

#[test]
fn strangers_are_closed_at_once_and_nobody_has_more_than_a_share() {
    let mut world = World::new(Limits {
        connections: 3,
        per_address: 2,
        ..Limits::default()
    });
    world.ears.standing = Standing::Unwanted;
    let mut stranger = world.connect();
    world.until(|world| world.counted == [("stranger", 1)]);
    assert_eq!(read(&mut stranger, 1), "");
    world.ears.standing = Standing::Known;
    let two = [world.connect(), world.connect()];
    world.until(|world| world.streams.connections(Transport::Tcp) == 2);
    let mut third = world.connect();
    world.until(|world| world.counted.last() == Some(&("share", 1)));
    assert_eq!(read(&mut third, 1), "");
    // A connection that ends makes room.
    drop(two);
    world.until(|world| world.streams.connections(Transport::Tcp) == 0);
    let _again = world.connect();
    world.until(|world| world.streams.connections(Transport::Tcp) == 1);
}

#[test]
fn a_strangers_share_is_smaller() {
    let mut world = World::new(Limits {
        per_stranger: 1,
        ..Limits::default()
    });
    world.ears.standing = Standing::Stranger;
    let _peers = [world.connect(), world.connect()];
    world.until(|world| world.counted == [("share", 1)]);
    assert_eq!(world.streams.connections(Transport::Tcp), 1);
}

#[test]
fn a_slow_sender_is_closed_by_time_and_holds_nobody_up() {
    let mut world = World::new(Limits::default());
    let (mut slow, mut quick) = (world.connect(), world.connect());
    slow.write_all(&OPTIONS.as_bytes()[..20]).unwrap();
    quick.write_all(OPTIONS.as_bytes()).unwrap();
    world.until(|world| world.ears.got.len() == 1);
    world.until(|world| world.streams.connections(Transport::Tcp) == 2);
    world.later(Duration::from_secs(11));
    assert_eq!(world.counted, [("header-timeout", 1)]);
    assert_eq!(world.streams.connections(Transport::Tcp), 1);
    // A request is owed its answer: the connection stays for it, and goes when it has been idle.
    world.later(Duration::from_secs(300));
    assert_eq!(world.streams.connections(Transport::Tcp), 1);
    let path = world.ears.got[0].1;
    world.streams.queue(OK.into(), path, Instant::now());
    world.until(|world| world.streams.waiting() == 0);
    world.later(Duration::from_secs(700));
    assert_eq!(world.counted[1], ("idle", 1));
}

#[test]
fn a_peer_that_says_nothing_is_closed_by_time() {
    let mut world = World::new(Limits::default());
    let _silent = world.connect();
    world.until(|world| world.streams.connections(Transport::Tcp) == 1);
    world.later(Duration::from_secs(9));
    assert_eq!(world.streams.connections(Transport::Tcp), 1);
    world.later(Duration::from_secs(11));
    assert_eq!(world.counted, [("header-timeout", 1)]);
}

#[test]
fn a_peer_that_does_not_read_is_closed_when_its_backlog_is_full() {
    let mut world = World::new(Limits::default());
    let mut peer = world.connect();
    peer.write_all(OPTIONS.as_bytes()).unwrap();
    world.until(|world| world.ears.got.len() == 1);
    let path = world.ears.got[0].1;
    let long = Bytes::from(vec![b'x'; 60_000]);
    for _ in 0..1000 {
        world.streams.queue(long.clone(), path, Instant::now());
        world.streams.flush(Instant::now());
        if world.streams.connections(Transport::Tcp) == 0 {
            break;
        }
        assert!(world.streams.waiting() <= Limits::default().backlog);
    }
    world.until(|world| world.counted == [("backlog", 1)]);
    assert_eq!(world.failed, [path]);
}

#[test]
fn a_keepalive_is_answered() {
    let mut world = World::new(Limits::default());
    let mut peer = world.connect();
    peer.write_all(b"\r\n\r\n").unwrap();
    peer.set_nonblocking(true).unwrap();
    world.until(|_| peer.peek(&mut [0; 2]).is_ok_and(|count| count == 2));
    peer.set_nonblocking(false).unwrap();
    assert_eq!(read(&mut peer, 2), "\r\n");
    // It is no message: one must come in time.
    world.later(Duration::from_secs(11));
    assert_eq!(world.counted, [("header-timeout", 1)]);
    assert_eq!(world.streams.connections(Transport::Tcp), 0);
}

/// RFC 5626 §3.5.1.
#[test]
fn after_a_message_a_keepalive_is_a_sign_of_life() {
    let mut world = World::new(Limits::default());
    let mut peer = world.connect();
    peer.write_all(format!("{OK}\r\n\r\n").as_bytes()).unwrap();
    world.until(|world| world.ears.got.len() == 1);
    peer.set_nonblocking(true).unwrap();
    world.until(|_| peer.peek(&mut [0; 2]).is_ok_and(|count| count == 2));
    world.later(Duration::from_secs(300));
    assert_eq!(world.streams.connections(Transport::Tcp), 1);
}

/// Who fills the table with connections of his own keeps us from no trunk.
#[test]
fn connections_that_come_leave_room_for_those_that_are_made() {
    let mut world = World::new(Limits {
        connections: 4,
        accepted: 3,
        ..Limits::default()
    });
    let _came: Vec<TcpStream> = (0..4).map(|_| world.connect()).collect();
    world.until(|world| world.counted == [("full", 1)]);
    assert_eq!(world.streams.connections(Transport::Tcp), 3);
    let there = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = world.path(there.local_addr().unwrap());
    world.streams.queue(OPTIONS.into(), path, Instant::now());
    world.streams.flush(Instant::now());
    let (mut peer, _) = there.accept().unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    world.until(|world| world.streams.waiting() == 0);
    assert_eq!(read(&mut peer, OPTIONS.len()), OPTIONS);
    // No more than there is room for.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = world.path(other.local_addr().unwrap());
    world.streams.queue(OPTIONS.into(), path, Instant::now());
    world.until(|world| world.failed == [path]);
    assert_eq!(world.counted.last(), Some(&("full", 1)));
}

#[test]
fn a_trunk_beside_others_leaves_them_half_of_what_may_come() {
    let mut world = World::new(Limits {
        per_trunk: 2,
        ..Limits::default()
    });
    world.ears.trunk = Some(7);
    let mut came: Vec<TcpStream> = (0..3).map(|_| world.connect()).collect();
    world.until(|world| world.counted == [("share", 1)]);
    world.ears.trunk = Some(8);
    came.push(world.connect());
    world.until(|world| world.streams.connections(Transport::Tcp) == 3);
    // One that ends makes room for its trunk.
    came.clear();
    world.until(|world| world.streams.connections(Transport::Tcp) == 0);
    world.ears.trunk = Some(7);
    let _again = [world.connect(), world.connect()];
    world.until(|world| world.streams.connections(Transport::Tcp) == 2);
}

#[test]
fn what_cannot_be_told_apart_is_answered_and_closed() {
    let mut world = World::new(Limits::default());
    let mut peer = world.connect();
    let broken = OPTIONS.replace("Content-Length: 0\r\n", "");
    peer.write_all(format!("{broken}{OPTIONS}").as_bytes())
        .unwrap();
    world.until(|world| world.ears.broken.len() == 1);
    assert_eq!(world.ears.broken[0].0, "Missing Content-Length Header");
    assert!(world.ears.got.is_empty());
    let path = world.ears.broken[0].1;
    world.streams.queue(OK.into(), path, Instant::now());
    world.until(|world| world.streams.waiting() == 0);
    assert_eq!(read(&mut peer, 1 << 20), OK);
    drop(peer);
    world.until(|world| world.counted == [("unframed", 1)]);
}

// ---- TLS ----

struct Authority {
    certificate: rustls::pki_types::CertificateDer<'static>,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self {
            certificate,
            issuer: rcgen::Issuer::new(params, key),
        }
    }

    fn identity(&self, name: &str) -> Identity {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            chain: vec![certificate.der().clone()],
            key: rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        }
    }
}

fn peer_tls(ca: &Authority) -> PeerTls {
    PeerTls {
        target: None,
        trunk: "carrier".to_owned(),
        sources: vec![("127.0.0.0".parse().unwrap(), 8)],
        targets: vec!["127.0.0.1".parse().unwrap()],
        server_name: Some("gw.example".to_owned()),
        ca: vec![ca.certificate.clone()],
        identity: None,
        require_client_cert: false,
        peer_names: Vec::new(),
    }
}

fn tls(server: Identity, peer: PeerTls) -> Tls {
    Tls::new(TlsSettings {
        server: Some(server),
        client_ca: Vec::new(),
        peers: vec![peer],
    })
    .unwrap()
}

fn secure(tls: Tls) -> World {
    World::with(Transport::Tls, Limits::default(), tls)
}

/// Both ends until the caller's message is heard or something was counted at either.
fn call(caller: &mut World, callee: &mut World) -> Vec<&'static str> {
    let path = Path {
        transport: Transport::Tls,
        local: caller.local,
        remote: callee.local,
    };
    let before = callee.ears.got.len();
    caller.streams.queue(OPTIONS.into(), path, Instant::now());
    let mut ended = Vec::new();
    caller.until(|caller| {
        let mut heard = false;
        callee.turn_if(&mut |callee| {
            heard = callee.ears.got.len() > before;
            true
        });
        ended.clear();
        ended.extend(
            caller
                .counted
                .iter()
                .chain(&callee.counted)
                .map(|(l, _)| *l),
        );
        heard || !ended.is_empty()
    });
    ended
}

#[test]
fn tls_carries_messages_both_ways() {
    let ca = Authority::new();
    let mut caller = secure(tls(ca.identity("gw.example"), peer_tls(&ca)));
    let mut callee = secure(tls(ca.identity("gw.example"), peer_tls(&ca)));
    assert!(call(&mut caller, &mut callee).is_empty());
    let (bytes, path) = callee.ears.got[0].clone();
    assert_eq!(bytes, OPTIONS);
    // More than a record of TLS, and than its buffers.
    let long = OK.replace("Length: 0\r\n\r\n", "Length: 60000\r\n\r\n") + &"k".repeat(60_000);
    for _ in 0..4 {
        let bytes = long.clone().into();
        callee.streams.queue(bytes, path, Instant::now());
    }
    caller.until(|caller| {
        callee.turn_if(&mut |_| true);
        caller.ears.got.len() == 4
    });
    assert!(caller.ears.got.iter().all(|(bytes, _)| *bytes == long));
    assert_eq!(call(&mut callee, &mut caller), Vec::<&str>::new());
}

#[test]
fn a_certificate_of_another_name_or_authority_is_refused() {
    let (ca, other) = (Authority::new(), Authority::new());
    for server in [ca.identity("wrong.example"), other.identity("gw.example")] {
        let mut caller = secure(tls(ca.identity("x.example"), peer_tls(&ca)));
        let mut callee = secure(tls(server, peer_tls(&ca)));
        assert!(call(&mut caller, &mut callee).contains(&"handshake"));
        assert!(callee.ears.got.is_empty());
    }
}

#[test]
fn a_client_shows_the_certificate_that_is_asked_for() {
    let (ca, other) = (Authority::new(), Authority::new());
    let asking = PeerTls {
        require_client_cert: true,
        peer_names: vec!["carrier.example".to_owned()],
        ..peer_tls(&ca)
    };
    let shown = [
        (None, false),
        (Some(ca.identity("carrier.example")), true),
        (Some(ca.identity("another.example")), false),
        (Some(other.identity("carrier.example")), false),
    ];
    for (identity, passes) in shown {
        let showing = PeerTls {
            identity,
            ..peer_tls(&ca)
        };
        let mut caller = secure(tls(ca.identity("x.example"), showing));
        let mut callee = secure(tls(ca.identity("gw.example"), asking.clone()));
        assert_eq!(call(&mut caller, &mut callee).is_empty(), passes);
        assert_eq!(callee.ears.got.len(), usize::from(passes));
    }
}

#[test]
fn a_reload_changes_what_is_shown_and_leaves_connections_alone() {
    let ca = Authority::new();
    let mut caller = secure(tls(ca.identity("x.example"), peer_tls(&ca)));
    let mut callee = secure(tls(ca.identity("gw.example"), peer_tls(&ca)));
    assert!(call(&mut caller, &mut callee).is_empty());
    callee.streams.reload(
        tls(ca.identity("wrong.example"), peer_tls(&ca)),
        Instant::now(),
    );
    assert!(
        call(&mut caller, &mut callee).is_empty(),
        "the old one holds"
    );
    let mut another = secure(tls(ca.identity("x.example"), peer_tls(&ca)));
    assert!(call(&mut another, &mut callee).contains(&"handshake"));
    assert_eq!(callee.ears.got.len(), 2);
}

#[test]
fn whoever_was_not_asked_for_a_certificate_goes_when_one_is_required() {
    let ca = Authority::new();
    let with = |name: &str, required| {
        let peer = PeerTls {
            require_client_cert: required,
            identity: (name == "x.example").then(|| ca.identity(name)),
            ..peer_tls(&ca)
        };
        tls(ca.identity("gw.example"), peer)
    };
    let mut callee = secure(with("gw.example", false));
    let mut caller = secure(with("x.example", false));
    assert!(call(&mut caller, &mut callee).is_empty());
    callee
        .streams
        .reload(with("gw.example", true), Instant::now());
    callee.until(|callee| callee.counted == [("handshake", 1)]);
    callee.counted.clear();
    // The certificate is shown to who asks for it; then the connection stays.
    caller.until(|caller| caller.counted == [("peer", 1)]);
    caller.counted.clear();
    assert!(call(&mut caller, &mut callee).is_empty());
    callee
        .streams
        .reload(with("gw.example", true), Instant::now());
    assert!(call(&mut caller, &mut callee).is_empty());
    assert_eq!(callee.streams.connections(Transport::Tls), 1);
}

/// The narrowest network decides, and where there is none, where a trunk is called.
#[test]
fn networks_that_overlap_are_decided_by_the_narrowest() {
    let ca = Authority::new();
    let peer = |length, require_client_cert, targets: &[&str]| PeerTls {
        sources: vec![("127.0.0.0".parse().unwrap(), length)],
        targets: targets.iter().map(|one| one.parse().unwrap()).collect(),
        require_client_cert,
        ..peer_tls(&ca)
    };
    let with = |peers| {
        Tls::new(TlsSettings {
            server: Some(ca.identity("gw.example")),
            client_ca: Vec::new(),
            peers,
        })
        .unwrap()
    };
    let from = |text: &str| text.parse().unwrap();
    for turned in [false, true] {
        let mut peers = vec![
            peer(24, true, &["192.0.2.1"]),
            peer(8, false, &["192.0.2.1"]),
        ];
        if turned {
            peers.reverse();
        }
        let tls = with(peers);
        assert!(tls.requires(from("127.0.0.1")));
        assert!(!tls.requires(from("127.0.1.1")));
        assert!(tls.requires(from("192.0.2.1")));
        assert!(!tls.requires(from("192.0.2.2")));
    }
}

#[test]
fn a_place_that_no_trunk_is_at_is_not_called_until_one_is() {
    let ca = Authority::new();
    let elsewhere = PeerTls {
        sources: Vec::new(),
        target: Some("gw.example".to_owned()),
        targets: vec!["192.0.2.1".parse().unwrap()],
        ..peer_tls(&ca)
    };
    let mut caller = secure(tls(ca.identity("x.example"), elsewhere));
    let mut callee = secure(tls(ca.identity("gw.example"), peer_tls(&ca)));
    assert!(call(&mut caller, &mut callee).contains(&"no-way"));
    caller.counted.clear();
    caller
        .streams
        .locate("gw.example", &["127.0.0.1".parse().unwrap()]);
    assert!(call(&mut caller, &mut callee).is_empty());
}

#[test]
fn a_handshake_that_does_not_end_is_closed_by_time() {
    let ca = Authority::new();
    let mut world = secure(tls(ca.identity("gw.example"), peer_tls(&ca)));
    let _silent = world.connect();
    world.until(|world| world.streams.connections(Transport::Tls) == 1);
    world.later(Duration::from_secs(6));
    assert_eq!(world.counted, [("handshake-timeout", 1)]);
}

#[test]
fn a_required_certificate_needs_an_authority() {
    let ca = Authority::new();
    let peer = PeerTls {
        ca: Vec::new(),
        server_name: None,
        require_client_cert: true,
        ..peer_tls(&ca)
    };
    let settings = TlsSettings {
        server: Some(ca.identity("gw.example")),
        client_ca: Vec::new(),
        peers: vec![peer],
    };
    let error = Tls::new(settings).unwrap_err();
    assert!(error.contains("no authority is given"), "{error}");
    drop(Arc::new(ca));
}
