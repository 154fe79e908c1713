//! Writes the description that the other side gets: our addresses, our names, and of the audio
//! line what the allow list names (sip-bridging 4: `rtpmap`, `fmtp`, `ptime`, `maxptime`, the
//! direction, `rtcp-mux`; keys of our own; never candidates, `cname`, `extmap`, labels, names or texts).

mod announcement;

pub use announcement::Announcement;

use super::codec::{Codec, CodecList};
use super::crypto::OwnCrypto;
use super::fax;
use super::parameters;
use super::parse::{Bandwidth, Description, Direction, Media};
use super::shape::{Line, Protocol, Refused, Shape};
use smallvec::SmallVec;
use std::io::Write;
use std::net::IpAddr;

/// How a description is to be rewritten.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// Our address, as the other side is to see it.
    pub address: IpAddr,
    /// Our RTP port on the other side's leg; RTCP is the next.
    pub port: u16,
    /// Number of our session (`o=`), under a million so that it is no telephone number.
    pub session: u32,
    /// Version of our session (`o=`).
    pub version: u32,
    /// The media lines of the exchange.
    pub shape: &'a Shape,
    /// Whether to offer, or to agree to, `a=rtcp-mux` on that leg.
    pub rtcp_mux: bool,
    /// The describing side takes nothing for now (`c=0.0.0.0`, RFC 3264 §8.4).
    pub unspecified: bool,
    /// Codecs of the describing side's trunk.
    pub from_codecs: &'a CodecList,
    /// Codecs of the reading side's trunk.
    pub to_codecs: &'a CodecList,
    /// Put the codecs into the reading trunk's order (else the describing trunk's): for offers.
    /// An answer's order is the answerer's choice.
    pub reorder: bool,
    /// The profile of the reading side's leg.
    pub protocol: Protocol,
    /// Our keys for SRTP on that leg, in the order of preference; none: plain RTP.
    pub crypto: &'a [OwnCrypto<'a>],
}

/// One format that passes.
struct Passing<'a> {
    payload_type: u8,
    codec: Option<Codec<'a>>,
    mapped: bool,
}

/// The description for the other side; `None` where none of its codecs may be used there.
#[must_use]
pub fn rewrite(description: &Description<'_>, terms: &Terms<'_>) -> Option<Vec<u8>> {
    let media = terms.shape.audio_of(description)?;
    let formats = passing(media, terms);
    let voice = |passing: &Passing<'_>| passing.codec.is_none_or(|codec| !codec.is_companion());
    if media.port != 0 && !terms.shape.is_fax() && !formats.iter().any(voice) {
        return None;
    }
    let mut out = Vec::with_capacity(512);
    write_session(&mut out, description, terms).ok()?;
    for line in terms.shape.lines() {
        match line {
            Line::Refused(refused) => write_refused(&mut out, &refused).ok()?,
            Line::Fax => {
                let port = if media.port == 0 { 0 } else { terms.port };
                fax::write(&mut out, media, port).ok()?;
            }
            Line::Audio(_) if media.port == 0 => {
                write_ended(&mut out, terms.protocol, &formats).ok()?;
            }
            Line::Audio(_) => {
                write_formats(&mut out, terms.protocol, terms.port, &formats).ok()?;
                write_attributes(&mut out, description, media, terms, &formats).ok()?;
            }
        }
    }
    Some(out)
}

fn passing<'a>(media: &Media<'a>, terms: &Terms<'_>) -> SmallVec<[Passing<'a>; 8]> {
    let mut formats: SmallVec<[Passing<'a>; 8]> = SmallVec::new();
    for payload_type in media.payload_types() {
        let codec = media.codec(payload_type);
        let mapped = media.maps.iter().any(|(known, _)| *known == payload_type);
        // A dynamic number without a (sound) map names nothing.
        let known = codec.is_some() || (payload_type < 96 && !mapped);
        let again = formats
            .iter()
            .any(|passing| passing.payload_type == payload_type);
        if known
            && !again
            && terms.from_codecs.allows(codec.as_ref())
            && terms.to_codecs.allows(codec.as_ref())
        {
            formats.push(Passing {
                payload_type,
                codec,
                mapped,
            });
        }
    }
    let order = match (terms.to_codecs.is_empty(), terms.from_codecs.is_empty()) {
        (false, _) => terms.to_codecs,
        (true, _) => terms.from_codecs,
    };
    if terms.reorder && !order.is_empty() {
        formats.sort_by_key(|passing| {
            let rank = passing.codec.and_then(|codec| order.rank(&codec));
            rank.unwrap_or(usize::MAX)
        });
    }
    formats
}

fn write_session(
    out: &mut Vec<u8>,
    description: &Description<'_>,
    terms: &Terms<'_>,
) -> std::io::Result<()> {
    let family = family(terms.address);
    write!(
        out,
        "v=0\r\no=- {} {} IN {family} {}\r\ns=-\r\nc=IN {family} ",
        terms.session, terms.version, terms.address
    )?;
    match (terms.unspecified, terms.address) {
        (false, address) => write!(out, "{address}\r\n")?,
        (true, IpAddr::V4(_)) => out.write_all(b"0.0.0.0\r\n")?,
        (true, IpAddr::V6(_)) => out.write_all(b"::\r\n")?,
    }
    write_bandwidth(out, &description.bandwidth)?;
    out.write_all(b"t=0 0\r\n")
}

const fn family(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "IP4",
        IpAddr::V6(_) => "IP6",
    }
}

