//! The thread that owns the books and the store: everything that changes state passes through it,
//! in batches, each one commit.
//!
//! ```text
//!   API tasks ──request──▶ ┌───────┐ all that is there ┌───────┐ take_batch ┌───────┐
//!   workers  ──call──────▶ │ inbox │ ────────────────▶ │ books │ ─────────▶ │ store │
//!                          └───────┘                   └───────┘ ◀───────── └───────┘
//!        replies, notices ◀── drained after every step ───┘   committed / failed
//! ```
//! While one commit is on its way to the disk, the next batch gathers in the inbox: the busier, the
//! larger the batches. What nobody waits for (records, heartbeats) lingers a little for company.
//!
//! When a commit fails, the books undo it and answer those who waited; what must not be lost stays
//! with them and is tried again, by itself and as essential, after a pause that doubles.

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

mod inbox;
pub mod metrics;

use crate::books::command::{CallCommand, CallNotice, Code, Command, Idempotency, Reply};
use crate::books::{Books, Figures, LoadReport, Output, Settings, Ticket};
use crate::call::event::LedgerCommand;
use crate::domain::{Now, UnixMillis};
use crate::store::{Change, Key, Reader, Store, StoreError, Table};
use bytes::Bytes;
use inbox::{Inbox, Request, Work};
pub use metrics::BooksMetrics;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::oneshot;

/// What nobody waits for is committed after at most this long.
const LINGER: Duration = Duration::from_millis(20);
/// What only calls wait for (an answer, a further block) is committed after at most this long: a
/// person does not notice it, and at a thousand calls a second it spares most of the flushes.
const CALL_LINGER: Duration = Duration::from_millis(4);
/// So many requests in a round make a crowd: the next round gathers for [`GATHER`], since in a crowd a
/// commit more costs everybody more than the wait. A client by itself never waits.
const CROWD: usize = 4;
/// See [`CROWD`].
const GATHER: Duration = Duration::from_micros(500);
/// First pause after a failed commit; doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How often room on the disk and the store's size are looked at when all is well.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// Kept answers forgotten at each housekeeping.
const STALE_ANSWERS: usize = 2000;
/// Tries to get a last batch onto a failing disk at shutdown.
const LAST_TRIES: u32 = 20;

/// "Lock is busy, try again later." (lease-api 5)
const BUSY: Code = Code(38);
/// "Internal/system error." (lease-api 5)
const INTERNAL: Code = Code(99);

/// Bounds of the inbox.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests waiting; beyond it they get 38.
    pub requests: usize,
    /// Commands of calls waiting; beyond it no new call is admitted. Those that running calls
    /// depend on are taken up to twice as many, their ends always: there is one a call.
    pub calls: usize,
    /// Inputs fed to the books before a commit.
    pub round: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests: 4096,
            calls: 65_536,
            round: 4096,
        }
    }
}

/// Where notices to calls go.
pub trait NoticeSink: Send {
    /// Queues a notice for its worker. Must not lose it and must not wait for the books.
    fn deliver(&self, notice: CallNotice);
    /// Wakes a worker that notices were queued for.
    fn wake(&self, worker: u16);
}

/// What the thread drives: [`Books`], or a stand-in in tests. See there for what each does.
#[allow(missing_docs)]
pub trait Core: Send {
    fn load(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError>;
    fn loaded(&mut self, now: Now) -> Result<LoadReport, StoreError>;
    fn request(
        &mut self,
        ticket: Ticket,
        command: Command,
        idempotency: Option<Idempotency>,
        kept: Option<Bytes>,
        now: Now,
    );
    fn call(&mut self, command: CallCommand, now: Now);
    fn reload(&mut self, settings: Settings);
    fn poll_timeout(&self) -> Option<Instant>;
    fn handle_timeout(&mut self, now: Now);
    fn batch_is_urgent(&self) -> Option<bool>;
    fn take_batch(&mut self) -> Vec<Change>;
    fn committed(&mut self, now: Now);
    fn failed(&mut self, error: &StoreError, now: Now);
    fn poll_output(&mut self) -> Option<Output>;
    /// Kept answers whose time is over, so many at most.
    fn stale_answers(&self, _now: Now, _limit: usize) -> Vec<Key> {
        Vec::new()
    }
    fn forget_answer(&mut self, _key: &Key, _stored: Option<Bytes>, _now: Now) {}
    /// Counts and checks, about once a second.
    fn figures(&self) -> Figures {
        Figures::default()
    }
    fn set_room(&mut self, room: bool, now: Instant);
}

/// What the rest of the gateway holds of the books: cheap to clone.
#[derive(Clone)]
pub struct BooksHandle {
    inbox: Arc<Inbox>,
    reader: Arc<dyn Reader>,
    metrics: Arc<BooksMetrics>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl BooksHandle {
    /// Asks the books; the answer comes when it is durable. 38 while they take no more.
    pub async fn request(&self, command: Command, idempotency: Option<Idempotency>) -> Reply {
        let (reply, replied) = oneshot::channel();
        let request = Request {
            command,
            idempotency,
            reply,
        };
        if !self.inbox.push_request(request) {
            self.metrics.requests_refused.add(1);
            return Reply::Outcome(Err(BUSY));
        }
        replied.await.unwrap_or(Reply::Outcome(Err(INTERNAL)))
    }

    /// Hands commands of calls over, in order and with one wake. Where the books take no more,
    /// `refused` has what the call is to be told instead.
    pub fn calls(
        &self,
        commands: impl IntoIterator<Item = CallCommand>,
        mut refused: impl FnMut(CallNotice),
    ) {
        self.inbox.push_calls(commands, |notice| {
            self.metrics.calls_refused.add(1);
            refused(notice);
        });
    }

    /// Reads of what is committed.
    #[must_use]
    pub fn reader(&self) -> Arc<dyn Reader> {
        Arc::clone(&self.reader)
    }

    /// The configuration changed.
    pub fn reload(&self, settings: Settings) {
        self.inbox.push_reload(settings);
    }

    /// Figures for the metrics page.
    #[must_use]
    pub fn metrics(&self) -> &Arc<BooksMetrics> {
        &self.metrics
    }

    /// Whether the last commit went well and the thread is there to make the next.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.metrics.healthy.get() == 1 && !self.inbox.is_closed()
    }

