//! Offer and answer in an early dialog (RFC 6337 §2.2, §3): one fork's description changes before
//! anybody answered.
//!
//! ```text
//!   EarlyOffered (UPDATE, PRACK) -----\                  /--EarlyReoffer--\
//!                                      >--> Offering ---<                  >--> Reoffered
//!   Progress with an offer, reliable -/    (described)   \--Progress------/        |
//!                                                                                  | EarlyReanswered
//!            next offer that waits <-- EarlyAnswer <------ Answering <-------------'
//!                                                         (described)
//! ```
//!
//! One exchange at a time, over all forks: another gets 491, or waits where it came in a provisional
//! response, which cannot be refused. Such an offer that cannot be passed on ends the call. When the
//! fork is answered meanwhile, the exchange goes on in the confirmed dialog.

use super::bridge::{Call, Purpose, State};
use super::cause::{End, Reason, refused_offer};
use super::context::Context;
use super::event::{Cause, Fork, LegEvent, MediaCommand, Role, SipCommand};
use super::exchange::{Exchange, NOT_ACCEPTABLE, Stage};
use super::setup::GLARE;
use crate::domain::{EndedBy, Now, Side};
use bytes::Bytes;

/// Most offers that wait, and most forks of which something is noted.
const MOST_WAITING: usize = 32;

/// An offer cannot go to the other side before the answer (RFC 3311 §5.2: it may in a re-INVITE).
const NOT_BEFORE_ANSWER: u16 = 504;

impl Call {
    /// Events of early dialogs; gives back what is none.
    pub(super) fn early_event(
        &mut self,
        side: Side,
        event: LegEvent,
        now: Now,
        context: &mut Context<'_>,
    ) -> Option<LegEvent> {
        match event {
            LegEvent::Pending(fork) => self.note_pending(fork),
            LegEvent::Settled(fork) => {
                if let Some(setup) = &mut self.setup {
                    setup.pending.retain(|other| *other != fork);
                }
            }
            LegEvent::EarlyOffered(fork, body) => self.early_offered(side, fork, body),
            LegEvent::EarlyReanswered(fork, body) if self.early_exchange(fork).is_some() => {
                self.early_reanswered(side, body, now, context);
            }
            LegEvent::EarlyUnanswered(fork, cause) if self.early_exchange(fork).is_some() => {
                self.early_unanswered(side, cause, now, context);
            }
            LegEvent::EarlyReanswered(..) | LegEvent::EarlyUnanswered(..) => {}
            LegEvent::Reanswered(body) if self.began_early() => self.reanswered(side, body),
            LegEvent::Unanswered(cause) if self.began_early() => {
                self.early_unanswered(side, cause, now, context);
            }
            other => return Some(other),
        }
        None
    }

    fn early_exchange(&self, fork: Fork) -> Option<Exchange> {
        self.exchange
            .filter(|exchange| exchange.early == Some(fork))
    }

    fn began_early(&self) -> bool {
        self.exchange
            .is_some_and(|exchange| exchange.early.is_some())
    }

    fn note_pending(&mut self, fork: Fork) {
        let Some(setup) = &mut self.setup else { return };
        if !setup.pending.contains(&fork) && setup.pending.len() < MOST_WAITING {
            setup.pending.push(fork);
        }
    }

    /// An UPDATE or PRACK with an offer.
    fn early_offered(&mut self, by: Side, fork: Fork, body: Bytes) {
        let early = matches!(self.state, State::Dialling | State::Ringing);
        if !early || self.exchange.is_some() {
            return self.sip(SipCommand::EarlyRefuse(by, fork, GLARE));
        }
        self.begin_early(by, fork, None, body);
    }

    /// A reliable provisional response of the callee's with the offer that the INVITE did not have.
    pub(super) fn early_offer(
        &mut self,
        (fork, status, body): (Fork, u16, Bytes),
        now: Now,
        context: &mut Context<'_>,
    ) {
        if self.exchange.is_none() {
            return self.begin_early(Side::Callee, fork, Some(status), body);
        }
        let Some(setup) = &mut self.setup else { return };
        if setup.offers.len() < MOST_WAITING {
            setup.offers.push_back((fork, status, body));
        } else {
            self.early_failed(now, context);
        }
    }

