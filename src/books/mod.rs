//! The books: lease book, ledger and kept answers as one core, so that one commit holds everything
//! that one request or one call changes.
//!
//! The shell feeds commands, then takes the batch they add up to, commits it, and says how that
//! went; only then do answers and notices come out. A failed batch is undone as if it had not been.
//!
//! ```text
//!   request(), call(), handle_timeout()          committed(): directory told, answers out
//!        │  memory changes at once                    ▲
//!        ▼                                            │
//!      batch: changes ─── take_batch() ──▶ store ─────┤
//!             undo                                    │
//!             waiting                                 ▼
//!             kept, alive                   failed(): undo, 99 to those who wait,
//!             deferred                                kept done again, deferred judged
//! ```
//!
//! Whatever reads state that is not committed waits for the commit, so no answer is ever given
//! that a power cut could take back. Admissions change nothing that is stored and come out at
//! once, unless they hang on such a change.
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

mod accounts;
mod answers;
mod batch;
mod calls;
pub mod command;
mod leasing;
mod loading;
mod lookup;
mod numbers;
pub mod records;

#[cfg(test)]
pub(crate) mod tests;

use crate::domain::{CallId, CustomerId, E164, LeaseKind, Now, ReferenceId};
use crate::lease::{Directory, Holdings, LeaseBook, pool};
use crate::ledger::Ledger;
use crate::store::{Change, StoreError, Table};
use batch::{Batch, Deferred, Undo, Waiting};
use bytes::Bytes;
use calls::Up;
use command::{CallCommand, CallNotice, Code, Command, Idempotency, Outcome, Reply};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Leases ended by one input, so that no input waits for a million of them.
const EXPIRY_BUDGET: usize = 1024;
/// Changes in a batch beyond which nothing is added to it by time alone.
const BATCH_BOUND: usize = 8192;
/// Numbers freed by one input.
const REST_BUDGET: usize = 4096;
/// The wall clock may be set while we wait for it: it is looked at so often.
const WALL_PATIENCE: Duration = Duration::from_secs(1);
/// How often the heartbeat is written while calls are up (sip-bridging 7: at least every 5 s).
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long a full store is not tried again by ordinary requests, unless the shell says sooner
/// that there is room.
const FULL_PATIENCE: Duration = Duration::from_secs(5);
/// How long expiries wait after a failed commit.
const BACKOFF: Duration = Duration::from_secs(1);

/// Names a request while it is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What the books are configured with.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Settings {
    /// `numbering.cooldown`.
    pub cooldown: Duration,
    /// `leases.max_per_phone`, 0 = no limit.
    pub max_per_phone: u32,
    /// `leases.calls_at_end = "hang-up"`.
    pub hang_up_at_end: bool,
    /// `calls.per_lease`, 0 = no cap.
    pub calls_per_lease: u32,
    /// `calls.per_customer`, 0 = no cap.
    pub calls_per_customer: u32,
    /// How long a kept answer is kept: 24 h.
    pub keep_answers: Duration,
    /// `numbering.allowed_targets` and emergency, as a test of a target number.
    pub target_allowed: fn(&crate::domain::numbering::Plan, E164) -> bool,
    /// The plan given to it.
    pub plan: std::sync::Arc<crate::domain::numbering::Plan>,
}

/// What comes out after a commit (or at once where nothing needs one).
#[derive(Debug)]
pub enum Output {
    /// To an API request.
    Reply(Ticket, Reply),
    /// To a call.
    Notice(CallNotice),
}

/// What memory's tables were found to be at start, and what is to be said of it.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct LoadReport {
    pub customers: u64,
    pub numbers: u64,
    pub leases: u64,
    /// Calls that were up at the crash and got their record now.
    pub recovered_calls: u64,
}

/// Counts and checks, for the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Numbers by state.
    pub numbers: pool::Figures,
    /// Running leases.
    pub leases: Holdings,
    /// Customers.
    pub customers: u64,
    /// Calls admitted and not closed.
    pub calls: u64,
    /// Calls answered and not closed.
    pub open_calls: u64,
    /// By how much the ledger is out of balance: 0, or something is broken.
    pub ledger_imbalance: i128,
    /// Kept answers.
    pub kept_answers: u64,
    /// Records of calls that cost nothing, dropped because too many waited for a failing store.
    pub records_dropped: u64,
    /// Commits that failed.
    pub failed_commits: u64,
    /// Inputs that were refused because the store was full.
    pub refused_full: u64,
}

