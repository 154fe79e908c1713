//! The two legs together: the state machine of one call.

use super::announcing::Announcing;
use super::cause::{End, Reason};
use super::context::Context;
use super::ending::Closing;
use super::event::{
    BooksEvent, Fork, Input, LedgerCommand, LegEvent, MediaCommand, MediaEvent, Output, Role,
    SipCommand,
};
use super::exchange::Exchange;
use super::foresight::Warning;
use super::leg::Leg;
use super::meter::{Exhausted, Meter, Tick};
use super::setup::Setup;
use crate::domain::{
    CallId, CallKey, CallRecord, Credit, EndedBy, MediaFigures, Now, Side, TrunkId, UnixMillis,
};
use bytes::Bytes;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::time::Instant;

/// State of a call; [`Call`] has the drawing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// No INVITE yet.
    #[default]
    Idle,
    /// What vouches for the caller is being checked.
    AwaitingVerdict,
    /// The books are asked to hold the first block.
    AwaitingHold,
    /// The call is refused, and a recording says so before the final response does.
    Announcing,
    /// Ports are being reserved, or the offer is being written for the trunk chosen.
    AwaitingMedia,
    /// The callee is dialled; nothing to pass on came yet.
    Dialling,
    /// A provisional response went to the caller.
    Ringing,
    /// The callee answered; the open-call record is being made durable.
    AwaitingDurable,
    /// 200 sent to the caller, its ACK outstanding. Paid time runs.
    Answered,
    /// Both dialogs are confirmed.
    Up,
    /// Over on the wire; the final figures and the record's durability are outstanding.
    Ending,
    /// Nothing more will come.
    Over,
}

/// One call, from INVITE to record.
///
/// ```text
///             Invite                                       refused by a row of section 2
///   Idle ---------------> (admission) ------------------------------------------+
///                             | Verify, where the trunk's policy asks for it    |
///                             v            not vouched for, CANCEL              |
///                      AwaitingVerdict ---------------------------------------->|
///                             | Verdict, or none in time: Admit                 |
///                             v            Refused                              |
///                       AwaitingHold ------------------------------------------>|
///                             | Admitted: Protect, Open                         |
///                             v            Refused (no media, no port), no trunk|
///                +--> AwaitingMedia ------------------------------------------->|
///   next trunk:  |            | Described: Dial                                 |
///   no response  |            v            Failed for good, LeaseEnded,         |
///   for 3 s,     +------- Dialling ------> CANCEL, ring timeout --------------->|
///   408, 500,    |            | 18x: Progress                                   |
///   502-504,     |            v                                                 |
///   transport    +------- Ringing -------> the same --------------------------->|
///                             | 2xx: Confirm*, Describe, Answer                 |
///                             v            AnswerFailed, CANCEL, LeaseEnded,    |
///                      AwaitingDurable --> callee's BYE ----------------------->|
///                             | AnswerDurable: Accept, Start, meter runs        |
///                             v            Unconfirmed, BYE, Lost, paid time    |
///                         Answered ------> over --------------------------------|
///                             | ACK                                             |
///                             v            BYE, Lost, silence, paid time over,  |
///                 +--------- Up ---------> maximum duration, lease ended ------>|
///   re-INVITE and |           ^                                                 v
///   its answer    +-----------+                                               Ending
///                                                                               |
///     Over <-- Finished -- Recorded -- Close(record) -- media Closed -----------+
///
///   refused for a reason that has a recording: Idle, AwaitingHold -- Announce --> Announcing, whence
///   it ends as refused (Played, Unannounced, nothing in time), or by CANCEL
///   a call that ends in Answered awaits the caller's ACK in Ending: it is charged only if it comes
///   * with a delayed offer the callee's 2xx is confirmed only with the answer in the caller's ACK
/// ```
///
/// Whatever the state, leaving for Ending lets both legs go from wherever they are
/// ([`Leg::release`]), stops the meter and gives trunks and ports back, once.
#[derive(Debug)]
pub struct Call {
    pub(super) key: CallKey,
    pub(super) state: State,
    pub(super) caller_leg: Leg,
    pub(super) callee_leg: Leg,
    /// What is needed until the call is up, and not after.
    pub(super) setup: Option<Box<Setup>>,
    /// The recording that a refused caller hears.
    pub(super) announcing: Option<Box<Announcing>>,
    /// Runs from the 200.
    pub(super) meter: Option<Meter>,
    /// Both legs' dialogs agreed once; a re-INVITE is under way.
    pub(super) exchange: Option<Exchange>,
    /// Descriptions given to the media session and not answered yet, in order.
    pub(super) describing: SmallVec<[Purpose; 2]>,
    /// Trunks on which the call is counted.
    pub(super) trunk_in: Option<TrunkId>,
    pub(super) trunk_out: Option<TrunkId>,
    /// The fork that won.
    pub(super) fork: Fork,
    pub(super) media: Media,
    /// The caller's ACK was there.
    pub(super) acknowledged: bool,
    pub(super) closing: Closing,
    pub(super) record: Box<CallRecord>,
    outputs: VecDeque<Output>,
}

