use super::cipher::{Parts, Transform, Which};
use super::derive::{Label, session_key};
use super::*;
use proptest::prelude::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn master(suite: Suite, seed: u8) -> MasterKey {
    let mut random = [0; MAX_MASTER];
    for (place, byte) in random.iter_mut().enumerate() {
        *byte = seed
            .wrapping_mul(37)
            .wrapping_add(u8::try_from(place).unwrap());
    }
    MasterKey::made(suite, &random)
}

/// One end's sender and the other end's receiver.
fn ends(suite: Suite) -> (Sender, Receiver) {
    let key = master(suite, 1);
    (Sender::new(&key).unwrap(), Receiver::new(&key).unwrap())
}

fn rtp(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 8];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.resize(172, 0xd5);
    packet
}

fn report(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend(ssrc.to_be_bytes());
    packet.extend([0x81, 203, 0, 1]);
    packet.extend(ssrc.to_be_bytes());
    packet
}

fn protected(sender: &mut Sender, packet: &[u8]) -> Vec<u8> {
    try_protected(sender, packet).unwrap()
}

fn try_protected(sender: &mut Sender, packet: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + MAX_GROWTH, 0);
    let length = sender.protect(&mut buffer, packet.len())?;
    buffer.truncate(length);
    Ok(buffer)
}

fn protected_rtcp(sender: &mut Sender, packet: &[u8]) -> Vec<u8> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + MAX_GROWTH, 0);
    let length = sender.protect_rtcp(&mut buffer, packet.len()).unwrap();
    buffer.truncate(length);
    buffer
}

fn unprotected(receiver: &mut Receiver, packet: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut buffer = packet.to_vec();
    let length = receiver.unprotect(&mut buffer, &mut [0; 2048])?;
    buffer.truncate(length);
    Ok(buffer)
}

