use super::*;
use crate::sip::codec;
use bytes::Bytes;

const POLICY: Policy = Policy {
    expires_seconds: 1_800,
    least_seconds: 90,
};

fn terms(headers: &str) -> Result<Terms, Malformed> {
    let text = format!(
        "INVITE sip:x@h SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n\
         From: <sip:j@h>;tag=t\r\nTo: <sip:x@h>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\
         Max-Forwards: 70\r\n{headers}Content-Length: 0\r\n\r\n"
    );
    Terms::read(&codec::parse(Bytes::from(text)).unwrap())
}

fn written(words: Words) -> String {
    let mut writer = Writer::response(200, "OK");
    words.write(&mut writer);
    let bytes = writer.finish(None);
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let lines = text
        .lines()
        .skip(1)
        .filter(|line| !line.is_empty() && !line.starts_with("Content-Length"));
    lines.collect::<Vec<_>>().join(" | ")
}

/// Seconds after `from` at which something is due.
fn after(timer: &SessionTimer, from: Instant) -> Option<u64> {
    timer.poll_timeout().map(|at| (at - from).as_secs())
}

fn at(from: Instant, seconds: u64) -> Instant {
    from + Duration::from_secs(seconds)
}

#[test]
fn terms_are_read() {
    let full =
        terms("Supported: 100rel, Timer\r\nx: 1800 ; Refresher=UAS;y=z\r\nMin-SE: 120;a\r\n");
    assert_eq!(
        full,
        Ok(Terms {
            supported: true,
            expires: Some(1_800),
            refresher: Some(Refresher::Uas),
            least: Some(120),
        })
    );
    assert!(terms("Require: timer\r\n").unwrap().supported);
    assert_eq!(terms(""), Ok(Terms::default()));
    let long = terms("Session-Expires: 99999999999999999999\r\n").unwrap();
    assert_eq!(long.expires, Some(u32::MAX));
    let odd = terms("Session-Expires: 90;refresher=both\r\n").unwrap();
    assert_eq!((odd.expires, odd.refresher), (Some(90), None));
}

#[test]
fn terms_that_cannot_be_read_are_named() {
    for wrong in ["", "-1", "1 800", "soon", ";refresher=uac", "1e3"] {
        let read = terms(&format!("Session-Expires: {wrong}\r\n"));
        assert_eq!(read, Err(Malformed(Header::SessionExpires)), "{wrong:?}");
    }
    let twice = terms("Session-Expires: 90\r\nx: 1800\r\n");
    assert_eq!(twice, Err(Malformed(Header::SessionExpires)));
    assert_eq!(terms("Min-SE: x\r\n"), Err(Malformed(Header::MinSe)));
}

/// RFC 4028 §9: 422 for who knows timers; a proxy's wish for who does not is passed over.
#[test]
fn a_short_interval_is_422_for_who_knows_timers() {
    let short = |headers: &str| terms(headers).unwrap().too_short(POLICY);
    assert_eq!(
        short("Supported: timer\r\nSession-Expires: 89\r\n"),
        Some(90)
    );
    assert_eq!(short("Supported: timer\r\nSession-Expires: 90\r\n"), None);
    assert_eq!(short("Session-Expires: 10\r\n"), None);
    assert_eq!(short("Supported: timer\r\n"), None);
    let now = Instant::now();
    let mut timer = SessionTimer::new(POLICY);
    let words = timer.grant(terms("Session-Expires: 10\r\n").unwrap(), now);
    assert_eq!(written(words), "Session-Expires: 1800;refresher=uas");
}

