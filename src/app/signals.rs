//! Signals (operations, "Commands"): the first SIGTERM or SIGINT drains, the second ends now,
//! SIGHUP reloads.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Stop taking calls; end when the running ones have.
    Drain,
    /// End at once.
    End,
    /// Read the configuration again.
    Reload,
}

/// The signals of the process.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    draining: bool,
}

impl Signals {
    /// Takes them over from their defaults.
    ///
    /// # Errors
    /// The system's.
    pub fn take() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            draining: false,
        })
    }

    /// Waits for the next one. Safe to drop while waiting.
    pub async fn next(&mut self) -> Wish {
        let stop = tokio::select! {
            _ = self.terminate.recv() => true,
            _ = self.interrupt.recv() => true,
            _ = self.hang_up.recv() => false,
        };
        self.wish(stop)
    }

    fn wish(&mut self, stop: bool) -> Wish {
        match (stop, self.draining) {
            (false, _) => Wish::Reload,
            (true, true) => Wish::End,
            (true, false) => {
                self.draining = true;
                Wish::Drain
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_stop_ends_now() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut signals = Signals::take().unwrap();
            assert_eq!(signals.wish(false), Wish::Reload);
            assert_eq!(signals.wish(true), Wish::Drain);
            assert_eq!(signals.wish(false), Wish::Reload);
            assert_eq!(signals.wish(true), Wish::End);
        });
    }
}
