//! Calls: admission, the open-call record, holds, the final charge and the record
//! (sip-bridging 2, 7, 8).

use super::batch::{Deferred, Kept, Undo, Waiting};
use super::command::{CallCommand, CallNotice};
use super::records::{
    account_key, encode, entry_key, lease_key, open_call_key, record_key, record_rows,
};
use super::{Books, Output};
use crate::call::event::{Admission, BlocksRefusal, BooksEvent, LedgerCommand, Refusal};
use crate::domain::{
    CallId, CallKey, CallRecord, ChargeMethod, Credit, CustomerId, E164, EndedBy, LeaseKind, Now,
    ReferenceId, Tariff, UnixMillis,
};
use crate::ledger::{Account, OpenCallRecord, Raise};
use smallvec::SmallVec;
use std::time::{Duration, Instant};

/// How long a hold is tried again after failed commits before the call is told.
const HOLD_PATIENCE: Duration = Duration::from_secs(3);
/// Ends of calls kept in memory while the store fails; beyond it records of calls that cost
/// nothing are dropped, and counted.
const KEPT_LIMIT: usize = 65_536;
/// Calls that ended last, remembered so that an end told twice is written once.
const CLOSED_LIMIT: usize = 16_384;
/// A call that was admitted and is not closed.
#[derive(Debug)]
pub(super) struct Up {
    worker: u16,
    key: CallKey,
    reference: ReferenceId,
    /// Slot of the number dialled.
    dialled: u32,
    /// Slots of the lease's numbers.
    slots: SmallVec<[u32; 2]>,
    /// Whether it was told that its lease has ended.
    lease_ended: bool,
}

/// A call's end, until it is durable.
pub(super) struct Close {
    /// Worker and key, who wait for `Recorded`; nobody for a call of an earlier process.
    notify: Option<(u16, CallKey)>,
    record: Box<CallRecord>,
    at: UnixMillis,
}

/// A call's wish for further blocks, until it is durable.
pub(super) struct HoldRequest {
    worker: u16,
    key: CallKey,
    call_id: CallId,
    blocks: u64,
    asked: Instant,
}

/// An admission that found everything in order.
struct Grant {
    admission: Admission,
    dialled: u32,
    slots: SmallVec<[u32; 2]>,
}

/// How an admission came out.
enum Verdict {
    Granted(Box<Grant>),
    Refused(Refusal),
    /// It hangs on a change that is not committed.
    Uncommitted,
}

impl Books {
    pub(super) fn call_command(&mut self, command: CallCommand, now: Now) {
        let CallCommand {
            worker,
            key,
            call_id,
            command,
        } = command;
        match command {
            LedgerCommand::Admit { dialled, caller } => self.admit(
                CallCommand {
                    worker,
                    key,
                    call_id,
                    command: LedgerCommand::Admit { dialled, caller },
                },
                now,
            ),
            LedgerCommand::Answer(draft) => self.answer(worker, key, call_id, *draft),
            LedgerCommand::Hold(blocks) => self.hold(HoldRequest {
                worker,
                key,
                call_id,
                blocks,
                asked: now.mono,
            }),
            LedgerCommand::Look(blocks) => {
                let event = BooksEvent::Covered(self.ledger.reach(&call_id, blocks));
                let notice = CallNotice { worker, key, event };
                self.outputs.push_back(Output::Notice(notice));
            }
            LedgerCommand::Close(record) => {
                self.forget_admission(call_id);
                self.close(Close {
                    notify: Some((worker, key)),
                    record,
                    at: now.wall,
                });
            }
        }
    }

    pub(super) fn admit(&mut self, command: CallCommand, now: Now) {
        let LedgerCommand::Admit { dialled, caller } = command.command else {
            return;
        };
        let event = match self.judge(command.call_id, dialled, caller, now) {
            Verdict::Uncommitted => {
                self.batch.urgent = true;
                self.batch.deferred.push(Deferred::Admit(command));
                return;
            }
            Verdict::Refused(refusal) => BooksEvent::Refused(refusal),
            Verdict::Granted(grant) => self.grant(&command, *grant),
        };
        self.outputs.push_back(Output::Notice(CallNotice {
            worker: command.worker,
            key: command.key,
            event,
        }));
    }