/// RFC 4028 §9, table 2, and the intervals: never longer than asked, never below their Min-SE.
#[test]
fn a_grant_follows_the_table() {
    let now = Instant::now();
    for (headers, expected) in [
        ("", "Session-Expires: 1800;refresher=uas"),
        (
            "Session-Expires: 600\r\n",
            "Session-Expires: 600;refresher=uas",
        ),
        (
            "Session-Expires: 600;refresher=uac\r\n",
            "Session-Expires: 600;refresher=uas",
        ),
        (
            "Supported: timer\r\n",
            "Require: timer | Session-Expires: 1800;refresher=uas",
        ),
        (
            "Supported: timer\r\nSession-Expires: 600\r\n",
            "Require: timer | Session-Expires: 600;refresher=uac",
        ),
        (
            "Supported: timer\r\nSession-Expires: 600;refresher=uas\r\n",
            "Require: timer | Session-Expires: 600;refresher=uas",
        ),
        (
            "Supported: timer\r\nSession-Expires: 600;refresher=uac\r\n",
            "Require: timer | Session-Expires: 600;refresher=uac",
        ),
        (
            "Supported: timer\r\nSession-Expires: 7200\r\n",
            "Require: timer | Session-Expires: 1800;refresher=uac",
        ),
        (
            "Supported: timer\r\nSession-Expires: 7200\r\nMin-SE: 3600\r\n",
            "Require: timer | Session-Expires: 3600;refresher=uac",
        ),
        (
            "Supported: timer\r\nMin-SE: 3600\r\n",
            "Require: timer | Session-Expires: 3600;refresher=uas",
        ),
    ] {
        let words = SessionTimer::new(POLICY).grant(terms(headers).unwrap(), now);
        assert_eq!(written(words), expected, "{headers}");
    }
}

#[test]
fn the_refresher_refreshes_at_half_the_interval() {
    let now = Instant::now();
    let mut timer = SessionTimer::new(POLICY);
    assert_eq!(written(timer.ask()), "Session-Expires: 1800");
    timer.granted(
        terms("Session-Expires: 600;refresher=uac\r\n").unwrap(),
        now,
    );
    assert_eq!(after(&timer, now), Some(300));
    assert_eq!(timer.due(at(now, 299)), None);
    assert_eq!(timer.due(at(now, 300)), Some(Due::Refresh));
    assert_eq!(written(timer.ask()), "Session-Expires: 600;refresher=uac");
    assert_eq!(
        after(&timer, now),
        Some(568),
        "the end, while it is under way"
    );
    timer.granted(
        terms("Session-Expires: 600;refresher=uac\r\n").unwrap(),
        at(now, 301),
    );
    assert_eq!(after(&timer, now), Some(601));
}

/// RFC 4028 §10: BYE before the expiry, by a third of the interval or 32 s.
#[test]
fn who_waits_for_a_refresh_gives_up_in_time() {
    let now = Instant::now();
    for (interval, end) in [(1_800, 1_768), (90, 60), (96, 64), (120, 88)] {
        let mut timer = SessionTimer::new(POLICY);
        let answer = terms(&format!("Session-Expires: {interval};refresher=uas\r\n"));
        timer.granted(answer.unwrap(), now);
        assert_eq!(after(&timer, now), Some(end));
        assert_eq!(timer.due(at(now, end - 1)), None);
        assert_eq!(
            written(timer.ask()),
            format!("Session-Expires: {interval};refresher=uas")
        );
        assert_eq!(timer.due(at(now, end)), Some(Due::Expired));
        assert_eq!(timer.poll_timeout(), None);
    }
}

#[test]
fn a_refresh_of_theirs_begins_anew_and_may_change_the_roles() {
    let now = Instant::now();
    let mut timer = SessionTimer::new(POLICY);
    timer.grant(
        terms("Supported: timer\r\nSession-Expires: 300;refresher=uac\r\n").unwrap(),
        now,
    );
    assert_eq!(after(&timer, now), Some(268));
    let refresh = terms("Supported: timer\r\nSession-Expires: 300;refresher=uac\r\n").unwrap();
    timer.grant(refresh, at(now, 150));
    assert_eq!(after(&timer, now), Some(418));
    // One without a word of it leaves the roles.
    timer.grant(
        terms("Supported: timer\r\nSession-Expires: 300\r\n").unwrap(),
        at(now, 200),
    );
    assert_eq!(after(&timer, now), Some(468));
    let other = terms("Supported: timer\r\nSession-Expires: 300;refresher=uas\r\n").unwrap();
    timer.grant(other, at(now, 300));
    assert_eq!(after(&timer, now), Some(450));
    assert_eq!(timer.due(at(now, 450)), Some(Due::Refresh));
}

