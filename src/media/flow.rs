//! What a relay is told of one call's media. Every backend is fed by the same [`Flow`].

use super::recording::Recording;
use crate::domain::{CallQuality, MediaFigures, Side};
use crate::rtp::g711::Law;
use crate::rtp::quality::Voice;
use crate::rtp::srtp::MasterKey;
use smallvec::SmallVec;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// One call's media in the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId(pub u64);

/// A pair of our UDP ports: RTP on the even one, RTCP on the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortPair {
    /// Address they are bound to.
    pub address: IpAddr,
    /// The RTP port (even).
    pub rtp: u16,
}

/// From where packets are taken on a leg (sip-bridging 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceRule {
    /// Nobody (no description yet, port 0, or the leg may not send).
    Nobody,
    /// From exactly the described address and port.
    Exact,
    /// From any port of the described address.
    Address,
    /// From the first source inside these prefixes after this description; fixed then, until a new
    /// description comes (a new `epoch`).
    Latch {
        /// Address and prefix length.
        within: Vec<(IpAddr, u8)>,
        /// Counts descriptions.
        epoch: u32,
    },
}

/// SRTP on a leg: the key that each end sends by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crypto {
    /// Ours.
    pub send: MasterKey,
    /// The peer's.
    pub receive: MasterKey,
}

/// One leg's end of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Our ports on this leg.
    pub ports: PortPair,
    /// Where this leg wants its RTP, from its description; `None`: send it none.
    pub rtp: Option<SocketAddr>,
    /// Where it wants its RTCP (`a=rtcp`, else RTP port + 1; the RTP address with rtcp-mux).
    pub rtcp: Option<SocketAddr>,
    /// RTP and RTCP share the RTP port on this leg (RFC 5761).
    pub rtcp_mux: bool,
    /// Who may send to our ports on this leg.
    pub source: SourceRule,
    /// Whether this leg may send RTP by the directions agreed (hold); RTCP passes all the same.
    pub may_send: bool,
    /// SRTP on this leg; `None`: plain RTP.
    pub crypto: Option<Box<Crypto>>,
}

/// A whole flow. An update gives it anew, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The caller's leg.
    pub caller: End,
    /// The callee's leg.
    pub callee: End,
    /// Clock rate per payload type (for jitter), 0 where unknown: index is the payload type.
    pub clock_rates: Box<[u32; 128]>,
    /// What its packets are.
    pub content: Content,
    /// CNAME that replaces the senders' own in RTCP, one for each direction of view.
    pub cname: Box<str>,
    /// RTP header extension ids that were negotiated through us and may pass; all others are
    /// stripped.
    pub extensions: Vec<u8>,
    /// Report silence when nothing valid came either way for so long; `None`: do not.
    pub silence: Option<std::time::Duration>,
    /// What the caller is to hear of us.
    pub play: Option<Box<Play>>,
}

/// A recording for the caller's ears. At its end the relay says [`RelayEvent::Played`], once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Play {
    /// An update with the same id goes on where the recording is; another begins, none stops it.
    pub id: u32,
    /// What.
    pub recording: Arc<Recording>,
    /// How.
    pub manner: Manner,
}

/// How a recording reaches the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manner {
    /// In packets of our own, where nobody else's pass. The numbers are those of the first packet.
    Alone {
        /// Its codec's number on the caller's leg.
        payload_type: u8,
        /// Its codec.
        encoding: Encoding,
        /// Synchronisation source.
        ssrc: u32,
        /// Sequence number.
        sequence: u16,
        /// Timestamp.
        timestamp: u32,
    },
    /// Over the sound of the packets that pass to the caller, of these payload types; all others
    /// (telephone events) pass as they are.
    Over(SmallVec<[(u8, Encoding); 4]>),
}

/// A codec that recordings are played in: one byte is 1/8000 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Encoding {
    /// PCMU or PCMA.
    G711(Law),
    /// G.722 at 64 kbit/s: a prepared file as it is, instead of what would be heard.
    G722,
}

impl Encoding {
    /// By its name in a description (RFC 3551), where the clock is the usual one.
    #[must_use]
    pub fn named(name: &str, clock: u32) -> Option<Self> {
        let all = [
            ("PCMU", Self::G711(Law::Mu)),
            ("PCMA", Self::G711(Law::A)),
            ("G722", Self::G722),
        ];
        all.into_iter()
            .find(|(known, _)| clock == 8000 && known.eq_ignore_ascii_case(name))
            .map(|(_, encoding)| encoding)
    }