fn unprotected_rtcp(receiver: &mut Receiver, packet: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut buffer = packet.to_vec();
    let length = receiver.unprotect_rtcp(&mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}

// --- published vectors ---

fn derived(suite: Suite, key_and_salt: &str, expected: [&str; 3]) {
    let master = MasterKey::new(suite, &hex(key_and_salt)).unwrap();
    let labels = [Label::RtpCipher, Label::RtpSalt, Label::RtpTag];
    for (label, expected) in labels.into_iter().zip(expected) {
        let expected = hex(expected);
        let mut out = vec![0; expected.len()];
        session_key(&master, label, &mut out);
        assert_eq!(out, expected, "{label:?}");
    }
}

#[test]
fn keys_are_derived_as_in_rfc_3711_b_3() {
    derived(
        Suite::Cm128Sha1_80,
        "E1F97A0D3E018BE0D64FA32C06DE4139 0EC675AD498AFEEBB6960B3AABE6",
        [
            "C61E7A93744F39EE10734AFE3FF7A087",
            "30CBBC08863D8C85D49DB34A9AE1",
            "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCE\
             E049646C43D9327AD175578EF72270986371C10C9A369AC2F94A8C5FBCDDDC25\
             6D6E919A48B610EF17C2041E474035766B68642C59BBFC2F34DB60DBDFB2",
        ],
    );
}

#[test]
fn keys_are_derived_as_in_rfc_6188_7_2() {
    derived(
        Suite::Cm256Sha1_80,
        "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6 3b04803de51ee7c96423ab5b78d2",
        [
            "5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4",
            "fa31791685ca444a9e07c6c64e93",
            "fd9c32d39ed5fbb5a9dc96b30818454d1313dc05",
        ],
    );
}

fn key_stream(suite: Suite, key: &str, expected: &str) {
    let salt = hex("f0f1f2f3f4f5f6f7f8f9fafbfcfd");
    let transform = Transform::of_session_keys(suite, &hex(key), &[0; 20], &salt, 10).unwrap();
    let expected = hex(expected);
    let mut buffer = vec![0; expected.len() + 10];
    let parts = Parts {
        clear: 0,
        length: expected.len(),
    };
    let which = Which { ssrc: 0, index: 0 };
    transform.seal(&mut buffer, parts, which).unwrap();
    assert_eq!(&buffer[..expected.len()], expected);
}

#[test]
fn the_key_stream_is_that_of_rfc_3711_b_2() {
    key_stream(
        Suite::Cm128Sha1_80,
        "2B7E151628AED2A6ABF7158809CF4F3C",
        "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB 41E95B3BB0A2E8DD477901E4FCA894C0",
    );
}

#[test]
fn the_key_stream_is_that_of_rfc_6188_7_1() {
    key_stream(
        Suite::Cm256Sha1_80,
        "57f82fe3613fd170a85ec93c40b1f092 2ec4cb0dc025b58272147cc438944a98",
        "92bdd28a93c3f52511c677d08b5515a4 9da71b2378a854f67050756ded165bac 63c4868b7096d88421b563b8c94c9a31",
    );
}

/// The packet that other implementations check themselves by.
#[test]
fn a_whole_packet_is_what_others_make_of_it() {
    let plain = hex("800f1234decafbadcafebabe abababababababababababababababab");
    for (suite, key, expected) in [
        (
            Suite::Cm128Sha1_80,
            "e1f97a0d3e018be0d64fa32c06de4139 0ec675ad498afeebb6960b3aabe6",
            "800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb",
        ),
        (
            Suite::Cm256Sha1_80,
            "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6 3b04803de51ee7c96423ab5b78d2",
            "800f1234decafbadcafebabef1d9de17ff251ff1aa007774b0b4b40da08d9d9a5b3a55d8873b",
        ),
    ] {
        let master = MasterKey::new(suite, &hex(key)).unwrap();
        let mut sender = Sender::new(&master).unwrap();
        assert_eq!(protected(&mut sender, &plain), hex(expected));
        let mut receiver = Receiver::new(&master).unwrap();
        assert_eq!(unprotected(&mut receiver, &hex(expected)).unwrap(), plain);
    }
}

const GCM_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const GCM_SALT: &str = "517569642070726f2071756f";

fn gcm(suite: Suite) -> Transform {
    let key = hex(GCM_KEY);
    let key = &key[..suite.key_length()];
    Transform::of_session_keys(suite, key, &[], &hex(GCM_SALT), 16).unwrap()
}

#[test]
fn srtp_by_gcm_is_that_of_rfc_7714_16() {
    let plain = hex(
        "8040f17b8041f8d35501a0b2 47616c6c696120657374206f6d6e69732064697669736120696e207061727465732074726573",
    );
    let which = Which {
        ssrc: 0x5501_a0b2,
        index: 0xf17b,
    };
    for (suite, expected) in [
        (
            Suite::Gcm128,
            "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf\
             8833899d7f27beb16a9152cf765ee4390cce",
        ),
        (
            Suite::Gcm256,
            "8040f17b8041f8d35501a0b232b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799\
             b87b7aa3db36dfffd6b0f9bb7878d7a76c13",
        ),
    ] {
        let mut buffer = plain.clone();
        buffer.resize(plain.len() + 16, 0);
        let mut parts = Parts {
            clear: 12,
            length: plain.len(),
        };
        let length = gcm(suite).seal(&mut buffer, parts, which).unwrap();
        assert_eq!(buffer[..length], hex(expected));
        parts.length = length;
        let left = gcm(suite).open(&mut buffer, parts, which).unwrap();
        assert_eq!(buffer[..left], plain);
    }
}

#[test]
fn srtcp_by_gcm_is_that_of_rfc_7714_17() {
    let plain = hex(
        "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbeefdeadbeefdeadbeefdeadbeef",
    );
    let which = Which {
        ssrc: 0x4d61_7273,
        index: 0x5d4,
    };
    for (suite, expected) in [
        (
            Suite::Gcm128,
            "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded\
             0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4",
        ),
        (
            Suite::Gcm256,
            "81c8000d4d617273d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658c61de047\
             6f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be800005d4",
        ),
    ] {
        let mut buffer = plain.clone();
        buffer.resize(plain.len() + 20, 0);
        let parts = Parts {
            clear: 8,
            length: plain.len(),
        };
        let length = gcm(suite).seal_rtcp(&mut buffer, parts, which).unwrap();
        assert_eq!(buffer[..length], hex(expected));
        let word = gcm(suite).rtcp_index(&buffer).unwrap();
        assert_eq!(word, [0x80, 0, 5, 0xd4]);
        let left = gcm(suite).open_rtcp(&mut buffer, 8, which).unwrap();
        assert_eq!(buffer[..left], plain);
    }
}

// --- behaviour ---

#[test]
fn every_suite_takes_back_what_it_gave() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = ends(suite);
        for sequence in 0..5 {
            let plain = rtp(7, sequence);
            let sent = protected(&mut sender, &plain);
            assert_eq!(sent.len(), plain.len() + suite.tag_length());
            assert_eq!(sent[..12], plain[..12]);
            assert_ne!(sent[12..172], plain[12..]);
            assert_eq!(unprotected(&mut receiver, &sent).unwrap(), plain);
            let plain = report(7);
            let sent = protected_rtcp(&mut sender, &plain);
            assert_eq!(sent.len(), plain.len() + suite.rtcp_tag_length() + 4);
            assert_eq!(sent[..8], plain[..8]);
            assert_ne!(sent[8..16], plain[8..]);
            assert_eq!(unprotected_rtcp(&mut receiver, &sent).unwrap(), plain);
        }
    }
}

