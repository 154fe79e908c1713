//! The media of one call: reads the two sides' descriptions, writes what the other side gets, and
//! tells the relay who may send what where.

mod announce;
mod describe;
mod install;
mod srtp;

use super::exchange::{Exchange, Remote, Shown};
use super::flow::{Flow, FlowId, RelayEvent, Sides};
use super::ports::{Ports, Taken};
use super::settings::Settings;
use crate::call::event::{Fork, MediaCommand, MediaEvent, Refusal};
use crate::domain::{CallQuality, MediaFigures, Side, TrunkId};
use describe::is_acceptable;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;

/// Early dialogs whose media is kept track of; further ones are not described.
pub const MAX_FORKS: usize = 16;

/// What a session may use while it handles an input.
pub struct Context<'a> {
    /// Rules in force.
    pub settings: &'a Settings,
    /// The pools.
    pub ports: &'a mut Ports,
    /// Makes sure that a pair is ours (the relay's `reserve`).
    pub bind: &'a mut dyn FnMut(super::flow::PortPair) -> io::Result<()>,
    /// Where keys come from: nobody can guess what it gives.
    pub random: &'a mut dyn FnMut() -> u64,
}

/// What a session is told.
#[derive(Debug)]
pub enum Input {
    /// From the call.
    Command(MediaCommand),
    /// From the relay, about this flow.
    Relay(RelayEvent),
    /// The address that this side's SIP messages come from; bounds latching to what it describes
    /// from now on. Until it is known nobody latches.
    Peer(Side, IpAddr),
}

/// What a session asks for.
#[derive(Debug)]
pub enum Output {
    /// Tell the call.
    Event(MediaEvent),
    /// Tell the relay: start the flow or replace it.
    Install(FlowId, Box<Flow>),
    /// Tell the relay: end the flow.
    Remove(FlowId),
    /// Something to count: name and label.
    Count(&'static str, &'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    Open,
    Announcing,
    Closing,
    Closed,
}

/// One leg.
#[derive(Debug, Default)]
struct Leg {
    trunk: Option<TrunkId>,
    peer: Option<IpAddr>,
    ports: Option<Taken>,
    /// Number in `o=`, and where ids are drawn from.
    session: u32,
}

/// One of the callee's dialogs and what stands for it on the caller's leg.
#[derive(Debug)]
struct Dialog {
    fork: Fork,
    remote: Option<Remote>,
    shown_to_caller: Shown,
}

/// The media session of one call: the sans-IO contract of every core, without timers of its own
/// (silence is the relay's to notice).
///
/// ```text
///        Open, no port / no media
///   New ─────────────────────────▶ New          (Refused)
///    │ Announce                Close
///    ├──────────▶ Announcing ────────▶ as Open, flow installed
///    │ Open
///    ▼
///   Open ◀─┐ Describe, Select, Route, Rollback, Start
///    │  └──┘ flow installed as soon as both sides are described
///    │ Close, flow installed        Removed
///    ├─────────────────────▶ Closing ──────▶ Closed   (Closed with figures)
///    │ Close, never installed                  ▲
///    └─────────────────────────────────────────┘
/// ```
#[derive(Debug)]
pub struct Session {
    flow: FlowId,
    state: State,
    installed: bool,
    started: bool,
    legs: Sides<Leg>,
    shown_to_callee: Shown,
    caller: Option<Remote>,
    dialogs: SmallVec<[Dialog; 1]>,
    selected: Option<Fork>,
    exchange: Option<Box<Exchange>>,
    /// The INVITE's own offer, while another is made in an early dialog: forks may still answer it.
    first: Option<Box<Exchange>>,
    epoch: u32,
    cname: Box<str>,
    random: u64,
    /// Number of the credit warning that the caller hears.
    warning: Option<u32>,
    /// Credit warnings so far.
    warnings: u32,
    outputs: VecDeque<Output>,
}

impl Session {
    /// A session that holds nothing yet; `random` decides the names and numbers it writes.
    #[must_use]
    pub fn new(flow: FlowId, random: u64) -> Self {
        let leg = |shift: u32| Leg {
            // Five digits at most: the guard knows it by that (`sip/guard/ours.rs`).
            session: u32::try_from(random >> shift & 0xffff).unwrap_or(0) + 1,
            ..Leg::default()
        };
        Self {
            flow,
            state: State::New,
            installed: false,
            started: false,
            legs: Sides {
                caller: leg(0),
                callee: leg(16),
            },
            shown_to_callee: Shown::default(),
            caller: None,
            dialogs: SmallVec::new(),
            selected: None,
            exchange: None,
            first: None,
            epoch: 0,
            cname: cname(random),
            random,
            warning: None,
            warnings: 0,
            outputs: VecDeque::new(),
        }
    }