/// A peer that knows no timers is refreshed all the same: a dead one shows itself.
#[test]
fn who_knows_no_timers_is_refreshed_and_never_given_up_for_it() {
    let now = Instant::now();
    let mut timer = SessionTimer::new(POLICY);
    timer.granted(Terms::default(), now);
    assert_eq!(timer.due(at(now, 900)), Some(Due::Refresh));
    assert_eq!(
        timer.poll_timeout(),
        None,
        "nothing but the transaction ends it"
    );
    timer.refused(at(now, 901));
    assert_eq!(after(&timer, now), Some(1_801));
    assert_eq!(timer.due(at(now, 4_000)), Some(Due::Refresh));
}

#[test]
fn a_422_raises_the_interval_twice_at_most() {
    let mut timer = SessionTimer::new(POLICY);
    assert!(!timer.raise(None));
    assert!(!timer.raise(Some(1_800)), "no more than was asked for");
    assert!(timer.raise(Some(3_600)));
    assert_eq!(written(timer.ask()), "Session-Expires: 3600 | Min-SE: 3600");
    assert!(timer.raise(Some(4_000)));
    assert!(!timer.raise(Some(5_000)));
    let mut timer = SessionTimer::new(POLICY);
    assert!(!timer.raise(Some(u32::MAX)), "for ever is no interval");
}

#[test]
fn a_refused_refresh_is_tried_again_in_what_is_left() {
    let now = Instant::now();
    let mut timer = SessionTimer::new(POLICY);
    timer.granted(terms("Session-Expires: 90;refresher=uac\r\n").unwrap(), now);
    let mut tries = 0;
    let end = loop {
        let last = timer.poll_timeout().unwrap();
        match timer.due(last) {
            Some(Due::Refresh) => timer.refused(last),
            Some(Due::Expired) => break last,
            None => panic!("nothing due"),
        }
        tries += 1;
        assert!(tries < 10);
    };
    assert!(tries > 1);
    assert_eq!((end - now).as_secs(), 60);
}

#[test]
fn a_refresh_waits_while_an_invite_is_under_way() {
    let now = Instant::now();
    let mut timer = SessionTimer::new(POLICY);
    timer.granted(terms("Session-Expires: 90;refresher=uac\r\n").unwrap(), now);
    assert_eq!(timer.due(at(now, 45)), Some(Due::Refresh));
    timer.put_off(at(now, 45));
    assert_eq!(timer.due(at(now, 46)), None);
    assert_eq!(timer.due(at(now, 47)), Some(Due::Refresh));
}

/// `session_expires = "0s"`: none of ours, theirs are honoured.
#[test]
fn without_a_wish_of_ours_theirs_counts() {
    let now = Instant::now();
    let policy = Policy {
        expires_seconds: 0,
        least_seconds: 90,
    };
    let mut timer = SessionTimer::new(policy);
    assert_eq!(written(timer.ask()), "");
    timer.granted(Terms::default(), now);
    assert_eq!(timer.poll_timeout(), None);
    assert_eq!(
        written(timer.grant(terms("Supported: timer\r\n").unwrap(), now)),
        ""
    );
    let asked = terms("Supported: timer\r\nSession-Expires: 7200;refresher=uas\r\n").unwrap();
    let words = timer.grant(asked, now);
    assert_eq!(
        written(words),
        "Require: timer | Session-Expires: 7200;refresher=uas"
    );
    assert_eq!(after(&timer, now), Some(3_600));
}

/// A peer cannot make us refresh by the second, nor wait for ever.
#[test]
fn intervals_are_bounded() {
    let now = Instant::now();
    let mut timer = SessionTimer::new(POLICY);
    timer.granted(terms("Session-Expires: 1;refresher=uac\r\n").unwrap(), now);
    assert_eq!(after(&timer, now), Some(45));
    timer.granted(
        terms("Session-Expires: 4294967295;refresher=uas\r\n").unwrap(),
        now,
    );
    assert_eq!(after(&timer, now), Some(86_400 - 32));
}