    /// The part of sip-bridging 2's table that is the books', in its order.
    fn judge(&self, call: CallId, number: E164, caller: Option<E164>, now: Now) -> Verdict {
        let Some(dialled) = self.leases.pool().find(number) else {
            return Verdict::Refused(Refusal::UnknownNumber);
        };
        let lease = self
            .leases
            .pool()
            .lease(dialled)
            .and_then(|place| self.leases.lease(place))
            .filter(|lease| lease.expires > now.wall);
        let Some(lease) = lease else {
            return Verdict::Refused(Refusal::NoLease);
        };
        if self.batch.touches(&lease_key(lease.reference))
            || self.batch.dirty.contains(&lease.customer)
        {
            return Verdict::Uncommitted;
        }
        let other = lease.other_member(dialled);
        if let Some(refusal) = refuse_caller(lease.kind, lease.whitelist(), other, caller) {
            return Verdict::Refused(refusal);
        }
        let phone = self.leases.spelling(lease, dialled);
        let (Some(account), Some(phone)) = (self.ledger.account(lease.customer), phone) else {
            return Verdict::Refused(Refusal::BooksUnavailable);
        };
        let customer = account.customer();
        let tariff = customer.tariff(lease.kind);
        let prepaid = customer.charge_method == ChargeMethod::Prepaid;
        let refusal = self
            .refuse_account(account, lease.kind, phone.number)
            .or_else(|| self.refuse_load(account, tariff, prepaid, dialled));
        if let Some(refusal) = refusal {
            return Verdict::Refused(refusal);
        }
        if !self.has_room(now) || self.calls.contains_key(&call) {
            return Verdict::Refused(Refusal::BooksUnavailable);
        }
        let caller_spelling = other
            .and_then(|(slot, _)| self.leases.spelling(lease, slot))
            .map_or_else(|| "".into(), |phone| phone.spelling);
        Verdict::Granted(Box::new(Grant {
            admission: Admission {
                reference: lease.reference,
                customer: lease.customer,
                kind: lease.kind,
                callee: phone.number,
                shown: other.and_then(|(slot, _)| self.leases.pool().number(slot)),
                tariff,
                prepaid,
                callee_spelling: phone.spelling,
                caller_spelling,
            },
            dialled,
            slots: lease.slots(),
        }))
    }

    /// Row 12: whether the account may be called for at all.
    fn refuse_account(&self, account: &Account, kind: LeaseKind, target: E164) -> Option<Refusal> {
        let customer = account.customer();
        let target_allowed = (self.settings.target_allowed)(&self.settings.plan, target)
            && self.leases.pool().find(target).is_none();
        if customer.suspended {
            Some(Refusal::Suspended)
        } else if !customer.enabled(kind) {
            Some(Refusal::ServiceDisabled)
        } else if !target_allowed {
            Some(Refusal::TargetNotAllowed)
        } else {
            None
        }
    }

    /// Rows 13 and 14: credit, then caps.
    fn refuse_load(
        &self,
        account: &Account,
        tariff: Tariff,
        prepaid: bool,
        dialled: u32,
    ) -> Option<Refusal> {
        let settings = &self.settings;
        if !self.ledger.covers(account.customer().id, tariff, prepaid) {
            Some(Refusal::NoCredit)
        } else if reached(self.leases.pool().calls(dialled), settings.calls_per_lease) {
            Some(Refusal::LeaseBusy)
        } else if reached(account.calls(), settings.calls_per_customer) {
            Some(Refusal::CustomerBusy)
        } else {
            None
        }
    }

