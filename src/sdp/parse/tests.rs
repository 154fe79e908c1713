use super::*;
use proptest::prelude::*;

const OFFER: &[u8] = b"v=0\r\n\
o=alice 2890844526 2890844527 IN IP4 192.0.2.9\r\n\
s=Alice's call\r\n\
c=IN IP4 192.0.2.1\r\n\
b=AS:64\r\n\
t=0 0\r\n\
m=audio 49170 RTP/AVP 0 8 96 101\r\n\
a=rtpmap:96 opus/48000/2\r\n\
a=rtpmap:101 telephone-event/8000\r\n\
a=fmtp:96 useinbandfec=1\r\n\
a=fmtp:101 0-15\r\n\
a=ptime:20\r\n\
a=maxptime:60\r\n\
a=rtcp:50000 IN IP4 192.0.2.2\r\n\
a=rtcp-mux\r\n\
a=sendonly\r\n\
m=video 0 RTP/AVP 31\r\n\
c=IN IP6 2001:db8::1\r\n";

#[test]
fn an_offer_is_read() {
    let offer = parse(OFFER).unwrap();
    assert_eq!(
        offer.connection,
        Some(Address::Ip("192.0.2.1".parse().unwrap()))
    );
    assert_eq!(offer.bandwidth.len(), 1);
    let audio = &offer.media[0];
    assert_eq!(
        (audio.kind, audio.port, audio.protocol),
        ("audio", 49170, "RTP/AVP")
    );
    assert_eq!(audio.payload_types().collect::<Vec<_>>(), [0, 8, 96, 101]);
    assert_eq!(audio.codec(0).unwrap().name, "PCMU");
    assert_eq!(audio.codec(96).unwrap().clock, 48_000);
    assert_eq!(audio.codec(97), None);
    assert_eq!(audio.parameters[1], (101, "0-15"));
    assert_eq!((audio.ptime, audio.maxptime), (Some(20), Some(60)));
    assert_eq!(
        audio.rtcp,
        Some((50_000, Some(Address::Ip("192.0.2.2".parse().unwrap()))))
    );
    assert!(audio.rtcp_mux);
    assert_eq!(audio.direction, Some(Direction::SendOnly));
    assert_eq!(offer.media[1].port, 0);
    assert!(matches!(
        offer.media[1].connection,
        Some(Address::Ip(IpAddr::V6(_)))
    ));
}

#[test]
fn bare_line_feeds_and_odd_lines_are_taken() {
    let offer = parse(b"v=0\nfoo=1\n\ns=\xff\xfe\nm=audio 1 RTP/AVP 0\na=x\n");
    assert!(offer.is_err(), "a type is one letter");
    let offer =
        parse(b"v=0\n\ns=\xff\xfe\nz=\nm=audio 1 RTP/AVP 0\na=x\na=rtpmap:0\na=rtpmap:999 a/1\n");
    assert_eq!(offer.unwrap().media.len(), 1);
}

#[test]
fn addresses_that_cannot_be_sent_to_are_unusable() {
    for host in [
        "IN IP4 example.net",
        "IN IP4 224.0.0.1/127",
        "IN IP4 239.1.1.1",
        "IN IP4 255.255.255.255",
        "IN IP6 ff02::1",
        "IN IP4 ::1",
        "ATM NSAP x",
        "IN IP4 10.0.0.1/24",
    ] {
        let body = format!("v=0\r\nc={host}\r\n");
        assert_eq!(
            parse(body.as_bytes()).unwrap().connection,
            Some(Address::Unusable),
            "{host}"
        );
    }
}

#[test]
fn broken_skeletons_are_faults() {
    for body in [
        &b""[..],
        b"\r\n",
        b"v=1\r\n",
        b"m=audio 1 RTP/AVP 0\r\n",
        b"hello",
        b"v=0\r\nm=audio\r\n",
        b"v=0\r\nm=audio 70000 RTP/AVP 0\r\n",
        b"v=0\r\nm=audio -1 RTP/AVP 0\r\n",
        b"v=0\r\nm=audio +1 RTP/AVP 0\r\n",
        b"v=0\r\nm=audio 1 RTP/AVP\r\n",
        b"v=0\r\nm=audio 1/x RTP/AVP 0\r\n",
        b"v=0\r\nc=IN IP4\r\n",
        b"v=0\r\nm=audio 1 RTP/AVP \xff\r\n",
    ] {
        assert!(matches!(parse(body), Err(Fault::Malformed(_))), "{body:?}");
    }
}

#[test]
fn every_count_is_bounded() {
    let many = |line: &str, count: usize| {
        format!("v=0\r\nm=audio 1 RTP/AVP 0\r\n{}", line.repeat(count)).into_bytes()
    };
    assert_eq!(
        parse(&many("x=1\r\n", MAX_LINES)),
        Err(Fault::TooMuch("lines"))
    );
    assert_eq!(
        parse(&many("m=video 0 RTP/AVP 31\r\n", MAX_MEDIA)),
        Err(Fault::TooMuch("media lines"))
    );
    assert_eq!(
        parse(&many("a=fmtp:0 x\r\n", MAX_FORMATS + 1)),
        Err(Fault::TooMuch("attributes"))
    );
    assert_eq!(
        parse(&vec![b'v'; MAX_BODY + 1]),
        Err(Fault::TooMuch("body"))
    );
    let formats = format!(
        "v=0\r\nm=audio 1 RTP/AVP{}\r\n",
        " 0".repeat(MAX_FORMATS + 1)
    );
    assert_eq!(parse(formats.as_bytes()), Err(Fault::TooMuch("formats")));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    /// Damaged offers: neither a panic nor a value outside its bounds.
    #[test]
    fn no_damage_makes_it_panic(at in 0..OFFER.len(), byte in any::<u8>(), cut in 0..OFFER.len()) {
        let mut body = OFFER.to_vec();
        body[at] = byte;
        body.truncate(cut);
        if let Ok(description) = parse(&body) {
            for media in &description.media {
                prop_assert!(media.payload_types().all(|number| number < 128));
            }
        }
    }
}
