//! Non-INVITE server transaction.

use super::timer::{Timer, Turn};
use bytes::Bytes;

/// States of RFC 3261 Figure 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Trying,
    Proceeding,
    Completed,
    Terminated,
}

/// Non-INVITE server transaction (RFC 3261 §17.2.2).
///
/// ```text
///              | request: Request; Abandon = 64*T1
///              v
///         +----------+ -- request: absorbed
///         |  Trying  | --------------------------+
///         +----------+                           |
///              | 1xx from the user agent: sent   | 200-699 from the user agent:
///              v                                 | sent, J = 64*T1 (UDP; else
///        +------------+ -- request: 1xx again    | Terminated at once)
///        | Proceeding | -------------------------+
///        +------------+                          v
///              | Abandon (either state)    +-----------+
///              v                           | Completed | -- request: response again
///          Terminated                      +-----------+
///                                                | J
///                                                v
///                                            Terminated
/// ```
#[derive(Debug)]
pub(super) struct Server {
    state: State,
    /// The last response.
    bytes: Bytes,
}

impl Server {
    pub(super) fn start(turn: &mut Turn<'_>) -> Self {
        turn.arm(Timer::Abandon, turn.settings.patience());
        Self {
            state: State::Trying,
            bytes: Bytes::new(),
        }
    }

    pub(super) fn respond(&mut self, status: u16, bytes: Bytes, turn: &mut Turn<'_>) {
        match self.state {
            State::Trying | State::Proceeding if status < 200 => {
                self.state = State::Proceeding;
                self.bytes = bytes.clone();
                turn.send(bytes);
            }
            State::Trying | State::Proceeding => {
                turn.disarm();
                if turn.is_reliable() {
                    self.state = State::Terminated;
                } else {
                    self.state = State::Completed;
                    self.bytes = bytes.clone();
                    turn.arm(Timer::J, turn.settings.patience());
                }
                turn.send(bytes);
            }
            State::Completed | State::Terminated => turn.counters.late_commands += 1,
        }
    }

    /// The request came again.
    pub(super) fn receive_again(&self, turn: &mut Turn<'_>) {
        turn.absorb();
        if !self.bytes.is_empty() {
            turn.repeat(self.bytes.clone());
        }
    }

    pub(super) fn expire(&mut self, timer: Timer, turn: &mut Turn<'_>) {
        match (timer, self.state) {
            (Timer::Abandon, State::Trying | State::Proceeding) => {
                self.state = State::Terminated;
                turn.counters.abandoned += 1;
            }
            (Timer::J, State::Completed) => self.state = State::Terminated,
            _ => {}
        }
    }

    pub(super) fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }
}
