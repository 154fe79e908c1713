//! Keys and values as they are stored. A value is a version byte and the record in postcard's
//! encoding, which gives the same bytes for the same record: what memory encodes is what the store
//! has, so a change's `before` can be made from memory.

use crate::domain::{CallId, CallRecord, CustomerId, E164, ReferenceId, UnixMillis};
use crate::store::{Key, Table};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use crate::lease::{LeaseRecord, NumberRecord};
pub use crate::ledger::{AccountRecord, Entry, EntryKind, OpenCallRecord};

/// Version of every record's encoding, but for what has come since.
const VERSION: u8 = 1;

/// Version of call records (and of drafts of them) that say who vouched for the caller, and of those
/// that say how the call sounded. One that says less is written as the version that could say it, byte
/// for byte: what an older build wrote reads back as it was, so that a change's `before` made from
/// memory still fits it.
const VERSION_VOUCHED: u8 = 2;
const VERSION_HEARD: u8 = 3;

/// A record that can be stored.
pub trait Stored: Serialize + DeserializeOwned {
    /// `None` where the record's kind never had more than version 1; else the first version that can
    /// say what this one says. Such a kind ends with one `Option` for each version after the first,
    /// and a version's encoding ends before those that came after it.
    fn version(_: Option<&Self>) -> Option<u8> {
        None
    }
}

impl Stored for AccountRecord {}
impl Stored for NumberRecord {}
impl Stored for LeaseRecord {}
impl Stored for Entry {}
impl Stored for KeptAnswer {}
impl Stored for UnixMillis {}

impl Stored for CallRecord {
    fn version(this: Option<&Self>) -> Option<u8> {
        Some(this.map_or(VERSION, record_version))
    }
}

impl Stored for OpenCallRecord {
    fn version(this: Option<&Self>) -> Option<u8> {
        Some(this.map_or(VERSION, |record| record_version(&record.draft)))
    }
}

const fn record_version(record: &CallRecord) -> u8 {
    match (&record.vouching, &record.quality) {
        (_, Some(_)) => VERSION_HEARD,
        (Some(_), None) => VERSION_VOUCHED,
        (None, None) => VERSION,
    }
}

/// A kept answer (lease-api 4.9), by hash of client, operation and key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptAnswer {
    /// Hash of the parameters it answered.
    pub parameters: [u8; 16],
    /// Its status code.
    pub code: u16,
    /// Its body.
    pub body: Bytes,
    /// Kept until then.
    pub expires: UnixMillis,
}

/// First room for an encoding, bytes: most records fit.
const ROOM: usize = 512;

/// A record's stored value.
#[must_use]
pub fn encode<T: Stored>(record: &T) -> Bytes {
    let grown = T::version(Some(record));
    let version = grown.unwrap_or(VERSION);
    let mut room = Vec::with_capacity(ROOM);
    room.push(version);
    // Writing to memory cannot fail, and every record of ours has an encoding.
    let mut bytes = postcard::to_extend(record, room).unwrap_or_default();
    if grown.is_some() {
        // Each of the bytes left out says that nothing stands in its place.
        let unsaid = usize::from(VERSION_HEARD.saturating_sub(version));
        bytes.truncate(bytes.len().saturating_sub(unsaid));
    }
    // Values are kept: not a byte more than there is.
    Bytes::copy_from_slice(&bytes)
}

