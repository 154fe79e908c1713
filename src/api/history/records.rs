//! Pages of call records.

use super::{RecordKey, RecordQuery};
use crate::books::records as stored;
use crate::domain::{CallRecord, CustomerScope};
use crate::store::{Direction, Key, Reader, StoreError, Table};
use bytes::Bytes;

/// A page, newest first.
#[derive(Debug)]
pub struct RecordPage {
    /// Rows.
    pub records: Vec<CallRecord>,
    /// Key of the last row, where there are more after it.
    pub next: Option<RecordKey>,
}

/// Up to `limit` records that `query` asks for, older than `before`. Blocks on the store.
///
/// # Errors
/// What the store says; [`StoreError::Damaged`] where a record does not decode.
pub fn page(
    reader: &dyn Reader,
    query: &RecordQuery,
    before: Option<RecordKey>,
    limit: usize,
) -> Result<RecordPage, StoreError> {
    let bounds = Bounds::new(query, before);
    let mut rows = rows(reader, query, &bounds, limit.saturating_add(1))?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|(key, _)| *key);
    let mut records = Vec::with_capacity(rows.len());
    for (key, value) in rows {
        if let Some(record) = read(reader, &key, value)?.filter(|record| shown(query, record)) {
            records.push(record);
        }
    }
    Ok(RecordPage { records, next })
}

/// First key (included) and last key (excluded), without what stands before the time in an index.
struct Bounds {
    from: Vec<u8>,
    to: Vec<u8>,
}

impl Bounds {
    fn new(query: &RecordQuery, before: Option<RecordKey>) -> Self {
        let from = query.period.from.0.to_be_bytes().to_vec();
        let end = match query.period.to.0.checked_add(1) {
            Some(after) => after.to_be_bytes().to_vec(),
            None => vec![0xff; 25],
        };
        let to = match before {
            Some(key) if key.as_slice() < end.as_slice() => key.to_vec(),
            _ => end,
        };
        Self { from, to }
    }

    fn behind(&self, prefix: &[u8]) -> (Vec<u8>, Vec<u8>) {
        ([prefix, &self.from].concat(), [prefix, &self.to].concat())
    }
}

/// Keys of the newest `limit` rows within `bounds`, newest first, with the record where the table
/// read holds it.
fn rows(
    reader: &dyn Reader,
    query: &RecordQuery,
    bounds: &Bounds,
    limit: usize,
) -> Result<Vec<(RecordKey, Option<Bytes>)>, StoreError> {
    if let Some(reference) = query.reference {
        return index(
            reader,
            Table::RecordByReference,
            reference.0.as_bytes(),
            bounds,
            limit,
        );
    }
    let customers = match (query.customer, &query.scope) {
        (Some(customer), _) => vec![customer],
        (None, CustomerScope::Only(customers)) => customers.clone(),
        (None, CustomerScope::All) => return index(reader, Table::Record, &[], bounds, limit),
    };
    let mut rows = Vec::new();
    for customer in customers {
        let prefix = customer.0.to_be_bytes();
        rows.extend(index(
            reader,
            Table::RecordByCustomer,
            &prefix,
            bounds,
            limit,
        )?);
        // Sorting as we go keeps no more than two pages in memory, however many customers.
        rows.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
        rows.truncate(limit);
    }
    Ok(rows)
}

fn index(
    reader: &dyn Reader,
    table: Table,
    prefix: &[u8],
    bounds: &Bounds,
    limit: usize,
) -> Result<Vec<(RecordKey, Option<Bytes>)>, StoreError> {
    let (from, to) = bounds.behind(prefix);
    if from >= to {
        return Ok(Vec::new());
    }
    let found = reader.range(table, &from, &to, Direction::Backward, limit)?;
    let mut rows = Vec::with_capacity(found.len());
    for (key, value) in found {
        let end = key
            .get(prefix.len()..)
            .and_then(|end| RecordKey::try_from(end).ok());
        let end = end.ok_or_else(|| damaged(table, &key, "its length"))?;
        rows.push((end, (table == Table::Record).then_some(value)));
    }
    Ok(rows)
}

fn read(
    reader: &dyn Reader,
    key: &RecordKey,
    value: Option<Bytes>,
) -> Result<Option<CallRecord>, StoreError> {
    let value = match value {
        Some(value) => Some(value),
        None => reader.get(&Key {
            table: Table::Record,
            bytes: Bytes::copy_from_slice(key),
        })?,
    };
    // An index row without its record was overtaken by the end of the record's retention.
    let Some(value) = value else {
        return Ok(None);
    };
    let record = stored::decode(&value);
    record
        .map(Some)
        .map_err(|error| damaged(Table::Record, key, &error))
}

fn shown(query: &RecordQuery, record: &CallRecord) -> bool {
    let asked = query
        .customer
        .is_none_or(|customer| record.customer_id == Some(customer));
    let allowed = match (&query.scope, record.customer_id) {
        (CustomerScope::All, _) => true,
        (scope, Some(customer)) => scope.allows(customer),
        (CustomerScope::Only(_), None) => false,
    };
    asked && allowed
}

/// Says where a stored row is not what it must be.
pub(super) fn damaged(table: Table, key: &[u8], what: &str) -> StoreError {
    let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    StoreError::Damaged(format!("{table:?} {key}: {what}"))
}
