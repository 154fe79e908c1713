//! The answer: states `AwaitingDurable` and `Answered`. The caller gets its 200 only once the
//! open-call record is durable, so that no crash can lose a block that had begun.

use super::bridge::{Call, Purpose, State};
use super::cause::{End, Reason};
use super::context::Context;
use super::event::{
    BooksEvent, Fork, Input, LedgerCommand, LegEvent, MediaCommand, MediaEvent, Role, SipCommand,
};
use super::leg::Leg;
use super::meter::Meter;
use super::setup::GLARE;
use crate::domain::{CallRecord, EndedBy, Now, Side, Tariff};
use bytes::Bytes;

impl Call {
    /// Dialling or Ringing: the first 2xx. The winner's media is selected, the others' are the SIP
    /// layer's to end.
    pub(super) fn callee_answered(
        &mut self,
        fork: Fork,
        body: Option<Bytes>,
        now: Now,
        context: &mut Context<'_>,
    ) {
        let agreed = self.is_agreed(fork);
        let Some(setup) = &mut self.setup else { return };
        self.state = State::AwaitingDurable;
        self.fork = fork;
        self.callee_leg = Leg::Accepted;
        if agreed {
            // Both sides have their descriptions for good: the 2xx has none that counts (RFC 6337
            // §2.2).
            self.callee_leg = Leg::Confirmed;
            self.sip(SipCommand::Confirm(Side::Callee, None));
            return self.keep_answer(fork, None, now);
        }
        let (role, body) = if setup.delayed() {
            (Role::Offer, body)
        } else {
            // An answer in a reliable or unreliable 18x need not stand in the 2xx again.
            let early = setup.early_body(fork).cloned();
            self.callee_leg = Leg::Confirmed;
            self.sip(SipCommand::Confirm(Side::Callee, None));
            (Role::Answer, body.or(early))
        };
        match body {
            Some(body) => self.describe(Purpose::Answer(fork), Side::Callee, fork, role, body),
            None => self.end(End::of(EndedBy::Callee, Reason::MediaFailed), now, context),
        }
    }

    /// The callee's answer (delayed: its offer) is written for the caller: now the books.
    pub(super) fn answer_described(
        &mut self,
        fork: Fork,
        body: Option<Bytes>,
        now: Now,
        context: &mut Context<'_>,
    ) {
        if self.state != State::AwaitingDurable {
            return;
        }
        let Some(body) = body else {
            self.end(End::of(EndedBy::Callee, Reason::MediaFailed), now, context);
            return;
        };
        self.keep_answer(fork, Some(body), now);
    }

    /// The books write the open-call record; then the 200 goes with this description.
    fn keep_answer(&mut self, fork: Fork, body: Option<Bytes>, now: Now) {
        if let Some(setup) = &mut self.setup {
            setup.answer = body;
        }
        self.media(MediaCommand::Select(fork));
        let draft = self.draft(now);
        self.ledger(LedgerCommand::Answer(Box::new(draft)));
    }

    /// The record that a crash would leave.
    fn draft(&self, now: Now) -> CallRecord {
        let crash = End::gateway(Reason::Crash);
        CallRecord {
            answered_at: Some(now.wall),
            ended_at: now.wall,
            blocks: 1,
            charge: self.record.rate,
            ended_by: crash.by,
            reason: crash.reason.name().into(),
            sip_code: 200,
            q850_cause: crash.cause.q850,
            ..(*self.record).clone()
        }
    }

