//! The ledger: balances, holds, entries (sip-bridging 7). A plain core: commands change memory and
//! return [`Step`]s that undo them.
//!
//! What becomes of a call's credit (reserve, post, void):
//!
//! ```text
//!              admit                answer                        close
//!   (nothing) ───────▶ Held(1) ───────────────▶ Open(prepared) ─────────▶ one Entry; the rest
//!                         │                      │        ▲                of the hold is void
//!                         │ close                └─ raise ┘
//!                         ▼                       (prepared rises only)
//!                      all void, no entry
//! ```
//!
//! * `balance`: the sum of the account's entries.
//! * `posted`: blocks of open calls, as their durable records have them. What customers see is
//!   `balance - posted`.
//! * `held`: everything that calls may still cost: posted blocks, and the first blocks of calls
//!   that ring. What may be held on top is `balance - held`.
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

#[cfg(test)]
mod tests;

use crate::domain::{CallId, CallRecord, Credit, Customer, CustomerId, Tariff, UnixMillis};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An account as it is stored, by customer id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRecord {
    /// Settings.
    pub customer: Customer,
    /// Sum of its entries: the checkpoint that is written with each of them.
    pub balance: Credit,
    /// How many entries it has; their positions are 1 to this.
    pub entries: u64,
}

/// A ledger entry as it is stored, by customer and position. Never changed, never removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub time: UnixMillis,
    /// What for.
    pub kind: EntryKind,
    /// Signed: charges are negative.
    pub credit: Credit,
    /// Sum of the entries up to this one.
    pub balance: Credit,
    /// Charge: the call.
    pub call_id: Option<CallId>,
    /// Charge: its blocks.
    pub blocks: u64,
}

/// Kinds of entry (lease-api 4.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryKind {
    /// Balance that the account was created with.
    Opening,
    /// Top-up, of either sign.
    Topup,
    /// A call.
    Charge,
}

/// An answered call that is up, as it is stored, by call id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenCallRecord {
    /// Who pays.
    pub customer: CustomerId,
    /// Blocks that have begun or may begin without asking again. Rises only.
    pub prepared: u64,
    /// The same before it rose last: these had begun for certain.
    pub begun: u64,
    /// What a crash leaves as the call's record.
    pub draft: CallRecord,
}

/// Credit that one call has.
#[derive(Debug)]
pub struct Hold {
    customer: CustomerId,
    tariff: Tariff,
    prepaid: bool,
    blocks: u64,
    open: Option<OpenCallRecord>,
}

impl Hold {
    /// Who pays.
    #[must_use]
    pub fn customer(&self) -> CustomerId {
        self.customer
    }

    /// Price, fixed at admission.
    #[must_use]
    pub fn tariff(&self) -> Tariff {
        self.tariff
    }

    /// Its open-call record, once it is answered.
    #[must_use]
    pub fn open(&self) -> Option<&OpenCallRecord> {
        self.open.as_ref()
    }

    /// Blocks held.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    fn credit(&self, blocks: u64) -> i128 {
        i128::from(self.tariff.rate.0).saturating_mul(i128::from(blocks))
    }
}

/// An account in memory. Sums of holds are wide: they cannot overflow.
#[derive(Debug)]
pub struct Account {
    customer: Customer,
    balance: Credit,
    entries: u64,
    held: i128,
    posted: i128,
    calls: u32,
}

impl Account {
    /// Settings.
    #[must_use]
    pub fn customer(&self) -> &Customer {
        &self.customer
    }

    /// Entries plus open calls: what customers see.
    #[must_use]
    pub fn balance(&self) -> Credit {
        let balance = i128::from(self.balance.0) - self.posted;
        let limit = if balance < 0 { i64::MIN } else { i64::MAX };
        Credit(i64::try_from(balance).unwrap_or(limit))
    }

    /// Sum of the entries alone.
    #[must_use]
    pub fn settled(&self) -> Credit {
        self.balance
    }

    /// Calls admitted and not closed.
    #[must_use]
    pub fn calls(&self) -> u32 {
        self.calls
    }

    /// As it is stored.
    #[must_use]
    pub fn record(&self) -> AccountRecord {
        AccountRecord {
            customer: self.customer.clone(),
            balance: self.balance,
            entries: self.entries,
        }
    }

    /// Whether `credit` more may be held. The first failing condition of sip-bridging 2 is "the
    /// balance less what other calls hold is under the block".
    fn covers(&self, credit: i128, prepaid: bool) -> bool {
        let left = (i128::from(self.balance.0) - self.held).saturating_sub(credit);
        left >= if prepaid {
            0
        } else {
            -i128::from(Credit::BALANCE_LIMIT)
        }
    }
}

