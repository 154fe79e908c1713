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
        "60,123456789",
        "60    123456789",
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
