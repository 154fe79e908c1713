//! Reads what the gateway needs of a session description and passes over the rest. Everything is
//! borrowed from the body; every count is bounded.

use super::codec::Codec;
use super::crypto::Crypto;
use super::fax;
use smallvec::SmallVec;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of a body.
pub const MAX_BODY: usize = 16 * 1024;
/// Lines of a body.
pub const MAX_LINES: usize = 512;
/// Media lines.
pub const MAX_MEDIA: usize = 16;
/// Formats in one media line, and attributes of one kind below it.
pub const MAX_FORMATS: usize = 64;

/// Why a body is no description that can be worked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Larger than the bound named.
    #[error("session description over its bound: {0}")]
    TooMuch(&'static str),
    /// Not by the grammar of RFC 8866.
    #[error("session description malformed: {0}")]
    Malformed(&'static str),
}

/// An address of a `c=` or `a=rtcp` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// A unicast address, or the unspecified one of an old-style hold (RFC 3264 §8.4).
    Ip(IpAddr),
    /// A host name, a multicast group, another network: nothing that is sent to.
    Unusable,
}

/// `a=sendrecv` and its kin (RFC 8866 §6.7), as the describing side sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Sends and receives.
    #[default]
    SendRecv,
    /// Sends only.
    SendOnly,
    /// Receives only.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// Whether the describing side sends.
    #[must_use]
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the describing side receives.
    #[must_use]
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The same without receiving: what an unspecified address means.
    #[must_use]
    pub const fn without_receiving(self) -> Self {
        if self.sends() {
            Self::SendOnly
        } else {
            Self::Inactive
        }
    }

    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    fn read(name: &str) -> Option<Self> {
        [
            Self::SendRecv,
            Self::SendOnly,
            Self::RecvOnly,
            Self::Inactive,
        ]
        .into_iter()
        .find(|direction| direction.name() == name)
    }
}

/// A `b=` line of a known type (RFC 8866 §5.8, RFC 3556).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bandwidth {
    /// `AS`, `CT`, `TIAS`, `RS`, `RR`.
    pub kind: &'static str,
    /// In the type's unit; under a million, so that no digit run could be a number.
    pub value: u32,
}

/// A session description as far as the gateway cares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description<'a> {
    /// Session-level `c=`.
    pub connection: Option<Address>,
    /// Session-level direction.
    pub direction: Option<Direction>,
    /// Session-level `b=`.
    pub bandwidth: SmallVec<[Bandwidth; 2]>,
    /// Media lines in order.
    pub media: SmallVec<[Media<'a>; 1]>,
}

/// One media line with its attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Media<'a> {
    /// `audio`, `video`, ...
    pub kind: &'a str,
    /// RTP port; 0 refuses or ends the stream.
    pub port: u16,
    /// Number of ports; anything but 1 is layered encoding.
    pub port_count: u16,
    /// `RTP/AVP`, ...
    pub protocol: &'a str,
    /// Formats in the order of preference.
    pub formats: SmallVec<[&'a str; 8]>,
    /// Media-level `c=`.
    pub connection: Option<Address>,
    /// Media-level direction.
    pub direction: Option<Direction>,
    /// `a=rtcp` (RFC 3605).
    pub rtcp: Option<(u16, Option<Address>)>,
    /// `a=rtcp-mux` (RFC 5761).
    pub rtcp_mux: bool,
    /// `a=ptime`, milliseconds.
    pub ptime: Option<u32>,
    /// `a=maxptime`, milliseconds.
    pub maxptime: Option<u32>,
    /// `a=rtpmap` by payload type; `None` where it is not by the grammar.
    pub maps: SmallVec<[(u8, Option<Codec<'a>>); 8]>,
    /// `a=fmtp` by payload type, as written.
    pub parameters: SmallVec<[(u8, &'a str); 4]>,
    /// Media-level `b=`.
    pub bandwidth: SmallVec<[Bandwidth; 2]>,
    /// `a=crypto` lines that can be used, in the order of preference.
    pub crypto: SmallVec<[Crypto<'a>; 1]>,
    /// Attributes of T.38 that pass.
    pub fax: Vec<fax::Attribute<'a>>,
}

impl<'a> Media<'a> {
    /// The codec of a payload type: its `a=rtpmap`, else the static assignment.
    #[must_use]
    pub fn codec(&self, payload_type: u8) -> Option<Codec<'a>> {
        match self.maps.iter().find(|(number, _)| *number == payload_type) {
            Some((_, codec)) => *codec,
            None => Codec::assigned(payload_type),
        }
    }

    /// The formats that are RTP payload types, in order.
    pub fn payload_types(&self) -> impl Iterator<Item = u8> + '_ {
        self.formats.iter().filter_map(|text| payload_type(text))
    }
}

/// Reads a description.
///
/// # Errors
/// [`Fault`] where the body is over a bound or its skeleton (`v=`, `c=`, `m=`) is broken. Unknown
/// lines and unknown or odd attributes are no faults: they are passed over.
pub fn parse(body: &[u8]) -> Result<Description<'_>, Fault> {
    if body.len() > MAX_BODY {
        return Err(Fault::TooMuch("body"));
    }
    let mut description = Description::default();
    let mut first = true;
    for (number, line) in lines(body).enumerate() {
        if number >= MAX_LINES {
            return Err(Fault::TooMuch("lines"));
        }
        if line.is_empty() {
            continue;
        }
        let [letter, b'=', value @ ..] = line else {
            return Err(Fault::Malformed("line without type"));
        };
        if std::mem::take(&mut first) {
            if *letter != b'v' || value != b"0" {
                return Err(Fault::Malformed("version"));
            }
            continue;
        }
        // A text line in another encoding is none of those that are read.
        if let Ok(value) = std::str::from_utf8(value) {
            read_line(&mut description, *letter, value)?;
        } else if matches!(letter, b'm' | b'c') {
            return Err(Fault::Malformed("encoding"));
        }
    }
    if first {
        return Err(Fault::Malformed("empty"));
    }
    Ok(description)
}

fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

fn read_line<'a>(
    description: &mut Description<'a>,
    letter: u8,
    value: &'a str,
) -> Result<(), Fault> {
    match letter {
        b'm' => {
            if description.media.len() >= MAX_MEDIA {
                return Err(Fault::TooMuch("media lines"));
            }
            let media = read_media(value).ok_or(Fault::Malformed("media line"))??;
            description.media.push(media);
        }
        b'c' => {
            let address = read_connection(value).ok_or(Fault::Malformed("connection"))?;
            let slot = match description.media.last_mut() {
                Some(media) => &mut media.connection,
                None => &mut description.connection,
            };
            slot.get_or_insert(address);
        }
        b'b' => {
            if let Some(bandwidth) = read_bandwidth(value) {
                let slot = match description.media.last_mut() {
                    Some(media) => &mut media.bandwidth,
                    None => &mut description.bandwidth,
                };
                if slot.len() < 4 {
                    slot.push(bandwidth);
                }
            }
        }
        b'a' => read_attribute(description, value)?,
        _ => {}
    }
    Ok(())
}

fn read_media(value: &str) -> Option<Result<Media<'_>, Fault>> {
    let mut words = value.split(' ').filter(|word| !word.is_empty());
    let kind = words.next()?;
    let ports = words.next()?;
    let (port, port_count) = match ports.split_once('/') {
        Some((port, count)) => (number(port)?, number(count)?),
        None => (number(ports)?, 1),
    };
    let protocol = words.next()?;
    let mut media = Media {
        kind,
        port,
        port_count,
        protocol,
        ..Media::default()
    };
    for format in words {
        if media.formats.len() >= MAX_FORMATS {
            return Some(Err(Fault::TooMuch("formats")));
        }
        media.formats.push(format);
    }
    if media.formats.is_empty() {
        return None;
    }
    Some(Ok(media))
}

