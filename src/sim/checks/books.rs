//! The books as the store has them, followed commit by commit.

use crate::books::records::{
    AccountRecord, Entry, EntryKind, LeaseRecord, NumberRecord, OpenCallRecord, decode,
    read_account_key, read_entry_key, read_lease_key, read_number_key, read_open_call_key,
    read_record_key,
};
use crate::domain::{CallId, CallRecord, ChargeMethod, CustomerId, E164, ReferenceId};
use crate::store::memory::MemoryStore;
use crate::store::{Change, Direction, Store, Table};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

/// What durable records say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    pub accounts: BTreeMap<CustomerId, AccountRecord>,
    pub entries: BTreeMap<(CustomerId, u64), Entry>,
    pub charges: BTreeMap<CallId, Entry>,
    pub records: BTreeMap<CallId, CallRecord>,
    pub open: BTreeMap<CallId, OpenCallRecord>,
    pub leases: BTreeMap<ReferenceId, LeaseRecord>,
    pub numbers: BTreeMap<E164, NumberRecord>,
}

type Checked = Result<(), String>;

impl Ledger {
    /// A commit is durable: takes its changes, and says what of them breaks a promise. Otherwise
    /// which records it added.
    pub fn committed(&mut self, batch: &[Change]) -> Result<Vec<CallId>, String> {
        let mut added = Vec::new();
        let mut closed = Vec::new();
        let mut leases = false;
        let unnamed = self.unnamed(batch)?;
        for change in batch {
            let key = &change.key.bytes;
            match change.key.table {
                Table::Account => {
                    let customer = read_account_key(key).ok_or("an account's key is none")?;
                    let record = needed(change)?;
                    self.accounts.insert(customer, decode(record)?);
                }
                Table::Entry => self.entry(key, change)?,
                Table::OpenCall => {
                    let call = read_open_call_key(key).ok_or("an open call's key is none")?;
                    if self.open_call(call, change)? {
                        closed.push(call);
                    }
                }
                Table::Record => added.push(self.record(key, change)?),
                Table::Lease => {
                    leases = true;
                    let reference = read_lease_key(key).ok_or("a lease's key is none")?;
                    match &change.after {
                        Some(bytes) => self.leases.insert(reference, decode(bytes)?),
                        None => self.leases.remove(&reference),
                    };
                }
                Table::Number => {
                    leases = true;
                    let number = read_number_key(key).ok_or("a number's key is none")?;
                    self.numbers.insert(number, decode(needed(change)?)?);
                }
                Table::Meta
                | Table::RecordByCustomer
                | Table::RecordByReference
                | Table::Answer
                | Table::AnswerExpiry => {}
            }
        }
        // A lease that began or ended in this batch may have been there or not.
        if let Some(call) = self.unnamed(batch)?.iter().find(|c| unnamed.contains(c)) {
            return Err(format!("the record of call {call} does not name its lease"));
        }
        if let Some(call) = closed.iter().find(|call| !added.contains(call)) {
            return Err(format!("call {call} was closed without its record"));
        }
        for call in &added {
            self.charged(*call)?;
        }
        if leases {
            self.no_number_twice()?;
        }
        self.adds_up()?;
        Ok(added)
    }

    /// New records of calls whose lease was found and is there, which do not name it.
    fn unnamed(&self, batch: &[Change]) -> Result<Vec<CallId>, String> {
        let mut unnamed = Vec::new();
        for change in batch.iter().filter(|c| c.key.table == Table::Record) {
            let record: CallRecord = decode(needed(change)?)?;
            let number = E164::from_digits(record.leased_number.trim_start_matches('+'));
            let lease = number
                .and_then(|number| self.numbers.get(&number)?.lease)
                .and_then(|reference| self.leases.get(&reference));
            let found = lease.is_some_and(|lease| {
                record.customer_id == Some(lease.customer)
                    && record.lease_kind == Some(lease.kind)
                    && lease.expires > record.ended_at.plus(Duration::from_secs(5))
            });
            if found && record.reference_id.is_none() {
                unnamed.push(record.call_id);
            }
        }
        Ok(unnamed)
    }

    fn entry(&mut self, key: &[u8], change: &Change) -> Checked {
        let (customer, position) = read_entry_key(key).ok_or("an entry's key is none")?;
        if change.before.is_some() {
            return Err(format!("entry {position} of {customer} was changed"));
        }
        let entry: Entry = decode(needed(change)?)?;
        if entry.kind == EntryKind::Charge {
            let call = entry.call_id.ok_or("a charge for no call")?;
            if self.charges.insert(call, entry.clone()).is_some() {
                return Err(format!("call {call} was charged twice"));
            }
        }
        self.entries.insert((customer, position), entry);
        Ok(())
    }

    /// Whether the call is closed by this.
    fn open_call(&mut self, call: CallId, change: &Change) -> Result<bool, String> {
        let Some(bytes) = &change.after else {
            let was = self.open.remove(&call);
            was.ok_or(format!("call {call} was closed but never open"))?;
            return Ok(true);
        };
        let open: OpenCallRecord = decode(bytes)?;
        if self.records.contains_key(&call) {
            return Err(format!("call {call} is open after its record"));
        }
        if open.prepared < 1 || open.begun > open.prepared {
            return Err(format!("call {call}: {} of {}", open.begun, open.prepared));
        }
        if let Some(before) = self.open.get(&call)
            && before.prepared > open.prepared
        {
            return Err(format!("call {call}: its blocks became fewer"));
        }
        self.open.insert(call, open);
        Ok(false)
    }

