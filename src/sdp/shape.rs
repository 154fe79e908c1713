//! The media lines of an exchange: an answer repeats the offer's lines, place by place, whatever
//! is refused of them (RFC 3264 §6).

use super::parse::{Address, Description, Media};
use crate::domain::srtp::Srtp;
use smallvec::SmallVec;
use std::net::SocketAddr;

/// RTP profiles that are relayed. (Keys by DTLS, `UDP/TLS/RTP/SAVP`, are not.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `RTP/AVP` (RFC 3551).
    Avp,
    /// `RTP/AVPF` (RFC 4585); its feedback packets do not pass.
    Avpf,
    /// `RTP/SAVP` (RFC 3711).
    Savp,
    /// `RTP/SAVPF` (RFC 5124).
    Savpf,
}

impl Protocol {
    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Avp => "RTP/AVP",
            Self::Avpf => "RTP/AVPF",
            Self::Savp => "RTP/SAVP",
            Self::Savpf => "RTP/SAVPF",
        }
    }

    /// Whether it is one of SRTP. (SRTP by best effort goes by the name of plain RTP.)
    #[must_use]
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Savp | Self::Savpf)
    }

    /// The same with SRTP or without.
    #[must_use]
    pub const fn with_security(self, secure: bool) -> Self {
        match (self, secure) {
            (Self::Avp | Self::Savp, false) => Self::Avp,
            (Self::Avp | Self::Savp, true) => Self::Savp,
            (Self::Avpf | Self::Savpf, false) => Self::Avpf,
            (Self::Avpf | Self::Savpf, true) => Self::Savpf,
        }
    }

    fn read(name: &str) -> Option<Self> {
        [Self::Avp, Self::Avpf, Self::Savp, Self::Savpf]
            .into_iter()
            .find(|protocol| protocol.name() == name)
    }
}

/// Media types that may be named (RFC 8866 §8.2.1); others are called `application`.
const KINDS: [&str; 6] = ["application", "audio", "video", "text", "message", "image"];
/// Protocols that may be named; others are called by the first.
const PROTOCOLS: [&str; 9] = [
    "RTP/AVP",
    "RTP/AVPF",
    "RTP/SAVP",
    "RTP/SAVPF",
    "UDP/TLS/RTP/SAVP",
    "UDP/TLS/RTP/SAVPF",
    "TCP/MSRP",
    "UDP/DTLS/SCTP",
    "udptl",
];

/// One media line that is not relayed: it is named from lists of ours and stands with port 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Media type.
    pub kind: &'static str,
    /// Protocol.
    pub protocol: &'static str,
    /// First payload type where it has one.
    pub payload_type: Option<u8>,
}

impl Refused {
    fn of(media: &Media<'_>) -> Self {
        let named = |names: &[&'static str], text: &str| {
            names
                .iter()
                .find(|name| name.eq_ignore_ascii_case(text))
                .or(names.first())
                .copied()
                .unwrap_or("application")
        };
        Self {
            kind: named(&KINDS, media.kind),
            protocol: named(&PROTOCOLS, media.protocol),
            payload_type: media.payload_types().next(),
        }
    }

    /// The format to name: a payload type for RTP, else whatever is usual.
    #[must_use]
    pub fn format(&self) -> (&'static str, Option<u8>) {
        match self.protocol {
            "TCP/MSRP" => ("*", None),
            "UDP/DTLS/SCTP" => ("webrtc-datachannel", None),
            "udptl" => ("t38", None),
            _ => ("", Some(self.payload_type.unwrap_or(0))),
        }
    }
}

/// One media line's part in an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// The audio that is relayed.
    Audio(Protocol),
    /// The fax that is relayed in its place (T.38 over UDPTL).
    Fax,
    /// Refused.
    Refused(Refused),
}

/// The lines of an offer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape(SmallVec<[Line; 1]>);