/// What a description is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The caller's offer, to be dialled with.
    Offer,
    /// SDP of a provisional response with this status.
    Progress(Fork, u16),
    /// SDP of the callee's 2xx.
    Answer(Fork),
    /// The answer in the caller's ACK to a delayed offer.
    DelayedAnswer,
    /// The offer of the exchange under way.
    Reoffer,
    /// The answer of the exchange under way.
    Reanswer,
}

/// The media session, as far as the call knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Media {
    #[default]
    None,
    /// `Open` was sent, and it was not refused.
    Open,
    /// `Close` was sent.
    Closing,
    Closed,
}

impl Call {
    /// A call that waits for its INVITE.
    #[must_use]
    pub fn new(key: CallKey) -> Self {
        Self {
            key,
            state: State::Idle,
            caller_leg: Leg::Idle,
            callee_leg: Leg::Idle,
            setup: None,
            announcing: None,
            meter: None,
            exchange: None,
            describing: SmallVec::new(),
            trunk_in: None,
            trunk_out: None,
            fork: Fork(0),
            media: Media::None,
            acknowledged: false,
            closing: Closing::default(),
            record: Box::new(blank_record(CallId(uuid::Uuid::nil()))),
            outputs: VecDeque::new(),
        }
    }

    /// The key it was made with.
    #[must_use]
    pub const fn key(&self) -> CallKey {
        self.key
    }

    /// Its id; nil before the INVITE.
    #[must_use]
    pub fn id(&self) -> CallId {
        self.record.call_id
    }

    /// Its state.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// What is known of it so far; empty once it went to the books.
    #[must_use]
    pub fn record(&self) -> &CallRecord {
        &self.record
    }

    /// Takes one input. Outputs are to be drained before the next.
    pub fn handle(&mut self, input: Input, now: Now, context: &mut Context<'_>) {
        match input {
            Input::CalleeLeg(id) => {
                self.record.callee_leg_call_id = id;
                return;
            }
            Input::GuardHit => {
                self.record.guard_hits = self.record.guard_hits.saturating_add(1);
                return;
            }
            Input::Shutdown => {
                self.shut_down(now, context);
                return;
            }
            Input::Media(MediaEvent::Described(body)) => {
                self.described(Some(body), now, context);
                return;
            }
            Input::Media(MediaEvent::Unrouted) => {
                if let Some(setup) = &mut self.setup {
                    setup.no_port = true;
                }
                return;
            }
            Input::Media(MediaEvent::Undescribed) => {
                self.described(None, now, context);
                return;
            }
            _ => {}
        }
        match self.state {
            State::Idle => self.idle(input, now, context),
            State::AwaitingVerdict => self.awaiting_verdict(input, now, context),
            State::AwaitingHold => self.awaiting_hold(input, now, context),
            State::Announcing => self.announcing(input, now, context),
            State::AwaitingMedia => self.awaiting_media(input, now, context),
            State::Dialling | State::Ringing => self.dialling(input, now, context),
            State::AwaitingDurable => self.awaiting_durable(input, now, context),
            State::Answered => self.answered(input, now, context),
            State::Up => self.up(input, now, context),
            State::Ending => self.ending(input, now),
            State::Over => {}
        }
    }