/// What was done to the ledger; [`Ledger::undo`] takes it back, latest first.
#[derive(Debug)]
pub enum Step {
    /// An account was made.
    Created(CustomerId),
    /// Settings were changed from these.
    Updated(Box<Customer>),
    /// An entry of so much was posted.
    Posted(CustomerId, Credit),
    /// A call was answered.
    Answered(CallId),
    /// A call's blocks rose from these: prepared, begun.
    Raised(CallId, u64, u64),
    /// A call's hold ended.
    Closed(CallId, Box<Hold>),
}

/// Why a figure cannot be booked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerError {
    /// No such account.
    NoAccount,
    /// A balance would go beyond [`Credit::BALANCE_LIMIT`], or a count beyond its type.
    Limit,
}

/// An entry and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posting {
    /// Whose.
    pub customer: CustomerId,
    /// Position, from 1 without gaps.
    pub position: u64,
    /// The entry.
    pub entry: Entry,
}

/// How a raise of a call's blocks came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raise {
    /// Blocks up to this count are held (as many of those asked for as the credit covers).
    To(u64),
    /// Not one more.
    NoCredit,
    /// No such call.
    NoCall,
}

/// A way to break the ledger, to see that the checks notice.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A call's entry has one block fewer than the call used.
    LoseBlock,
    /// A call's entry has one block more.
    DoubleBlock,
    /// Credit is not checked before it is held.
    OverlookHolds,
    /// Undoing an entry leaves its credit where it is.
    KeepCredit,
}

/// The ledger.
#[derive(Debug, Default)]
pub struct Ledger {
    #[cfg(test)]
    fault: Option<Fault>,
    accounts: BTreeMap<CustomerId, Account>,
    holds: BTreeMap<CallId, Hold>,
    /// Sum of the balances at start and of the entries posted since: what all balances must sum
    /// to at any time.
    tally: i128,
    /// Answered calls.
    open: usize,
    /// While loading: the last entry seen of each account, position and balance.
    chains: BTreeMap<CustomerId, (u64, Credit)>,
}

impl Ledger {
    /// An account.
    #[must_use]
    pub fn account(&self, customer: CustomerId) -> Option<&Account> {
        self.accounts.get(&customer)
    }

    /// How many accounts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.accounts.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// A call's hold.
    #[must_use]
    pub fn hold(&self, call: &CallId) -> Option<&Hold> {
        self.holds.get(call)
    }

    /// Calls that hold credit, in the order of arrival.
    pub fn holds(&self) -> impl Iterator<Item = (&CallId, &Hold)> {
        self.holds.iter()
    }

    /// Answered calls that are up.
    #[must_use]
    pub fn open_calls(&self) -> usize {
        self.open
    }

    /// The id of the next account: ids are consecutive from 1.
    #[must_use]
    pub fn next_customer(&self) -> Option<CustomerId> {
        match self.accounts.last_key_value() {
            Some((last, _)) => last.0.checked_add(1).map(CustomerId),
            None => Some(CustomerId(1)),
        }
    }

    /// Makes an account. Its opening balance is an entry like any other: [`Self::post`].
    pub fn create(&mut self, customer: Customer) -> Option<Step> {
        let id = customer.id;
        if self.accounts.contains_key(&id) {
            return None;
        }
        self.accounts
            .insert(id, Account::new(customer, Credit::ZERO, 0));
        Some(Step::Created(id))
    }

    /// Changes an account's settings.
    pub fn update(&mut self, customer: Customer) -> Option<Step> {
        let account = self.accounts.get_mut(&customer.id)?;
        let before = std::mem::replace(&mut account.customer, customer);
        Some(Step::Updated(Box::new(before)))
    }