#[test]
fn the_32_bit_suites_keep_80_bits_for_srtcp() {
    for suite in [Suite::Cm128Sha1_32, Suite::Cm256Sha1_32] {
        let (mut sender, _) = ends(suite);
        assert_eq!(protected(&mut sender, &rtp(1, 1)).len(), 172 + 4);
        assert_eq!(protected_rtcp(&mut sender, &report(1)).len(), 16 + 4 + 10);
    }
}

#[test]
fn csrcs_and_extensions_stay_in_the_clear() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = ends(suite);
        let mut plain = rtp(7, 1);
        plain[0] = 0x92;
        plain[20..24].copy_from_slice(&[0xbe, 0xde, 0, 2]);
        let sent = protected(&mut sender, &plain);
        assert_eq!(sent[..32], plain[..32]);
        assert_ne!(sent[32..172], plain[32..]);
        assert_eq!(unprotected(&mut receiver, &sent).unwrap(), plain);
    }
}

#[test]
fn a_wrap_at_65535_is_counted() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = ends(suite);
        for sequence in (65_500..=u16::MAX).chain(0..100) {
            let plain = rtp(7, sequence);
            let sent = protected(&mut sender, &plain);
            assert_eq!(unprotected(&mut receiver, &sent).unwrap(), plain);
        }
        // The next round of the same numbers is another one: the key stream differs.
        let before = protected(&mut sender, &rtp(7, 100));
        let (mut other, _) = ends(suite);
        let first = protected(&mut other, &rtp(7, 100));
        assert_ne!(first[12..172], before[12..172]);
    }
}

#[test]
fn packets_reordered_across_the_wrap_are_each_taken_once() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = ends(suite);
        let order = [65_530u16, 65_532, 1, 65_535, 0, 65_534, 2, 65_533, 65_531];
        let mut in_order = order;
        in_order.sort_by_key(|sequence| sequence.wrapping_add(100));
        let sent: Vec<_> = in_order
            .iter()
            .map(|sequence| (*sequence, protected(&mut sender, &rtp(7, *sequence))))
            .collect();
        for sequence in order {
            let packet = &sent
                .iter()
                .find(|(number, _)| *number == sequence)
                .unwrap()
                .1;
            assert_eq!(
                unprotected(&mut receiver, packet).unwrap(),
                rtp(7, sequence)
            );
            assert_eq!(unprotected(&mut receiver, packet), Err(Fault::Replayed));
        }
    }
}

