//! Non-INVITE client transaction.

use super::Output;
use super::timer::{Timer, Turn};
use crate::sip::message::Message;
use bytes::Bytes;
use std::time::Duration;

/// States of RFC 3261 Figure 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Trying,
    Proceeding,
    Completed,
    Terminated,
}

/// Non-INVITE client transaction (RFC 3261 §17.1.2).
///
/// ```text
///                 | request sent; E = T1 (UDP), F = 64*T1
///                 v
///           +----------+ --E: send again, E = min(2*E, T2)--+
///           |  Trying  | <---------------------------------+
///           +----------+ --F: Timeout, transport error: TransportFailed--> Terminated
///             |     |
///         1xx |     | 200-699: Response, K = T4 (UDP; else Terminated at once)
///             v     +---------------------------------+
///       +------------+ --E: send again, E = T2--+     |
///       | Proceeding | <------------------------+     |
///       +------------+ --F: Timeout--> Terminated     |
///             | 200-699: Response, K = T4             v
///             +--------------------------------> +-----------+
///                                                | Completed | -- responses absorbed
///                                                +-----------+
///                                                     | K
///                                                     v
///                                                 Terminated
/// ```
#[derive(Debug)]
pub(super) struct Client {
    state: State,
    detached: bool,
    /// Interval of timer E.
    interval: Duration,
    /// The request until it is answered.
    bytes: Bytes,
}

impl Client {
    pub(super) fn start(bytes: Bytes, turn: &mut Turn<'_>) -> Self {
        let interval = turn.settings.t1;
        turn.arm(Timer::F, turn.settings.patience());
        if !turn.is_reliable() {
            turn.arm(Timer::E, interval);
        }
        turn.send(bytes.clone());
        Self {
            state: State::Trying,
            detached: false,
            interval,
            bytes,
        }
    }

    pub(super) fn receive(&mut self, message: Message, turn: &mut Turn<'_>) {
        let provisional = message.status().is_some_and(|status| status < 200);
        match self.state {
            State::Trying | State::Proceeding if provisional => self.state = State::Proceeding,
            State::Trying | State::Proceeding => {
                self.bytes = Bytes::new();
                turn.disarm();
                if turn.is_reliable() {
                    self.state = State::Terminated;
                } else {
                    self.state = State::Completed;
                    turn.arm(Timer::K, turn.settings.t4);
                }
            }
            State::Completed | State::Terminated => {
                turn.absorb();
                return;
            }
        }
        if !self.detached {
            let id = turn.id;
            turn.report(Output::Response { id, message });
        }
    }

    pub(super) fn expire(&mut self, timer: Timer, turn: &mut Turn<'_>) {
        match (timer, self.state) {
            (Timer::E, State::Trying | State::Proceeding) => {
                self.interval = match self.state {
                    State::Trying => self.interval.saturating_mul(2).min(turn.settings.t2),
                    _ => turn.settings.t2,
                };
                turn.arm(Timer::E, self.interval);
                turn.repeat(self.bytes.clone());
            }
            (Timer::F, State::Trying | State::Proceeding) => {
                self.state = State::Terminated;
                turn.counters.other_timeouts += 1;
                if !self.detached {
                    turn.report(Output::Timeout { id: turn.id });
                }
            }
            (Timer::K, State::Completed) => self.state = State::Terminated,
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

    /// Timer F or K sees to the end in any state.
    pub(super) fn detach(&mut self) {
        self.detached = true;
    }

    pub(super) fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }

    /// Whether there has been no response at all.
    pub(super) fn awaits_response(&self) -> bool {
        self.state == State::Trying
    }
}