    /// Posts an opening balance or a top-up.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn post(
        &mut self,
        customer: CustomerId,
        kind: EntryKind,
        credit: Credit,
        time: UnixMillis,
    ) -> Result<(Posting, Step), LedgerError> {
        let limit = Credit::BALANCE_LIMIT;
        let account = self.accounts.get(&customer).ok_or(LedgerError::NoAccount)?;
        let within = account
            .balance
            .checked_add(credit)
            .is_some_and(|sum| (-limit..=limit).contains(&sum.0));
        if !within {
            return Err(LedgerError::Limit);
        }
        self.book(customer, kind, credit, time, None, 0)
    }

    /// Holds a call's first block.
    ///
    /// # Errors
    /// Whether it is for want of the account or of credit.
    pub fn admit(
        &mut self,
        call: CallId,
        customer: CustomerId,
        tariff: Tariff,
        prepaid: bool,
    ) -> Result<(), LedgerError> {
        let hold = Hold {
            customer,
            tariff,
            prepaid,
            blocks: 1,
            open: None,
        };
        let account = self
            .accounts
            .get_mut(&customer)
            .ok_or(LedgerError::NoAccount)?;
        if self.holds.contains_key(&call) || !account.covers(hold.credit(1), prepaid) {
            return Err(LedgerError::Limit);
        }
        account.held += hold.credit(1);
        account.calls = account.calls.saturating_add(1);
        self.holds.insert(call, hold);
        Ok(())
    }

    /// Breaks the ledger from now on.
    #[cfg(test)]
    pub(crate) fn set_fault(&mut self, fault: Fault) {
        self.fault = Some(fault);
    }

    /// Whether [`Self::admit`] would find the credit.
    #[must_use]
    pub fn covers(&self, customer: CustomerId, tariff: Tariff, prepaid: bool) -> bool {
        #[cfg(test)]
        let prepaid = prepaid && self.fault != Some(Fault::OverlookHolds);
        self.accounts
            .get(&customer)
            .is_some_and(|account| account.covers(i128::from(tariff.rate.0), prepaid))
    }

    /// A call is answered: the blocks it holds are posted. `draft` is what a crash leaves.
    pub fn answer(&mut self, call: CallId, draft: CallRecord) -> Option<Step> {
        let hold = self.holds.get_mut(&call)?;
        if hold.open.is_some() {
            return None;
        }
        hold.open = Some(OpenCallRecord {
            customer: hold.customer,
            prepared: hold.blocks,
            begun: 1,
            draft,
        });
        let credit = hold.credit(hold.blocks);
        let account = self.accounts.get_mut(&hold.customer)?;
        account.posted += credit;
        self.open += 1;
        Some(Step::Answered(call))
    }

    /// Holds a call's blocks up to `blocks`, or as many of them as the credit covers. The step is
    /// there where anything changed.
    pub fn raise(&mut self, call: CallId, blocks: u64) -> (Raise, Option<Step>) {
        let Some(hold) = self.holds.get_mut(&call) else {
            return (Raise::NoCall, None);
        };
        let Some(account) = self.accounts.get_mut(&hold.customer) else {
            return (Raise::NoCall, None);
        };
        if blocks <= hold.blocks {
            return (Raise::To(hold.blocks), None);
        }
        let mut granted = blocks;
        let prepaid = hold.prepaid;
        #[cfg(test)]
        let prepaid = prepaid && self.fault != Some(Fault::OverlookHolds);
        if !account.covers(hold.credit(blocks - hold.blocks), prepaid) {
            granted = affordable(account, hold);
        }
        if granted <= hold.blocks {
            return (Raise::NoCredit, None);
        }
        let credit = hold.credit(granted - hold.blocks);
        account.held += credit;
        let before = hold.blocks;
        hold.blocks = granted;
        let Some(open) = &mut hold.open else {
            return (Raise::To(granted), None);
        };
        account.posted += credit;
        let begun = std::mem::replace(&mut open.begun, before);
        open.prepared = granted;
        (Raise::To(granted), Some(Step::Raised(call, before, begun)))
    }

    /// How many blocks, up to `blocks`, a call could hold now; nothing changes. A call that is not
    /// known could hold all.
    #[must_use]
    pub fn reach(&self, call: &CallId, blocks: u64) -> u64 {
        let Some(hold) = self.holds.get(call) else {
            return blocks;
        };
        let Some(account) = self.accounts.get(&hold.customer) else {
            return blocks;
        };
        let more = hold.credit(blocks.saturating_sub(hold.blocks));
        if account.covers(more, hold.prepaid) {
            blocks.max(hold.blocks)
        } else {
            affordable(account, hold).max(hold.blocks)
        }
    }

    /// How many of the `blocks` that a call used are charged: none before the answer. A prepaid
    /// call pays for no more than was held; a postpaid one also for what began while the books had
    /// not answered yet.
    #[must_use]
    pub fn chargeable(&self, call: &CallId, blocks: u64) -> u64 {
        let Some(hold) = self.holds.get(call) else {
            return 0;
        };
        let Some(open) = &hold.open else {
            return 0;
        };
        let beyond = blocks.saturating_sub(open.prepared);
        let covered = !hold.prepaid
            && self
                .accounts
                .get(&hold.customer)
                .is_some_and(|account| account.covers(hold.credit(beyond), false));
        if beyond == 0 || covered {
            blocks
        } else {
            open.prepared
        }
    }

    /// A call is over: its hold ends and what of `blocks` is [`Self::chargeable`] is charged, as
    /// one entry; none where that is nothing. `None`: no such call (any more).
    pub fn close(
        &mut self,
        call: CallId,
        blocks: u64,
        time: UnixMillis,
    ) -> Option<(Option<Posting>, Vec<Step>)> {
        let charged = self.chargeable(&call, blocks);
        #[cfg(test)]
        let charged = match self.fault {
            Some(Fault::LoseBlock) => charged.saturating_sub(1),
            Some(Fault::DoubleBlock) if charged > 0 => charged + 1,
            _ => charged,
        };
        let hold = self.holds.get(&call)?;
        let customer = hold.customer;
        // What is chargeable is covered, so it fits.
        let credit = i64::try_from(-hold.credit(charged)).ok().map(Credit)?;
        let mut steps = vec![self.void(call)?];
        if charged == 0 {
            return Some((None, steps));
        }
        let kind = EntryKind::Charge;
        let (posting, step) = self
            .book(customer, kind, credit, time, Some(call), charged)
            .ok()?;
        steps.push(step);
        Some((Some(posting), steps))
    }

    /// Takes a step back. Steps must be taken back latest first.
    pub fn undo(&mut self, step: Step) {
        match step {
            Step::Created(id) => {
                self.accounts.remove(&id);
            }
            Step::Updated(before) => {
                if let Some(account) = self.accounts.get_mut(&before.id) {
                    account.customer = *before;
                }
            }
            Step::Posted(customer, credit) => {
                #[cfg(test)]
                if self.fault == Some(Fault::KeepCredit) {
                    return;
                }
                if let Some(account) = self.accounts.get_mut(&customer) {
                    account.balance = Credit(account.balance.0.saturating_sub(credit.0));
                    account.entries = account.entries.saturating_sub(1);
                    self.tally -= i128::from(credit.0);
                }
            }
            Step::Answered(call) => self.unanswer(call),
            Step::Raised(call, prepared, begun) => self.unraise(call, prepared, begun),
            Step::Closed(call, hold) => {
                self.count(&hold, 1);
                self.holds.insert(call, *hold);
            }
        }
    }

    /// By how much memory is out of balance: all balances against all entries, and all holds
    /// against all accounts. Zero, or something is broken.
    #[must_use]
    pub fn imbalance(&self) -> i128 {
        let balances: i128 = self
            .accounts
            .values()
            .map(|a| i128::from(a.balance.0))
            .sum();
        let held: i128 = self.accounts.values().map(|a| a.held).sum();
        let posted: i128 = self.accounts.values().map(|a| a.posted).sum();
        let calls_held: i128 = self.holds.values().map(|h| h.credit(h.blocks)).sum();
        let calls_posted: i128 = self.holds.values().map(Hold::posted).sum();
        (balances - self.tally).abs() + (held - calls_held).abs() + (posted - calls_posted).abs()
    }

    /// An account of the start scan.
    pub fn load_account(&mut self, record: AccountRecord) {
        self.tally += i128::from(record.balance.0);
        let account = Account::new(record.customer, record.balance, record.entries);
        self.accounts.insert(account.customer.id, account);
    }

    /// An open call of the start scan, after all accounts.
    ///
    /// # Errors
    /// Says what it contradicts.
    pub fn load_open_call(&mut self, call: CallId, record: OpenCallRecord) -> Result<(), String> {
        let hold = Hold {
            customer: record.customer,
            tariff: Tariff {
                block_seconds: record.draft.block_seconds,
                rate: record.draft.rate,
            },
            prepaid: false,
            blocks: record.prepared,
            open: Some(record),
        };
        if !self.accounts.contains_key(&hold.customer) {
            return Err(format!(
                "call {call} is charged to customer {}, who is not there",
                hold.customer
            ));
        }
        self.count(&hold, 1);
        self.holds.insert(call, hold);
        Ok(())
    }

    /// An entry of the start scan, in the order of positions, after all accounts. The scan may
    /// leave out as many of the oldest as it likes.
    ///
    /// # Errors
    /// Says which entry does not follow from the one before it.
    pub fn load_entry(
        &mut self,
        customer: CustomerId,
        position: u64,
        entry: &Entry,
    ) -> Result<(), String> {
        if let Some((last, balance)) = self.chains.get(&customer) {
            let follows = last.checked_add(1) == Some(position)
                && balance.checked_add(entry.credit) == Some(entry.balance);
            if !follows {
                return Err(format!(
                    "entry {position} of customer {customer} does not follow from entry {last}"
                ));
            }
        } else if position == 1 && entry.credit != entry.balance {
            return Err(format!("the first entry of customer {customer} is wrong"));
        }
        self.chains.insert(customer, (position, entry.balance));
        Ok(())
    }

    /// After the start scan: every account stands where its last entry does, if that was seen.
    ///
    /// # Errors
    /// Says which account does not.
    pub fn loaded(&mut self) -> Result<(), String> {
        for (customer, (position, balance)) in std::mem::take(&mut self.chains) {
            let agrees = self
                .accounts
                .get(&customer)
                .is_some_and(|a| a.entries == position && a.balance == balance);
            if !agrees {
                return Err(format!(
                    "the account of customer {customer} disagrees with its entry {position}"
                ));
            }
        }
        Ok(())
    }

    /// Ends a hold without a charge.
    fn void(&mut self, call: CallId) -> Option<Step> {
        let hold = self.holds.remove(&call)?;
        self.count(&hold, -1);
        Some(Step::Closed(call, Box::new(hold)))
    }

    fn book(
        &mut self,
        customer: CustomerId,
        kind: EntryKind,
        credit: Credit,
        time: UnixMillis,
        call_id: Option<CallId>,
        blocks: u64,
    ) -> Result<(Posting, Step), LedgerError> {
        let account = self
            .accounts
            .get_mut(&customer)
            .ok_or(LedgerError::NoAccount)?;
        let balance = account
            .balance
            .checked_add(credit)
            .ok_or(LedgerError::Limit)?;
        let position = account.entries.checked_add(1).ok_or(LedgerError::Limit)?;
        account.balance = balance;
        account.entries = position;
        self.tally += i128::from(credit.0);
        let entry = Entry {
            time,
            kind,
            credit,
            balance,
            call_id,
            blocks,
        };
        let posting = Posting {
            customer,
            position,
            entry,
        };
        Ok((posting, Step::Posted(customer, credit)))
    }

    /// Counts a hold in (1) or out (-1) of its account.
    fn count(&mut self, hold: &Hold, sign: i128) {
        if hold.open.is_some() {
            self.open = if sign > 0 {
                self.open.saturating_add(1)
            } else {
                self.open.saturating_sub(1)
            };
        }
        if let Some(account) = self.accounts.get_mut(&hold.customer) {
            account.held += sign * hold.credit(hold.blocks);
            account.posted += sign * hold.posted();
            account.calls = if sign > 0 {
                account.calls.saturating_add(1)
            } else {
                account.calls.saturating_sub(1)
            };
        }
    }

    fn unanswer(&mut self, call: CallId) {
        let Some(hold) = self.holds.get_mut(&call) else {
            return;
        };
        let posted = hold.posted();
        if hold.open.take().is_some() {
            self.open = self.open.saturating_sub(1);
        }
        if let Some(account) = self.accounts.get_mut(&hold.customer) {
            account.posted -= posted;
        }
    }

    fn unraise(&mut self, call: CallId, prepared: u64, begun: u64) {
        let Some(hold) = self.holds.get_mut(&call) else {
            return;
        };
        let credit = hold.credit(hold.blocks.saturating_sub(prepared));
        hold.blocks = prepared;
        if let Some(open) = &mut hold.open {
            open.prepared = prepared;
            open.begun = begun;
        }
        if let Some(account) = self.accounts.get_mut(&hold.customer) {
            account.held -= credit;
            account.posted -= credit;
        }
    }
}

impl Account {
    fn new(customer: Customer, balance: Credit, entries: u64) -> Self {
        Self {
            customer,
            balance,
            entries,
            held: 0,
            posted: 0,
            calls: 0,
        }
    }
}

impl Hold {
    fn posted(&self) -> i128 {
        self.open
            .as_ref()
            .map_or(0, |open| self.credit(open.prepared))
    }
}

/// Up to how many blocks the account's credit carries the call.
fn affordable(account: &Account, hold: &Hold) -> u64 {
    let floor = if hold.prepaid {
        0
    } else {
        -i128::from(Credit::BALANCE_LIMIT)
    };
    let left = i128::from(account.balance.0) - account.held - floor;
    let rate = i128::from(hold.tariff.rate.0);
    if left <= 0 || rate <= 0 {
        return hold.blocks;
    }
    let more = u64::try_from(left / rate).unwrap_or(0);
    hold.blocks.saturating_add(more)
}
