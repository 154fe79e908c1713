//! Timers (RFC 3261 Table 4, RFC 6026 §8.7) and what a state machine works with in one turn.

use super::{Counters, Output, TransactionId};
use crate::sip::message::{Path, Transport};
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Timer values and bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// T1, round trip estimate, 500 ms.
    pub t1: Duration,
    /// T2, longest interval between repeats, 4 s.
    pub t2: Duration,
    /// T4, longest life of a message in the network, 5 s.
    pub t4: Duration,
    /// Transactions that may be alive at once; beyond it new ones are refused.
    pub max_transactions: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            max_transactions: 1_000_000,
        }
    }
}

impl Settings {
    /// 64*T1: how long one side waits for the other.
    pub(super) fn patience(&self) -> Duration {
        self.t1.saturating_mul(64)
    }
}

/// The timers by their RFC names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// INVITE request repeat.
    A,
    /// INVITE transaction timeout.
    B,
    /// Wait for repeats of a failure.
    D,
    /// Non-INVITE request repeat.
    E,
    /// Non-INVITE transaction timeout.
    F,
    /// Failure response repeat.
    G,
    /// Wait for the ACK.
    H,
    /// Wait for repeats of the ACK.
    I,
    /// Wait for repeats of a non-INVITE request.
    J,
    /// Wait for repeats of a response.
    K,
    /// Wait for repeats of an INVITE that a 2xx has answered (RFC 6026).
    L,
    /// Wait for further 2xx (RFC 6026).
    M,
    /// Of no RFC name: the user of the transaction has had 64*T1 to answer a non-INVITE request,
    /// after which an answer is of no use (RFC 4320 §4.2), or the peer has had it to answer an
    /// INVITE that was given up (RFC 3261 §9.1).
    Abandon,
}

impl Timer {
    /// A transaction has one timer that repeats and one that ends something, never more.
    const fn place(self) -> usize {
        match self {
            Self::A | Self::E | Self::G => 0,
            _ => 1,
        }
    }
}

/// The timers of one transaction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timers([Option<(Instant, Timer)>; 2]);

impl Timers {
    /// The next to go off.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.iter().flatten().map(|(at, _)| *at).min()
    }

    /// Takes the earliest one that is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Timer> {
        let armed = self
            .0
            .iter_mut()
            .filter(|armed| armed.is_some_and(|(at, _)| at <= now))
            .min_by_key(|armed| armed.map(|(at, _)| at))?;
        armed.take().map(|(_, timer)| timer)
    }

    fn set(&mut self, timer: Timer, at: Instant) {
        if let Some(place) = self.0.get_mut(timer.place()) {
            *place = Some((at, timer));
        }
    }
}

/// One turn of one state machine: what it may read and where its effects go.
pub(super) struct Turn<'a> {
    pub(super) id: TransactionId,
    pub(super) path: Path,
    pub(super) now: Instant,
    pub(super) settings: &'a Settings,
    pub(super) timers: &'a mut Timers,
    pub(super) outputs: &'a mut VecDeque<Output>,
    pub(super) counters: &'a mut Counters,
}

impl Turn<'_> {
    /// Whether the transport delivers by itself.
    pub(super) fn is_reliable(&self) -> bool {
        self.path.transport != Transport::Udp
    }

    /// Arms a timer, in place of the one in its place.
    pub(super) fn arm(&mut self, timer: Timer, after: Duration) {
        // An instant beyond the end of time is one that never comes.
        if let Some(at) = self.now.checked_add(after) {
            self.timers.set(timer, at);
        }
    }

    /// Stops both timers.
    pub(super) fn disarm(&mut self) {
        *self.timers = Timers::default();
    }

    /// Sends something new.
    pub(super) fn send(&mut self, bytes: Bytes) {
        self.transmit(bytes, false);
    }

    /// Sends something again.
    pub(super) fn repeat(&mut self, bytes: Bytes) {
        self.counters.repeats_sent += 1;
        self.transmit(bytes, true);
    }

    /// Counts what came again.
    pub(super) fn absorb(&mut self) {
        self.counters.repeats_absorbed += 1;
    }

    /// Tells the user of the transaction.
    pub(super) fn report(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    fn transmit(&mut self, bytes: Bytes, repeat: bool) {
        self.outputs.push_back(Output::Transmit {
            bytes,
            path: self.path,
            repeat,
        });
    }
}
