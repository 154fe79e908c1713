//! Between the call, its media session and the relay.

use super::worker::{Output, Parts, Worker};
use crate::call::event::{Input, MediaCommand};
use crate::domain::{CallKey, Now, Side};
use crate::media::flow::{FlowId, RelayEvent};
use crate::media::session::{self, Session};
use std::net::IpAddr;

/// A call's flow has the call's number.
pub(super) fn flow_of(key: CallKey) -> FlowId {
    FlowId(key.0)
}

impl Worker {
    pub(super) fn ask_media(&mut self, key: CallKey, command: MediaCommand, now: Now) {
        if let Some(entry) = self.calls.get_mut(&key) {
            let input = session::Input::Command(command);
            tell_session(&mut entry.session, input, &mut self.parts);
            self.drain_session(key, now);
        }
    }

    /// A leg's SIP messages come from there: its media may, where its trunk says so.
    pub(super) fn tell_peer(&mut self, key: CallKey, side: Side, address: IpAddr, now: Now) {
        if let Some(entry) = self.calls.get_mut(&key) {
            let input = session::Input::Peer(side, address);
            tell_session(&mut entry.session, input, &mut self.parts);
            self.drain_session(key, now);
        }
    }

    /// Takes what the relay has to report.
    pub fn relay_events(&mut self, now: Now) {
        while let Some(event) = self.parts.relay.poll_event() {
            let flow = match &event {
                RelayEvent::Silent(flow)
                | RelayEvent::Played(flow)
                | RelayEvent::Removed { flow, .. } => *flow,
            };
            let key = CallKey(flow.0);
            if let Some(entry) = self.calls.get_mut(&key) {
                tell_session(
                    &mut entry.session,
                    session::Input::Relay(event),
                    &mut self.parts,
                );
                self.drain_session(key, now);
            }
        }
        self.drain_agent(now);
    }

    fn drain_session(&mut self, key: CallKey, now: Now) {
        while let Some(entry) = self.calls.get_mut(&key) {
            let Some(output) = entry.session.poll_output() else {
                return;
            };
            match output {
                session::Output::Event(event) => self.tell(key, Input::Media(event), now),
                session::Output::Install(id, flow) => self.parts.relay.install(id, *flow),
                session::Output::Remove(id) => self.parts.relay.remove(id),
                session::Output::Count(name, label) => {
                    self.outputs.push_back(Output::Count(name, label));
                }
            }
        }
    }
}

fn tell_session(session: &mut Session, input: session::Input, parts: &mut Parts) {
    let Parts {
        media,
        ports,
        relay,
        entropy,
        ..
    } = parts;
    let mut context = session::Context {
        settings: media,
        ports,
        bind: &mut |pair| relay.reserve(pair),
        random: &mut || entropy.next(),
    };
    session.handle(input, &mut context);
}
