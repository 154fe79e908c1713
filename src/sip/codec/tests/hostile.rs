//! What strangers send so that two readers of one message read two messages: each is read in one
//! way or refused.

use super::*;

/// The INVITE with a piece of it replaced, as bytes.
fn bytes(from: &str, to: &[u8]) -> Bytes {
    let at = INVITE.find(from).unwrap();
    let mut all = INVITE.as_bytes()[..at].to_vec();
    all.extend_from_slice(to);
    all.extend_from_slice(&INVITE.as_bytes()[at + from.len()..]);
    all.into()
}

fn fault(bytes: Bytes) -> Fault {
    parse(bytes).expect_err("refused").fault()
}

#[test]
fn a_blank_before_the_colon_smuggles_no_header() {
    // It belongs to no name: `X-Name : v` is X-Name, and `Via :` is Via.
    let text = changed(
        "Max-Forwards",
        "X-Via : SIP/2.0/UDP evil.example\r\nX-Name \t: v\r\nMax-Forwards",
    );
    let message = read(&text).unwrap();
    assert_eq!(message.all(Header::Via).count(), 1);
    let text = changed(
        "Max-Forwards",
        "Via : SIP/2.0/UDP b.example\r\nMax-Forwards",
    );
    assert_eq!(read(&text).unwrap().all(Header::Via).count(), 2);
    let text = changed("Content-Length:", "Content-Length \t :");
    assert_eq!(read(&text).unwrap().body().len(), 4);
    let text = changed("Max-Forwards", "Content-Length : 1\r\nMax-Forwards");
    let twice = Fault::Repeated(Header::ContentLength);
    assert_eq!(read(&text).unwrap_err(), twice);
    // Other white space is none, and a name has none inside.
    for name in ["Via\u{b}", "Via\u{a0}", "V ia", "Via;", "\"Via\"", ""] {
        let text = changed("Max-Forwards", &format!("{name}: x\r\nMax-Forwards"));
        assert_eq!(read(&text).unwrap_err(), Fault::HeaderLine, "{name:?}");
    }
    // On the first line there is nothing that it could be folded onto.
    let text = changed("SIP/2.0\r\nVia", "SIP/2.0\r\n Via");
    assert_eq!(read(&text).unwrap_err(), Fault::HeaderLine);
}

#[test]
fn two_vias_in_one_line_are_two() {
    let text = changed(";rport", ";rport, SIP/2.0/UDP b.example;branch=z9hG4bK2");
    let message = read(&text).unwrap();
    assert_eq!(message.all(Header::Via).count(), 2);
    assert_eq!(message.top_via().branch, Some("z9hG4bKnashds8"));
    let response = Writer::response_to(&message, 200, Some("t"), from_peer()).finish(None);
    let response = parse(response).unwrap();
    let hosts: Vec<_> = response
        .all(Header::Via)
        .map(|via| Via::parse(via).unwrap().host)
        .collect();
    assert_eq!(hosts, ["pbx.example.com", "b.example"]);
}

#[test]
fn a_via_hides_no_other_one() {
    for hiding in [";x=<", ";x=\"", ";x=\"a\\\"", ";x=<a"] {
        let text = changed(
            ";rport",
            &format!("{hiding}, SIP/2.0/UDP evil.example;branch=z9hG4bK2"),
        );
        assert_eq!(
            read(&text).unwrap_err(),
            Fault::Malformed(Header::Via),
            "{hiding}"
        );
    }
    let text = changed(";rport", ";x=\"a, b\";rport");
    assert_eq!(read(&text).unwrap().all(Header::Via).count(), 1);
}

#[test]
fn a_quoted_display_name_with_an_angle_bracket_is_no_address() {
    let text = changed(
        "\"Alice <not this>\" <sip:+60387654321@pbx.example.com>;tag=a73kszlfl",
        "\"x <sip:+60111111111@evil.example>;tag=evil \\\" \" <sip:+60387654321@h>;tag=good",
    );
    let message = read(&text).unwrap();
    assert_eq!(message.from_tag(), "good");
    let from = NameAddr::parse(message.get(Header::From).unwrap()).unwrap();
    assert_eq!(from.uri, "sip:+60387654321@h");
}

#[test]
fn an_open_quote_hides_no_tag() {
    for value in [
        "<sip:a@b>;x=\"y;tag=1",
        "<sip:a@b>;tag=1;x=\"",
        "sip:a@b;x=\"y\\\";tag=1",
    ] {
        let text = changed(
            "<sip:+60123456789@gw.example.com>\r\n",
            &format!("{value}\r\n"),
        );
        let fault = read(&text).unwrap_err();
        assert_eq!(fault, Fault::Malformed(Header::To), "{value}");
    }
}

