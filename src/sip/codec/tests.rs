//! Tests of the codec: what is read, what is refused and how, what is written, and how this
//! parser and rsip agree on well-formed messages.

mod hostile;

use super::*;
use crate::sip::message::{NameAddr, Path, Transport, Uri, Writer};
use proptest::prelude::*;

const INVITE: &str = "INVITE sip:+60123456789@gw.example.com;user=phone SIP/2.0\r\n\
Via: SIP/2.0/UDP pbx.example.com:5062;branch=z9hG4bKnashds8;rport\r\n\
Max-Forwards: 69\r\n\
From: \"Alice <not this>\" <sip:+60387654321@pbx.example.com>;tag=a73kszlfl\r\n\
To: <sip:+60123456789@gw.example.com>\r\n\
Call-ID: 1j9FpLxk3uxtm8tn@pbx.example.com\r\n\
CSeq: 314159 INVITE\r\n\
Contact: <sip:alice@192.0.2.4:5062>\r\n\
Content-Type: application/sdp\r\n\
Content-Length: 4\r\n\
\r\n\
v=0\n";

fn read(text: &str) -> Result<Message, Fault> {
    parse(Bytes::copy_from_slice(text.as_bytes())).map_err(|error| error.fault())
}

/// The INVITE with one piece of it replaced.
fn changed(from: &str, to: &str) -> String {
    assert!(INVITE.contains(from), "{from}");
    INVITE.replacen(from, to, 1)
}