fn read_connection(value: &str) -> Option<Address> {
    let mut words = value.split(' ').filter(|word| !word.is_empty());
    let network = words.next()?;
    let family = words.next()?;
    let host = words.next()?;
    if words.next().is_some() {
        return None;
    }
    Some(read_address(network, family, host))
}

fn read_address(network: &str, family: &str, host: &str) -> Address {
    let ip = match (network, family) {
        ("IN", "IP4") => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        ("IN", "IP6") => host.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => None,
    };
    match ip {
        Some(ip) if !ip.is_multicast() && ip != IpAddr::V4(Ipv4Addr::BROADCAST) => Address::Ip(ip),
        _ => Address::Unusable,
    }
}

fn read_bandwidth(value: &str) -> Option<Bandwidth> {
    let (kind, value) = value.split_once(':')?;
    let kind = ["AS", "CT", "TIAS", "RS", "RR"]
        .into_iter()
        .find(|known| *known == kind)?;
    let value = number::<u32>(value.trim()).filter(|value| *value < 1_000_000)?;
    Some(Bandwidth { kind, value })
}

fn read_attribute<'a>(description: &mut Description<'a>, value: &'a str) -> Result<(), Fault> {
    let (name, rest) = match value.split_once(':') {
        Some((name, rest)) => (name, rest.trim()),
        None => (value.trim(), ""),
    };
    if let Some(direction) = Direction::read(name) {
        match description.media.last_mut() {
            Some(media) => media.direction = Some(direction),
            None => description.direction = Some(direction),
        }
        return Ok(());
    }
    let Some(media) = description.media.last_mut() else {
        return Ok(());
    };
    match name {
        "rtpmap" => {
            let Some((number, text)) = payload_and_text(rest) else {
                return Ok(());
            };
            bound(media.maps.len())?;
            if media.maps.iter().all(|(known, _)| *known != number) {
                media.maps.push((number, Codec::read(text)));
            }
        }
        "fmtp" => {
            let Some((number, text)) = payload_and_text(rest) else {
                return Ok(());
            };
            bound(media.parameters.len())?;
            media.parameters.push((number, text));
        }
        "ptime" => media.ptime = number(rest).filter(|ms| (1..=1000).contains(ms)),
        "maxptime" => media.maxptime = number(rest).filter(|ms| (1..=1000).contains(ms)),
        "rtcp" => media.rtcp = read_rtcp(rest),
        "rtcp-mux" => media.rtcp_mux = true,
        "crypto" => {
            bound(media.crypto.len())?;
            media.crypto.extend(Crypto::read(rest));
        }
        _ => {
            if let Some(attribute) = fax::Attribute::read(name, rest) {
                bound(media.fax.len())?;
                media.fax.push(attribute);
            }
        }
    }
    Ok(())
}

fn read_rtcp(value: &str) -> Option<(u16, Option<Address>)> {
    let mut words = value.split(' ').filter(|word| !word.is_empty());
    let port = number(words.next()?).filter(|port| *port != 0)?;
    let Some(network) = words.next() else {
        return Some((port, None));
    };
    let address = read_address(network, words.next()?, words.next()?);
    Some((port, Some(address)))
}

fn payload_and_text(value: &str) -> Option<(u8, &str)> {
    let (number, text) = value.split_once(' ')?;
    Some((payload_type(number)?, text.trim()))
}

fn payload_type(text: &str) -> Option<u8> {
    number(text).filter(|number| *number < 128)
}

/// Digits alone: `str::parse` would take a sign.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

const fn bound(count: usize) -> Result<(), Fault> {
    if count >= MAX_FORMATS {
        Err(Fault::TooMuch("attributes"))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
