//! Whether the process may be sent traffic (operations, "Endpoints beside the API").

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

type Probe = Box<dyn Fn() -> bool + Send + Sync>;

/// What readiness depends on. Each part is set by the one who knows, or asked where it changes by
/// itself; nobody waits for anybody.
#[derive(Default)]
pub struct Health {
    store_open: AtomicBool,
    store: OnceLock<Probe>,
    sip_listening: AtomicBool,
    trunks_up: AtomicUsize,
    draining: AtomicBool,
    data_directory_gone: AtomicBool,
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Health").field(&self.reasons()).finish()
    }
}

impl Health {
    /// From now on the store is asked whether it takes commits. It stops and starts doing so by
    /// itself (a full disk). Only the first one given counts.
    pub fn ask_store(&self, ready: impl Fn() -> bool + Send + Sync + 'static) {
        let _ = self.store.set(Box::new(ready));
    }

    /// The store is open and takes commits, or not.
    pub fn set_store_open(&self, open: bool) {
        self.store_open.store(open, Ordering::Relaxed);
    }

    /// SIP sockets are bound and read, or not.
    pub fn set_sip_listening(&self, listening: bool) {
        self.sip_listening.store(listening, Ordering::Relaxed);
    }

    /// How many outbound trunks are up.
    pub fn set_trunks_up(&self, count: usize) {
        self.trunks_up.store(count, Ordering::Relaxed);
    }

    /// The data directory is where it was when it was opened, or not any more.
    pub fn set_data_directory(&self, there: bool) {
        self.data_directory_gone.store(!there, Ordering::Relaxed);
    }

    /// Whether it is.
    #[must_use]
    pub fn has_data_directory(&self) -> bool {
        !self.data_directory_gone.load(Ordering::Relaxed)
    }

    /// The process is on its way out; there is no way back.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether it is.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Why no traffic should come; empty when it may.
    #[must_use]
    pub fn reasons(&self) -> Vec<&'static str> {
        let open = self.store_open.load(Ordering::Relaxed);
        let parts = [
            (self.store.get().map_or(open, |ask| ask()), "store not open"),
            (
                self.sip_listening.load(Ordering::Relaxed),
                "SIP not listening",
            ),
            (
                self.trunks_up.load(Ordering::Relaxed) > 0,
                "no outbound trunk up",
            ),
            (self.has_data_directory(), "data directory gone"),
            (!self.is_draining(), "draining"),
        ];
        parts
            .into_iter()
            .filter(|(good, _)| !good)
            .map(|(_, reason)| reason)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Health;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn every_part_is_needed() {
        let health = Health::default();
        assert_eq!(health.reasons().len(), 3);
        health.set_store_open(true);
        health.set_sip_listening(true);
        assert_eq!(health.reasons(), ["no outbound trunk up"]);
        health.set_trunks_up(1);
        assert!(health.reasons().is_empty());
        health.set_data_directory(false);
        assert_eq!(health.reasons(), ["data directory gone"]);
        health.set_data_directory(true);
        health.start_draining();
        assert_eq!(health.reasons(), ["draining"]);
        health.set_trunks_up(0);
        assert_eq!(health.reasons().len(), 2);
    }

    #[test]
    fn the_store_is_asked_each_time() {
        let (health, open) = (Health::default(), Arc::new(AtomicBool::new(false)));
        health.set_trunks_up(1);
        health.set_sip_listening(true);
        health.set_store_open(true);
        let asked = Arc::clone(&open);
        health.ask_store(move || asked.load(Ordering::Relaxed));
        assert_eq!(health.reasons(), ["store not open"]);
        open.store(true, Ordering::Relaxed);
        assert!(health.reasons().is_empty());
    }
}
