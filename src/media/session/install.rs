//! What is in force on both sides, and the flow that the relay is given for it.

use super::{Context, Leg, Output, Session};
use crate::call::event::Fork;
use crate::domain::Side;
use crate::media::exchange::Remote;
use crate::media::flow::{Content, Flow, SourceRule};
use crate::media::settings::{MediaSource, Settings, Trunk};
use crate::sdp::shape::Place;
use smallvec::SmallVec;
use std::net::IpAddr;

impl Session {
    pub(super) fn in_force(&self, side: Side) -> Option<&Remote> {
        match side {
            Side::Caller => self.caller.as_ref(),
            Side::Callee => {
                let selected = self.selected?;
                let dialog = self.dialogs.iter().find(|dialog| dialog.fork == selected)?;
                dialog.remote.as_ref()
            }
        }
    }

    pub(super) fn put_in_force(&mut self, side: Side, fork: Fork, mut remote: Remote) {
        let fresh = self.epoch.wrapping_add(1);
        let slot = match side {
            Side::Caller => &mut self.caller,
            Side::Callee => match self.dialog(fork) {
                Some(dialog) => &mut dialog.remote,
                None => return,
            },
        };
        remote.epoch = match slot {
            Some(before) if before.fingerprint == remote.fingerprint => before.epoch,
            _ => fresh,
        };
        *slot = Some(remote);
        self.epoch = fresh;
    }

    /// Tells the relay, where both sides are described; a flow that is there already falls silent
    /// where they are no longer.
    pub(super) fn install(&mut self, context: &Context<'_>) {
        match self.flow(context.settings) {
            Some(flow) => {
                self.installed = true;
                self.outputs
                    .push_back(Output::Install(self.flow, Box::new(flow)));
            }
            None if self.installed => {
                // Only a new dial attempt takes a description away: nobody may send until the
                // next one describes itself.
                self.mute(context.settings);
            }
            None => {}
        }
    }

    fn mute(&mut self, settings: &Settings) {
        let Some(caller) = self.caller.clone() else {
            return;
        };
        let nobody = Remote {
            place: Place::Off,
            srtp: None,
            clocks: SmallVec::new(),
            ..caller.clone()
        };
        if let Some(flow) = self.flow_of(&caller, &nobody, settings) {
            self.outputs
                .push_back(Output::Install(self.flow, Box::new(flow)));
        }
    }

    pub(super) fn flow(&self, settings: &Settings) -> Option<Flow> {
        let caller = self.in_force(Side::Caller)?;
        let callee = self.in_force(Side::Callee)?;
        self.flow_of(caller, callee, settings)
    }

    fn flow_of(&self, caller: &Remote, callee: &Remote, settings: &Settings) -> Option<Flow> {
        let end = |side: Side, own: &Remote, other: &Remote| {
            let leg = self.legs.of(side);
            let rule = source_rule(leg, own, settings);
            Some(own.end(leg.ports?.pair, rule, other))
        };
        let caller_end = end(Side::Caller, caller, callee)?;
        let callee_end = end(Side::Callee, callee, caller)?;
        let mut clock_rates = Box::new([0; 128]);
        for (number, clock) in caller.clocks.iter().chain(&callee.clocks) {
            if let Some(rate) = clock_rates.get_mut(usize::from(*number)) {
                *rate = *clock;
            }
        }
        let both_ways = [&caller_end, &callee_end]
            .iter()
            .all(|end| end.may_send && end.rtp.is_some());
        let counts = self.started && both_ways && !settings.timeout.is_zero();
        Some(Flow {
            caller: caller_end,
            callee: callee_end,
            clock_rates,
            content: Content {
                follows: self.started,
                ..caller.content.with(&callee.content)
            },
            cname: self.cname.clone(),
            extensions: Vec::new(),
            silence: counts.then_some(settings.timeout),
            play: self.warning(caller, callee, settings),
        })
    }
}

pub(super) fn source_rule(leg: &Leg, remote: &Remote, settings: &Settings) -> SourceRule {
    let Some(rules) = leg.trunk.and_then(|trunk| settings.trunk(trunk)) else {
        return SourceRule::Exact;
    };
    match rules.source {
        MediaSource::AddressAndPort => SourceRule::Exact,
        MediaSource::Address => SourceRule::Address,
        MediaSource::Latch => match remote.peer {
            Some(peer) => SourceRule::Latch {
                within: latch_bounds(peer, rules),
                epoch: remote.epoch,
            },
            None => SourceRule::Nobody,
        },
    }
}

/// Where a latched source may be: at the SIP peer that described it, or where the trunk's operator
/// says. What else the trunk's signalling may come from is other calls' business.
fn latch_bounds(peer: IpAddr, rules: &Trunk) -> Vec<(IpAddr, u8)> {
    let whole = if peer.is_ipv4() { 32 } else { 128 };
    std::iter::once((peer, whole))
        .chain(rules.prefixes.iter().copied())
        .collect()
}
