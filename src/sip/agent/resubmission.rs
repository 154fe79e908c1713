//! A request that was challenged goes out once more, with credentials: as a new transaction with a
//! new branch and the next CSeq, in what is otherwise the same request (RFC 3261 §22.2).

use super::Agent;
use super::core::{Core, Owner};
use super::credentials::{Logins, Retry};
use super::legs::Legs;
use super::probe;
use crate::domain::Side;
use crate::sip::message::Message;
use crate::sip::transaction::TransactionId;
use std::time::Instant;

impl Agent {
    /// Whether a response was a challenge that is answered: then it says nothing more to anybody.
    pub(super) fn resubmits(
        &mut self,
        (id, owner): (TransactionId, Owner),
        response: &Message,
        now: Instant,
    ) -> bool {
        let Some(retry) = Logins::on_response(&mut self.core, id, response, now) else {
            return false;
        };
        match owner {
            Owner::Probe(_) | Owner::HopProbe(_) => {
                self.core.owners.remove(&id);
                let again = Logins::resubmit(&mut self.core, retry, now);
                let new = probe::send(owner, again, &mut self.core, now);
                if let Owner::Probe(trunk) = owner {
                    self.probes.resubmitted(trunk, id, new);
                }
                true
            }
            Owner::Dial(key)
            | Owner::Reinvite(key, _)
            | Owner::Bye(key, _)
            | Owner::Prack(key)
            | Owner::Refresh(key, _)
            | Owner::Inside(key, _)
            | Owner::Loser(key) => {
                let mut sent = false;
                self.in_call(key, now, |legs, core, now| {
                    sent = legs.resubmit((id, owner), retry, core, now);
                });
                sent
            }
            Owner::Cancel | Owner::Stray | Owner::Invited(_) => false,
        }
    }
}

impl Legs {
    /// Sends a request of a leg again; false where nobody waits for it any more, or the guard keeps
    /// it.
    fn resubmit(
        &mut self,
        (id, owner): (TransactionId, Owner),
        retry: Retry,
        core: &mut Core,
        now: Instant,
    ) -> bool {
        let side = match owner {
            Owner::Reinvite(_, side)
            | Owner::Bye(_, side)
            | Owner::Inside(_, side)
            | Owner::Refresh(_, side) => side,
            _ => Side::Callee,
        };
        self.with(core, now, |caller, callee, wire| {
            let before = retry.cseq;
            let cseq = match owner {
                Owner::Dial(_) if !callee.awaits(id) => None,
                Owner::Dial(_) | Owner::Loser(_) => Some(before.saturating_add(1)),
                Owner::Prack(_) => callee.cseq_of_prack(id),
                _ => {
                    let session = match side {
                        Side::Caller => caller.session_of(id),
                        Side::Callee => callee.session_of(id),
                    };
                    session.map(|session| session.dialog.next_cseq())
                }
            };
            let sent = cseq.and_then(|cseq| wire.resubmit((side, owner), retry, cseq));
            let Some((new, branch)) = sent else {
                return false;
            };
            wire.core.owners.remove(&id);
            let session = match side {
                Side::Caller => caller.session_of(id),
                Side::Callee => callee.session_of(id),
            };
            match (owner, session) {
                (Owner::Dial(_), _) => callee.resubmitted(id, (new, branch), before),
                (Owner::Prack(_), _) => callee.prack_resubmitted(id, new),
                (Owner::Reinvite(..), Some(session)) => session.resubmitted(id, new),
                (Owner::Refresh(..), Some(session)) => session.refresh_resubmitted(id, new),
                _ => {}
            }
            true
        })
    }
}
