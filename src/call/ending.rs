//! The end: both legs are let go, the meter stops, trunks and ports go back, and once the figures
//! are there the books charge the call and keep its record.

use super::bridge::{Call, Media, State, blank_record};
use super::cause::End;
use super::context::Context;
use super::event::{BooksEvent, Input, LedgerCommand, MediaCommand, MediaEvent, Output};
use super::meter::Charge;
use crate::domain::{Credit, Now, Side};
use std::time::{Duration, Instant};

/// How long the record waits for the media's final figures; it does without them then.
pub const FIGURES_TIMEOUT: Duration = Duration::from_secs(5);

/// What the record still waits for.
#[derive(Debug, Default)]
pub(super) struct Closing {
    /// `Admit` was sent and not answered: the record will name the lease.
    pub awaits_books: bool,
    /// When the figures are given up.
    pub media_deadline: Option<Instant>,
    /// `Close` was sent.
    pub closed: bool,
    /// The books have the record.
    pub recorded: bool,
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
        // A call whose 200 was never acknowledged costs nothing (sip-bridging 7).
        let charge = match (&self.meter, self.acknowledged) {
            (Some(meter), true) => meter.charge(now.mono),
            _ => Charge::default(),
        };
        let record = &mut self.record;
        record.ended_at = now.wall;
        record.duration_millis = u64::try_from(charge.duration.as_millis()).unwrap_or(u64::MAX);
        record.blocks = charge.blocks;
        record.charge = Credit::for_blocks(record.rate, charge.blocks).unwrap_or(Credit(i64::MAX));
        record.ended_by = end.by;
        record.reason = end.reason.name().into();
        record.sip_code = if answered { 200 } else { end.cause.sip };
        record.q850_cause = end.cause.q850;
    }

    /// Ending: the last figures and the record's durability.
    pub(super) fn ending(&mut self, input: Input, _now: Now) {
        match input {
            Input::Media(MediaEvent::Closed {
                to_callee,
                to_caller,
                guard_hits,
            }) if self.media == Media::Closing => {
                self.media = Media::Closed;
                self.closing.media_deadline = None;
                self.record.to_callee = to_callee;
                self.record.to_caller = to_caller;
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
    }

    /// Charges the call and keeps its record, once all that it is to say is known.
    fn close_if_complete(&mut self) {
        if self.closing.closed || self.closing.awaits_books || self.closing.media_deadline.is_some()
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
