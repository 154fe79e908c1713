//! An INVITE that is sent again with what its refusal asks for (RFC 3261 §8.1.3.5): under the same
//! Call-ID, From and To, with the next CSeq and a branch of its own. The call does not know.

use super::callee_leg::{Attempt, CalleeLeg};
use super::core::Wire;
use crate::sip::dialog::session_timer::Terms;
use crate::sip::message::Message;

impl CalleeLeg {
    /// Sends an attempt's INVITE again, if its final response is one that asks for no more than
    /// other words. Gives the attempt back otherwise.
    pub(super) fn ask_again(
        &mut self,
        mut attempt: Box<Attempt>,
        message: &Message,
        wire: &mut Wire<'_>,
    ) -> Option<Box<Attempt>> {
        let again = attempt.given_up.is_none()
            && match message.status() {
                // RFC 4028 §7.3: a longer interval, bounded by the timer itself.
                Some(422) => attempt.timer.raise(Terms::of_response(message).least),
                _ => false,
            };
        if !again {
            return Some(attempt);
        }
        attempt.branch = wire.branch();
        attempt.cseq = attempt.cseq.saturating_add(1);
        attempt.provisional = false;
        attempt.end_early(wire);
        attempt.forks.clear();
        if attempt.send(wire) {
            self.attempts.push(attempt);
        }
        None
    }
}
