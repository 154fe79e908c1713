//! Offer and answer after the first (RFC 3264 §8, RFC 6337 §3): a re-INVITE of one side goes to the
//! other with its description rewritten, and its answer back. One at a time.
//!
//! ```text
//!   with an offer:     Offered --Describe--> Offering --Reoffer--> Reoffered --Reanswered-->
//!                      Answering --Described--> AnswerOffer
//!   without an offer:  Offered --Reoffer--> Reoffered --Reanswered (their offer)--> Offering
//!                      --AnswerOffer--> AwaitingAck --OfferConfirmed--> Answering
//!                      --Described--> Confirm
//! ```
//!
//! Before the answer the same is done in an early dialog ([`super::early`]), whose offers come by
//! UPDATE, PRACK or a reliable provisional response. An exchange that began there may end in the
//! confirmed dialog.

use super::bridge::{Call, Purpose};
use super::cause::{End, Reason, refused_offer};
use super::context::Context;
use super::event::{Cause, Fork, LegEvent, MediaCommand, Role, SipCommand};
use super::setup::GLARE;
use crate::domain::{EndedBy, Now, Side};
use bytes::Bytes;

/// An exchange under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exchange {
    /// Who sent the re-INVITE; owed its final response until `AwaitingAck`.
    pub(super) by: Side,
    /// It came without an offer.
    pub(super) delayed: bool,
    pub(super) stage: Stage,
    /// The early dialog that it began in.
    pub(super) early: Option<Fork>,
    /// Status of the callee's provisional response that carried the offer.
    pub(super) carried_by: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The offer is being written for the other side.
    Offering,
    /// The other side was asked.
    Reoffered,
    /// The answer is being written.
    Answering,
    /// Delayed: the 200 carried the other side's offer; the answer comes with the ACK.
    AwaitingAck,
}

pub(super) const NOT_ACCEPTABLE: Cause = Cause { sip: 488, q850: 88 };

impl Call {
    /// Events of an exchange; gives back what is none.
    pub(super) fn exchange_event(
        &mut self,
        side: Side,
        event: LegEvent,
        now: Now,
        context: &mut Context<'_>,
    ) -> Option<LegEvent> {
        match event {
            LegEvent::Offered(body) => self.offered(side, body),
            LegEvent::Reanswered(body) => self.reanswered(side, body),
            LegEvent::Unanswered(cause) => self.unanswered_offer(side, cause),
            LegEvent::OfferConfirmed(body) => self.offer_confirmed(side, body, now, context),
            other => return self.early_event(side, other, now, context),
        }
        None
    }

    fn offered(&mut self, by: Side, body: Option<Bytes>) {
        if self.exchange.is_some() {
            self.sip(SipCommand::RefuseOffer(by, GLARE));
            return;
        }
        let (stage, delayed) = match body {
            Some(body) => {
                self.describe(Purpose::Reoffer, by, self.fork, Role::Offer, body);
                (Stage::Offering, false)
            }
            None => {
                self.sip(SipCommand::Reoffer(by.other(), None));
                (Stage::Reoffered, true)
            }
        };
        self.exchange = Some(Exchange {
            by,
            delayed,
            stage,
            early: None,
            carried_by: None,
        });
    }

    /// The other side's 2xx: its answer, or its offer where the re-INVITE had none.
    pub(super) fn reanswered(&mut self, side: Side, body: Option<Bytes>) {
        let Some(exchange) = self.exchange_at(Stage::Reoffered) else {
            return;
        };
        if side != exchange.by.other() {
            return;
        }
        let (purpose, role, stage) = if exchange.delayed {
            (Purpose::Reoffer, Role::Offer, Stage::Offering)
        } else {
            (Purpose::Reanswer, Role::Answer, Stage::Answering)
        };
        let Some(body) = body else {
            // A 2xx without the description it owes.
            if exchange.delayed {
                self.sip(SipCommand::Confirm(side, None));
            }
            self.refuse_exchange(NOT_ACCEPTABLE);
            return;
        };
        self.set_stage(stage);
        self.describe(
            purpose,
            side,
            exchange.early.unwrap_or(self.fork),
            role,
            body,
        );
    }

