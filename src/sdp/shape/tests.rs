use super::*;
use crate::domain::srtp::Srtp;
use crate::sdp::parse;

fn shape(media: &str) -> Option<Shape> {
    let body = format!("v=0\r\nc=IN IP4 192.0.2.1\r\n{media}");
    Shape::of_offer(&parse(body.as_bytes()).unwrap(), Srtp::None)
}

#[test]
fn only_plain_rtp_audio_is_acceptable() {
    assert!(shape("m=audio 4000 RTP/AVP 0\r\n").is_some());
    assert!(shape("m=audio 4000 RTP/AVPF 0\r\n").is_some());
    for media in [
        "",
        "m=audio 4000 RTP/SAVP 0\r\n",
        "m=audio 4000 UDP/TLS/RTP/SAVPF 0\r\n",
        "m=image 4000 udptl x\r\n",
        "m=image 4000 TCP t38\r\n",
        "m=video 4000 RTP/AVP 31\r\n",
        "m=audio 4000/2 RTP/AVP 0\r\n",
    ] {
        assert_eq!(shape(media), None, "{media}");
    }
}

#[test]
fn the_first_audio_that_can_be_relayed_is() {
    let shape = shape(
        "m=video 5000 RTP/AVP 31\r\nm=audio 4000 RTP/SAVP 0\r\nm=audio 0 RTP/AVP 0\r\nm=audio 4002 RTP/AVP 0\r\n",
    )
    .unwrap();
    assert_eq!(shape.audio(), 3);
    assert_eq!(shape.lines().count(), 4);
}

#[test]
fn a_fax_is_relayed_where_no_audio_is() {
    for (media, place) in [
        ("m=image 4000 udptl t38\r\n", 0),
        ("m=audio 0 RTP/AVP 0\r\nm=image 4000 UDPTL t38\r\n", 1),
    ] {
        let shape = shape(media).unwrap();
        assert!(shape.is_fax());
        assert_eq!(shape.audio(), place);
    }
    for media in [
        "m=audio 4000 RTP/AVP 0\r\nm=image 4002 udptl t38\r\n",
        "m=audio 0 RTP/AVP 0\r\nm=image 0 udptl t38\r\n",
    ] {
        assert!(!shape(media).unwrap().is_fax(), "{media}");
    }
}

#[test]
fn refused_lines_are_named_by_us() {
    let shape =
        shape("m=audio 4000 RTP/AVP 0\r\nm=60123456789 1 60123456789 60123456789\r\n").unwrap();
    let Some(Line::Refused(refused)) = shape.lines().nth(1) else {
        panic!("not refused");
    };
    assert_eq!((refused.kind, refused.protocol), ("application", "RTP/AVP"));
    assert_eq!(refused.format(), ("", Some(0)));
}

fn place_of(body: &str) -> Option<Place> {
    let body = format!("v=0\r\n{body}");
    let description = parse(body.as_bytes()).unwrap();
    place(
        &description,
        &description.media[0],
        description.media[0].rtcp_mux,
    )
}

#[test]
fn places_follow_the_lines() {
    let at = |rtp: &str, rtcp: &str| Some(Place::At(rtp.parse().unwrap(), rtcp.parse().unwrap()));
    let audio = "c=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0\r\n";
    assert_eq!(place_of(audio), at("192.0.2.1:4000", "192.0.2.1:4001"));
    assert_eq!(
        place_of(&format!("{audio}c=IN IP6 2001:db8::1\r\n")),
        at("[2001:db8::1]:4000", "[2001:db8::1]:4001")
    );
    assert_eq!(
        place_of(&format!("{audio}a=rtcp:9\r\n")),
        at("192.0.2.1:4000", "192.0.2.1:9")
    );
    assert_eq!(
        place_of(&format!("{audio}a=rtcp:9 IN IP4 192.0.2.7\r\n")),
        at("192.0.2.1:4000", "192.0.2.7:9")
    );
    assert_eq!(
        place_of(&format!("{audio}a=rtcp:9\r\na=rtcp-mux\r\n")),
        at("192.0.2.1:4000", "192.0.2.1:4000")
    );
    assert_eq!(place_of(&format!("{audio}a=rtcp:9 IN IP4 host\r\n")), None);
    assert_eq!(
        place_of("c=IN IP4 0.0.0.0\r\nm=audio 4000 RTP/AVP 0\r\n"),
        Some(Place::Unspecified)
    );
    assert_eq!(
        place_of("c=IN IP4 1.2.3.4\r\nm=audio 0 RTP/AVP 0\r\n"),
        Some(Place::Off)
    );
    assert_eq!(
        place_of("c=IN IP4 host.example\r\nm=audio 1 RTP/AVP 0\r\n"),
        None
    );
    assert_eq!(place_of("m=audio 1 RTP/AVP 0\r\n"), None);
}

#[test]
fn profiles_are_told_by_what_the_trunk_says() {
    let key =
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n";
    let shape = |protocol: &str, key: &str, srtp| {
        let body = format!("v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 {protocol} 0\r\n{key}");
        Shape::of_offer(&parse(body.as_bytes()).unwrap(), srtp).map(|shape| shape.protocol())
    };
    for (name, protocol) in [("RTP/SAVP", Protocol::Savp), ("RTP/SAVPF", Protocol::Savpf)] {
        assert_eq!(shape(name, key, Srtp::None), None);
        assert_eq!(shape(name, key, Srtp::Offered), Some(protocol));
        assert_eq!(shape(name, key, Srtp::Required), Some(protocol));
        assert_eq!(shape(name, "", Srtp::Offered), None);
    }
    assert_eq!(shape("RTP/AVPF", key, Srtp::Required), Some(Protocol::Avpf));
    assert_eq!(shape("RTP/AVPF", "", Srtp::Required), None);
    assert_eq!(Protocol::Avpf.with_security(true), Protocol::Savpf);
    assert_eq!(Protocol::Savp.with_security(false), Protocol::Avp);
}