    fn grant(&mut self, command: &CallCommand, grant: Grant) -> BooksEvent {
        let Grant {
            admission,
            dialled,
            slots,
        } = grant;
        let held = self.ledger.admit(
            command.call_id,
            admission.customer,
            admission.tariff,
            admission.prepaid,
        );
        if held.is_err() {
            return BooksEvent::Refused(Refusal::NoCredit);
        }
        let up = Up {
            worker: command.worker,
            key: command.key,
            reference: admission.reference,
            dialled,
            slots,
            lease_ended: false,
        };
        self.enter(command.call_id, up);
        BooksEvent::Admitted(Box::new(admission))
    }

    /// The open-call record, with the blocks held so far.
    fn answer(&mut self, worker: u16, key: CallKey, call_id: CallId, draft: CallRecord) {
        let notice = |event| CallNotice { worker, key, event };
        match self.ledger.answer(call_id, draft) {
            Some(step) => {
                self.batch.undo.push(Undo::Ledger(step));
                self.put_open_call(call_id, None);
                self.batch.urgent = true;
                let waiting = Waiting::Answer(notice(BooksEvent::AnswerDurable));
                self.batch.waiting.push(waiting);
            }
            None => self
                .outputs
                .push_back(Output::Notice(notice(BooksEvent::AnswerFailed))),
        }
    }

    /// Further blocks.
    pub(super) fn hold(&mut self, request: HoldRequest) {
        let before = self.open_call(request.call_id).map(encode);
        let (raise, step) = self.ledger.raise(request.call_id, request.blocks);
        let notice = |event| CallNotice {
            worker: request.worker,
            key: request.key,
            event,
        };
        let held = match raise {
            Raise::To(blocks) => blocks,
            Raise::NoCredit | Raise::NoCall => {
                let event = BooksEvent::BlocksRefused(BlocksRefusal::NoCredit);
                self.outputs.push_back(Output::Notice(notice(event)));
                return;
            }
        };
        let notice = notice(BooksEvent::BlocksHeld(held));
        let pending = self.batch.touches(&open_call_key(request.call_id));
        if let Some(step) = step {
            self.batch.undo.push(Undo::Ledger(step));
            self.put_open_call(request.call_id, before);
        } else if !pending {
            self.outputs.push_back(Output::Notice(notice));
            return;
        }
        self.batch.urgent = true;
        self.batch.waiting.push(Waiting::Notice(notice));
        self.batch.kept.push(Kept::Hold(request));
    }

    /// The end: charge, entry and record, whatever the store says now.
    pub(super) fn close(&mut self, mut close: Close) {
        let call_id = close.record.call_id;
        let notice = close.notify.map(|(worker, key)| CallNotice {
            worker,
            key,
            event: BooksEvent::Recorded,
        });
        let twice = self.closed.contains(&call_id)
            || self
                .batch
                .touches(&record_key(close.record.received_at, call_id));
        if !twice {
            self.name_lease(&mut close.record);
            let up = self.leave(call_id);
            let charged = self.charge(&mut close);
            if !charged && up.is_none() && self.batch.kept.len() >= KEPT_LIMIT {
                self.figures.records_dropped += 1;
                self.outputs.extend(notice.map(Output::Notice));
                return;
            }
            if let Some(up) = up {
                self.batch.undo.push(Undo::Call(call_id, Box::new(up)));
            }
            for (key, row) in record_rows(&close.record) {
                self.batch.put(key, None, Some(row));
            }
            self.batch.kept.push(Kept::Close(close));
        }
        self.batch.waiting.extend(notice.map(Waiting::Notice));
    }

