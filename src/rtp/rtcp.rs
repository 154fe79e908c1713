//! Walking a compound RTCP packet (RFC 3550 §6.1).

/// Packet types (RFC 3550 §12.1).
pub mod kind {
    /// Sender report.
    pub const SENDER_REPORT: u8 = 200;
    /// Receiver report.
    pub const RECEIVER_REPORT: u8 = 201;
    /// Source description.
    pub const SOURCE_DESCRIPTION: u8 = 202;
    /// Goodbye.
    pub const GOODBYE: u8 = 203;
}

/// One packet of a compound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// Reports, chunks or sources that it says it holds, 0 to 31.
    pub count: u8,
    /// Packet type.
    pub kind: u8,
    /// What follows its first four bytes, padding left out.
    pub body: &'a [u8],
}

/// The packets of a compound, in order; `Err` once where it is broken, then the end.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    rest: &'a [u8],
}

/// A compound that is not by the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl<'a> Parts<'a> {
    /// Of a datagram.
    #[must_use]
    pub const fn new(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }

    fn read(&mut self) -> Option<Part<'a>> {
        let [first, kind, l0, l1, ..] = *self.rest else {
            return None;
        };
        if first & 0xc0 != 0x80 {
            return None;
        }
        let length = (usize::from(u16::from_be_bytes([l0, l1])) + 1) * 4;
        let (packet, rest) = self.rest.split_at_checked(length)?;
        let mut body = packet.get(4..)?;
        if first & 0x20 != 0 {
            // Only the last packet may be padded, by whole words.
            let padding = usize::from(*body.last()?);
            if !rest.is_empty() || padding == 0 || padding % 4 != 0 {
                return None;
            }
            body = body.get(..body.len().checked_sub(padding)?)?;
        }
        self.rest = rest;
        Some(Part {
            count: first & 0x1f,
            kind,
            body,
        })
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Result<Part<'a>, Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match self.read() {
            Some(part) => Some(Ok(part)),
            None => {
                self.rest = &[];
                Some(Err(Broken))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compound_is_walked() {
        let datagram = [
            0x80, 201, 0, 1, 1, 2, 3, 4, // RR
            0xa1, 203, 0, 2, 1, 2, 3, 4, 0, 0, 0, 4, // BYE, padded
        ];
        let parts: Vec<_> = Parts::new(&datagram).map(Result::unwrap).collect();
        assert_eq!(parts.len(), 2);
        assert_eq!((parts[0].kind, parts[0].body), (201, &[1, 2, 3, 4][..]));
        assert_eq!((parts[1].count, parts[1].body), (1, &[1, 2, 3, 4][..]));
    }

    #[test]
    fn broken_ones_end_with_an_error() {
        for datagram in [
            &[0x80, 201, 0][..],
            &[0x80, 201, 0, 2, 1, 2, 3, 4],
            &[0x40, 201, 0, 0],
            &[0xa0, 201, 0, 1, 0, 0, 0, 8],
            &[0xa0, 201, 0, 1, 0, 0, 0, 0],
            &[0xa0, 201, 0, 1, 0, 0, 0, 4, 0x80, 201, 0, 0],
            &[0xa0, 201, 0, 0],
        ] {
            let mut parts = Parts::new(datagram);
            assert_eq!(parts.next(), Some(Err(Broken)), "{datagram:?}");
            assert_eq!(parts.next(), None);
        }
    }
}
