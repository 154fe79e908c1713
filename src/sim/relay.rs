//! The relay in memory, held by the worker and by the world at once.

use crate::media::flow::{Flow, FlowId, PortPair, RelayEvent};
use crate::relay::Relay;
use crate::relay::memory::{MemoryRelay, Sent};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The handle.
#[derive(Clone, Default)]
pub struct SharedRelay {
    inner: Arc<Mutex<MemoryRelay>>,
    /// Forgets to say that a flow is gone, so that its ports never come back.
    forgets: bool,
}

impl SharedRelay {
    pub fn new(forgets: bool) -> Self {
        Self {
            inner: Arc::default(),
            forgets,
        }
    }

    pub fn deliver(&self, bytes: &[u8], source: SocketAddr, local: SocketAddr) -> Option<Sent> {
        self.lock().deliver(bytes, source, local)
    }

    pub fn advance(&self, now: Duration) {
        let mut relay = self.lock();
        relay.advance(now);
        // Nobody here listens to recordings.
        while relay.poll_played().is_some() {}
    }

    pub fn flows(&self) -> usize {
        self.lock().flows()
    }

    fn lock(&self) -> MutexGuard<'_, MemoryRelay> {
        self.inner.lock().unwrap()
    }
}

impl Relay for SharedRelay {
    fn reserve(&mut self, pair: PortPair) -> io::Result<()> {
        self.lock().reserve(pair)
    }

    fn install(&mut self, id: FlowId, flow: Flow) {
        self.lock().install(id, flow);
    }

    fn remove(&mut self, id: FlowId) {
        self.lock().remove(id);
    }

    fn flush(&mut self, now: Instant) {
        self.lock().flush(now);
    }

    fn poll_event(&mut self) -> Option<RelayEvent> {
        let event = self.lock().poll_event();
        event.filter(|event| !(self.forgets && matches!(event, RelayEvent::Removed { .. })))
    }
}
