use super::*;
use proptest::prelude::*;

fn of(codec: &str, text: &str) -> Option<String> {
    let codec = Codec::read(codec).unwrap();
    passing(Some(&codec), text).map(Cow::into_owned)
}

#[test]
fn usual_format_parameters_pass_as_they_are() {
    for (codec, text) in [
        ("telephone-event/8000", "0-15"),
        ("telephone-event/8000", "0-11,66,70"),
        ("telephone-event/48000", "0-16, 32-49"),
        ("G729/8000", "annexb=no"),
        ("G723/8000", "annexa=yes;bitrate=6.3"),
        ("AMR/8000", "mode-set=0,1,2,3,4,5,6,7; octet-align=1"),
        (
            "AMR-WB/16000",
            "mode-set=7,5,0;mode-change-capability=2;max-red=220",
        ),
        (
            "opus/48000/2",
            "useinbandfec=1; maxaveragebitrate=20000;stereo=0",
        ),
        ("OPUS/48000/2", "minptime=10;useinbandfec=1;"),
        (
            "opus/48000/2",
            "maxplaybackrate=16000; sprop-maxcapturerate=16000; cbr=1",
        ),
        ("iLBC/8000", "mode=30"),
        ("speex/8000", "mode=\"1,any\";vbr=vad"),
        ("speex/16000", "mode=any"),
        ("G7221/16000", "bitrate=32000"),
        ("EVS/16000", "br=5.9-24.4;bw=nb-swb;ch-aw-recv=-1"),
        (
            "MP4A-LATM/90000",
            "profile-level-id=24;object=23;bitrate=64000;cpresent=0;config=40002420",
        ),
        ("red/8000", "111/111/111"),
        ("x-new/8000", "mode=fast;window=30"),
        ("x-new/8000", "on"),
        ("PCMU/8000", "vad=no"),
    ] {
        assert_eq!(of(codec, text).as_deref(), Some(text), "{codec}");
    }
}

#[test]
fn numbers_and_addresses_in_pieces_do_not() {
    let planted = [
        "601;277;712;34",
        "6,0,1,2,7,7,7,1,2,3,4",
        "6012:777:1234",
        "0-127,771,234",
        "6012=777=1234",
        "6012*777*1234",
        "6012|777|1234",
        "6012+777+1234",
        "6012'777'1234",
        "6012#777#1234",
        "601a277b712c34",
        "601 277 712 34",
        "x=60127771234",
        "a=601;b=277;c=712;d=34",
        "60/127/771/234",
        "127,0,92,39",
        "127/0/92/39",
        "127.0.92.39",
        "x=7f005c27",
        "7f005c27",
        "x=2130729989",
        "2001:db8::7",
        "x=alice@example.net",
        "x=sip:alice",
        "http://a",
        "x=%36%30",
        "caf\u{e9}",
        "tab\there",
        "",
        ";",
    ];
    for text in planted {
        for codec in [
            "PCMU/8000",
            "x-new/8000",
            "opus/48000/2",
            "AMR/8000",
            "G729/8000",
            "speex/8000",
            "iLBC/8000",
            "EVS/16000",
            "MP4A-LATM/90000",
        ] {
            assert_eq!(of(codec, text), None, "{codec} {text}");
        }
    }
    for text in [
        "60/127/771/234",
        "6/0/1/2/7",
        "601;277;712;34",
        "x=7f005c27",
    ] {
        assert_eq!(of("red/8000", text), None, "{text}");
        assert_eq!(of("telephone-event/8000", text), None, "{text}");
    }
    assert_eq!(passing(None, "x=60127771234"), None);
    assert_eq!(of("x/8000", &"a".repeat(256)), None);
}

#[test]
fn of_a_known_codec_what_it_does_not_have_is_left_out() {
    let kept = |text| of("opus/48000/2", text);
    let text = "useinbandfec=1;x-line=60127771234; stereo=0";
    assert_eq!(kept(text).as_deref(), Some("useinbandfec=1;stereo=0"));
    assert_eq!(kept("stereo=6;cbr=1").as_deref(), Some("cbr=1"));
    assert_eq!(
        kept("maxplaybackrate=60127;cbr=1").as_deref(),
        Some("cbr=1")
    );
    assert_eq!(kept("maxptime=0060;maxptime=601"), None);
    assert_eq!(
        of("AMR/8000", "mode-set=6,0,1,2,7,7"),
        None,
        "a set has none twice"
    );
    assert_eq!(of("MP4A-LATM/90000", "config=0123456789abcdef0"), None);
}

proptest! {
    /// Whatever stands in it, an unknown codec's line has too few digits to be a number, and no
    /// line grows.
    #[test]
    fn an_unknown_codec_says_little(text in "[ -~]{0,40}") {
        if let Some(passed) = of("x-new/8000", &text) {
            prop_assert!(count_digits(&passed) <= MOST_DIGITS);
        }
        for codec in ["opus/48000/2", "AMR/8000", "telephone-event/8000", "red/8000", "EVS/16000"] {
            if let Some(passed) = of(codec, &text) {
                prop_assert!(passed.len() <= text.len());
                prop_assert_eq!(of(codec, &passed), Some(passed.clone()), "stable");
            }
        }
    }
}
