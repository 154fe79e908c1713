//! The fixed header of an RTP packet (RFC 3550 §5.1), read without copying. The only file that
//! names the `rtp_rs` crate, whose reader checks the unusual packets: those with contributing
//! sources, an extension or padding.

/// What the gateway needs of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp, in the payload type's clock.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Whether a header extension follows.
    pub extended: bool,
}

impl Header {
    /// Reads and checks a packet; `None` unless it is RTP version 2 and whole.
    #[inline]
    #[must_use]
    pub fn read(packet: &[u8]) -> Option<Self> {
        let [first, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3, ..] = *packet else {
            return None;
        };
        // 0x80: version 2, no padding, no extension, no contributing source. All but a few
        // packets are so, and have nothing more to check.
        if first != 0x80 && (first & 0xc0 != 0x80 || rtp_rs::RtpReader::new(packet).is_err()) {
            return None;
        }
        Some(Self {
            payload_type: second & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            extended: first & 0x10 != 0,
        })
    }
}

/// Whether a packet on a shared port is RTCP by its second byte (RFC 5761 §4: types 192 to 223).
#[inline]
#[must_use]
pub fn is_rtcp(packet: &[u8]) -> bool {
    matches!(packet, [first, 192..=223, ..] if first & 0xc0 == 0x80)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_plain_packet_is_read() {
        let packet = [0x80, 0xe0, 0x27, 0x38, 0, 0, 0, 160, 1, 2, 3, 4, 9, 9];
        let header = Header::read(&packet).unwrap();
        assert_eq!(
            header,
            Header {
                payload_type: 0x60,
                sequence: 0x2738,
                timestamp: 160,
                ssrc: 0x0102_0304,
                extended: false,
            }
        );
    }

    #[test]
    fn broken_packets_are_not() {
        assert_eq!(Header::read(&[]), None);
        assert_eq!(Header::read(&[0x80; 11]), None);
        assert_eq!(Header::read(&[0x40; 40]), None, "version 1");
        assert_eq!(Header::read(&[0x8f; 20]), None, "sources cut off");
        let mut padded = [0u8; 20];
        padded[0] = 0xa0;
        assert_eq!(Header::read(&padded), None, "padding of nothing");
        padded[19] = 4;
        assert!(Header::read(&padded).is_some());
        let mut extended = [0u8; 16];
        extended[0] = 0x90;
        extended[15] = 1;
        assert_eq!(Header::read(&extended), None, "extension cut off");
    }

    #[test]
    fn rtcp_is_told_by_its_type() {
        assert!(is_rtcp(&[0x80, 200]));
        assert!(is_rtcp(&[0x81, 205]));
        assert!(!is_rtcp(&[0x80, 0x80 | 8]));
        assert!(!is_rtcp(&[0x40, 200]));
        assert!(!is_rtcp(&[0x80]));
    }

    proptest! {
        #[test]
        fn agrees_with_the_whole_reader(packet in proptest::collection::vec(any::<u8>(), 0..80)) {
            let reader = rtp_rs::RtpReader::new(&packet);
            match Header::read(&packet) {
                Some(header) => {
                    let reader = reader.unwrap();
                    prop_assert_eq!(header.payload_type, reader.payload_type());
                    prop_assert_eq!(header.sequence, u16::from(reader.sequence_number()));
                    prop_assert_eq!(header.timestamp, reader.timestamp());
                    prop_assert_eq!(header.ssrc, reader.ssrc());
                    prop_assert_eq!(header.extended, reader.extension().is_some());
                }
                None => prop_assert!(reader.is_err()),
            }
        }
    }
}
