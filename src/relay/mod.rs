//! Relay backends: packets from one leg to the other, away from signalling.
//!
//! [`socket::RelayThreads`] is the one for real networks; [`memory::MemoryRelay`] the one for a
//! simulated network. Both run [`crate::media::passage::Passage`] and pass the same conformance
//! suite.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::panic
    )
)]

pub mod memory;
pub mod metrics;
pub mod socket;
mod sys;
mod thread;

#[cfg(test)]
mod conformance;

pub use memory::MemoryRelay;
pub use metrics::RelayMetrics;
pub use socket::{RelayConfig, RelayThreads, SocketRelay};

use crate::media::flow::{Flow, FlowId, PortPair, RelayEvent};
use std::io;
use std::time::Instant;

/// A relay as its signalling worker sees it. Commands are handed over and never waited for; after
/// [`Relay::install`] packets touch nothing of the worker's.
pub trait Relay: Send {
    /// Makes sure the pair's two ports are ours: binds them, or finds them bound from an earlier
    /// call. A pair that fails is left out of the pool by the caller.
    ///
    /// # Errors
    /// The socket's error (port in use, no descriptor left).
    fn reserve(&mut self, pair: PortPair) -> io::Result<()>;

    /// Starts a flow or replaces it, whole. Latched sources survive where the epoch is the same.
    fn install(&mut self, id: FlowId, flow: Flow);

    /// Ends a flow; answered by [`RelayEvent::Removed`], after which its ports may be given again.
    fn remove(&mut self, id: FlowId);

    /// Hands over what was gathered since the last call, in one piece, and wakes the relay. Where
    /// flows only end, that may wait a little for company: until [`Self::poll_timeout`].
    fn flush(&mut self, now: Instant);

    /// When [`Self::flush`] must be called again, if it put something off.
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// The next report, if there is one.
    fn poll_event(&mut self) -> Option<RelayEvent>;
}

/// What a flow that is not there is reported as, so that nobody waits for it for ever.
fn removed_unknown(flow: FlowId) -> RelayEvent {
    RelayEvent::Removed {
        flow,
        to_callee: crate::domain::MediaFigures::default(),
        to_caller: crate::domain::MediaFigures::default(),
        quality: crate::domain::CallQuality::default(),
        guard_hits: 0,
    }
}
