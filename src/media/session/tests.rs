mod announcing;
mod srtp;

use super::*;
use crate::call::event::Role;
use crate::domain::srtp::Srtp;
use crate::media::flow::PortPair;
use crate::media::flow::SourceRule;
use crate::media::ports::PortPool;
use crate::media::settings::{MediaSource, Network, Trunk};
use crate::sdp::CodecList;
use bytes::Bytes;
use proptest::prelude::*;
use std::time::Duration;

const IN: TrunkId = TrunkId(0);
const OUT: TrunkId = TrunkId(1);
const SIXTH: TrunkId = TrunkId(2);
const LATCHED: TrunkId = TrunkId(3);
const NARROW: TrunkId = TrunkId(4);

struct Bench {
    settings: Settings,
    ports: Ports,
    session: Session,
    bindable: bool,
    draws: u64,
}

impl Bench {
    fn new() -> Self {
        let network = |bind: &str, advertised: &str| Network {
            named: 0,
            bind: bind.parse().unwrap(),
            advertised: advertised.parse().unwrap(),
            first_port: 20_000,
            last_port: 20_007,
        };
        let trunk = |network, source, codecs: &[&str]| {
            Some(Trunk {
                network,
                source,
                prefixes: vec![("203.0.113.0".parse().unwrap(), 24)],
                codecs: CodecList::read(codecs).unwrap(),
                srtp: Srtp::None,
            })
        };
        let settings = Settings {
            networks: vec![
                network("10.0.0.1", "198.51.100.1"),
                network("::1", "2001:db8::1"),
            ],
            trunks: vec![
                trunk(0, MediaSource::AddressAndPort, &[]),
                trunk(0, MediaSource::Address, &[]),
                trunk(1, MediaSource::AddressAndPort, &[]),
                trunk(0, MediaSource::Latch, &[]),
                trunk(0, MediaSource::AddressAndPort, &["PCMA"]),
            ],
            timeout: Duration::from_secs(60),
            ..Settings::default()
        };
        let pool = |place: usize| {
            let address = settings.networks[place].bind;
            PortPool::new(address, 20_000, 20_007, 1, 0)
        };
        let ports = Ports::new(vec![pool(0), pool(1)]);
        Self {
            settings,
            ports,
            session: Session::new(FlowId(9), 0x1234_5678_9abc_def0),
            bindable: true,
            draws: 1,
        }
    }

    fn opened() -> Self {
        let mut bench = Self::new();
        bench.command(MediaCommand::Open {
            trunk: IN,
            offer: Some(Bytes::from_static(OFFER)),
        });
        assert!(matches!(
            bench.outputs()[..],
            [Output::Event(MediaEvent::Opened)]
        ));
        bench.command(MediaCommand::Route(OUT));
        bench
    }

    fn input(&mut self, input: Input) {
        let bindable = self.bindable;
        let mut bind = |_: PortPair| {
            if bindable {
                Ok(())
            } else {
                Err(io::Error::from_raw_os_error(24))
            }
        };
        let mut random = || {
            self.draws = self
                .draws
                .wrapping_mul(0x5851_f42d_4c95_7f2d)
                .wrapping_add(1);
            self.draws.rotate_left(17)
        };
        let mut context = Context {
            settings: &self.settings,
            ports: &mut self.ports,
            bind: &mut bind,
            random: &mut random,
        };
        self.session.handle(input, &mut context);
    }

    fn peer(&mut self, side: Side, address: &str) {
        self.input(Input::Peer(side, address.parse().unwrap()));
    }

    fn command(&mut self, command: MediaCommand) {
        self.input(Input::Command(command));
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.session.poll_output()).collect()
    }

    /// Describes, and gives back what the other side gets and the flow that was installed.
    fn describe(
        &mut self,
        from: Side,
        fork: u16,
        role: Role,
        body: &[u8],
    ) -> (Option<String>, Option<Flow>) {
        self.command(MediaCommand::Describe {
            from,
            fork: Fork(fork),
            role,
            body: Bytes::copy_from_slice(body),
        });
        let mut described = None;
        let mut installed = None;
        for output in self.outputs() {
            match output {
                Output::Event(MediaEvent::Described(body)) => {
                    described = Some(String::from_utf8(body.to_vec()).unwrap());
                }
                Output::Event(MediaEvent::Undescribed) => {}
                Output::Install(FlowId(9), flow) => installed = Some(*flow),
                other => panic!("{other:?}"),
            }
        }
        (described, installed)
    }

    fn flow(&mut self) -> Option<Flow> {
        self.outputs()
            .into_iter()
            .rev()
            .find_map(|output| match output {
                Output::Install(_, flow) => Some(*flow),
                _ => None,
            })
    }

    fn up() -> (Self, Flow) {
        let mut bench = Self::opened();
        bench.describe(Side::Caller, 0, Role::Offer, OFFER);
        let (_, flow) = bench.describe(Side::Callee, 1, Role::Answer, ANSWER);
        assert!(flow.unwrap().silence.is_none(), "not before the start");
        bench.command(MediaCommand::Start);
        let flow = bench.flow().unwrap();
        (bench, flow)
    }
}

const OFFER: &[u8] = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
m=audio 4000 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\n";
const ANSWER: &[u8] =
    b"v=0\r\no=- 1 1 IN IP4 203.0.113.9\r\ns=-\r\nc=IN IP4 203.0.113.9\r\nt=0 0\r\n\
m=audio 6000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";

fn sdp(lines: &str) -> Vec<u8> {
    format!("v=0\r\no=- 1 1 IN IP4 203.0.113.9\r\n{lines}").into_bytes()
}

fn origin(body: &str) -> &str {
    body.lines().find(|line| line.starts_with("o=")).unwrap()
}

