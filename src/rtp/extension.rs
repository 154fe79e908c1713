//! RTP header extensions (RFC 3550 §5.3.1, RFC 8285). They may carry names (RFC 7941), so only
//! those pass that were negotiated through the gateway (sip-bridging 4).

/// RFC 8285 §4.2: elements with one-byte headers.
const ONE_BYTE: u16 = 0xbede;
/// RFC 8285 §4.3: elements with two-byte headers; the low four bits are the application's.
const TWO_BYTE: u16 = 0x1000;

/// What remains of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleaned {
    /// Where it begins in the buffer now.
    pub start: usize,
    /// Extension elements (or whole extensions of an unknown form) that were removed.
    pub removed: u32,
}

/// Removes from `packet`, a whole RTP packet with an extension, the elements whose ids are not in
/// `allowed`: the whole extension where none may pass (the header is moved up to the payload),
/// else each element by itself (it becomes padding). `None` where the packet is cut off.
#[must_use]
pub fn strip(packet: &mut [u8], allowed: &[u8]) -> Option<Cleaned> {
    let sources = usize::from(packet.first()? & 0x0f);
    let start = 12 + sources * 4;
    let [p0, p1, l0, l1] = *packet.get(start..)?.first_chunk::<4>()?;
    let profile = u16::from_be_bytes([p0, p1]);
    let length = usize::from(u16::from_be_bytes([l0, l1])) * 4;
    let elements = packet.get_mut(start + 4..)?.get_mut(..length)?;
    if !allowed.is_empty() {
        if profile == ONE_BYTE {
            let removed = blank_one_byte(elements, allowed);
            return Some(Cleaned { start: 0, removed });
        }
        if profile & 0xfff0 == TWO_BYTE {
            let removed = blank_two_byte(elements, allowed);
            return Some(Cleaned { start: 0, removed });
        }
    }
    let shift = 4 + length;
    packet.copy_within(..start, shift);
    *packet.get_mut(shift)? &= !0x10;
    Some(Cleaned {
        start: shift,
        removed: 1,
    })
}

fn blank_one_byte(elements: &mut [u8], allowed: &[u8]) -> u32 {
    blank(elements, allowed, |rest| {
        let head = *rest.first()?;
        // 15 ends the elements; what follows it is not to be read, so it is not to be passed.
        match head >> 4 {
            15 => None,
            id => Some((id, usize::from(head & 0x0f) + 2)),
        }
    })
}

fn blank_two_byte(elements: &mut [u8], allowed: &[u8]) -> u32 {
    blank(elements, allowed, |rest| {
        let [id, length, ..] = *rest else {
            return None;
        };
        Some((id, usize::from(length) + 2))
    })
}

/// Goes through the elements by `read` (id and whole length; `None`: the rest is no element).
fn blank(mut rest: &mut [u8], allowed: &[u8], read: impl Fn(&[u8]) -> Option<(u8, usize)>) -> u32 {
    let mut removed = 0;
    loop {
        match rest.first() {
            None => return removed,
            Some(0) => {
                rest = rest.get_mut(1..).unwrap_or_default();
                continue;
            }
            Some(_) => {}
        }
        let (id, length) = match read(rest) {
            Some((id, length)) if length <= rest.len() => (id, length),
            _ => {
                rest.fill(0);
                return removed + 1;
            }
        };
        let (element, after) = rest.split_at_mut(length);
        if !allowed.contains(&id) {
            element.fill(0);
            removed += 1;
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::Header;
    use proptest::prelude::*;

    fn packet(profile: u16, elements: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x91, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 7, 7, 7, 7];
        packet.extend(profile.to_be_bytes());
        packet.extend(u16::try_from(elements.len() / 4).unwrap().to_be_bytes());
        packet.extend(elements);
        packet.extend(b"sound");
        packet
    }

    #[test]
    fn the_whole_extension_goes_where_none_is_allowed() {
        let mut packet = packet(ONE_BYTE, b"\x12abc\x20d\0\0");
        let cleaned = strip(&mut packet, &[]).unwrap();
        let left = &packet[cleaned.start..];
        let expected = b"\x81\0\0\x01\0\0\0\x02\0\0\0\x03\x07\x07\x07\x07sound";
        assert_eq!(left, expected);
        assert!(Header::read(left).is_some());
        assert_eq!(cleaned.removed, 1);
    }

    #[test]
    fn single_elements_become_padding() {
        let mut short = packet(ONE_BYTE, b"\x12abc\x20d\0\0");
        let cleaned = strip(&mut short, &[2]).unwrap();
        assert_eq!((cleaned.start, cleaned.removed), (0, 1));
        assert_eq!(&short[20..28], b"\0\0\0\0\x20d\0\0");
        let mut long = packet(0x1003, b"\x12\x01a\x02\x01b\0\0");
        assert_eq!(strip(&mut long, &[2]).unwrap().removed, 1);
        assert_eq!(&long[20..28], b"\0\0\0\x02\x01b\0\0");
    }

    #[test]
    fn what_cannot_be_read_goes() {
        let mut ended = packet(ONE_BYTE, b"\xf0abcdefg");
        assert_eq!(strip(&mut ended, &[2]).unwrap().removed, 1);
        assert_eq!(&ended[20..28], [0; 8]);
        let mut cut = packet(ONE_BYTE, b"\x2fabcdefg");
        assert_eq!(strip(&mut cut, &[2]).unwrap().removed, 1);
        assert_eq!(&cut[20..28], [0; 8]);
        let mut other = packet(0x4242, b"numbers!");
        assert_eq!(strip(&mut other, &[2]).unwrap().start, 12);
    }

    proptest! {
        #[test]
        fn nothing_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..64), id in 1u8..15) {
            let _ = strip(&mut bytes.clone(), &[]);
            let _ = strip(&mut bytes, &[id]);
        }
    }
}