#[test]
fn a_replayed_packet_is_refused_and_ends_nothing() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = ends(suite);
        let sent = protected(&mut sender, &rtp(7, 1));
        unprotected(&mut receiver, &sent).unwrap();
        assert_eq!(unprotected(&mut receiver, &sent), Err(Fault::Replayed));
        let report = protected_rtcp(&mut sender, &report(7));
        unprotected_rtcp(&mut receiver, &report).unwrap();
        assert_eq!(
            unprotected_rtcp(&mut receiver, &report),
            Err(Fault::Replayed)
        );
        let next = protected(&mut sender, &rtp(7, 2));
        assert_eq!(unprotected(&mut receiver, &next).unwrap(), rtp(7, 2));
    }
}

#[test]
fn a_late_packet_is_taken_within_the_window_and_not_beyond() {
    let (mut sender, mut receiver) = ends(Suite::Cm128Sha1_80);
    let sent: Vec<_> = (0..300)
        .map(|sequence| protected(&mut sender, &rtp(7, sequence)))
        .collect();
    unprotected(&mut receiver, &sent[299]).unwrap();
    let edge = 299 - usize::try_from(WINDOW).unwrap();
    assert_eq!(
        unprotected(&mut receiver, &sent[edge]),
        Err(Fault::Replayed)
    );
    assert_eq!(unprotected(&mut receiver, &sent[0]), Err(Fault::Replayed));
    assert!(unprotected(&mut receiver, &sent[edge + 1]).is_ok());
    assert!(unprotected(&mut receiver, &sent[298]).is_ok());
}

#[test]
fn a_changed_source_begins_anew_and_the_old_one_goes_on() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = ends(suite);
        for (ssrc, sequence) in [(7, 65_535), (7, 0), (8, 30_000), (7, 1), (8, 30_001)] {
            let sent = protected(&mut sender, &rtp(ssrc, sequence));
            assert_eq!(
                unprotected(&mut receiver, &sent).unwrap(),
                rtp(ssrc, sequence)
            );
        }
    }
}

#[test]
fn a_source_whose_first_packets_were_lost_at_the_wrap_is_heard() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = ends(suite);
        for sequence in 65_533..=u16::MAX {
            protected(&mut sender, &rtp(7, sequence));
        }
        for sequence in 0..5 {
            let sent = protected(&mut sender, &rtp(7, sequence));
            assert_eq!(unprotected(&mut receiver, &sent).unwrap(), rtp(7, sequence));
        }
    }
}

#[test]
fn garbage_is_refused_and_leaves_no_trace() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = ends(suite);
        let mut other = Sender::new(&master(suite, 9)).unwrap();
        for ssrc in 0..1000 {
            let foreign = protected(&mut other, &rtp(ssrc % 50, u16::try_from(ssrc).unwrap()));
            assert_eq!(
                unprotected(&mut receiver, &foreign),
                Err(Fault::Unauthentic)
            );
        }
        for place in [0, 1, 2, 5, 9, 12, 100, 171, 173] {
            let mut sent = protected(&mut sender, &rtp(7, 100 + u16::try_from(place).unwrap()));
            sent[place] ^= 1;
            assert!(unprotected(&mut receiver, &sent).is_err(), "byte {place}");
        }
        let sent = protected(&mut sender, &rtp(7, 500));
        assert_eq!(unprotected(&mut receiver, &sent).unwrap(), rtp(7, 500));
    }
}