    fn record(&mut self, key: &[u8], change: &Change) -> Result<CallId, String> {
        let (at, call) = read_record_key(key).ok_or("a record's key is none")?;
        if change.before.is_some() {
            return Err(format!("the record of call {call} was changed"));
        }
        let record: CallRecord = decode(needed(change)?)?;
        if record.call_id != call || record.received_at != at {
            return Err(format!("the record of call {call} is another's"));
        }
        if self.records.insert(call, record).is_some() {
            return Err(format!("call {call} has two records"));
        }
        Ok(call)
    }

    /// A record and its entry say the same.
    fn charged(&self, call: CallId) -> Checked {
        let Some(record) = self.records.get(&call) else {
            return Err(format!("no record of call {call}"));
        };
        let charge = i64::try_from(record.blocks).unwrap() * record.rate.0;
        let entry = self.charges.get(&call);
        let booked = entry.map_or((0, 0), |entry| (entry.blocks, -entry.credit.0));
        if record.charge.0 != charge && record.blocks > 0 || booked != (record.blocks, charge) {
            return Err(format!(
                "call {call}: {} blocks at {} in its record, {booked:?} in the ledger",
                record.blocks, record.rate
            ));
        }
        if record.answered_at.is_none() && record.blocks > 0 {
            return Err(format!("call {call} was not answered and costs something"));
        }
        if self.open.contains_key(&call) {
            return Err(format!("call {call} has its record and is still open"));
        }
        Ok(())
    }

    fn no_number_twice(&self) -> Checked {
        let mut holders: BTreeMap<E164, ReferenceId> = BTreeMap::new();
        for (reference, lease) in &self.leases {
            for member in &lease.members {
                if let Some(other) = holders.insert(member.number, *reference) {
                    return Err(format!(
                        "{} is leased twice: {other} and {reference}",
                        member.number
                    ));
                }
                let held = self.numbers.get(&member.number).and_then(|n| n.lease);
                if held != Some(*reference) {
                    return Err(format!("{} does not know of {reference}", member.number));
                }
            }
        }
        for (number, record) in &self.numbers {
            if record.lease != holders.get(number).copied() {
                return Err(format!("{number} is held by a lease that is not there"));
            }
        }
        Ok(())
    }

    /// Balances are the sums of their entries, without gaps.
    fn adds_up(&self) -> Checked {
        for (customer, account) in &self.accounts {
            let mut sum = 0;
            let mut count = 0;
            for ((_, position), entry) in self.entries_of(*customer) {
                count += 1;
                sum += entry.credit.0;
                if *position != count || entry.balance.0 != sum {
                    return Err(format!("entry {position} of {customer} does not follow"));
                }
            }
            if account.entries != count || account.balance.0 != sum {
                return Err(format!(
                    "{customer} has {} in {} entries, which are {count} and sum to {sum}",
                    account.balance, account.entries
                ));
            }
            self.is_covered(*customer, account)?;
        }
        Ok(())
    }

    /// A prepaid account that nobody took credit from never owes anything.
    fn is_covered(&self, customer: CustomerId, account: &AccountRecord) -> Checked {
        let prepaid = account.customer.charge_method == ChargeMethod::Prepaid;
        let deducted = self
            .entries_of(customer)
            .any(|(_, entry)| entry.kind == EntryKind::Topup && entry.credit.0 < 0);
        let balance = self.balance(customer);
        if prepaid && !deducted && balance < 0 {
            return Err(format!("{customer} is prepaid and at {balance}"));
        }
        Ok(())
    }

    /// Entries plus open calls (sip-bridging 7).
    pub fn balance(&self, customer: CustomerId) -> i64 {
        let settled = self.accounts.get(&customer).map_or(0, |a| a.balance.0);
        let open = self.open.values().filter(|open| open.customer == customer);
        let posted: i64 = open
            .map(|open| i64::try_from(open.prepared).unwrap() * open.draft.rate.0)
            .sum();
        settled - posted
    }

    pub fn entries_of(
        &self,
        customer: CustomerId,
    ) -> impl Iterator<Item = (&(CustomerId, u64), &Entry)> {
        self.entries.range((customer, 0)..=(customer, u64::MAX))
    }

    /// What a store holds, read from the beginning.
    pub fn read(store: &MemoryStore) -> Result<Self, String> {
        let mut ledger = Self::default();
        let reader = store.reader();
        for table in Table::ALL {
            let rows = reader
                .range(table, &[], &[0xff; 64], Direction::Forward, usize::MAX)
                .map_err(|error| error.to_string())?;
            for (key, value) in rows {
                ledger.take(table, &key, &value)?;
            }
        }
        Ok(ledger)
    }

    fn take(&mut self, table: Table, key: &[u8], value: &Bytes) -> Checked {
        let change = Change {
            key: crate::store::Key {
                table,
                bytes: Bytes::copy_from_slice(key),
            },
            before: None,
            after: Some(value.clone()),
        };
        match table {
            Table::Entry => self.entry(key, &change),
            Table::Record => self.record(key, &change).map(|_| ()),
            Table::OpenCall => {
                let call = read_open_call_key(key).ok_or("an open call's key is none")?;
                self.open.insert(call, decode(value)?);
                Ok(())
            }
            Table::Account => {
                let customer = read_account_key(key).ok_or("an account's key is none")?;
                self.accounts.insert(customer, decode(value)?);
                Ok(())
            }
            Table::Lease => {
                let reference = read_lease_key(key).ok_or("a lease's key is none")?;
                self.leases.insert(reference, decode(value)?);
                Ok(())
            }
            Table::Number => {
                let number = read_number_key(key).ok_or("a number's key is none")?;
                self.numbers.insert(number, decode(value)?);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// What is stored by a change that may not remove anything.
fn needed(change: &Change) -> Result<&Bytes, String> {
    let after = change.after.as_ref();
    after.ok_or_else(|| format!("a record of {:?} was removed", change.key.table))
}
