//! Who the two ends of a call are: what comes from elsewhere is no part of its dialogs, even if
//! it knows their tags (sip-bridging 1).

use super::settings::Settings;
use super::sources::Sources;
use crate::domain::{Side, TrunkId};
use smallvec::SmallVec;
use std::net::IpAddr;

/// Most addresses that one side of a call may use.
const MOST_ADDRESSES: usize = 16;

/// The ends of one call: the trunk of each, and the addresses that its messages came from or that
/// its Contact named. These hold even if the trunk is configured otherwise later.
#[derive(Debug, Default)]
pub(super) struct Peers {
    caller: Option<TrunkId>,
    callee: Option<TrunkId>,
    /// Each is counted in [`Sources`].
    addresses: SmallVec<[(Side, IpAddr); 2]>,
}

impl Peers {
    /// Of a call that came from there.
    pub(super) fn of_caller(trunk: Option<TrunkId>) -> Self {
        Self {
            caller: trunk,
            ..Self::default()
        }
    }

    /// The trunk of a side, if one is known.
    pub(super) fn trunk(&self, side: Side) -> Option<TrunkId> {
        match side {
            Side::Caller => self.caller,
            Side::Callee => self.callee,
        }
    }

    /// The callee is now sought by another trunk: who was asked before has no part in the dialog
    /// to come.
    pub(super) fn redial(&mut self, trunk: TrunkId, sources: &mut Sources) {
        self.callee = Some(trunk);
        self.addresses.retain(|(side, address)| {
            let keep = *side == Side::Caller;
            if !keep {
                sources.remove_peer(*address);
            }
            keep
        });
    }

    /// An end of the call is there. Gives back whether there was room to remember it.
    pub(super) fn add(&mut self, side: Side, address: IpAddr, sources: &mut Sources) -> bool {
        let peer = (side, address.to_canonical());
        if self.addresses.contains(&peer) {
            return true;
        }
        let known = self.addresses.iter().filter(|(of, _)| *of == side).count();
        if known >= MOST_ADDRESSES {
            return false;
        }
        self.addresses.push(peer);
        sources.add_peer(peer.1);
        true
    }

    /// Whether that end of the call is there: an address of its own, or of its trunk.
    pub(super) fn has(&self, side: Side, address: IpAddr, settings: &Settings) -> bool {
        self.addresses.contains(&(side, address.to_canonical()))
            || self
                .trunk(side)
                .and_then(|trunk| settings.trunk(trunk))
                .is_some_and(|trunk| trunk.has(address))
    }

    /// Each address, as often as it is counted in [`Sources`].
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().map(|(_, address)| *address)
    }
}