/// Another key may be tried after one that did not fit.
#[test]
fn a_packet_that_is_not_genuine_stays_as_it_was_or_is_in_the_spare() {
    for suite in Suite::ALL {
        let (mut sender, _) = ends(suite);
        let mut stranger = Receiver::new(&master(suite, 9)).unwrap();
        for sequence in [3, 40_000] {
            let sent = protected(&mut sender, &rtp(7, sequence));
            let mut packet = sent.clone();
            let mut spare = sent.clone();
            let found = stranger.unprotect(&mut packet, &mut spare);
            assert_eq!(found, Err(Fault::Unauthentic));
            assert_eq!(spare, sent);
            assert!(stranger.spoils() || packet == sent);
        }
    }
}

#[test]
fn truncated_packets_are_refused() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = ends(suite);
        let sent = protected(&mut sender, &rtp(7, 1));
        let reported = protected_rtcp(&mut sender, &report(7));
        for length in 0..sent.len() {
            assert!(unprotected(&mut receiver, &sent[..length]).is_err());
        }
        for length in 0..reported.len() {
            assert!(unprotected_rtcp(&mut receiver, &reported[..length]).is_err());
        }
        assert!(unprotected(&mut receiver, &sent).is_ok());
        assert!(unprotected_rtcp(&mut receiver, &reported).is_ok());
    }
}

#[test]
fn srtcp_in_the_clear_is_refused() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = ends(suite);
        let mut sent = protected_rtcp(&mut sender, &report(7));
        let place = if suite.is_gcm() { sent.len() - 4 } else { 16 };
        sent[place] &= 0x7f;
        assert_eq!(
            unprotected_rtcp(&mut receiver, &sent),
            Err(Fault::Unauthentic)
        );
    }
}

/// The key stream of an index is used once, whatever the plain side sends.
#[test]
fn no_index_is_used_twice_by_a_sender() {
    let (mut sender, _) = ends(Suite::Cm128Sha1_80);
    protected(&mut sender, &rtp(7, 500));
    assert_eq!(
        try_protected(&mut sender, &rtp(7, 500)),
        Err(Fault::Replayed)
    );
    assert_eq!(
        try_protected(&mut sender, &rtp(7, 200)),
        Err(Fault::Replayed)
    );
    assert!(try_protected(&mut sender, &rtp(7, 499)).is_ok());
}

#[test]
fn sources_have_a_bound() {
    let (mut sender, mut receiver) = ends(Suite::Gcm128);
    let (mut more, _) = ends(Suite::Gcm128);
    for ssrc in 0..u32::try_from(MAX_SOURCES).unwrap() {
        let sent = protected(&mut sender, &rtp(ssrc, 1));
        unprotected(&mut receiver, &sent).unwrap();
    }
    assert_eq!(
        try_protected(&mut sender, &rtp(999, 1)),
        Err(Fault::Exhausted)
    );
    let sent = protected(&mut more, &rtp(999, 1));
    assert_eq!(unprotected(&mut receiver, &sent), Err(Fault::Exhausted));
    let sent = protected(&mut sender, &rtp(3, 2));
    assert!(unprotected(&mut receiver, &sent).is_ok());
}

#[test]
fn a_buffer_without_room_is_refused() {
    for suite in Suite::ALL {
        let (mut sender, _) = ends(suite);
        let mut packet = rtp(7, 1);
        assert_eq!(sender.protect(&mut packet, 172), Err(Fault::Exhausted));
        let mut packet = report(7);
        assert_eq!(sender.protect_rtcp(&mut packet, 16), Err(Fault::Exhausted));
        assert!(try_protected(&mut sender, &rtp(7, 1)).is_ok());
    }
}

