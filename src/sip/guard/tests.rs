use super::*;
use proptest::prelude::*;

const NUMBER: &str = "60123456789";

fn guard() -> Guard {
    let mut guard = Guard::default();
    assert!(guard.protect(Side::Caller, "+60 12-345 6789"));
    assert!(guard.protect(Side::Caller, "0123456789"));
    assert!(guard.learn_ip(Side::Callee, "198.51.100.7".parse().unwrap()));
    assert!(guard.learn_host(Side::Callee, "Pbx.Callee.Example"));
    assert!(guard.learn_host(Side::Callee, "2001:DB8:0::7"));
    guard
}

fn message(header: &str, body: &str) -> Bytes {
    Bytes::from(format!(
        "INVITE sip:alice@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.1;branch=z9hG4bKx\r\n\
         From: <sip:b@203.0.113.1>;tag=x\r\nTo: <sip:alice@192.0.2.1>\r\nCall-ID: qq\r\n\
         CSeq: 1 INVITE\r\nContact: <sip:203.0.113.1>\r\n{header}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

fn check(header: &str, body: &str) -> Verdict {
    guard().check(&message(header, body), Side::Caller, Echo::Request(&[]))
}

#[test]
fn nothing_protected_is_clean() {
    let guard = Guard::default();
    let bytes = message("Subject: 60123456789", "");
    assert_eq!(
        guard.check(&bytes, Side::Caller, Echo::Response),
        Verdict::Clean
    );
}

#[test]
fn a_number_is_found_however_it_is_written() {
    for text in [
        "60123456789",
        "+60123456789",
        "0060123456789",
        "+60 12-345 6789",
        "+60(12)345.6789",
        "%2B60123456789",
        "%36%30123456789",
        "a%2060123456789",
        "6%301%323456789",
        "60%2D123456789",
        "tel60123456789x",
        "0123456789",
        "5 60123456789",
        "60123456789 5060",
        "6\\0123456789",
        "60,123456789",
        "60    123456789",
        "6;0:1=2*3+4|5'6#7!8&9",
        "60 - 12 @ <345> [67]8?9",
    ] {
        let verdict = check(&format!("Subject: {text}"), "");
        let Verdict::Cleaned { bytes, fields } = verdict else {
            panic!("{text} passed: {verdict:?}");
        };
        assert_eq!(&*fields[0], "Subject");
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("Subject"));
        assert!(text.ends_with("Contact: <sip:203.0.113.1>\r\nContent-Length: 0\r\n\r\n"));
    }
}

#[test]
fn other_digits_pass() {
    for text in [
        "160123456789",
        "601234567890",
        "60123456788",
        "6012345678",
        "%3660123456789",
        "60123456789%30",
        "10123456789",
    ] {
        assert_eq!(
            check(&format!("Subject: {text}"), ""),
            Verdict::Clean,
            "{text}"
        );
    }
}

#[test]
fn addresses_are_found_at_their_boundaries() {
    for text in [
        "198.51.100.7",
        "<sip:198.51.100.7:5060>",
        "user198.51.100.7",
        "pbx.callee.example",
        "x@PBX.callee.EXAMPLE.",
        "a.pbx.callee.example",
        "[2001:db8::7]:5060",
        "2001:DB8:0::7",
    ] {
        let verdict = check(&format!("Call-Info: {text}"), "");
        assert!(matches!(verdict, Verdict::Cleaned { .. }), "{text}");
    }
    for text in [
        "198.51.100.77",
        "1198.51.100.7",
        "1.198.51.100.7",
        "198.51.100.7.1",
        "pbx.callee.example.org",
        "xpbx.callee.example",
        "2001:db8::7:1",
        "12001:db8::7",
    ] {
        assert_eq!(
            check(&format!("Call-Info: {text}"), ""),
            Verdict::Clean,
            "{text}"
        );
    }
}

#[test]
fn what_the_receiver_uses_too_is_not_protected() {
    let mut guard = guard();
    assert!(guard.learn_ip(Side::Caller, "198.51.100.7".parse().unwrap()));
    let bytes = message("Call-Info: 198.51.100.7", "");
    assert_eq!(
        guard.check(&bytes, Side::Caller, Echo::Request(&[])),
        Verdict::Clean
    );
}

#[test]
fn words_and_holds_are_no_addresses() {
    let mut guard = Guard::default();
    for host in ["localhost", "sip", "anonymous.invalid", "0.0.0.0", "::"] {
        assert!(guard.learn_host(Side::Callee, host));
    }
    let bytes = message("Subject: localhost sip anonymous.invalid 0.0.0.0", "");
    assert_eq!(
        guard.check(&bytes, Side::Caller, Echo::Request(&[])),
        Verdict::Clean
    );
}

#[test]
fn every_header_is_watched() {
    for name in [
        "P-Asserted-Identity",
        "Remote-Party-ID",
        "Diversion",
        "History-Info",
        "Referred-By",
        "Reply-To",
        "Call-Info",
        "Alert-Info",
        "Identity",
        "Subject",
        "User-Agent",
        "Server",
        "Warning",
        "X-Anything",
        "Reason",
        "Organization",
    ] {
        let verdict = check(&format!("{name}: x{NUMBER}"), "");
        let Verdict::Cleaned { bytes, fields } = verdict else {
            panic!("{name}: {verdict:?}");
        };
        assert_eq!(&*fields[0], name);
        assert!(!String::from_utf8_lossy(&bytes).contains(NUMBER));
    }
    for line in ["Contact", "Content-Type", "Route", "From", "Via", "Call-ID"] {
        let verdict = check(&format!("{line}: <sip:{NUMBER}@x>"), "");
        assert_eq!(verdict, Verdict::Withheld(line.into()));
    }
}

#[test]
fn a_description_is_withheld_whole() {
    for line in [
        "o=- 1 1 IN IP4 198.51.100.7",
        "c=IN IP4 198.51.100.7",
        "s=60123456789",
        "a=candidate:1 1 UDP 1 198.51.100.7 4000 typ host",
        "a=cname:0123456789",
    ] {
        let verdict = check("Subject: x", &format!("v=0\r\n{line}\r\n"));
        assert!(matches!(verdict, Verdict::Withheld(_)), "{line}");
    }
}

#[test]
fn two_fields_go_and_are_both_named() {
    let verdict = check("Subject: 60123456789\r\nX-A: y\r\nX-B: 198.51.100.7", "");
    let Verdict::Cleaned { bytes, fields } = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(fields, ["Subject".into(), "X-B".into()] as [Box<str>; 2]);
    assert!(bytes.ends_with(b"X-A: y\r\nContent-Length: 0\r\n\r\n"));
}

const HEAD: &str = "Subject: x\r\nContent-Type: application/sdp";

/// A description of ours with this line.
fn described(line: &str) -> String {
    format!(
        "v=0\r\no=- 7 3 IN IP4 203.0.113.1\r\ns=-\r\nc=IN IP4 203.0.113.1\r\nt=0 0\r\n\
         m=audio 20000 RTP/AVP 0\r\n{line}\r\na=ptime:20\r\n"
    )
}

#[test]
fn format_parameters_in_which_a_value_stands_in_pieces_go_and_the_call_does_not() {
    for text in [
        "601;234;567;89",
        "6,0,1,2,3,4,5,6,7,8,9",
        "60=123*456789",
        "60/123/456/789",
        "601a234b567c89",
        "maxplaybackrate=601;maxptime=234;minptime=567;ptime=89",
        "0123456789",
        "198.51.100.7",
        "198/51/100/7",
        "198,51,100,7",
        "a=198;b=51;c=100;d=7",
        "config=c6336407",
        "x=3325256711",
        "config=20010db8000000000000000000000007",
    ] {
        let body = described(&format!("a=fmtp:96 {text}"));
        let Verdict::Cleaned { bytes, fields } = check(HEAD, &body) else {
            panic!("{text}");
        };
        assert_eq!(fields, ["body a=fmtp".into()] as [Box<str>; 1], "{text}");
        let text = String::from_utf8_lossy(&bytes);
        let (head, left) = text.split_once("\r\n\r\n").unwrap();
        assert!(left.ends_with("RTP/AVP 0\r\na=ptime:20\r\n"), "{left}");
        let length = format!("Content-Length: {}", left.len());
        assert!(head.ends_with(&length), "{head}");
        assert!(head.contains("Subject: x"));
    }
    for text in [
        "0-15",
        "mode-set=0,1,2,3,4,5,6,7",
        "maxaveragebitrate=20000;useinbandfec=1",
        "601;234;567;899",
        "9601;234;567;89",
        "198/51/100/71",
        "config=c6336408",
    ] {
        let body = described(&format!("a=fmtp:96 {text}"));
        assert_eq!(check(HEAD, &body), Verdict::Clean, "{text}");
    }
    let body = described("b=AS:60123456789");
    assert!(matches!(check(HEAD, &body), Verdict::Cleaned { .. }));
    let body = described("m=audio 6,01,23,45,67,89 RTP/AVP 0");
    assert!(matches!(check(HEAD, &body), Verdict::Withheld(_)));
}

/// A guard of a subscriber whose national number is as short as a port.
fn short(numbers: &[&str]) -> Guard {
    let mut guard = Guard::new(
        ["203.0.113.1", "2001:1234::5"]
            .map(|a| a.parse().unwrap())
            .into(),
    );
    for number in numbers {
        assert!(guard.protect(Side::Caller, number));
    }
    assert!(guard.learn_ip(Side::Caller, "192.0.2.1".parse().unwrap()));
    guard
}

#[test]
fn our_own_words_are_no_numbers() {
    let guard = short(&[
        "22122",
        "51966",
        "519663",
        "40000",
        "48000",
        "480002",
        "16000",
        "20301131",
        "203011315060",
        "4203011131",
        "420301131",
        "1920215080",
        "51966342030113",
        "200112345",
        "2001123455060",
    ]);
    let body = "v=0\r\no=- 51966 3 IN IP4 203.0.113.1\r\ns=-\r\nc=IN IP4 203.0.113.1\r\nt=0 0\r\n\
                m=audio 22122 RTP/AVP 96 97\r\nc=IN IP4 0.0.0.0\r\na=rtpmap:96 opus/48000/2\r\n\
                a=rtpmap:97 AMR-WB/16000\r\n";
    let head = "INVITE sip:alice@192.0.2.1:5080 SIP/2.0\r\n\
                Via: SIP/2.0/UDP 203.0.113.1:5060;branch=z9hG4bKx\r\n\
                Via: SIP/2.0/UDP [2001:1234::5]:5060;branch=z9hG4bKx\r\n\
                From: <sip:b@203.0.113.1>;tag=x\r\nContact: <sip:203.0.113.1:5060>\r\n";
    let bytes = Bytes::from(format!("{head}\r\n{body}"));
    let verdict = guard.check(&bytes, Side::Caller, Echo::Request(&[]));
    assert_eq!(verdict, Verdict::Clean);
}

#[test]
fn what_is_not_ours_is_watched_in_those_places_too() {
    let guard = short(&["22122", "60123456789", "20301132", "20301131"]);
    for line in [
        "o=22122 1 1 IN IP4 203.0.113.1",
        "o=- 60123456789 1 IN IP4 203.0.113.1",
        "o=- 1 1 IN IP4 203.0.113.2",
        "o=- 1 1 IN IP4 203.0.113.1 22122",
        "o=- 1 1 IN IP4 22122",
        "c=IN IP4 203.0.113.1 22122",
        "s=22122",
        "m=audio 9 RTP/AVP 22122",
        "m=audio 22 122 RTP/AVP 0",
        "m=audio 60123456789 RTP/AVP 0",
        "a=rtpmap:96 x/22122",
        "a=rtpmap:96 x22122/48000",
        "a=x:22122",
    ] {
        let bytes = message("Subject: x", &format!("v=0\r\n{line}\r\n"));
        let verdict = guard.check(&bytes, Side::Caller, Echo::Request(&[]));
        assert!(matches!(verdict, Verdict::Withheld(_)), "{line}");
    }
    for value in [
        "22122",
        "203.0.113.2",
        "203.0.113.1 (22122)",
        "203.0.113.1:5060 22122",
        "2.0.3.0.1.1.3.1",
    ] {
        let bytes = message(&format!("X-A: {value}"), "");
        let verdict = guard.check(&bytes, Side::Caller, Echo::Request(&[]));
        assert!(matches!(verdict, Verdict::Cleaned { .. }), "{value}");
    }
}

#[test]
fn an_echo_passes_in_a_response() {
    let bytes = Bytes::from(format!(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a;branch={NUMBER}\r\nFrom: <sip:{NUMBER}@x>;tag=1\r\n\
         To: <sip:x@198.51.100.7>;tag=2\r\nCall-ID: {NUMBER}@x\r\nCSeq: 1 INVITE\r\n\
         Content-Length: 0\r\n\r\n"
    ));
    assert_eq!(
        guard().check(&bytes, Side::Caller, Echo::Response),
        Verdict::Clean
    );
    let verdict = guard().check(&bytes, Side::Caller, Echo::Request(&[]));
    assert_eq!(verdict, Verdict::Withheld("Via".into()));
}

#[test]
fn a_request_may_repeat_what_its_receiver_sent() {
    let bytes = Bytes::from(format!(
        "BYE sip:{NUMBER}@192.0.2.1 SIP/2.0\r\nTo: <sip:{NUMBER}@x>;tag=1\r\nCall-ID: q\r\n\r\n"
    ));
    let target = format!("sip:{NUMBER}@192.0.2.1");
    let sent = [target.as_str()];
    assert_eq!(
        guard().check(&bytes, Side::Caller, Echo::Request(&sent)),
        Verdict::Clean
    );
    let other = ["sip:x@192.0.2.1"];
    assert!(matches!(
        guard().check(&bytes, Side::Caller, Echo::Request(&other)),
        Verdict::Withheld(_)
    ));
}

#[test]
fn there_is_a_most() {
    let mut guard = Guard::default();
    let kept = (0..100).filter(|n| guard.protect(Side::Caller, &format!("0{:09}", 7_000_000 + n)));
    assert_eq!(kept.count(), MOST);
    let kept = (0..100u8).filter(|n| guard.learn_ip(Side::Caller, [10, 0, 0, *n].into()));
    assert_eq!(kept.count(), MOST);
}

proptest! {
    /// The plain reading of the rule: whatever stands around a planted number, if it stands at
    /// its boundaries it is found, and what is left does not hold it.
    #[test]
    fn a_planted_number_never_leaves(
        before in "[ -~]{0,20}", after in "[ -~]{0,20}", separator in "[-. ()]{0,3}",
        split in 1usize..11,
    ) {
        let (head, tail) = NUMBER.split_at(split);
        let value = format!("{before}|{head}{separator}{tail}|{after}");
        let verdict = check(&format!("Subject: {value}"), "");
        prop_assert!(matches!(verdict, Verdict::Cleaned { .. }), "{}", value);
    }

    #[test]
    fn any_bytes_are_looked_at_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = guard().check(&Bytes::from(bytes), Side::Caller, Echo::Request(&["x"]));
    }
}

/// An Identity header whose claims are this text.
fn claiming(name: &str, claims: &str) -> String {
    use base64::Engine;
    let base64 = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    format!(
        "{name}: e30.{}.c2ln;info=<https://a/b>",
        base64.encode(claims)
    )
}

#[test]
fn what_an_identity_hides_in_base64_is_found() {
    for (claims, clean) in [
        (r#"{"orig":{"tn":"60388880001"}}"#, true),
        (r#"{"orig":{"tn":"60123456789"}}"#, false),
        (r#"{"dest":{"tn":["1","60123456789"]}}"#, false),
        (r#"{"dest":{"uri":["sip:a@198.51.100.7"]}}"#, false),
    ] {
        for name in ["Identity", "identity", "y"] {
            match check(&claiming(name, claims), "") {
                Verdict::Clean => assert!(clean, "{claims}"),
                Verdict::Cleaned { bytes, fields } => {
                    assert!(!clean, "{claims}");
                    assert_eq!(fields, [Box::<str>::from("Identity")]);
                    assert!(!bytes.windows(9).any(|part| part == b"info=<htt"));
                }
                Verdict::Withheld(what) => panic!("{what}"),
            }
        }
    }
    // What cannot be read does not pass on trust.
    let unread = check("Identity: nothing", "");
    assert!(matches!(unread, Verdict::Cleaned { .. }), "{unread:?}");
}