impl Shape {
    /// Of an offer that a trunk with `srtp` made: the first audio line that can be taken is relayed,
    /// one with SRTP before one without where there is a choice; else the first fax with a port,
    /// which nothing enciphers; else, ended, the first audio line without a port, or the fax. `None`
    /// where there is no such line (nothing but DTLS-SRTP, say): not acceptable.
    #[must_use]
    pub fn of_offer(offer: &Description<'_>, srtp: Srtp) -> Option<Self> {
        let first = |fits: &dyn Fn(&Media<'_>) -> bool| offer.media.iter().position(fits);
        let taken = |media: &Media<'_>| media.port != 0 && is_taken(media, srtp);
        let faxes = srtp != Srtp::Required;
        let relayed = first(&|media| taken(media) && !media.crypto.is_empty())
            .filter(|_| srtp != Srtp::None)
            .or_else(|| first(&taken))
            .or_else(|| first(&|media| faxes && media.port != 0 && media.is_fax()))
            .or_else(|| first(&|media| media.port == 0 && protocol_of_audio(media).is_some()))
            .or_else(|| first(&|media| media.port == 0 && media.is_fax()))?;
        let line = |(place, media): (usize, &Media<'_>)| match protocol_of_audio(media) {
            Some(protocol) if place == relayed => Line::Audio(protocol),
            None if place == relayed => Line::Fax,
            _ => Line::Refused(Refused::of(media)),
        };
        Some(Self(offer.media.iter().enumerate().map(line).collect()))
    }

    /// Its lines in order.
    pub fn lines(&self) -> impl Iterator<Item = Line> + '_ {
        self.0.iter().copied()
    }

    /// The profile of the audio line.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        let audio = self.lines().find_map(|line| match line {
            Line::Audio(protocol) => Some(protocol),
            Line::Fax | Line::Refused(_) => None,
        });
        audio.unwrap_or(Protocol::Avp)
    }

    /// Place of the relayed line.
    #[must_use]
    pub fn audio(&self) -> usize {
        self.0
            .iter()
            .position(|line| matches!(line, Line::Audio(_) | Line::Fax))
            .unwrap_or(0)
    }

    /// Whether a fax is relayed in place of audio.
    #[must_use]
    pub fn is_fax(&self) -> bool {
        self.0.contains(&Line::Fax)
    }

    /// The relayed line of a description of this shape: audio as RTP or SRTP, or the fax in
    /// its place.
    #[must_use]
    pub fn audio_of<'d, 'a>(&self, description: &'d Description<'a>) -> Option<&'d Media<'a>> {
        description
            .media
            .get(self.audio())
            .filter(|media| match self.is_fax() {
                true => media.is_fax(),
                false => protocol_of_audio(media).is_some(),
            })
    }
}

/// Whether an audio line can be relayed as SRTP or as plain RTP by what its trunk says.
fn is_taken(media: &Media<'_>, srtp: Srtp) -> bool {
    protocol_of_audio(media).is_some_and(|protocol| match srtp {
        Srtp::None => !protocol.is_secure(),
        Srtp::Offered => !protocol.is_secure() || !media.crypto.is_empty(),
        Srtp::Required => !media.crypto.is_empty(),
    })
}

/// The profile of an audio line over RTP.
#[must_use]
pub fn protocol_of_audio(media: &Media<'_>) -> Option<Protocol> {
    if media.kind.eq_ignore_ascii_case("audio") && media.port_count == 1 {
        Protocol::read(media.protocol)
    } else {
        None
    }
}

/// Where a described side takes its RTP and RTCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At these addresses (RTP, RTCP).
    At(SocketAddr, SocketAddr),
    /// Nowhere for now: `c=0.0.0.0` or `::`.
    Unspecified,
    /// The stream is refused or ended: port 0.
    Off,
}

/// Where `media` of `description` is to be sent; `None` where that is nothing that can be sent to
/// (a host name, a multicast group, no connection line). `mux`: RTCP goes where RTP goes.
#[must_use]
pub fn place(description: &Description<'_>, media: &Media<'_>, mux: bool) -> Option<Place> {
    if media.port == 0 {
        return Some(Place::Off);
    }
    let Address::Ip(ip) = media.connection.or(description.connection)? else {
        return None;
    };
    if ip.is_unspecified() {
        return Some(Place::Unspecified);
    }
    let rtp = SocketAddr::new(ip, media.port);
    let rtcp = match media.rtcp {
        _ if mux => rtp,
        Some((port, None)) => SocketAddr::new(ip, port),
        Some((port, Some(Address::Ip(ip)))) => SocketAddr::new(ip, port),
        Some((_, Some(Address::Unusable))) => return None,
        None => SocketAddr::new(ip, media.port.checked_add(1).unwrap_or(media.port)),
    };
    Some(Place::At(rtp, rtcp))
}

#[cfg(test)]
mod tests;