    fn begin_early(&mut self, by: Side, fork: Fork, carried_by: Option<u16>, body: Bytes) {
        self.exchange = Some(Exchange {
            by,
            delayed: false,
            stage: Stage::Offering,
            early: Some(fork),
            carried_by,
        });
        self.describe(Purpose::Reoffer, by, fork, Role::Offer, body);
    }

    /// The offer is written for the other side.
    pub(super) fn early_offer_described(
        &mut self,
        body: Option<Bytes>,
        now: Now,
        context: &mut Context<'_>,
    ) {
        let Some(exchange) = self.exchange_at(Stage::Offering) else {
            return;
        };
        let Some(fork) = exchange.early else { return };
        match (body, exchange.carried_by) {
            (Some(body), Some(status)) => {
                self.set_stage(Stage::Reoffered);
                // Others than these say nothing to a caller.
                let status = if matches!(status, 180..=183) {
                    status
                } else {
                    183
                };
                self.pass_progress(fork, status, Some(body), now);
            }
            (Some(body), None) => {
                self.set_stage(Stage::Reoffered);
                self.sip(SipCommand::EarlyReoffer(exchange.by.other(), fork, body));
            }
            (None, Some(_)) => self.early_failed(now, context),
            (None, None) => self.refuse_exchange(NOT_ACCEPTABLE),
        }
    }

    fn early_reanswered(
        &mut self,
        side: Side,
        body: Option<Bytes>,
        now: Now,
        context: &mut Context<'_>,
    ) {
        let carried = self.exchange.and_then(|exchange| exchange.carried_by);
        match (body, carried) {
            (None, Some(_)) => self.early_failed(now, context),
            (body, _) => self.reanswered(side, body),
        }
    }

    /// The answer is written for who offered.
    pub(super) fn early_answered(&mut self, exchange: Exchange, fork: Fork, body: Bytes) {
        self.sip(SipCommand::EarlyAnswer(exchange.by, fork, body));
        let Some(setup) = &mut self.setup else { return };
        setup.agreed = Some(fork);
        // Once a fork is answered, the others' offers are nobody's.
        let early = matches!(self.state, State::Dialling | State::Ringing);
        let next = setup.offers.pop_front().filter(|_| early);
        if setup.selected != Some(fork) {
            setup.selected = Some(fork);
            self.media(MediaCommand::Select(fork));
        }
        if let Some((fork, status, body)) = next {
            self.begin_early(Side::Callee, fork, Some(status), body);
        }
    }

    /// The other side refused, or nothing can be offered to it now: so is the offer, and everything
    /// stays as it was.
    fn early_unanswered(&mut self, side: Side, cause: Cause, now: Now, context: &mut Context<'_>) {
        let Some(exchange) = self.exchange_at(Stage::Reoffered) else {
            return;
        };
        if side != exchange.by.other() {
            return;
        }
        if exchange.carried_by.is_some() {
            return self.early_failed(now, context);
        }
        let sip = match cause.sip {
            NOT_BEFORE_ANSWER => NOT_BEFORE_ANSWER,
            other => refused_offer(other),
        };
        self.refuse_exchange(Cause { sip, ..cause });
    }

    fn early_failed(&mut self, now: Now, context: &mut Context<'_>) {
        self.end(End::of(EndedBy::Callee, Reason::MediaFailed), now, context);
    }

    /// Whether both sides have the descriptions of the fork that is answered for good, or are about
    /// to. An exchange in another fork comes to nothing, and so does an offer that is not sent yet.
    pub(super) fn is_agreed(&mut self, fork: Fork) -> bool {
        let agreed = self.setup.as_ref().and_then(|setup| setup.agreed);
        let Some(exchange) = self.exchange else {
            return agreed == Some(fork);
        };
        let other = exchange.early.unwrap_or(fork);
        if other == fork && exchange.stage != Stage::Offering {
            return true;
        }
        self.exchange = None;
        self.media(MediaCommand::Rollback);
        let cause = Cause { sip: 487, q850: 0 };
        self.sip(SipCommand::EarlyRefuse(exchange.by, other, cause));
        agreed == Some(fork)
    }
}