#[test]
fn an_offer_and_its_answer_make_a_flow() {
    let mut bench = Bench::opened();
    let (offer, flow) = bench.describe(Side::Caller, 0, Role::Offer, OFFER);
    let offer = offer.unwrap();
    assert!(offer.contains("c=IN IP4 198.51.100.1\r\n"), "{offer}");
    assert!(
        offer.contains("m=audio 20002 RTP/AVP 8 0 101\r\n"),
        "{offer}"
    );
    assert_eq!(flow, None);
    let (answer, flow) = bench.describe(Side::Callee, 1, Role::Answer, ANSWER);
    assert!(answer.unwrap().contains("m=audio 20000 RTP/AVP 8 101\r\n"));
    let flow = flow.unwrap();
    assert_eq!(flow.caller.rtp, Some("192.0.2.1:4000".parse().unwrap()));
    assert_eq!(flow.caller.rtcp, Some("192.0.2.1:4001".parse().unwrap()));
    assert_eq!(flow.callee.rtp, Some("203.0.113.9:6000".parse().unwrap()));
    assert_eq!(flow.caller.ports.rtp, 20_000);
    assert_eq!(
        flow.caller.ports.address,
        "10.0.0.1".parse::<IpAddr>().unwrap()
    );
    assert_eq!(flow.caller.source, SourceRule::Exact);
    assert_eq!(flow.callee.source, SourceRule::Address);
    assert!(flow.caller.may_send && flow.callee.may_send);
    assert_eq!((flow.clock_rates[8], flow.clock_rates[101]), (8000, 0));
    assert!(flow.cname.bytes().all(|byte| byte.is_ascii_lowercase()));
}

#[test]
fn what_cannot_be_opened_is_refused_in_order() {
    let mut bench = Bench::new();
    bench.bindable = false;
    let mut refusal = |trunk, offer: &[u8]| {
        bench.command(MediaCommand::Open {
            trunk,
            offer: Some(Bytes::copy_from_slice(offer)),
        });
        match bench.outputs().pop() {
            Some(Output::Event(MediaEvent::Refused(refusal))) => refusal,
            other => panic!("{other:?}"),
        }
    };
    for media in [
        "m=audio 4000 UDP/TLS/RTP/SAVPF 8\r\nc=IN IP4 192.0.2.1\r\n",
        "m=audio 4000 RTP/AVP 8\r\nc=IN IP4 host.example\r\n",
        "m=audio 4000 RTP/AVP 8\r\n",
        "m=audio 0 RTP/AVP 8\r\nc=IN IP4 192.0.2.1\r\n",
        "m=audio 4000 RTP/AVP 13\r\nc=IN IP4 192.0.2.1\r\n",
        "",
    ] {
        assert_eq!(refusal(IN, &sdp(media)), Refusal::NoMedia, "{media}");
    }
    assert_eq!(refusal(IN, b"nonsense"), Refusal::NoMedia);
    let ulaw = sdp("m=audio 4000 RTP/AVP 0\r\nc=IN IP4 192.0.2.1\r\n");
    assert_eq!(refusal(NARROW, &ulaw), Refusal::NoMedia);
    assert_eq!(refusal(IN, OFFER), Refusal::NoPort);
    assert_eq!(refusal(TrunkId(77), OFFER), Refusal::NoPort);
    assert_eq!(bench.ports.count().used, 0);
    bench.command(MediaCommand::Close);
    assert!(matches!(
        bench.outputs()[..],
        [Output::Event(MediaEvent::Closed { .. })]
    ));
    assert!(bench.session.is_closed());
}

#[test]
fn ports_come_back_when_the_relay_has_let_go() {
    let (mut bench, _) = Bench::up();
    assert_eq!(bench.ports.count().used, 2);
    bench.command(MediaCommand::Close);
    assert!(matches!(bench.outputs()[..], [Output::Remove(FlowId(9))]));
    assert_eq!(bench.ports.count().used, 2);
    let figures = MediaFigures {
        packets: 5,
        ..MediaFigures::default()
    };
    let removed = |flow| RelayEvent::Removed {
        flow,
        to_callee: figures,
        to_caller: MediaFigures::default(),
        quality: crate::domain::CallQuality::default(),
        guard_hits: 3,
    };
    bench.input(Input::Relay(removed(FlowId(8))));
    assert!(bench.outputs().is_empty(), "another call's");
    bench.input(Input::Relay(removed(FlowId(9))));
    match bench.outputs().pop() {
        Some(Output::Event(MediaEvent::Closed {
            to_callee,
            guard_hits: 3,
            ..
        })) => assert_eq!(to_callee, figures),
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.ports.count().used, 0);
    bench.input(Input::Relay(removed(FlowId(9))));
    bench.command(MediaCommand::Close);
    assert!(bench.outputs().is_empty(), "closed once");
    assert_eq!(bench.ports.count().refused_returns, 0);
}

#[test]
fn a_call_without_media_yet_closes_at_once() {
    let mut bench = Bench::opened();
    bench.command(MediaCommand::Close);
    assert!(matches!(
        bench.outputs()[..],
        [Output::Event(MediaEvent::Closed { .. })]
    ));
    assert_eq!(bench.ports.count().used, 0);
}

#[test]
fn delayed_offers_go_the_other_way_round() {
    let mut bench = Bench::new();
    bench.command(MediaCommand::Open {
        trunk: IN,
        offer: None,
    });
    bench.command(MediaCommand::Route(OUT));
    bench.outputs();
    let (offer, _) = bench.describe(Side::Callee, 4, Role::Offer, OFFER);
    assert!(offer.unwrap().contains("m=audio 20000 "));
    let (answer, flow) = bench.describe(Side::Caller, 4, Role::Answer, ANSWER);
    assert!(answer.unwrap().contains("m=audio 20002 "));
    assert_eq!(flow, None, "nobody was selected");
    bench.command(MediaCommand::Select(Fork(4)));
    let flow = bench.flow().unwrap();
    assert_eq!(flow.callee.rtp, Some("192.0.2.1:4000".parse().unwrap()));
    assert_eq!(flow.caller.rtp, Some("203.0.113.9:6000".parse().unwrap()));
}