    /// Takes nothing new, commits what is there, closes the store. The workers are to be stopped
    /// before, or what their calls send at this moment waits for the next start. Waits for the end,
    /// so not to be called on a runtime's thread.
    pub fn stop(&self) {
        self.inbox.stop();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the books thread ended in a panic");
        }
    }
}

/// Loads the books from the store, commits what that leads to (calls that were up at a crash), and
/// starts the thread.
///
/// # Errors
/// The scan's, the load's, or the first commit's.
pub fn start(
    books: Books,
    store: Box<dyn Store>,
    sink: Box<dyn NoticeSink>,
    limits: Limits,
) -> Result<(BooksHandle, LoadReport), StoreError> {
    start_core(books, store, sink, limits)
}

/// [`start`] for any [`Core`].
///
/// # Errors
/// See [`start`].
pub fn start_core<C: Core + 'static>(
    core: C,
    store: Box<dyn Store>,
    sink: Box<dyn NoticeSink>,
    limits: Limits,
) -> Result<(BooksHandle, LoadReport), StoreError> {
    let inbox = Arc::new(Inbox::new(limits));
    let metrics = Arc::new(BooksMetrics::default());
    let reader = store.reader();
    let mut shell = Shell {
        core,
        store,
        reader: Arc::clone(&reader),
        sink,
        inbox: Arc::clone(&inbox),
        metrics: Arc::clone(&metrics),
        waiting: BTreeMap::new(),
        next_ticket: 0,
        linger_until: None,
        retry_at: None,
        pause: RETRY_MIN,
        housekeeping_at: Instant::now(),
    };
    let report = shell.load()?;
    let thread = std::thread::Builder::new()
        .name("books".into())
        .spawn(move || {
            let _closed = inbox::CloseOnDrop(Arc::clone(&shell.inbox));
            shell.run();
        })
        .map_err(|error| StoreError::Failed(format!("no thread for the books: {error}")))?;
    let handle = BooksHandle {
        inbox,
        reader,
        metrics,
        thread: Arc::new(Mutex::new(Some(thread))),
    };
    Ok((handle, report))
}

struct Shell<C> {
    core: C,
    store: Box<dyn Store>,
    reader: Arc<dyn Reader>,
    sink: Box<dyn NoticeSink>,
    inbox: Arc<Inbox>,
    metrics: Arc<BooksMetrics>,
    waiting: BTreeMap<Ticket, oneshot::Sender<Reply>>,
    next_ticket: u64,
    /// Set while a batch lingers.
    linger_until: Option<Instant>,
    /// Set while commits fail.
    retry_at: Option<Instant>,
    pause: Duration,
    housekeeping_at: Instant,
}

impl<C: Core> Shell<C> {
    fn load(&mut self) -> Result<LoadReport, StoreError> {
        let core = &mut self.core;
        let mut loaded = Ok(());
        self.store.scan(&mut |table, key, value| {
            if loaded.is_ok() {
                loaded = core.load(table, key, value);
            }
        })?;
        loaded?;
        let report = self.core.loaded(now())?;
        while self.core.batch_is_urgent().is_some() {
            let batch = self.core.take_batch();
            self.try_commit(&batch, true)?;
            self.core.committed(now());
            self.deliver();
        }
        self.metrics.healthy.set(1);
        self.metrics.note(self.core.figures());
        Ok(report)
    }

