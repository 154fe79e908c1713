//! Offer and answer between the legs (RFC 3264): what a side described, and the offer that waits
//! for its answer.

use super::flow::{Content, Crypto, Encoding, End, PortPair, SourceRule};
use crate::call::event::Fork;
use crate::domain::Side;
use crate::rtp::srtp::MasterKey;
use crate::sdp::shape::{Place, place, protocol_of_audio};
use crate::sdp::{self, Description, Direction, Media, OwnCrypto, Protocol, Shape, rewrite};
use bytes::Bytes;
use smallvec::SmallVec;
use std::net::{IpAddr, SocketAddr};

/// What a side described of itself, as far as the relay must know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Where it takes its media.
    pub place: Place,
    /// Its direction; an unspecified address receives nothing.
    pub direction: Direction,
    /// RTCP shares the RTP port on its leg.
    pub rtcp_mux: bool,
    /// Clock of each payload type, where timestamps say something of jitter.
    pub clocks: SmallVec<[(u8, u32); 4]>,
    /// What its packets are.
    pub content: Content,
    /// Its codecs that recordings can be played in.
    pub voices: SmallVec<[(u8, Encoding); 4]>,
    /// Fingerprint of the body: the same description again is no new one.
    pub fingerprint: u64,
    /// Counts descriptions, for latching.
    pub epoch: u32,
    /// Where the SIP message that brought it came from: bounds latching.
    pub peer: Option<IpAddr>,
    /// Profile of its audio line; through a fax, that of the audio before.
    pub protocol: Protocol,
    /// SRTP on its leg; through a fax, that of the audio before.
    pub srtp: Option<Box<Agreed>>,
}

/// SRTP as both ends of a leg agreed to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Number of the line that was chosen.
    pub tag: u32,
    /// The two keys.
    pub keys: Crypto,
}

/// A key of ours, as a description gives it to a leg's other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Number of its line.
    pub tag: u32,
    /// The key.
    pub key: MasterKey,
}

impl Given {
    /// As it is written.
    #[must_use]
    pub fn line(&self) -> OwnCrypto<'_> {
        OwnCrypto {
            tag: self.tag,
            suite: self.key.suite(),
            key_and_salt: self.key.key_and_salt(),
        }
    }
}

impl Remote {
    /// From the audio line of a description that `peer` sent; `rtcp_mux` as agreed. `None` where
    /// its address is nothing that can be sent to.
    #[must_use]
    pub fn read(
        description: &Description<'_>,
        media: &Media<'_>,
        rtcp_mux: bool,
        fingerprint: u64,
        peer: Option<IpAddr>,
    ) -> Option<Self> {
        let place = place(description, media, rtcp_mux)?;
        let unspecified = place == Place::Unspecified;
        let clock = |number: u8| {
            let codec = media.codec(number)?;
            (!codec.is_event()).then_some((number, codec.clock))
        };
        let voice = |number: u8| {
            let codec = media.codec(number)?;
            Some((number, Encoding::named(codec.name, codec.clock)?))
        };
        Some(Self {
            place,
            direction: rewrite::direction(description, media, unspecified),
            rtcp_mux,
            clocks: media.payload_types().filter_map(clock).take(32).collect(),
            content: Content::described(media),
            voices: media.payload_types().filter_map(voice).take(8).collect(),
            fingerprint,
            epoch: 0,
            peer,
            protocol: match media.is_fax() {
                true => Protocol::Avp,
                false => protocol_of_audio(media)?,
            },
            srtp: None,
        })
    }

    /// Where it takes RTP and RTCP.
    #[must_use]
    pub const fn addresses(&self) -> (Option<SocketAddr>, Option<SocketAddr>) {
        match self.place {
            Place::At(rtp, rtcp) => (Some(rtp), Some(rtcp)),
            Place::Unspecified | Place::Off => (None, None),
        }
    }

    /// Whether it may send to a side that described itself as `other`.
    #[must_use]
    pub fn may_send_to(&self, other: &Self) -> bool {
        self.place != Place::Off
            && other.place != Place::Off
            && self.direction.sends()
            && other.direction.receives()
    }

    /// Its end of the flow.
    #[must_use]
    pub fn end(&self, ports: PortPair, rule: SourceRule, other: &Self) -> End {
        let (rtp, rtcp) = self.addresses();
        End {
            ports,
            rtp,
            rtcp,
            rtcp_mux: self.rtcp_mux,
            source: if self.place == Place::Off {
                SourceRule::Nobody
            } else {
                rule
            },
            may_send: self.may_send_to(other),
            crypto: self.srtp.as_ref().map(|srtp| Box::new(srtp.keys.clone())),
        }
    }
}

/// An offer and whom it came from.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The offerer.
    pub from: Side,
    /// The callee's dialog, where the callee offered.
    pub fork: Fork,
    /// What the offerer described.
    pub remote: Remote,
    /// The media lines that the answer repeats.
    pub shape: Shape,
    /// Whether the offer as passed on had `a=rtcp-mux`.
    pub mux_offered: bool,
    /// The keys in the offer as passed on; none: plain RTP alone.
    pub given: SmallVec<[Given; 1]>,
    /// The profile of the offer as passed on.
    pub protocol: Protocol,
    /// The offer as passed on.
    pub sent: Bytes,
    /// Answered for good: only a repeated answer may follow.
    pub answered: bool,
}

impl Exchange {
    /// Whether `answer` takes the stream that was offered: it has a port, and a voice codec of the
    /// offer as it was passed on (RFC 3264 §6.1; an answerer may give a codec another number). An
    /// offer that ended the stream has but one answer, and a fax may be refused: the call goes on.
    #[must_use]
    pub fn is_taken_by(&self, answer: &Media<'_>) -> bool {
        if self.remote.place == Place::Off || self.shape.is_fax() {
            return true;
        }
        let Ok(sent) = sdp::parse(&self.sent) else {
            return false;
        };
        let Some(offered) = self.shape.audio_of(&sent) else {
            return false;
        };
        let is_offered = |number: u8| match answer.codec(number) {
            Some(codec) if codec.is_companion() => false,
            Some(codec) => offered
                .payload_types()
                .filter_map(|number| offered.codec(number))
                .any(|other| codec.is_same(&other)),
            // A number without a name can but be the same number without a name.
            None => offered
                .payload_types()
                .any(|other| other == number && offered.codec(other).is_none()),
        };
        answer.port != 0 && answer.payload_types().any(is_offered)
    }
}

/// The last description that a dialog was shown, so that the version in `o=` rises when, and only
/// when, it changes (RFC 3264 §8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    fingerprint: u64,
    version: u32,
}

impl Shown {
    /// The version to write for a description whose bytes, the version left out, have this
    /// fingerprint.
    pub const fn version(&mut self, fingerprint: u64) -> u32 {
        if self.version == 0 || self.fingerprint != fingerprint {
            self.fingerprint = fingerprint;
            self.version = self.version.saturating_add(1);
        }
        self.version
    }
}