/// The core.
pub struct Books {
    settings: Settings,
    leases: LeaseBook,
    ledger: Ledger,
    calls: BTreeMap<CallId, Up>,
    calls_by_lease: BTreeSet<(ReferenceId, CallId)>,
    /// Calls that ended last.
    closed: BTreeSet<CallId>,
    closed_order: VecDeque<CallId>,
    answers: answers::Answers,
    batch: Batch,
    outputs: VecDeque<Output>,
    /// The heartbeat as it is stored.
    alive: Option<Bytes>,
    last_beat: Option<Instant>,
    last_now: Option<Now>,
    /// Expiries wait until then.
    backoff_until: Option<Instant>,
    /// The store is full: ordinary requests are refused until then.
    full_until: Option<Instant>,
    figures: Figures,
}

impl Books {
    /// Empty books; [`Self::load`] fills them.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            leases: LeaseBook::new(settings.cooldown),
            settings,
            ledger: Ledger::default(),
            calls: BTreeMap::new(),
            calls_by_lease: BTreeSet::new(),
            closed: BTreeSet::new(),
            closed_order: VecDeque::new(),
            answers: answers::Answers::default(),
            batch: Batch::default(),
            outputs: VecDeque::new(),
            alive: None,
            last_beat: None,
            last_now: None,
            backoff_until: None,
            full_until: None,
            figures: Figures::default(),
        }
    }

    /// What signalling workers read without asking; it is kept up to date.
    #[must_use]
    pub fn directory(&self) -> Arc<Directory> {
        self.leases.directory()
    }

    /// One record of the start scan: tables in their order, keys in theirs.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where it does not decode or contradicts another.
    pub fn load(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.load_record(table, key, value)
            .map_err(|error| StoreError::Damaged(format!("{table:?} record: {error}")))
    }

    /// After the last record: checks balances, closes the calls that were up at a crash (their
    /// changes are in the next batch), publishes the directory.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where balances and entries disagree.
    pub fn loaded(&mut self, now: Now) -> Result<LoadReport, StoreError> {
        self.finish_loading(now).map_err(StoreError::Damaged)
    }

    /// A request from the API. `kept` is what the store has under its idempotency key.
    pub fn request(
        &mut self,
        ticket: Ticket,
        command: Command,
        idempotency: Option<Idempotency>,
        kept: Option<Bytes>,
        now: Now,
    ) {
        self.advance(now);
        if is_read(&command) {
            self.read(ticket, command, now);
            return;
        }
        let Some(idempotency) = idempotency else {
            let outcome = self.write(command, now);
            self.reply(ticket, outcome);
            return;
        };
        match self.kept_answer(&idempotency, kept.as_ref(), now) {
            answers::Known::No => {
                let outcome = self.write(command, now);
                let body = idempotency.render.render(&outcome);
                if self.keep_answer(&idempotency, &outcome, body, kept.as_ref(), now) {
                    self.wait(ticket, Reply::Outcome(outcome));
                } else {
                    self.reply(ticket, outcome);
                }
            }
            answers::Known::Uncommitted(reply) => self.wait(ticket, reply),
            answers::Known::Durable(reply) => self.outputs.push_back(Output::Reply(ticket, reply)),
        }
    }

    /// A command from a call.
    pub fn call(&mut self, command: CallCommand, now: Now) {
        self.advance(now);
        self.call_command(command, now);
    }

    /// Configuration changed.
    pub fn reload(&mut self, settings: Settings) {
        self.leases.pool_mut().set_cooldown(settings.cooldown);
        self.settings = settings;
    }

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let now = self.last_now?;
        let expiry = self.leases.next_expiry().map(|expires| {
            let wait = expires.since(now.wall).min(WALL_PATIENCE);
            let at = now.mono.checked_add(wait).unwrap_or(now.mono);
            self.backoff_until.map_or(at, |until| at.max(until))
        });
        let rested = self.leases.pool().next_rested();
        let beat = (self.ledger.open_calls() > 0).then(|| match self.last_beat {
            Some(last) => last.checked_add(HEARTBEAT).unwrap_or(last),
            None => now.mono,
        });
        [expiry, rested, beat].into_iter().flatten().min()
    }

    /// Expiries, cool-downs, the heartbeat.
    pub fn handle_timeout(&mut self, now: Now) {
        self.advance(now);
        let due = self
            .last_beat
            .is_none_or(|last| now.mono.saturating_duration_since(last) >= HEARTBEAT);
        if due && self.ledger.open_calls() > 0 {
            self.beat(records::encode(&now.wall));
            self.last_beat = Some(now.mono);
        }
    }

    /// Puts the heartbeat into the batch.
    fn beat(&mut self, alive: Bytes) {
        let before = self.alive.clone();
        self.batch
            .put(records::alive_key(), before, Some(alive.clone()));
        self.batch.alive = Some(alive);
    }

    /// Whether somebody waits for the batch (a lease, an answer), or it may wait a little for
    /// company (records, heartbeats). `None`: the batch is empty.
    #[must_use]
    pub fn batch_is_urgent(&self) -> Option<bool> {
        (!self.batch.is_empty()).then_some(self.batch.urgent)
    }

    /// The changes since the last batch, one a key (none, where they came to nothing).
    /// [`Self::committed`] or [`Self::failed`] must follow before anything else is fed.
    pub fn take_batch(&mut self) -> Vec<Change> {
        self.batch.take_changes()
    }

    /// The batch is durable.
    pub fn committed(&mut self, now: Now) {
        let batch = std::mem::take(&mut self.batch);
        for slot in batch.publish {
            self.leases.publish(slot);
        }
        if batch.alive.is_some() {
            self.alive = batch.alive;
        }
        self.answers.committed(batch.answers, &batch.forgotten);
        if batch.ordinary {
            self.full_until = None;
        }
        self.backoff_until = None;
        for kept in &batch.kept {
            self.remember_closed(kept);
        }
        for waiting in batch.waiting {
            match waiting {
                Waiting::Request(ticket, reply) => {
                    self.outputs.push_back(Output::Reply(ticket, reply));
                }
                Waiting::Answer(notice) | Waiting::Notice(notice) => {
                    self.outputs.push_back(Output::Notice(notice));
                }
                Waiting::LeaseEnded(reference) => self.tell_lease_ended(reference),
            }
        }
        self.judge_deferred(batch.deferred, now);
    }

    /// Undoes the batch and answers those who waited: 99 to requests, refusals to calls. Changes
    /// that must not be lost (ends of calls, blocks begun, the heartbeat) stay for the next batch.
    pub fn failed(&mut self, error: &StoreError, now: Now) {
        let batch = std::mem::take(&mut self.batch);
        self.figures.failed_commits += 1;
        for undo in batch.undo.into_iter().rev() {
            match undo {
                Undo::Lease(step) => self.leases.undo(step),
                Undo::Ledger(step) => self.ledger.undo(step),
                Undo::Call(call, up) => self.enter(call, *up),
            }
        }
        self.backoff_until = now.mono.checked_add(BACKOFF);
        if matches!(error, StoreError::Full) {
            self.full_until = now.mono.checked_add(FULL_PATIENCE);
        }
        for waiting in batch.waiting {
            match waiting {
                Waiting::Request(ticket, _) => {
                    let reply = Reply::Outcome(Err(INTERNAL));
                    self.outputs.push_back(Output::Reply(ticket, reply));
                }
                Waiting::Answer(notice) => {
                    self.outputs.push_back(Output::Notice(CallNotice {
                        event: crate::call::event::BooksEvent::AnswerFailed,
                        ..notice
                    }));
                }
                // Its command is done again below.
                Waiting::Notice(_) | Waiting::LeaseEnded(_) => {}
            }
        }
        for kept in batch.kept {
            self.redo(kept, now);
        }
        // A full store refuses what was asked for, not what running calls need: without this one
        // a crash after a long time of it would leave calls that ended before it began.
        if let Some(alive) = batch.alive
            && self.ledger.open_calls() > 0
        {
            self.beat(alive);
        }
        self.judge_deferred(batch.deferred, now);
    }

    /// What comes out.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// What the shell learnt of the store's room: whether ordinary requests may be tried.
    pub fn set_room(&mut self, room: bool, now: Instant) {
        self.full_until = if room {
            None
        } else {
            now.checked_add(FULL_PATIENCE)
        };
    }

    /// Breaks the ledger from now on, to see that the checks notice.
    #[cfg(test)]
    pub(crate) fn set_fault(&mut self, fault: crate::ledger::Fault) {
        self.ledger.set_fault(fault);
    }

    /// Counts and checks. Walks all accounts: for a scrape, not for every input.
    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures {
            numbers: self.leases.pool().figures(),
            leases: self.leases.total(),
            customers: self.ledger.len() as u64,
            calls: self.calls.len() as u64,
            open_calls: self.ledger.open_calls() as u64,
            ledger_imbalance: self.ledger.imbalance(),
            kept_answers: self.answers.len() as u64,
            ..self.figures
        }
    }

    /// Lets time pass: leases end, numbers have rested.
    fn advance(&mut self, now: Now) {
        self.last_now = Some(now);
        self.leases.pool_mut().rest(now.mono, REST_BUDGET);
        if self.backoff_until.is_some_and(|until| now.mono < until) {
            return;
        }
        for _ in 0..EXPIRY_BUDGET {
            if self.batch.len() >= BATCH_BOUND {
                return;
            }
            let Some(place) = self.leases.expired(now.wall) else {
                return;
            };
            // The calls hear of it at once: time does not wait for the store.
            if let Some(reference) = self.end_lease(place, now) {
                self.tell_lease_ended(reference);
            }
        }
    }

    /// Carries out a command that changes something.
    fn write(&mut self, command: Command, now: Now) -> Outcome {
        if !self.has_room(now) {
            self.figures.refused_full += 1;
            return Err(INTERNAL);
        }
        match command {
            Command::LeaseSingle {
                reference,
                customer,
                phone,
                expires,
                whitelist,
            } => self.lease_single(reference, customer, phone, expires, whitelist, now),
            Command::LeaseGroup {
                reference,
                customer,
                phones,
                expires,
            } => self.lease_group(reference, customer, phones, expires, now),
            Command::Release {
                kind,
                reference,
                scope,
            } => self.release(kind, reference, &scope, now),
            Command::Reserve { customer, quantity } => self.reserve(customer, quantity),
            Command::Unreserve { customer, what } => self.unreserve(customer, what),
            Command::TopUp { customer, credit } => self.top_up(customer, credit, now),
            Command::CreateCustomer { customer, opening } => {
                self.create_customer(*customer, opening, now)
            }
            Command::UpdateCustomer { customer, update } => {
                self.update_customer(customer, *update, now)
            }
            Command::AddNumbers(ranges) => self.add_numbers(&ranges),
            Command::RetireNumber(number) => self.retire_number(number),
            Command::Remember(code) => Err(code),
            // Reads do not come here.
            Command::QueryLease { .. }
            | Command::ViewCustomer(_)
            | Command::ListNumbers { .. }
            | Command::OpenCalls(_) => Err(INTERNAL),
        }
    }

    /// Answers a command that changes nothing, unless it would read what is not committed.
    fn read(&mut self, ticket: Ticket, command: Command, now: Now) {
        let uncommitted = match &command {
            Command::QueryLease { reference, .. } => {
                self.batch.touches(&records::lease_key(*reference))
            }
            Command::ViewCustomer(customer) => self.batch.dirty.contains(customer),
            _ => !self.batch.is_empty(),
        };
        if uncommitted {
            self.batch.urgent = true;
            self.batch
                .deferred
                .push(Deferred::Read(ticket, Box::new(command)));
            return;
        }
        let outcome = match command {
            Command::QueryLease {
                kind,
                reference,
                scope,
            } => self.query_lease(kind, reference, &scope, now),
            Command::ViewCustomer(customer) => self.view_customer(customer),
            Command::ListNumbers {
                state,
                scope,
                from,
                limit,
            } => Ok(self.list_numbers(state, &scope, from, limit)),
            Command::OpenCalls(customer) => self.open_calls_of(customer),
            _ => Err(INTERNAL),
        };
        self.outputs
            .push_back(Output::Reply(ticket, Reply::Outcome(outcome)));
    }

    fn judge_deferred(&mut self, deferred: Vec<Deferred>, now: Now) {
        for deferred in deferred {
            match deferred {
                Deferred::Read(ticket, command) => self.read(ticket, *command, now),
                Deferred::Admit(command) => self.admit(command, now),
            }
        }
    }

    /// A success waits for the commit it may be part of; a refusal need not.
    fn reply(&mut self, ticket: Ticket, outcome: Outcome) {
        if outcome.is_ok() && !self.batch.is_empty() {
            self.wait(ticket, Reply::Outcome(outcome));
        } else {
            let reply = Reply::Outcome(outcome);
            self.outputs.push_back(Output::Reply(ticket, reply));
        }
    }

    fn wait(&mut self, ticket: Ticket, reply: Reply) {
        self.batch.waiting.push(Waiting::Request(ticket, reply));
        self.batch.urgent = true;
        self.batch.ordinary = true;
    }

    fn has_room(&self, now: Now) -> bool {
        self.full_until.is_none_or(|until| now.mono >= until)
    }
}

/// 99: ours is the fault.
const INTERNAL: Code = Code(99);

fn is_read(command: &Command) -> bool {
    matches!(
        command,
        Command::QueryLease { .. }
            | Command::ViewCustomer(_)
            | Command::ListNumbers { .. }
            | Command::OpenCalls(_)
    )
}

/// What the signalling workers read of the lease book without asking.
pub trait Lookup: Send + Sync {
    /// What `number` is now.
    fn lookup(&self, number: E164) -> Dialled;
    /// Whether `caller` may call the single lease that holds `number` (true without a whitelist).
    fn whitelisted(&self, number: E164, caller: Option<E164>) -> bool;
}

/// A dialled number as the directory knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialled {
    /// Not in our pool.
    Unknown,
    /// In the pool, not leased now.
    NotLeased,
    /// Leased.
    Leased {
        /// Kind.
        kind: LeaseKind,
        /// Whose.
        customer: CustomerId,
        /// Group: the only number that may call it.
        only_caller: Option<E164>,
        /// Whether a whitelist must be asked.
        whitelist: bool,
    },
}