    /// Takes an input.
    pub fn handle(&mut self, input: Input, context: &mut Context<'_>) {
        match input {
            Input::Command(command) => self.command(command, context),
            Input::Relay(event) => self.relay(event, context),
            Input::Peer(side, address) => {
                self.legs.of_mut(side).peer = Some(address.to_canonical());
            }
        }
    }

    /// The next thing to be done, if there is one.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Nothing more will come.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed && self.outputs.is_empty()
    }

    fn command(&mut self, command: MediaCommand, context: &mut Context<'_>) {
        match (self.state, command) {
            (State::New, MediaCommand::Open { trunk, offer }) => {
                self.open(trunk, offer.as_deref(), context);
            }
            (
                State::New,
                MediaCommand::Announce {
                    trunk,
                    offer,
                    which,
                },
            ) => self.announce(trunk, &offer, which, context),
            (State::New, MediaCommand::Close) => self.close_now(context),
            (State::Open, MediaCommand::Route(trunk)) => self.route(trunk, context),
            (
                State::Open,
                MediaCommand::Describe {
                    from,
                    fork,
                    role,
                    body,
                },
            ) => {
                let fork = self.dialog_of(fork);
                let event = match self.describe(from, fork, role, &body, context) {
                    Some(described) => MediaEvent::Described(described),
                    None => MediaEvent::Undescribed,
                };
                self.outputs.push_back(Output::Event(event));
            }
            (State::Open, MediaCommand::Select(fork)) => self.select(fork, context),
            (State::Open, MediaCommand::Rollback) => self.roll_back(),
            (State::Open, MediaCommand::Start) => self.start(context),
            (State::Open, MediaCommand::Warn(warn)) => self.warn(warn, context),
            (State::Open | State::Announcing, MediaCommand::Close) => self.close(context),
            // A description that comes too early or too late is owed its answer all the same.
            (_, MediaCommand::Describe { .. }) => {
                self.outputs
                    .push_back(Output::Event(MediaEvent::Undescribed));
            }
            _ => {}
        }
    }

    fn open(&mut self, trunk: TrunkId, offer: Option<&[u8]>, context: &mut Context<'_>) {
        let event = match self.try_open(trunk, offer, context) {
            Ok(()) => {
                self.state = State::Open;
                MediaEvent::Opened
            }
            Err(refusal) => MediaEvent::Refused(refusal),
        };
        self.outputs.push_back(Output::Event(event));
    }

    fn try_open(
        &mut self,
        trunk: TrunkId,
        offer: Option<&[u8]>,
        context: &mut Context<'_>,
    ) -> Result<(), Refusal> {
        let rules = context.settings.trunk(trunk).ok_or(Refusal::NoPort)?;
        if let Some(offer) = offer
            && !is_acceptable(offer, rules, context.settings)
        {
            return Err(Refusal::NoMedia);
        }
        let (caller, callee) = context
            .ports
            .take(rules.network, rules.network, context.bind)
            .ok_or(Refusal::NoPort)?;
        self.legs.caller.trunk = Some(trunk);
        self.legs.caller.ports = Some(caller);
        self.legs.callee.ports = Some(callee);
        Ok(())
    }

