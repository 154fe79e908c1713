//! Descriptions: what is written for the other side is read again, is its own rewriting, and holds
//! nothing that is not on the list.

use super::steps::Steps;
use leasebridge::domain::srtp::{Srtp, Suite};
use leasebridge::sdp::{
    CodecList, Description, OwnCrypto, Shape, Terms, parse, pauses, rewrite, shape,
};
use std::net::IpAddr;

const ATTRIBUTES: [&str; 23] = [
    "rtpmap",
    "fmtp",
    "ptime",
    "maxptime",
    "sendrecv",
    "sendonly",
    "recvonly",
    "inactive",
    "rtcp-mux",
    "crypto",
    "T38FaxVersion",
    "T38MaxBitRate",
    "T38FaxFillBitRemoval",
    "T38FaxTranscodingMMR",
    "T38FaxTranscodingJBIG",
    "T38FaxRateManagement",
    "T38FaxMaxBuffer",
    "T38FaxMaxDatagram",
    "T38FaxMaxIFP",
    "T38FaxUdpEC",
    "T38FaxUdpECDepth",
    "T38FaxUdpFECMaxSpan",
    "T38ModemType",
];

const LISTS: [&[&str]; 4] = [
    &[],
    &["PCMA"],
    &["PCMU", "PCMA", "opus/48000"],
    &["G729", "L16/16000"],
];

pub fn run(input: &[u8]) {
    let mut steps = Steps::new(input);
    let from = CodecList::read(steps.pick(&LISTS)).expect("a list of names");
    let to = CodecList::read(steps.pick(&LISTS)).expect("a list of names");
    let flags = steps.byte();
    let body = steps.rest();
    let Ok(description) = parse(body) else {
        return;
    };
    let srtp = match flags >> 4 & 3 {
        0 => Srtp::None,
        1 => Srtp::Offered,
        _ => Srtp::Required,
    };
    let Some(shape) = Shape::of_offer(&description, srtp) else {
        return;
    };
    let address: IpAddr = if flags & 1 == 0 {
        [203, 0, 113, 1].into()
    } else {
        [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into()
    };
    let own = [OwnCrypto {
        tag: 1,
        suite: Suite::Cm128Sha1_80,
        key_and_salt: &[0xa5; 30],
    }];
    let crypto = if flags & 0x40 == 0 { &[][..] } else { &own };
    let terms = Terms {
        address,
        port: 20_000,
        session: 7,
        version: 1,
        shape: &shape,
        rtcp_mux: flags & 2 != 0,
        unspecified: flags & 4 != 0,
        from_codecs: &from,
        to_codecs: &to,
        reorder: flags & 8 != 0,
        protocol: shape.protocol().with_security(!crypto.is_empty()),
        crypto,
    };
    places(&description, &shape);
    let Some(out) = rewrite(&description, &terms) else {
        return;
    };
    nothing_else(&out, &terms);
    let read = parse(&out).expect("what was written cannot be read");
    assert_eq!(read.media.len(), description.media.len(), "a line is lost");
    let again = Shape::of_offer(&read, Srtp::Offered).expect("no audio line is left");
    let terms = Terms {
        shape: &again,
        unspecified: false,
        rtcp_mux: false,
        reorder: false,
        ..terms
    };
    let once = rewrite(&read, &terms).expect("its own codecs are refused");
    let twice = {
        let read = parse(&once).expect("what was written twice cannot be read");
        rewrite(&read, &terms).expect("its own codecs are refused")
    };
    assert_eq!(
        String::from_utf8_lossy(&once),
        String::from_utf8_lossy(&twice),
        "a rewriting changes what it has written"
    );
}

fn places(description: &Description<'_>, shape: &Shape) {
    if let Some(media) = shape.audio_of(description) {
        let _ = pauses::allowed(media);
        for mux in [false, true] {
            if let Some(shape::Place::At(rtp, rtcp)) = shape::place(description, media, mux) {
                assert!(rtp.port() != 0 && rtcp.port() != 0);
                assert!(!rtp.ip().is_multicast() && !rtcp.ip().is_multicast());
            }
        }
    }
}

fn nothing_else(out: &[u8], terms: &Terms<'_>) {
    let text = std::str::from_utf8(out).expect("a description in UTF-8");
    let body = text.strip_suffix("\r\n").expect("a last line end");
    for line in body.split("\r\n") {
        assert!(
            line.bytes().all(|byte| (0x20..0x7f).contains(&byte)),
            "{line:?}"
        );
        let (kind, value) = line.split_once('=').expect("a line with its type");
        match kind {
            "v" => assert_eq!(value, "0"),
            "s" => assert_eq!(value, "-"),
            "t" => assert_eq!(value, "0 0"),
            "o" => assert!(
                value.starts_with("- 7 1 IN IP") && value.ends_with(&terms.address.to_string())
            ),
            "c" => assert!(
                [terms.address.to_string().as_str(), "0.0.0.0", "::"]
                    .iter()
                    .any(|end| value.ends_with(end))
            ),
            "b" => assert!(value.len() <= 11),
            "m" => assert!(
                value
                    .split(' ')
                    .nth(1)
                    .is_some_and(|port| port == "0" || port == "20000")
            ),
            "a" => {
                let name = value.split(':').next().unwrap_or_default();
                assert!(ATTRIBUTES.contains(&name), "{line:?}");
                // A key of the other side never passes.
                assert!(name != "crypto" || !terms.crypto.is_empty(), "{line:?}");
            }
            _ => panic!("a line of another kind: {line:?}"),
        }
    }
}
