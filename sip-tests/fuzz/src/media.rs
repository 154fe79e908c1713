//! A flow's packets: who sends what comes from a list, what comes out goes to who was described, and
//! the figures stay within their bounds whatever the reports say.

use super::steps::Steps;
use leasebridge::domain::{MediaQuality, Side};
use leasebridge::media::flow::{Content, End, Flow, Port, PortPair, SourceRule};
use leasebridge::media::passage::{Passage, Scratch};
use leasebridge::rtp::quality::Voice;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn at(port: u16) -> SocketAddr {
    SocketAddr::new(LOCAL, port)
}

fn end(rtp: u16, flags: u8, epoch: u32) -> End {
    let remote = if flags & 1 == 0 { 4000 } else { 4010 } + rtp - 20_000;
    let mux = flags & 2 != 0;
    End {
        ports: PortPair {
            address: LOCAL,
            rtp,
        },
        rtp: (flags & 4 == 0).then_some(at(remote)),
        rtcp: Some(at(if mux { remote } else { remote + 1 })),
        rtcp_mux: mux,
        source: match flags >> 3 & 3 {
            0 => SourceRule::Exact,
            1 => SourceRule::Address,
            2 => SourceRule::Latch {
                within: vec![(LOCAL, 32)],
                epoch,
            },
            _ => SourceRule::Nobody,
        },
        may_send: flags & 32 == 0,
        crypto: None,
    }
}

fn flow(steps: &mut Steps<'_>, epoch: u32) -> Flow {
    let flags = steps.byte();
    Flow {
        caller: end(20_000, steps.byte(), epoch),
        callee: end(20_002, steps.byte(), epoch),
        clock_rates: Box::new([8000; 128]),
        content: Content {
            fax: flags & 3 == 3,
            voices: [(0, Voice::G711), (13, Voice::None), (18, Voice::G729)]
                .into_iter()
                .collect(),
            follows: flags & 4 != 0,
            pauses: flags & 8 != 0,
        },
        cname: "ours".into(),
        extensions: Vec::new(),
        silence: (flags & 16 != 0).then_some(Duration::from_secs(1)),
        play: None,
    }
}

pub fn run(input: &[u8]) {
    let mut steps = Steps::new(input);
    let mut micros = 0;
    let mut epoch = 0;
    let mut passage = Passage::new(flow(&mut steps, epoch), micros);
    let mut scratch = Scratch::default();
    while !steps.is_over() {
        match steps.below(4) {
            0 => micros += u64::from(steps.byte()) * 20_000,
            1 => {
                epoch += u32::from(steps.byte() & 1);
                passage.update(flow(&mut steps, epoch), micros);
            }
            _ => {
                let choice = steps.byte();
                let side = if choice & 1 == 0 {
                    Side::Caller
                } else {
                    Side::Callee
                };
                let port = if choice & 2 == 0 {
                    Port::Rtp
                } else {
                    Port::Rtcp
                };
                let source =
                    at([4000, 4001, 4002, 4003, 4010, 4011, 4012, 66]
                        [usize::from(choice >> 2 & 7)]);
                let mut packet = steps.text().to_vec();
                let length = packet.len();
                let passed = passage.step(side, port, source, &mut packet, &mut scratch, micros);
                if let Ok(passed) = passed {
                    assert_ne!(passage.end(side).source, SourceRule::Nobody);
                    assert!(!passed.media || passage.end(side).may_send);
                    // A name of ours may be longer than theirs.
                    assert!(!passed.media || passed.bytes.len() <= length);
                    let media = passed.media;
                    let length = passed.bytes.len();
                    if media {
                        passage.passed(side, length);
                    }
                }
            }
        }
        let _ = passage.silent(micros);
    }
    let quality = passage.quality();
    for (from, quality) in [
        (Side::Caller, quality.to_callee),
        (Side::Callee, quality.to_caller),
    ] {
        let figures = passage.figures(from);
        bounded(quality, figures.packets, figures.lost, input.len() as u64);
    }
}

fn bounded(quality: MediaQuality, packets: u64, lost: u64, steps: u64) {
    if let Some(score) = quality.score_hundredths {
        assert!((100..=450).contains(&score) && packets > 0);
    }
    assert!(
        quality
            .round_trip_micros
            .is_none_or(|micros| micros <= 10_000_000)
    );
    if let Some(reported) = quality.reported {
        // One that was held back was received all the same, so steps bound it, too.
        assert!(reported.lost <= packets.max(steps) + lost);
    }
}