    /// A call that was refused after its lease was found was told nothing of it but whose it is: the
    /// directory has no room for references. [`Self::call`] does this to every record that it is given.
    pub fn name_lease(&self, record: &mut CallRecord) {
        if record.reference_id.is_some() || record.lease_kind.is_none() {
            return;
        }
        let digits = record.leased_number.strip_prefix('+');
        let lease = digits
            .and_then(E164::from_digits)
            .and_then(|number| self.leases.pool().find(number))
            .and_then(|slot| self.leases.pool().lease(slot))
            .and_then(|place| self.leases.lease(place));
        // Not if it ended meanwhile, nor another that has the number since.
        record.reference_id = lease
            .filter(|lease| lease.expires > record.received_at)
            .filter(|lease| record.customer_id == Some(lease.customer))
            .filter(|lease| record.lease_kind == Some(lease.kind))
            .map(|lease| lease.reference);
    }

    /// Ends a call's hold, writes the entry, and puts what was charged into the record. Returns
    /// whether the call had any hold.
    fn charge(&mut self, close: &mut Close) -> bool {
        let record = &mut close.record;
        let Some(hold) = self.ledger.hold(&record.call_id) else {
            record.blocks = 0;
            record.charge = Credit::ZERO;
            return false;
        };
        let (customer, tariff) = (hold.customer(), hold.tariff());
        let open_before = hold.open().map(encode);
        let account_before = self.account_bytes(customer);
        record.blocks = self.ledger.chargeable(&record.call_id, record.blocks);
        record.block_seconds = tariff.block_seconds;
        record.rate = tariff.rate;
        record.charge = Credit::for_blocks(tariff.rate, record.blocks).unwrap_or(Credit(i64::MAX));
        let closed = self.ledger.close(record.call_id, record.blocks, close.at);
        let Some((posting, steps)) = closed else {
            return false;
        };
        self.batch.undo.extend(steps.into_iter().map(Undo::Ledger));
        if open_before.is_some() {
            self.batch
                .put(open_call_key(record.call_id), open_before, None);
        }
        if let Some(posting) = posting {
            let key = entry_key(posting.customer, posting.position);
            self.batch.put(key, None, Some(encode(&posting.entry)));
            let after = self.account_bytes(customer);
            self.batch.put(account_key(customer), account_before, after);
        }
        true
    }

    /// After a failed commit: what must not be lost is done again.
    pub(super) fn redo(&mut self, kept: Kept, now: Now) {
        match kept {
            Kept::Close(close) => self.close(close),
            Kept::Hold(request) => {
                if now.mono.saturating_duration_since(request.asked) < HOLD_PATIENCE {
                    self.hold(request);
                } else {
                    self.outputs.push_back(Output::Notice(CallNotice {
                        worker: request.worker,
                        key: request.key,
                        event: BooksEvent::BlocksRefused(BlocksRefusal::Store),
                    }));
                }
            }
        }
    }

    /// After a commit: ends that are durable are remembered for a while.
    pub(super) fn remember_closed(&mut self, kept: &Kept) {
        let Kept::Close(close) = kept else {
            return;
        };
        self.closed.insert(close.record.call_id);
        self.closed_order.push_back(close.record.call_id);
        if self.closed_order.len() > CLOSED_LIMIT
            && let Some(oldest) = self.closed_order.pop_front()
        {
            self.closed.remove(&oldest);
        }
    }

    /// Tells the calls of a lease that it has ended, each once.
    pub(super) fn tell_lease_ended(&mut self, reference: ReferenceId) {
        let hang_up = self.settings.hang_up_at_end;
        let first = (reference, CallId(uuid::Uuid::nil()));
        let last = (reference, CallId(uuid::Uuid::max()));
        let calls: Vec<CallId> = self
            .calls_by_lease
            .range(first..=last)
            .map(|(_, call)| *call)
            .collect();
        for call in calls {
            let Some(up) = self.calls.get_mut(&call) else {
                continue;
            };
            if std::mem::replace(&mut up.lease_ended, true) {
                continue;
            }
            self.outputs.push_back(Output::Notice(CallNotice {
                worker: up.worker,
                key: up.key,
                event: BooksEvent::LeaseEnded { hang_up },
            }));
        }
    }