    fn run(&mut self) {
        loop {
            let work = self.inbox.wait(self.next_deadline());
            let stopping = work.stopping;
            let due = work.due;
            let fed = self.feed(work);
            if let Some(due) = due {
                self.linger_until = Some(self.linger_until.map_or(due, |at| at.min(due)));
            }
            self.deliver();
            self.settle(fed || stopping, stopping);
            if stopping && self.inbox.is_empty() {
                break;
            }
        }
        self.settle_last();
    }

    fn next_deadline(&self) -> Instant {
        // While commits fail the batch waits for the retry, however long it has lingered.
        let linger = self.linger_until.filter(|_| self.retry_at.is_none());
        [self.core.poll_timeout(), linger, self.retry_at]
            .into_iter()
            .flatten()
            .fold(self.housekeeping_at, Instant::min)
    }

    /// Gives the books what has come and what is due; says whether there was anything.
    fn feed(&mut self, work: Work) -> bool {
        let now = now();
        self.metrics.requests_waiting.set(work.requests_found());
        self.metrics.calls_waiting.set(work.calls_found());
        let mut fed = false;
        if let Some(settings) = work.reload {
            self.core.reload(settings);
        }
        if self.core.poll_timeout().is_some_and(|due| due <= now.mono) {
            self.core.handle_timeout(now);
            fed = true;
        }
        if work.calls.iter().any(CallCommand::is_admission) {
            self.look_for_room(now.mono);
        }
        for command in work.calls {
            self.core.call(command, now);
            fed = true;
        }
        for request in work.requests {
            self.feed_request(request, now);
            fed = true;
        }
        if self.housekeeping_at <= now.mono {
            self.housekeeping_at = now.mono + HOUSEKEEPING;
            self.metrics.store_bytes.set(self.store.size());
            if let Some(fault) = self.store.fault() {
                tracing::error!(fault, "the store is not sound");
                self.metrics.store_faults.set(1);
            }
            self.store.breathe();
            self.metrics.note(self.core.figures());
            self.forget_answers(now);
        }
        fed
    }

    /// A call is admitted without a commit, so its admission would not meet a full disk: it would ring
    /// only to be refused when it is answered. What the retry says of a store that failed stands.
    fn look_for_room(&mut self, at: Instant) {
        let room = self.store.has_room();
        if !room || self.retry_at.is_none() {
            self.core.set_room(room, at);
        }
    }

    /// Removes kept answers whose time is over, a bounded number each time.
    fn forget_answers(&mut self, now: Now) {
        for key in self.core.stale_answers(now, STALE_ANSWERS) {
            match self.reader.get(&key) {
                Ok(stored) => self.core.forget_answer(&key, stored, now),
                Err(error) => {
                    tracing::warn!(%error, "a kept answer cannot be read");
                    return;
                }
            }
        }
    }

    fn feed_request(&mut self, request: Request, now: Now) {
        let kept = match &request.idempotency {
            None => Ok(None),
            Some(idempotency) => self.reader.get(&Key {
                table: Table::Answer,
                bytes: Bytes::copy_from_slice(&idempotency.key),
            }),
        };
        let kept = match kept {
            Ok(kept) => kept,
            Err(error) => {
                tracing::error!(%error, "a kept answer cannot be read");
                let _ = request.reply.send(Reply::Outcome(Err(INTERNAL)));
                return;
            }
        };
        let ticket = Ticket(self.next_ticket);
        self.next_ticket = self.next_ticket.wrapping_add(1);
        self.waiting.insert(ticket, request.reply);
        self.core
            .request(ticket, request.command, request.idempotency, kept, now);
    }

    /// Commits what should be committed now. `pressed`: something new has come, so that even while
    /// commits fail this one is tried (and its requests answered).
    fn settle(&mut self, pressed: bool, stopping: bool) {
        let at = Instant::now();
        let retry_due = self.retry_at.is_some_and(|due| due <= at);
        if retry_due {
            self.retry(at);
        }
        match self.core.batch_is_urgent() {
            None => self.linger_until = None,
            Some(_) if self.retry_at.is_some() && !pressed && !retry_due => {}
            Some(urgent) => {
                let linger = if urgent { CALL_LINGER } else { LINGER };
                let due = self.linger_until.unwrap_or(at + linger).min(at + linger);
                self.linger_until = Some(due);
                let asked = urgent && !self.waiting.is_empty();
                if asked || stopping || retry_due || due <= at {
                    self.linger_until = None;
                    self.commit();
                }
            }
        }
    }