    /// Its name in a description.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::G711(Law::Mu) => "PCMU",
            Self::G711(Law::A) => "PCMA",
            Self::G722 => "G722",
        }
    }
}

/// What the packets of a flow are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// T.38 over UDPTL in place of RTP (RFC 3362): taken by source alone, and nothing in it is read.
    pub fax: bool,
    /// Codecs by payload type, in the order of preference, where they are known.
    pub voices: SmallVec<[(u8, Voice); 4]>,
    /// The call is answered: a new description is its own side's, which may go on for a moment as it
    /// sent before.
    pub follows: bool,
    /// Both ends may fall silent by themselves for long: comfort noise (RFC 3389), discontinuous
    /// transmission, fax.
    pub pauses: bool,
}

impl Flow {
    /// Whether packets of it are made or changed here: such a flow is for user space alone.
    #[must_use]
    pub const fn plays(&self) -> bool {
        self.play.is_some()
    }

    /// The end of `side`.
    #[must_use]
    pub fn end(&self, side: Side) -> &End {
        match side {
            Side::Caller => &self.caller,
            Side::Callee => &self.callee,
        }
    }

    /// Whether packets must be deciphered or enciphered on their way, so that nobody but a
    /// [`super::passage::Passage`] can pass them on.
    #[must_use]
    pub const fn has_crypto(&self) -> bool {
        self.caller.crypto.is_some() || self.callee.crypto.is_some()
    }
}

/// Why a packet was not passed on; a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum DropReason {
    NoFlow,
    Source,
    NotRtp,
    Held,
    NoDestination,
    Rtcp,
    Send,
    TooLong,
    SrtpAuth,
    SrtpReplay,
    SrtpLimit,
}

impl DropReason {
    /// All of them; the place is [`Self::index`].
    pub const ALL: [Self; 11] = [
        Self::NoFlow,
        Self::Source,
        Self::NotRtp,
        Self::Held,
        Self::NoDestination,
        Self::Rtcp,
        Self::Send,
        Self::TooLong,
        Self::SrtpAuth,
        Self::SrtpReplay,
        Self::SrtpLimit,
    ];

    /// Place in a table of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The metric's label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoFlow => "no_flow",
            Self::Source => "source",
            Self::NotRtp => "not_rtp",
            Self::Held => "held",
            Self::NoDestination => "no_destination",
            Self::Rtcp => "rtcp",
            Self::Send => "send",
            Self::TooLong => "too_long",
            Self::SrtpAuth => "srtp_auth",
            Self::SrtpReplay => "srtp_replay",
            Self::SrtpLimit => "srtp_limit",
        }
    }
}

/// The two legs' values of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sides<T> {
    /// The caller's leg.
    pub caller: T,
    /// The callee's leg.
    pub callee: T,
}

impl<T> Sides<T> {
    /// The value of `side`.
    pub const fn of(&self, side: Side) -> &T {
        match side {
            Side::Caller => &self.caller,
            Side::Callee => &self.callee,
        }
    }

    /// The value of `side`, to be changed.
    pub const fn of_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Caller => &mut self.caller,
            Side::Callee => &mut self.callee,
        }
    }
}

/// Which of a pair's two ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Port {
    /// The even one.
    Rtp,
    /// The next.
    Rtcp,
}

impl PortPair {
    /// The pair of a leg that has none: nothing is ever bound there.
    #[must_use]
    pub const fn none(address: IpAddr) -> Self {
        Self { address, rtp: 0 }
    }

    /// The address of one of the two.
    #[must_use]
    pub const fn local(self, port: Port) -> SocketAddr {
        let number = match port {
            Port::Rtp => self.rtp,
            Port::Rtcp => self.rtp.saturating_add(1),
        };
        SocketAddr::new(self.address, number)
    }
}

/// What a relay reports.
#[derive(Clone, Debug, PartialEq)]
pub enum RelayEvent {
    /// Nothing valid either way for the flow's silence time.
    Silent(FlowId),
    /// The recording of [`Flow::play`] is over.
    Played(FlowId),
    /// The flow is gone; what it carried.
    Removed {
        /// Which.
        flow: FlowId,
        /// Caller to callee.
        to_callee: MediaFigures,
        /// Callee to caller.
        to_caller: MediaFigures,
        /// How both sounded.
        quality: CallQuality,
        /// RTCP items kept from the other side.
        guard_hits: u32,
    },
}