fn write_bandwidth(out: &mut Vec<u8>, bandwidth: &[Bandwidth]) -> std::io::Result<()> {
    for Bandwidth { kind, value } in bandwidth {
        write!(out, "b={kind}:{value}\r\n")?;
    }
    Ok(())
}

fn write_refused(out: &mut Vec<u8>, refused: &Refused) -> std::io::Result<()> {
    write!(out, "m={} 0 {} ", refused.kind, refused.protocol)?;
    match refused.format() {
        (_, Some(payload_type)) => write!(out, "{payload_type}\r\n"),
        (name, None) => write!(out, "{name}\r\n"),
    }
}

fn write_ended(
    out: &mut Vec<u8>,
    protocol: Protocol,
    formats: &[Passing<'_>],
) -> std::io::Result<()> {
    let first = formats.first().map_or(0, |passing| passing.payload_type);
    write!(out, "m=audio 0 {} {first}\r\n", protocol.name())
}

fn write_formats(
    out: &mut Vec<u8>,
    protocol: Protocol,
    port: u16,
    formats: &[Passing<'_>],
) -> std::io::Result<()> {
    write!(out, "m=audio {port} {}", protocol.name())?;
    for passing in formats {
        write!(out, " {}", passing.payload_type)?;
    }
    out.write_all(b"\r\n")
}

fn write_attributes(
    out: &mut Vec<u8>,
    description: &Description<'_>,
    media: &Media<'_>,
    terms: &Terms<'_>,
    formats: &[Passing<'_>],
) -> std::io::Result<()> {
    write_bandwidth(out, &media.bandwidth)?;
    for passing in formats {
        let number = passing.payload_type;
        if let (Some(codec), true) = (&passing.codec, passing.mapped) {
            write!(out, "a=rtpmap:{number} {}/{}", codec.name, codec.clock)?;
            match codec.channels {
                Some(channels) => write!(out, "/{channels}\r\n")?,
                None => out.write_all(b"\r\n")?,
            }
        }
        for (_, text) in media
            .parameters
            .iter()
            .filter(|(known, _)| *known == number)
        {
            if let Some(text) = parameters::passing(passing.codec.as_ref(), text) {
                write!(out, "a=fmtp:{number} {text}\r\n")?;
            }
        }
    }
    if let Some(ptime) = media.ptime {
        write!(out, "a=ptime:{ptime}\r\n")?;
    }
    if let Some(maxptime) = media.maxptime {
        write!(out, "a=maxptime:{maxptime}\r\n")?;
    }
    write_direction(out, description, media, terms.unspecified)?;
    if terms.rtcp_mux {
        out.write_all(b"a=rtcp-mux\r\n")?;
    }
    for crypto in terms.crypto {
        crypto.write(out)?;
    }
    Ok(())
}

/// The direction as given; left out where it was left out. An unspecified address is a hold, and
/// newer agents read only the attribute, so it is said in both ways.
fn write_direction(
    out: &mut Vec<u8>,
    description: &Description<'_>,
    media: &Media<'_>,
    unspecified: bool,
) -> std::io::Result<()> {
    let direction = media.direction.or(description.direction);
    let direction = if unspecified {
        Some(direction.unwrap_or_default().without_receiving())
    } else {
        direction
    };
    match direction {
        Some(direction) => write!(out, "a={}\r\n", direction.name()),
        None => Ok(()),
    }
}

/// The direction that `media` of `description` agrees to, an unspecified address considered.
#[must_use]
pub fn direction(description: &Description<'_>, media: &Media<'_>, unspecified: bool) -> Direction {
    let direction = media
        .direction
        .or(description.direction)
        .unwrap_or_default();
    if unspecified {
        direction.without_receiving()
    } else {
        direction
    }
}

#[cfg(test)]
mod tests;