    /// The next thing to be done.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if self.outputs.is_empty() && self.outputs.capacity() > 8 {
            // A call that is up waits for long: it keeps no more room than it needs.
            self.outputs.shrink_to(4);
        }
        output
    }

    /// When [`Self::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Dialling | State::Ringing | State::AwaitingMedia => {
                self.setup.as_ref().and_then(|setup| setup.poll_timeout())
            }
            State::AwaitingVerdict => self.setup.as_ref().and_then(|setup| setup.verdict_until),
            State::Announcing => self.announcing.as_ref().and_then(|one| one.until),
            State::Answered | State::Up => self.meter.as_ref().and_then(Meter::poll_timeout),
            State::Ending => self.ending_deadline(),
            State::Idle | State::AwaitingHold | State::AwaitingDurable | State::Over => None,
        }
    }

    /// Does what is due at `now`, if anything is.
    pub fn handle_timeout(&mut self, now: Now, context: &mut Context<'_>) {
        match self.state {
            State::Dialling | State::Ringing | State::AwaitingMedia => {
                self.dial_timeout(now, context);
            }
            State::AwaitingVerdict => self.verdict_timeout(now, context),
            State::Announcing => self.announcing_timeout(now, context),
            State::Answered | State::Up => self.meter_timeout(now, context),
            State::Ending => self.ending_timeout(now),
            State::Idle | State::AwaitingHold | State::AwaitingDurable | State::Over => {}
        }
    }

    /// Up: hang-ups, re-INVITEs, DTMF.
    fn up(&mut self, input: Input, now: Now, context: &mut Context<'_>) {
        match input {
            Input::Leg(side, LegEvent::Dtmf(content_type, body)) => {
                self.sip(SipCommand::Dtmf(side.other(), content_type, body));
            }
            Input::Leg(side, event) => {
                if let Some(event) = self.exchange_event(side, event, now, context) {
                    self.connected_leg(side, &event, now, context);
                }
            }
            Input::Books(event) => self.connected_books(&event, now, context),
            Input::Media(MediaEvent::Silent) => {
                self.end(End::gateway(Reason::MediaTimeout), now, context);
            }
            _ => {}
        }
    }

    /// What ends an answered call from a leg, with or without the caller's ACK.
    pub(super) fn connected_leg(
        &mut self,
        side: Side,
        event: &LegEvent,
        now: Now,
        context: &mut Context<'_>,
    ) {
        let (reason, cause) = match event {
            LegEvent::Ended(cause) => {
                // A BYE in the confirmed dialog proves that the 200 arrived, ACK or not.
                self.acknowledged |= side == Side::Caller;
                (Reason::Completed, cause)
            }
            LegEvent::Lost(cause) => (Reason::Lost, cause),
            _ => return,
        };
        *self.leg_mut(side) = Leg::Terminated;
        let end = End::of(ended_by(side), reason).with_q850(cause.q850);
        self.end(end, now, context);
    }

    /// What the books say to an answered call.
    pub(super) fn connected_books(
        &mut self,
        event: &BooksEvent,
        now: Now,
        context: &mut Context<'_>,
    ) {
        match event {
            BooksEvent::BlocksHeld(count) => {
                if let Some(meter) = &mut self.meter {
                    meter.blocks_held(*count);
                }
                self.warn();
            }
            BooksEvent::Covered(count) => {
                if let Some(meter) = &mut self.meter {
                    meter.covered(*count, now.mono);
                }
                self.warn();
            }
            BooksEvent::BlocksRefused(why) => {
                let again = self
                    .meter
                    .as_mut()
                    .and_then(|meter| meter.blocks_refused(*why, now.mono));
                if let Some(count) = again {
                    self.ledger(LedgerCommand::Hold(count));
                }
                self.warn();
            }
            BooksEvent::LeaseEnded { hang_up: true } => {
                self.end(End::gateway(Reason::LeaseEnded), now, context);
            }
            _ => {}
        }
    }

    /// Lets the caller hear that credit is about to end, or that it is not.
    fn warn(&mut self) {
        if let Some(warning) = self.meter.as_mut().and_then(Meter::warning) {
            self.media(MediaCommand::Warn(warning == Warning::Begin));
        }
    }

    fn meter_timeout(&mut self, now: Now, context: &mut Context<'_>) {
        let Some(tick) = self
            .meter
            .as_mut()
            .and_then(|meter| meter.handle_timeout(now.mono))
        else {
            return;
        };
        let reason = match tick {
            Tick::Hold(count) => {
                self.ledger(LedgerCommand::Hold(count));
                return;
            }
            Tick::Look(count) => {
                self.ledger(LedgerCommand::Look(count));
                return;
            }
            Tick::Exhausted(Exhausted::Credit) => Reason::CreditExhausted,
            Tick::Exhausted(Exhausted::Store) => Reason::StoreFailed,
            Tick::Exhausted(Exhausted::Limit) => Reason::MaxDuration,
        };
        self.end(End::gateway(reason), now, context);
    }

    fn shut_down(&mut self, now: Now, context: &mut Context<'_>) {
        if self.state == State::Idle {
            self.state = State::Over;
            self.push(Output::Finished);
            return;
        }
        self.settle_for_shutdown();
        let mut end = End::gateway(Reason::Shutdown);
        end.retry_after = SHUTDOWN_RETRY_SECONDS;
        self.end(end, now, context);
    }

    /// The media session wrote a description for the other side (`None`: it cannot).
    fn described(&mut self, body: Option<Bytes>, now: Now, context: &mut Context<'_>) {
        if self.describing.is_empty() {
            return;
        }
        let purpose = self.describing.remove(0);
        match purpose {
            Purpose::Offer => self.offer_described(body, now, context),
            Purpose::Progress(fork, status) => self.progress_described(fork, status, body, now),
            Purpose::Answer(fork) => self.answer_described(fork, body, now, context),
            Purpose::DelayedAnswer => self.delayed_answer_described(body, now, context),
            Purpose::Reoffer => self.reoffer_described(body, now, context),
            Purpose::Reanswer => self.reanswer_described(body, now, context),
        }
    }

    /// Gives a description to the media session.
    pub(super) fn describe(
        &mut self,
        purpose: Purpose,
        from: Side,
        fork: Fork,
        role: Role,
        body: Bytes,
    ) {
        self.describing.push(purpose);
        self.media(MediaCommand::Describe {
            from,
            fork,
            role,
            body,
        });
    }

    pub(super) fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn sip(&mut self, command: SipCommand) {
        self.push(Output::Sip(command));
    }

    pub(super) fn media(&mut self, command: MediaCommand) {
        self.push(Output::Media(command));
    }

    pub(super) fn ledger(&mut self, command: LedgerCommand) {
        self.push(Output::Ledger(command));
    }

    pub(super) const fn leg(&self, side: Side) -> Leg {
        match side {
            Side::Caller => self.caller_leg,
            Side::Callee => self.callee_leg,
        }
    }

    pub(super) const fn leg_mut(&mut self, side: Side) -> &mut Leg {
        match side {
            Side::Caller => &mut self.caller_leg,
            Side::Callee => &mut self.callee_leg,
        }
    }
}

