//! What the API needs of the rest of the process.

use crate::books::command::{Command, Idempotency, Reply};
use crate::domain::UnixMillis;
use crate::store::Reader;
use bytes::Bytes;
use std::future::Future;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The books, as the API speaks to them.
pub trait Books: Clone + Send + Sync + 'static {
    /// Does `command`, durably where it changes anything.
    fn request(
        &self,
        command: Command,
        idempotency: Option<Idempotency>,
    ) -> impl Future<Output = Reply> + Send;

    /// Reads of records and ledger entries.
    fn reader(&self) -> Arc<dyn Reader>;
}

/// The wall clock.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> UnixMillis;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixMillis {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// What is served beside the API on the same address: `/healthz`, `/readyz`, `/metrics`
/// (operations, "Endpoints beside the API").
pub trait Beside: Send + Sync {
    /// The answer to `GET path`; `None` where there is nothing at that path.
    fn get(&self, path: &str) -> Option<BesideAnswer>;
}

/// An answer of [`Beside`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BesideAnswer {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Body.
    pub body: Bytes,
}

/// Nothing beside the API.
impl Beside for () {
    fn get(&self, _path: &str) -> Option<BesideAnswer> {
        None
    }
}
