//! Codecs as payload types name them (RFC 3551 §6, RFC 8866 §6.6), and a trunk's list of those it
//! may use.

use super::free_text;

/// One payload format: an `a=rtpmap`, or the static assignment where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codec<'a> {
    /// Encoding name.
    pub name: &'a str,
    /// RTP clock rate, Hz.
    pub clock: u32,
    /// Channels, where written.
    pub channels: Option<u8>,
}

/// RFC 3551 tables 4 and 5, audio: payload type, name, clock.
const STATIC: [(u8, &str, u32); 17] = [
    (0, "PCMU", 8000),
    (3, "GSM", 8000),
    (4, "G723", 8000),
    (5, "DVI4", 8000),
    (6, "DVI4", 16000),
    (7, "LPC", 8000),
    (8, "PCMA", 8000),
    (9, "G722", 8000),
    (10, "L16", 44100),
    (11, "L16", 44100),
    (12, "QCELP", 8000),
    (13, "CN", 8000),
    (14, "MPA", 90000),
    (15, "G728", 8000),
    (16, "DVI4", 11025),
    (17, "DVI4", 22050),
    (18, "G729", 8000),
];

impl<'a> Codec<'a> {
    /// The static assignment of a payload type.
    #[must_use]
    pub fn assigned(payload_type: u8) -> Option<Codec<'static>> {
        STATIC
            .iter()
            .find(|(number, _, _)| *number == payload_type)
            .map(|(_, name, clock)| Codec {
                name,
                clock: *clock,
                channels: None,
            })
    }

    /// From the value of an `a=rtpmap` after its payload type; `None` where it is not
    /// `token/clock` or `token/clock/channels`, or where its name looks like a number.
    #[must_use]
    pub fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.split('/');
        let name = parts.next()?;
        let clock = parts.next()?;
        let channels = parts.next();
        let sound = free_text::is_token(name, 32)
            && !free_text::holds_number(name)
            && name.bytes().any(|byte| byte.is_ascii_alphabetic())
            && !free_text::holds_address(name)
            && !free_text::holds_hexadecimal_address(name)
            && !name.contains('%')
            && parts.next().is_none();
        if !sound {
            return None;
        }
        let channels = match channels {
            None => None,
            Some(text) => Some(text.parse().ok().filter(|n| (1..=32).contains(n))?),
        };
        Some(Self {
            name,
            clock: clock
                .parse()
                .ok()
                .filter(|rate| (1..=999_999).contains(rate))?,
            channels,
        })
    }

    /// Whether both are one encoding; channels are left out by some who mean the usual number.
    #[must_use]
    pub fn is_same(&self, other: &Codec<'_>) -> bool {
        self.name.eq_ignore_ascii_case(other.name) && self.clock == other.clock
    }

    /// Tones and silence, which go with any voice codec and carry no call by themselves.
    #[must_use]
    pub fn is_companion(&self) -> bool {
        self.is_event() || self.name.eq_ignore_ascii_case("CN")
    }

    /// `telephone-event` (RFC 4733), whose timestamps stand still and so say nothing of jitter.
    #[must_use]
    pub fn is_event(&self) -> bool {
        self.name.eq_ignore_ascii_case("telephone-event")
    }
}

/// The codecs that a trunk may use, in its order of preference; an empty list is all of them in
/// the order of the offer (sip-bridging 5). Telephone events and comfort noise always pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodecList(Vec<(Box<str>, Option<u32>)>);

impl CodecList {
    /// From names such as `PCMA`, `opus` or `L16/16000`.
    ///
    /// # Errors
    /// The first entry that is not such a name.
    pub fn read<T: AsRef<str>>(entries: &[T]) -> Result<Self, String> {
        let read = |entry: &T| {
            let text = entry.as_ref();
            let (name, clock) = match text.split_once('/') {
                Some((name, clock)) => (name, Some(clock.parse().map_err(|_| text.to_owned())?)),
                None => (text, None),
            };
            if free_text::is_token(name, 32) {
                Ok((name.into(), clock))
            } else {
                Err(text.to_owned())
            }
        };
        entries.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the list leaves everything as it is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `codec` may be used; one without a name only where everything may.
    #[must_use]
    pub fn allows(&self, codec: Option<&Codec<'_>>) -> bool {
        self.is_empty()
            || codec.is_some_and(|codec| codec.is_companion() || self.rank(codec).is_some())
    }

    /// Place of `codec` in the list.
    #[must_use]
    pub fn rank(&self, codec: &Codec<'_>) -> Option<usize> {
        self.0.iter().position(|(name, clock)| {
            name.eq_ignore_ascii_case(codec.name) && clock.is_none_or(|clock| clock == codec.clock)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rtpmap_is_read_by_its_grammar() {
        let opus = Codec::read("opus/48000/2").unwrap();
        assert_eq!(
            (opus.name, opus.clock, opus.channels),
            ("opus", 48000, Some(2))
        );
        for text in [
            "",
            "PCMU",
            "PCMU/",
            "PCMU/0",
            "PCMU/x",
            "PCMU/8000/0",
            "PCMU/8000/1/1",
            "PC MU/8000",
            "60123456789/8000",
            "a60123456789/8000",
            "x-60-12-345-678/8000",
            "PCMU/1000000",
            "192.0.2.1/8000",
            "a1.2.3.4/8000",
        ] {
            assert_eq!(Codec::read(text), None, "{text}");
        }
    }

    #[test]
    fn a_list_allows_orders_and_keeps_tones() {
        let list = CodecList::read(&["PCMA", "L16/16000"]).unwrap();
        let codec = |text| Codec::read(text).unwrap();
        assert!(list.allows(Some(&codec("pcma/8000"))));
        assert!(!list.allows(Some(&codec("PCMU/8000"))));
        assert!(!list.allows(Some(&codec("L16/44100"))));
        assert!(list.allows(Some(&codec("telephone-event/8000"))));
        assert!(!list.allows(None));
        assert_eq!(list.rank(&codec("L16/16000")), Some(1));
        assert!(CodecList::default().allows(None));
        assert!(CodecList::read(&["a b"]).is_err());
        assert!(CodecList::read(&["L16/x"]).is_err());
    }
}