    /// Closes every call that was up when the process before this one ended.
    pub(super) fn recover_calls(&mut self, alive: UnixMillis, now: Now) -> u64 {
        let open: Vec<OpenCallRecord> = self
            .ledger
            .holds()
            .filter_map(|(_, hold)| hold.open().cloned())
            .collect();
        let mut recovered = 0;
        for call in open {
            self.close(Close {
                notify: None,
                record: Box::new(crash_record(&call, alive)),
                at: now.wall,
            });
            recovered += 1;
        }
        recovered
    }

    /// A call is up.
    pub(super) fn enter(&mut self, call: CallId, up: Up) {
        self.leases.pool_mut().call_begins(up.dialled, &up.slots);
        self.calls_by_lease.insert((up.reference, call));
        self.calls.insert(call, up);
    }

    /// A call is up no more.
    fn leave(&mut self, call: CallId) -> Option<Up> {
        let up = self.calls.remove(&call)?;
        self.calls_by_lease.remove(&(up.reference, call));
        self.leases.pool_mut().call_ends(up.dialled, &up.slots);
        Some(up)
    }

    /// A call that ends before its admission was judged.
    fn forget_admission(&mut self, call: CallId) {
        self.batch
            .deferred
            .retain(|deferred| !matches!(deferred, Deferred::Admit(c) if c.call_id == call));
    }

    fn open_call(&self, call: CallId) -> Option<&OpenCallRecord> {
        self.ledger.hold(&call)?.open()
    }

    fn put_open_call(&mut self, call: CallId, before: Option<bytes::Bytes>) {
        let after = self.open_call(call).map(encode);
        self.batch.put(open_call_key(call), before, after);
    }

    pub(super) fn account_bytes(&self, customer: CustomerId) -> Option<bytes::Bytes> {
        self.ledger
            .account(customer)
            .map(|account| encode(&account.record()))
    }
}

/// Rows 9 to 11 of sip-bridging 2: whether the caller may call this lease.
fn refuse_caller(
    kind: LeaseKind,
    whitelist: &[E164],
    other: Option<(u32, E164)>,
    caller: Option<E164>,
) -> Option<Refusal> {
    match (kind, caller) {
        (LeaseKind::Single, caller) => {
            let listed = caller.is_some_and(|caller| whitelist.contains(&caller));
            (!whitelist.is_empty() && !listed).then_some(Refusal::NotOnWhitelist)
        }
        (LeaseKind::Group, None) => Some(Refusal::NoIdentity),
        (LeaseKind::Group, Some(caller)) => {
            let member = other.is_some_and(|(_, phone)| phone == caller);
            (!member).then_some(Refusal::NotMember)
        }
    }
}

/// Whether a count has come to its cap; 0 is no cap.
fn reached(count: u32, cap: u32) -> bool {
    cap != 0 && count >= cap
}

/// The record of a call that was up at a crash: it ended when the node was last known to live, and
/// costs every block that may have begun (docs/billing.md): all that were held, for none is held
/// more than some seconds before it begins. Both clock readings are the wall's, which may have been
/// set in between, so they say nothing about the charge, and its duration is kept within the blocks.
fn crash_record(call: &OpenCallRecord, alive: UnixMillis) -> CallRecord {
    let mut record = call.draft.clone();
    let answered = record.answered_at.unwrap_or(record.received_at);
    record.answered_at = Some(answered);
    record.ended_at = alive.max(answered);
    let block_millis = u64::from(record.block_seconds.max(1)) * 1000;
    // What was held before the last hold had begun for certain.
    let least = call.begun.saturating_sub(1).saturating_mul(block_millis);
    let most = call.prepared.saturating_mul(block_millis);
    let duration = record.ended_at.since(answered).as_millis();
    let duration = u64::try_from(duration).unwrap_or(u64::MAX);
    record.duration_millis = duration.min(most).max(least);
    record.blocks = call.prepared.max(1);
    record.ended_by = EndedBy::Gateway;
    record.reason = "crash".into();
    record.q850_cause = 41;
    record
}
