//! Who vouches for the caller: state `AwaitingVerdict`, between the rows of sip-bridging 2 that need
//! nobody else and the books.

use super::admission::Candidate;
use super::bridge::{Call, State};
use super::context::Context;
use super::event::{CallerId, Identity, Input, LedgerCommand, Output, Refusal};
use crate::domain::{Attestation, E164, Now, Passport, Presented, Verdict, Vouching};

impl Call {
    /// What the INVITE presented: a verdict at once where nothing is to be fetched, else
    /// `AwaitingVerdict`. Without a policy the books are asked straight away.
    pub(super) fn vouch(
        &mut self,
        presented: Option<Presented>,
        now: Now,
        context: &mut Context<'_>,
    ) {
        let Some(Presented { passport, required }) = presented else {
            return self.ask_books();
        };
        let Some(setup) = &mut self.setup else { return };
        setup.must_be_vouched = required;
        let passport = match passport {
            Ok(passport) => passport,
            Err(verdict) => {
                self.record.vouching = Some(Vouching::bare(verdict));
                return self.judged(now, context);
            }
        };
        let matches = setup
            .candidate
            .is_some_and(|candidate| is_about(&passport, candidate));
        self.record.vouching = Some(Vouching {
            verdict: if matches {
                Verdict::Unavailable
            } else {
                Verdict::Invalid
            },
            attestation: passport.attestation,
            origin: passport.origin.clone(),
            signer: Box::from(""),
        });
        if !matches {
            return self.judged(now, context);
        }
        setup.verdict_until = now.mono.checked_add(context.settings.verdict_timeout);
        self.state = State::AwaitingVerdict;
        self.push(Output::Verify(passport));
    }

    /// AwaitingVerdict: what the certificate says.
    pub(super) fn awaiting_verdict(&mut self, input: Input, now: Now, context: &mut Context<'_>) {
        match input {
            Input::Verdict(verdict, signer) => {
                if let Some(vouching) = &mut self.record.vouching {
                    vouching.verdict = verdict;
                    vouching.signer = signer;
                }
                self.judged(now, context);
            }
            other => self.unanswered(other, now, context),
        }
    }

    /// AwaitingVerdict: no verdict in time. The record says `unavailable` already.
    pub(super) fn verdict_timeout(&mut self, now: Now, context: &mut Context<'_>) {
        let until = self.setup.as_ref().and_then(|setup| setup.verdict_until);
        if until.is_some_and(|at| at <= now.mono) {
            self.judged(now, context);
        }
    }

    /// The verdict is there: by policy the call goes on, whatever it is, or only if it is good.
    fn judged(&mut self, now: Now, context: &mut Context<'_>) {
        let verdict = self.record.vouching.as_ref().map(|one| one.verdict);
        let required = self.setup.as_ref().is_some_and(|s| s.must_be_vouched);
        match verdict.filter(|verdict| required && *verdict != Verdict::Valid) {
            Some(verdict) => self.refuse(Refusal::Unvouched(verdict), now, context),
            None => self.ask_books(),
        }
    }

    fn ask_books(&mut self) {
        let candidate = self.setup.as_ref().and_then(|setup| setup.candidate);
        let Some(Candidate { dialled, caller }) = candidate else {
            return;
        };
        self.state = State::AwaitingHold;
        self.closing.awaits_books = true;
        self.ledger(LedgerCommand::Admit { dialled, caller });
    }
}

/// How far we vouch for the number that the callee is shown: fully for numbers of ours; partly for a
/// caller who came vouched for, or by a trunk whose assertions are trusted; for others only that
/// they came in here.
pub(super) fn attestation(
    vouching: Option<&Vouching>,
    caller_id: &CallerId,
    own: E164,
    identity: &Identity,
) -> Attestation {
    if matches!(caller_id, CallerId::Number { number, .. } if *number == own) {
        return Attestation::Full;
    }
    let vouched = vouching.is_some_and(|vouching| {
        let known = vouching.attestation.unwrap_or(Attestation::Gateway);
        vouching.verdict == Verdict::Valid && known != Attestation::Gateway
    });
    if vouched || identity.asserted {
        Attestation::Partial
    } else {
        Attestation::Gateway
    }
}

/// Whether a passport is about this caller and this dialled number (RFC 8224 §6.2, steps 3 and 4).
fn is_about(passport: &Passport, candidate: Candidate) -> bool {
    let is = |claimed: &str, number: E164| *claimed == *number.digits();
    let caller = candidate.caller;
    caller.is_some_and(|caller| is(&passport.orig, caller))
        && passport.dest.iter().any(|dest| is(dest, candidate.dialled))
}
