//! INVITE server transaction.

use super::Output;
use super::timer::{Timer, Turn};
use bytes::Bytes;
use std::time::Duration;

/// States of RFC 3261 Figure 7 as RFC 6026 Figure 7 redraws it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Proceeding,
    Accepted,
    Completed,
    Confirmed,
    Terminated,
}

/// INVITE server transaction (RFC 3261 §17.2.1, RFC 6026 §8.5). The 100 is the user agent's.
///
/// ```text
///                  | INVITE: Request
///                  v
///           +------------+ -- INVITE: last 1xx again
///           | Proceeding | -- 1xx from the user agent: sent
///           +------------+
///     2xx from |      | 300-699 from the user agent:
///     the user |      | sent, G = T1 (UDP), H = 64*T1
///   agent: sent|      v
///   L = 64*T1  |  +-----------+ -- INVITE: response again
///              |  | Completed | -- G: response again, G = min(2*G, T2)
///              |  +-----------+ -- H: Unacknowledged --> Terminated
///              |      | ACK: I = T4 (UDP; else Terminated at once)
///              v      v
///    +----------+   +-----------+
///    | Accepted |   | Confirmed | -- INVITE, ACK: absorbed
///    +----------+   +-----------+
///      |  | ACK: Ack      | I
///    L |  | INVITE:       v
///      |  | absorbed  Terminated
///      v
///  Terminated
/// ```
#[derive(Debug)]
pub(super) struct InviteServer {
    state: State,
    /// Interval of timer G.
    interval: Duration,
    /// The last response, as long as it may have to be repeated from here.
    bytes: Bytes,
}

impl InviteServer {
    pub(super) fn new() -> Self {
        Self {
            state: State::Proceeding,
            interval: Duration::ZERO,
            bytes: Bytes::new(),
        }
    }

    pub(super) fn respond(&mut self, status: u16, bytes: Bytes, turn: &mut Turn<'_>) {
        match (self.state, status) {
            (State::Proceeding, 0..=199) => {
                self.bytes = bytes.clone();
                turn.send(bytes);
            }
            (State::Proceeding, 200..=299) => {
                self.state = State::Accepted;
                self.bytes = Bytes::new();
                turn.arm(Timer::L, turn.settings.patience());
                turn.send(bytes);
            }
            (State::Proceeding, 300..) => {
                self.state = State::Completed;
                self.bytes = bytes.clone();
                self.interval = turn.settings.t1;
                turn.arm(Timer::H, turn.settings.patience());
                if !turn.is_reliable() {
                    turn.arm(Timer::G, self.interval);
                }
                turn.send(bytes);
            }
            (State::Accepted, 200..=299) => turn.repeat(bytes),
            _ => turn.counters.late_commands += 1,
        }
    }

    /// The INVITE came again.
    pub(super) fn receive_again(&self, turn: &mut Turn<'_>) {
        turn.absorb();
        let repeats = matches!(self.state, State::Proceeding | State::Completed);
        if repeats && !self.bytes.is_empty() {
            turn.repeat(self.bytes.clone());
        }
    }

    /// An ACK by its branch. `true` if it is the user agent's: one for a 2xx.
    pub(super) fn acknowledge(&mut self, turn: &mut Turn<'_>) -> bool {
        match self.state {
            State::Accepted => return true,
            State::Completed => {
                self.bytes = Bytes::new();
                turn.disarm();
                if turn.is_reliable() {
                    self.state = State::Terminated;
                } else {
                    self.state = State::Confirmed;
                    turn.arm(Timer::I, turn.settings.t4);
                }
            }
            State::Proceeding | State::Confirmed | State::Terminated => turn.absorb(),
        }
        false
    }

    pub(super) fn expire(&mut self, timer: Timer, turn: &mut Turn<'_>) {
        match (timer, self.state) {
            (Timer::G, State::Completed) => {
                self.interval = self.interval.saturating_mul(2).min(turn.settings.t2);
                turn.arm(Timer::G, self.interval);
                turn.repeat(self.bytes.clone());
            }
            (Timer::H, State::Completed) => {
                self.state = State::Terminated;
                turn.counters.unacknowledged += 1;
                turn.report(Output::Unacknowledged { id: turn.id });
            }
            (Timer::I, State::Confirmed) | (Timer::L, State::Accepted) => {
                self.state = State::Terminated;
            }
            _ => {}
        }
    }

    pub(super) fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }
}