#[test]
fn each_fork_has_its_media_and_one_is_passed() {
    let mut bench = Bench::opened();
    bench.describe(Side::Caller, 0, Role::Offer, OFFER);
    let at = |port: u16| {
        sdp(&format!(
            "c=IN IP4 203.0.113.9\r\nm=audio {port} RTP/AVP 8\r\n"
        ))
    };
    let port = |flow: Flow| flow.callee.rtp.unwrap().port();
    let (_, flow) = bench.describe(Side::Callee, 1, Role::Provisional, &at(6000));
    assert_eq!(port(flow.unwrap()), 6000);
    let (described, flow) = bench.describe(Side::Callee, 2, Role::Provisional, &at(7000));
    assert!(described.is_some());
    assert_eq!(port(flow.unwrap()), 6000, "still the first");
    bench.command(MediaCommand::Select(Fork(2)));
    assert_eq!(port(bench.flow().unwrap()), 7000);
    bench.command(MediaCommand::Select(Fork(2)));
    assert!(bench.flow().is_none(), "no change");
    let (_, flow) = bench.describe(Side::Callee, 1, Role::Answer, &at(6000));
    assert_eq!(port(flow.unwrap()), 6000, "the one that answered");
    bench.command(MediaCommand::Start);
    assert_eq!(port(bench.flow().unwrap()), 6000);
    // Once up there is one dialog, whatever number a re-INVITE comes with.
    bench.describe(Side::Caller, 0, Role::Offer, OFFER);
    let (_, flow) = bench.describe(Side::Callee, 0, Role::Answer, &at(8000));
    assert_eq!(port(flow.unwrap()), 8000);
}

#[test]
fn forks_are_bounded() {
    let mut bench = Bench::opened();
    bench.describe(Side::Caller, 0, Role::Offer, OFFER);
    for fork in 0..20u16 {
        let (described, _) = bench.describe(Side::Callee, fork, Role::Provisional, ANSWER);
        assert_eq!(described.is_some(), usize::from(fork) < MAX_FORKS);
    }
}

#[test]
fn versions_rise_with_changes_alone() {
    let mut bench = Bench::opened();
    bench.describe(Side::Caller, 0, Role::Offer, OFFER);
    let (first, _) = bench.describe(Side::Callee, 1, Role::Provisional, ANSWER);
    let (second, _) = bench.describe(Side::Callee, 1, Role::Answer, ANSWER);
    assert_eq!(first, second, "the same again");
    let (repeated, _) = bench.describe(Side::Callee, 1, Role::Answer, ANSWER);
    assert_eq!(
        first, repeated,
        "an answer may be repeated until the call is up"
    );
    bench.command(MediaCommand::Start);
    bench.outputs();
    let hold = sdp("c=IN IP4 203.0.113.9\r\nm=audio 6000 RTP/AVP 8 101\r\na=sendonly\r\n");
    let (held, _) = bench.describe(Side::Callee, 1, Role::Offer, &hold);
    let first = first.unwrap();
    let held = held.unwrap();
    assert_eq!(origin(&held), origin(&first).replace(" 1 IN", " 2 IN"));
}

#[test]
fn hold_and_resume_change_who_may_send() {
    let (mut bench, flow) = Bench::up();
    assert_eq!(flow.silence, Some(Duration::from_secs(60)));
    let hold = sdp("c=IN IP4 203.0.113.9\r\nm=audio 6000 RTP/AVP 8\r\na=sendonly\r\n");
    let (offer, flow) = bench.describe(Side::Callee, 1, Role::Offer, &hold);
    assert!(offer.unwrap().contains("a=sendonly\r\n"));
    assert_eq!(flow, None, "not before the answer");
    let held = sdp("c=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 8\r\na=recvonly\r\n");
    let (answer, flow) = bench.describe(Side::Caller, 1, Role::Answer, &held);
    assert!(answer.unwrap().contains("a=recvonly\r\n"));
    let flow = flow.unwrap();
    assert!(!flow.caller.may_send && flow.callee.may_send);
    assert_eq!(flow.silence, None);
    bench.describe(Side::Callee, 1, Role::Offer, ANSWER);
    let (_, flow) = bench.describe(Side::Caller, 1, Role::Answer, OFFER);
    let flow = flow.unwrap();
    assert!(flow.caller.may_send && flow.silence.is_some());
}

#[test]
fn the_old_hold_sends_nothing_there() {
    let (mut bench, _) = Bench::up();
    let hold = sdp("c=IN IP4 0.0.0.0\r\nm=audio 4000 RTP/AVP 8\r\n");
    let (offer, _) = bench.describe(Side::Caller, 1, Role::Offer, &hold);
    assert!(offer.unwrap().contains("c=IN IP4 0.0.0.0\r\n"));
    let (_, flow) = bench.describe(Side::Callee, 1, Role::Answer, ANSWER);
    let flow = flow.unwrap();
    assert_eq!(flow.caller.rtp, None);
    assert!(!flow.callee.may_send, "nobody listens");
    assert_eq!(flow.silence, None);
}

#[test]
fn a_refused_exchange_leaves_what_was_in_force() {
    let (mut bench, before) = Bench::up();
    let moved = sdp("c=IN IP4 192.0.2.50\r\nm=audio 4444 RTP/AVP 8\r\n");
    bench.describe(Side::Caller, 1, Role::Offer, &moved);
    bench.command(MediaCommand::Rollback);
    let (late, flow) = bench.describe(Side::Callee, 1, Role::Answer, ANSWER);
    assert_eq!((late, flow), (None, None));
    bench.describe(Side::Caller, 1, Role::Offer, OFFER);
    let (_, flow) = bench.describe(Side::Callee, 1, Role::Answer, ANSWER);
    assert_eq!(flow.unwrap(), before);
    bench.describe(Side::Caller, 1, Role::Offer, &moved);
    let (_, flow) = bench.describe(Side::Callee, 1, Role::Answer, ANSWER);
    assert_eq!(
        flow.unwrap().caller.rtp,
        Some("192.0.2.50:4444".parse().unwrap())
    );
}

