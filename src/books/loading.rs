//! The start: every record once, then the checks, then the calls that a crash left open.

use super::records::{
    AccountRecord, Entry, LeaseRecord, NumberRecord, OpenCallRecord, alive_key, decode,
    read_account_key, read_entry_key, read_lease_key, read_number_key, read_open_call_key,
};
use super::{Books, LoadReport};
use crate::domain::{Now, UnixMillis};
use crate::store::Table;
use bytes::Bytes;

/// A key of the wrong length or range.
const NO_KEY: &str = "its key is none";

impl Books {
    pub(super) fn load_record(
        &mut self,
        table: Table,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), String> {
        match table {
            Table::Meta => {
                if *alive_key().bytes == *key {
                    decode::<UnixMillis>(value)?;
                    self.alive = Some(Bytes::copy_from_slice(value));
                }
                Ok(())
            }
            Table::Account => {
                let record: AccountRecord = decode(value)?;
                if read_account_key(key) != Some(record.customer.id) {
                    return Err(NO_KEY.into());
                }
                self.ledger.load_account(record);
                Ok(())
            }
            Table::Number => {
                let number = read_number_key(key).ok_or(NO_KEY)?;
                let record: NumberRecord = decode(value)?;
                self.leases.load_number(number, &record)
            }
            Table::Lease => {
                let reference = read_lease_key(key).ok_or(NO_KEY)?;
                let record: LeaseRecord = decode(value)?;
                if self.ledger.account(record.customer).is_none() {
                    return Err(format!("lease {reference} belongs to no customer"));
                }
                self.leases.load_lease(reference, &record)
            }
            Table::OpenCall => {
                let call = read_open_call_key(key).ok_or(NO_KEY)?;
                let record: OpenCallRecord = decode(value)?;
                self.ledger.load_open_call(call, record)
            }
            Table::Entry => {
                let (customer, position) = read_entry_key(key).ok_or(NO_KEY)?;
                let entry: Entry = decode(value)?;
                self.ledger.load_entry(customer, position, &entry)
            }
            Table::AnswerExpiry => self.load_answer_expiry(key),
            // Read from the store when they are asked for.
            Table::Record | Table::RecordByCustomer | Table::RecordByReference | Table::Answer => {
                Ok(())
            }
        }
    }

    pub(super) fn finish_loading(&mut self, now: Now) -> Result<LoadReport, String> {
        self.last_now = Some(now);
        self.leases.loaded(now)?;
        self.ledger.loaded()?;
        let alive = self
            .alive
            .as_deref()
            .and_then(|bytes| decode(bytes).ok())
            .unwrap_or_default();
        let recovered_calls = self.recover_calls(alive, now);
        self.leases.publish_all();
        Ok(LoadReport {
            customers: self.ledger.len() as u64,
            numbers: u64::from(self.leases.pool().len()),
            leases: self.leases.len() as u64,
            recovered_calls,
        })
    }
}
