//! OPTIONS to outbound trunks, to know which are up (sip-bridging 1).

use super::Output;
use super::compose;
use super::core::{Core, Owner, Timer};
use crate::domain::TrunkId;
use crate::sip::dialog::{Tag, branch, call_id};
use crate::sip::message::{Header, Message, Method};
use crate::sip::transaction;
use std::time::Instant;

/// When each trunk is asked next.
#[derive(Debug, Default)]
pub(super) struct Probes {
    trunks: Vec<Probe>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Probe {
    /// `None`: it is not asked.
    next: Option<Instant>,
    /// A question is unanswered.
    asked: bool,
}

impl Probes {
    /// Takes the trunks of new settings. One that was not asked before is asked at once; one that
    /// was keeps its time.
    pub(super) fn configure(&mut self, core: &mut Core, now: Instant) {
        let wanted: Vec<bool> = core.settings.trunks.iter().map(is_wanted).collect();
        self.trunks
            .resize(wanted.len().max(self.trunks.len()), Probe::default());
        for (place, probe) in self.trunks.iter_mut().enumerate() {
            let wanted = wanted.get(place).copied().unwrap_or(false);
            if !wanted {
                probe.next = None;
            } else if probe.next.is_none()
                && let Ok(place) = u16::try_from(place)
            {
                probe.next = Some(now);
                core.arm(now, Timer::Probe(TrunkId(place)));
            }
        }
    }

    /// Asks a trunk whose time has come.
    pub(super) fn on_timer(&mut self, id: TrunkId, core: &mut Core, now: Instant) {
        let Some(probe) = self.trunks.get_mut(usize::from(id.0)) else {
            return;
        };
        if probe.next.is_none_or(|next| next > now) {
            return;
        }
        let interval = core.settings.trunk(id).map(|trunk| trunk.options_interval);
        let Some(interval) = interval.filter(|interval| !interval.is_zero()) else {
            probe.next = None;
            return;
        };
        let next = now + interval;
        probe.next = Some(next);
        core.arm(next, Timer::Probe(id));
        if !probe.asked {
            probe.asked = ask(id, core, now);
        }
    }

    /// A trunk responded: with anything but 408 and 503 it is there.
    pub(super) fn on_response(&mut self, id: TrunkId, message: &Message, core: &mut Core) {
        let status = message.status().unwrap_or_default();
        if status >= 200 {
            self.on_result(id, !matches!(status, 408 | 503), core);
        }
    }

    /// What came of a question.
    pub(super) fn on_result(&mut self, id: TrunkId, alive: bool, core: &mut Core) {
        if let Some(probe) = self.trunks.get_mut(usize::from(id.0)) {
            probe.asked = false;
        }
        core.emit(Output::TrunkProbe(id, alive));
    }
}

fn is_wanted(trunk: &Option<super::Trunk>) -> bool {
    trunk
        .as_ref()
        .is_some_and(|trunk| trunk.target.is_some() && !trunk.options_interval.is_zero())
}

/// Sends OPTIONS to a trunk (RFC 3261 §11.1).
fn ask(id: TrunkId, core: &mut Core, now: Instant) -> bool {
    let branch = branch(&mut *core.entropy);
    let call_id = call_id(&mut *core.entropy);
    let tag = Tag::draw(&mut *core.entropy);
    let target = core
        .settings
        .trunk(id)
        .and_then(|trunk| trunk.target.clone());
    let Some(target) = target else { return false };
    let uri = target.uri(None);
    let mut writer = compose::request(core, (Method::Options, &uri), &branch, target.path, None);
    let domain = core.domain(target.path);
    writer.header_fmt(Header::From, format_args!("<sip:{domain}>;tag={tag}"));
    writer.header_fmt(Header::To, format_args!("<{}>", target.name(None)));
    writer.header(Header::CallId, &call_id);
    writer.header(Header::CSeq, "1 OPTIONS");
    compose::contact(core, &mut writer, target.path, target.secure);
    writer.header(Header::Accept, compose::ACCEPT);
    let bytes = writer.finish(None);
    let transaction = core.transactions.next_id();
    core.owners.insert(transaction, Owner::Probe(id));
    core.transactions.handle(
        transaction::Input::Request {
            id: transaction,
            method: Method::Options,
            branch,
            bytes,
            path: target.path,
        },
        now,
    );
    true
}
