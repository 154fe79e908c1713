//! Who may send, and where it goes: a pure decision about one packet (sip-bridging 5). Every relay
//! backend asks here and nowhere else.

use super::flow::{DropReason, End, Port, SourceRule};
use crate::domain::network::contains;
use crate::rtp::packet;
use std::net::{IpAddr, SocketAddr};

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RTP, still to be checked.
    Rtp,
    /// RTCP, still to be cleaned.
    Rtcp,
}

/// Where a latched leg was found to send from since its description `epoch`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latch {
    epoch: u32,
    rtp: Option<SocketAddr>,
    rtcp: Option<SocketAddr>,
}

/// What a packet that came to `port` of this end is.
///
/// # Errors
/// [`DropReason`] where it is neither: not version 2, RTP on the RTCP port, RTCP on an RTP port
/// that is not shared.
#[inline]
pub fn kind(end: &End, port: Port, bytes: &[u8]) -> Result<Kind, DropReason> {
    if bytes.first().is_none_or(|first| first & 0xc0 != 0x80) {
        return Err(DropReason::NotRtp);
    }
    match (port, packet::is_rtcp(bytes), end.rtcp_mux) {
        (Port::Rtp, false, _) => Ok(Kind::Rtp),
        (Port::Rtp, true, true) | (Port::Rtcp, true, _) => Ok(Kind::Rtcp),
        (Port::Rtp, true, false) => Err(DropReason::NotRtp),
        (Port::Rtcp, false, _) => Err(DropReason::Rtcp),
    }
}

/// As [`kind`], where the flow is a fax: one datagram of UDPTL is as good as another, and nothing but
/// them comes (its errors are corrected by repetition, so it has no RTCP).
///
/// # Errors
/// [`DropReason::NotRtp`] on the RTCP port, or without a byte.
#[inline]
pub const fn fax(port: Port, bytes: &[u8]) -> Result<Kind, DropReason> {
    match port {
        Port::Rtp if !bytes.is_empty() => Ok(Kind::Rtp),
        _ => Err(DropReason::NotRtp),
    }
}

/// Whether `source` may send to this end.
#[inline]
pub fn may_send(end: &End, latch: &mut Latch, kind: Kind, source: SocketAddr) -> bool {
    let described = match kind {
        Kind::Rtp => end.rtp,
        Kind::Rtcp => end.rtcp,
    };
    match &end.source {
        SourceRule::Nobody => false,
        SourceRule::Exact => described == Some(source),
        SourceRule::Address => described.is_some_and(|at| at.ip() == source.ip()),
        SourceRule::Latch { within, epoch } => latch.admit(within, *epoch, kind, source),
    }
}

impl Latch {
    /// Where this kind of packet was found to come from since the description `epoch`.
    #[must_use]
    pub fn source(&self, epoch: u32, kind: Kind) -> Option<SocketAddr> {
        match kind {
            _ if self.epoch != epoch => None,
            Kind::Rtp => self.rtp,
            Kind::Rtcp => self.rtcp,
        }
    }

    fn admit(
        &mut self,
        within: &[(IpAddr, u8)],
        epoch: u32,
        kind: Kind,
        source: SocketAddr,
    ) -> bool {
        if self.epoch != epoch {
            *self = Self {
                epoch,
                ..Self::default()
            };
        }
        let known = match kind {
            Kind::Rtp => self.rtp,
            Kind::Rtcp => self.rtcp,
        };
        if let Some(known) = known {
            return known == source;
        }
        // RTP and RTCP of one agent come from one address, if perhaps by two NAT ports.
        let other = match kind {
            Kind::Rtp => self.rtcp,
            Kind::Rtcp => self.rtp,
        };
        let sound = match other {
            Some(other) => other.ip() == source.ip(),
            None => within.iter().any(|prefix| contains(*prefix, source.ip())),
        };
        if sound {
            match kind {
                Kind::Rtp => self.rtp = Some(source),
                Kind::Rtcp => self.rtcp = Some(source),
            }
        }
        sound
    }
}

/// Where a packet for this end goes: from which port of ours, to whom. A latched source counts
/// instead of the described one, which is an inner address behind a NAT.
#[inline]
#[must_use]
pub fn destination(end: &End, latch: &Latch, kind: Kind) -> Option<(Port, SocketAddr)> {
    let (port, described, latched) = match kind {
        Kind::Rtp => (Port::Rtp, end.rtp, latch.rtp),
        Kind::Rtcp if end.rtcp_mux => (Port::Rtp, end.rtcp, latch.rtcp.or(latch.rtp)),
        Kind::Rtcp => (Port::Rtcp, end.rtcp, latch.rtcp),
    };
    let described = described?;
    match &end.source {
        SourceRule::Latch { epoch, .. } if *epoch == latch.epoch => {
            Some((port, latched.unwrap_or(described)))
        }
        _ => Some((port, described)),
    }
}

#[cfg(test)]
mod tests;