    /// A dial attempt begins: whatever an earlier one described is gone.
    fn route(&mut self, trunk: TrunkId, context: &mut Context<'_>) {
        self.legs.callee.trunk = Some(trunk);
        self.legs.callee.peer = None;
        self.dialogs.clear();
        self.exchange = None;
        self.first = None;
        self.selected = None;
        self.shown_to_callee = Shown::default();
        let rules = context.settings.trunk(trunk);
        let (Some(rules), Some(beside)) = (rules, self.legs.caller.ports) else {
            return;
        };
        let held = self.legs.callee.ports;
        if held.is_some_and(|held| held.network == rules.network) {
            return self.install(context);
        }
        let taken = context
            .ports
            .take_beside(rules.network, beside.pair, context.bind);
        if taken.is_none() {
            // Without a trunk nothing is written for the leg: the attempt fails as undescribed.
            self.legs.callee.trunk = None;
            self.outputs.push_back(Output::Event(MediaEvent::Unrouted));
            return self.install(context);
        }
        self.legs.callee.ports = taken;
        self.install(context);
        // After the flow that let go of it: the relay takes commands in order.
        if let Some(held) = held {
            context.ports.give(held);
        }
    }

    /// The callee's dialog that `fork` means: an answered call has but one.
    fn dialog_of(&self, fork: Fork) -> Fork {
        match self.selected {
            Some(selected) if self.started => selected,
            _ => fork,
        }
    }

    fn select(&mut self, fork: Fork, context: &mut Context<'_>) {
        if self.selected != Some(fork) {
            self.selected = Some(fork);
            self.install(context);
        }
    }

    fn start(&mut self, context: &mut Context<'_>) {
        self.started = true;
        self.first = None;
        if self.exchange.as_ref().is_some_and(|done| done.answered) {
            self.exchange = None;
        }
        let selected = self.selected;
        self.dialogs.retain(|dialog| Some(dialog.fork) == selected);
        self.dialogs.shrink_to_fit();
        self.install(context);
    }

    /// Before the answer the INVITE's own offer stands: other forks may answer it.
    fn roll_back(&mut self) {
        if self.started || self.first.is_some() {
            self.exchange = self.first.take();
        }
    }

    fn close(&mut self, context: &mut Context<'_>) {
        if self.installed {
            self.state = State::Closing;
            self.outputs.push_back(Output::Remove(self.flow));
        } else {
            self.close_now(context);
        }
    }

    fn close_now(&mut self, context: &mut Context<'_>) {
        let none = MediaFigures::default();
        self.closed((none, none), CallQuality::default(), 0, context);
    }

    fn relay(&mut self, event: RelayEvent, context: &mut Context<'_>) {
        match (self.state, event) {
            (State::Open, RelayEvent::Silent(flow)) if flow == self.flow => {
                self.outputs.push_back(Output::Event(MediaEvent::Silent));
            }
            (State::Open, RelayEvent::Played(flow)) if flow == self.flow => {
                self.warning_over(context);
            }
            (State::Announcing, RelayEvent::Played(flow)) if flow == self.flow => {
                self.outputs.push_back(Output::Event(MediaEvent::Played));
            }
            (
                State::Closing,
                RelayEvent::Removed {
                    flow,
                    to_callee,
                    to_caller,
                    quality,
                    guard_hits,
                },
            ) if flow == self.flow => {
                self.closed((to_callee, to_caller), quality, guard_hits, context);
            }
            _ => {}
        }
    }

    fn closed(
        &mut self,
        (to_callee, to_caller): (MediaFigures, MediaFigures),
        quality: CallQuality,
        guard_hits: u32,
        context: &mut Context<'_>,
    ) {
        self.state = State::Closed;
        for side in [Side::Caller, Side::Callee] {
            if let Some(taken) = self.legs.of_mut(side).ports.take() {
                context.ports.give(taken);
            }
        }
        self.outputs.push_back(Output::Event(MediaEvent::Closed {
            to_callee,
            to_caller,
            quality,
            guard_hits,
        }));
    }
}

/// Ten letters: a CNAME that says nothing and holds no digit.
fn cname(random: u64) -> Box<str> {
    let letter = |place: u32| {
        let number = u8::try_from(random.rotate_right(place * 6) % 26).unwrap_or(0);
        char::from(b'a' + number)
    };
    (0..10).map(letter).collect()
}

#[cfg(test)]
mod tests;
