//! OPTIONS to outbound trunks, to know which are up (sip-bridging 1).

use super::Output;
use super::compose;
use super::core::{Core, Owner, Timer};
use super::credentials::{Logins, Probe};
use super::hops::{SILENCE, Tried};
use crate::domain::TrunkId;
use crate::sip::dialog::{Tag, branch};
use crate::sip::message::{Header, Message, Method, Path};
use crate::sip::transaction::{self, TransactionId};
use std::time::Instant;

/// When each trunk is asked next.
#[derive(Debug, Default)]
pub(super) struct Probes {
    trunks: Vec<Turn>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    /// `None`: it is not asked.
    next: Option<Instant>,
    /// The question that is unanswered.
    asked: Option<Asked>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    id: TransactionId,
    path: Path,
    at: Instant,
}

impl Probes {
    /// Takes the trunks of new settings. One that was not asked before is asked at once; one that
    /// was keeps its time.
    pub(super) fn configure(&mut self, core: &mut Core, now: Instant) {
        // One worker asks for all: what it hears is told to the others.
        let asks = core.shard.index() == 0;
        let wanted = |trunk| asks && is_wanted(trunk);
        let wanted: Vec<bool> = core.settings.trunks.iter().map(wanted).collect();
        self.trunks
            .resize(wanted.len().max(self.trunks.len()), Turn::default());
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
        match probe.asked {
            None => {}
            // No answer in the time that a call would have waited is one: the transaction may take
            // ten times as long to say so.
            Some(asked) if now >= asked.at + SILENCE => {
                core.owners.remove(&asked.id);
                self.on_result((id, asked.id), false, core, now);
            }
            Some(_) => return,
        }
        let Some(path) = core.pick_hop(id, &Tried::default(), now) else {
            return;
        };
        let asked = ask(id, (path, Owner::Probe(id)), core, now);
        if let Some(probe) = self.trunks.get_mut(usize::from(id.0)) {
            probe.asked = asked.map(|id| Asked { id, path, at: now });
        }
        if let Some(path) = core.rested_hop(id, now) {
            ask(id, (path, Owner::HopProbe(path)), core, now);
        }
    }

    /// A trunk responded: with anything but 408 and 503 it is there.
    pub(super) fn on_response(
        &mut self,
        question: (TrunkId, TransactionId),
        message: &Message,
        core: &mut Core,
        now: Instant,
    ) {
        let status = message.status().unwrap_or_default();
        if status >= 200 {
            self.on_result(question, !matches!(status, 408 | 503), core, now);
        }
    }

    /// A question is asked again, with credentials.
    pub(super) fn resubmitted(&mut self, trunk: TrunkId, old: TransactionId, new: TransactionId) {
        let probe = self.trunks.get_mut(usize::from(trunk.0));
        if let Some(asked) = probe.and_then(|probe| probe.asked.as_mut())
            && asked.id == old
        {
            asked.id = new;
        }
    }

    /// What came of a question.
    pub(super) fn on_result(
        &mut self,
        (id, transaction): (TrunkId, TransactionId),
        alive: bool,
        core: &mut Core,
        now: Instant,
    ) {
        let probe = self.trunks.get_mut(usize::from(id.0));
        let asked = probe.and_then(|probe| probe.asked.take_if(|asked| asked.id == transaction));
        if let Some(asked) = asked {
            on_hop(asked.path, alive, core, now);
        }
        core.emit(Output::TrunkProbe(id, alive));
    }
}

/// What OPTIONS to a hop came to.
pub(super) fn on_hop(path: Path, alive: bool, core: &mut Core, now: Instant) {
    if alive {
        core.hop_heard(path, now);
    } else {
        core.hop_failed(path, 0, now);
    }
}

fn is_wanted(trunk: &Option<super::Trunk>) -> bool {
    trunk
        .as_ref()
        .is_some_and(|trunk| trunk.target.is_some() && !trunk.options_interval.is_zero())
}

/// Sends OPTIONS to a trunk (RFC 3261 §11.1).
fn ask(
    id: TrunkId,
    (path, owner): (Path, Owner),
    core: &mut Core,
    now: Instant,
) -> Option<TransactionId> {
    let branch = branch(&mut *core.entropy);
    let call_id = core.call_id();
    let tag = Tag::draw(&mut *core.entropy);
    let target = core
        .settings
        .trunk(id)
        .and_then(|trunk| trunk.target.clone());
    let target = target?;
    let uri = target.uri(None, path.transport);
    let mut writer = compose::request(core, (Method::Options, &uri), &branch, path, None);
    let domain = core.domain(path);
    writer.header_fmt(Header::From, format_args!("<sip:{domain}>;tag={tag}"));
    writer.header_fmt(Header::To, format_args!("<{}>", target.name(None)));
    writer.header(Header::CallId, &call_id);
    writer.header(Header::CSeq, "1 OPTIONS");
    compose::contact(core, &mut writer, path, target.secure);
    writer.header(Header::Accept, compose::ACCEPT);
    let request = (writer.finish(None), branch, path);
    let probe = Logins::probe(core, id, request, None, now);
    Some(send(owner, probe, core, now))
}

/// Starts the transaction of OPTIONS to a trunk.
pub(super) fn send(owner: Owner, probe: Probe, core: &mut Core, now: Instant) -> TransactionId {
    let Probe {
        bytes,
        branch,
        path,
        sent,
    } = probe;
    let transaction = core.transactions.next_id();
    core.owners.insert(transaction, owner);
    core.logins.await_probe(transaction, sent);
    let input = transaction::Input::Request {
        id: transaction,
        method: Method::Options,
        branch,
        bytes,
        path,
    };
    core.transactions.handle(input, now);
    transaction
}
