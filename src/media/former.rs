//! A side that moves in the midst of a call: between its answer and the moment that it hears of it,
//! what it sends still comes from where it was (RFC 3264 §8.3.1). That is taken for a little longer.

use super::flow::{End, Flow, Port, SourceRule};
use super::gate::{self, Kind, Latch};
use crate::domain::Side;
use std::net::SocketAddr;

/// So long after a description what comes from the former source is taken, microseconds: the answer
/// may be lost twice (RFC 3261 §17.1.1.1: T1, 2 T1).
const GRACE_MICROS: u64 = 2_000_000;

/// Where a side sent from until its description changed.
#[derive(Clone, Copy, Debug)]
pub struct Former {
    rtp: Option<SocketAddr>,
    rtcp: Option<SocketAddr>,
    /// It described the same place, so that it is sent to where it was found before.
    same_place: bool,
    until_micros: u64,
}

impl Former {
    /// The flow changes at `micros`: keeps in mind where `side` sent from, if that changes.
    pub fn change(
        this: &mut Option<Self>,
        latch: &Latch,
        side: Side,
        (before, after): (&Flow, &Flow),
        micros: u64,
    ) {
        let goes_on = before.content.follows
            && after.content.follows
            && before.content.fax == after.content.fax;
        let (before, after) = (before.end(side), after.end(side));
        if before.rtp == after.rtp && before.source == after.source {
            return;
        }
        let moves = goes_on
            && before.ports == after.ports
            && before.source != SourceRule::Nobody
            && after.source != SourceRule::Nobody;
        let (rtp, rtcp) = match &before.source {
            SourceRule::Latch { epoch, .. } => (
                latch.source(*epoch, Kind::Rtp),
                latch.source(*epoch, Kind::Rtcp),
            ),
            _ => (before.rtp, before.rtcp),
        };
        *this = (moves && rtp.is_some()).then_some(Self {
            rtp,
            rtcp,
            same_place: before.rtp == after.rtp,
            until_micros: micros.saturating_add(GRACE_MICROS),
        });
    }

    const fn source(&self, kind: Kind) -> Option<SocketAddr> {
        match kind {
            Kind::Rtp => self.rtp,
            Kind::Rtcp => self.rtcp,
        }
    }

    /// As [`gate::may_send`], while there is a former source: it may send until the time is over or
    /// RTP comes by the new description, and is latched to no sooner than that.
    #[cold]
    pub fn may_send(
        this: &mut Option<Self>,
        end: &End,
        latch: &mut Latch,
        kind: Kind,
        source: SocketAddr,
        micros: u64,
    ) -> bool {
        let Some(former) = this.filter(|former| micros < former.until_micros) else {
            *this = None;
            return gate::may_send(end, latch, kind, source);
        };
        if former.source(kind) == Some(source) {
            return true;
        }
        let admitted = gate::may_send(end, latch, kind, source);
        if admitted && kind == Kind::Rtp {
            *this = None;
        }
        admitted
    }

    /// As [`gate::destination`]: a side behind a NAT that described itself anew, but not elsewhere,
    /// is sent to where it was found until it is found again.
    #[cold]
    #[must_use]
    pub fn destination(
        &self,
        end: &End,
        latch: &Latch,
        kind: Kind,
        micros: u64,
    ) -> Option<(Port, SocketAddr)> {
        let (port, described) = gate::destination(end, latch, kind)?;
        let SourceRule::Latch { epoch, .. } = &end.source else {
            return Some((port, described));
        };
        let found = latch.source(*epoch, kind).is_some();
        let stays = self.same_place && !found && micros < self.until_micros;
        let kind = if end.rtcp_mux { Kind::Rtp } else { kind };
        let former = self.source(kind).filter(|_| stays);
        Some((port, former.unwrap_or(described)))
    }
}