    /// The offer is written for the other side.
    pub(super) fn reoffer_described(
        &mut self,
        body: Option<Bytes>,
        now: Now,
        context: &mut Context<'_>,
    ) {
        if self
            .exchange
            .is_some_and(|exchange| exchange.early.is_some())
        {
            return self.early_offer_described(body, now, context);
        }
        let Some(exchange) = self.exchange_at(Stage::Offering) else {
            return;
        };
        let other = exchange.by.other();
        match (body, exchange.delayed) {
            (Some(body), false) => {
                self.set_stage(Stage::Reoffered);
                self.sip(SipCommand::Reoffer(other, Some(body)));
            }
            (Some(body), true) => {
                self.set_stage(Stage::AwaitingAck);
                self.sip(SipCommand::AnswerOffer(exchange.by, Some(body)));
            }
            (None, delayed) => {
                if delayed {
                    self.sip(SipCommand::Confirm(other, None));
                }
                self.refuse_exchange(NOT_ACCEPTABLE);
            }
        }
    }

    /// The answer is written.
    pub(super) fn reanswer_described(
        &mut self,
        body: Option<Bytes>,
        now: Now,
        context: &mut Context<'_>,
    ) {
        let Some(exchange) = self.exchange_at(Stage::Answering) else {
            return;
        };
        match (body, exchange.delayed) {
            (Some(body), false) => {
                self.exchange = None;
                match exchange.early {
                    Some(fork) => self.early_answered(exchange, fork, body),
                    None => self.sip(SipCommand::AnswerOffer(exchange.by, Some(body))),
                }
            }
            (Some(body), true) => {
                self.exchange = None;
                self.sip(SipCommand::Confirm(exchange.by.other(), Some(body)));
            }
            // The other side has accepted what its peer cannot be given: no session is left that
            // both would agree on.
            (None, _) => self.exchange_failed(exchange.by.other(), now, context),
        }
    }

    /// ACK to the 200 that carried an offer.
    fn offer_confirmed(
        &mut self,
        side: Side,
        body: Option<Bytes>,
        now: Now,
        context: &mut Context<'_>,
    ) {
        let Some(exchange) = self.exchange_at(Stage::AwaitingAck) else {
            return;
        };
        if side != exchange.by {
            return;
        }
        match body {
            Some(body) => {
                self.set_stage(Stage::Answering);
                self.describe(Purpose::Reanswer, side, self.fork, Role::Answer, body);
            }
            None => self.exchange_failed(side, now, context),
        }
    }

    /// The other side refused: so is the re-INVITE, and everything stays as it was.
    pub(super) fn unanswered_offer(&mut self, side: Side, cause: Cause) {
        let Some(exchange) = self.exchange_at(Stage::Reoffered) else {
            return;
        };
        if side == exchange.by.other() {
            self.refuse_exchange(Cause {
                sip: refused_offer(cause.sip),
                q850: cause.q850,
            });
        }
    }

    pub(super) fn refuse_exchange(&mut self, cause: Cause) {
        if let Some(exchange) = self.exchange.take() {
            self.media(MediaCommand::Rollback);
            self.sip(match exchange.early {
                Some(fork) => SipCommand::EarlyRefuse(exchange.by, fork, cause),
                None => SipCommand::RefuseOffer(exchange.by, cause),
            });
        }
    }

    fn exchange_failed(&mut self, side: Side, now: Now, context: &mut Context<'_>) {
        let by = match side {
            Side::Caller => EndedBy::Caller,
            Side::Callee => EndedBy::Callee,
        };
        self.end(End::of(by, Reason::MediaFailed), now, context);
    }

    /// The call ends: whoever waits in an exchange gets what it is owed before its BYE
    /// (RFC 3261 §15.1.2: pending requests get 487).
    pub(super) fn settle_exchange(&mut self) {
        let Some(exchange) = self.exchange.take() else {
            return;
        };
        let other = exchange.by.other();
        let (owed_final, owed_ack) = match (exchange.stage, exchange.delayed) {
            (Stage::Offering, delayed) => (true, delayed),
            (Stage::Reoffered, _) => (true, false),
            (Stage::Answering, false) => (true, false),
            (Stage::Answering, true) | (Stage::AwaitingAck, _) => (false, true),
        };
        if owed_final && self.leg(exchange.by).is_connected() {
            self.sip(SipCommand::RefuseOffer(
                exchange.by,
                Cause { sip: 487, q850: 0 },
            ));
        }
        if owed_ack && self.leg(other).is_connected() {
            self.sip(SipCommand::Confirm(other, None));
        }
    }

    pub(super) fn exchange_at(&self, stage: Stage) -> Option<Exchange> {
        self.exchange.filter(|exchange| exchange.stage == stage)
    }

    pub(super) fn set_stage(&mut self, stage: Stage) {
        if let Some(exchange) = &mut self.exchange {
            exchange.stage = stage;
        }
    }
}