/// An offer in an early dialog, answered or refused, leaves the INVITE's own to be answered by the
/// forks that have not.
#[test]
fn an_early_exchange_keeps_the_first_offer_for_other_forks() {
    for refused in [true, false] {
        let mut bench = Bench::opened();
        bench.describe(Side::Caller, 0, Role::Offer, OFFER);
        bench.describe(Side::Callee, 1, Role::Answer, ANSWER);
        let hold = [ANSWER, b"a=sendonly\r\n"].concat();
        let (offer, _) = bench.describe(Side::Callee, 1, Role::Offer, &hold);
        assert!(offer.unwrap().contains("a=sendonly"));
        if refused {
            bench.command(MediaCommand::Rollback);
        } else {
            let held = [OFFER, b"a=recvonly\r\n"].concat();
            let (answer, flow) = bench.describe(Side::Caller, 1, Role::Answer, &held);
            assert!(answer.unwrap().contains("a=recvonly"));
            let flow = flow.unwrap();
            assert!(flow.callee.may_send && !flow.caller.may_send);
        }
        let (answer, _) = bench.describe(Side::Callee, 2, Role::Answer, ANSWER);
        assert!(answer.is_some(), "refused: {refused}");
        bench.command(MediaCommand::Select(Fork(2)));
        bench.command(MediaCommand::Start);
        let flow = bench.flow().unwrap();
        assert!(flow.callee.may_send && flow.caller.may_send);
    }
    // One that cannot be described at all changes nothing either.
    let mut bench = Bench::opened();
    bench.describe(Side::Caller, 0, Role::Offer, OFFER);
    bench.describe(Side::Callee, 1, Role::Answer, ANSWER);
    assert_eq!(
        bench.describe(Side::Callee, 1, Role::Offer, b"v=0\r\n").0,
        None
    );
    bench.command(MediaCommand::Rollback);
    assert!(
        bench
            .describe(Side::Callee, 1, Role::Answer, ANSWER)
            .0
            .is_some()
    );
}

#[test]
fn mux_is_agreed_on_each_leg_by_itself() {
    let muxed = |body: &[u8]| [body, b"a=rtcp-mux\r\n"].concat();
    let mut bench = Bench::opened();
    let (offer, _) = bench.describe(Side::Caller, 0, Role::Offer, &muxed(OFFER));
    assert!(offer.unwrap().contains("a=rtcp-mux"));
    let (answer, flow) = bench.describe(Side::Callee, 1, Role::Answer, ANSWER);
    assert!(answer.unwrap().contains("a=rtcp-mux"));
    let flow = flow.unwrap();
    assert!(flow.caller.rtcp_mux && !flow.callee.rtcp_mux);
    assert_eq!(flow.caller.rtcp, flow.caller.rtp);
    assert_eq!(flow.callee.rtcp.unwrap().port(), 6001);

    let mut bench = Bench::opened();
    let (offer, _) = bench.describe(Side::Caller, 0, Role::Offer, OFFER);
    assert!(!offer.unwrap().contains("a=rtcp-mux"));
    let (answer, flow) = bench.describe(Side::Callee, 1, Role::Answer, &muxed(ANSWER));
    assert!(!answer.unwrap().contains("a=rtcp-mux"));
    let flow = flow.unwrap();
    assert!(
        !flow.caller.rtcp_mux && !flow.callee.rtcp_mux,
        "it was never offered"
    );
    assert_eq!(flow.callee.rtcp.unwrap().port(), 6001);
}

#[test]
fn a_mux_in_force_is_offered_again() {
    let muxed = |body: &[u8]| [body, b"a=rtcp-mux\r\n"].concat();
    let mut bench = Bench::opened();
    bench.describe(Side::Caller, 0, Role::Offer, &muxed(OFFER));
    bench.describe(Side::Callee, 1, Role::Answer, &muxed(ANSWER));
    bench.command(MediaCommand::Start);
    bench.outputs();
    let (offer, _) = bench.describe(Side::Caller, 0, Role::Offer, OFFER);
    assert!(offer.unwrap().contains("a=rtcp-mux"));
    let (answer, flow) = bench.describe(Side::Callee, 1, Role::Answer, &muxed(ANSWER));
    assert!(!answer.unwrap().contains("a=rtcp-mux"));
    let flow = flow.unwrap();
    assert!(!flow.caller.rtcp_mux && flow.callee.rtcp_mux);
}

#[test]
fn families_are_bridged_by_the_trunks_networks() {
    let mut bench = Bench::opened();
    bench.command(MediaCommand::Route(SIXTH));
    let (offer, _) = bench.describe(Side::Caller, 0, Role::Offer, OFFER);
    assert!(offer.unwrap().contains("c=IN IP6 2001:db8::1\r\n"));
    let answer = sdp("c=IN IP6 2001:db8::99\r\nm=audio 6000 RTP/AVP 8\r\n");
    let (answer, flow) = bench.describe(Side::Callee, 1, Role::Answer, &answer);
    assert!(answer.unwrap().contains("c=IN IP4 198.51.100.1\r\n"));
    let flow = flow.unwrap();
    assert!(flow.callee.ports.address.is_ipv6() && flow.caller.ports.address.is_ipv4());
    assert_eq!(bench.ports.count().used, 2, "the first pair went back");
    bench.command(MediaCommand::Close);
    assert_eq!(bench.ports.count().used, 2);
}

