//! What the log says of TLS that was not agreed on: which trunk, whose address, and why. The counter
//! has them all; the log has the first of each minute, so that nobody fills it by knocking.

use super::connection::Connection;
use super::ending::Ending;
use std::time::{Duration, Instant};

/// Lines in [`WINDOW`].
const MOST: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);

/// How many lines there have been lately.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    since: Option<Instant>,
    said: u32,
    /// Since the last line.
    unsaid: u64,
}

impl Complaints {
    /// A connection ended before there was TLS on it.
    pub(super) fn note(&mut self, connection: &Connection, ending: Ending, now: Instant) {
        let missing = match ending {
            Ending::Handshake => "the peer closed the connection",
            Ending::HandshakeTimeout => "not in time",
            _ => return,
        };
        let (Some(unsaid), Some(path)) = (self.admit(now), connection.paths.first()) else {
            return;
        };
        let (trunk, remote) = (connection.trunk().unwrap_or_default(), path.remote);
        let reason = connection.why.as_deref().unwrap_or(missing);
        if connection.accepted {
            tracing::warn!(trunk, %remote, reason, unsaid, "a TLS connection was refused");
        } else {
            tracing::warn!(trunk, %remote, reason, unsaid, "no TLS with a trunk");
        }
    }

    /// Whether there may be one more line; then how many there were none for.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        let fresh = |since: Instant| now.saturating_duration_since(since) < WINDOW;
        if !self.since.is_some_and(fresh) {
            self.since = Some(now);
            self.said = 0;
        }
        if self.said >= MOST {
            self.unsaid = self.unsaid.saturating_add(1);
            return None;
        }
        self.said = self.said.saturating_add(1);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_few_and_those_left_out_are_told() {
        let (mut complaints, now) = (Complaints::default(), Instant::now());
        let said = (0..25).filter_map(|_| complaints.admit(now)).count();
        assert_eq!(said, 10);
        assert_eq!(complaints.admit(now + WINDOW), Some(15));
        assert_eq!(complaints.admit(now + WINDOW), Some(0));
    }
}
