//! The end: both legs are let go, the meter stops, trunks and ports go back, and once the figures
//! are there, and whether the caller acknowledged its 200, the books charge the call and keep its
//! record.

use super::bridge::{Call, Media, State, blank_record};
use super::cause::{End, Reason};
use super::context::Context;
use super::event::{BooksEvent, Input, LedgerCommand, LegEvent, MediaCommand, MediaEvent, Output};
use super::leg::Leg;
use super::meter::Charge;
use crate::domain::{Credit, Now, Side};
use std::time::{Duration, Instant};

/// How long the record waits for the media's final figures; it does without them then.
pub const FIGURES_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the record waits to hear whether the caller acknowledged its 200: the SIP layer says so
/// after 64×T1 at the latest (RFC 3261 §13.3.1.4), 32 s.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(40);

/// What the record still waits for.
#[derive(Debug, Default)]
pub(super) struct Closing {
    /// `Admit` was sent and not answered: the record will name the lease.
    pub awaits_books: bool,
    /// When the figures are given up.
    pub media_deadline: Option<Instant>,
    /// The 200 is not acknowledged yet, and may be: what the call costs if it is.
    pub unacknowledged: Option<Unacknowledged>,
    /// `Close` was sent.
    pub closed: bool,
    /// The books have the record.
    pub recorded: bool,
}

/// A call that was over before the caller's ACK was there.
#[derive(Debug)]
pub(super) struct Unacknowledged {
    /// What it costs if the ACK comes.
    charge: Charge,
    /// When it is not waited for any longer.
    deadline: Instant,
}

impl Call {
    /// Leaves whatever state for Ending. The first end counts; a crossing one changes nothing.
    pub(super) fn end(&mut self, end: End, now: Now, context: &mut Context<'_>) {
        if matches!(self.state, State::Ending | State::Over) {
            return;
        }
        self.state = State::Ending;
        self.fill_end(&end, now);
        self.settle_exchange();
        for side in [Side::Caller, Side::Callee] {
            let commands = self.leg_mut(side).release(side, end.cause, end.retry_after);
            for command in commands {
                self.sip(command);
            }
        }
        for trunk in self
            .trunk_in
            .take()
            .into_iter()
            .chain(self.trunk_out.take())
        {
            context.trunks.release(trunk);
        }
        self.setup = None;
        self.announcing = None;
        self.meter = None;
        if self.media == Media::Open {
            self.media = Media::Closing;
            self.closing.media_deadline = now.mono.checked_add(FIGURES_TIMEOUT);
            self.media(MediaCommand::Close);
        }
        self.close_if_complete();
    }

    fn fill_end(&mut self, end: &End, now: Now) {
        let answered = self.meter.is_some();
        let charge = self.meter.as_ref().map(|meter| meter.charge(now.mono));
        // A call whose 200 is never acknowledged costs nothing (sip-bridging 7).
        let charge = match charge {
            Some(charge) if !self.acknowledged => {
                self.await_ack(charge, end, now);
                Charge::default()
            }
            charge => charge.unwrap_or_default(),
        };
        self.fill_charge(charge);
        let record = &mut self.record;
        record.ended_at = now.wall;
        record.ended_by = end.by;
        record.reason = end.reason.name().into();
        record.sip_code = if answered { 200 } else { end.cause.sip };
        record.q850_cause = end.cause.q850;
    }

    fn fill_charge(&mut self, charge: Charge) {
        let record = &mut self.record;
        // A millisecond begun counts: with what is below cut off, the record would show a block more
        // than its duration is worth.
        let millis = charge.duration.as_nanos().div_ceil(1_000_000);
        record.duration_millis = u64::try_from(millis).unwrap_or(u64::MAX);
        record.blocks = charge.blocks;
        record.charge = Credit::for_blocks(record.rate, charge.blocks).unwrap_or(Credit(i64::MAX));
    }