#[test]
fn an_address_of_a_family_that_the_leg_has_not_is_refused() {
    let sixth = sdp("c=IN IP6 2001:db8::99\r\nm=audio 6000 RTP/AVP 8\r\n");
    let mapped = sdp("c=IN IP6 ::ffff:192.0.2.1\r\nm=audio 6000 RTP/AVP 8\r\n");
    let rtcp = sdp("c=IN IP4 192.0.2.1\r\nm=audio 6000 RTP/AVP 8\r\na=rtcp:9 IN IP6 ::1\r\n");
    for body in [&sixth, &mapped, &rtcp] {
        let mut bench = Bench::new();
        bench.command(MediaCommand::Open {
            trunk: IN,
            offer: Some(Bytes::copy_from_slice(body)),
        });
        assert!(matches!(
            bench.outputs()[..],
            [Output::Event(MediaEvent::Refused(Refusal::NoMedia))]
        ));
        let (mut bench, before) = Bench::up();
        for side in [Side::Caller, Side::Callee] {
            assert_eq!(bench.describe(side, 1, Role::Offer, body), (None, None));
            bench.describe(side.other(), 1, Role::Offer, OFFER);
            for role in [Role::Provisional, Role::Answer] {
                assert_eq!(bench.describe(side, 1, role, body), (None, None));
            }
        }
        bench.describe(Side::Caller, 1, Role::Offer, OFFER);
        let (_, flow) = bench.describe(Side::Callee, 1, Role::Answer, ANSWER);
        assert_eq!(flow.unwrap(), before);
    }
    let mut bench = Bench::new();
    bench.command(MediaCommand::Open {
        trunk: SIXTH,
        offer: Some(sixth.into()),
    });
    assert!(matches!(
        bench.outputs()[..],
        [Output::Event(MediaEvent::Opened)]
    ));
}

#[test]
fn a_network_without_ports_fails_the_attempt_alone() {
    let mut bench = Bench::opened();
    bench.bindable = false;
    bench.command(MediaCommand::Route(SIXTH));
    assert!(matches!(
        bench.outputs()[..],
        [Output::Event(MediaEvent::Unrouted)]
    ));
    assert_eq!(
        bench.describe(Side::Caller, 0, Role::Offer, OFFER),
        (None, None)
    );
    bench.bindable = true;
    bench.command(MediaCommand::Route(OUT));
    assert!(
        bench
            .describe(Side::Caller, 0, Role::Offer, OFFER)
            .0
            .is_some()
    );
    assert_eq!(bench.ports.count().used, 2);
}

#[test]
fn a_new_attempt_silences_the_one_before() {
    let mut bench = Bench::opened();
    bench.describe(Side::Caller, 0, Role::Offer, OFFER);
    bench.describe(Side::Callee, 1, Role::Provisional, ANSWER);
    bench.command(MediaCommand::Route(SIXTH));
    let flow = bench.flow().unwrap();
    assert_eq!(flow.callee.source, SourceRule::Nobody);
    assert_eq!(flow.callee.rtp, None);
    assert!(!flow.caller.may_send);
    assert!(flow.callee.ports.address.is_ipv6());
}

