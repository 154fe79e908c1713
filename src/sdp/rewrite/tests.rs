use super::*;
use crate::domain::srtp::Srtp;
use crate::sdp::parse;
use proptest::prelude::*;

struct Setting {
    from: CodecList,
    to: CodecList,
    mux: bool,
    reorder: bool,
    address: &'static str,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            from: CodecList::default(),
            to: CodecList::default(),
            mux: false,
            reorder: true,
            address: "198.51.100.7",
        }
    }
}

fn rewritten(body: &[u8], setting: &Setting) -> Option<String> {
    let description = parse(body).ok()?;
    let shape = Shape::of_offer(&description, Srtp::None)?;
    let media = shape.audio_of(&description)?;
    let place = crate::sdp::shape::place(&description, media, false)?;
    let terms = Terms {
        address: setting.address.parse().unwrap(),
        port: 20_000,
        session: 7,
        version: 3,
        shape: &shape,
        rtcp_mux: setting.mux,
        unspecified: place == crate::sdp::shape::Place::Unspecified,
        from_codecs: &setting.from,
        to_codecs: &setting.to,
        reorder: setting.reorder,
        protocol: shape.protocol(),
        crypto: &[],
    };
    rewrite(&description, &terms).map(|bytes| String::from_utf8(bytes).unwrap())
}

fn plain(media: &str) -> Option<String> {
    let body = format!("v=0\r\no=x 1 1 IN IP4 203.0.113.5\r\nc=IN IP4 203.0.113.5\r\n{media}");
    rewritten(body.as_bytes(), &Setting::default())
}

#[test]
fn a_whole_description_is_ours() {
    let body = b"v=0\r\no=60123456789 1 1 IN IP4 203.0.113.5\r\ns=60123456789\r\ni=60123456789\r\n\
u=http://203.0.113.5/\r\ne=alice@203.0.113.5\r\np=+60 12-345 6789\r\nc=IN IP4 203.0.113.5\r\n\
b=AS:64\r\nt=0 0\r\nk=clear:60123456789\r\na=ice-ufrag:60123456789\r\na=group:BUNDLE 1\r\n\
m=audio 4000 RTP/AVP 8 0 101\r\ni=60123456789\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n\
a=candidate:1 1 udp 1 203.0.113.5 4000 typ host\r\na=rtcp:4009 IN IP4 203.0.113.5\r\n\
a=ssrc:1 cname:60123456789\r\na=cname:60123456789\r\na=extmap:1 urn:x\r\na=label:60123456789\r\n\
a=mid:1\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\r\na=x-60123456789\r\na=ptime:20\r\n";
    assert_eq!(
        rewritten(body, &Setting::default()).unwrap(),
        "v=0\r\no=- 7 3 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\nb=AS:64\r\nt=0 0\r\n\
m=audio 20000 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\n"
    );
}

#[test]
fn it_is_written_in_the_other_family() {
    let setting = Setting {
        address: "2001:db8::7",
        mux: true,
        ..Setting::default()
    };
    let body = b"v=0\r\nc=IN IP4 203.0.113.5\r\nm=audio 4000 RTP/AVP 0\r\n";
    let written = rewritten(body, &setting).unwrap();
    assert!(written.contains("o=- 7 3 IN IP6 2001:db8::7\r\n"));
    assert!(written.contains("c=IN IP6 2001:db8::7\r\n"));
    assert!(written.ends_with("a=rtcp-mux\r\n"));
}

#[test]
fn hold_is_passed_as_meant() {
    let old = plain("m=audio 4000 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\n").unwrap();
    assert!(
        old.contains("c=IN IP4 0.0.0.0\r\n") && old.ends_with("a=sendonly\r\n"),
        "{old}"
    );
    let old = plain("m=audio 4000 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\na=recvonly\r\n").unwrap();
    assert!(old.ends_with("a=inactive\r\n"), "{old}");
    for direction in ["sendrecv", "sendonly", "recvonly", "inactive"] {
        let media = format!("m=audio 4000 RTP/AVP 0\r\na={direction}\r\n");
        assert!(
            plain(&media)
                .unwrap()
                .ends_with(&format!("a={direction}\r\n"))
        );
        let session = format!("a={direction}\r\nm=audio 4000 RTP/AVP 0\r\n");
        assert!(
            plain(&session)
                .unwrap()
                .ends_with(&format!("a={direction}\r\n"))
        );
    }
    assert!(
        !plain("m=audio 4000 RTP/AVP 0\r\n")
            .unwrap()
            .contains("sendrecv")
    );
}