#[test]
fn two_tags_or_a_quoted_one_are_refused() {
    for tag in [
        "tag=a;tag=b",
        "tag=a;TAG=a",
        "tag=\"a\"",
        "tag",
        "tag=a;x;Tag=b",
    ] {
        let text = changed("tag=a73kszlfl", tag);
        let fault = read(&text).unwrap_err();
        assert_eq!(fault, Fault::Malformed(Header::From), "{tag}");
    }
}

#[test]
fn content_length_twice_is_refused_whether_equal_or_not() {
    for second in ["4", "0", "999", "04", ""] {
        for name in ["Content-Length", "l", "CONTENT-LENGTH "] {
            let text = changed(
                "Content-Length: 4",
                &format!("Content-Length: 4\r\n{name}: {second}"),
            );
            let fault = read(&text).unwrap_err();
            assert_eq!(
                fault,
                Fault::Repeated(Header::ContentLength),
                "{name}: {second}"
            );
        }
    }
    // Nor are two in one line a length.
    let text = changed("Content-Length: 4", "Content-Length: 4, 4");
    let fault = read(&text).unwrap_err();
    assert_eq!(fault, Fault::Malformed(Header::ContentLength));
}

#[test]
fn what_follows_the_body_in_a_datagram_is_no_second_message() {
    let second = INVITE.replace("314159", "314160");
    let text = format!("{INVITE}{second}");
    let message = read(&text).unwrap();
    assert_eq!(&message.body()[..], b"v=0\n");
    assert_eq!(message.cseq(), 314_159);
}

#[test]
fn null_bytes_are_refused_wherever_they_stand() {
    let end = INVITE.find("\r\n\r\n").unwrap();
    for at in 0..end {
        let mut all = INVITE.as_bytes().to_vec();
        all[at] = 0;
        assert!(parse(Bytes::from(all)).is_err(), "at {at}");
        let mut all = INVITE.as_bytes().to_vec();
        all.insert(at, 0);
        assert!(parse(Bytes::from(all)).is_err(), "before {at}");
    }
    // A body may hold what it likes.
    let body = bytes("v=0\n", b"v\0\0\n");
    assert_eq!(&parse(body).unwrap().body()[..], b"v\0\0\n");
}

#[test]
fn a_cr_or_lf_alone_is_refused_wherever_it_stands() {
    let end = INVITE.find("\r\n\r\n").unwrap();
    for alone in [b'\r', b'\n'] {
        for at in 1..end {
            if matches!(
                INVITE.as_bytes()[at - 1..at + 1],
                [b'\r' | b'\n', _] | [_, b'\r' | b'\n']
            ) {
                continue; // beside a line end it may make another one
            }
            let mut all = INVITE.as_bytes().to_vec();
            all.insert(at, alone);
            let fault = fault(Bytes::from(all));
            assert_eq!(fault, Fault::ControlCharacter, "{alone} before {at}");
        }
    }
    for all in [INVITE.replace("\r\n", "\n"), INVITE.replace("\r\n", "\r")] {
        assert_eq!(read(&all).unwrap_err(), Fault::ControlCharacter);
    }
    let odd = INVITE.replacen("\r\nMax", "\r\r\nMax", 1);
    assert_eq!(read(&odd).unwrap_err(), Fault::ControlCharacter);
}

#[test]
fn numbers_too_long_for_their_type_are_refused() {
    let long = "9".repeat(400);
    for (from, to, header) in [
        ("314159 INVITE", "4294967296 INVITE", Header::CSeq),
        ("314159 INVITE", &*format!("{long} INVITE"), Header::CSeq),
        ("Max-Forwards: 69", "Max-Forwards: 256", Header::MaxForwards),
        (
            "Max-Forwards: 69",
            &*format!("Max-Forwards: {long}"),
            Header::MaxForwards,
        ),
        ("Length: 4", "Length: 4294967300", Header::ContentLength),
        (
            "Length: 4",
            "Length: 18446744073709551620",
            Header::ContentLength,
        ),
        (
            "Length: 4",
            &*format!("Length: {long}"),
            Header::ContentLength,
        ),
        ("com:5062", "com:65536", Header::Via),
        ("com:5062", "com:70598", Header::Via),
        ("com:5062", &*format!("com:{long}"), Header::Via),
    ] {
        let fault = read(&changed(from, to)).unwrap_err();
        assert_eq!(fault, Fault::Malformed(header), "{to}");
    }
    for port in ["65536", "0", &*long, "-1", "5060x"] {
        let text = changed(
            "gw.example.com;user",
            &format!("gw.example.com:{port};user"),
        );
        assert_eq!(read(&text).unwrap_err(), Fault::RequestUri, "{port}");
        assert_eq!(Uri::parse(&format!("sip:a@h:{port}")), None, "{port}");
    }
    // What is not used is not read, and does no harm (RFC 4475 §3.1.2.4).
    let text = changed(
        "<sip:alice@192.0.2.4:5062>",
        &format!("<sip:alice@192.0.2.4:5062>;expires={long}\r\nExpires: {long}"),
    );
    assert!(read(&text).is_ok());
}