/// A stored value's record.
///
/// # Errors
/// Says why it is none.
pub fn decode<T: Stored>(bytes: &[u8]) -> Result<T, String> {
    let grown = T::version(None).is_some();
    match bytes.split_first() {
        Some((version @ VERSION..=VERSION_HEARD, rest)) if grown => {
            let unsaid = usize::from(VERSION_HEARD.saturating_sub(*version));
            let nothing: &[u8] = [0, 0].get(..unsaid).unwrap_or_default();
            read(&[rest, nothing].concat())
        }
        Some((&VERSION, rest)) => read(rest),
        Some((version, _)) => Err(format!("version {version} of its encoding is unknown")),
        None => Err("empty".into()),
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((record, [])) => Ok(record),
        Ok(_) => Err("bytes after its end".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// Where the last heartbeat stands: a [`UnixMillis`].
#[must_use]
pub fn alive_key() -> Key {
    key(Table::Meta, &[b"alive"])
}

/// An [`AccountRecord`].
#[must_use]
pub fn account_key(customer: CustomerId) -> Key {
    key(Table::Account, &[&customer.0.to_be_bytes()])
}

/// A [`NumberRecord`].
#[must_use]
pub fn number_key(number: E164) -> Key {
    key(Table::Number, &[&number.packed().to_be_bytes()])
}

/// A [`LeaseRecord`].
#[must_use]
pub fn lease_key(reference: ReferenceId) -> Key {
    key(Table::Lease, &[reference.0.as_bytes()])
}

/// An [`OpenCallRecord`].
#[must_use]
pub fn open_call_key(call: CallId) -> Key {
    key(Table::OpenCall, &[call.0.as_bytes()])
}

/// An [`Entry`], by position from 1.
#[must_use]
pub fn entry_key(customer: CustomerId, position: u64) -> Key {
    key(
        Table::Entry,
        &[&customer.0.to_be_bytes(), &position.to_be_bytes()],
    )
}

/// A [`CallRecord`].
#[must_use]
pub fn record_key(received_at: UnixMillis, call: CallId) -> Key {
    key(
        Table::Record,
        &[&received_at.0.to_be_bytes(), call.0.as_bytes()],
    )
}

/// Nothing, for a call record of this customer.
#[must_use]
pub fn record_by_customer_key(customer: CustomerId, received_at: UnixMillis, call: CallId) -> Key {
    key(
        Table::RecordByCustomer,
        &[
            &customer.0.to_be_bytes(),
            &received_at.0.to_be_bytes(),
            call.0.as_bytes(),
        ],
    )
}

/// Nothing, for a call record of this lease.
#[must_use]
pub fn record_by_reference_key(
    reference: ReferenceId,
    received_at: UnixMillis,
    call: CallId,
) -> Key {
    key(
        Table::RecordByReference,
        &[
            reference.0.as_bytes(),
            &received_at.0.to_be_bytes(),
            call.0.as_bytes(),
        ],
    )
}

/// A [`KeptAnswer`].
#[must_use]
pub fn answer_key(hash: &[u8; 16]) -> Key {
    key(Table::Answer, &[hash])
}

/// Nothing, for a kept answer.
#[must_use]
pub fn answer_expiry_key(expires: UnixMillis, hash: &[u8; 16]) -> Key {
    key(Table::AnswerExpiry, &[&expires.0.to_be_bytes(), hash])
}

/// Customer of an account's key.
#[must_use]
pub fn read_account_key(bytes: &[u8]) -> Option<CustomerId> {
    let id = u32::from_be_bytes(bytes.try_into().ok()?);
    (id != 0).then_some(CustomerId(id))
}

/// Number of a number's key.
#[must_use]
pub fn read_number_key(bytes: &[u8]) -> Option<E164> {
    E164::from_packed(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// Reference of a lease's key.
#[must_use]
pub fn read_lease_key(bytes: &[u8]) -> Option<ReferenceId> {
    Some(ReferenceId(Uuid::from_bytes(bytes.try_into().ok()?)))
}

/// Call of an open call's key.
#[must_use]
pub fn read_open_call_key(bytes: &[u8]) -> Option<CallId> {
    Some(CallId(Uuid::from_bytes(bytes.try_into().ok()?)))
}

/// Customer and position of an entry's key.
#[must_use]
pub fn read_entry_key(bytes: &[u8]) -> Option<(CustomerId, u64)> {
    let (customer, position) = bytes.split_at_checked(4)?;
    Some((
        read_account_key(customer)?,
        u64::from_be_bytes(position.try_into().ok()?),
    ))
}

/// Arrival and call of a record's key, or of the end of an index row's.
#[must_use]
pub fn read_record_key(bytes: &[u8]) -> Option<(UnixMillis, CallId)> {
    let tail = bytes.get(bytes.len().checked_sub(24)?..)?;
    let (received_at, call) = tail.split_at_checked(8)?;
    Some((
        UnixMillis(u64::from_be_bytes(received_at.try_into().ok()?)),
        read_open_call_key(call)?,
    ))
}

/// Time and hash of a kept answer's expiry key.
#[must_use]
pub fn read_answer_expiry_key(bytes: &[u8]) -> Option<(UnixMillis, [u8; 16])> {
    let (expires, hash) = bytes.split_at_checked(8)?;
    Some((
        UnixMillis(u64::from_be_bytes(expires.try_into().ok()?)),
        hash.try_into().ok()?,
    ))
}

/// The rows that one call record is.
#[must_use]
pub fn record_rows(record: &CallRecord) -> Vec<(Key, Bytes)> {
    let (at, call) = (record.received_at, record.call_id);
    let mut rows = vec![(record_key(at, call), encode(record))];
    if let Some(customer) = record.customer_id {
        rows.push((record_by_customer_key(customer, at, call), Bytes::new()));
    }
    if let Some(reference) = record.reference_id {
        rows.push((record_by_reference_key(reference, at, call), Bytes::new()));
    }
    rows
}

fn key(table: Table, parts: &[&[u8]]) -> Key {
    Key {
        table,
        bytes: Bytes::from(parts.concat()),
    }
}