#[test]
fn further_lines_stay_in_place_with_port_0() {
    let written = plain(
        "m=video 5000 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\nm=audio 4000 RTP/AVP 0\r\n\
m=text 5002 RTP/AVP 98\r\nm=image 5004 udptl t38\r\nm=message 5006 TCP/MSRP *\r\n",
    )
    .unwrap();
    let lines: Vec<&str> = written
        .lines()
        .filter(|line| line.starts_with("m="))
        .collect();
    assert_eq!(
        lines,
        [
            "m=video 0 RTP/AVP 96",
            "m=audio 20000 RTP/AVP 0",
            "m=text 0 RTP/AVP 98",
            "m=image 0 udptl t38",
            "m=message 0 TCP/MSRP *",
        ]
    );
    assert!(!written.contains("H264"));
}

#[test]
fn ended_audio_stays_ended() {
    let written = plain("m=audio 0 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n").unwrap();
    assert!(written.ends_with("m=audio 0 RTP/AVP 8\r\n"), "{written}");
}

#[test]
fn codecs_are_filtered_and_ordered_for_offers() {
    let body = b"v=0\r\nc=IN IP4 203.0.113.5\r\nm=audio 4000 RTP/AVP 0 101 96 8 18\r\n\
a=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1\r\na=rtpmap:101 telephone-event/8000\r\n";
    let list = |names: &[&str]| CodecList::read(names).unwrap();
    let first = |setting: &Setting| {
        let written = rewritten(body, setting)?;
        let line = written.lines().find(|line| line.starts_with("m=audio"));
        Some(line?["m=audio 20000 RTP/AVP ".len()..].to_owned())
    };
    let to = |to, reorder| Setting {
        to,
        reorder,
        ..Setting::default()
    };
    assert_eq!(
        first(&to(list(&["PCMA", "PCMU"]), true)).unwrap(),
        "8 0 101"
    );
    assert_eq!(
        first(&to(list(&["PCMA", "PCMU"]), false)).unwrap(),
        "0 101 8"
    );
    assert_eq!(
        first(&to(list(&["GSM"]), true)),
        None,
        "tones carry no call"
    );
    let both = Setting {
        from: list(&["G729", "PCMU"]),
        to: list(&["PCMU", "PCMA"]),
        ..Setting::default()
    };
    assert_eq!(first(&both).unwrap(), "0 101");
    let from = Setting {
        from: list(&["G729", "opus"]),
        ..Setting::default()
    };
    assert_eq!(first(&from).unwrap(), "18 96 101");
}

#[test]
fn formats_without_meaning_go() {
    let written = plain(
        "m=audio 4000 RTP/AVP 0 0 96 97 77777 98\r\na=rtpmap:97 60123456789/8000\r\n\
a=rtpmap:98 x/8000\r\na=fmtp:98 number=60123456789\r\na=fmtp:0 addr=203.0.113.5\r\n",
    )
    .unwrap();
    assert!(
        written.contains("m=audio 20000 RTP/AVP 0 98\r\n"),
        "{written}"
    );
    assert!(!written.contains("fmtp"));
}

proptest! {
    /// Whatever stands in the body, no planted number or address comes out, and what comes out is
    /// read again as a description with the same audio.
    #[test]
    fn nothing_planted_passes(lines in proptest::collection::vec(
        prop_oneof![
            "[a-z]=[ -~]{0,20}60123456789[ -~]{0,10}",
            "a=[a-z]{1,8}:[0-9]{1,3} [ -~]{0,10}203\\.0\\.113\\.5[ -~]{0,10}",
            "a=fmtp:(0|8|96) [ -~]{0,10}(60123456789|203\\.0\\.113\\.5|6012-345 6789)[ -~]{0,10}",
            "a=fmtp:(0|8|96) (x=)?601[,;:=*+|'#/a-z]277[,;:=*+|'#/a-z]712[,;:=*+|'#/a-z]34",
            "a=rtpmap:96 (60123456789|203\\.0\\.113\\.5|opus)/[013-9]{1,9}(/2)?",
            "b=[A-Z]{2}:60123456789",
        ], 0..12), before in 0usize..12)
    {
        let mut body = String::from("v=0\r\no=60123456789 1 1 IN IP4 203.0.113.5\r\nc=IN IP4 203.0.113.5\r\n");
        for (number, line) in lines.iter().enumerate() {
            if number == before.min(lines.len() - 1) {
                body.push_str("m=audio 4000 RTP/AVP 0 8 96\r\n");
            }
            body.push_str(line);
            body.push_str("\r\n");
        }
        if let Some(written) = rewritten(body.as_bytes(), &Setting::default()) {
            prop_assert!(!written.contains("60123456789"), "{}", written);
            prop_assert!(!written.contains("203.0.113.5"), "{}", written);
            prop_assert!(!written.contains("277"), "{}", written);
            let foreign = written.replace("198.51.100.7", "");
            let runs = foreign.split(|c: char| !c.is_ascii_digit());
            prop_assert!(runs.map(str::len).max() < Some(7), "{}", written);
            let again = parse(written.as_bytes()).unwrap();
            prop_assert_eq!(again.media.iter().filter(|media| media.kind == "audio" && media.port == 20_000).count(), 1);
        }
    }
}