/// The addresses a leg may latch to, and the description that counts.
fn latch(source: SourceRule) -> (Vec<String>, u32) {
    match source {
        SourceRule::Latch { within, epoch } => {
            let text = |(ip, length): &(IpAddr, u8)| format!("{ip}/{length}");
            (within.iter().map(text).collect(), epoch)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn latching_is_bounded_by_peer_and_prefixes() {
    let mut bench = Bench::opened();
    bench.command(MediaCommand::Route(LATCHED));
    bench.describe(Side::Caller, 0, Role::Offer, OFFER);
    let (_, flow) = bench.describe(Side::Callee, 1, Role::Provisional, ANSWER);
    assert_eq!(
        flow.unwrap().callee.source,
        SourceRule::Nobody,
        "a peer that is not known"
    );
    bench.peer(Side::Callee, "192.0.2.77");
    let (_, flow) = bench.describe(Side::Callee, 1, Role::Provisional, ANSWER);
    let (within, first) = latch(flow.unwrap().callee.source);
    assert_eq!(within, ["192.0.2.77/32", "203.0.113.0/24"]);
    let (_, flow) = bench.describe(Side::Callee, 1, Role::Answer, ANSWER);
    let (_, second) = latch(flow.unwrap().callee.source);
    assert_eq!(first, second, "the same description is no new one");
    bench.command(MediaCommand::Start);
    bench.outputs();
    bench.peer(Side::Callee, "::ffff:192.0.2.78");
    bench.describe(
        Side::Callee,
        1,
        Role::Offer,
        &[ANSWER, b"a=sendrecv\r\n"].concat(),
    );
    let (_, flow) = bench.describe(Side::Caller, 1, Role::Answer, OFFER);
    let (within, third) = latch(flow.unwrap().callee.source);
    assert_ne!(third, second);
    assert_eq!(within, ["192.0.2.78/32", "203.0.113.0/24"]);
}

#[test]
fn latching_on_both_legs_has_each_its_own_peer() {
    let mut bench = Bench::new();
    bench.command(MediaCommand::Open {
        trunk: LATCHED,
        offer: Some(Bytes::from_static(OFFER)),
    });
    bench.outputs();
    bench.peer(Side::Caller, "192.0.2.10");
    bench.command(MediaCommand::Route(LATCHED));
    bench.describe(Side::Caller, 0, Role::Offer, OFFER);
    // Two early dialogs by two ways: each has the peer that described it.
    bench.peer(Side::Callee, "192.0.2.21");
    bench.describe(Side::Callee, 1, Role::Provisional, ANSWER);
    bench.peer(Side::Callee, "192.0.2.22");
    bench.describe(Side::Callee, 2, Role::Provisional, ANSWER);
    let mut selected = |fork| {
        bench.command(MediaCommand::Select(Fork(fork)));
        let flow = bench.flow().unwrap();
        let (caller, callee) = (latch(flow.caller.source), latch(flow.callee.source));
        (caller.0[0].clone(), callee.0[0].clone())
    };
    let caller = || "192.0.2.10/32".to_owned();
    assert_eq!(selected(2), (caller(), "192.0.2.22/32".to_owned()));
    assert_eq!(selected(1), (caller(), "192.0.2.21/32".to_owned()));
    // The next attempt's peer is another one, and the caller's is the same.
    bench.command(MediaCommand::Route(LATCHED));
    bench.describe(Side::Caller, 0, Role::Offer, OFFER);
    let (_, flow) = bench.describe(Side::Callee, 3, Role::Answer, ANSWER);
    let flow = flow.unwrap();
    assert_eq!(flow.callee.source, SourceRule::Nobody);
    assert_eq!(latch(flow.caller.source).0[0], caller());
}

#[test]
fn an_offer_that_came_to_nothing_leaves_the_peer_in_force() {
    let mut bench = Bench::opened();
    bench.command(MediaCommand::Route(LATCHED));
    bench.describe(Side::Caller, 0, Role::Offer, OFFER);
    bench.peer(Side::Callee, "192.0.2.21");
    bench.describe(Side::Callee, 1, Role::Answer, ANSWER);
    bench.command(MediaCommand::Start);
    let before = bench.flow().unwrap().callee.source;
    bench.peer(Side::Callee, "192.0.2.22");
    bench.describe(
        Side::Callee,
        1,
        Role::Offer,
        &[ANSWER, b"a=sendrecv\r\n"].concat(),
    );
    bench.command(MediaCommand::Rollback);
    bench.describe(Side::Caller, 1, Role::Offer, OFFER);
    bench.command(MediaCommand::Rollback);
    bench.command(MediaCommand::Start);
    assert_eq!(bench.flow().unwrap().callee.source, before);
}

#[test]
fn our_own_ports_are_no_address_for_a_leg() {
    let own = [
        "c=IN IP4 198.51.100.1\r\nm=audio 20002 RTP/AVP 8\r\n",
        "c=IN IP4 10.0.0.1\r\nm=audio 20000 RTP/AVP 8\r\n",
        "c=IN IP4 198.51.100.1\r\nm=audio 20001 RTP/AVP 8\r\n",
        "c=IN IP4 198.51.100.1\r\nm=audio 20006 RTP/AVP 8\r\n",
        "c=IN IP4 198.51.100.1\r\nm=audio 20007 RTP/AVP 8\r\n",
        "c=IN IP4 10.0.0.1\r\nm=audio 19999 RTP/AVP 8\r\n",
        "c=IN IP4 198.51.100.9\r\nm=audio 3 RTP/AVP 8\r\na=rtcp:20003 IN IP4 198.51.100.1\r\n",
        "c=IN IP4 198.51.100.9\r\nm=audio 3 RTP/AVP 8\r\na=rtcp:20003 IN IP4 0.0.0.0\r\n",
    ];
    for body in own.map(sdp) {
        let text = String::from_utf8_lossy(&body);
        let mut bench = Bench::new();
        bench.command(MediaCommand::Open {
            trunk: IN,
            offer: Some(Bytes::copy_from_slice(&body)),
        });
        let refused = Output::Event(MediaEvent::Refused(Refusal::NoMedia));
        assert_eq!(
            format!("{:?}", bench.outputs()),
            format!("{:?}", [refused]),
            "{text}"
        );
        let mut bench = Bench::opened();
        let mut describe = |side, role, body: &[u8]| bench.describe(side, 0, role, body).0;
        assert_eq!(describe(Side::Caller, Role::Offer, &body), None, "{text}");
        assert!(describe(Side::Caller, Role::Offer, OFFER).is_some());
        assert_eq!(describe(Side::Callee, Role::Answer, &body), None, "{text}");
    }
    for body in [
        "c=IN IP4 198.51.100.1\r\nm=audio 20008 RTP/AVP 8\r\n",
        "c=IN IP4 10.0.0.1\r\nm=audio 19998 RTP/AVP 8\r\n",
        "c=IN IP4 10.0.0.2\r\nm=audio 20000 RTP/AVP 8\r\n",
    ] {
        let offer = Bench::opened().describe(Side::Caller, 0, Role::Offer, &sdp(body));
        assert!(offer.0.is_some(), "{body}");
    }
}

#[test]
fn an_own_address_is_known_in_every_spelling() {
    let network = Network {
        named: 0,
        bind: "10.0.0.1".parse().unwrap(),
        advertised: "2001:db8::1".parse().unwrap(),
        first_port: 20_000,
        last_port: 20_007,
    };
    for (at, held) in [
        ("10.0.0.1:20000", true),
        ("[::ffff:10.0.0.1]:20007", true),
        ("[2001:db8::1]:20003", true),
        ("0.0.0.0:20003", true),
        ("[::]:20003", true),
        ("10.0.0.1:20008", false),
        ("10.0.0.1:19999", false),
        ("10.0.0.2:20000", false),
    ] {
        assert_eq!(network.holds(at.parse().unwrap()), held, "{at}");
    }
}

#[test]
fn an_answer_needs_an_offer_of_the_other_side() {
    let mut bench = Bench::opened();
    assert_eq!(
        bench.describe(Side::Callee, 0, Role::Answer, ANSWER),
        (None, None)
    );
    bench.describe(Side::Caller, 0, Role::Offer, OFFER);
    assert_eq!(
        bench.describe(Side::Caller, 0, Role::Answer, ANSWER),
        (None, None)
    );
    let codecless = sdp("c=IN IP4 203.0.113.9\r\nm=audio 6000 RTP/AVP 101\r\n");
    assert_eq!(
        bench.describe(Side::Callee, 0, Role::Answer, &codecless),
        (None, None)
    );
    assert!(
        bench
            .describe(Side::Callee, 0, Role::Answer, ANSWER)
            .0
            .is_some()
    );
}

#[test]
fn an_answer_takes_the_voice_that_was_offered_or_is_none() {
    let at = |media: &str| sdp(&format!("c=IN IP4 203.0.113.9\r\nm=audio {media}\r\n"));
    let map = |port: u16, map: &str| {
        at(&format!(
            "{port} RTP/AVP 100 101\r\na=rtpmap:100 {map}\r\n\
             a=rtpmap:101 telephone-event/8000"
        ))
    };
    // Offered are PCMA and PCMU; on the call's way to NARROW PCMA alone is passed on.
    let refused = [
        at("0 RTP/AVP 8"),
        at("6000 RTP/AVP 9 101\r\na=rtpmap:101 telephone-event/8000"),
        at("6000 RTP/AVP 9"),
        map(6000, "opus/48000/2"),
        map(6000, "PCMA/16000"),
        map(6000, "CN/8000"),
    ];
    let taken = [at("6000 RTP/AVP 9 8"), map(6000, "pcma/8000/1")];
    for route in [OUT, NARROW] {
        for started in [false, true] {
            for (body, good) in refused
                .iter()
                .map(|body| (body, false))
                .chain(taken.iter().map(|body| (body, true)))
            {
                let mut bench = Bench::opened();
                bench.command(MediaCommand::Route(route));
                bench.describe(Side::Caller, 0, Role::Offer, OFFER);
                if started {
                    bench.describe(Side::Callee, 1, Role::Answer, ANSWER);
                    bench.command(MediaCommand::Start);
                    bench.outputs();
                    bench.describe(Side::Caller, 1, Role::Offer, OFFER);
                }
                let (answer, flow) = bench.describe(Side::Callee, 1, Role::Answer, body);
                let text = String::from_utf8_lossy(body);
                assert_eq!((answer.is_some(), flow.is_some()), (good, good), "{text}");
            }
        }
    }
    let mut bench = Bench::opened();
    bench.command(MediaCommand::Route(NARROW));
    bench.describe(Side::Caller, 0, Role::Offer, OFFER);
    let unsent = at("6000 RTP/AVP 0");
    assert_eq!(
        bench.describe(Side::Callee, 1, Role::Answer, &unsent),
        (None, None)
    );
}

#[test]
fn an_ended_stream_is_answered_as_such() {
    let (mut bench, _) = Bench::up();
    let ended = sdp("c=IN IP4 192.0.2.1\r\nm=audio 0 RTP/AVP 8\r\n");
    let (offer, _) = bench.describe(Side::Caller, 1, Role::Offer, &ended);
    assert!(offer.unwrap().contains("m=audio 0 RTP/AVP 8\r\n"));
    let (answer, flow) = bench.describe(Side::Callee, 1, Role::Answer, &ended);
    assert!(answer.unwrap().contains("m=audio 0 RTP/AVP 8\r\n"));
    assert_eq!(flow.unwrap().callee.source, SourceRule::Nobody);
}

/// T.38 as a gateway offers it in the midst of a call, from the callee's address.
fn fax(port: u16) -> Vec<u8> {
    sdp(&format!(
        "s=-\r\nc=IN IP4 203.0.113.9\r\nt=0 0\r\nm=image {port} udptl t38\r\na=T38FaxVersion:0\r\n\
         a=T38MaxBitRate:14400\r\na=T38FaxUdpEC:t38UDPRedundancy\r\na=T38VendorInfo:0 0 60123456789\r\n"
    ))
}

#[test]
fn a_call_becomes_a_fax_and_a_voice_again() {
    let (mut bench, voice) = Bench::up();
    assert!(!voice.content.fax);
    let (offer, flow) = bench.describe(Side::Callee, 1, Role::Offer, &fax(6010));
    let offer = offer.unwrap();
    assert_eq!(flow, None, "nothing changes before the answer");
    assert!(
        offer.ends_with(
            "m=image 20000 udptl t38\r\na=T38FaxVersion:0\r\na=T38MaxBitRate:14400\r\n\
             a=T38FaxUdpEC:t38UDPRedundancy\r\n"
        ),
        "{offer}"
    );
    let own = String::from_utf8(fax(4010)).unwrap();
    let own = own.replace("203.0.113.9", "192.0.2.1");
    let (answer, flow) = bench.describe(Side::Caller, 1, Role::Answer, own.as_bytes());
    assert!(answer.unwrap().contains("m=image 20002 udptl t38\r\n"));
    let flow = flow.unwrap();
    assert!(flow.content.fax && flow.content.pauses);
    assert_eq!(flow.callee.rtp, Some("203.0.113.9:6010".parse().unwrap()));
    assert_eq!(flow.caller.rtp, Some("192.0.2.1:4010".parse().unwrap()));
    assert_eq!(flow.caller.ports, voice.caller.ports);
    assert!(flow.silence.is_some());
    bench.describe(Side::Callee, 1, Role::Offer, ANSWER);
    let (_, flow) = bench.describe(Side::Caller, 1, Role::Answer, OFFER);
    assert_eq!(flow.unwrap().content, voice.content);
}

#[test]
fn a_fax_that_is_refused_leaves_the_voice() {
    let (mut bench, _) = Bench::up();
    bench.describe(Side::Caller, 1, Role::Offer, &fax(6010));
    bench.command(MediaCommand::Rollback);
    assert_eq!(bench.flow(), None, "by its code");
    // By port 0 the stream ends, as it was agreed; the next offer brings the voice back.
    let offer = String::from_utf8(fax(4010)).unwrap();
    let offer = offer.replace("203.0.113.9", "192.0.2.1");
    bench.describe(Side::Caller, 1, Role::Offer, offer.as_bytes());
    let (answer, flow) = bench.describe(Side::Callee, 1, Role::Answer, &fax(0));
    let answer = answer.unwrap();
    assert!(answer.ends_with("m=image 0 udptl t38\r\n"), "{answer}");
    let flow = flow.unwrap();
    assert_eq!(flow.silence, None);
    bench.describe(Side::Caller, 1, Role::Offer, OFFER);
    let (_, flow) = bench.describe(Side::Callee, 1, Role::Answer, ANSWER);
    assert!(!flow.unwrap().content.fax);
}

#[test]
fn a_fax_beside_a_voice_that_ends_is_relayed_in_its_place() {
    let (mut bench, _) = Bench::up();
    let both = sdp(
        "s=-\r\nc=IN IP4 203.0.113.9\r\nt=0 0\r\nm=audio 0 RTP/AVP 8\r\nm=image 6010 udptl t38\r\n",
    );
    let (offer, _) = bench.describe(Side::Callee, 1, Role::Offer, &both);
    assert!(
        offer
            .unwrap()
            .ends_with("m=audio 0 RTP/AVP 8\r\nm=image 20000 udptl t38\r\n")
    );
    let answer = String::from_utf8(both)
        .unwrap()
        .replace("203.0.113.9", "192.0.2.1");
    let (_, flow) = bench.describe(Side::Caller, 1, Role::Answer, answer.as_bytes());
    assert!(flow.unwrap().content.fax);
}

#[test]
fn no_call_begins_as_a_fax() {
    let mut bench = Bench::new();
    bench.command(MediaCommand::Open {
        trunk: IN,
        offer: Some(Bytes::from(fax(6010))),
    });
    assert!(matches!(
        bench.outputs()[..],
        [Output::Event(MediaEvent::Refused(Refusal::NoMedia))]
    ));
}

#[test]
fn what_was_agreed_says_how_it_sounds_and_whether_it_pauses() {
    let (_, flow) = Bench::up();
    let voices: Vec<_> = flow
        .content
        .voices
        .iter()
        .map(|(number, _)| *number)
        .collect();
    assert_eq!(voices, [8, 0, 101]);
    assert!(flow.content.follows && !flow.content.pauses);
    let mut bench = Bench::opened();
    let noisy = |body: &[u8]| {
        String::from_utf8(body.to_vec())
            .unwrap()
            .replace(" 101", " 13")
    };
    bench.describe(Side::Caller, 0, Role::Offer, noisy(OFFER).as_bytes());
    let (_, flow) = bench.describe(Side::Callee, 1, Role::Answer, noisy(ANSWER).as_bytes());
    let flow = flow.unwrap();
    assert!(flow.content.pauses && !flow.content.follows);
}

#[test]
fn silence_is_passed_on_while_open() {
    let (mut bench, _) = Bench::up();
    bench.input(Input::Relay(RelayEvent::Silent(FlowId(1))));
    assert!(bench.outputs().is_empty());
    bench.input(Input::Relay(RelayEvent::Silent(FlowId(9))));
    assert!(matches!(
        bench.outputs()[..],
        [Output::Event(MediaEvent::Silent)]
    ));
    bench.command(MediaCommand::Close);
    bench.outputs();
    bench.input(Input::Relay(RelayEvent::Silent(FlowId(9))));
    assert!(bench.outputs().is_empty());
}

fn step() -> impl Strategy<Value = Option<MediaCommand>> {
    let side = prop_oneof![Just(Side::Caller), Just(Side::Callee)];
    let role = prop_oneof![
        Just(Role::Offer),
        Just(Role::Answer),
        Just(Role::Provisional)
    ];
    let body = prop_oneof![
        Just(Bytes::from_static(OFFER)),
        Just(Bytes::from_static(ANSWER)),
        Just(Bytes::from(sdp("m=audio 0 RTP/AVP 8\r\n"))),
        Just(Bytes::from(sdp(
            "c=IN IP4 0.0.0.0\r\nm=audio 9 RTP/AVP 8\r\n"
        ))),
        Just(Bytes::from_static(b"?")),
    ];
    let describe = (side, 0u16..3, role, body).prop_map(|(from, fork, role, body)| {
        Some(MediaCommand::Describe {
            from,
            fork: Fork(fork),
            role,
            body,
        })
    });
    prop_oneof![
        6 => describe,
        1 => (0u16..6).prop_map(|trunk| Some(MediaCommand::Open { trunk: TrunkId(trunk), offer: None })),
        1 => (0u16..6).prop_map(|trunk| Some(MediaCommand::Route(TrunkId(trunk)))),
        1 => (0u16..3).prop_map(|fork| Some(MediaCommand::Select(Fork(fork)))),
        1 => Just(Some(MediaCommand::Rollback)),
        1 => Just(Some(MediaCommand::Start)),
        1 => Just(None),
    ]
}

proptest! {
    /// Any commands in any order: each description gets one answer, ports never leak, and closing
    /// ends it all with one report.
    #[test]
    fn any_course_ends_clean(steps in proptest::collection::vec(step(), 0..40)) {
        let mut bench = Bench::new();
        let mut owed = 0;
        let mut removed = false;
        let mut closed = 0;
        let mut installed = false;
        for step in steps.into_iter().map(Some).chain([None, Some(None)]) {
            match step {
                None => bench.command(MediaCommand::Close),
                Some(None) => bench.input(Input::Relay(RelayEvent::Removed {
                    flow: FlowId(9),
                    to_callee: MediaFigures::default(),
                    to_caller: MediaFigures::default(),
                    quality: crate::domain::CallQuality::default(),
                    guard_hits: 0,
                })),
                Some(Some(command)) => {
                    owed += i32::from(matches!(command, MediaCommand::Describe { .. }));
                    bench.command(command);
                }
            }
            for output in bench.outputs() {
                match output {
                    Output::Event(MediaEvent::Described(_) | MediaEvent::Undescribed) => owed -= 1,
                    Output::Event(MediaEvent::Closed { .. }) => closed += 1,
                    Output::Install(_, flow) => {
                        installed = true;
                        prop_assert!(!removed);
                        prop_assert_ne!(flow.caller.ports, flow.callee.ports);
                    }
                    Output::Remove(_) => {
                        prop_assert!(installed && !removed);
                        removed = true;
                    }
                    Output::Event(_) | Output::Count(..) => {}
                }
            }
            prop_assert_eq!(owed, 0);
        }
        prop_assert_eq!(closed, 1);
        prop_assert!(bench.session.is_closed());
        prop_assert_eq!(bench.ports.count().used, 0);
        prop_assert_eq!(bench.ports.count().refused_returns, 0);
    }
}