    /// AwaitingDurable: nothing but the books lets the 200 go; everything that ends a ringing call
    /// still ends this one, uncharged.
    pub(super) fn awaiting_durable(&mut self, input: Input, now: Now, context: &mut Context<'_>) {
        match input {
            Input::Books(BooksEvent::AnswerDurable) => {
                if let Some(setup) = &mut self.setup {
                    setup.durable = true;
                }
                self.accept_if_settled(now, context);
            }
            Input::Books(BooksEvent::AnswerFailed) => {
                self.end(End::gateway(Reason::StoreFailed), now, context);
            }
            Input::Leg(Side::Callee, LegEvent::Ended(cause)) => {
                self.callee_leg = Leg::Terminated;
                let end = End::of(EndedBy::Callee, Reason::Unavailable).with_q850(cause.q850);
                self.end(end, now, context);
            }
            Input::Leg(side, event) => {
                if let Some(event) = self.early_event(side, event, now, context) {
                    return self.unanswered(Input::Leg(side, event), now, context);
                }
                self.accept_if_settled(now, context);
            }
            other => self.unanswered(other, now, context),
        }
    }

    /// The 200 waits for the disk and for the PRACK of what was described reliably (RFC 3262 §3).
    fn accept_if_settled(&mut self, now: Now, context: &mut Context<'_>) {
        let fork = self.fork;
        let ready = self
            .setup
            .as_ref()
            .is_some_and(|setup| setup.durable && !setup.pending.contains(&fork));
        if ready && self.state == State::AwaitingDurable {
            self.accept(now, context);
        }
    }

    /// The 200, and with it paid time.
    fn accept(&mut self, now: Now, context: &mut Context<'_>) {
        let Some(setup) = &mut self.setup else { return };
        let body = setup.answer.take();
        let Some(admission) = setup.admission.take() else {
            return;
        };
        let tariff = Tariff {
            block_seconds: self.record.block_seconds,
            rate: self.record.rate,
        };
        let max_duration = context.settings.max_duration;
        let meter = Meter::start(tariff, admission.prepaid, max_duration, now.mono);
        self.meter = Some(meter.warning_ahead(context.settings.credit_warning));
        if !setup.delayed() || body.is_none() {
            self.setup = None;
        }
        self.record.answered_at = Some(now.wall);
        self.caller_leg = Leg::Accepted;
        self.state = State::Answered;
        self.sip(SipCommand::Accept {
            fork: self.fork,
            body,
        });
        self.media(MediaCommand::Start);
    }

    /// Answered: the ACK, or its absence.
    pub(super) fn answered(&mut self, input: Input, now: Now, context: &mut Context<'_>) {
        match input {
            Input::Leg(Side::Caller, LegEvent::Confirmed(body)) => {
                self.confirmed(body, now, context);
            }
            Input::Leg(Side::Caller, LegEvent::Unconfirmed) if !self.acknowledged => {
                self.end(End::of(EndedBy::Caller, Reason::NoAck), now, context);
            }
            Input::Leg(side, LegEvent::Offered(_)) => {
                // The first exchange is not over (RFC 3261 §14.2).
                self.sip(SipCommand::RefuseOffer(side, GLARE));
            }
            Input::Leg(side, event) => {
                if let Some(event) = self.early_event(side, event, now, context) {
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

    fn confirmed(&mut self, body: Option<Bytes>, now: Now, context: &mut Context<'_>) {
        if std::mem::replace(&mut self.acknowledged, true) {
            return;
        }
        self.caller_leg = Leg::Confirmed;
        if self.callee_leg == Leg::Confirmed {
            self.state = State::Up;
            return;
        }
        // Delayed offer: the callee still waits for the answer.
        match body {
            Some(body) => self.describe(
                Purpose::DelayedAnswer,
                Side::Caller,
                self.fork,
                Role::Answer,
                body,
            ),
            None => self.end(End::of(EndedBy::Caller, Reason::MediaFailed), now, context),
        }
    }

    pub(super) fn delayed_answer_described(
        &mut self,
        body: Option<Bytes>,
        now: Now,
        context: &mut Context<'_>,
    ) {
        if self.state != State::Answered {
            return;
        }
        let Some(body) = body else {
            self.end(End::of(EndedBy::Caller, Reason::MediaFailed), now, context);
            return;
        };
        self.setup = None;
        self.callee_leg = Leg::Confirmed;
        self.state = State::Up;
        self.sip(SipCommand::Confirm(Side::Callee, Some(body)));
    }
}
