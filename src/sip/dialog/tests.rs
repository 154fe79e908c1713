use super::*;
use crate::sip::codec;
use crate::sip::message::Transport;
use bytes::Bytes;

fn path(remote: &str) -> Path {
    Path {
        transport: Transport::Udp,
        local: "203.0.113.1:5060".parse().unwrap(),
        remote: remote.parse().unwrap(),
    }
}

fn request(method: &str, cseq: u32, extra: &str) -> Message {
    let text = format!(
        "{method} sip:x@203.0.113.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n\
         From: \"J\" <sip:j@h>;tag=Theirs\r\nTo: <sip:x@203.0.113.1>\r\nCall-ID: c@h\r\n\
         CSeq: {cseq} {method}\r\nMax-Forwards: 70\r\n{extra}Content-Length: 0\r\n\r\n"
    );
    codec::parse(Bytes::from(text)).unwrap()
}

fn response(extra: &str) -> Message {
    let text = format!(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 203.0.113.1;branch=z9hG4bKb\r\n\
         From: <sip:us@203.0.113.1>;tag=bcdfghjklmnpqrst\r\nTo: <sip:y@h>;tag=theirs\r\n\
         Call-ID: ours\r\nCSeq: 7 INVITE\r\n{extra}Content-Length: 0\r\n\r\n"
    );
    codec::parse(Bytes::from(text)).unwrap()
}

const TAG: Tag = Tag(0x1234_5678_9abc_def0);

#[test]
fn the_callees_side_of_an_invite() {
    let invite = request("INVITE", 4, "Contact: <sip:j@192.0.2.9:5080>\r\n");
    let dialog = Dialog::from_invite(&invite, TAG, path("192.0.2.1:5060")).unwrap();
    assert_eq!(&*dialog.local, format!("<sip:x@203.0.113.1>;tag={TAG}"));
    assert_eq!(&*dialog.remote, "\"J\" <sip:j@h>;tag=Theirs");
    assert_eq!(&*dialog.remote_tag, "Theirs");
    assert_eq!(dialog.request_uri(), "sip:j@192.0.2.9:5080");
    assert_eq!(dialog.path, path("192.0.2.9:5080"));
    assert_eq!((dialog.local_cseq, dialog.remote_cseq), (0, 4));
    let none = request("INVITE", 4, "");
    assert!(Dialog::from_invite(&none, TAG, path("192.0.2.1:5060")).is_none());
    let star = request("INVITE", 4, "Contact: *\r\n");
    assert!(Dialog::from_invite(&star, TAG, path("192.0.2.1:5060")).is_none());
}

#[test]
fn the_callers_side_of_a_2xx() {
    let success = response("Contact: sip:y@gw.example;x=1\r\n");
    let local = (TAG, "<sip:us@203.0.113.1>;tag=q");
    let dialog = Dialog::from_success(&success, local, "sip:fallback@h", path("192.0.2.1:5070"));
    assert_eq!(&*dialog.remote, "<sip:y@h>;tag=theirs");
    assert_eq!((dialog.local_cseq, dialog.remote_cseq), (7, 0));
    assert_eq!(&*dialog.target, "sip:y@gw.example");
    assert_eq!(
        dialog.path,
        path("192.0.2.1:5070"),
        "a name is where the peer is"
    );
    let dialog = Dialog::from_success(&response(""), local, "sip:f@h", path("192.0.2.1:5070"));
    assert_eq!(&*dialog.target, "sip:f@h");
}

#[test]
fn requests_are_matched_by_all_three() {
    let invite = request("INVITE", 4, "Contact: <sip:j@192.0.2.9>\r\n");
    let dialog = Dialog::from_invite(&invite, TAG, path("192.0.2.1:5060")).unwrap();
    let bye = |to_tag: &str, from_tag: &str, call_id: &str| {
        let text = format!(
            "BYE sip:x SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKc\r\nFrom: <sip:j@h>;tag={from_tag}\r\n\
             To: <sip:x@y>;tag={to_tag}\r\nCall-ID: {call_id}\r\nCSeq: 5 BYE\r\nMax-Forwards: 1\r\n\r\n"
        );
        codec::parse(Bytes::from(text)).unwrap()
    };
    let ours = TAG.to_string();
    assert!(dialog.matches_request(&bye(&ours, "Theirs", "c@h")));
    assert!(!dialog.matches_request(&bye(&Tag(1).to_string(), "Theirs", "c@h")));
    assert!(!dialog.matches_request(&bye(&ours, "other", "c@h")));
    assert!(!dialog.matches_request(&bye(&ours, "Theirs", "C@h")));
}

