use super::*;
use proptest::prelude::*;

/// A packet of a compound, its length filled in.
fn part(count: u8, kind: u8, body: &[u8]) -> Vec<u8> {
    assert_eq!(body.len() % 4, 0);
    let words = u16::try_from(body.len() / 4).unwrap();
    let mut packet = vec![0x80 | count, kind];
    packet.extend(words.to_be_bytes());
    packet.extend(body);
    packet
}

fn report() -> Vec<u8> {
    part(1, kind::RECEIVER_REPORT, &[7; 28])
}

fn chunk(items: &[(u8, &str)]) -> Vec<u8> {
    let mut chunk = vec![0, 0, 0, 9];
    for (item, text) in items {
        chunk.extend([*item, u8::try_from(text.len()).unwrap()]);
        chunk.extend(text.bytes());
    }
    chunk.push(0);
    while chunk.len() % 4 != 0 {
        chunk.push(0);
    }
    chunk
}

fn cleaned(parts: &[Vec<u8>]) -> Result<(Vec<u8>, u32), Rejected> {
    let mut out = [0; MAX_COMPOUND];
    let cleaned = clean(&parts.concat(), "ours", &mut out)?;
    Ok((out[..cleaned.length].to_vec(), cleaned.removed))
}

#[test]
fn reports_pass_untouched() {
    let sender = part(1, kind::SENDER_REPORT, &[5; 48]);
    assert_eq!(
        cleaned(std::slice::from_ref(&sender)),
        Ok((sender.clone(), 0))
    );
    assert_eq!(cleaned(&[report()]), Ok((report(), 0)));
}

#[test]
fn profile_extensions_of_reports_go() {
    let longer = part(1, kind::RECEIVER_REPORT, &[7; 32]);
    assert_eq!(cleaned(&[longer]), Ok((report(), 1)));
}

#[test]
fn descriptions_hold_our_name_alone() {
    let items = [
        (1, "alice@192.0.2.1"),
        (2, "Alice"),
        (3, "a@b"),
        (4, "+60123456789"),
        (5, "here"),
        (6, "tool"),
        (7, "note"),
        (8, "\u{1}ppriv"),
    ];
    let both = [chunk(&items), chunk(&[(2, "Bob")])].concat();
    let theirs = part(2, kind::SOURCE_DESCRIPTION, &both);
    let ours = part(
        2,
        kind::SOURCE_DESCRIPTION,
        &[chunk(&[(1, "ours")]), chunk(&[(1, "ours")])].concat(),
    );
    let (bytes, removed) = cleaned(&[report(), theirs]).unwrap();
    assert_eq!(bytes, [report(), ours].concat());
    assert_eq!(
        removed, 8,
        "seven items of the first source, one of the second"
    );
}

#[test]
fn a_goodbye_loses_its_text() {
    let body = [&[0, 0, 0, 9][..], b"\x0b60123456789"].concat();
    let bye = part(1, kind::GOODBYE, &body);
    let bare = part(1, kind::GOODBYE, &[0, 0, 0, 9]);
    assert_eq!(
        cleaned(&[report(), bye]),
        Ok(([report(), bare].concat(), 1))
    );
}

#[test]
fn everything_else_stays_behind() {
    for kind in [192, 204, 205, 206, 207, 208, 209] {
        let other = part(0, kind, b"60123456789!");
        assert_eq!(cleaned(&[report(), other]), Ok((report(), 1)), "{kind}");
    }
}

#[test]
fn compounds_begin_with_a_report() {
    let bye = part(1, kind::GOODBYE, &[0, 0, 0, 9]);
    assert!(cleaned(&[bye.clone(), report()]).is_err());
    assert!(cleaned(&[]).is_err());
    let mut padded = report();
    padded.extend([0xa1, kind::GOODBYE, 0, 2, 0, 0, 0, 9, 0, 0, 0, 4]);
    assert_eq!(
        cleaned(&[padded]),
        Ok(([report(), bye].concat(), 0)),
        "padding goes"
    );
}

#[test]
fn broken_compounds_are_rejected() {
    let cut = part(2, kind::RECEIVER_REPORT, &[7; 28]);
    assert!(cleaned(&[cut]).is_err());
    let open = part(1, kind::SOURCE_DESCRIPTION, &[0, 0, 0, 9, 1, 9, b'a', b'b']);
    assert!(cleaned(&[report(), open]).is_err());
    let missing = part(3, kind::SOURCE_DESCRIPTION, &chunk(&[(1, "a")]));
    assert!(cleaned(&[report(), missing]).is_err());
    assert!(cleaned(&[report(), vec![0x80, 200, 0]]).is_err());
}

#[test]
fn what_does_not_fit_is_rejected() {
    let chunks: Vec<u8> = (0..31).flat_map(|_| chunk(&[])).collect();
    let many = part(31, kind::SOURCE_DESCRIPTION, &chunks);
    let mut out = [0; MAX_COMPOUND];
    let datagram = [report(), many].concat();
    assert!(clean(&datagram, &"x".repeat(200), &mut out).is_err());
    assert!(clean(&datagram, &"x".repeat(300), &mut out).is_err());
    assert!(clean(&datagram, "short", &mut out).is_ok());
}

proptest! {
    /// Whatever comes in: what goes out is clean already, so cleaning it again changes nothing.
    #[test]
    fn cleaning_is_idempotent(
        parts in proptest::collection::vec((0u8..4, 198u8..208, proptest::collection::vec(any::<u8>(), 0..40)), 0..5),
        noise in any::<bool>(),
    ) {
        let mut datagram = if noise { Vec::new() } else { report() };
        for (count, kind, mut body) in parts {
            body.truncate(body.len() / 4 * 4);
            datagram.extend(part(count, kind, &body));
        }
        let mut out = [0; MAX_COMPOUND];
        if let Ok(first) = clean(&datagram, "ours", &mut out) {
            let mut again = [0; MAX_COMPOUND];
            let second = clean(&out[..first.length], "ours", &mut again).unwrap();
            prop_assert_eq!(second.removed, 0);
            prop_assert_eq!(&out[..first.length], &again[..second.length]);
        }
    }
}
