//! What a relay is told of one call's media. Every backend is fed by the same [`Flow`].

use crate::domain::{MediaFigures, Side};
use crate::rtp::srtp::MasterKey;
use std::net::{IpAddr, SocketAddr};

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
    /// CNAME that replaces the senders' own in RTCP, one for each direction of view.
    pub cname: Box<str>,
    /// RTP header extension ids that were negotiated through us and may pass; all others are
    /// stripped.
    pub extensions: Vec<u8>,
    /// Report silence when nothing valid came either way for so long; `None`: do not.
    pub silence: Option<std::time::Duration>,
}

impl Flow {
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
    /// The flow is gone; what it carried.
    Removed {
        /// Which.
        flow: FlowId,
        /// Caller to callee.
        to_callee: MediaFigures,
        /// Callee to caller.
        to_caller: MediaFigures,
        /// RTCP items kept from the other side.
        guard_hits: u32,
    },
}
