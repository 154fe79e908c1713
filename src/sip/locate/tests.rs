//! The examples of RFC 3263 and RFC 2782, and what they leave open.

use super::*;
use std::collections::BTreeMap;

const MINUTE: Duration = Duration::from_secs(60);

fn local(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn all_transports() -> Vec<(Transport, SocketAddr)> {
    vec![
        (Transport::Udp, local("192.0.2.100:5060")),
        (Transport::Tcp, local("192.0.2.100:5060")),
        (Transport::Tls, local("192.0.2.100:5061")),
    ]
}

fn udp() -> Vec<(Transport, SocketAddr)> {
    vec![(Transport::Udp, local("192.0.2.100:5060"))]
}

fn target(host: &str) -> Target {
    Target {
        host: host.into(),
        port: None,
        transport: None,
        secure: false,
    }
}

fn naptr(order: u16, preference: u16, service: &str, replacement: &str) -> Record {
    Record::Naptr {
        order,
        preference,
        flags: "s".into(),
        service: service.into(),
        replacement: replacement.into(),
    }
}

fn srv(priority: u16, weight: u16, port: u16, target: &str) -> Record {
    Record::Srv {
        priority,
        weight,
        port,
        target: target.into(),
    }
}

fn address(text: &str) -> Record {
    Record::Address(text.parse().unwrap())
}

/// A zone: what is not in it does not exist.
#[derive(Default)]
struct Zone {
    answers: BTreeMap<String, Answer>,
}

impl Zone {
    fn with(mut self, question: &str, records: Vec<Record>) -> Self {
        let answer = Answer::Records(records, MINUTE);
        self.answers.insert(question.to_owned(), answer);
        self
    }

    fn dead(mut self, question: &str) -> Self {
        self.answers.insert(question.to_owned(), Answer::Failed);
        self
    }

    /// What it comes to, and what was asked on the way.
    fn locate(&self, target: Target, listeners: &[(Transport, SocketAddr)]) -> (Outcome, String) {
        let mut locator = Locator::new(target, listeners);
        let mut asked = Vec::new();
        while let Some(query) = locator.query() {
            let question = match query {
                Query::Naptr(name) => format!("NAPTR {name}"),
                Query::Srv(name) => format!("SRV {name}"),
                Query::A(name) => format!("A {name}"),
                Query::Aaaa(name) => format!("AAAA {name}"),
            };
            let answer = self.answers.get(&question).cloned();
            locator.answer(answer.unwrap_or(Answer::Nothing(MINUTE)));
            asked.push(question);
            assert!(asked.len() <= 64, "no end: {asked:?}");
        }
        (locator.outcome(), asked.join(", "))
    }
}

/// `transport remote` of each hop, with its rank.
fn places(outcome: &Outcome) -> Vec<String> {
    let Outcome::Hops(hops, _) = outcome else {
        panic!("{outcome:?}");
    };
    let text = |hop: &Hop| format!("{:?} {} {}", hop.path.transport, hop.path.remote, hop.rank);
    hops.iter().map(text).collect()
}

/// The zone of the example of RFC 3263 §4.1 and §4.2.
fn example() -> Zone {
    Zone::default()
        .with(
            "NAPTR example.com",
            vec![
                naptr(50, 50, "SIPS+D2T", "_sips._tcp.example.com."),
                naptr(90, 50, "SIP+D2T", "_sip._tcp.example.com"),
                naptr(100, 50, "SIP+D2U", "_sip._udp.example.com."),
            ],
        )
        .with(
            "SRV _sip._tcp.example.com",
            vec![
                srv(0, 1, 5060, "server1.example.com"),
                srv(0, 2, 5060, "server2.example.com"),
            ],
        )
        .with("A server1.example.com", vec![address("192.0.2.1")])
        .with("A server2.example.com", vec![address("192.0.2.2")])
}

#[test]
fn the_example_of_rfc_3263_with_udp_and_tcp_of_ours() {
    // "a client that supports TCP and UDP ... would use TCP" (§4.1).
    let ours: Vec<_> = all_transports().into_iter().take(2).collect();
    let (outcome, asked) = example().locate(target("example.com"), &ours);
    assert_eq!(
        asked,
        "NAPTR example.com, SRV _sip._tcp.example.com, A server1.example.com, A server2.example.com"
    );
    assert_eq!(
        places(&outcome),
        ["Tcp 192.0.2.1:5060 0", "Tcp 192.0.2.2:5060 0"]
    );
    let Outcome::Hops(hops, ttl) = outcome else {
        panic!();
    };
    assert_eq!((hops[0].weight, hops[1].weight, ttl), (1, 2, MINUTE));
}

#[test]
fn the_lowest_order_of_naptr_that_is_ours_counts() {
    let (_, asked) = example().locate(target("example.com"), &all_transports());
    assert!(asked.contains("SRV _sips._tcp.example.com."), "{asked}");
    assert!(!asked.contains("_sip._tcp"), "{asked}");
    let (outcome, asked) = example().locate(target("example.com"), &udp());
    assert!(asked.contains("SRV _sip._udp.example.com."), "{asked}");
    // No SRV record: the host itself, by the transport that NAPTR named.
    assert!(asked.ends_with(", A example.com"), "{asked}");
    assert!(matches!(outcome, Outcome::Nothing(_)));
}

#[test]
fn what_naptr_says_of_transports_that_we_lack_is_not_guessed_around() {
    let zone = Zone::default()
        .with("NAPTR a.example", vec![naptr(1, 1, "SIP+D2T", "_x.a")])
        .with("A a.example", vec![address("192.0.2.1")]);
    let (outcome, asked) = zone.locate(target("a.example"), &udp());
    assert_eq!(asked, "NAPTR a.example");
    assert!(matches!(outcome, Outcome::Nothing(_)));
    // NAPTR of another application says nothing of SIP.
    let zone = Zone::default()
        .with("NAPTR a.example", vec![naptr(1, 1, "AAA+D2T", "_x.a")])
        .with("A a.example", vec![address("192.0.2.1")]);
    let (outcome, _) = zone.locate(target("a.example"), &udp());
    assert_eq!(places(&outcome), ["Udp 192.0.2.1:5060 0"]);
}

#[test]
fn without_naptr_each_transport_of_ours_is_asked_for() {
    let zone = Zone::default()
        .with("SRV _sip._udp.a.example", vec![srv(1, 0, 5080, "u")])
        .with("SRV _sip._tcp.a.example", vec![srv(0, 0, 5090, "t")])
        .with("A u", vec![address("192.0.2.1")])
        .with("A t", vec![address("192.0.2.2")]);
    let (outcome, asked) = zone.locate(target("a.example"), &all_transports());
    assert_eq!(
        asked,
        "NAPTR a.example, SRV _sip._udp.a.example, SRV _sip._tcp.a.example, A u, A t"
    );
    assert_eq!(
        places(&outcome),
        ["Udp 192.0.2.1:5080 0", "Tcp 192.0.2.2:5090 1"]
    );
}

#[test]
fn without_any_srv_the_host_is_asked_at_the_default_port() {
    let zone = Zone::default().with("A a.example", vec![address("192.0.2.7")]);
    let (outcome, asked) = zone.locate(target("a.example"), &udp());
    assert_eq!(
        asked,
        "NAPTR a.example, SRV _sip._udp.a.example, A a.example"
    );
    assert_eq!(places(&outcome), ["Udp 192.0.2.7:5060 0"]);
}

#[test]
fn a_port_asks_for_addresses_and_a_literal_for_nothing() {
    let zone = Zone::default().with("A a.example", vec![address("192.0.2.7")]);
    let with_port = Target {
        port: Some(5070),
        ..target("a.example")
    };
    let (outcome, asked) = zone.locate(with_port, &all_transports());
    assert_eq!(asked, "A a.example");
    assert_eq!(places(&outcome), ["Udp 192.0.2.7:5070 0"]);

    let (outcome, asked) = zone.locate(target("192.0.2.9"), &all_transports());
    assert_eq!(asked, "");
    assert_eq!(places(&outcome), ["Udp 192.0.2.9:5060 0"]);
    let v6 = [(Transport::Udp, local("[2001:db8::1]:5060"))];
    let (outcome, _) = zone.locate(target("[2001:db8::9]"), &v6);
    assert_eq!(places(&outcome), ["Udp [2001:db8::9]:5060 0"]);
    // No socket of its family.
    let (outcome, _) = zone.locate(target("[2001:db8::9]"), &udp());
    assert!(matches!(outcome, Outcome::Nothing(_)));
}

#[test]
fn a_transport_given_asks_for_its_srv_alone() {
    let given = |transport, secure| Target {
        transport: Some(transport),
        secure,
        ..target("a.example")
    };
    let zone = Zone::default().with("A a.example", vec![address("192.0.2.7")]);
    for (wanted, srv, place) in [
        (
            given(Transport::Udp, false),
            "_sip._udp",
            "Udp 192.0.2.7:5060 0",
        ),
        (
            given(Transport::Tcp, false),
            "_sip._tcp",
            "Tcp 192.0.2.7:5060 0",
        ),
        (
            given(Transport::Tls, false),
            "_sips._tcp",
            "Tls 192.0.2.7:5061 0",
        ),
        // `sips:` with `transport=tcp` is TLS over TCP (RFC 3261 §26.2.2).
        (
            given(Transport::Tcp, true),
            "_sips._tcp",
            "Tls 192.0.2.7:5061 0",
        ),
    ] {
        let (outcome, asked) = zone.locate(wanted, &all_transports());
        assert_eq!(asked, format!("SRV {srv}.a.example, A a.example"));
        assert_eq!(places(&outcome), [place]);
    }
    // One that we do not speak is not asked for.
    let (outcome, asked) = zone.locate(given(Transport::Tls, false), &udp());
    assert_eq!(asked, "");
    assert!(matches!(outcome, Outcome::Nothing(_)));
}

#[test]
fn a_sips_target_goes_by_tls_alone() {
    let secure = Target {
        secure: true,
        ..target("example.com")
    };
    let (_, asked) = example().locate(secure.clone(), &all_transports());
    assert!(asked.starts_with("NAPTR example.com, SRV _sips._tcp"));
    let (outcome, asked) = example().locate(secure, &udp());
    assert_eq!(asked, "NAPTR example.com");
    assert!(matches!(outcome, Outcome::Nothing(_)));
}

#[test]
fn srv_priorities_become_ranks_and_a_dot_is_no_service() {
    let zone = Zone::default()
        .with(
            "SRV _sip._udp.a.example",
            vec![srv(20, 0, 5060, "late"), srv(10, 0, 5062, "early")],
        )
        .with("A late", vec![address("192.0.2.2"), address("192.0.2.3")])
        .with("A early", vec![address("192.0.2.1")]);
    let (outcome, _) = zone.locate(target("a.example"), &udp());
    assert_eq!(
        places(&outcome),
        [
            "Udp 192.0.2.1:5062 0",
            "Udp 192.0.2.2:5060 1",
            "Udp 192.0.2.3:5060 1"
        ]
    );
    let zone = Zone::default()
        .with("SRV _sip._udp.a.example", vec![srv(0, 0, 5060, ".")])
        .with("A a.example", vec![address("192.0.2.1")]);
    let (outcome, _) = zone.locate(target("a.example"), &udp());
    assert!(matches!(outcome, Outcome::Nothing(_)), "{outcome:?}");
}

#[test]
fn both_families_are_asked_where_sockets_of_ours_have_both() {
    let ours = [
        (Transport::Udp, local("[2001:db8::1]:5060")),
        (Transport::Udp, local("192.0.2.100:5060")),
    ];
    let zone = Zone::default()
        .with("A a.example", vec![address("192.0.2.7")])
        .with(
            "AAAA a.example",
            // Of the wrong family, and of nobody.
            vec![address("192.0.2.66"), address("::"), address("2001:db8::7")],
        );
    let with_port = Target {
        port: Some(5060),
        ..target("a.example")
    };
    let (outcome, asked) = zone.locate(with_port, &ours);
    assert_eq!(asked, "AAAA a.example, A a.example");
    assert_eq!(
        places(&outcome),
        ["Udp [2001:db8::7]:5060 0", "Udp 192.0.2.7:5060 0"]
    );
}

#[test]
fn a_question_without_an_answer_is_not_an_answer() {
    let zone = example().dead("NAPTR example.com");
    let (outcome, asked) = zone.locate(target("example.com"), &udp());
    assert_eq!((outcome, &*asked), (Outcome::Failed, "NAPTR example.com"));
    let zone = Zone::default()
        .dead("SRV _sip._udp.a.example")
        .with("A a.example", vec![address("192.0.2.7")]);
    let (outcome, _) = zone.locate(target("a.example"), &udp());
    assert_eq!(outcome, Outcome::Failed);
    // One server of two: the other is used, and the gap is looked at again soon.
    let zone = Zone::default()
        .with(
            "SRV _sip._udp.a.example",
            vec![srv(0, 0, 5060, "one"), srv(1, 0, 5060, "two")],
        )
        .dead("A one")
        .with("A two", vec![address("192.0.2.2")]);
    let (outcome, _) = zone.locate(target("a.example"), &udp());
    assert_eq!(places(&outcome), ["Udp 192.0.2.2:5060 1"]);
    assert!(matches!(outcome, Outcome::Hops(_, ttl) if ttl == PARTIAL_TTL));
}

#[test]
fn the_shortest_ttl_of_all_counts_within_bounds() {
    let outcome = |ttls: [u64; 2]| {
        let wanted = Target {
            transport: Some(Transport::Udp),
            ..target("a.example")
        };
        let mut locator = Locator::new(wanted, &udp());
        let [first, second] = ttls.map(Duration::from_secs);
        locator.answer(Answer::Records(vec![srv(0, 0, 5060, "b")], first));
        locator.answer(Answer::Records(vec![address("192.0.2.1")], second));
        match locator.outcome() {
            Outcome::Hops(_, ttl) => ttl.as_secs(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(outcome([300, 60]), 60);
    assert_eq!(outcome([30, 60]), 30);
    assert_eq!(outcome([0, 60]), SHORTEST_TTL.as_secs());
    assert_eq!(outcome([1_000_000, 1_000_000]), LONGEST_TTL.as_secs());
    let (nothing, _) = Zone::default().locate(target("a.example"), &udp());
    assert_eq!(nothing, Outcome::Nothing(MINUTE));
}

#[test]
fn answers_without_end_are_cut() {
    let records = (0..400)
        .map(|n| srv(n, 0, 5060, &format!("s{n}")))
        .collect();
    let mut zone = Zone::default().with("SRV _sip._udp.a.example", records);
    for n in 0..400u16 {
        let many = (0..200u8).map(|last| address(&format!("10.{}.{}.{last}", n >> 8, n & 255)));
        zone = zone.with(&format!("A s{n}"), many.collect());
    }
    let mut locator = Locator::new(target("a.example"), &udp());
    let mut asked = 0;
    while let Some(query) = locator.query() {
        asked += 1;
        let question = match query {
            Query::Naptr(_) | Query::Aaaa(_) => String::new(),
            Query::Srv(name) => format!("SRV {name}"),
            Query::A(name) => format!("A {name}"),
        };
        let answer = zone.answers.get(&question).cloned();
        locator.answer(answer.unwrap_or(Answer::Nothing(MINUTE)));
    }
    assert!(asked <= 2 + MOST_SERVERS, "{asked}");
    assert!(locator.was_cut());
    assert!(matches!(locator.outcome(), Outcome::Hops(hops, _) if hops.len() == MOST_HOPS));
}

fn hop(last: u8, rank: u16, weight: u16, server: u16) -> Hop {
    let path = Path {
        transport: Transport::Udp,
        local: local("192.0.2.100:5060"),
        remote: SocketAddr::from(([192, 0, 2, last], 5060)),
    };
    Hop {
        path,
        rank,
        weight,
        server,
    }
}

fn last_bytes(hops: &[Hop]) -> Vec<u8> {
    let last = |hop: &Hop| match hop.path.remote.ip() {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(_) => 0,
    };
    hops.iter().map(last).collect()
}

#[test]
fn weights_share_a_rank_and_never_cross_it() {
    // The example of RFC 2782: 1 and 3 of priority 0, then a backup of priority 1.
    let hops = [hop(1, 0, 1, 0), hop(2, 0, 3, 1), hop(3, 1, 0, 2)];
    // 0 to 4 may be drawn: running sums are 1 and 4.
    let order = |drawn: u64| last_bytes(&arrange(&hops, &mut |_| drawn));
    assert_eq!(order(0), [1, 2, 3]);
    assert_eq!(order(1), [1, 2, 3]);
    assert_eq!(order(2), [2, 1, 3]);
    assert_eq!(order(4), [2, 1, 3]);
}

#[test]
fn a_server_of_weight_zero_stands_first_and_is_drawn_seldom() {
    let hops = [hop(1, 0, 9, 0), hop(2, 0, 0, 1)];
    let order = |drawn: u64| last_bytes(&arrange(&hops, &mut |_| drawn));
    assert_eq!(order(0), [2, 1]);
    for drawn in 1..=9 {
        assert_eq!(order(drawn), [1, 2]);
    }
}

#[test]
fn addresses_of_one_server_stay_together() {
    let hops = [hop(1, 0, 5, 0), hop(2, 0, 5, 0), hop(3, 0, 5, 1)];
    let order = |drawn: u64| last_bytes(&arrange(&hops, &mut |_| drawn));
    assert_eq!(order(10), [3, 1, 2]);
    assert_eq!(order(0), [1, 2, 3]);
}

proptest::proptest! {
    /// Whatever weights and draws: each hop once, ranks in order.
    #[test]
    fn every_hop_is_tried_once(
        parts in proptest::collection::vec((0u16..3, proptest::prelude::any::<u16>()), 0..12),
        draws in proptest::collection::vec(proptest::prelude::any::<u64>(), 12),
    ) {
        let mut parts = parts;
        parts.sort_unstable();
        let hops: Vec<Hop> = parts
            .iter()
            .zip(0u8..)
            .map(|((rank, weight), number)| hop(number, *rank, *weight, u16::from(number)))
            .collect();
        let mut draws = draws.into_iter();
        let mut draw = |most: u64| draws.next().unwrap_or(0) % (most + 1);
        let arranged = arrange(&hops, &mut draw);
        let mut seen = last_bytes(&arranged);
        proptest::prop_assert!(arranged.windows(2).all(|pair| pair[0].rank <= pair[1].rank));
        seen.sort_unstable();
        proptest::prop_assert_eq!(seen, last_bytes(&hops));
    }
}