#[test]
fn an_overlong_tag_is_kept_whole_or_refused() {
    let tag = "t".repeat(3_900);
    let message = read(&changed("a73kszlfl", &tag)).unwrap();
    assert_eq!(message.from_tag(), tag);
    let response = Writer::response_to(&message, 200, Some("t"), from_peer()).finish(None);
    assert_eq!(parse(response).unwrap().from_tag(), tag);
    let text = changed("a73kszlfl", &"t".repeat(5_000));
    assert_eq!(read(&text).unwrap_err(), Fault::LineTooLong);
}

#[test]
fn bytes_that_are_not_utf8_never_make_two_ids_one() {
    for (from, to, fault_of) in [
        (
            "1j9FpLxk",
            &b"1j9F\xe9Lxk"[..],
            Fault::Malformed(Header::CallId),
        ),
        ("a73kszlfl", b"a73\xffzlfl", Fault::Malformed(Header::From)),
        ("nashds8", b"nash\xc0\x80s8", Fault::Malformed(Header::Via)),
        (
            "+60387654321@",
            b"+6038\xe9654321@",
            Fault::Malformed(Header::From),
        ),
        ("+60123456789@", b"+601\xed\xa0\x806789@", Fault::RequestUri),
        (";rport", b";rport;x=\xe9", Fault::Malformed(Header::Via)),
        (
            "314159 INVITE",
            b"314159 INV\xe9TE",
            Fault::Malformed(Header::CSeq),
        ),
    ] {
        assert_eq!(fault(bytes(from, to)), fault_of, "{from}");
    }
    // A Contact that was mended is none: requests would go to another.
    let message = parse(bytes("<sip:alice@", b"<sip:al\xefce@")).unwrap();
    let contact = message.get(Header::Contact).unwrap();
    assert_eq!(NameAddr::parse(contact), None);
    // A second Via is echoed as it came, or not at all.
    let second = bytes("Max-Forwards", b"Via: SIP/2.0/UDP b;x=\xe9\r\nMax-Forwards");
    assert_eq!(fault(second), Fault::Malformed(Header::Via));
}

#[test]
fn a_request_uri_with_headers_is_refused() {
    let text = changed(";user=phone", "?Route=%3Csip:evil.example%3E");
    assert_eq!(read(&text).unwrap_err(), Fault::RequestUri);
    let text = changed("sip:+60123456789@", "sip:crazy?,/;;*:pass?word@");
    assert_eq!(
        Uri::parse(read(&text).unwrap().uri()).unwrap().user,
        "crazy?,/;;*"
    );
}

#[test]
fn ipv6_references_are_read_by_one_rule() {
    for (uri, host, port) in [
        ("sip:[2001:db8::10:5070]", "2001:db8::10:5070", None),
        ("sip:[2001:db8::10]:5070", "2001:db8::10", Some(5070)),
        ("sip:u@[2001:db8:::192.0.2.1]", "2001:db8:::192.0.2.1", None),
        ("sip:u@[::ffff:192.0.2.1]", "::ffff:192.0.2.1", None),
    ] {
        let uri = Uri::parse(uri).unwrap();
        assert_eq!((uri.host, uri.port), (host, port));
    }
    for bad in [
        "sip:2001:db8::10",
        "sip:[2001:db8:::1]",
        "sip:[::::192.0.2.1]",
        "sip:[2001::db8:::192.0.2.1]",
        "sip:[fe80::1%eth0]",
        "sip:[fe80::1%25eth0]",
        "sip:[192.0.2.1]",
        "sip:[]",
        "sip:[::1]x",
    ] {
        assert_eq!(Uri::parse(bad), None, "{bad}");
    }
}