    /// The ACK may still be on its way: the caller's leg waits for it with its BYE, the record with
    /// its charge. Not where it was given up already, nor where the process is about to go.
    fn await_ack(&mut self, charge: Charge, end: &End, now: Now) {
        let hopeless = matches!(end.reason, Reason::NoAck | Reason::Shutdown)
            || self.caller_leg == Leg::Terminated;
        if hopeless {
            return;
        }
        self.closing.unacknowledged = now
            .mono
            .checked_add(ACK_TIMEOUT)
            .map(|deadline| Unacknowledged { charge, deadline });
    }

    /// Ending: the caller's leg says whether its 200 was acknowledged after all.
    fn ack_settled(&mut self, acknowledged: bool) {
        let Some(waiting) = self.closing.unacknowledged.take() else {
            return;
        };
        self.acknowledged = acknowledged;
        if acknowledged {
            self.fill_charge(waiting.charge);
        }
        self.close_if_complete();
    }

    /// Ending: the node stops, and waits for no ACK.
    pub(super) fn settle_for_shutdown(&mut self) {
        self.ack_settled(false);
    }

    /// Ending: the last figures and the record's durability.
    pub(super) fn ending(&mut self, input: Input, _now: Now) {
        match input {
            // A BYE of the caller's is an acknowledgement.
            Input::Leg(Side::Caller, LegEvent::Confirmed(_) | LegEvent::Ended(_)) => {
                self.ack_settled(true);
            }
            Input::Leg(Side::Caller, LegEvent::Unconfirmed | LegEvent::Lost(_)) => {
                self.ack_settled(false);
            }
            Input::Media(MediaEvent::Closed {
                to_callee,
                to_caller,
                quality,
                guard_hits,
            }) if self.media == Media::Closing => {
                self.media = Media::Closed;
                self.closing.media_deadline = None;
                self.record.to_callee = to_callee;
                self.record.to_caller = to_caller;
                self.record.quality = quality.is_known().then_some(quality);
                self.record.guard_hits = self.record.guard_hits.saturating_add(guard_hits);
                self.close_if_complete();
                self.finish_if_complete();
            }
            Input::Books(BooksEvent::Admitted(admission)) if self.closing.awaits_books => {
                self.note_admission(&admission);
                self.close_if_complete();
            }
            Input::Books(BooksEvent::Refused(_)) if self.closing.awaits_books => {
                self.closing.awaits_books = false;
                self.close_if_complete();
            }
            Input::Books(BooksEvent::Recorded) if self.closing.closed => {
                self.closing.recorded = true;
                self.finish_if_complete();
            }
            _ => {}
        }
    }

    pub(super) fn ending_timeout(&mut self, now: Now) {
        let due = |at: Instant| at <= now.mono;
        if self.closing.media_deadline.is_some_and(due) {
            self.closing.media_deadline = None;
            self.close_if_complete();
        }
        let unacknowledged = &self.closing.unacknowledged;
        if unacknowledged.as_ref().is_some_and(|u| due(u.deadline)) {
            self.ack_settled(false);
        }
    }

    /// Ending: when something is given up.
    pub(super) fn ending_deadline(&self) -> Option<Instant> {
        let ack = self.closing.unacknowledged.as_ref().map(|u| u.deadline);
        [self.closing.media_deadline, ack]
            .into_iter()
            .flatten()
            .min()
    }

    /// Charges the call and keeps its record, once all that it is to say is known.
    fn close_if_complete(&mut self) {
        let closing = &self.closing;
        if closing.closed
            || closing.awaits_books
            || closing.media_deadline.is_some()
            || closing.unacknowledged.is_some()
        {
            return;
        }
        self.closing.closed = true;
        let blank = Box::new(blank_record(self.id()));
        let record = std::mem::replace(&mut self.record, blank);
        self.ledger(LedgerCommand::Close(record));
    }

    /// The record is durable, and the ports are back: until then the call must not be forgotten.
    fn finish_if_complete(&mut self) {
        if self.closing.recorded && self.media != Media::Closing {
            self.state = State::Over;
            self.push(Output::Finished);
        }
    }
}
