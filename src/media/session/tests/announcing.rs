//! Recordings: instead of a call, and over one.

use super::*;
use crate::call::event::Announcement;
use crate::media::flow::{Encoding, Manner};
use crate::media::recording::Recording;
use crate::rtp::g711::Law;
use std::sync::Arc;

const PCMA: Encoding = Encoding::G711(Law::A);
const PCMU: Encoding = Encoding::G711(Law::Mu);

/// A millisecond of sound; with or without its G.722.
fn recording(g722: bool) -> Option<Arc<Recording>> {
    let mut file =
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data"
            .to_vec();
    file.extend(16_u32.to_le_bytes());
    file.extend([1; 16]);
    let prepared = [1; 8];
    let recording = Recording::read(&file, g722.then_some(&prepared[..])).unwrap();
    Some(Arc::new(recording))
}

fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.settings.recordings.no_lease = recording(false);
    bench.settings.recordings.not_allowed = recording(true);
    bench.settings.recordings.credit_warning = recording(false);
    bench
}

/// What became of a wish to announce: the answer and the flow.
fn announce(
    bench: &mut Bench,
    trunk: TrunkId,
    offer: &[u8],
    which: Announcement,
) -> Option<(String, Flow)> {
    bench.command(MediaCommand::Announce {
        trunk,
        offer: Bytes::copy_from_slice(offer),
        which,
    });
    let (mut flow, mut answer, mut counted) = (None, None, None);
    for output in bench.outputs() {
        match output {
            Output::Install(FlowId(9), installed) => flow = Some(*installed),
            Output::Event(MediaEvent::Announcing(body)) => {
                answer = Some(String::from_utf8(body.to_vec()).unwrap());
            }
            Output::Event(MediaEvent::Unannounced) => {}
            Output::Count(name, label) => counted = Some((name, label)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(answer.is_some(), flow.is_some());
    let count = if answer.is_some() {
        "announcements"
    } else {
        "announcements_refused"
    };
    assert_eq!(counted, Some((count, which.name())));
    answer.zip(flow)
}

fn audio(formats: &str) -> Vec<u8> {
    sdp(&format!(
        "c=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP {formats}"
    ))
}

#[test]
fn one_port_pair_one_codec_and_nobody_else() {
    let mut bench = bench();
    let (answer, flow) = announce(&mut bench, IN, OFFER, Announcement::NoLease).unwrap();
    let session = origin(&answer).split(' ').nth(1).unwrap();
    assert_eq!(
        answer,
        format!(
            "v=0\r\no=- {session} 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\n\
             m=audio 20000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=ptime:20\r\na=sendonly\r\n"
        )
    );
    assert_eq!(bench.ports.count().used, 1);
    assert_eq!(flow.caller.rtp, Some("192.0.2.1:4000".parse().unwrap()));
    assert!(!flow.caller.may_send && flow.silence.is_none());
    assert_eq!(
        (flow.callee.rtp, &flow.callee.source),
        (None, &SourceRule::Nobody)
    );
    let play = flow.play.unwrap();
    assert!(matches!(
        play.manner,
        Manner::Alone {
            payload_type: 8,
            encoding: PCMA,
            ..
        }
    ));
    bench.input(Input::Relay(RelayEvent::Played(FlowId(8))));
    assert!(bench.outputs().is_empty());
    bench.input(Input::Relay(RelayEvent::Played(FlowId(9))));
    assert!(matches!(
        bench.outputs()[..],
        [Output::Event(MediaEvent::Played)]
    ));
    bench.command(MediaCommand::Close);
    assert!(matches!(bench.outputs()[..], [Output::Remove(FlowId(9))]));
    bench.input(Input::Relay(RelayEvent::Removed {
        flow: FlowId(9),
        to_callee: MediaFigures::default(),
        to_caller: MediaFigures::default(),
        guard_hits: 0,
        quality: crate::domain::CallQuality::default(),
    }));
    assert!(matches!(
        bench.outputs()[..],
        [Output::Event(MediaEvent::Closed { .. })]
    ));
    assert!(bench.session.is_closed());
    assert_eq!(bench.ports.count().used, 0);
}

#[test]
fn the_callers_first_codec_that_is_there_is_played() {
    for (trunk, offer, which, expected) in [
        (IN, "0 8\r\n", Announcement::NoLease, Some((0, PCMU))),
        (
            IN,
            "18 97 0\r\na=rtpmap:97 PCMA/8000\r\n",
            Announcement::NoLease,
            Some((97, PCMA)),
        ),
        (IN, "9 8\r\n", Announcement::NoLease, Some((8, PCMA))),
        (
            IN,
            "9 8\r\n",
            Announcement::NotAllowed,
            Some((9, Encoding::G722)),
        ),
        (NARROW, "0 8\r\n", Announcement::NoLease, Some((8, PCMA))),
        (
            IN,
            "18 101\r\na=rtpmap:101 telephone-event/8000\r\n",
            Announcement::NoLease,
            None,
        ),
        (
            IN,
            "8\r\na=recvonly\r\n",
            Announcement::NoLease,
            Some((8, PCMA)),
        ),
        (IN, "8\r\na=sendonly\r\n", Announcement::NoLease, None),
        (IN, "8\r\na=inactive\r\n", Announcement::NoLease, None),
        (IN, "8\r\nc=IN IP4 0.0.0.0\r\n", Announcement::NoLease, None),
        (IN, "8\r\n", Announcement::CreditExhausted, None),
        (TrunkId(77), "8\r\n", Announcement::NoLease, None),
    ] {
        let mut bench = bench();
        let played = announce(&mut bench, trunk, &audio(offer), which);
        let chosen = played
            .as_ref()
            .map(|(_, flow)| match flow.play.as_ref().unwrap().manner {
                Manner::Alone {
                    payload_type,
                    encoding,
                    ..
                } => (payload_type, encoding),
                Manner::Over(_) => panic!(),
            });
        assert_eq!(chosen, expected, "{offer}");
        assert_eq!(bench.ports.count().used, usize::from(expected.is_some()));
        if expected.is_none() {
            bench.command(MediaCommand::Close);
            assert!(matches!(
                bench.outputs()[..],
                [Output::Event(MediaEvent::Closed { .. })]
            ));
        }
    }
}

#[test]
fn other_lines_of_the_offer_are_refused_in_their_places() {
    let mut bench = bench();
    let offer =
        sdp("c=IN IP4 192.0.2.1\r\nt=0 0\r\nm=video 4002 RTP/AVP 96\r\nm=audio 4000 RTP/AVP 0\r\n");
    let (answer, _) = announce(&mut bench, IN, &offer, Announcement::NoLease).unwrap();
    let lines: Vec<&str> = answer
        .lines()
        .filter(|line| line.starts_with("m="))
        .collect();
    assert_eq!(lines, ["m=video 0 RTP/AVP 96", "m=audio 20000 RTP/AVP 0"]);
}

#[test]
fn no_two_are_numbered_alike() {
    let numbers = |random: u64| {
        let mut bench = bench();
        bench.session = Session::new(FlowId(9), random);
        let (_, flow) = announce(&mut bench, IN, OFFER, Announcement::NoLease).unwrap();
        match flow.play.unwrap().manner {
            Manner::Alone {
                ssrc,
                sequence,
                timestamp,
                ..
            } => (ssrc, sequence, timestamp),
            Manner::Over(_) => panic!(),
        }
    };
    let (one, other) = (numbers(1), numbers(2));
    assert_ne!(one.0, other.0);
    assert_ne!(one.1, other.1);
    assert_ne!(one.2, other.2);
}

#[test]
fn recordings_get_a_quarter_of_the_ports() {
    let mut bench = bench();
    // Two networks of four pairs: two recordings.
    let mut before = Vec::new();
    for _ in 0..2 {
        assert!(announce(&mut bench, IN, OFFER, Announcement::NoLease).is_some());
        let next = Session::new(FlowId(9), 1);
        before.push(std::mem::replace(&mut bench.session, next));
    }
    assert!(announce(&mut bench, IN, OFFER, Announcement::NoLease).is_none());
    bench.command(MediaCommand::Close);
    bench.outputs();
    // One that ends makes room for another.
    bench.session = before.pop().unwrap();
    bench.command(MediaCommand::Close);
    bench.input(Input::Relay(RelayEvent::Removed {
        flow: FlowId(9),
        to_callee: MediaFigures::default(),
        to_caller: MediaFigures::default(),
        guard_hits: 0,
        quality: crate::domain::CallQuality::default(),
    }));
    bench.outputs();
    bench.session = Session::new(FlowId(9), 1);
    assert!(announce(&mut bench, IN, OFFER, Announcement::NoLease).is_some());
}

#[test]
fn a_port_that_is_not_to_be_had_is_no_announcement() {
    let mut bench = bench();
    bench.bindable = false;
    assert!(announce(&mut bench, IN, OFFER, Announcement::NoLease).is_none());
    assert_eq!(bench.ports.count().used, 0);
}

fn warned(bench: &mut Bench) -> (Vec<(&'static str, &'static str)>, Option<Flow>) {
    let (mut counts, mut flow) = (Vec::new(), None);
    for output in bench.outputs() {
        match output {
            Output::Count(name, label) => counts.push((name, label)),
            Output::Install(_, installed) => flow = Some(*installed),
            other => panic!("{other:?}"),
        }
    }
    (counts, flow)
}

#[test]
fn a_warning_goes_over_what_both_sides_speak() {
    let (mut bench, before) = Bench::up();
    bench.settings.recordings.credit_warning = recording(false);
    bench.command(MediaCommand::Warn(true));
    let (counts, flow) = warned(&mut bench);
    assert_eq!(counts, [("announcements", "credit_warning")]);
    let flow = flow.unwrap();
    // The caller offered PCMU too, but the callee does not speak it.
    let Manner::Over(codecs) = &flow.play.as_ref().unwrap().manner else {
        panic!()
    };
    assert_eq!(codecs[..], [(8, PCMA)]);
    assert_eq!(
        Flow {
            play: None,
            ..flow.clone()
        },
        before,
        "nothing else changes"
    );
    // Again is nothing new; a re-INVITE goes on with the same.
    bench.command(MediaCommand::Warn(true));
    assert!(bench.outputs().is_empty());
    bench.describe(Side::Caller, 0, Role::Offer, OFFER);
    let (_, again) = bench.describe(Side::Callee, 1, Role::Answer, ANSWER);
    assert_eq!(again.unwrap().play, flow.play);
    // A top-up stops it; the next one is another.
    bench.command(MediaCommand::Warn(false));
    let (counts, stopped) = warned(&mut bench);
    assert!(counts.is_empty() && !stopped.unwrap().plays());
    bench.command(MediaCommand::Warn(true));
    let (_, another) = warned(&mut bench);
    assert_ne!(another.unwrap().play.unwrap().id, flow.play.unwrap().id);
    // At its end the flow is as it was.
    bench.input(Input::Relay(RelayEvent::Played(FlowId(9))));
    let (_, over) = warned(&mut bench);
    assert!(!over.unwrap().plays());
    bench.command(MediaCommand::Warn(false));
    assert!(bench.outputs().is_empty());
}

#[test]
fn a_codec_without_a_warning_is_counted() {
    let mut bench = Bench::opened();
    bench.settings.recordings.credit_warning = recording(false);
    bench.describe(Side::Caller, 0, Role::Offer, &audio("9 18\r\n"));
    bench.describe(Side::Callee, 1, Role::Answer, &audio("9\r\n"));
    bench.command(MediaCommand::Start);
    bench.outputs();
    bench.command(MediaCommand::Warn(true));
    let (counts, flow) = warned(&mut bench);
    assert_eq!(counts, [("announcements_refused", "credit_warning")]);
    assert_eq!(flow, None);
    bench.settings.recordings.credit_warning = recording(true);
    bench.command(MediaCommand::Warn(true));
    let (_, flow) = warned(&mut bench);
    let play = flow.unwrap().play.unwrap();
    assert_eq!(
        play.manner,
        Manner::Over([(9, Encoding::G722)].into_iter().collect())
    );
}

#[test]
fn a_warning_waits_for_a_caller_who_is_not_described_yet() {
    let mut bench = Bench::new();
    bench.settings.recordings.credit_warning = recording(false);
    bench.command(MediaCommand::Open {
        trunk: IN,
        offer: None,
    });
    bench.command(MediaCommand::Route(OUT));
    bench.outputs();
    bench.describe(Side::Callee, 1, Role::Offer, OFFER);
    bench.command(MediaCommand::Select(Fork(1)));
    bench.command(MediaCommand::Start);
    bench.outputs();
    bench.command(MediaCommand::Warn(true));
    let (counts, flow) = warned(&mut bench);
    assert_eq!(counts, [("announcements", "credit_warning")]);
    assert_eq!(flow, None);
    let (_, flow) = bench.describe(Side::Caller, 1, Role::Answer, ANSWER);
    assert!(flow.unwrap().plays());
}

#[test]
fn recordings_are_plain_rtp_or_none() {
    const LINE: &str =
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n";
    for (srtp, protocol, played) in [
        (Srtp::None, "RTP/AVP", true),
        (Srtp::Offered, "RTP/AVP", true),
        (Srtp::Offered, "RTP/SAVP", false),
        (Srtp::Required, "RTP/AVP", false),
        (Srtp::Required, "RTP/SAVP", false),
    ] {
        let mut bench = bench();
        bench.settings.trunks[0].as_mut().unwrap().srtp = srtp;
        let offer = sdp(&format!(
            "c=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 {protocol} 8\r\n{LINE}"
        ));
        let announced = announce(&mut bench, IN, &offer, Announcement::NoLease);
        assert_eq!(announced.is_some(), played, "{srtp:?} {protocol}");
        if let Some((answer, flow)) = announced {
            assert!(!answer.contains("crypto"), "{answer}");
            assert_eq!(flow.caller.crypto, None);
        }
        assert_eq!(bench.ports.count().used, usize::from(played));
    }
}