    fn retry(&mut self, at: Instant) {
        self.metrics.retries.add(1);
        let room = self.store.breathe();
        self.core.set_room(room, at);
        if room {
            self.retry_at = None;
            self.pause = RETRY_MIN;
            self.metrics.healthy.set(1);
        } else {
            self.pause = self.pause.saturating_mul(2).min(RETRY_MAX);
            self.retry_at = Some(at + self.pause);
        }
    }

    fn commit(&mut self) {
        let batch = self.core.take_batch();
        let mut outcome = self.try_commit(&batch, false);
        if let Err(error @ StoreError::Full) = &outcome {
            // Those who asked for something new are told so; what is left is what running calls
            // need, and for them there is room set aside.
            self.core.failed(error, now());
            self.deliver();
            self.fail();
            if self.core.batch_is_urgent().is_none() {
                return;
            }
            let essential = self.core.take_batch();
            outcome = self.try_commit(&essential, true);
        }
        match outcome {
            Ok(()) => self.core.committed(now()),
            Err(error) => {
                tracing::error!(%error, "a commit failed");
                self.core.failed(&error, now());
                self.fail();
            }
        }
        self.deliver();
    }

    fn fail(&mut self) {
        self.metrics.healthy.set(0);
        if self.retry_at.is_none() {
            self.retry_at = Some(Instant::now() + self.pause);
        }
    }

    fn try_commit(&mut self, batch: &[Change], essential: bool) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let before = Instant::now();
        let outcome = if essential {
            self.store.commit_essential(batch)
        } else {
            self.store.commit(batch)
        };
        self.metrics.count(batch.len(), before.elapsed(), &outcome);
        outcome
    }

    /// Replies and notices that the books have ready.
    fn deliver(&mut self) {
        let mut touched: Vec<u16> = Vec::new();
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Reply(ticket, reply) => {
                    if let Some(waiter) = self.waiting.remove(&ticket) {
                        // A client that is gone needs no answer; a retry finds the kept one.
                        let _ = waiter.send(reply);
                    }
                }
                Output::Notice(notice) => {
                    if !touched.contains(&notice.worker) {
                        touched.push(notice.worker);
                    }
                    self.sink.deliver(notice);
                }
            }
        }
        for worker in touched {
            self.sink.wake(worker);
        }
    }

    fn settle_last(&mut self) {
        for _ in 0..LAST_TRIES {
            if self.core.batch_is_urgent().is_none() {
                return;
            }
            self.commit();
            if self.retry_at.is_some() {
                std::thread::sleep(RETRY_MIN);
                self.retry(Instant::now());
            }
        }
        tracing::error!("the last changes could not be committed");
    }
}

/// One reading of both clocks.
fn now() -> Now {
    let wall = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        });
    Now {
        mono: Instant::now(),
        wall: UnixMillis(wall),
    }
}

impl Core for Books {
    fn stale_answers(&self, now: Now, limit: usize) -> Vec<Key> {
        self.stale_answers(now, limit)
    }
    fn forget_answer(&mut self, key: &Key, stored: Option<Bytes>, now: Now) {
        self.forget_answer(key, stored, now);
    }
    fn figures(&self) -> Figures {
        self.figures()
    }
    fn load(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.load(table, key, value)
    }
    fn loaded(&mut self, now: Now) -> Result<LoadReport, StoreError> {
        self.loaded(now)
    }
    fn request(
        &mut self,
        ticket: Ticket,
        command: Command,
        idempotency: Option<Idempotency>,
        kept: Option<Bytes>,
        now: Now,
    ) {
        self.request(ticket, command, idempotency, kept, now);
    }
    fn call(&mut self, mut command: CallCommand, now: Now) {
        // The log has the call's end from here: only the books know the lease of every one.
        if let LedgerCommand::Close(record) = &mut command.command {
            self.name_lease(record);
            super::life::ended(record);
        }
        self.call(command, now);
    }
    fn reload(&mut self, settings: Settings) {
        self.reload(settings);
    }
    fn poll_timeout(&self) -> Option<Instant> {
        self.poll_timeout()
    }
    fn handle_timeout(&mut self, now: Now) {
        self.handle_timeout(now);
    }
    fn batch_is_urgent(&self) -> Option<bool> {
        self.batch_is_urgent()
    }
    fn take_batch(&mut self) -> Vec<Change> {
        self.take_batch()
    }
    fn committed(&mut self, now: Now) {
        self.committed(now);
    }
    fn failed(&mut self, error: &StoreError, now: Now) {
        self.failed(error, now);
    }
    fn poll_output(&mut self) -> Option<Output> {
        self.poll_output()
    }
    fn set_room(&mut self, room: bool, now: Instant) {
        self.set_room(room, now);
    }
}

#[cfg(test)]
mod tests;
