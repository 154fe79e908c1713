//! Customers and their money (lease-api 4.6 to 4.8, 4.10).

use super::batch::Undo;
use super::command::{Answer, Code, CustomerAnswer, CustomerUpdate, OpenCallRow, Outcome};
use super::records::{EntryKind, account_key, encode, entry_key};
use super::{Books, INTERNAL};
use crate::domain::{Credit, Customer, CustomerId, Now};
use crate::ledger::{LedgerError, Posting};

impl Books {
    pub(super) fn view_customer(&self, customer: CustomerId) -> Outcome {
        let account = self.ledger.account(customer).ok_or(Code(35))?;
        Ok(Answer::Customer(Box::new(CustomerAnswer {
            customer: account.customer().clone(),
            balance: account.balance(),
            has_reserved_number: self.leases.pool().has_reserved(customer),
        })))
    }

    pub(super) fn top_up(&mut self, customer: CustomerId, credit: Credit, now: Now) -> Outcome {
        if self.ledger.account(customer).is_none() {
            return Err(Code(35));
        }
        if !(-Credit::TOPUP_LIMIT..=Credit::TOPUP_LIMIT).contains(&credit.0) {
            return Err(Code(34));
        }
        let before = self.account_bytes(customer);
        let (posting, step) = self
            .ledger
            .post(customer, EntryKind::Topup, credit, now.wall)
            .map_err(|error| match error {
                LedgerError::NoAccount => Code(35),
                LedgerError::Limit => Code(34),
            })?;
        self.batch.undo.push(Undo::Ledger(step));
        self.put_posting(&posting);
        self.put_account(customer, before);
        let account = self.ledger.account(customer).ok_or(INTERNAL)?;
        Ok(Answer::Balance(account.balance()))
    }

    pub(super) fn create_customer(
        &mut self,
        mut customer: Customer,
        opening: Credit,
        now: Now,
    ) -> Outcome {
        let limit = Credit::BALANCE_LIMIT;
        if !(-limit..=limit).contains(&opening.0) {
            return Err(Code(23));
        }
        let id = self.ledger.next_customer().ok_or(INTERNAL)?;
        customer.id = id;
        customer.date_created = now.wall;
        customer.date_suspended = customer.suspended.then_some(now.wall);
        let step = self.ledger.create(customer).ok_or(INTERNAL)?;
        self.batch.undo.push(Undo::Ledger(step));
        if opening != Credit::ZERO {
            let (posting, step) = self
                .ledger
                .post(id, EntryKind::Opening, opening, now.wall)
                .map_err(|_| Code(23))?;
            self.batch.undo.push(Undo::Ledger(step));
            self.put_posting(&posting);
        }
        self.put_account(id, None);
        Ok(Answer::Created(id))
    }

    pub(super) fn update_customer(
        &mut self,
        id: CustomerId,
        update: CustomerUpdate,
        now: Now,
    ) -> Outcome {
        let account = self.ledger.account(id).ok_or(Code(35))?;
        let mut customer = account.customer().clone();
        if update.suspended == Some(true) && !customer.suspended {
            customer.date_suspended = Some(now.wall);
        }
        apply(&mut customer, update);
        if customer != *account.customer() {
            let before = self.account_bytes(id);
            let step = self.ledger.update(customer).ok_or(INTERNAL)?;
            self.batch.undo.push(Undo::Ledger(step));
            self.put_account(id, before);
        }
        self.view_customer(id)
    }

    pub(super) fn open_calls_of(&self, customer: CustomerId) -> Outcome {
        let account = self.ledger.account(customer).ok_or(Code(35))?;
        let calls = self
            .ledger
            .holds()
            .filter(|(_, hold)| hold.customer() == customer)
            .filter_map(|(call_id, hold)| {
                let open = hold.open()?;
                let credit = Credit::for_blocks(hold.tariff().rate, open.prepared)?;
                Some(OpenCallRow {
                    call_id: *call_id,
                    answered_at: open.draft.answered_at.unwrap_or(open.draft.received_at),
                    blocks: open.prepared,
                    credit,
                })
            })
            .collect();
        Ok(Answer::OpenCalls {
            calls,
            balance: account.settled(),
        })
    }

    fn put_posting(&mut self, posting: &Posting) {
        let key = entry_key(posting.customer, posting.position);
        self.batch.put(key, None, Some(encode(&posting.entry)));
    }

    /// Records that a request has changed an account from what it was.
    fn put_account(&mut self, customer: CustomerId, before: Option<bytes::Bytes>) {
        let after = self.account_bytes(customer);
        self.batch.put(account_key(customer), before, after);
        self.batch.dirty.insert(customer);
    }
}

fn apply(customer: &mut Customer, update: CustomerUpdate) {
    fn set<T>(field: &mut T, value: Option<T>) {
        if let Some(value) = value {
            *field = value;
        }
    }
    set(&mut customer.first_name, update.first_name);
    set(&mut customer.last_name, update.last_name);
    set(&mut customer.suspended, update.suspended);
    set(&mut customer.charge_method, update.charge_method);
    set(&mut customer.enable_single, update.enable_single);
    set(&mut customer.enable_group, update.enable_group);
    set(
        &mut customer.tariff_single.block_seconds,
        update.block_single,
    );
    set(&mut customer.tariff_single.rate, update.rate_single);
    set(&mut customer.tariff_group.block_seconds, update.block_group);
    set(&mut customer.tariff_group.rate, update.rate_group);
    set(&mut customer.max_lease_single, update.max_lease_single);
    set(&mut customer.max_lease_group, update.max_lease_group);
}
