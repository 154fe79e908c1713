//! Whether a connection is used. HTTP/1 knows by itself (the next head must come in time); an
//! HTTP/2 client that answers our pings could hold its connection open without ever asking anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Requests of one connection.
#[derive(Clone, Debug, Default)]
pub struct Activity(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// A request at work; over when it is dropped.
#[derive(Debug)]
pub struct AtWork(Arc<Counts>);

impl Activity {
    /// A request came.
    #[must_use]
    pub fn begin(&self) -> AtWork {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        AtWork(Arc::clone(&self.0))
    }

    /// Whether any ever came.
    #[must_use]
    pub fn any(&self) -> bool {
        self.0.begun.load(Ordering::Relaxed) > 0
    }

    /// Waits until for `length` none was at work and none came.
    pub async fn idle(&self, length: Duration) {
        loop {
            let before = self.seen();
            tokio::time::sleep(length).await;
            let (begun, ended) = self.seen();
            if before == (begun, ended) && begun == ended {
                return;
            }
        }
    }

    fn seen(&self) -> (u64, u64) {
        let ended = self.0.ended.load(Ordering::Relaxed);
        (self.0.begun.load(Ordering::Relaxed), ended)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn idle_is_nothing_at_work_and_nothing_new() {
        const LENGTH: Duration = Duration::from_millis(1);
        let activity = Activity::default();
        assert!(!activity.any());
        activity.idle(LENGTH).await;
        let request = activity.begin();
        assert!(activity.any());
        let waited = tokio::time::timeout(LENGTH * 50, activity.idle(LENGTH)).await;
        assert!(waited.is_err(), "a request was at work all the time");
        drop(request);
        activity.idle(LENGTH).await;
    }
}