#[test]
fn a_target_refresh_leaves_the_route_set() {
    let invite = request(
        "INVITE",
        4,
        "Contact: <sip:j@192.0.2.9>\r\nRecord-Route: <sip:192.0.2.3;lr>\r\n",
    );
    let mut dialog = Dialog::from_invite(&invite, TAG, path("192.0.2.1:5060")).unwrap();
    let refresh = request(
        "INVITE",
        5,
        "Contact: <sip:j@192.0.2.77>\r\nRecord-Route: <sip:192.0.2.4;lr>\r\n",
    );
    dialog.refresh_target(&refresh);
    assert_eq!(dialog.request_uri(), "sip:j@192.0.2.77");
    assert_eq!(dialog.path, path("192.0.2.3:5060"));
    assert_eq!(
        dialog.route_values().collect::<Vec<_>>(),
        ["<sip:192.0.2.3;lr>"]
    );
    dialog.refresh_target(&request("INVITE", 6, ""));
    assert_eq!(dialog.request_uri(), "sip:j@192.0.2.77");
}

#[test]
fn routes_loose_and_strict() {
    let routes = |header: &str| RouteSet::of_request(&request("INVITE", 1, header));
    for loose in [
        "<sip:p;lr>",
        "<sip:p;lr=on;x>",
        "<sip:p;LR>",
        "<sip:p;x=y;lr=true>",
    ] {
        let set = routes(&format!("Record-Route: {loose}\r\n"));
        assert_eq!(set.strict(), None, "{loose}");
        assert_eq!(set.values("sip:t@h").collect::<Vec<_>>(), [loose]);
    }
    let set = routes("Record-Route: <sip:p1;alr>, <sip:p2;lr>\r\n");
    assert_eq!(set.strict(), Some("sip:p1;alr"));
    assert_eq!(
        set.values("sip:t@h").collect::<Vec<_>>(),
        ["<sip:p2;lr>", "<sip:t@h>"]
    );
}

#[test]
fn the_next_hop_is_a_literal_of_our_family_or_where_they_are() {
    let set = RouteSet::default();
    let at = path("192.0.2.1:5070");
    for (target, expected) in [
        ("sip:a@192.0.2.8", "192.0.2.8:5060"),
        ("sip:a@192.0.2.8:5099;transport=udp", "192.0.2.8:5099"),
        ("sip:a@host.example:5099", "192.0.2.1:5070"),
        ("sip:a@[2001:db8::1]", "192.0.2.1:5070"),
        ("sip:a@0.0.0.0", "192.0.2.1:5070"),
        ("sip:a@192.0.2.8:0", "192.0.2.1:5070"),
        ("tel:+601", "192.0.2.1:5070"),
        ("nonsense", "192.0.2.1:5070"),
    ] {
        assert_eq!(set.next_hop(target, at), path(expected), "{target}");
    }
}

#[test]
fn a_route_set_is_bounded() {
    let many = "Record-Route: <sip:p;lr>\r\n".repeat(60);
    let set = RouteSet::of_request(&request("INVITE", 1, &many));
    assert_eq!(set.raw().count(), 16);
}

#[test]
fn the_next_hop_has_the_transport_of_its_uri() {
    let set = RouteSet::default();
    let at = Path {
        transport: Transport::Tcp,
        ..path("192.0.2.1:5070")
    };
    for (target, transport, remote) in [
        ("sip:a@192.0.2.8", Transport::Tcp, "192.0.2.8:5060"),
        (
            "sip:a@192.0.2.8;transport=UDP",
            Transport::Udp,
            "192.0.2.8:5060",
        ),
        (
            "sip:a@192.0.2.8;transport=tls",
            Transport::Tls,
            "192.0.2.8:5061",
        ),
        ("sips:a@192.0.2.8", Transport::Tls, "192.0.2.8:5061"),
        (
            "sip:a@host.example;transport=udp",
            Transport::Tcp,
            "192.0.2.1:5070",
        ),
    ] {
        let expected = Path {
            transport,
            ..path(remote)
        };
        assert_eq!(set.next_hop(target, at), expected, "{target}");
    }
}

#[test]
fn a_dialog_goes_back_on_the_connection_that_it_came_by() {
    let by_tcp = |remote: &str| Path {
        transport: Transport::Tcp,
        ..path(remote)
    };
    let came = by_tcp("192.0.2.9:40000");
    let from = |contact: &str| {
        let invite = request("INVITE", 4, &format!("Contact: <{contact}>\r\n"));
        Dialog::from_invite(&invite, TAG, came).unwrap().path
    };
    assert_eq!(from("sip:j@192.0.2.9:5080;transport=tcp"), came);
    assert_eq!(from("sip:j@192.0.2.9"), came);
    // Another address, or another transport, is another place.
    assert_eq!(from("sip:j@192.0.2.7:5080"), by_tcp("192.0.2.7:5080"));
    assert_eq!(
        from("sip:j@192.0.2.9:5080;transport=udp"),
        path("192.0.2.9:5080")
    );
    let refresh = request("INVITE", 5, "Contact: <sip:j@192.0.2.7:5080>\r\n");
    let invite = request("INVITE", 4, "Contact: <sip:j@192.0.2.9>\r\n");
    let mut dialog = Dialog::from_invite(&invite, TAG, came).unwrap();
    dialog.refresh_target(&refresh);
    assert_eq!(dialog.path, by_tcp("192.0.2.7:5080"));
}
