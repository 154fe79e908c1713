//! Whether a connection is used. HTTP/1 knows by itself (the next head must come in time); an
//! HTTP/2 client that answers our pings could hold its connection open without ever asking anything,
//! or without ever taking what it asked for.

use hyper::body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

/// Requests of one connection.
#[derive(Clone, Debug, Default)]
pub struct Activity(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicU64,
    ended: AtomicU64,
    /// Pieces of answers that were taken.
    taken: AtomicU64,
    /// Answers that are not taken to their end.
    untaken: AtomicU64,
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

    /// Counts what is taken of an answer.
    #[must_use]
    pub fn answer<B>(&self, body: B) -> Answer<B> {
        self.0.untaken.fetch_add(1, Ordering::Relaxed);
        Answer {
            body,
            counts: Arc::clone(&self.0),
        }
    }

    /// Whether an answer is not taken to its end.
    #[must_use]
    pub fn is_answering(&self) -> bool {
        self.0.untaken.load(Ordering::Relaxed) > 0
    }

    /// Waits until for `length` none was at work and none came, and nothing was taken of an answer.
    pub async fn idle(&self, length: Duration) {
        loop {
            let before = self.seen();
            tokio::time::sleep(length).await;
            let (begun, ended, taken) = self.seen();
            if before == (begun, ended, taken) && begun == ended {
                return;
            }
        }
    }

    fn seen(&self) -> (u64, u64, u64) {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let ended = load(&self.0.ended);
        (load(&self.0.begun), ended, load(&self.0.taken))
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// The body of an answer; hyper asks for its next piece when the client has room for it.
#[derive(Debug)]
pub struct Answer<B> {
    body: B,
    counts: Arc<Counts>,
}

impl<B> Drop for Answer<B> {
    fn drop(&mut self) {
        self.counts.untaken.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if frame.is_ready() {
            self.counts.taken.fetch_add(1, Ordering::Relaxed);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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
