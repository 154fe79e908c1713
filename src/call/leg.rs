//! One side's progress, and how it is let go from wherever it is.
//!
//! ```text
//!            INVITE received       200 sent                 ACK
//!   caller:  ---------> Proceeding ---------> Accepted ----------> Confirmed
//!            INVITE sent           2xx received             ACK sent
//!   callee:  Idle ----> Calling ------------> Accepted ----------> Confirmed
//!
//!   release: Idle         nothing                 Accepted   caller: BYE (SIP waits for the ACK)
//!            Proceeding   final failure                      callee: ACK, then BYE
//!            Calling      CANCEL                  Confirmed  BYE
//!   every release, BYE received, failure received: Terminated, which releases to nothing
//! ```

use super::event::{Cause, SipCommand};
use crate::domain::Side;
use smallvec::SmallVec;

/// State of a leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leg {
    /// Not there yet (callee: before the dial, and between two attempts).
    #[default]
    Idle,
    /// Callee: INVITE sent, no final response.
    Calling,
    /// Caller: INVITE received, final response owed.
    Proceeding,
    /// Caller: 200 sent, no ACK yet. Callee: 2xx received, ACK owed.
    Accepted,
    /// The dialog is confirmed.
    Confirmed,
    /// Gone.
    Terminated,
}

impl Leg {
    /// Whether there is somebody to talk to in a dialog.
    #[must_use]
    pub const fn is_connected(self) -> bool {
        matches!(self, Self::Accepted | Self::Confirmed)
    }

    /// Lets the leg of `side` go: the commands that do it. `cause` is the final status of a caller
    /// still waiting for one and the cause of a CANCEL or BYE.
    pub fn release(
        &mut self,
        side: Side,
        cause: Cause,
        retry_after: u32,
    ) -> SmallVec<[SipCommand; 2]> {
        // A CANCEL or BYE names the Q.850 cause alone: SIP statuses are for responses.
        let reason = Cause {
            sip: 0,
            q850: cause.q850,
        };
        let mut commands = SmallVec::new();
        match (*self, side) {
            (Self::Proceeding, _) => {
                // Whatever ended the call, an INVITE that waits gets a failure.
                let sip = if cause.sip < 300 { 500 } else { cause.sip };
                commands.push(SipCommand::Reject {
                    cause: Cause { sip, ..cause },
                    retry_after,
                });
            }
            (Self::Calling, _) => commands.push(SipCommand::Cancel(reason)),
            (Self::Accepted, Side::Callee) => {
                commands.push(SipCommand::Confirm(side, None));
                commands.push(SipCommand::Bye(side, reason));
            }
            (Self::Accepted | Self::Confirmed, _) => commands.push(SipCommand::Bye(side, reason)),
            (Self::Idle | Self::Terminated, _) => {}
        }
        *self = Self::Terminated;
        commands
    }
}