fn from_peer() -> Path {
    Path {
        transport: Transport::Udp,
        local: "192.0.2.1:5060".parse().unwrap(),
        remote: "192.0.2.99:40000".parse().unwrap(),
    }
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_plain_invite_is_read() {
    let message = read(INVITE).unwrap();
    assert_eq!(message.method(), Method::Invite);
    assert_eq!(message.status(), None);
    assert_eq!(message.uri(), "sip:+60123456789@gw.example.com;user=phone");
    assert_eq!(message.cseq(), 314_159);
    assert_eq!(message.call_id(), "1j9FpLxk3uxtm8tn@pbx.example.com");
    assert_eq!(message.from_tag(), "a73kszlfl");
    assert_eq!(message.to_tag(), "");
    assert_eq!(&message.body()[..], b"v=0\n");
    assert_eq!(
        message.top_via(),
        Via {
            transport: "UDP",
            host: "pbx.example.com",
            port: Some(5062),
            branch: Some("z9hG4bKnashds8"),
            rport: true,
            received: None,
        }
    );
    assert_eq!(format!("{message:?}"), "Invite 314159");
}

#[test]
fn a_response_is_read() {
    let message = read(
        "SIP/2.0 183 Session  Progress: 1\r\nv: SIP/2.0/TCP [2001:db8::9:1]:5070;branch=z9hG4bK1\r\n\
         f: <sip:a@b>;tag=1\r\nt: sip:c@d;tag=2\r\ni: x\r\nCSeq: 1 INVITE\r\n\r\nbody",
    )
    .unwrap();
    assert_eq!(message.status(), Some(183));
    assert_eq!(message.method(), Method::Invite);
    assert_eq!(message.uri(), "");
    assert_eq!((message.from_tag(), message.to_tag()), ("1", "2"));
    assert_eq!(message.top_via().host, "2001:db8::9:1");
    assert_eq!(message.top_via().port, Some(5070));
    // No Content-Length: the rest of the datagram.
    assert_eq!(&message.body()[..], b"body");
}

#[test]
fn compact_and_odd_case_names_are_known() {
    let text = changed("Via:", "v :");
    let text = text
        .replacen("Call-ID", "I", 1)
        .replacen("Contact", "m\t", 1);
    let text = text
        .replacen("Content-Length", "L", 1)
        .replacen("Content-Type", "cOnTeNt-tYpE", 1);
    let message = read(&text).unwrap();
    assert_eq!(
        message.get(Header::Contact),
        Some("<sip:alice@192.0.2.4:5062>")
    );
    assert_eq!(message.get(Header::ContentType), Some("application/sdp"));
    assert_eq!(message.body().len(), 4);
}

#[test]
fn every_header_name_is_found_by_its_own_spelling() {
    let all = [
        Header::Via,
        Header::From,
        Header::To,
        Header::CallId,
        Header::CSeq,
        Header::Contact,
        Header::MaxForwards,
        Header::Route,
        Header::RecordRoute,
        Header::Require,
        Header::ProxyRequire,
        Header::Supported,
        Header::Unsupported,
        Header::Allow,
        Header::Accept,
        Header::ContentType,
        Header::ContentLength,
        Header::ContentEncoding,
        Header::Reason,
        Header::RetryAfter,
        Header::PAssertedIdentity,
        Header::Privacy,
        Header::Expires,
        Header::SessionExpires,
        Header::MinSe,
        Header::RSeq,
        Header::RAck,
        Header::WwwAuthenticate,
        Header::Authorization,
        Header::ProxyAuthenticate,
        Header::ProxyAuthorization,
        Header::Warning,
        Header::UserAgent,
        Header::Server,
        Header::Replaces,
        Header::Identity,
    ];
    for header in all {
        assert_eq!(names::header(header.as_str()), header);
        assert_eq!(names::header(&header.as_str().to_ascii_uppercase()), header);
    }
    assert_eq!(names::header("X-Via"), Header::Other);
    for method in [
        "INVITE",
        "ACK",
        "CANCEL",
        "BYE",
        "OPTIONS",
        "INFO",
        "PRACK",
        "UPDATE",
        "REFER",
        "REGISTER",
        "MESSAGE",
        "SUBSCRIBE",
        "NOTIFY",
        "PUBLISH",
    ] {
        assert_eq!(names::method(method).as_str(), method);
    }
    assert_eq!(names::method("invite"), Method::Other);
}

#[test]
fn folded_lines_are_unfolded_and_the_body_is_left_alone() {
    let text = changed(
        "Max-Forwards: 69",
        "Max-Forwards:\r\n  69\r\nSubject: a\r\n\tb",
    );
    let text = text
        .replacen(";branch", "\r\n ;branch", 1)
        .replace("v=0\n", "\r\n x");
    let message = read(&text).unwrap();
    assert_eq!(message.get(Header::MaxForwards), Some("69"));
    assert_eq!(message.top_via().branch, Some("z9hG4bKnashds8"));
    assert_eq!(&message.body()[..], b"\r\n x");
}

#[test]
fn comma_joined_values_are_read_one_by_one() {
    let text = changed(
        "Max-Forwards",
        "Via: SIP/2.0/UDP b.example;branch=z9hG4bK2 , SIP/2.0/TCP c.example\r\n\
         Route: <sip:p1;lr>,\"a, <b>\" <sip:p2,x;lr=on>;q=\"1,2\", <sip:p3>\r\n\
         Supported: timer,, 100rel\r\nSupported:\r\nMax-Forwards",
    );
    let message = read(&text).unwrap();
    let vias: Vec<_> = message.all(Header::Via).collect();
    assert_eq!(vias.len(), 3);
    assert_eq!(vias[1], "SIP/2.0/UDP b.example;branch=z9hG4bK2");
    assert_eq!(
        message.all(Header::Route).collect::<Vec<_>>(),
        [
            "<sip:p1;lr>",
            "\"a, <b>\" <sip:p2,x;lr=on>;q=\"1,2\"",
            "<sip:p3>"
        ]
    );
    assert_eq!(
        message.all(Header::Supported).collect::<Vec<_>>(),
        ["timer", "100rel"]
    );
}

#[test]
fn each_mandatory_header_is_needed_once() {
    for (header, line) in [
        (
            Header::Via,
            "Via: SIP/2.0/UDP pbx.example.com:5062;branch=z9hG4bKnashds8;rport\r\n",
        ),
        (Header::To, "To: <sip:+60123456789@gw.example.com>\r\n"),
        (
            Header::CallId,
            "Call-ID: 1j9FpLxk3uxtm8tn@pbx.example.com\r\n",
        ),
        (Header::CSeq, "CSeq: 314159 INVITE\r\n"),
    ] {
        assert_eq!(
            read(&changed(line, "")).unwrap_err(),
            Fault::Missing(header)
        );
        if header != Header::Via {
            let twice = changed(line, &format!("{line}{line}"));
            assert_eq!(read(&twice).unwrap_err(), Fault::Repeated(header));
        }
        let empty = changed(line, &format!("{}: \r\n", header.as_str()));
        let fault = read(&empty).unwrap_err();
        assert_eq!(fault, Fault::Malformed(header), "empty {header:?}");
    }
    let no_from = changed("From: ", "X-From: ");
    assert_eq!(read(&no_from).unwrap_err(), Fault::Missing(Header::From));
    let none = changed("Max-Forwards: 69\r\n", "");
    assert_eq!(
        read(&none).unwrap_err(),
        Fault::Missing(Header::MaxForwards)
    );
    // An ACK is never answered, so nobody could be told.
    let ack = none
        .replace("INVITE sip", "ACK sip")
        .replace("314159 INVITE", "314159 ACK");
    assert!(read(&ack).is_ok());
    let twice = changed("Max-Forwards: 69", "Max-Forwards: 69\r\nMax-Forwards: 69");
    assert_eq!(
        read(&twice).unwrap_err(),
        Fault::Repeated(Header::MaxForwards)
    );
}

/// A piece of the INVITE, what stands there instead, and the fault that it is.
const MALFORMED: &[(&str, &str, Fault)] = &[
    (
        "CSeq: 314159 INVITE",
        "CSeq: 314159 BYE",
        Fault::Malformed(Header::CSeq),
    ),
    (
        "CSeq: 314159 INVITE",
        "CSeq: 314159 invite",
        Fault::Malformed(Header::CSeq),
    ),
    (
        "CSeq: 314159 INVITE",
        "CSeq: 2147483648 INVITE",
        Fault::Malformed(Header::CSeq),
    ),
    (
        "CSeq: 314159 INVITE",
        "CSeq: 36893488147419103232 INVITE",
        Fault::Malformed(Header::CSeq),
    ),
    (
        "CSeq: 314159 INVITE",
        "CSeq: -1 INVITE",
        Fault::Malformed(Header::CSeq),
    ),
    (
        "CSeq: 314159 INVITE",
        "CSeq: INVITE",
        Fault::Malformed(Header::CSeq),
    ),
    (
        "Max-Forwards: 69",
        "Max-Forwards: 300",
        Fault::Malformed(Header::MaxForwards),
    ),
    (
        "Max-Forwards: 69",
        "Max-Forwards: six",
        Fault::Malformed(Header::MaxForwards),
    ),
    (
        "To: <sip:+60123456789@gw.example.com>",
        "To: <sip:x",
        Fault::Malformed(Header::To),
    ),
    (
        "To: <sip:+60123456789@gw.example.com>",
        "To: \"x <sip:a@b>",
        Fault::Malformed(Header::To),
    ),
    (
        "tag=a73kszlfl",
        "tag=\"a b\"",
        Fault::Malformed(Header::From),
    ),
    ("tag=a73kszlfl", "tag=", Fault::Malformed(Header::From)),
    (
        "Via: SIP/2.0/UDP pbx",
        "Via: SIP/2.1/UDP pbx",
        Fault::Malformed(Header::Via),
    ),
    (
        ";rport",
        ";branch=z9hG4bKother",
        Fault::Malformed(Header::Via),
    ),
    (";rport", ",", Fault::Malformed(Header::Via)),
    (
        "example.com:5062;",
        "example.com:0;",
        Fault::Malformed(Header::Via),
    ),
    (
        "example.com:5062;",
        "example.com:65536;",
        Fault::Malformed(Header::Via),
    ),
    (
        "Call-ID: 1j9F",
        "Call-ID: 1 j9F",
        Fault::Malformed(Header::CallId),
    ),
    (
        "Content-Length: 4",
        "Content-Length: 5",
        Fault::Malformed(Header::ContentLength),
    ),
    (
        "Content-Length: 4",
        "Content-Length: +4",
        Fault::Malformed(Header::ContentLength),
    ),
    (
        "Content-Length: 4",
        "Content-Length: 0x4",
        Fault::Malformed(Header::ContentLength),
    ),
    (
        "Content-Length: 4",
        "Content-Length: 00000000004",
        Fault::Malformed(Header::ContentLength),
    ),
    (
        "Content-Length: 4",
        "Content-Length: ",
        Fault::Malformed(Header::ContentLength),
    ),
    (
        "Content-Length: 4",
        "Content-Length: 4\r\nl: 4",
        Fault::Repeated(Header::ContentLength),
    ),
    ("Max-Forwards: 69", "Max-Forwards 69", Fault::HeaderLine),
    ("Max-Forwards: 69", ": 69", Fault::HeaderLine),
    ("Max-Forwards: 69", "X Y: 69", Fault::HeaderLine),
    ("INVITE sip", "INVITE  sip", Fault::StartLine),
    ("INVITE sip", "INV(ITE sip", Fault::StartLine),
    (" SIP/2.0\r\nVia", " SIP/2.0 \r\nVia", Fault::StartLine),
    (" SIP/2.0\r\nVia", "\r\nVia", Fault::StartLine),
    (" SIP/2.0\r\nVia", " SIP/7.0\r\nVia", Fault::Version),
    (" SIP/2.0\r\nVia", " HTTP/1.1\r\nVia", Fault::StartLine),
    (
        "sip:+60123456789@gw.example.com;user",
        "<sip:+60123456789@gw.example.com>;user",
        Fault::RequestUri,
    ),
    (
        "sip:+60123456789@gw.example.com;user",
        "sip:a@b@c;user",
        Fault::RequestUri,
    ),
    (
        "sip:+60123456789@gw.example.com;user",
        "sip:;user",
        Fault::RequestUri,
    ),
    (
        "sip:+60123456789@gw.example.com;user",
        "nothing;user",
        Fault::RequestUri,
    ),
    (
        "Max-Forwards",
        "Subject: a\rb\r\nMax-Forwards",
        Fault::ControlCharacter,
    ),
    (
        "Max-Forwards",
        "Subject: a\nb\r\nMax-Forwards",
        Fault::ControlCharacter,
    ),
    (
        "Max-Forwards",
        "Subject: a\0b\r\nMax-Forwards",
        Fault::ControlCharacter,
    ),
    ("\r\n\r\nv=0\n", "\r\n", Fault::Truncated),
];

#[test]
fn malformed_values_are_refused_by_name() {
    for (from, to, fault) in MALFORMED {
        assert_eq!(read(&changed(from, to)).unwrap_err(), *fault, "{to:?}");
    }
}

#[test]
fn what_looks_odd_but_is_sound_is_read() {
    assert!(
        read(&changed(
            "sip:+60123456789@gw.example.com;user",
            "http://x/;user"
        ))
        .is_ok()
    );
    assert!(read(&changed("Content-Length: 4", "Content-Length: 0004")).is_ok());
    assert!(read(&changed(" SIP/2.0\r\nVia", " sip/2.0\r\nVia")).is_ok());
}

#[test]
fn a_status_is_three_digits_of_a_known_class() {
    for status in ["099", "700", "20", "2000", "abc", ""] {
        let text = format!("SIP/2.0 {status} OK\r\n\r\n");
        assert_eq!(read(&text).unwrap_err(), Fault::StartLine);
    }
}

#[test]
fn a_longer_datagram_than_content_length_is_cut() {
    let message = read(&changed("Content-Length: 4", "Content-Length: 1")).unwrap();
    assert_eq!(&message.body()[..], b"v");
}

#[test]
fn bounds_are_kept_cheaply() {
    let long_line = changed(
        "Max-Forwards",
        &format!("X: {}\r\nMax-Forwards", "y".repeat(4096)),
    );
    assert_eq!(read(&long_line).unwrap_err(), Fault::LineTooLong);
    let folded = changed(
        "Max-Forwards",
        &format!("X: {}\r\nMax-Forwards", "y\r\n ".repeat(1100)),
    );
    assert_eq!(read(&folded).unwrap_err(), Fault::LineTooLong);
    // The INVITE has 9 lines of headers.
    let most = changed(
        "Max-Forwards",
        &format!("{}Max-Forwards", "X: y\r\n".repeat(119)),
    );
    assert!(read(&most).is_ok());
    let many = changed(
        "Max-Forwards",
        &format!("{}Max-Forwards", "X: y\r\n".repeat(120)),
    );
    assert_eq!(read(&many).unwrap_err(), Fault::TooManyHeaders);
    let values = changed(
        "Max-Forwards",
        &format!("Allow: {}\r\nMax-Forwards", "A,".repeat(300)),
    );
    assert_eq!(read(&values).unwrap_err(), Fault::TooManyHeaders);
    let large = changed("v=0\n", &"x".repeat(65_536));
    assert_eq!(read(&large).unwrap_err(), Fault::TooLong);
    assert_eq!(read("\r\n\r\n").unwrap_err(), Fault::Keepalive);
    assert_eq!(read("").unwrap_err(), Fault::Keepalive);
    assert!(read(&format!("\r\n\r\n{INVITE}")).is_ok());
}

#[test]
fn what_is_not_utf8_is_mended_in_place() {
    let mut bytes = changed("Alice", "Al*ce").into_bytes();
    let at = bytes.iter().position(|byte| *byte == b'*').unwrap();
    bytes[at] = 0xe9;
    let body = bytes.len() - 1;
    bytes[body] = 0xff;
    let message = parse(Bytes::from(bytes)).unwrap();
    let from = message.get(Header::From).unwrap();
    assert!(from.starts_with("\"Al_ce <not this>\""), "{from}");
    assert_eq!(&message.body()[..], b"v=0\xff");
    // RFC 4475 §3.1.1.2 has an escaped NUL in a display name.
    let escaped = read(&changed("Alice", "NUL:\\\0")).unwrap();
    assert!(escaped.get(Header::From).unwrap().starts_with("\"NUL:\\_"));
}

#[test]
fn quoted_display_names_do_not_hide_another_address() {
    let parsed = NameAddr::parse("\"Bob <sip:evil@x>;tag=9\" <sip:bob@y;x=1>;tag=7").unwrap();
    assert_eq!(parsed.display, "\"Bob <sip:evil@x>;tag=9\"");
    assert_eq!(parsed.uri, "sip:bob@y;x=1");
    assert_eq!(param(parsed.params, "TAG"), Some("7"));
    let escaped = NameAddr::parse(r#""a\"<sip:b@c>" <tel:+1>"#).unwrap();
    assert_eq!(escaped.uri, "tel:+1");
    let bare = NameAddr::parse("sip:bob@y;tag=7").unwrap();
    assert_eq!((bare.uri, bare.params), ("sip:bob@y", ";tag=7"));
    let words = NameAddr::parse("Mr. Watson\t<sip:w@y> ; tag = 8").unwrap();
    assert_eq!(
        (words.display, param(words.params, "tag")),
        ("Mr. Watson", Some("8"))
    );
    for bad in [
        "",
        "*",
        "<sip:a@b",
        "\"a <sip:a@b>",
        "a <sip:a@b> b",
        "<>",
        "<sip:a b>",
        "<a>",
        "\"a\" sip:a@b",
        "sip:<a@b>",
    ] {
        assert_eq!(NameAddr::parse(bad), None, "{bad}");
    }
}

#[test]
fn uris_are_read() {
    let uri = Uri::parse("SIPS:alice;day=tue:secret@[2001:db8::1]:5061;lr=on;x?Subject=a@b");
    assert_eq!(uri, None, "two @");
    let uri = Uri::parse("SIPS:alice;day=tue:secret@[2001:db8::1]:5061;lr=on;x?Subject=a").unwrap();
    assert_eq!(uri.scheme, "sips");
    assert_eq!(uri.user, "alice;day=tue");
    assert_eq!((uri.host, uri.port), ("2001:db8::1", Some(5061)));
    assert_eq!(param(uri.params, "lr"), Some("on"));
    assert_eq!(param(uri.params, "x"), Some(""));
    assert_eq!(param(uri.params, "subject"), None);
    let plain = Uri::parse("sip:gw.example").unwrap();
    assert_eq!(
        (plain.user, plain.host, plain.port),
        ("", "gw.example", None)
    );
    let tel = Uri::parse("tel:+60-3(876)5.4321;phone-context=x").unwrap();
    assert_eq!(
        (tel.user, tel.params),
        ("+60-3(876)5.4321", ";phone-context=x")
    );
    for bad in [
        "sip:",
        "sip:@h",
        "sip:a@",
        "sip:a@[::1",
        "sip:a@[zz]",
        "sip:a@h:",
        "sip:a@h:x",
        "sip:a@h:70000",
        "sip:a@h/x",
        "tel:",
        "tel:x y",
        "http://x",
        "sip",
        "sip:a@h x",
    ] {
        assert_eq!(Uri::parse(bad), None, "{bad}");
    }
    assert_eq!(percent_decode("%2B60%31%zz%4"), "+601%zz%4");
    assert_eq!(percent_decode("plain"), "plain");
}

#[test]
fn parameters_respect_quotes() {
    assert_eq!(param(";a=\"x;b=1\";b=2", "b"), Some("2"));
    assert_eq!(param(";a=\"x;b=1\";b=2", "a"), Some("x;b=1"));
    assert_eq!(param("; LR ", "lr"), Some(""));
    assert_eq!(param(";;x=1", "x"), Some("1"));
    assert_eq!(param("", "x"), None);
}

#[test]
fn responses_echo_what_rfc_3261_says() {
    let message = read(&changed(
        "Max-Forwards",
        "Via: SIP/2.0/UDP b.example\r\nMax-Forwards",
    ))
    .unwrap();
    let response = Writer::response_to(&message, 180, Some("ourtag"), from_peer()).finish(None);
    assert_eq!(
        text(&response),
        "SIP/2.0 180 Ringing\r\n\
         Via: SIP/2.0/UDP pbx.example.com:5062;branch=z9hG4bKnashds8;received=192.0.2.99;rport=40000\r\n\
         Via: SIP/2.0/UDP b.example\r\n\
         From: \"Alice <not this>\" <sip:+60387654321@pbx.example.com>;tag=a73kszlfl\r\n\
         To: <sip:+60123456789@gw.example.com>;tag=ourtag\r\n\
         Call-ID: 1j9FpLxk3uxtm8tn@pbx.example.com\r\n\
         CSeq: 314159 INVITE\r\n\
         Content-Length: 0\r\n\r\n"
    );
    let again = parse(response).unwrap();
    assert_eq!(again.to_tag(), "ourtag");
    let tagged = read(&changed("gw.example.com>\r\n", "gw.example.com>;tag=t\r\n")).unwrap();
    let response = Writer::response_to(&tagged, 200, Some("ourtag"), from_peer()).finish(None);
    assert_eq!(parse(response).unwrap().to_tag(), "t");
}

#[test]
fn received_and_rport_follow_rfc_3581() {
    let path = from_peer();
    for (via, written, port) in [
        ("SIP/2.0/UDP 192.0.2.99", "SIP/2.0/UDP 192.0.2.99", 5060),
        (
            "SIP/2.0/UDP 192.0.2.99:5070;branch=x",
            "SIP/2.0/UDP 192.0.2.99:5070;branch=x",
            5070,
        ),
        ("SIP/2.0/UDP h", "SIP/2.0/UDP h;received=192.0.2.99", 5060),
        (
            "SIP/2.0/UDP h;received=6.6.6.6",
            "SIP/2.0/UDP h;received=192.0.2.99",
            5060,
        ),
        (
            "SIP/2.0/UDP 192.0.2.99;rport=1;branch=x",
            "SIP/2.0/UDP 192.0.2.99;branch=x;received=192.0.2.99;rport=40000",
            40000,
        ),
        (
            "SIP/2.0/UDP h;maddr=6.6.6.6",
            "SIP/2.0/UDP h;maddr=6.6.6.6;received=192.0.2.99",
            5060,
        ),
    ] {
        let mut out = String::new();
        via::write_received(&mut out, via, path).unwrap();
        assert_eq!(out, written);
        let back = reply_path(&Via::parse(via).unwrap(), path);
        assert_eq!(back.remote, format!("192.0.2.99:{port}").parse().unwrap());
    }
}

#[test]
fn nothing_written_can_become_another_header() {
    let mut writer = Writer::request(Method::Bye, "sip:a@b SIP/2.0\r\nX: y");
    assert!(writer.is_cut());
    writer.header(Header::Reason, "a\r\nEvil: 1");
    writer.header_fmt(Header::Server, format_args!("{}{}", "b\nEvil: 2", "more"));
    writer.header_fmt(Header::UserAgent, format_args!("{}", "c\0d"));
    assert_eq!(
        text(&writer.finish(Some(("application/sdp", b"v=0\r\n")))),
        "BYE sip:a@b SIP/2.0\r\nReason: a\r\nServer: b\r\nUser-Agent: c\r\n\
         Content-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n"
    );
    let mut clean = Writer::response(200, "OK");
    clean.header(Header::Reason, "a");
    assert!(!clean.is_cut());
}

#[test]
fn the_ack_of_a_failure_is_the_invites() {
    let invite = Bytes::copy_from_slice(
        changed("Max-Forwards", "Route: <sip:p;lr>\r\nMax-Forwards").as_bytes(),
    );
    let response = read(
        "SIP/2.0 486 Busy\r\nVia: SIP/2.0/UDP pbx.example.com:5062;branch=z9hG4bKnashds8\r\n\
         From: <sip:x@y>;tag=a73kszlfl\r\nTo: <sip:z@y>;tag=remote\r\nCall-ID: q\r\nCSeq: 314159 INVITE\r\n\r\n",
    )
    .unwrap();
    let ack = parse(ack_for(&invite, &response).unwrap()).unwrap();
    let invite = parse(invite).unwrap();
    assert_eq!(ack.method(), Method::Ack);
    assert_eq!(ack.uri(), invite.uri());
    assert_eq!(
        ack.all(Header::Via).collect::<Vec<_>>(),
        invite.all(Header::Via).collect::<Vec<_>>()
    );
    assert_eq!(ack.get(Header::From), invite.get(Header::From));
    assert_eq!(ack.call_id(), invite.call_id());
    assert_eq!(ack.get(Header::CSeq), Some("314159 ACK"));
    assert_eq!(ack.get(Header::Route), Some("<sip:p;lr>"));
    assert_eq!(ack.get(Header::To), Some("<sip:z@y>;tag=remote"));
    assert_eq!(ack.get(Header::MaxForwards), Some("69"));
}

#[test]
fn a_fault_is_answered_by_its_name() {
    let bad = changed("Call-ID: 1j9FpLxk3uxtm8tn@pbx.example.com\r\n", "");
    let error = parse(Bytes::from(bad)).unwrap_err();
    assert_eq!(
        (error.status(), error.peek()),
        (400, Peek::Request(Method::Invite))
    );
    let (answer, path) = error.response("ourtag", from_peer()).unwrap();
    assert_eq!(path, from_peer());
    assert_eq!(
        text(&answer),
        "SIP/2.0 400 Missing Call-ID Header\r\n\
         Via: SIP/2.0/UDP pbx.example.com:5062;branch=z9hG4bKnashds8;received=192.0.2.99;rport=40000\r\n\
         From: \"Alice <not this>\" <sip:+60387654321@pbx.example.com>;tag=a73kszlfl\r\n\
         To: <sip:+60123456789@gw.example.com>;tag=ourtag\r\n\
         CSeq: 314159 INVITE\r\nContent-Length: 0\r\n\r\n"
    );
    assert_eq!(
        format!("{error:?}"),
        "ParseError(Missing(CallId), Request(Invite))"
    );
    let version = parse(Bytes::from(changed(" SIP/2.0\r\nVia", " SIP/3.0\r\nVia"))).unwrap_err();
    assert_eq!(version.status(), 505);
}

#[test]
fn faults_of_acks_responses_and_garbage_are_not_answered() {
    let ack = changed("INVITE sip", "ACK sip").replace("\r\nCall-ID", "\r\nX-ID");
    for bad in [
        ack.as_str(),
        "SIP/2.0 200 OK\r\n\r\n",
        "hello world\r\n\r\n",
        "\0\0\0\0",
        "\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
    ] {
        let error = parse(Bytes::copy_from_slice(bad.as_bytes())).unwrap_err();
        assert!(!error.is_answered());
        assert!(error.response("t", from_peer()).is_none());
    }
}

#[test]
fn overload_is_answered_without_parsing() {
    let folded = changed("pbx.example.com:5062;", "pbx.example.com:5062\r\n ;");
    let (answer, _) = refuse(
        folded.as_bytes(),
        503,
        "Service Unavailable",
        &[(Header::RetryAfter, "5")],
        "t",
        from_peer(),
    )
    .unwrap();
    let answer = parse(answer).unwrap();
    assert_eq!(answer.status(), Some(503));
    assert_eq!(answer.get(Header::RetryAfter), Some("5"));
    assert_eq!(answer.top_via().branch, Some("z9hG4bKnashds8"));
    assert_eq!(answer.top_via().received, Some("192.0.2.99"));
    assert_eq!(answer.cseq(), 314_159);
}

#[test]
fn first_lines_are_told_apart() {
    for (line, peek) in [
        ("INVITE sip:a@b SIP/2.0\r\n", Peek::Request(Method::Invite)),
        ("\r\nBYE sip:a@b SIP/2.0", Peek::Request(Method::Bye)),
        ("FOO  sip:a@b  SIP/7.0  \r\n", Peek::Request(Method::Other)),
        ("SIP/2.0 200 OK\r\n", Peek::Response),
        ("\r\n\r\n", Peek::Keepalive),
        ("INVITE", Peek::Garbage),
        ("IN\x01VITE sip:a@b SIP/2.0", Peek::Garbage),
        ("", Peek::Keepalive),
    ] {
        assert_eq!(first_line_peek(line.as_bytes()), peek, "{line:?}");
    }
}

#[test]
fn an_unknown_method_keeps_its_name() {
    let text =
        changed("INVITE sip", "!inter*esting sip").replace("314159 INVITE", "7 !inter*esting");
    let message = read(&text).unwrap();
    assert_eq!(message.method(), Method::Other);
    let response = Writer::response_to(&message, 405, Some("t"), from_peer()).finish(None);
    assert_eq!(
        parse(response).unwrap().get(Header::CSeq),
        Some("7 !inter*esting")
    );
}

#[test]
fn only_what_is_ours_is_seen_by_the_quick_via() {
    let mut writer = Writer::request(Method::Options, "sip:a@b");
    writer.header(
        Header::Via,
        "SIP/2.0/UDP [2001:db8::1]:5060;branch=z9hG4bKx",
    );
    let bytes = writer.finish(None);
    let via = top_via(&bytes).unwrap();
    assert_eq!(
        (via.host, via.port, via.branch),
        ("2001:db8::1", Some(5060), Some("z9hG4bKx"))
    );
    assert_eq!(top_via(b"BYE sip:a SIP/2.0\r\n\r\n"), None);
}

#[test]
fn the_typed_view_has_what_the_message_has() {
    use rsip::prelude::{HeadersExt, UntypedHeader};
    let message = read(&changed("Call-ID", "i").replacen(
        "Max-Forwards",
        "Subject: x\r\n y\r\nMax-Forwards",
        1,
    ))
    .unwrap();
    let view = typed(&message).unwrap();
    assert_eq!(view.call_id_header().unwrap().value(), message.call_id());
    assert!(view.body().is_empty());
}

fn word() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9._-]{1,12}"
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,8}\\.example", Just("192.0.2.7".to_owned())]
}

