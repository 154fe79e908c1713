//! A reader that takes nothing. What we write waits in the kernel until it is taken; a client that
//! stops reading in the middle of an export, say, would hold its connection, and the export its
//! slot, for ever.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// A stream whose writes fail once its reader has taken nothing for a time.
#[derive(Debug)]
pub struct Watched<S> {
    stream: S,
    patience: Duration,
    /// Runs while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
    /// Counts those that were given up.
    given_up: Arc<AtomicU64>,
}

impl<S> Watched<S> {
    /// Around `stream`, with so much patience.
    pub fn new(stream: S, patience: Duration, given_up: Arc<AtomicU64>) -> Self {
        Self {
            stream,
            patience,
            waiting: None,
            given_up,
        }
    }

    /// What a write came to: itself, or the end where it has waited for too long.
    fn judge(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let patience = self.patience;
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(waiting.as_mut().poll(context));
        self.waiting = None;
        self.given_up.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.judge(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Whoever takes a little now and then is served to the end; whoever takes nothing is not.
    #[tokio::test]
    async fn a_slow_reader_is_served_and_one_that_stops_is_given_up() {
        let (near, mut far) = tokio::io::duplex(8);
        let given_up = Arc::new(AtomicU64::new(0));
        let patience = Duration::from_millis(500);
        let mut watched = Watched::new(near, patience, Arc::clone(&given_up));
        let reader = tokio::spawn(async move {
            let mut piece = [0u8; 8];
            for _ in 0..10 {
                far.read_exact(&mut piece).await.unwrap();
                tokio::time::sleep(Duration::from_millis(60)).await;
            }
            far
        });
        // Longer than the patience in all.
        watched.write_all(&[b'a'; 80]).await.unwrap();
        let _far = reader.await.unwrap();
        assert_eq!(given_up.load(Ordering::Relaxed), 0);
        let error = watched.write_all(&[b'a'; 80]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(given_up.load(Ordering::Relaxed), 1);
    }
}