/// Retry-After of the 503 that a call still ringing at the end of the drain time gets.
const SHUTDOWN_RETRY_SECONDS: u32 = 5;

/// Who ended a call that ended on `side`.
pub(super) const fn ended_by(side: Side) -> EndedBy {
    match side {
        Side::Caller => EndedBy::Caller,
        Side::Callee => EndedBy::Callee,
    }
}

/// A record that says nothing yet.
pub(super) fn blank_record(call_id: CallId) -> CallRecord {
    let none = || Box::from("");
    CallRecord {
        call_id,
        caller_leg_call_id: none(),
        callee_leg_call_id: none(),
        reference_id: None,
        customer_id: None,
        lease_kind: None,
        caller: None,
        callee: None,
        leased_number: none(),
        shown_number: none(),
        trunk_in: none(),
        trunk_out: none(),
        received_at: UnixMillis(0),
        ringing_at: None,
        answered_at: None,
        ended_at: UnixMillis(0),
        duration_millis: 0,
        blocks: 0,
        block_seconds: 0,
        rate: Credit::ZERO,
        charge: Credit::ZERO,
        ended_by: EndedBy::Gateway,
        reason: none(),
        sip_code: 0,
        q850_cause: 0,
        to_callee: MediaFigures::default(),
        to_caller: MediaFigures::default(),
        guard_hits: 0,
        vouching: None,
        quality: None,
    }
}