#[test]
fn keys_are_as_long_as_their_suite_says_and_never_shown() {
    for suite in Suite::ALL {
        assert_eq!(Suite::of_name(suite.name()), Some(suite));
        let length = suite.master_length();
        assert!(MasterKey::new(suite, &vec![1; length - 1]).is_none());
        assert!(MasterKey::new(suite, &vec![1; length + 1]).is_none());
        let key = MasterKey::new(suite, &vec![0xab; length]).unwrap();
        assert_eq!(key.key_and_salt(), vec![0xab; length]);
        let shown = format!(
            "{key:?} {:?} {:?}",
            Sender::new(&key).unwrap(),
            Receiver::new(&key).unwrap()
        );
        for spelled in ["171", "ab, ", "abab", "q6ur"] {
            assert!(!shown.contains(spelled), "{shown}");
        }
    }
    assert_eq!(Suite::of_name("F8_128_HMAC_SHA1_80"), None);
}

fn suites() -> impl Strategy<Value = Suite> {
    proptest::sample::select(&Suite::ALL[..])
}

proptest! {
    /// Whatever is lost, sent twice or late: what comes out is what went in, once.
    #[test]
    fn a_lossy_reordering_network_is_borne(
        suite in suites(),
        start in any::<u16>(),
        steps in proptest::collection::vec((1u16..40, 0usize..8, any::<bool>(), any::<bool>()), 1..120),
    ) {
        let (mut sender, mut receiver) = ends(suite);
        let mut waiting: Vec<(usize, Vec<u8>, Vec<u8>)> = Vec::new();
        let mut sequence = start;
        let mut first = true;
        for (step, delay, lost, twice) in steps {
            sequence = sequence.wrapping_add(step);
            let plain = rtp(7, sequence);
            let sent = protected(&mut sender, &plain);
            // The first is neither lost nor late: with a jump it would be anybody's guess.
            if !lost || first {
                waiting.push((if first { 0 } else { delay }, plain.clone(), sent.clone()));
            }
            if twice {
                waiting.push((delay, plain, sent));
            }
            first = false;
            let mut due = Vec::new();
            waiting.retain_mut(|(delay, plain, sent)| {
                let now = *delay == 0;
                *delay = delay.saturating_sub(1);
                if now {
                    due.push((plain.clone(), sent.clone()));
                }
                !now
            });
            for (plain, sent) in due {
                match unprotected(&mut receiver, &sent) {
                    Ok(left) => prop_assert_eq!(left, plain),
                    Err(fault) => prop_assert_eq!(fault, Fault::Replayed),
                }
                prop_assert_eq!(unprotected(&mut receiver, &sent), Err(Fault::Replayed));
            }
        }
    }

    /// The window knows the last 128 as a set would.
    #[test]
    fn a_window_is_a_set_of_the_last(indices in proptest::collection::vec(0u64..400, 1..200)) {
        let mut window = Window::new(indices[0]);
        let mut seen = std::collections::BTreeSet::from([indices[0]]);
        for index in &indices[1..] {
            let highest = *seen.last().unwrap();
            let fine = *index > highest || (highest - index < WINDOW && !seen.contains(index));
            prop_assert_eq!(window.allows(*index), fine);
            if fine {
                window.accept(*index);
                seen.insert(*index);
            }
        }
    }

    /// The estimate is the nearest index with that number.
    #[test]
    fn the_estimate_is_the_nearest(index in (1u64 << 16)..(1 << 40), away in -32_767i64..32_768) {
        let meant = index.wrapping_add_signed(away);
        let sequence = u16::try_from(meant & 0xffff).unwrap();
        prop_assert_eq!(Window::new(index).estimate(sequence), meant);
    }

    #[test]
    fn nothing_panics(
        suite in suites(),
        bytes in proptest::collection::vec(any::<u8>(), 0..80),
        length in 0usize..100,
    ) {
        let (mut sender, mut receiver) = ends(suite);
        let mut spare = [0; 80];
        let _ = receiver.unprotect(&mut bytes.clone(), &mut spare);
        let _ = receiver.unprotect_rtcp(&mut bytes.clone());
        let _ = sender.protect(&mut bytes.clone(), length);
        let _ = sender.protect_rtcp(&mut bytes.clone(), length);
    }
}
