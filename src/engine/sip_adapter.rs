//! Between the call and the SIP layer: events one way, commands the other, one for one.

use super::life;
use super::worker::{Heard, Output, Worker};
use crate::call::event::{Input, SipCommand};
use crate::domain::{CallKey, Now};
use crate::sip::agent;

impl Worker {
    pub(super) fn ask_agent(&mut self, key: CallKey, command: SipCommand, now: Now) {
        if let Some(entry) = self.calls.get_mut(&key) {
            life::commanded(entry.call.record(), &command, &mut entry.rang);
        }
        self.parts
            .agent
            .handle(agent::Input::Command(key, command), now);
    }

    pub(super) fn drain_agent(&mut self, now: Now) {
        while let Some(output) = self.parts.agent.poll_output() {
            match output {
                agent::Output::Transmit(bytes, path) => {
                    self.outputs.push_back(Output::Transmit(bytes, path));
                }
                agent::Output::Invite(key, invite) => self.begin(key, invite, now),
                agent::Output::Peer(key, side, address) => {
                    self.tell_peer(key, side, address, now);
                }
                agent::Output::Event(key, side, event) => {
                    self.tell(key, Input::Leg(side, event), now);
                }
                agent::Output::CalleeLeg(key, id) => self.tell(key, Input::CalleeLeg(id), now),
                agent::Output::TrunkProbe(trunk, alive) => {
                    self.learn(trunk, Heard::Probe(alive), now);
                }
                agent::Output::TrunkHops {
                    trunk,
                    total,
                    usable,
                    v6,
                } => {
                    if let Some(v6) = v6 {
                        self.parts.media.use_family(trunk, v6);
                    }
                    self.watch_trunk(trunk, now, |trunks| trunks.hops(trunk, total, usable));
                }
                agent::Output::HopNews(path, until) => {
                    self.outputs.push_back(Output::HopNews(path, until));
                }
                agent::Output::GuardHit(key, place) => {
                    let call_id = self.calls.get(&key).map(|entry| entry.id.to_string());
                    tracing::warn!(call_id, %place, "the privacy guard kept something back");
                    self.outputs.push_back(Output::Count("guard_hits", "sip"));
                    self.tell(key, Input::GuardHit, now);
                }
                agent::Output::Count(name, label) => {
                    self.outputs.push_back(Output::Count(name, label));
                }
                agent::Output::Gone(..) => {}
            }
        }
    }
}