prop_compose! {
    fn well_formed()(
        (user, to_host, via_host) in ("[a-z0-9+]{1,14}", host(), host()),
        (from_tag, to_tag, branch) in (word(), proptest::option::of(word()), "z9hG4bK[a-zA-Z0-9]{4,16}"),
        (call_id, cseq, max) in (word(), 0u32..0x8000_0000, 0u8..=255),
        port in proptest::option::of(1u16..),
        method in proptest::sample::select(vec!["INVITE", "BYE", "OPTIONS", "CANCEL", "ACK"]),
        status in proptest::option::of(proptest::sample::select(vec![100u16, 180, 200, 404, 486, 503])),
        name in "[a-zA-Z ]{0,10}",
        body in proptest::collection::vec(any::<u8>(), 0..64),
    ) -> Vec<u8> {
        let start = match status {
            Some(status) => format!("SIP/2.0 {status} {}", phrase(status)),
            None => format!("{method} sip:{user}@{to_host} SIP/2.0"),
        };
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let to_tag = to_tag.map(|tag| format!(";tag={tag}")).unwrap_or_default();
        let mut bytes = format!(
            "{start}\r\nVia: SIP/2.0/UDP {via_host}{port};branch={branch}\r\nMax-Forwards: {max}\r\n\
             From: \"{name}\" <sip:me@{via_host}>;tag={from_tag}\r\nTo: <sip:{user}@{to_host}>{to_tag}\r\n\
             Call-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nContent-Length: {}\r\n\r\n",
            body.len(),
        ).into_bytes();
        bytes.extend(body);
        bytes
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn rsip_agrees_on_well_formed_messages(bytes in well_formed()) {
        use rsip::prelude::{HeadersExt, ToTypedHeader, UntypedHeader};
        let head = bytes.windows(4).position(|part| part == b"\r\n\r\n").unwrap() + 4;
        let ours = parse(Bytes::copy_from_slice(&bytes)).unwrap();
        let theirs = rsip::SipMessage::try_from(&bytes[..head]).unwrap();
        prop_assert_eq!(&ours.body()[..], &bytes[head..]);
        match &theirs {
            rsip::SipMessage::Request(request) => {
                prop_assert_eq!(request.method().to_string(), ours.method().as_str());
                prop_assert_eq!(request.uri().to_string(), ours.uri());
                let uri = Uri::parse(ours.uri()).unwrap();
                prop_assert_eq!(request.uri().user().unwrap_or_default(), uri.user);
                prop_assert_eq!(request.uri().host().to_string(), uri.host);
            }
            rsip::SipMessage::Response(response) => {
                prop_assert_eq!(Some(u16::from(response.status_code().clone())), ours.status());
            }
        }
        prop_assert_eq!(theirs.call_id_header().unwrap().value(), ours.call_id());
        let cseq = theirs.cseq_header().unwrap().typed().unwrap();
        prop_assert_eq!(cseq.seq, ours.cseq());
        let tag = |tag: Option<rsip::param::Tag>| tag.map(|tag| tag.to_string()).unwrap_or_default();
        let from = theirs.from_header().unwrap().typed().unwrap();
        prop_assert_eq!(tag(from.tag().cloned()), ours.from_tag());
        let to = theirs.to_header().unwrap().typed().unwrap();
        prop_assert_eq!(tag(to.tag().cloned()), ours.to_tag());
        let via = theirs.via_header().unwrap().typed().unwrap();
        prop_assert_eq!(via.branch().unwrap().to_string(), ours.top_via().branch.unwrap());
        prop_assert_eq!(via.sent_by().host().to_string(), ours.top_via().host);
        prop_assert!(typed(&ours).is_ok());
    }

    #[test]
    fn no_bytes_break_the_parser(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let datagram = Bytes::from(bytes);
        if let Err(error) = parse(datagram.clone()) {
            let _ = error.response("t", from_peer());
        }
        let _ = first_line_peek(&datagram);
    }

    /// One mutation of a good message: read or refused, never a panic; and what is answered is
    /// itself a message that this parser reads, if the headers that it echoes were there.
    #[test]
    fn no_mutation_breaks_the_parser(
        mut bytes in well_formed(),
        at in any::<proptest::sample::Index>(),
        with in proptest::sample::select(&b"\r\n\0 \t:;,<>\"\\@[]=/\xff%0z"[..]),
        insert in any::<bool>(),
    ) {
        let at = at.index(bytes.len());
        if insert {
            bytes.insert(at, with);
        } else {
            bytes[at] = with;
        }
        let datagram = Bytes::from(bytes);
        match parse(datagram.clone()) {
            Ok(message) => {
                for via in message.all(Header::Via) {
                    prop_assert!(!via.contains(['\r', '\n', '\0']));
                }
                let response = Writer::response_to(&message, 200, Some("t"), from_peer());
                prop_assert!(!response.is_cut());
                prop_assert!(parse(response.finish(None)).is_ok());
            }
            Err(error) => {
                if let Some((answer, _)) = error.response("t", from_peer()) {
                    prop_assert!(answer.starts_with(b"SIP/2.0 400 ") || answer.starts_with(b"SIP/2.0 505 "));
                    let ends = answer.windows(4).filter(|part| *part == b"\r\n\r\n").count();
                    prop_assert_eq!(ends, 1);
                }
            }
        }
    }

    #[test]
    fn values_come_back_as_they_were_written(value in "[ -~]{0,60}") {
        let mut writer = Writer::response(200, "OK");
        writer.header(Header::Via, "SIP/2.0/UDP h;branch=z9hG4bK1");
        writer.header(Header::From, "<sip:a@b>;tag=1").header(Header::To, "<sip:a@b>");
        writer.header(Header::CallId, "x").header(Header::CSeq, "1 BYE");
        writer.header(Header::UserAgent, &value);
        let message = parse(writer.finish(None)).unwrap();
        prop_assert_eq!(message.get(Header::UserAgent), Some(value.trim()));
    }
}
