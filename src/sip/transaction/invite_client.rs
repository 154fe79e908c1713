//! INVITE client transaction.

use super::Output;
use super::timer::{Timer, Turn};
use crate::sip::codec;
use crate::sip::message::{Message, Path};
use bytes::Bytes;
use std::time::Duration;

/// States of RFC 3261 Figure 5 as RFC 6026 Figure 5 redraws it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Calling,
    Proceeding,
    Accepted,
    Completed,
    Terminated,
}

/// INVITE client transaction (RFC 3261 §17.1.1, RFC 6026 §8.4).
///
/// ```text
///                  | INVITE sent; A = T1 (UDP), B = 64*T1
///                  v
///            +-----------+ --A: send again, A doubles--+
///            |  Calling  | <---------------------------+
///            +-----------+ --B: Timeout, transport error: TransportFailed--> Terminated
///              |   |   |
///          1xx |   |   | 300-699: ACK, D = 64*T1          2xx: Response, M = 64*T1
///              v   |   +------------------------+   (from Calling and Proceeding alike)
///      +------------+  300-699: ACK             |                 |
///      | Proceeding | ----------------------+   |                 |
///      +------------+  1xx: Response        v   v                 v
///        | Abandon (64*T1 after Detach)   +-----------+     +----------+
///        v                                | Completed |     | Accepted |-- 2xx: Response
///    Terminated                           +-----------+     +----------+
///        300-699: ACK again, 2xx: Stray -----^   | D              | M
///                                               v                v
///                                           Terminated       Terminated
/// ```
///
/// Once detached, responses are not reported, but for a 2xx as `Stray`. So is a 2xx that comes
/// after a failure: of another fork, behind a proxy that had given up on it (RFC 3261 §16.7, item
/// 10 has it pass on every 2xx). D is at least 32 s with the default T1 and zero on reliable
/// transports.
#[derive(Debug)]
pub(super) struct InviteClient {
    state: State,
    detached: bool,
    /// Interval of timer A.
    interval: Duration,
    /// The request until it is answered; then the ACK, as long as it may have to be repeated.
    bytes: Bytes,
}

impl InviteClient {
    pub(super) fn start(bytes: Bytes, turn: &mut Turn<'_>) -> Self {
        let interval = turn.settings.t1;
        turn.arm(Timer::B, turn.settings.patience());
        if !turn.is_reliable() {
            turn.arm(Timer::A, interval);
        }
        turn.send(bytes.clone());
        Self {
            state: State::Calling,
            detached: false,
            interval,
            bytes,
        }
    }

    pub(super) fn receive(&mut self, message: Message, from: Path, turn: &mut Turn<'_>) {
        let status = message.status().unwrap_or_default();
        match (self.state, status) {
            (State::Calling | State::Proceeding, 100..=199) => self.proceed(message, turn),
            (State::Calling | State::Proceeding, 200..=299) => {
                self.state = State::Accepted;
                self.bytes = Bytes::new();
                turn.disarm();
                turn.arm(Timer::M, turn.settings.patience());
                self.report_success(message, from, turn);
            }
            (State::Calling | State::Proceeding, 300..) => self.fail(message, turn),
            (State::Accepted, 200..=299) => self.report_success(message, from, turn),
            // Another fork was answered: nobody asked any more, but it is owed an ACK and a BYE.
            (State::Completed, 200..=299) => turn.report(Output::Stray {
                message,
                path: from,
            }),
            (State::Completed, 300..) => {
                turn.absorb();
                if !self.bytes.is_empty() {
                    turn.repeat(self.bytes.clone());
                }
            }
            _ => {}
        }
    }

    pub(super) fn expire(&mut self, timer: Timer, turn: &mut Turn<'_>) {
        match (timer, self.state) {
            (Timer::A, State::Calling) => {
                self.interval = self.interval.saturating_mul(2);
                turn.arm(Timer::A, self.interval);
                turn.repeat(self.bytes.clone());
            }
            (Timer::B, State::Calling) => {
                self.state = State::Terminated;
                turn.counters.invite_timeouts += 1;
                if !self.detached {
                    turn.report(Output::Timeout { id: turn.id });
                }
            }
            (Timer::Abandon, State::Proceeding) => {
                self.state = State::Terminated;
                turn.counters.abandoned += 1;
            }
            (Timer::D, State::Completed) | (Timer::M, State::Accepted) => {
                self.state = State::Terminated;
            }
            _ => {}
        }
    }

    pub(super) fn transport_failed(&mut self, turn: &mut Turn<'_>) {
        if self.awaits_response() {
            self.state = State::Terminated;
            turn.counters.transport_failures += 1;
            if !self.detached {
                turn.report(Output::TransportFailed { id: turn.id });
            }
        }
    }

    /// In `Calling`, timer B sees to the end; in `Proceeding` nothing would (RFC 3261 §9.1).
    pub(super) fn detach(&mut self, turn: &mut Turn<'_>) {
        self.detached = true;
        if self.state == State::Proceeding {
            turn.arm(Timer::Abandon, turn.settings.patience());
        }
    }

    pub(super) fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }

    /// Whether there has been no response at all.
    pub(super) fn awaits_response(&self) -> bool {
        self.state == State::Calling
    }

    fn proceed(&mut self, message: Message, turn: &mut Turn<'_>) {
        if self.state == State::Calling {
            self.state = State::Proceeding;
            turn.disarm();
            if self.detached {
                turn.arm(Timer::Abandon, turn.settings.patience());
            }
        }
        if !self.detached {
            let id = turn.id;
            turn.report(Output::Response { id, message });
        }
    }

    fn fail(&mut self, message: Message, turn: &mut Turn<'_>) {
        let ack = codec::ack_for(&self.bytes, &message);
        turn.disarm();
        if turn.is_reliable() {
            self.state = State::Terminated;
        } else {
            self.state = State::Completed;
            turn.arm(Timer::D, turn.settings.patience());
        }
        self.bytes = ack.unwrap_or_default();
        if !self.bytes.is_empty() {
            turn.send(self.bytes.clone());
        }
        if !self.detached {
            let id = turn.id;
            turn.report(Output::Response { id, message });
        }
    }

    fn report_success(&self, message: Message, from: Path, turn: &mut Turn<'_>) {
        let id = turn.id;
        turn.report(if self.detached {
            Output::Stray {
                message,
                path: from,
            }
        } else {
            Output::Response { id, message }
        });
    }
}
